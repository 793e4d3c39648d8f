//! Sends a message by mail-send: `mail_send HOST FROM TO [PLAN]`, with the text on standard input.

mod tls;

use std::error::Error;
use std::time::Duration;

use mail_send::SmtpClient;
use mail_send::mail_builder::MessageBuilder;
use mail_send::smtp::AssertReply as _;
use mailport::{Dialer, Plan, Target, Tls};
use tokio::net::TcpStream;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [host, from, to, plan @ ..] = arguments.as_slice() else {
        return Err("usage: mail_send HOST FROM TO [PLAN]".into());
    };
    let plan = plan.first().map_or_else(|| Ok(Plan::submission()), |plan| plan.parse())?;
    let host: Target = host.parse()?;
    let text = std::io::read_to_string(std::io::stdin())?;
    let message = MessageBuilder::new()
        .from(from.as_str())
        .to(to.as_str())
        .subject("Sent by mailport and mail-send")
        .text_body(text);

    let connected = Dialer::new().with_plan(plan).connect_async(host.clone()).await?;
    println!("{}", connected.report.summary());
    let (tls, name) = (connected.service.tls(), host.canonical());
    // A server may pause before its greeting (RFC 5321 section 4.5.3.2).
    let timeout = Duration::from_secs(300);
    let mut client = SmtpClient { stream: TcpStream::try_from(connected.stream)?, timeout };
    let connector = tls::connector()?;

    // The certificate is verified for the host that was asked for, whichever service was reached.
    let mut client = match tls {
        Tls::Implicit => {
            let mut client = client.into_tls(&connector, &name).await?;
            client.read().await?.assert_positive_completion()?;
            client
        }
        Tls::StartTls => {
            client.read().await?.assert_positive_completion()?;
            client.ehlo("localhost").await?;
            // Fails if the server refuses: nothing is sent without TLS.
            client.start_tls(&connector, &name).await?
        }
        Tls::Cleartext => return Err("this program sends nothing without TLS".into()),
    };
    client.ehlo("localhost").await?;
    client.send(message).await?;
    Ok(client.quit().await?)
}
