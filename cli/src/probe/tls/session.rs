//! One session with a server that connects: greeting, EHLO, TLS, EHLO again, QUIT. No login, no
//! mail.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mailport::report::Attempt;
use mailport::{Service, Tls};
use rustls::client::WebPkiServerVerifier;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::certificate::{Certificate, Recorder};
use super::fault::{Fault, reason};
use super::smtp::{Capabilities, ReplyError, SmtpClient, SmtpReply};
use super::stream::TlsStream;
use super::text::clean;

/// How long a session may take up to QUIT. Servers pause before they greet, for 20 s and more.
pub(in super::super) const LIMIT: Duration = Duration::from_secs(30);
/// How long to wait for the reply to QUIT.
const FAREWELL: Duration = Duration::from_secs(2);
/// The code of a server that closes the connection, as a reply to anything (RFC 5321 section 3.8).
const SHUTTING_DOWN: u16 = 421;
/// Ports of other mail protocols, on which no SMTP is spoken: POP3, IMAP, Sieve.
const NOT_SMTP: [u16; 5] = [110, 143, 993, 995, 4190];

/// What a session found.
#[derive(Debug, Clone, PartialEq)]
pub(in super::super) struct TlsSession {
    pub(super) service: Service,
    pub(super) address: SocketAddr,
    /// The last stage that was reached before the fault.
    pub(super) stage: TlsStage,
    pub(super) fault: Option<Fault>,
    pub(super) greeting: Option<SmtpReply>,
    /// From the connection to the greeting.
    pub(super) greeted: Option<Duration>,
    /// The reply to EHLO without TLS.
    pub(super) before: Option<Capabilities>,
    pub(super) handshake: Option<TlsHandshake>,
    /// The reply to EHLO with TLS.
    pub(super) after: Option<Capabilities>,
}

/// How far a session came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TlsStage {
    /// The connection.
    Connect,
    /// The greeting of the server.
    Greeting,
    /// The reply to EHLO without TLS.
    Ehlo,
    /// The reply to STARTTLS.
    StartTls,
    /// The TLS handshake.
    TlsHandshake,
    /// A verified certificate.
    Certificate,
    /// The capabilities that count: with TLS, unless the service has none.
    Auth,
}

impl TlsStage {
    /// The word used in the matrix and in JSON.
    pub(super) fn name(self) -> &'static str {
        match self {
            TlsStage::Connect => "connect",
            TlsStage::Greeting => "greeting",
            TlsStage::Ehlo => "ehlo",
            TlsStage::StartTls => "starttls",
            TlsStage::TlsHandshake => "handshake",
            TlsStage::Certificate => "certificate",
            TlsStage::Auth => "auth",
        }
    }
}

/// A TLS handshake that was completed.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TlsHandshake {
    /// `TLS 1.3`.
    pub(super) version: String,
    pub(super) certificate: Certificate,
}

/// What every session needs.
pub(super) struct Trust {
    pub(super) verifier: Arc<WebPkiServerVerifier>,
    /// The trusted certificates themselves.
    pub(super) roots: Arc<[CertificateDer<'static>]>,
    pub(super) provider: Arc<rustls::crypto::CryptoProvider>,
}

/// The session ends with a fault.
type TlsStep<T> = Result<T, Fault>;

impl TlsSession {
    /// Runs the session on a connection, to its end.
    pub(super) fn run(
        service: Service,
        address: SocketAddr,
        socket: TcpStream,
        name: &ServerName<'static>,
        trust: &Trust,
    ) -> TlsSession {
        let mut session = TlsSession::new(service, address, None);
        if let Err(fault) = session.talk(socket, name, trust) {
            session.blame(fault);
        }
        session
    }

    /// A session that has only a connection.
    pub(super) fn new(service: Service, address: SocketAddr, fault: Option<Fault>) -> TlsSession {
        TlsSession {
            service,
            address,
            stage: TlsStage::Connect,
            fault,
            greeting: None,
            greeted: None,
            before: None,
            handshake: None,
            after: None,
        }
    }

    pub(in super::super) fn service(&self) -> Service {
        self.service
    }

    /// Whether mail could be sent by this service.
    pub(in super::super) fn works(&self) -> bool {
        self.fault.is_none()
    }

    /// Whether this is the session on the connection of an attempt.
    pub(in super::super) fn is_of(&self, attempt: &Attempt) -> bool {
        (self.service, Some(self.address)) == (attempt.service, attempt.address)
    }

