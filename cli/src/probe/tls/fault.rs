//! What keeps mail from leaving by a service that connects, and what to do about it.

use std::fmt;
use std::time::{Duration, SystemTime};

use mailport::Tls;

use super::certificate::{Certificate, Problem};
use super::smtp::SmtpReply;
use super::text::clean;

/// What is wrong with a service that connects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// No greeting came in this time from a service of this TLS mode.
    Silent(Duration, Tls),
    /// A later reply did not come in time.
    Stalled,
    /// The server closed the connection, or it broke.
    Closed,
    /// Something else than SMTP, with its first line.
    NotSmtp(String),
    /// The greeting is a rejection.
    Rejected(SmtpReply),
    /// EHLO is rejected.
    NoEsmtp(SmtpReply),
    /// STARTTLS is not offered.
    NoStartTls,
    /// Something has overwritten the offer of STARTTLS with this.
    Stripped(String),
    /// STARTTLS is offered and rejected.
    StartTlsRejected(SmtpReply),
    /// Cleartext came after the reply to STARTTLS.
    Injected,
    /// The server speaks SMTP in cleartext where TLS comes first.
    NotTls,
    /// The TLS handshake failed, with the reason.
    Handshake(String),
    /// The certificate is not verified.
    Certificate(Certificate),
    /// No login is offered.
    NoAuth,
    /// This machine has no thread or no timer for the session.
    Local(String),
}

impl Fault {
    /// The word used in the matrix and in JSON.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Fault::Silent(..) => "silent",
            Fault::Stalled => "stalled",
            Fault::Closed => "closed",
            Fault::NotSmtp(_) => "not-smtp",
            Fault::Rejected(_) => "rejected",
            Fault::NoEsmtp(_) => "no-esmtp",
            Fault::NoStartTls => "no-starttls",
            Fault::Stripped(_) => "starttls-stripped",
            Fault::StartTlsRejected(_) => "starttls-rejected",
            Fault::Injected => "injected",
            Fault::NotTls => "not-tls",
            Fault::Handshake(_) => "handshake",
            Fault::Certificate(certificate) => {
                certificate.problems.first().map_or("certificate", Problem::name)
            }
            Fault::NoAuth => "no-auth",
            Fault::Local(_) => "local",
        }
    }

    /// Whether the server still speaks SMTP, and expects QUIT.
    pub(super) fn leaves_smtp(&self) -> bool {
        match self {
            Fault::Rejected(_)
            | Fault::NoEsmtp(_)
            | Fault::NoStartTls
            | Fault::Stripped(_)
            | Fault::StartTlsRejected(_)
            | Fault::Certificate(_)
            | Fault::NoAuth => true,
            Fault::Silent(..)
            | Fault::Stalled
            | Fault::Closed
            | Fault::NotSmtp(_)
            | Fault::Injected
            | Fault::NotTls
            | Fault::Handshake(_)
            | Fault::Local(_) => false,
        }
    }

    /// The cause and what to do, as the end of a sentence that begins with `PORT is open, but`.
    /// docs/troubleshooting.md has each of them.
    pub(super) fn explain(&self, host: &str, port: u16, now: SystemTime) -> String {
        match self {
            Fault::Silent(time, tls) => {
                let tls_first = match tls {
                    Tls::Implicit => String::new(),
                    _ => format!("; if the server expects TLS first, use --plan {port}:implicit"),
                };
                format!(
                    "the server sent no greeting within {}: try again later or from another \
                     network{tls_first}",
                    humantime::format_duration(*time)
                )
            }
            Fault::Stalled => {
                "the server stopped answering in the session: try again later or from another network"
                    .to_owned()
            }
            Fault::Closed => {
                "the connection was closed in the session: the server or a device on this network \
                 refuses it; try another network"
                    .to_owned()
            }
            Fault::NotSmtp(text) => format!(
                "what answers is not SMTP (\"{text}\"): check the server name and the port, and \
                 log in to this network with a web browser if it asks for that"
            ),
            Fault::Rejected(reply) if reply.code < 500 => format!(
                "the server is not available now (\"{}\"): try again later; if it lasts, this \
                 network may be limited or blocked by the server",
                reply.text()
            ),
            Fault::Rejected(reply) => format!(
                "the server rejects this client (\"{}\"): its reply says why; try another network, \
                 or ask the administrator of the server",
                reply.text()
            ),
            Fault::NoEsmtp(reply) if matches!(reply.code, 500 | 502) => format!(
                "the server does not know EHLO (\"{}\"), without which there is neither TLS nor \
                 login: a device on this network may be filtering SMTP; try port 465 or another \
                 network",
                reply.text()
            ),
            Fault::NoEsmtp(reply) => format!(
                "the server rejects EHLO (\"{}\"): its reply says why; try another network, or ask \
                 the administrator of the server",
                reply.text()
            ),
            Fault::NoStartTls => {
                "it does not offer STARTTLS: the server has no TLS on this port, or a device on \
                 this network removes it; try port 465 or another network, and do not send a \
                 password without TLS"
                    .to_owned()
            }
            Fault::Stripped(keyword) => format!(
                "a device on the way has overwritten the offer of STARTTLS ({keyword}): try port \
                 465 or another network, and do not send a password without TLS"
            ),
            Fault::StartTlsRejected(reply) => format!(
                "the server offers STARTTLS and rejects it (\"{}\"): its TLS is out of order; tell \
                 the administrator of the server",
                reply.text()
            ),
            Fault::Injected => {
                "cleartext follows the reply to STARTTLS: an attacker on the path may be inserting \
                 replies; do not log in from this network"
                    .to_owned()
            }
            Fault::NotTls => format!(
                "it speaks SMTP in cleartext where TLS must come first: use --plan {port}:starttls"
            ),
            Fault::Handshake(reason) => format!(
                "the TLS handshake fails ({reason}): the TLS of the server is out of order or \
                 older than version 1.2, or a device on this network refuses TLS or drops large \
                 packets; try another network, then tell the administrator of the server"
            ),
            Fault::Certificate(certificate) => explain(certificate, host, now),
            Fault::NoAuth => {
                "it offers no login (AUTH): this is not the server by which users send mail; check \
                 the server name and the port"
                    .to_owned()
            }
            Fault::Local(reason) => format!(
                "this machine cannot have a session with it ({reason}): close other programs, or \
                 raise the limits of processes and descriptors (ulimit)"
            ),
        }
    }
}

