//! The two sockets of a session, once they are joined.

use std::io;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use socket2::Socket;

use crate::listeners;
use crate::loop_detection::Endpoints;
use mailport::Plan;
use mailport::join::{JoinError, Joined, Pair, Progress, Side, Stock};

/// A connection to a server that is not yet joined.
pub(super) struct Established {
    pub(super) far: Socket,
    pub(super) endpoints: Option<Endpoints>,
    pub(super) plan: Plan,
}

/// Two joined sockets, and when something was last passed between them.
pub(super) struct JoinedPair {
    pair: Pair,
    /// The ends of the connection to the server; `None` where it has no addresses.
    pub(super) endpoints: Option<Endpoints>,
    /// How much was passed so far.
    pub(super) passed: Joined,
    active: Instant,
    idle_timeout: Duration,
}

/// How a pair stands.
pub(super) enum JoinState {
    /// It can continue at once.
    More,
    /// It waits for its sockets, or for this time.
    Until(Instant),
    /// Nothing was passed for the idle timeout.
    Idle,
    /// Both directions have ended.
    Ended,
    /// The client has closed everything although it had ended its direction before, or the server
    /// had: it has seen its last reply.
    ClientClosed,
    /// One side has broken it.
    Broken(String),
}

impl JoinedPair {
    /// Joins the client's socket, which is watched already, and the server's.
    pub(super) fn new(
        near: Socket,
        far: Socket,
        endpoints: Option<Endpoints>,
        (registry, token): (&Registry, Token),
        (idle_timeout, now): (Duration, Instant),
    ) -> io::Result<JoinedPair> {
        listeners::prepare_server(&far)?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        registry.register(&mut SourceFd(&far.as_raw_fd()), token, interest)?;
        // Both are non-blocking already.
        let pair = Pair::from_nonblocking(near, far);
        Ok(JoinedPair { pair, endpoints, passed: Joined::default(), active: now, idle_timeout })
    }

    /// Passes on what has come, and returns how much that was.
    pub(super) fn pass(&mut self, stock: &mut Stock, now: Instant) -> (Joined, JoinState) {
        let result = self.pair.process(stock);
        let (before, passed) = (self.passed, self.pair.carried());
        if passed != before {
            (self.passed, self.active) = (passed, now);
        }
        let more =
            Joined { sent: passed.sent - before.sent, received: passed.received - before.received };
        let until = self.active + self.idle_timeout;
        let state = match result {
            Ok(Progress::More) => JoinState::More,
            Ok(Progress::Waiting) if now < until => JoinState::Until(until),
            Ok(Progress::Waiting) => JoinState::Idle,
            Ok(Progress::Ended) => JoinState::Ended,
            Err(error) if error.side != Side::Socket && self.has_half_closed() => {
                JoinState::ClientClosed
            }
            Err(error) => JoinState::Broken(sentence(&error)),
        };
        (more, state)
    }

    fn has_half_closed(&self) -> bool {
        let [near, far] = self.pair.ended();
        near || far
    }

    /// Sends something to the client that is not from the server.
    pub(super) fn send_to_client(&self, bytes: &[u8]) {
        let near = self.pair.near();
        let _ = socket2::SockRef::from(&near).send_with_flags(bytes, libc::MSG_NOSIGNAL);
    }

    /// Closes both sockets: by a reset, so that a message that was cut off cannot be taken for a
    /// complete one, or as both sides have ended.
    pub(super) fn close(self, by_reset: bool, stock: &mut Stock) {
        // Closing them ends their watching. The start of a command copies them for a moment; an
        // event in it has a number that no session has any more.
        if by_reset { self.pair.reset(stock) } else { self.pair.close(stock) }
    }
}

fn sentence(error: &JoinError) -> String {
    let side = match error.side {
        Side::Socket => "the server",
        Side::Input | Side::Output => "the client",
    };
    format!("{side}: {}", error.source)
}