    /// Whether SMTP is spoken there, as far as ports tell.
    pub(super) fn service_is_smtp(&self) -> bool {
        !NOT_SMTP.contains(&self.service.port())
    }

    /// Whether a server of this service must offer a login: 25 is for other servers too.
    fn is_for_users(&self) -> bool {
        self.service.port() != 25
    }

    /// The first fault is the one that counts.
    fn blame(&mut self, fault: Fault) {
        self.fault.get_or_insert(fault);
    }

    /// A stage counts as reached only before a fault.
    fn reach(&mut self, stage: TlsStage) {
        if self.fault.is_none() {
            self.stage = stage;
        }
    }

    fn talk(
        &mut self,
        socket: TcpStream,
        name: &ServerName<'static>,
        trust: &Trust,
    ) -> TlsStep<()> {
        let start = Instant::now();
        let ehlo = ehlo(&socket);
        let stream = TlsStream::new(socket, start + LIMIT)
            .map_err(|error| Fault::Local(error.to_string()))?;
        let is_implicit = self.service.tls() == Tls::Implicit;
        if !self.service_is_smtp() {
            if is_implicit {
                close(self.handshake(stream, name, trust)?);
            }
            return Ok(());
        }
        let stream = if is_implicit {
            stream
        } else {
            let mut client = SmtpClient::new(stream);
            match self.without_tls(&mut client, start, &ehlo) {
                Ok(true) => client.into_stream(),
                end => {
                    quit(&mut client, &end, |stream| stream);
                    return end.map(drop);
                }
            }
        };
        let mut client = SmtpClient::new(self.handshake(stream, name, trust)?);
        let end = self.with_tls(&mut client, is_implicit.then_some(start), &ehlo);
        quit(&mut client, &end, |tls| &mut tls.sock);
        close(client.into_stream());
        end
    }

    /// The part of the session before TLS. Returns whether the server waits for the handshake.
    fn without_tls(
        &mut self,
        client: &mut SmtpClient<TlsStream>,
        start: Instant,
        ehlo: &str,
    ) -> TlsStep<bool> {
        self.greeting(client, start)?;
        let is_cleartext = self.service.tls() == Tls::Cleartext;
        let found = self.offers(client, ehlo, is_cleartext)?;
        if is_cleartext {
            return Ok(false);
        }
        if !found.starttls {
            return Err(found.overwritten.map_or(Fault::NoStartTls, Fault::Stripped));
        }
        let reply = client.command("STARTTLS").map_err(unanswered)?;
        if reply.code == SHUTTING_DOWN {
            return Err(Fault::Rejected(reply));
        }
        if !reply.is_positive() {
            return Err(Fault::StartTlsRejected(reply));
        }
        self.reach(TlsStage::StartTls);
        if client.has_more() { Err(Fault::Injected) } else { Ok(true) }
    }

    /// The part over TLS. With implicit TLS the server greets there; `start` is when it connected.
    fn with_tls<S: Read + Write>(
        &mut self,
        client: &mut SmtpClient<S>,
        start: Option<Instant>,
        ehlo: &str,
    ) -> TlsStep<()> {
        if let Some(start) = start {
            self.greeting(client, start)?;
        }
        self.offers(client, ehlo, true).map(drop)
    }

    fn greeting<S: Read + Write>(
        &mut self,
        client: &mut SmtpClient<S>,
        start: Instant,
    ) -> TlsStep<()> {
        let reply = client.reply().map_err(|error| match error {
            ReplyError::Io(error) if error.kind() == ErrorKind::TimedOut => {
                Fault::Silent(LIMIT, self.service.tls())
            }
            error => unanswered(error),
        })?;
        self.greeted = Some(start.elapsed());
        let is_ready = reply.is_positive();
        self.greeting = Some(reply.clone());
        if !is_ready {
            return Err(Fault::Rejected(reply));
        }
        self.reach(TlsStage::Greeting);
        Ok(())
    }

    /// Asks for the capabilities; `is_final` where no TLS handshake follows.
    fn offers<S: Read + Write>(
        &mut self,
        client: &mut SmtpClient<S>,
        ehlo: &str,
        is_final: bool,
    ) -> TlsStep<Capabilities> {
        let reply = client.command(ehlo).map_err(unanswered)?;
        let is_encrypted = self.handshake.is_some();
        // A device can hide EHLO without TLS only.
        if reply.code == SHUTTING_DOWN || !reply.is_positive() && is_encrypted {
            return Err(Fault::Rejected(reply));
        }
        if !reply.is_positive() {
            return Err(Fault::NoEsmtp(reply));
        }
        let found = Capabilities::from(&reply);
        if is_encrypted {
            self.after = Some(found.clone());
        } else {
            self.before = Some(found.clone());
            self.reach(TlsStage::Ehlo);
        }
        if is_final && found.auth.is_empty() && self.is_for_users() {
            self.blame(Fault::NoAuth);
        } else if is_final {
            self.reach(TlsStage::Auth);
        }
        Ok(found)
    }

