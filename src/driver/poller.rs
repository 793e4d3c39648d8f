//! One descriptor to wait on: readiness, a timer and a wake-up from other threads behind it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use super::sys;
use crate::error::ConnectError;

/// Tokens from here on are the poller's own; attempts count up from 0 and never come this far.
const FIRST_OWN: usize = usize::MAX - 1;
/// How many events are taken at once; a dial has six attempts a service.
const EVENTS: usize = 16;
const TIMER: Token = Token(FIRST_OWN);
const WAKER: Token = Token(FIRST_OWN + 1);

/// What became of one registered descriptor.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ready {
    pub(super) token: usize,
    /// The peer will send nothing more, or the connection is broken.
    pub(super) closed: bool,
}

#[derive(Debug)]
pub(super) struct Poller {
    poll: Poll,
    events: Events,
    /// `None` where the caller of [`Poller::ready`] brings the time itself.
    timer: Option<Timer>,
    /// Made when a look-up or another thread is the first to need it.
    waker: Option<Arc<OwnedFd>>,
}

#[derive(Debug)]
struct Timer {
    descriptor: OwnedFd,
    runs: bool,
}

impl Poller {
    pub(super) fn new() -> Result<Poller, ConnectError> {
        let poll = Poll::new().map_err(lacking("no epoll descriptor (epoll_create1)"))?;
        Ok(Poller { poll, events: Events::with_capacity(EVENTS), timer: None, waker: None })
    }

    /// Puts a timer behind the descriptor, for a caller that only watches that.
    pub(super) fn add_timer(&mut self) -> Result<(), ConnectError> {
        if self.timer.is_some() {
            return Ok(());
        }
        let descriptor = sys::timer().map_err(lacking("no timer descriptor (timerfd_create)"))?;
        let raw = descriptor.as_raw_fd();
        let mut source = SourceFd(&raw);
        let registered = self.poll.registry().register(&mut source, TIMER, Interest::READABLE);
        registered.map_err(lacking("no place for the timer in epoll (epoll_ctl)"))?;
        self.timer = Some(Timer { descriptor, runs: false });
        Ok(())
    }

    /// Watches a socket. A connection that is held stays watched, so that its end is seen; what its
    /// peer says meanwhile wakes us for nothing, bounded by the receive buffer. Never register a
    /// token for two attempts: an event on its way could find the wrong one. One attempt may watch
    /// one descriptor after the other, for to look once more than needed is no harm.
    pub(super) fn register(&self, socket: &impl AsRawFd, token: usize) -> Result<(), ConnectError> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        let raw = socket.as_raw_fd();
        let mut source = SourceFd(&raw);
        let registered = self.poll.registry().register(&mut source, Token(token), interest);
        registered.map_err(lacking("no place for a socket in epoll (epoll_ctl)"))
    }

    /// Stops watching a socket, which must be done before it is closed: while another process (a
    /// forked child) keeps a copy open, closing alone would leave it watched.
    pub(super) fn deregister(&self, socket: &impl AsRawFd) {
        // It fails only for a descriptor that was never registered, which is what we want.
        let _ = self.poll.registry().deregister(&mut SourceFd(&socket.as_raw_fd()));
    }

    /// Makes the descriptor readable after `delay`, if there is a timer; never for `None`. It fails
    /// where the program has closed the timer, or a sandbox refuses the call.
    pub(super) fn arm(&mut self, delay: Option<Duration>) -> Result<(), ConnectError> {
        let Some(timer) = &mut self.timer else { return Ok(()) };
        if delay.is_none() && !timer.runs {
            return Ok(());
        }
        timer.runs = delay.is_some();
        sys::set_timer(timer.descriptor.as_fd(), delay)
            .map_err(lacking("the timer descriptor cannot be set (timerfd_settime)"))
    }

    /// The descriptor that wakes this poller when it is written to, from any thread.
    pub(super) fn waker(&mut self) -> Result<Arc<OwnedFd>, ConnectError> {
        if let Some(waker) = &self.waker {
            return Ok(Arc::clone(waker));
        }
        let event = sys::event().map_err(lacking("no event descriptor (eventfd)"))?;
        let waker = Arc::new(event);
        let raw = waker.as_raw_fd();
        let mut source = SourceFd(&raw);
        let registered = self.poll.registry().register(&mut source, WAKER, Interest::READABLE);
        registered.map_err(lacking("no place for the event in epoll (epoll_ctl)"))?;
        Ok(Arc::clone(self.waker.insert(waker)))
    }

    /// Lets no other thread make the descriptor readable any more. Only for the owner: a forked
    /// child shares the epoll instance.
    pub(super) fn forget_waker(&mut self) {
        if let Some(waker) = self.waker.take() {
            self.deregister(&*waker);
        }
    }

    /// Waits for at most `timeout` (without limit for `None`), then takes what is ready until nothing
    /// is: a caller's own edge-triggered loop would otherwise never hear of the rest. It fails where
    /// the program has closed the descriptor, or a sandbox refuses the call.
    pub(super) fn ready(&mut self, timeout: Option<Duration>) -> Result<Vec<Ready>, ConnectError> {
        let mut ready = Vec::new();
        let mut timeout = timeout;
        loop {
            match self.poll.poll(&mut self.events, timeout) {
                // A signal: return to the caller.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(ready),
                Err(error) => {
                    let what = "the epoll descriptor cannot be waited for (epoll_wait)";
                    return Err(lacking(what)(error));
                }
                Ok(()) if self.events.is_empty() => return Ok(ready),
                Ok(()) => {}
            }
            for event in self.events.iter().filter(|event| event.token().0 < FIRST_OWN) {
                let closed = event.is_read_closed() || event.is_error();
                ready.push(Ready { token: event.token().0, closed });
            }
            timeout = Some(Duration::ZERO);
        }
    }

    /// Closes the waker in a forked child, where its other owner (the slot that a resolver thread
    /// of the parent looks at) can no longer be asked.
    pub(super) fn close_in_fork(&mut self) {
        if let Some(waker) = self.waker.take() {
            sys::close_leaked(waker.as_raw_fd());
            std::mem::forget(waker);
        }
    }
}

fn lacking(what: &'static str) -> impl Fn(io::Error) -> ConnectError {
    move |source| ConnectError::Setup { what, source }
}

impl AsFd for Poller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        sys::descriptor_of(&self.poll)
    }
}

impl AsRawFd for Poller {
    fn as_raw_fd(&self) -> RawFd {
        self.poll.as_raw_fd()
    }
}
