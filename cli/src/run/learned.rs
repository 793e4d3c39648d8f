//! The addresses of the names that a program has looked up.
//!
//! glibc's getaddrinfo sorts the addresses of a name by connecting one UDP socket to each of them,
//! with the port of the service. So these calls show the other addresses of a name. Where the first
//! of them are of IPv4 and one of IPv6 follows, it closes the socket and opens one of IPv6 under the
//! same number, for the rest. A name with one address is not sorted.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// How long a list is used, and how long it may take to be seen.
const FRESH: Duration = Duration::from_secs(1);
/// The most addresses of a list, and the most lists.
const MOST: usize = 32;

/// A UDP socket of a thread that is being connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct UdpSocket {
    pub(super) process: i32,
    pub(super) thread: i32,
    pub(super) descriptor: i32,
    /// The kernel's number of the socket (`SO_COOKIE`).
    pub(super) cookie: u64,
    /// Whether it is a socket of IPv6; it can be connected to addresses of IPv4, too.
    pub(super) is_ipv6: bool,
}

/// What was seen of the UDP sockets of each thread.
#[derive(Debug, Default)]
pub(super) struct Learned {
    lists: HashMap<i32, List>,
}

#[derive(Debug)]
struct List {
    socket: UdpSocket,
    port: u16,
    began: Instant,
    /// Whether the thread has connected nothing else since.
    is_open: bool,
    addresses: Vec<IpAddr>,
}

impl List {
    /// Whether this is the list's socket, or the one of IPv6 that takes its place.
    fn continues(&self, socket: &UdpSocket, port: u16, now: Instant) -> bool {
        let is_same = self.socket == *socket;
        let is_next = !self.socket.is_ipv6
            && socket.is_ipv6
            && UdpSocket { cookie: socket.cookie, is_ipv6: true, ..self.socket } == *socket;
        self.is_open && self.port == port && now - self.began <= FRESH && (is_same || is_next)
    }
}

impl Learned {
    /// A thread has connected a UDP socket.
    pub(super) fn see(&mut self, socket: UdpSocket, to: SocketAddr, now: Instant) {
        let address = to.ip().to_canonical();
        // Programs look up their own side, too; and a link-local address needs its link.
        let is_link_local = matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
        if address.is_unspecified() || is_link_local {
            return self.end(socket.thread);
        }
        if self.lists.len() >= MOST {
            self.lists.retain(|_, list| now - list.began <= FRESH);
        }
        let new = || {
            let (port, began) = (to.port(), now);
            List { socket, port, began, is_open: true, addresses: Vec::new() }
        };
        let list = self.lists.entry(socket.thread).or_insert_with(new);
        if !list.continues(&socket, to.port(), now) {
            *list = new();
        }
        list.socket = socket;
        if list.addresses.len() < MOST && !list.addresses.contains(&address) {
            list.addresses.push(address);
        }
    }

    /// A thread has connected something else, so that what follows is of another name.
    pub(super) fn end(&mut self, thread: i32) {
        if let Some(list) = self.lists.get_mut(&thread) {
            list.is_open = false;
        }
    }

    /// The other addresses of the server that a process connects to: of a list of the last second
    /// that has this address, whichever of its threads has looked it up.
    pub(super) fn others(&self, process: i32, to: SocketAddr, now: Instant) -> Vec<SocketAddr> {
        let address = to.ip().to_canonical();
        let lists = self.lists.values().filter(|list| {
            list.socket.process == process
                && now - list.began <= FRESH
                && [0, to.port()].contains(&list.port)
                && list.addresses.contains(&address)
        });
        let list = lists.max_by_key(|list| list.began);
        let others = list.into_iter().flat_map(|list| &list.addresses);
        let others = others.filter(|other| **other != address);
        others.map(|other| SocketAddr::new(*other, to.port())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a process with one thread does, in milliseconds.
    struct Program(Learned, Instant);

    impl Program {
        fn new() -> Program {
            Program(Learned::default(), Instant::now())
        }

        fn sees(&mut self, ms: u64, cookie: u64, is_ipv6: bool, to: &str) {
            let socket = UdpSocket { process: 7, thread: 1, descriptor: 5, cookie, is_ipv6 };
            self.0.see(socket, to.parse().unwrap(), self.1 + Duration::from_millis(ms));
        }

        fn others(&self, ms: u64, to: &str) -> String {
            let now = self.1 + Duration::from_millis(ms);
            let others = self.0.others(7, to.parse().unwrap(), now);
            others.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        }
    }

    #[test]
    fn the_others_are_of_one_socket_of_the_process_within_a_second() {
        let mut program = Program::new();
        program.sees(0, 1, true, "[2001:db8::1]:587");
        program.sees(1, 1, true, "[::ffff:192.0.2.1]:587");
        program.sees(2, 1, true, "192.0.2.2:587");
        assert_eq!(program.others(10, "192.0.2.1:587"), "[2001:db8::1]:587 192.0.2.2:587");
        let mapped = program.others(10, "[::ffff:192.0.2.1]:587");
        assert_eq!(mapped, "[2001:db8::1]:587 192.0.2.2:587", "the same address");
        assert_eq!(program.others(10, "192.0.2.9:587"), "", "it is not among them");
        assert_eq!(program.others(10, "192.0.2.1:25"), "", "another port");
        assert_eq!(program.others(1001, "192.0.2.1:587"), "", "too old");
        let to = "192.0.2.1:587".parse().unwrap();
        assert_eq!(program.0.others(8, to, program.1), [], "another process");
        // Another socket begins another list, and so does the time.
        program.sees(20, 2, true, "192.0.2.1:587");
        assert_eq!(program.others(30, "192.0.2.1:587"), "");
        program.sees(1030, 2, true, "192.0.2.3:587");
        assert_eq!(program.others(1030, "192.0.2.3:587"), "");
    }

    #[test]
    fn a_socket_of_ipv6_may_take_the_place_of_one_of_ipv4() {
        let mut program = Program::new();
        program.sees(0, 1, false, "192.0.2.1:0");
        program.sees(1, 2, true, "[2001:db8::1]:0");
        program.sees(1, 2, true, "192.0.2.2:0");
        assert_eq!(program.others(2, "[2001:db8::1]:25"), "192.0.2.1:25 192.0.2.2:25");
        // But not the other way round, nor a socket of the same family.
        program.sees(3, 3, false, "192.0.2.2:0");
        assert_eq!(program.others(4, "192.0.2.2:25"), "");
        program.sees(5, 4, false, "192.0.2.1:0");
        assert_eq!(program.others(6, "192.0.2.1:25"), "");
    }

    #[test]
    fn what_is_connected_in_between_ends_the_list() {
        for end in [
            |program: &mut Program| program.0.end(1),
            |program: &mut Program| {
                program.sees(1, 1, false, "0.0.0.0:0");
            },
        ] {
            let mut program = Program::new();
            program.sees(0, 1, false, "192.0.2.1:0");
            end(&mut program);
            program.sees(2, 1, false, "192.0.2.2:0");
            assert_eq!(program.others(3, "192.0.2.2:25"), "");
        }
        let mut program = Program::new();
        program.sees(0, 1, false, "192.0.2.1:587");
        program.sees(1, 1, false, "192.0.2.2:25");
        assert_eq!(program.others(2, "192.0.2.2:25"), "", "of another service");
    }
}