    fn handshake(
        &mut self,
        mut stream: TlsStream,
        name: &ServerName<'static>,
        trust: &Trust,
    ) -> TlsStep<StreamOwned<ClientConnection, TlsStream>> {
        let broken = |reason: String| Fault::Handshake(reason);
        stream.forget();
        let recorder =
            Arc::new(Recorder::new(Arc::clone(&trust.verifier), Arc::clone(&trust.roots)));
        let config = ClientConfig::builder_with_provider(Arc::clone(&trust.provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| broken(reason(&error)))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&recorder) as _)
            .with_no_client_auth();
        let mut tls = ClientConnection::new(Arc::new(config), name.clone())
            .map_err(|error| broken(reason(&error)))?;
        while tls.is_handshaking() {
            match tls.complete_io(&mut stream) {
                Ok(_) => {}
                Err(error) => return Err(self.not_shaken(&error, stream.first())),
            }
        }
        let Some(certificate) = recorder.take() else {
            return Err(broken("the server presented no certificate".to_owned()));
        };
        let version = match tls.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_3) => "TLS 1.3",
            Some(rustls::ProtocolVersion::TLSv1_2) => "TLS 1.2",
            _ => "TLS",
        };
        self.reach(TlsStage::TlsHandshake);
        self.handshake =
            Some(TlsHandshake { version: version.to_owned(), certificate: certificate.clone() });
        if certificate.problems.is_empty() {
            self.reach(TlsStage::Certificate);
        } else {
            self.blame(Fault::Certificate(certificate));
        }
        Ok(StreamOwned::new(tls, stream))
    }

    /// Why a handshake failed; `first` is what the server sent first.
    fn not_shaken(&self, error: &io::Error, first: &[u8]) -> Fault {
        // A reply where TLS comes first: three digits.
        if first.len() >= 3 && first[..3].iter().all(u8::is_ascii_digit) {
            return match self.service.tls() {
                Tls::StartTls => Fault::Injected,
                _ => Fault::NotTls,
            };
        }
        if let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>())
        {
            return Fault::Handshake(reason(error));
        }
        Fault::Handshake(match error.kind() {
            ErrorKind::TimedOut => {
                format!("no answer within {}", humantime::format_duration(LIMIT))
            }
            ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => {
                "the server closed the connection".to_owned()
            }
            _ => clean(error.to_string().as_bytes()),
        })
    }
}

/// EHLO with the address of this machine, which RFC 5321 section 4.1.3 allows and which always is
/// right.
fn ehlo(socket: &TcpStream) -> String {
    match socket.local_addr().map(|address| address.ip().to_canonical()) {
        Ok(std::net::IpAddr::V4(v4)) => format!("EHLO [{v4}]"),
        Ok(std::net::IpAddr::V6(v6)) => format!("EHLO [IPv6:{v6}]"),
        Err(_) => "EHLO localhost".to_owned(),
    }
}

/// Ends a session as RFC 5321 section 4.1.1.10 asks for, also after a rejection (section 3.1), unless
/// the server no longer speaks SMTP. The reply is waited for, and not needed.
fn quit<S: Read + Write, T>(
    client: &mut SmtpClient<S>,
    end: &TlsStep<T>,
    timed: impl Fn(&mut S) -> &mut TlsStream,
) {
    if end.as_ref().err().is_none_or(Fault::leaves_smtp) {
        timed(client.stream_mut()).allow(FAREWELL);
        let _ = client.command("QUIT");
    }
}

/// Ends TLS with the alert that belongs there.
fn close(mut stream: StreamOwned<ClientConnection, TlsStream>) {
    stream.sock.allow(FAREWELL);
    stream.conn.send_close_notify();
    let _ = stream.flush();
}

fn unanswered(error: ReplyError) -> Fault {
    match error {
        ReplyError::NotSmtp(text) => Fault::NotSmtp(text),
        ReplyError::Io(error) if error.kind() == ErrorKind::TimedOut => Fault::Stalled,
        ReplyError::Io(_) => Fault::Closed,
    }
}
