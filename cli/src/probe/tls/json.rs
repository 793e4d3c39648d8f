//! Sessions as JSON.

use std::time::SystemTime;

use mailport::internal::millis;
use mailport::report::format_host;
use serde::Serialize;

use super::certificate::{Certificate, Problem};
use super::session::TlsSession;
use super::smtp::{Capabilities, SmtpReply};

/// A session; its keys are the same however far it came.
#[derive(Serialize)]
pub(in super::super) struct SessionObject<'a> {
    port: u16,
    tls: &'static str,
    address: String,
    /// The last stage that was reached before a fault.
    stage: &'static str,
    /// The fault in a word, and in a sentence; null where there is none.
    fault: Option<&'static str>,
    message: Option<String>,
    greeting: Option<GreetingObject<'a>>,
    without_tls: Option<Offers<'a>>,
    handshake: Option<HandshakeObject<'a>>,
    with_tls: Option<Offers<'a>>,
}

#[derive(Serialize)]
struct GreetingObject<'a> {
    code: u16,
    lines: &'a [String],
    after_ms: Option<f64>,
}

#[derive(Serialize)]
struct Offers<'a> {
    keywords: &'a [String],
    auth: &'a [String],
    size: Option<u64>,
}

#[derive(Serialize)]
struct HandshakeObject<'a> {
    version: &'a str,
    names: &'a [String],
    issuer: &'a str,
    not_before: String,
    not_after: String,
    verified: bool,
    problems: Vec<&'static str>,
}

impl<'a> SessionObject<'a> {
    pub(in super::super) fn new(
        session: &'a TlsSession,
        host: &str,
        now: SystemTime,
    ) -> SessionObject<'a> {
        let port = session.service.port();
        let explain = |fault: &super::fault::Fault| {
            format!("{port} is open, but {}", fault.explain(host, port, now))
        };
        let greeting = |reply: &'a SmtpReply| GreetingObject {
            code: reply.code,
            lines: &reply.lines,
            after_ms: session.greeted.map(millis),
        };
        SessionObject {
            port,
            tls: session.service.tls().name(),
            address: format_host(session.address),
            stage: session.stage.name(),
            fault: session.fault.as_ref().map(super::fault::Fault::name),
            message: session.fault.as_ref().map(explain),
            greeting: session.greeting.as_ref().map(greeting),
            without_tls: session.before.as_ref().map(Offers::new),
            handshake: session
                .handshake
                .as_ref()
                .map(|h| HandshakeObject::new(&h.version, &h.certificate)),
            with_tls: session.after.as_ref().map(Offers::new),
        }
    }
}

impl<'a> Offers<'a> {
    fn new(found: &'a Capabilities) -> Offers<'a> {
        Offers { keywords: &found.keywords, auth: &found.auth, size: found.size }
    }
}

impl<'a> HandshakeObject<'a> {
    fn new(version: &'a str, certificate: &'a Certificate) -> HandshakeObject<'a> {
        let time = |at: SystemTime| humantime::format_rfc3339_seconds(at).to_string();
        HandshakeObject {
            version,
            names: &certificate.names,
            issuer: &certificate.issuer,
            not_before: time(certificate.not_before),
            not_after: time(certificate.not_after),
            verified: certificate.problems.is_empty(),
            problems: certificate.problems.iter().map(Problem::name).collect(),
        }
    }
}
