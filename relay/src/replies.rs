//! What the relay itself sends to a client: why there is no connection, and the replies of a proxy.

use std::net::SocketAddr;

use super::access::Refusal;
use super::config::{Mode, reads_mail};
use mailport::ConnectError;
use mailport::outcome::{Errno, Outcome};
use mailport::plan::{Plan, Tls};
use mailport::report::{End, Report};
use mailport::socks5::Reply;

/// The protocol in which the relay may say something to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReplyStyle {
    /// A reply of SMTP with code 421.
    Smtp,
    /// A reply of SOCKS5.
    Socks,
    /// A response of HTTP.
    Http,
    /// Nothing: the client expects TLS, IMAP, POP3 or Sieve, or its protocol is unknown.
    Silent,
}

impl ReplyStyle {
    /// The style towards a client of this listener, which was going to `to` before it was
    /// redirected. A proxy's client has none until its first byte.
    pub(super) fn new(mode: &Mode, to: Option<SocketAddr>) -> ReplyStyle {
        let style = |plan: &Plan| {
            let is_smtp = plan.services()[0].tls() != Tls::Implicit && !reads_mail(plan);
            if is_smtp { ReplyStyle::Smtp } else { ReplyStyle::Silent }
        };
        match mode {
            Mode::Proxy(_) | Mode::TakenOver(..) => ReplyStyle::Silent,
            Mode::Fixed { plan, .. } => style(plan),
            Mode::Transparent(_) => {
                // A port that no plan falls back from may be anybody's.
                let to = to.filter(|to| [25, 587].contains(&to.port()));
                let plan = to.and_then(|to| mode.plan(to.port()));
                plan.map_or(ReplyStyle::Silent, |plan| style(&plan))
            }
        }
    }

    /// What a client receives before its connection to the server.
    pub(super) fn success(self) -> Vec<u8> {
        match self {
            ReplyStyle::Socks => Reply::Succeeded.frame().to_vec(),
            ReplyStyle::Http => b"HTTP/1.1 200 Connection established\r\n\r\n".to_vec(),
            ReplyStyle::Smtp | ReplyStyle::Silent => Vec::new(),
        }
    }

    /// What a client receives that is refused.
    pub(super) fn refusal(self, refusal: Refusal) -> Vec<u8> {
        let (code, sentence) = match refusal {
            Refusal::PerClient => ("4.7.0", "you have too many connections"),
            Refusal::Full => ("4.3.2", "there are too many connections"),
            Refusal::Loop => ("4.4.6", "the relay would connect to itself"),
            Refusal::Client | Refusal::Inward => ("4.7.1", "this is not allowed"),
            Refusal::Port => ("4.7.1", "this port is not allowed"),
            Refusal::Protocol => ("4.7.1", "only SOCKS5 and HTTP CONNECT are supported"),
            Refusal::Handshake => ("4.4.2", "no request came in time"),
            Refusal::NotRedirected => ("4.4.6", "this listener is for redirected connections"),
        };
        match self {
            ReplyStyle::Smtp => smtp_reply(code, sentence).into_bytes(),
            ReplyStyle::Socks => match refusal {
                Refusal::Protocol => Reply::Failure,
                _ => Reply::NotAllowed,
            }
            .frame()
            .to_vec(),
            ReplyStyle::Http => match refusal {
                Refusal::Full | Refusal::PerClient => {
                    http_response("503 Service Unavailable", sentence)
                }
                Refusal::Handshake => http_response("408 Request Timeout", sentence),
                _ => http_response("403 Forbidden", sentence),
            },
            ReplyStyle::Silent => Vec::new(),
        }
    }

    /// What a client receives whose dial has failed.
    pub(super) fn failure(self, error: &ConnectError) -> Vec<u8> {
        match self {
            ReplyStyle::Smtp => smtp_reply("4.4.1", &error.to_string()).into_bytes(),
            ReplyStyle::Socks => {
                error.report().map_or(Reply::Failure, socks_reply).frame().to_vec()
            }
            ReplyStyle::Http => {
                let ended = error.report().and_then(|report| report.end);
                let status = match ended {
                    Some(End::Timeout) => "504 Gateway Timeout",
                    _ => "502 Bad Gateway",
                };
                http_response(status, &error.to_string())
            }
            ReplyStyle::Silent => Vec::new(),
        }
    }
}

