//! What a client is told where there is no connection for it.

use std::net::SocketAddr;

use super::access::Refusal;
use super::config::Way;
use mailport::ConnectError;
use mailport::outcome::{Errno, Outcome};
use mailport::plan::{Plan, Tls};
use mailport::report::{End, Report};
use mailport::socks5::Reply;

/// How a client can be told something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Voice {
    /// By a reply of SMTP.
    Smtp,
    /// By a reply of SOCKS5.
    Socks,
    /// Not at all: TLS comes first, or nobody knows what.
    Mute,
}

impl Voice {
    /// The voice of what a client has come to: a door, and where it was going before it was
    /// redirected there.
    pub(super) fn new(way: &Way, to: Option<SocketAddr>) -> Voice {
        let greets = |plan: &Plan| plan.services()[0].tls() != Tls::Implicit;
        let voice = |greets| if greets { Voice::Smtp } else { Voice::Mute };
        match (way, to) {
            (Way::Socks { .. }, _) => Voice::Socks,
            (Way::Fixed { plan, .. }, _) => voice(greets(plan)),
            (Way::Transparent { .. }, to) => {
                let plan = to.and_then(|to| way.plan(to.port()));
                voice(plan.is_some_and(|plan| greets(&plan)))
            }
        }
    }

    /// What is said of a refusal.
    pub(super) fn refusal(self, refusal: Refusal) -> Vec<u8> {
        match (self, refusal) {
            (Voice::Smtp, _) => refusal.line().into_bytes(),
            (Voice::Socks, Refusal::Protocol) => Reply::Failure.frame().to_vec(),
            (Voice::Socks, _) => Reply::NotAllowed.frame().to_vec(),
            (Voice::Mute, _) => Vec::new(),
        }
    }

    /// What is said of a dial that failed.
    pub(super) fn failure(self, error: &ConnectError) -> Vec<u8> {
        match self {
            Voice::Smtp => line("4.4.1", &error.to_string()).into_bytes(),
            Voice::Socks => error.report().map_or(Reply::Failure, reply).frame().to_vec(),
            Voice::Mute => Vec::new(),
        }
    }
}

/// A `421` line: ASCII, and with its end under the 512 bytes of RFC 5321 section 4.5.3.1.5.
pub(super) fn line(code: &str, words: &str) -> String {
    let ascii = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
    let mut line = format!("421 {code} {}", words.chars().map(ascii).collect::<String>());
    line.truncate(500);
    line.push_str("\r\n");
    line
}

/// What a dial that failed is told as: by the attempt that says most of it.
fn reply(report: &Report) -> Reply {
    if report.end == Some(End::Unresolved) {
        return Reply::HostUnreachable;
    }
    let Some(attempt) = report.telling() else { return Reply::Failure };
    match (attempt.outcome, attempt.icmp, attempt.errno) {
        (Some(Outcome::Reset | Outcome::Closed), ..) => Reply::Refused,
        (_, Some(icmp), _) => match (icmp.version(), icmp.kind, icmp.code) {
            (4, 11, _) | (6, 3, _) => Reply::TtlExpired,
            (4, 3, 0 | 6) | (6, 1, 0) => Reply::NetworkUnreachable,
            (4, 3, 9 | 10 | 13) | (6, 1, 1 | 5) => Reply::NotAllowed,
            (4, 3, 3) | (6, 1, 4) => Reply::Refused,
            _ => Reply::HostUnreachable,
        },
        (_, None, Some(Errno(libc::ENETUNREACH))) => Reply::NetworkUnreachable,
        (_, None, Some(Errno(libc::EHOSTUNREACH))) => Reply::HostUnreachable,
        _ => Reply::Failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_client_was_going_decides_how_it_is_told() {
        let way = Way::Transparent { ports: vec![25, 465, 587] };
        let voice = |to: &str| Voice::new(&way, Some(to.parse().unwrap()));
        assert_eq!(voice("192.0.2.1:25"), Voice::Smtp);
        assert_eq!(voice("[2001:db8::1]:587"), Voice::Smtp);
        assert_eq!((voice("192.0.2.1:465"), voice("192.0.2.1:80")), (Voice::Mute, Voice::Mute));
        assert_eq!(Voice::new(&way, None), Voice::Mute);
    }

    #[test]
    fn a_reply_is_one_short_line_of_ascii() {
        let long = "x\u{fc}\r\n".repeat(400);
        let line = line("4.4.1", &long);
        assert!(line.len() < 512 && line.is_ascii() && line.starts_with("421 4.4.1 x???x"));
        assert_eq!(line.matches(['\r', '\n']).count(), 2);
        for refusal in Refusal::ALL {
            assert!(refusal.line().starts_with("421 4."), "{refusal:?}");
        }
    }
}
