//! Who may use a relay, and where it may not go.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

/// Why a connection is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// The client is another machine, or another user at a UNIX socket, and is not allowed.
    Client,
    /// The client has as many sessions as one client may have.
    PerClient,
    /// There are as many sessions as there may be.
    Full,
    /// The client asks for a port that it may not ask for.
    Port,
    /// The destination is the relay itself.
    Loop,
    /// A client of another machine asks for an address of this one.
    Inward,
    /// The client speaks neither SOCKS5 nor HTTP CONNECT, or asks for a command other than CONNECT.
    Protocol,
    /// The client did not say in time where it wants to go.
    Handshake,
    /// The client connected to a transparent listener directly, and was not redirected.
    NotRedirected,
}

impl Refusal {
    /// All reasons.
    pub const ALL: [Refusal; 9] = [
        Refusal::Client,
        Refusal::PerClient,
        Refusal::Full,
        Refusal::Port,
        Refusal::Loop,
        Refusal::Inward,
        Refusal::Protocol,
        Refusal::Handshake,
        Refusal::NotRedirected,
    ];

    /// The word for it in the log and in the status.
    pub fn name(self) -> &'static str {
        match self {
            Refusal::Client => "client",
            Refusal::PerClient => "per-client",
            Refusal::Full => "full",
            Refusal::Port => "port",
            Refusal::Loop => "loop",
            Refusal::Inward => "inward",
            Refusal::Protocol => "protocol",
            Refusal::Handshake => "handshake",
            Refusal::NotRedirected => "not-redirected",
        }
    }
}

/// Whether the settings allow this client: a loopback address, or one in `allow`.
pub fn allows(allow: &[IpNet], client: IpAddr) -> bool {
    let client = client.to_canonical();
    client.is_loopback() || allow.iter().any(|net| net.contains(&client))
}

/// Whether a UNIX socket of the relay is for this user: its own, root, or one in `allow_uids`.
pub fn allows_user(allow_uids: &[u32], own: u32, user: u32) -> bool {
    user == own || user == 0 || allow_uids.contains(&user)
}

/// Whether a connection to `to` would be accepted by one of these listeners. `is_local` says
/// whether an address belongs to this machine.
pub fn leads_to(
    listeners: impl IntoIterator<Item = SocketAddr>,
    to: SocketAddr,
    is_local: impl Fn(SocketAddr) -> bool,
) -> bool {
    let ip = to.ip().to_canonical();
    // The same link-local address belongs to another machine on another link.
    let scope = |address| if let SocketAddr::V6(v6) = address { v6.scope_id() } else { 0 };
    let same_link = |at| scope(at) == scope(to) || scope(at) == 0 || scope(to) == 0;
    let mut listeners = listeners.into_iter().filter(|at| at.port() == to.port());
    listeners.any(|listener| {
        let at = listener.ip().to_canonical();
        at == ip && same_link(listener)
            || (at.is_unspecified() || ip.is_unspecified()) && is_local(to)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_clients_of_this_machine_are_allowed_by_default() {
        let net: Vec<IpNet> = vec!["192.0.2.0/24".parse().unwrap()];
        let of = |text: &str| text.parse().unwrap();
        assert!(allows(&[], of("127.0.0.5")) && allows(&[], of("::1")));
        assert!(allows(&[], of("::ffff:127.0.0.1")));
        assert!(!allows(&[], of("192.0.2.7")) && allows(&net, of("192.0.2.7")));
        assert!(allows(&net, of("::ffff:192.0.2.7")) && !allows(&net, of("192.0.3.7")));
    }

    #[test]
    fn a_unix_socket_is_for_its_owner_root_and_the_users_that_are_named() {
        assert!(allows_user(&[], 1000, 1000) && allows_user(&[], 1000, 0));
        assert!(!allows_user(&[], 1000, 1001) && !allows_user(&[], 0, 1000));
        assert!(allows_user(&[1001], 1000, 1001) && !allows_user(&[1001], 1000, 1002));
    }

    #[test]
    fn a_loop_is_found_through_every_address_of_a_listener() {
        let local = |to: SocketAddr| {
            ["192.0.2.1", "127.0.0.1", "fe80::1"]
                .iter()
                .any(|l| to.ip() == l.parse::<IpAddr>().unwrap())
        };
        let of = |text: &str| text.parse().unwrap();
        let leads = |listener: &str, to: &str| leads_to([of(listener)], of(to), local);
        assert!(leads("127.0.0.1:25", "127.0.0.1:25") && !leads("127.0.0.1:25", "127.0.0.1:587"));
        assert!(leads("0.0.0.0:25", "192.0.2.1:25") && leads("[::]:25", "192.0.2.1:25"));
        assert!(leads("127.0.0.1:25", "[::ffff:127.0.0.1]:25"));
        assert!(!leads("0.0.0.0:25", "192.0.2.9:25") && !leads("127.0.0.1:25", "192.0.2.1:25"));
        assert!(leads("[fe80::1%2]:25", "[fe80::1%2]:25") && leads("[::]:25", "[fe80::1%3]:25"));
        assert!(!leads("[fe80::1%2]:25", "[fe80::1%3]:25"), "another machine, on another link");
    }
}
