//! `connect` calls that block, until the dials of their sockets have ended.
//!
//! A signal can interrupt such a call. It is then repeated (`SA_RESTART`), and waits for the same
//! dial; or it fails with EINTR, and the dial goes on, as a handshake of the kernel would.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::net::sockopt;

use super::processes::{descriptor_of, process_of};
use super::socket;
use super::sys::{self, Call, CallAnswer};

/// How long the end of a dial is kept for a call that was interrupted.
const KEPT: Duration = Duration::from_secs(60);

/// The dials of sockets that block.
#[derive(Debug)]
pub(super) struct Waiting {
    listener: Arc<OwnedFd>,
    dials: Mutex<Dials>,
}

#[derive(Debug, Default)]
struct Dials {
    /// By the kernel's number of the socket (`SO_COOKIE`): it has one dial at a time.
    by_socket: HashMap<u64, Dial>,
    /// How many there have been.
    count: u64,
}

/// A dial, of all dials of its socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DialId {
    cookie: u64,
    number: u64,
}

#[derive(Debug)]
struct Dial {
    id: DialId,
    /// The address of the socket in its connection to the relay.
    own: SocketAddr,
    state: DialState,
}

#[derive(Debug)]
enum DialState {
    /// The calls of the program that wait for it.
    UnderWay(Vec<WaitingCall>),
    /// It ended while no call was waiting.
    Ended { errno: Option<i32>, at: Instant },
}

#[derive(Debug)]
struct WaitingCall {
    call: Call,
    /// `SO_SNDTIMEO`.
    until: Option<Instant>,
    /// What it fails with then.
    overdue: i32,
}

impl Waiting {
    pub(super) fn new(listener: Arc<OwnedFd>) -> Waiting {
        Waiting { listener, dials: Mutex::default() }
    }

    /// The call waits for the dial of its socket, which begins.
    pub(super) fn begin(
        &self,
        cookie: u64,
        own: SocketAddr,
        call: Call,
        until: Option<Instant>,
    ) -> DialId {
        let mut dials = self.dials();
        let now = Instant::now();
        let is_kept = |dial: &Dial| match dial.state {
            DialState::UnderWay(_) => true,
            DialState::Ended { at, .. } => now - at <= KEPT,
        };
        dials.by_socket.retain(|_, dial| is_kept(dial));
        dials.count += 1;
        let id = DialId { cookie, number: dials.count };
        let state =
            DialState::UnderWay(vec![WaitingCall { call, until, overdue: libc::EINPROGRESS }]);
        dials.by_socket.insert(cookie, Dial { id, own, state });
        id
    }

    /// Answers a call of a socket whose dial is under way or has ended, or has it wait for the end.
    /// Returns whether there is such a dial.
    pub(super) fn repeat(
        &self,
        cookie: u64,
        socket: &OwnedFd,
        call: Call,
        until: Option<Instant>,
    ) -> bool {
        let mut dials = self.dials();
        let Some(dial) = dials.by_socket.get_mut(&cookie) else { return false };
        let does_block = socket::does_block(socket);
        let errno = match &mut dial.state {
            DialState::UnderWay(calls) if does_block => {
                calls.push(WaitingCall { call, until, overdue: libc::EALREADY });
                return true;
            }
            DialState::UnderWay(_) => {
                self.answer(&call, CallAnswer::Fails(libc::EALREADY));
                return true;
            }
            DialState::Ended { errno, .. } => *errno,
        };
        if errno.is_some() {
            socket::disconnect(socket);
        }
        if self.answer(&call, errno.map_or(CallAnswer::Done, CallAnswer::Fails)) {
            dials.by_socket.remove(&cookie);
        }
        true
    }

    /// Whether there is no dial.
    pub(super) fn is_empty(&self) -> bool {
        self.dials().by_socket.is_empty()
    }

    /// The program disconnects a socket. If its dial is known, that ends; returns the address of its
    /// connection to the relay.
    pub(super) fn abandon(&self, cookie: u64) -> Option<SocketAddr> {
        let dial = self.dials().by_socket.remove(&cookie)?;
        if let DialState::UnderWay(calls) = dial.state {
            let answer = CallAnswer::Fails(libc::ECONNABORTED);
            for waiting in calls {
                self.answer(&waiting.call, answer);
            }
        }
        Some(dial.own)
    }

    /// A dial has ended, with an error number unless it has connected.
    pub(super) fn end(&self, id: DialId, errno: Option<i32>) {
        let mut dials = self.dials();
        let dial = dials.by_socket.get_mut(&id.cookie).filter(|dial| dial.id == id);
        let Some(Dial { state, .. }) = dial else { return };
        let DialState::UnderWay(calls) = state else { return };
        // A socket that failed can be connected again. If no call is waiting, the relay resets it.
        if errno.is_some() {
            let socket = calls.iter().find_map(|waiting| self.socket_of(&waiting.call, id.cookie));
            socket.iter().for_each(socket::disconnect);
        }
        let answer = errno.map_or(CallAnswer::Done, CallAnswer::Fails);
        let answered = calls.iter().filter(|waiting| self.answer(&waiting.call, answer)).count();
        if answered == 0 {
            *state = DialState::Ended { errno, at: Instant::now() };
        } else {
            dials.by_socket.remove(&id.cookie);
        }
    }

    /// A copy of the socket of a call, while it waits. None is kept: the program alone decides when
    /// its socket is closed.
    fn socket_of(&self, call: &Call, cookie: u64) -> Option<OwnedFd> {
        let process = process_of(call.thread).ok()?;
        let socket = descriptor_of(process, call.thread, call.descriptor).ok()?;
        let is_its = sockopt::socket_cookie(&socket) == Ok(cookie);
        (is_its && sys::is_waiting(self.listener.as_fd(), call)).then_some(socket)
    }

    /// Ends the calls whose time is over; the dials go on. Returns when the next one's is.
    pub(super) fn end_overdue(&self, now: Instant) -> Option<Instant> {
        let mut next = None;
        for dial in self.dials().by_socket.values_mut() {
            let DialState::UnderWay(calls) = &mut dial.state else { continue };
            calls.retain(|waiting| {
                let is_over = waiting.until.is_some_and(|until| until <= now);
                if is_over {
                    self.answer(&waiting.call, CallAnswer::Fails(waiting.overdue));
                } else if let Some(until) = waiting.until {
                    next = Some(next.map_or(until, |next: Instant| next.min(until)));
                }
                !is_over
            });
        }
        next
    }

    fn answer(&self, call: &Call, answer: CallAnswer) -> bool {
        sys::answer(self.listener.as_fd(), call, answer)
    }

    fn dials(&self) -> MutexGuard<'_, Dials> {
        self.dials.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