/// A reply of SMTP with code 421: one line of ASCII, with its end under the 512 bytes of RFC 5321
/// section 4.5.3.1.5. It begins with the name of the relay: the server has not sent it.
pub(super) fn smtp_reply(code: &str, sentence: &str) -> String {
    let mut line = format!("421 {code} mailport: {}", ascii(sentence));
    line.truncate(500);
    line.push_str("\r\n");
    line
}

/// A response of HTTP without a connection.
pub(super) fn http_response(status: &str, sentence: &str) -> Vec<u8> {
    let body = format!("mailport: {}\n", ascii(sentence));
    let allow = if status.starts_with("405") { "Allow: CONNECT\r\n" } else { "" };
    let length = body.len();
    let head = "Content-Type: text/plain\r\nConnection: close\r\n";
    format!("HTTP/1.1 {status}\r\n{head}{allow}Content-Length: {length}\r\n\r\n{body}").into_bytes()
}

fn ascii(sentence: &str) -> String {
    let ascii = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
    sentence.chars().map(ascii).collect()
}

/// The reply of SOCKS5 for a dial that failed, by the attempt that explains it.
fn socks_reply(report: &Report) -> Reply {
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
        (Some(Outcome::Timeout), ..) | (_, None, Some(Errno(libc::EHOSTUNREACH))) => {
            Reply::HostUnreachable
        }
        _ => Reply::Failure,
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::Asked;
    use super::*;

    #[test]
    fn only_a_client_of_smtp_receives_smtp() {
        let mode = Mode::Transparent(Asked::default());
        let style = |to: &str| ReplyStyle::new(&mode, Some(to.parse().unwrap()));
        assert_eq!(style("192.0.2.1:25"), ReplyStyle::Smtp);
        assert_eq!(style("[2001:db8::1]:587"), ReplyStyle::Smtp);
        for port in [465, 143, 110, 993, 995, 4190, 80] {
            assert_eq!(style(&format!("192.0.2.1:{port}")), ReplyStyle::Silent, "{port}");
        }
        assert_eq!(ReplyStyle::new(&mode, None), ReplyStyle::Silent);
        let fixed = |plan: &str| {
            let mode = Mode::fixed("x.example".parse().unwrap(), plan.parse().unwrap()).unwrap();
            ReplyStyle::new(&mode, None)
        };
        assert_eq!(fixed("587:starttls"), ReplyStyle::Smtp);
        assert_eq!(fixed("465:implicit"), ReplyStyle::Silent);
        assert_eq!(fixed("143:starttls"), ReplyStyle::Silent);
    }

    #[test]
    fn a_reply_is_one_short_line_of_ascii_and_names_its_sender() {
        let long = "x\u{fc}\r\n".repeat(400);
        let line = smtp_reply("4.4.1", &long);
        assert!(line.len() < 512 && line.is_ascii(), "{line}");
        assert!(line.starts_with("421 4.4.1 mailport: x???x"), "{line}");
        assert_eq!(line.matches(['\r', '\n']).count(), 2);
        for refusal in Refusal::ALL {
            let text = |style: ReplyStyle| String::from_utf8(style.refusal(refusal)).unwrap();
            assert!(text(ReplyStyle::Smtp).starts_with("421 4."), "{refusal:?}");
            assert!(text(ReplyStyle::Smtp).contains(" mailport: "), "{refusal:?}");
            let http = text(ReplyStyle::Http);
            let (head, body) = http.split_once("\r\n\r\n").unwrap();
            assert!(
                head.contains(&format!("Content-Length: {}\r\n", body.len())) || {
                    head.ends_with(&format!("Content-Length: {}", body.len()))
                }
            );
            assert!(body.starts_with("mailport: "), "{refusal:?}");
            assert_eq!(ReplyStyle::Silent.refusal(refusal), b"");
        }
    }
}
