//! A session's dial.

use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::Interest;
use mio::unix::SourceFd;
use socket2::Socket;

use super::destination::Destination;
use super::joined::{Established, HeldGreeting};
use super::{Peeked, Session, SessionState, SessionStep, far_token};
use crate::access::Refusal;
use crate::config::Mode;
use crate::context::{Context, SessionEnd};
use crate::loop_detection::Endpoints;
use crate::replies::ReplyStyle;
use crate::resolvers::was_inward;
use crate::taken_over::{NotConnected, Wanted};
use mailport::outcome::Errno;
use mailport::report::{End, Report};
use mailport::{ConnectError, Connected, Status};

/// How soon a dial that lacked descriptors is tried again.
const RETRY: Duration = Duration::from_millis(250);
/// How long a server's greeting waits after a client can have read a proxy's reply, and once more
/// after it has. A client that receives both at once loses the greeting if it is not careful (Node's
/// `socks`, socks.el); 10 ms between them were enough.
const GREETING_STEP: Duration = Duration::from_millis(10);
/// How long a client is waited for that does not read the reply.
const READING_TIMEOUT: Duration = Duration::from_secs(2);

impl Session {
    /// Starts the dial, or has the session wait for its turn.
    pub(super) fn dial(
        &mut self,
        mut destination: Destination,
        context: &mut Context,
        now: Instant,
    ) -> SessionStep {
        self.host = Some(destination.target.to_string());
        if destination.addresses.is_none() {
            destination.addresses = context.answers.recent(&self.listener, now);
        }
        let known = destination.known();
        if let Some(refusal) = known.into_iter().find_map(|to| self.forbidden(to, context)) {
            return self.refuse(refusal, context, now);
        }
        if destination.needs_quota() && !self.has_lookup {
            if !context.lookups.begin(self.number, &self.listener, self.owner) {
                let until = now + destination.timeout;
                self.state = SessionState::Queued { destination, until };
                return SessionStep::Until(until);
            }
            self.has_lookup = true;
        }
        let deadline = destination.deadline(now);
        let mut config = self.listener.dial.clone();
        config.timeout = deadline.saturating_duration_since(now).max(config.attempt_delay);
        let dialer = context.dialer(&self.listener, destination.is_named, self.is_remote(context));
        let mut dialer = dialer.with_plan(destination.plan.clone()).with_config(config);
        if let Some(addresses) = &destination.addresses {
            dialer = dialer.with_addresses(Arc::clone(addresses));
        }
        match dialer.start(&destination.target) {
            Ok(dial) => {
                self.state = SessionState::Dialling(destination, Box::new(dial), false);
                self.first_turn(context, now)
            }
            Err(error) => self.failed(destination, &error, context, now),
        }
    }

    /// Watches a dial that has not ended in its first turn.
    fn first_turn(&mut self, context: &mut Context, now: Instant) -> SessionStep {
        let step = self.await_dial(context, now);
        let SessionState::Dialling(_, dial, is_watched) = &mut self.state else { return step };
        *is_watched = true;
        let token = far_token(self.number);
        let watched = dial.descriptor_without_timer().and_then(|descriptor| {
            let raw = descriptor.as_raw_fd();
            let registered =
                context.registry.register(&mut SourceFd(&raw), token, Interest::READABLE);
            let what = "no place for a dial in epoll";
            registered.map_err(|source| ConnectError::Setup { what, source })
        });
        if let Err(error) = watched {
            let state = std::mem::replace(&mut self.state, SessionState::Closing);
            let SessionState::Dialling(destination, ..) = state else { return SessionStep::Done };
            return self.failed(destination, &error, context, now);
        }
        step
    }

    /// Dials where a program was going whose connection was taken over: a name of the listener that
    /// has this address, or the addresses that are known.
    pub(super) fn dial_for_program(
        &mut self,
        wanted: Wanted,
        context: &mut Context,
        now: Instant,
    ) -> SessionStep {
        let target = wanted.target();
        let Wanted { to, addresses, result } = wanted;
        self.result = Some(result);
        let Some(target) = target else { return self.refuse(Refusal::Port, context, now) };
        let known = (target, Some(addresses.into()));
        self.find_name(to.ip(), to.port(), known, context, now)
    }

