//! Sends a message by lettre: `lettre HOST FROM TO [PLAN]`, with the text on standard input.

mod tls;

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use lettre::Message;
use lettre::transport::smtp::client::{AsyncSmtpConnection, AsyncTokioStream, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use mailport::{Dialer, Plan, Target, Tls};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [host, from, to, plan @ ..] = arguments.as_slice() else {
        return Err("usage: lettre HOST FROM TO [PLAN]".into());
    };
    let plan = plan.first().map_or_else(|| Ok(Plan::submission()), |plan| plan.parse())?;
    let host: Target = host.parse()?;
    let text = io::read_to_string(io::stdin())?;
    let message = Message::builder()
        .from(from.parse()?)
        .to(to.parse()?)
        .subject("Sent by mailport and lettre")
        .body(text)?;

    let connected = Dialer::new().with_plan(plan).connect_async(host.clone()).await?;
    println!("{}", connected.report.summary());
    let stream = TcpStream::try_from(connected.stream)?;
    let hello = ClientId::Domain("localhost".to_owned());

    // The certificate is verified for the host that was asked for, whichever service was reached.
    let name = host.canonical();
    let mut client = match connected.service.tls() {
        Tls::Implicit => {
            let stream = tls::connector()?.connect(ServerName::try_from(name)?, stream).await?;
            AsyncSmtpConnection::connect_with_transport(Box::new(Secure(stream)), &hello).await?
        }
        Tls::StartTls => {
            let mut client =
                AsyncSmtpConnection::connect_with_transport(Box::new(stream), &hello).await?;
            // Fails if the server does not offer it: nothing is sent without TLS.
            client.starttls(TlsParameters::new(name)?, &hello).await?;
            client
        }
        Tls::Cleartext => return Err("this program sends nothing without TLS".into()),
    };
    client.send(message.envelope(), &message.formatted()).await?;
    client.quit().await?;
    Ok(())
}

/// A connection that begins with TLS, in the form in which lettre takes a stream.
#[derive(Debug)]
struct Secure(TlsStream<TcpStream>);

impl AsyncTokioStream for Secure {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.0.get_ref().0.peer_addr()
    }
}

impl AsyncRead for Secure {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Secure {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