/// Of several problems of a certificate, the first one explains most.
fn explain(certificate: &Certificate, host: &str, now: SystemTime) -> String {
    let names = certificate.names.join(", ");
    let issuer = &certificate.issuer;
    match certificate.problems.first() {
        Some(Problem::Name) if certificate.names.iter().any(|name| is_portal(name, host)) => {
            format!("its certificate is for {names}: this network asks you to log in first")
        }
        Some(Problem::CommonName) => format!(
            "its certificate has {names} only as its common name, which mail clients no longer \
             accept: tell the administrator of the server"
        ),
        Some(Problem::Name) => format!(
            "its certificate is for {names}, not for {host}: use the server name that the provider \
             gives; if it is {host}, another server answers in this network, so do not log in"
        ),
        Some(Problem::Expired) => format!(
            "its certificate expired on {}: tell the administrator of the server, if the clock of \
             this machine is right ({})",
            Date(certificate.not_after),
            Date(now)
        ),
        Some(Problem::NotYetValid) => format!(
            "its certificate is valid from {} on: set the clock of this machine, which says {}",
            Date(certificate.not_before),
            Date(now)
        ),
        Some(Problem::SelfSigned) => format!(
            "its certificate is signed by itself ({issuer}): install it on this system if the \
             administrator of the server confirms it; otherwise do not log in"
        ),
        Some(Problem::Untrusted) => format!(
            "its certificate is signed by {issuer}, which this system does not trust: a virus \
             scanner or this network may be reading along, or the authority of your organization is \
             not installed here; do not log in before you know"
        ),
        Some(Problem::Other(reason)) => {
            format!("its certificate is refused ({reason}): tell the administrator of the server")
        }
        None => "its certificate is not verified".to_owned(),
    }
}

/// Whether a host name is that of a captive portal, as far as names tell: a hotel's, a hotspot's.
/// A server of a hotel is none because another one of the hotel answers in its place.
fn is_portal(name: &str, host: &str) -> bool {
    const WORDS: [&str; 9] = [
        "portal",
        "captive",
        "captiveportal",
        "hotspot",
        "hotel",
        "guest",
        "wifi",
        "wlan",
        "wireless",
    ];
    let has = |name: &str, word: &str| {
        name.split(['.', '-', '_']).any(|part| part.eq_ignore_ascii_case(word))
    };
    WORDS.iter().any(|word| has(name, word) && !has(host, word))
}

/// A day, in UTC: `2026-11-29`.
pub(super) struct Date(pub(super) SystemTime);

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A formatter of humantime fails for the years after 9999.
        let mut text = String::new();
        match fmt::write(&mut text, format_args!("{}", humantime::format_rfc3339_seconds(self.0))) {
            Ok(()) => f.write_str(text.get(..10).unwrap_or(&text)),
            Err(fmt::Error) => f.write_str("a day after the year 9999"),
        }
    }
}