    fn is_remote(&self, context: &Context) -> bool {
        self.client.tcp().is_some_and(|client| !context.is_local_client(client))
    }

    /// Why the session may not connect to an address.
    fn forbidden(&self, to: SocketAddr, context: &Context) -> Option<Refusal> {
        if context.leads_back(to) {
            return Some(Refusal::Loop);
        }
        let is_proxy = matches!(self.listener.mode, Mode::Proxy(_));
        (is_proxy && self.is_remote(context) && context.may_be_local(to)).then_some(Refusal::Inward)
    }

    /// Waits for other sessions' look-ups to end.
    pub(super) fn await_queue(&mut self, context: &mut Context, now: Instant) -> SessionStep {
        let SessionState::Queued { until, .. } = &self.state else { return SessionStep::Done };
        let until = *until;
        if self.client_has_left() {
            context.lookups.leave(self.number);
            return self.leave(context);
        }
        if now < until {
            return SessionStep::Until(until);
        }
        context.lookups.leave(self.number);
        self.refuse(Refusal::PerClient, context, now)
    }

    /// Lets the dial do what it can, and takes its result.
    pub(super) fn await_dial(&mut self, context: &mut Context, now: Instant) -> SessionStep {
        let SessionState::Dialling(_, dial, _) = &mut self.state else { return SessionStep::Done };
        if dial.process() == Status::Pending {
            let (report, wait) = (dial.report(), dial.poll_timeout());
            if !report.attempts.is_empty() {
                self.end_lookup(context);
            }
            if let Some(refusal) = self.forbidden_attempt(&report, context) {
                // The dial is dropped.
                self.end_lookup(context);
                return self.refuse(refusal, context, now);
            }
            if self.client_has_left() {
                self.end_lookup(context);
                return self.leave(context);
            }
            return SessionStep::Until(now + wait.unwrap_or(RETRY));
        }
        self.end_lookup(context);
        let state = std::mem::replace(&mut self.state, SessionState::Closing);
        let SessionState::Dialling(destination, mut dial, is_watched) = state else {
            return SessionStep::Done;
        };
        if is_watched && let Ok(descriptor) = dial.descriptor_without_timer() {
            let _ = context.registry.deregister(&mut SourceFd(&descriptor.as_raw_fd()));
        }
        let result = dial.take();
        drop(dial);
        let report = match &result {
            Ok(connected) => Some(&connected.report),
            Err(error) => error.report(),
        };
        if let Some(report) = report {
            if let Some(refusal) = self.forbidden_attempt(report, context) {
                // The connection is dropped before a byte has passed.
                return self.refuse(refusal, context, now);
            }
            if destination.addresses.is_none() {
                context.answers.keep(&self.listener, destination.began, report);
            }
        }
        match result {
            Ok(connected) => self.connected(connected, destination, context, now),
            Err(error) => self.failed(destination, &error, context, now),
        }
    }

    /// Why the session may not connect to one of the addresses that its dial has tried.
    fn forbidden_attempt(&self, report: &Report, context: &Context) -> Option<Refusal> {
        let mut tried = report.attempts.iter().filter_map(|attempt| attempt.address);
        tried.find_map(|to| self.forbidden(to, context))
    }

    fn end_lookup(&mut self, context: &mut Context) {
        if std::mem::take(&mut self.has_lookup) {
            context.lookups.end(&self.listener, self.owner);
        }
    }

    pub(super) fn dial_again(&mut self, context: &mut Context, now: Instant) -> SessionStep {
        match std::mem::replace(&mut self.state, SessionState::Closing) {
            SessionState::LackingDescriptors(destination) => self.dial(destination, context, now),
            _ => SessionStep::Done,
        }
    }

