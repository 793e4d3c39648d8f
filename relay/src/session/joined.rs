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

/// A greeting that waits until a proxy's client has read the reply.
pub(super) struct HeldGreeting {
    pub(super) replied: Instant,
    /// When the client is looked at next.
    pub(super) next: Instant,
    /// Whether the client has read the reply.
    pub(super) is_read: bool,
}

/// Two joined sockets, and when something was last passed between them.
pub(super) struct JoinedPair {
    pair: Pair,
    /// Of the near and the far socket.
    tokens: [Token; 2],
    /// Whether the near and the far socket are watched for writing: from the first time on that
    /// they have taken less than there was.
    watched_for_writing: [bool; 2],
    /// The ends of the connection to the server; `None` where it has no addresses.
    pub(super) endpoints: Option<Endpoints>,
    /// How much was passed so far.
    pub(super) passed: Joined,
    active: Instant,
    idle_timeout: Duration,
}

/// The state of a pair.
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
        (registry, tokens): (&Registry, [Token; 2]),
        (idle_timeout, now): (Duration, Instant),
    ) -> io::Result<JoinedPair> {
        listeners::prepare_server(&far)?;
        registry.register(&mut SourceFd(&far.as_raw_fd()), tokens[1], Interest::READABLE)?;
        Ok(JoinedPair {
            // Both are non-blocking already.
            pair: Pair::from_nonblocking(near, far),
            tokens,
            watched_for_writing: [false; 2],
            endpoints,
            passed: Joined::default(),
            active: now,
            idle_timeout,
        })
    }

    /// Passes on what has come, and returns how much that was; `ready` says whether the near and the
    /// far socket have had an event.
    pub(super) fn pass(
        &mut self,
        ready: [bool; 2],
        (registry, stock): (&Registry, &mut Stock),
        now: Instant,
    ) -> (Joined, JoinState) {
        let result = self.pair.process_ready(stock, ready);
        let (before, passed) = (self.passed, self.pair.carried());
        if passed != before {
            (self.passed, self.active) = (passed, now);
        }
        let more =
            Joined { sent: passed.sent - before.sent, received: passed.received - before.received };
        let until = self.active + self.idle_timeout;
        let state = match result {
            Ok(Progress::More) => JoinState::More,
            Ok(Progress::Waiting) => match self.watch_for_writing(registry) {
                Err(error) => JoinState::Broken(error.to_string()),
                Ok(()) if now < until => JoinState::Until(until),
                Ok(()) => JoinState::Idle,
            },
            Ok(Progress::Ended) => JoinState::Ended,
            Err(error) if error.side != Side::Socket && self.has_half_closed() => {
                JoinState::ClientClosed
            }
            Err(error) => JoinState::Broken(sentence(&error)),
        };
        (more, state)
    }

    /// Watches a socket for writing that has not taken everything.
    fn watch_for_writing(&mut self, registry: &Registry) -> io::Result<()> {
        let sockets = [self.pair.near().as_raw_fd(), self.pair.far().as_raw_fd()];
        let watched = self.tokens.into_iter().zip(&mut self.watched_for_writing);
        for ((wants, socket), (token, watched)) in
            self.pair.wants().into_iter().zip(sockets).zip(watched)
        {
            if wants.writable && !*watched {
                let both = Interest::READABLE | Interest::WRITABLE;
                registry.reregister(&mut SourceFd(&socket), token, both)?;
                *watched = true;
            }
        }
        Ok(())
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
