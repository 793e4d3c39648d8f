//! Who may use a relay, and where it may not go.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::replies;

/// Why a connection is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// The client is of another machine, and not allowed.
    Client,
    /// The client has as many connections as one may have.
    PerClient,
    /// There are as many connections as there may be.
    Full,
    /// It asks for a port that is none of mail.
    Port,
    /// It leads back to the relay.
    Loop,
    /// A client of another machine wants to reach this one through the relay.
    Inward,
    /// It is not SOCKS5, or not what the relay does of it.
    Protocol,
    /// It came to a transparent door by itself, and was not redirected.
    NotRedirected,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Refusal; 8] = [
        Refusal::Client,
        Refusal::PerClient,
        Refusal::Full,
        Refusal::Port,
        Refusal::Loop,
        Refusal::Inward,
        Refusal::Protocol,
        Refusal::NotRedirected,
    ];

    /// The word used in logs and in the status.
    pub fn name(self) -> &'static str {
        match self {
            Refusal::Client => "client",
            Refusal::PerClient => "per-client",
            Refusal::Full => "full",
            Refusal::Port => "port",
            Refusal::Loop => "loop",
            Refusal::Inward => "inward",
            Refusal::Protocol => "protocol",
            Refusal::NotRedirected => "not-redirected",
        }
    }

    /// What a mail reader is shown, on a service that can say something.
    pub fn line(self) -> String {
        let (code, words) = match self {
            Refusal::PerClient => ("4.7.0", "too many connections from your address"),
            Refusal::Full => ("4.3.2", "too many connections"),
            Refusal::Loop => ("4.4.6", "the relay would connect to itself"),
            Refusal::Client | Refusal::Inward => ("4.7.1", "not allowed"),
            Refusal::Port | Refusal::Protocol => ("4.7.1", "not a port of mail"),
            Refusal::NotRedirected => ("4.4.6", "this door is for redirected connections"),
        };
        replies::line(code, words)
    }
}

/// Whether a client of another machine may use the relay.
pub fn allows(allow: &[IpNet], client: IpAddr) -> bool {
    let client = client.to_canonical();
    client.is_loopback() || allow.iter().any(|net| net.contains(&client))
}

/// Whether a connection to `to` arrives at one of these doors. `is_local` tells whether an address
/// is one of this machine's.
pub fn leads_to(
    doors: impl IntoIterator<Item = SocketAddr>,
    to: SocketAddr,
    is_local: impl Fn(SocketAddr) -> bool,
) -> bool {
    let ip = to.ip().to_canonical();
    // A link's own addresses mean something on that link only.
    let scope = |address| if let SocketAddr::V6(v6) = address { v6.scope_id() } else { 0 };
    let same_link = |door| scope(door) == scope(to) || scope(door) == 0 || scope(to) == 0;
    let mut doors = doors.into_iter().filter(|door| door.port() == to.port());
    doors.any(|door| {
        let at = door.ip().to_canonical();
        at == ip && same_link(door) || (at.is_unspecified() || ip.is_unspecified()) && is_local(to)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_allowed_unless_more_is_said() {
        let net: Vec<IpNet> = vec!["192.0.2.0/24".parse().unwrap()];
        let of = |text: &str| text.parse().unwrap();
        assert!(allows(&[], of("127.0.0.5")) && allows(&[], of("::1")));
        assert!(allows(&[], of("::ffff:127.0.0.1")));
        assert!(!allows(&[], of("192.0.2.7")) && allows(&net, of("192.0.2.7")));
        assert!(allows(&net, of("::ffff:192.0.2.7")) && !allows(&net, of("192.0.3.7")));
    }

    #[test]
    fn a_loop_is_found_through_every_address_of_a_door() {
        let local = |to: SocketAddr| {
            ["192.0.2.1", "127.0.0.1", "fe80::1"]
                .iter()
                .any(|l| to.ip() == l.parse::<IpAddr>().unwrap())
        };
        let of = |text: &str| text.parse().unwrap();
        let door = |door: &str, to: &str| leads_to([of(door)], of(to), local);
        assert!(door("127.0.0.1:25", "127.0.0.1:25") && !door("127.0.0.1:25", "127.0.0.1:587"));
        assert!(door("0.0.0.0:25", "192.0.2.1:25") && door("[::]:25", "192.0.2.1:25"));
        assert!(door("127.0.0.1:25", "[::ffff:127.0.0.1]:25"));
        assert!(!door("0.0.0.0:25", "192.0.2.9:25") && !door("127.0.0.1:25", "192.0.2.1:25"));
        assert!(door("[fe80::1%2]:25", "[fe80::1%2]:25") && door("[::]:25", "[fe80::1%3]:25"));
        assert!(!door("[fe80::1%2]:25", "[fe80::1%3]:25"), "another machine's, on another link");
    }
}
