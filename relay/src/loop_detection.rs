//! Connections of the relay that have come back to it, whatever led them there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

/// The two ends of a connection. No two connections of a machine have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ends {
    /// Of whoever connected.
    from: SocketAddr,
    /// Where it was going.
    to: SocketAddr,
}

impl Ends {
    /// A socket on both families may call an IPv4 address by another name.
    pub(super) fn new(from: SocketAddr, to: SocketAddr) -> Ends {
        let plain =
            |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
        Ends { from: plain(from), to: plain(to) }
    }
}

/// The connections that readers have made to the relay, and those that it has made to servers. One
/// that is among both is its own: a loop.
#[derive(Debug, Default)]
pub(super) struct Loops {
    accepted: BTreeSet<Ends>,
    made: BTreeMap<Ends, usize>,
}

impl Loops {
    /// A connection was accepted. If a session has made it, it is that one's, and not noted.
    pub(super) fn accepted(&mut self, ends: Ends) -> Option<usize> {
        let maker = self.made.get(&ends).copied();
        if maker.is_none() {
            self.accepted.insert(ends);
        }
        maker
    }

    /// A session has made a connection. Whether the relay has accepted it itself; then it is not
    /// noted.
    pub(super) fn made(&mut self, ends: Ends, session: usize) -> bool {
        let is_own = self.accepted.contains(&ends);
        if !is_own {
            self.made.insert(ends, session);
        }
        is_own
    }

    /// A connection that was accepted is over, or one that was made.
    pub(super) fn over(&mut self, accepted: Option<Ends>, made: Option<Ends>) {
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

    fn ends(from: &str, to: &str) -> Ends {
        Ends::new(from.parse().unwrap(), to.parse().unwrap())
    }

    #[test]
    fn a_loop_is_found_from_whichever_end_is_seen_first() {
        let mut loops = Loops::default();
        let own = ends("127.0.0.1:4000", "192.0.2.1:587");
        assert!(!loops.made(own, 7));
        assert_eq!(loops.accepted(own), Some(7));
        loops.over(None, Some(own));
        assert_eq!(loops.accepted(own), None);
        assert!(loops.made(own, 8));
    }

    #[test]
    fn a_port_that_is_used_twice_is_no_loop() {
        let mut loops = Loops::default();
        assert_eq!(loops.accepted(ends("127.0.0.1:4000", "127.0.0.1:2525")), None);
        assert!(!loops.made(ends("127.0.0.1:4000", "127.0.0.1:587"), 7));
        assert_eq!(loops.accepted(ends("[::ffff:127.0.0.1]:4000", "127.0.0.1:587")), Some(7));
    }
}
