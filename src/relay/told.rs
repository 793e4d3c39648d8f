//! What a client is told where there is no connection for it.

use crate::outcome::{Errno, Outcome};
use crate::report::{End, Report};
use crate::socks::Reply;

/// A `421` line: ASCII, and with its end under the 512 bytes of RFC 5321 section 4.5.3.1.5.
pub(super) fn line(code: &str, words: &str) -> String {
    let ascii = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
    let mut line = format!("421 {code} {}", words.chars().map(ascii).collect::<String>());
    line.truncate(500);
    line.push_str("\r\n");
    line
}

/// What a dial that failed is told as: by the attempt that says most of it.
pub(super) fn reply(report: &Report) -> Reply {
    if report.end == End::Unresolved {
        return Reply::HostUnreachable;
    }
    let Some(attempt) = report.telling() else { return Reply::Failure };
    match (attempt.outcome, attempt.icmp, attempt.errno) {
        (Outcome::Reset | Outcome::Closed, ..) => Reply::Refused,
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
    use super::super::access::Refusal;
    use super::*;

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