/// The reason of a handshake that failed.
pub(super) fn reason(error: &rustls::Error) -> String {
    use rustls::{AlertDescription, Error};
    match error {
        Error::AlertReceived(AlertDescription::ProtocolVersion) => {
            "the server refuses TLS 1.2 and 1.3".to_owned()
        }
        Error::AlertReceived(alert) => {
            clean(format!("the server sent the alert {alert:?}").as_bytes())
        }
        Error::InvalidMessage(_) => "what the server sent is not TLS".to_owned(),
        other => clean(other.to_string().as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn reply(code: u16) -> SmtpReply {
        SmtpReply { code, lines: vec!["words of the server".to_owned()] }
    }

    fn certificate(names: &[&str], problem: Problem) -> Fault {
        Fault::Certificate(Certificate {
            names: names.iter().map(|&name| name.to_owned()).collect(),
            issuer: "Example CA".to_owned(),
            not_before: UNIX_EPOCH,
            not_after: UNIX_EPOCH,
            problems: vec![problem],
        })
    }

    fn explain(fault: &Fault) -> String {
        fault.explain("mail.example", 587, UNIX_EPOCH)
    }

    /// Each fault, and each of its sentences.
    fn faults() -> Vec<Fault> {
        let time = Duration::from_secs(30);
        let text = || "words".to_owned();
        vec![
            Fault::Silent(time, Tls::StartTls),
            Fault::Silent(time, Tls::Implicit),
            Fault::Closed,
            Fault::Stalled,
            Fault::NotSmtp(text()),
            Fault::Rejected(reply(421)),
            Fault::Rejected(reply(554)),
            Fault::NoEsmtp(reply(502)),
            Fault::NoEsmtp(reply(550)),
            Fault::NoStartTls,
            Fault::Stripped(text()),
            Fault::StartTlsRejected(reply(454)),
            Fault::Injected,
            Fault::NotTls,
            Fault::Handshake(text()),
            certificate(&["portal.hotel.example"], Problem::Name),
            certificate(&["smtp.other.example"], Problem::Name),
            certificate(&["mail.example"], Problem::CommonName),
            certificate(&[], Problem::Expired),
            certificate(&[], Problem::NotYetValid),
            certificate(&[], Problem::SelfSigned),
            certificate(&[], Problem::Untrusted),
            certificate(&[], Problem::Other(text())),
            Fault::NoAuth,
            Fault::Local(text()),
        ]
    }

    /// Whether a text begins with a pattern, in which `…` is any text.
    fn begins(text: &str, pattern: &str) -> bool {
        let mut parts = pattern.split('…');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = text.strip_prefix(first) else { return false };
        parts.all(|part| match rest.find(part) {
            Some(at) => {
                rest = &rest[at + part.len()..];
                true
            }
            None => false,
        })
    }

    #[test]
    fn the_page_has_each_sentence_of_each_fault_and_no_other() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/troubleshooting.md");
        let page = std::fs::read_to_string(path).unwrap();
        let (_, table) = page.split_once("### Faults\n").unwrap();
        let table = table.split("\n#").next().unwrap();
        let rows: Vec<(&str, &str)> = table
            .lines()
            .filter_map(|line| line.strip_prefix("| `"))
            .map(|line| {
                let mut cells = line.split(" | ");
                (cells.next().unwrap().trim_end_matches('`'), cells.next().unwrap())
            })
            .collect();
        let mut used = vec![false; rows.len()];
        for fault in faults() {
            let sentence = explain(&fault);
            let row = rows
                .iter()
                .position(|&(name, pattern)| name == fault.name() && begins(&sentence, pattern));
            used[row.unwrap_or_else(|| panic!("no row for {}: {sentence}", fault.name()))] = true;
        }
        let unused = rows.iter().zip(used).filter(|(_, used)| !used);
        assert_eq!(unused.map(|(row, _)| row).collect::<Vec<_>>(), Vec::<&(&str, &str)>::new());
    }

    #[test]
    fn each_sentence_says_what_to_do() {
        for fault in faults() {
            let sentence = explain(&fault);
            let (_, advice) = sentence.split_once(": ").unwrap_or_else(|| panic!("{sentence}"));
            assert!(advice.split(' ').count() >= 3, "{sentence}");
        }
    }

    #[test]
    fn a_captive_portal_is_known_by_its_name_alone() {
        for (name, host, is_one) in [
            ("portal.hotel.example", "mail.example", true),
            ("Guest-WLAN.example", "mail.example", true),
            ("*.hotspot.example", "mail.example", true),
            ("smtp.hotel.example", "mail.hotel.example", false),
            ("smtp.example", "mail.example", false),
            ("hotels.example", "mail.example", false),
            ("login.example", "mail.example", false),
        ] {
            assert_eq!(is_portal(name, host), is_one, "{name} for {host}");
        }
    }
}
