//! What goes into a [`Machine`](super::Machine) and what comes out of it.

use std::net::SocketAddr;
use std::time::Duration;

use crate::outcome::Failure;
use crate::plan::Family;
use crate::report::LookupError;

/// An attempt of one dial; also its place in [`Report::attempts`](crate::Report::attempts).
/// Numbers are never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptId(pub usize);

/// Which look-up of the host is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Query {
    /// The one look-up of all families that the dial uses, as the system gives it
    /// (`getaddrinfo`). Its answer is the last word on which addresses the host has.
    Authority,
    /// A look-up of one family, of the name with a final dot, which helps where the authority is
    /// slow. It is for names alone that no search list can mean; of others the answer is
    /// [`LookupError::Unanswered`].
    Hedge(Family),
}

/// Something that happened outside. An event for an attempt that has ended is ignored, so that
/// no action that was already returned has to be withdrawn.
#[derive(Debug, Clone)]
pub enum Event {
    /// A look-up that [`Action::Resolve`] asked for has ended.
    Resolved {
        /// What was asked for.
        query: Query,
        /// The addresses of both families, best first; ports are ignored, and an empty list is the
        /// same as [`LookupError::NoAddress`].
        addresses: Result<Vec<SocketAddr>, LookupError>,
        /// The families of these addresses that this machine has a route to. It only decides
        /// whether a family that the cache knows as bad may still lead to a service.
        routes: Vec<Family>,
    },
    /// The TCP handshake of an attempt is done, and its confirm stage begins.
    Connected {
        /// The attempt.
        attempt: AttemptId,
        /// The kernel's smoothed round trip time of the connection.
        round_trip: Duration,
        /// SYNs sent, where the kernel tells.
        syns: Option<u32>,
    },
    /// The way to the service is complete: the proxy has replied. A direct dial
    /// says this in the same turn as [`Event::Connected`]. Without a greeting wait the connection can be
    /// used now; with one, the server's greeting is waited for from now on.
    Confirmed {
        /// The attempt.
        attempt: AttemptId,
    },
    /// The first byte of the server's greeting has come, which a greeting wait waits for after
    /// [`Event::Confirmed`].
    Greeted {
        /// The attempt.
        attempt: AttemptId,
    },
    /// A further message about an attempt, for people: it is reported and changes nothing.
    Noted {
        /// The attempt, which may have ended.
        attempt: AttemptId,
        /// One line.
        note: String,
    },
    /// An attempt failed, or the peer closed a connection that was held.
    Failed {
        /// The attempt.
        attempt: AttemptId,
        /// How.
        failure: Failure,
        /// SYNs sent, where the kernel tells.
        syns: Option<u32>,
    },
    /// How many SYNs an attempt had sent when [`Action::Close`] closed it.
    Closed {
        /// The attempt.
        attempt: AttemptId,
        /// SYNs sent, where the kernel tells.
        syns: Option<u32>,
    },
}

/// Something to do, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Look up the addresses of the host.
    Resolve {
        /// Which look-up.
        query: Query,
    },
    /// Start connecting.
    Connect {
        /// The attempt, by which events will name it.
        attempt: AttemptId,
        /// Where to.
        address: SocketAddr,
    },
    /// Have the proxy or the command connect to a port of the target.
    Through {
        /// The attempt, by which events will name it.
        attempt: AttemptId,
        /// The port.
        port: u16,
    },
    /// Close the socket of an attempt that lost or was given up.
    Close {
        /// The attempt.
        attempt: AttemptId,
    },
}
