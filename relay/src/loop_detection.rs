//! Connections of the relay that have come back to it, by any path.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

/// The two ends of a connection. No two connections of a machine have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Endpoints {
    /// Of the side that connected.
    from: SocketAddr,
    /// Where it was going.
    to: SocketAddr,
}

impl Endpoints {
    /// The same for an IPv4 address and its form as an IPv6 address, by which a socket of both
    /// families names it.
    pub(super) fn new(from: SocketAddr, to: SocketAddr) -> Endpoints {
        let canonical =
            |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
        Endpoints { from: canonical(from), to: canonical(to) }
    }
}

/// The connections that clients have made to the relay, and those that it has made to servers. A
/// connection that is among both is a loop.
#[derive(Debug, Default)]
pub(super) struct LoopDetection {
    accepted: BTreeSet<Endpoints>,
    made: BTreeMap<Endpoints, usize>,
}

impl LoopDetection {
    /// Adds a connection that was accepted, or returns the session that has made it.
    pub(super) fn accepted(&mut self, endpoints: Endpoints) -> Option<usize> {
        let maker = self.made.get(&endpoints).copied();
        if maker.is_none() {
            self.accepted.insert(endpoints);
        }
        maker
    }

    /// Adds a connection that a session has made. Whether the relay has accepted it itself, and so
    /// it was not added.
    pub(super) fn made(&mut self, endpoints: Endpoints, session: usize) -> bool {
        let is_loop = self.accepted.contains(&endpoints);
        if !is_loop {
            self.made.insert(endpoints, session);
        }
        is_loop
    }

    /// Removes a connection that was accepted and one that was made.
    pub(super) fn remove(&mut self, accepted: Option<Endpoints>, made: Option<Endpoints>) {
        if let Some(accepted) = accepted {
            self.accepted.remove(&accepted);
        }
        if let Some(made) = made {
            self.made.remove(&made);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(from: &str, to: &str) -> Endpoints {
        Endpoints::new(from.parse().unwrap(), to.parse().unwrap())
    }

    #[test]
    fn a_loop_is_found_from_whichever_end_is_seen_first() {
        let mut loops = LoopDetection::default();
        let own = endpoints("127.0.0.1:4000", "192.0.2.1:587");
        assert!(!loops.made(own, 7));
        assert_eq!(loops.accepted(own), Some(7));
        loops.remove(None, Some(own));
        assert_eq!(loops.accepted(own), None);
        assert!(loops.made(own, 8));
    }

    #[test]
    fn two_connections_from_one_port_are_not_a_loop() {
        let mut loops = LoopDetection::default();
        assert_eq!(loops.accepted(endpoints("127.0.0.1:4000", "127.0.0.1:2525")), None);
        assert!(!loops.made(endpoints("127.0.0.1:4000", "127.0.0.1:587"), 7));
        assert_eq!(loops.accepted(endpoints("[::ffff:127.0.0.1]:4000", "127.0.0.1:587")), Some(7));
    }
}