    fn failed(
        &mut self,
        mut destination: Destination,
        error: &ConnectError,
        context: &mut Context,
        now: Instant,
    ) -> SessionStep {
        self.end_lookup(context);
        let lacks_something = match error {
            ConnectError::Failed(report) => report.end == Some(End::LocalResourceError),
            error => error.errno().is_some_and(Errno::is_local_resource_error),
        };
        if lacks_something && now + RETRY < destination.deadline(now) {
            self.state = SessionState::LackingDescriptors(destination);
            return SessionStep::Until(now + RETRY);
        }
        if let Some(report) = error.report() {
            context.status.count_dial(report, &destination.plan);
            if was_inward(report) {
                return self.refuse(Refusal::Inward, context, now);
            }
        }
        self.send(&self.style.failure(error));
        let reason = error.to_string();
        self.end(&SessionEnd::Failed(reason.clone()), context);
        if let Some(result) = self.result.take() {
            let errno = error.errno().map_or(libc::ECONNREFUSED, |Errno(number)| number);
            let report = error.report().cloned();
            result.send(Err(NotConnected { errno, reason: Some(reason), report }));
            return self.reset();
        }
        self.begin_closing(now)
    }

    /// The dial has connected. A proxy's client is sent the reply first.
    fn connected(
        &mut self,
        connected: Connected,
        destination: Destination,
        context: &mut Context,
        now: Instant,
    ) -> SessionStep {
        let Connected { stream, service, report, .. } = connected;
        let far = Socket::from(std::os::fd::OwnedFd::from(stream));
        self.port = Some(service.port());
        // A command's socket has no addresses, and neither has a server that has gone again.
        let address = |address: socket2::SockAddr| address.as_socket();
        let from = far.local_addr().ok().and_then(address);
        let to = report.winner().and_then(|winner| winner.address);
        let to = to.or_else(|| far.peer_addr().ok().and_then(address));
        let endpoints = from.zip(to).map(|(from, to)| Endpoints::new(from, to));
        if endpoints.is_some_and(|endpoints| context.loops.made(endpoints, self.number)) {
            return self.refuse(Refusal::Loop, context, now);
        }
        context.status.count_dial(&report, &destination.plan);
        context.log.write(&self.record("joined").with("report", report.summary()));
        if let Some(result) = self.result.take() {
            result.send(Ok(report));
        }
        let established = Established { far, endpoints, plan: destination.plan };
        let reply = self.style.success();
        if reply.is_empty() {
            return self.join(established, context, now);
        }
        self.send(&reply);
        let held = HeldGreeting { replied: now, next: now + GREETING_STEP, is_read: false };
        self.state = SessionState::Replied(established, held);
        self.await_greeting(context, now)
    }

    /// Joins when the client has had time to read the reply alone, or as soon as it says something:
    /// it has then read the reply. Of a program of this machine, which may be slow to run, the kernel
    /// knows whether it has.
    pub(super) fn await_greeting(&mut self, context: &mut Context, now: Instant) -> SessionStep {
        if self.peek() == Peeked::Nothing {
            let client = self.client.tcp().zip(self.to);
            let SessionState::Replied(_, held) = &mut self.state else { return SessionStep::Done };
            if now < held.next {
                return SessionStep::Until(held.next);
            }
            if !held.is_read && now < held.replied + READING_TIMEOUT {
                let unread = client.and_then(|(from, to)| context.socket_owners.unread(from, to));
                held.is_read = unread.is_none_or(|count| count == 0);
                held.next = now + GREETING_STEP;
                return SessionStep::Until(held.next);
            }
        }
        match std::mem::replace(&mut self.state, SessionState::Closing) {
            SessionState::Replied(established, _) => self.join(established, context, now),
            _ => SessionStep::Done,
        }
    }

    /// Whether the relay may say something to the client in the protocol of the server.
    pub(super) fn is_smtp(&self) -> bool {
        self.style == ReplyStyle::Smtp
    }
}
