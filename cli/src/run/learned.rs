//! The addresses of the names that a program has looked up.
//!
//! glibc's getaddrinfo sorts the addresses of a name by connecting one UDP socket to each of them,
//! with the port of the service. So these calls show the other addresses of a name.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// How long a list is used, and how far apart its parts may be.
const FRESH: Duration = Duration::from_secs(1);
/// The most addresses of a list, and the most lists.
const MOST: usize = 32;

/// What was seen of the UDP sockets of each thread.
#[derive(Debug, Default)]
pub(super) struct Learned {
    lists: HashMap<i32, List>,
}

#[derive(Debug)]
struct List {
    process: i32,
    descriptor: i32,
    at: Instant,
    addresses: Vec<IpAddr>,
}

impl Learned {
    /// A thread of a process has connected a UDP socket.
    pub(super) fn see(
        &mut self,
        (process, thread): (i32, i32),
        descriptor: i32,
        address: IpAddr,
        now: Instant,
    ) {
        // Programs look up their own side, too.
        if address.is_unspecified() {
            return;
        }
        if self.lists.len() >= MOST {
            self.lists.retain(|_, list| now - list.at <= FRESH);
        }
        let new = || List { process, descriptor, at: now, addresses: Vec::new() };
        let list = self.lists.entry(thread).or_insert_with(new);
        if list.descriptor != descriptor || now - list.at > FRESH {
            *list = new();
        }
        list.at = now;
        let address = address.to_canonical();
        if list.addresses.len() < MOST && !list.addresses.contains(&address) {
            list.addresses.push(address);
        }
    }

    /// The other addresses of the server that a process connects to: of a list of the last second
    /// that has this address, whichever thread has looked it up.
    pub(super) fn others(&self, process: i32, to: SocketAddr, now: Instant) -> Vec<SocketAddr> {
        let address = to.ip().to_canonical();
        let fresh = self.lists.values().filter(|list| now - list.at <= FRESH);
        let of_it =
            fresh.filter(|list| list.process == process && list.addresses.contains(&address));
        let list = of_it.max_by_key(|list| list.at);
        let others = list.into_iter().flat_map(|list| &list.addresses);
        let others = others.filter(|other| **other != address);
        others.map(|other| SocketAddr::new(*other, to.port())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_others_are_of_one_socket_of_the_process_within_a_second() {
        let (mut learned, start) = (Learned::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        learned.see((7, 1), 5, ip("2001:db8::1"), at(0));
        learned.see((7, 1), 5, ip("::ffff:192.0.2.1"), at(1));
        learned.see((8, 2), 5, ip("203.0.113.1"), at(1));
        let to = "192.0.2.1:587".parse().unwrap();
        let others = |learned: &Learned, ms| learned.others(7, to, at(ms));
        assert_eq!(others(&learned, 10), ["[2001:db8::1]:587".parse().unwrap()]);
        assert_eq!(learned.others(8, to, at(10)), [], "another process");
        assert_eq!(others(&learned, 1002), [], "too old");
        // Another socket begins another list.
        learned.see((7, 1), 6, ip("192.0.2.1"), at(20));
        assert_eq!(others(&learned, 30), []);
        assert_eq!(Learned::default().others(7, to, start), []);
    }
}
