//! `connect` calls that block, until the dials of their sockets have ended.
//!
//! A signal can interrupt such a call. It is then repeated (`SA_RESTART`), and waits for the same
//! dial; or it fails with EINTR, and the dial goes on, as a handshake of the kernel would.

use std::collections::HashMap;
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
    /// By the kernel's number of the socket (`SO_COOKIE`).
    dials: Mutex<HashMap<u64, Dial>>,
}

#[derive(Debug)]
enum Dial {
    /// The calls of the program that wait for it, and until when (`SO_SNDTIMEO`).
    UnderWay(Vec<(Call, Option<Instant>)>),
    /// It ended while no call was waiting.
    Ended { errno: Option<i32>, at: Instant },
}

impl Waiting {
    pub(super) fn new(listener: Arc<OwnedFd>) -> Waiting {
        Waiting { listener, dials: Mutex::default() }
    }

    /// The call waits for the dial of its socket, which begins.
    pub(super) fn begin(&self, cookie: u64, call: Call, until: Option<Instant>) {
        let mut dials = self.dials();
        let now = Instant::now();
        dials.retain(|_, dial| !matches!(dial, Dial::Ended { at, .. } if now - *at > KEPT));
        dials.insert(cookie, Dial::UnderWay(vec![(call, until)]));
    }

    /// Has a call of a socket wait for the dial that is under way, or have its end. Returns whether
    /// there is one.
    pub(super) fn repeat(
        &self,
        cookie: u64,
        socket: &OwnedFd,
        call: Call,
        until: Option<Instant>,
    ) -> bool {
        let mut dials = self.dials();
        match dials.get_mut(&cookie) {
            None => return false,
            Some(Dial::UnderWay(calls)) => calls.push((call, until)),
            Some(Dial::Ended { errno, .. }) => {
                let errno = *errno;
                if socket::is_disconnected(socket) {
                    // This call has nothing to do with that dial.
                    dials.remove(&cookie);
                    return false;
                }
                if errno.is_some() {
                    socket::disconnect(socket);
                }
                if self.answer(&call, errno.map_or(CallAnswer::Done, CallAnswer::Fails)) {
                    dials.remove(&cookie);
                }
            }
        }
        true
    }

    /// The dial of a socket has ended, with an error number unless it has connected.
    pub(super) fn end(&self, cookie: u64, errno: Option<i32>) {
        let mut dials = self.dials();
        let Some(Dial::UnderWay(calls)) = dials.get_mut(&cookie) else { return };
        // A socket that failed can be connected again. If no call is waiting, the relay resets it.
        if errno.is_some() {
            let socket = calls.iter().find_map(|(call, _)| self.socket_of(call, cookie));
            socket.iter().for_each(socket::disconnect);
        }
        let answer = errno.map_or(CallAnswer::Done, CallAnswer::Fails);
        let answered = calls.iter().filter(|(call, _)| self.answer(call, answer)).count();
        if answered == 0 {
            dials.insert(cookie, Dial::Ended { errno, at: Instant::now() });
        } else {
            dials.remove(&cookie);
        }
    }

    /// A copy of the socket of a call, while it waits. None is kept: the program alone decides when
    /// its socket is closed.
    fn socket_of(&self, call: &Call, cookie: u64) -> Option<OwnedFd> {
        let process = process_of(call.thread).ok()?;
        let socket = descriptor_of(process, call.descriptor).ok()?;
        let is_its = sockopt::socket_cookie(&socket) == Ok(cookie);
        (is_its && sys::is_waiting(self.listener.as_fd(), call)).then_some(socket)
    }

    /// Ends the calls whose time is over; the dials go on. Returns when the next one's is.
    pub(super) fn end_overdue(&self, now: Instant) -> Option<Instant> {
        let mut next = None;
        for dial in self.dials().values_mut() {
            let Dial::UnderWay(calls) = dial else { continue };
            calls.retain(|(call, until)| {
                let is_over = until.is_some_and(|until| until <= now);
                if is_over {
                    self.answer(call, CallAnswer::Fails(libc::EINPROGRESS));
                } else if let Some(until) = *until {
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

    fn dials(&self) -> MutexGuard<'_, HashMap<u64, Dial>> {
        self.dials.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
