//! A session's two sockets, once they are joined.

use std::io;
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

use super::loop_detection::Ends;
use mailport::Stream;
use mailport::join::{JoinError, Joined, Pair, Progress, Side, Stock};
use socket2::SockRef;

/// Two sockets that are joined, and when something has last passed between them.
pub(super) struct Joint {
    pair: Pair,
    /// The ends of the connection to the server.
    pub(super) ends: Ends,
    /// What has passed so far.
    pub(super) seen: Joined,
    active: Instant,
}

/// How a joint stands.
pub(super) enum Stand {
    /// It can go on at once.
    More,
    /// It waits for its sockets, or for this time.
    Until(Instant),
    /// Nothing was said for too long.
    Idle,
    /// Both directions have ended.
    Ended,
    /// One of them has broken.
    Broken(String),
}

impl Joint {
    /// Joins the mail reader's socket, which is watched already, and the server's.
    pub(super) fn new(
        near: TcpStream,
        far: Stream,
        ends: Ends,
        (registry, token): (&Registry, Token),
        now: Instant,
    ) -> io::Result<Joint> {
        // What was held back to be sent with more was so by whoever wrote it.
        near.set_nodelay(true)?;
        SockRef::from(&far).set_tcp_nodelay(true)?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        registry.register(&mut SourceFd(&far.as_raw_fd()), token, interest)?;
        Ok(Joint { pair: Pair::new(near, far)?, ends, seen: Joined::default(), active: now })
    }

    /// Passes on what has come, and tells how much that was.
    pub(super) fn carry(
        &mut self,
        stock: &mut Stock,
        idle: Duration,
        now: Instant,
    ) -> (Joined, Stand) {
        let result = self.pair.process(stock);
        let (before, seen) = (self.seen, self.pair.carried());
        if seen != before {
            (self.seen, self.active) = (seen, now);
        }
        let passed =
            Joined { sent: seen.sent - before.sent, received: seen.received - before.received };
        let until = self.active + idle;
        let stand = match result {
            Ok(Progress::More) => Stand::More,
            Ok(Progress::Waiting) if now < until => Stand::Until(until),
            Ok(Progress::Waiting) => Stand::Idle,
            Ok(Progress::Ended) => Stand::Ended,
            Err(error) => Stand::Broken(in_words(&error)),
        };
        (passed, stand)
    }

    /// Says something to the mail reader that no server has said.
    pub(super) fn say(&self, words: &[u8]) {
        let _ = SockRef::from(&self.pair.near()).send(words);
    }

    /// Takes it apart; as a reset, where one side has gone so.
    pub(super) fn close(self, by_reset: bool, registry: &Registry, stock: &mut Stock) {
        for socket in [self.pair.near(), self.pair.far()] {
            let _ = registry.deregister(&mut SourceFd(&socket.as_raw_fd()));
        }
        if by_reset { self.pair.reset(stock) } else { self.pair.close(stock) }
    }
}

fn in_words(error: &JoinError) -> String {
    let side = match error.side {
        Side::Socket => "the server",
        Side::Input | Side::Output => "the mail reader",
    };
    format!("{side}: {}", error.source)
}
