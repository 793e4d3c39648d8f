//! Sessions as text.

use std::fmt::Write as _;
use std::time::SystemTime;

use mailport::Service;
use mailport::internal::Millis;
use mailport::report::format_host;

use super::certificate::{Certificate, Problem};
use super::fault::Date;
use super::session::TlsSession;
use super::smtp::Capabilities;

/// The line of the matrix: how far the session came, and what stopped it.
pub(in super::super) fn stage(session: &TlsSession) -> String {
    let stage = session.stage.name();
    match &session.fault {
        Some(fault) => format!("reached {stage}, {}", fault.name()),
        None => format!("reached {stage}"),
    }
}

/// What a session found, each line with its newline.
pub(in super::super) fn details(session: &TlsSession) -> String {
    let mut text = format!("  {} at {}\n", session.service, format_host(session.address));
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "    {name:<11} {value}");
    };
    if let Some(greeting) = &session.greeting {
        let after = session.greeted.map(Millis).map(|after| format!(", after {after}"));
        line("greeting", &format!("{}{}", greeting.text(), after.unwrap_or_default()));
    }
    if let Some(found) = &session.before {
        line("without TLS", &offers(found, true));
    }
    if let Some(handshake) = &session.handshake {
        line("TLS", &format!("{}, {}", handshake.version, certificate(&handshake.certificate)));
    }
    if let Some(found) = &session.after {
        line("with TLS", &offers(found, false));
    }
    line("stage", &stage(session));
    text
}

fn offers(found: &Capabilities, with_starttls: bool) -> String {
    let mut parts = Vec::new();
    if with_starttls {
        parts.push(if found.starttls { "STARTTLS" } else { "no STARTTLS" }.to_owned());
    }
    parts.push(login(found));
    match found.size {
        Some(0) => parts.push("SIZE without a limit".to_owned()),
        Some(size) => parts.push(format!("SIZE {size}")),
        None => {}
    }
    parts.join(", ")
}

fn login(found: &Capabilities) -> String {
    match &*found.auth {
        [] => "no AUTH".to_owned(),
        mechanisms => format!("AUTH {}", mechanisms.join(" ")),
    }
}

fn certificate(certificate: &Certificate) -> String {
    let names = certificate.names.join(", ");
    let (issuer, from) = (&certificate.issuer, Date(certificate.not_before));
    let until = Date(certificate.not_after);
    let problems: Vec<&str> = certificate.problems.iter().map(Problem::name).collect();
    let verified = match &*problems {
        [] => "verified".to_owned(),
        _ => format!("not verified ({})", problems.join(", ")),
    };
    format!("certificate for {names} by {issuer} from {from} until {until}, {verified}")
}

/// The sentence of a host: what keeps mail from leaving by the service that a dial would choose, and
/// what to do; or that it works. `None` where this service has no session.
pub(in super::super) fn sentence(
    host: &str,
    sessions: &[TlsSession],
    chosen: Option<Service>,
    now: SystemTime,
) -> Option<String> {
    let chosen = chosen?;
    let session = sessions.iter().find(|session| session.service == chosen)?;
    let port = chosen.port();
    let Some(fault) = &session.fault else { return Some(works(session)) };
    let others = sessions.iter().filter(|other| other.service != chosen && other.fault.is_none());
    let others: Vec<String> = others.map(|other| other.service.to_string()).collect();
    let instead = match &*others {
        [] => String::new(),
        _ => format!("; {} works", others.join(", ")),
    };
    Some(format!("{port} is open, but {}{instead}", fault.explain(host, port, now)))
}

fn works(session: &TlsSession) -> String {
    let port = session.service.port();
    let tls = match &session.handshake {
        Some(handshake) => {
            let until = Date(handshake.certificate.not_after);
            format!("{}, certificate verified until {until}", handshake.version)
        }
        None => "no TLS".to_owned(),
    };
    let found = session.after.as_ref().or(session.before.as_ref());
    let login = found.map_or_else(String::new, |found| format!(", {}", login(found)));
    format!("{port} works: {tls}{login}")
}
