//! One dial on real sockets, and the one loop that drives it.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::cache::Cache;
use super::poller::{Poller, Ready};
use super::resolver::{Resolver, Slot};
use super::transport::Passage;
use super::transport::direct::{self, Socket};
use super::transport::{Fact, Transport};
use crate::cache::Place;
use crate::config::Config;
use crate::error::ConnectError;
use crate::machine::{Action, Answer, AttemptId, Event, Machine, Question, Stale};
use crate::outcome::{Failure, Outcome};
use crate::plan::{Family, Service};
use crate::report::{End, Report};

/// Where a dial goes: what the machine's look-ups are answered from.
#[derive(Debug)]
pub(super) enum Destination {
    Name(String),
    Address(SocketAddr),
    /// Looked up and connected to elsewhere.
    Through(Passage),
}

impl Destination {
    pub(super) fn scope(&self) -> u32 {
        match self {
            Destination::Address(SocketAddr::V6(v6)) => v6.scope_id(),
            _ => 0,
        }
    }
}

/// A connection, and how it came about.
#[derive(Debug)]
pub struct Connected {
    /// The connected socket, close-on-exec, with no option set but those of the caller.
    ///
    /// Through a command it is one end of a UNIX socket pair: reading, writing, shutting down and
    /// peeking work as with TCP, but addresses and TCP's options give an error.
    pub socket: TcpStream,
    /// The service that was reached. Its TLS mode is what the plan demands: insist on it, verify
    /// the target's name, and send no credentials before.
    pub service: Service,
    /// What the dial did.
    pub report: Report,
}

/// How a dial stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Status {
    /// Not ended: wait for the descriptor, then call [`Dial::process`] again.
    Pending,
    /// Stopped with a [`Dial::question`], where [`Config::ask`] is set: [`Dial::answer`] it. The
    /// descriptor is watched meanwhile as before: an attempt that connects after all withdraws the
    /// question.
    Asking,
    /// Connected: [`Dial::take`] gives the connection.
    Connected,
    /// Not connected: [`Dial::take`] gives the error.
    Failed,
    /// Called in a fork of the process that the dial belongs to; drop it there.
    Forked,
}

/// A dial under way: one descriptor to watch for reading, one call when it is readable.
///
/// The descriptor ([`AsRawFd`]) is the same for the dial's whole life and may be watched
/// level-triggered or edge-triggered, by anything that can watch one. Timers are inside it, so
/// [`Dial::timeout`] may be ignored. Nothing here blocks, calls back, or leaves anything open:
/// dropping a dial cancels it.
///
/// A dial belongs to the process that started it. In a forked child [`Dial::process`],
/// [`Dial::wait`] and [`Dial::take`] say so and do nothing, and dropping it closes the child's descriptors without touching the parent's
/// dial.
///
/// ```no_run
/// use std::os::fd::AsRawFd;
/// use mailport::{Config, Dialer, Plan, Status};
///
/// # fn wait_until_readable(fd: i32) {}
/// let target = "mail.example.com".parse()?;
/// let mut dial = Dialer::default().start(&target, &Plan::default(), &Config::default())?;
/// while dial.process() == Status::Pending {
///     wait_until_readable(dial.as_raw_fd());
/// }
/// let connected = dial.take()?;
/// println!("{}", connected.report.summary());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Dial {
    machine: Machine,
    host: Destination,
    config: Config,
    resolver: Resolver,
    /// Where resolver threads leave answers; `None` for an address, and after the end.
    slot: Option<Arc<Slot>>,
    poller: Poller,
    /// The transports of attempts that have not ended, by attempt number; in the end the winner's.
    transports: BTreeMap<usize, Transport>,
    /// When something is due without anything happening; `None` once the dial has ended.
    wake_at: Option<Instant>,
    /// The process that owns this dial.
    process: u32,
    /// What the dial teaches in the end, and of which place.
    cache: Option<(Cache, Place)>,
}

impl AsRawFd for Dial {
    fn as_raw_fd(&self) -> RawFd {
        self.poller.as_raw_fd()
    }
}

impl AsFd for Dial {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.poller.as_fd()
    }
}

impl Dial {
    /// A dial without a timer. Every descriptor that it needs besides its sockets is had here.
    pub(super) fn new(
        machine: Machine,
        host: Destination,
        config: Config,
        resolver: Resolver,
        now: Instant,
    ) -> io::Result<Dial> {
        let mut poller = Poller::new()?;
        let slot = match host {
            Destination::Name(_) => Some(Arc::new(Slot::new(poller.waker()?))),
            Destination::Address(_) | Destination::Through(_) => None,
        };
        let (transports, process) = (BTreeMap::new(), std::process::id());
        Ok(Dial {
            machine,
            host,
            config,
            resolver,
            slot,
            poller,
            transports,
            wake_at: Some(now),
            process,
            cache: None,
        })
    }

    /// Has the dial teach a cache what it learns of a place.
    pub(super) fn teaches(&mut self, cache: Option<(Cache, Place)>) {
        self.cache = cache;
    }

    /// Has every candidate tried once only; to be called before the first turn.
    pub(super) fn without_second_attempts(&mut self) {
        self.machine.without_second_attempts();
    }

    /// Puts a timer into the descriptor of a dial of [`Dialer::prepare`](super::Dialer::prepare),
    /// which can then be watched. It is readable at once, so that a caller who only watches it
    /// begins. Fails where no descriptor can be had.
    pub fn add_timer(&mut self) -> io::Result<()> {
        self.poller.add_timer()?;
        self.poller.arm(Some(Duration::ZERO));
        Ok(())
    }

    /// Does what can be done now, and says how the dial stands. Never blocks.
    ///
    /// A status that is neither [`Status::Pending`] nor [`Status::Asking`] is the same for ever; every socket but the
    /// winner's is closed by then, and the descriptor stays open and silent.
    pub fn process(&mut self) -> Status {
        if let Some(status) = self.settled() {
            return status;
        }
        let ready = self.poller.ready(Some(Duration::ZERO));
        self.turn(ready)
    }

    /// Waits for at most `timeout` (for ever with `None`) until something can be done, and does
    /// it. A signal ends the wait early, as [`Status::Pending`]. While a question stands, that is
    /// until the question is withdrawn: give a timeout, or answer first.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Status {
        if let Some(status) = self.settled() {
            return status;
        }
        let ready = match [self.timeout(), timeout].into_iter().flatten().min() {
            // Nothing is watched before the first turn, so there is nothing to ask for.
            Some(Duration::ZERO) if self.transports.is_empty() && self.slot.is_none() => Vec::new(),
            timeout => self.poller.ready(timeout),
        };
        self.turn(ready)
    }

    /// In how long [`Dial::process`] must be called at the latest, if nothing happens before;
    /// `None` once the dial has ended, and while a question stands. What happens before is told by the descriptor alone: a loop
    /// that only sleeps this long comes late for everything else, to a connection by as much as
    /// the deadline.
    pub fn timeout(&self) -> Option<Duration> {
        Some(self.wake_at?.saturating_duration_since(Instant::now()))
    }

    /// The question that the dial has stopped with.
    pub fn question(&self) -> Option<Question> {
        self.machine.question()
    }

    /// Answers a question, by its number; [`Dial::process`] then goes on, for which the descriptor
    /// is readable at once. Fails, and changes nothing, where that question no longer stands.
    pub fn answer(&mut self, question: u32, answer: Answer) -> Result<(), Stale> {
        if self.is_forked() {
            return Err(Stale { question });
        }
        let now = Instant::now();
        self.machine.answer(question, answer, now)?;
        self.wake_at = Some(now);
        self.poller.arm(Some(Duration::ZERO));
        Ok(())
    }

    /// When something is due without anything happening; `None` once the dial has ended.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        self.wake_at
    }

    /// Answers a question as [`Dial::answer`] does, and remembers the answer as a remembered answer for this
    /// network, target and next service, for 30 days: later dials do not ask. Without a cache, or
    /// where the network is not known, the answer counts for this dial only.
    pub fn answer_and_remember(&mut self, question: u32, answer: Answer) -> Result<(), Stale> {
        let next = self.machine.question().map(|question| question.next);
        self.answer(question, answer)?;
        if let (Some((cache, place)), Some(next)) = (&self.cache, next) {
            cache.remember_answer(place, next, answer);
        }
        Ok(())
    }

    /// The dial so far; complete once it has ended.
    pub fn report(&self) -> Report {
        self.machine.report()
    }

    /// Gives the connection, non-blocking, or the error that the dial ended with. The connection
    /// is given once; before the end, and after the connection was taken, it is
    /// [`ConnectError::NotConnected`].
    pub fn take(&mut self) -> Result<Connected, ConnectError> {
        if self.is_forked() {
            return Err(ConnectError::Forked);
        }
        let winner = match self.machine.outcome() {
            None => return Err(ConnectError::NotConnected),
            Some(End::Connected(winner)) => winner,
            Some(_) => return Err(ConnectError::Failed(Box::new(self.machine.report()))),
        };
        let transport = self.transports.remove(&winner);
        let socket =
            transport.and_then(Transport::into_stream).ok_or(ConnectError::NotConnected)?;
        let report = self.machine.report();
        let service = report.attempts[winner].service;
        Ok(Connected { socket, service, report })
    }

    /// The status that nothing changes any more.
    fn settled(&self) -> Option<Status> {
        if self.is_forked() {
            return Some(Status::Forked);
        }
        self.machine.outcome().map(status)
    }

    /// The one loop: readiness becomes events, events become actions, until there are none.
    fn turn(&mut self, ready: Vec<Ready>) -> Status {
        let now = Instant::now();
        let mut events = self.answers();
        let mut closed = Vec::new();
        for ready in ready {
            self.look(ready, &mut events, &mut closed);
        }
        self.look_at_due(now, &mut events);
        loop {
            for event in events.drain(..) {
                self.machine.handle(event, now);
            }
            self.machine.handle_timeout(now);
            while let Some(action) = self.machine.poll_action() {
                self.carry_out(action, now, &mut events);
            }
            // A peer that accepts and closes in one turn has connected first: it may have won.
            events.extend(closed.drain(..).filter_map(|attempt| self.drop_held(attempt)));
            if events.is_empty() {
                break;
            }
        }
        if let Some(end) = self.machine.outcome() {
            self.finish(end);
            return status(end);
        }
        self.arm(now);
        if self.machine.is_asking() { Status::Asking } else { Status::Pending }
    }

    /// Looks at a transport that something happened to.
    fn look(&mut self, ready: Ready, events: &mut Vec<Event>, closed: &mut Vec<AttemptId>) {
        let attempt = AttemptId(ready.token);
        if ready.closed {
            events.extend(self.drop_held(attempt));
        }
        // An event may still be on its way for a socket that was closed in the turn before.
        let Some(transport) = self.transports.get_mut(&ready.token) else { return };
        let facts = transport.look(&self.poller, ready.token);
        self.take_in(attempt, facts, events);
        if ready.closed {
            closed.push(attempt);
        }
    }

    /// Looks at the transports whose own time has come. Where that of the dial has, too, they say what
    /// they have waited for: after the end nobody can.
    fn look_at_due(&mut self, now: Instant, events: &mut Vec<Event>) {
        let Destination::Through(_) = self.host else { return };
        let due = |transport: &Transport| transport.wake_at().is_some_and(|at| at <= now);
        let due = self.transports.iter().filter(|(_, transport)| due(transport)).map(|(&id, _)| id);
        for id in due.collect::<Vec<_>>() {
            self.look(Ready { token: id, closed: false }, events, &mut Vec::new());
        }
        if self.machine.deadline().is_some_and(|at| at <= now) {
            events.extend(self.transports.iter().filter_map(|(&id, transport)| {
                Some(Event::Noted { attempt: AttemptId(id), note: transport.missing()? })
            }));
        }
    }

    /// Turns what was found into events; a transport that has failed is closed.
    fn take_in(&mut self, attempt: AttemptId, facts: Vec<Fact>, events: &mut Vec<Event>) {
        for fact in facts {
            match fact {
                Fact::Connected { round_trip, syns } => {
                    events.push(Event::Connected { attempt, round_trip, syns });
                }
                Fact::Reached => events.push(Event::Confirmed { attempt }),
                Fact::Greeted => events.push(Event::Greeted { attempt }),
                Fact::Failed { failure, note } => {
                    let syns = self.close(attempt);
                    events.extend(note.map(|note| Event::Noted { attempt, note }));
                    events.push(Event::Failed { attempt, failure, syns });
                }
            }
        }
    }

    /// Closes a held connection that its peer has closed.
    fn drop_held(&mut self, attempt: AttemptId) -> Option<Event> {
        if self.machine.outcome().is_some() || !self.machine.is_held(attempt) {
            return None;
        }
        self.close(attempt);
        let failure = Failure::new(Outcome::Closed);
        Some(Event::Failed { attempt, failure, syns: None })
    }

    fn carry_out(&mut self, action: Action, now: Instant, events: &mut Vec<Event>) {
        match action {
            Action::Resolve { family } => self.resolve(family, now, events),
            Action::Connect { attempt, address } => self.connect(attempt, address, events),
            Action::Through { attempt, port } => self.go_through(attempt, port, now, events),
            Action::Close { attempt } => {
                let syns = self.close(attempt);
                events.push(Event::Closed { attempt, syns });
            }
        }
    }

    fn connect(&mut self, attempt: AttemptId, address: SocketAddr, events: &mut Vec<Event>) {
        let waits_for_greeting = self.config.greeting_wait.wait(false).is_some();
        let begun = Socket::connect(address, &self.config);
        let begun =
            begun.map(|(socket, found)| Transport::direct(socket, &found, waits_for_greeting));
        match begun {
            Ok((transport, facts)) => self.open(attempt, transport, facts, events),
            Err(errno) => {
                let failure = Failure { errno: Some(errno), ..Failure::new(Outcome::Local) };
                events.push(Event::Failed { attempt, failure, syns: None });
            }
        }
    }

    /// Begins a transport through the proxy or the command.
    fn go_through(&mut self, attempt: AttemptId, port: u16, now: Instant, events: &mut Vec<Event>) {
        let Destination::Through(passage) = &self.host else {
            unreachable!("only a dial with a way goes through it")
        };
        // One service is tried at a time, so nothing is due before the whole dial is.
        let left = self.machine.deadline().unwrap_or(now).saturating_duration_since(now);
        let waits_for_greeting = self.config.greeting_wait.wait(true).is_some();
        match passage.begin(port, left) {
            Ok(way) => {
                self.open(attempt, Transport::new(way, waits_for_greeting), Vec::new(), events);
                // It has not been looked at yet, and a nested dial has not even begun.
                self.look(Ready { token: attempt.0, closed: false }, events, &mut Vec::new());
            }
            Err(fact) => self.take_in(attempt, vec![fact], events),
        }
    }

    /// Watches a transport. It was begun before, for a socket that does not connect yet is ready for
    /// everything.
    fn open(
        &mut self,
        attempt: AttemptId,
        transport: Transport,
        facts: Vec<Fact>,
        events: &mut Vec<Event>,
    ) {
        let registered = self.poller.register(&transport, attempt.0);
        self.transports.insert(attempt.0, transport);
        let failed = registered.err().map(|error| Fact::local(&error));
        self.take_in(attempt, facts.into_iter().chain(failed).collect(), events);
    }

    /// Closes the transport of an attempt, and says how many SYNs it had sent.
    fn close(&mut self, attempt: AttemptId) -> Option<u32> {
        let transport = self.transports.remove(&attempt.0)?;
        self.poller.deregister(&transport);
        transport.syns()
    }

    fn resolve(&mut self, family: Family, now: Instant, events: &mut Vec<Event>) {
        match (&self.host, &self.slot) {
            (Destination::Address(address), _) => {
                let addresses = Ok(vec![*address]);
                events.push(Event::Resolved { family, addresses, source: None });
            }
            (Destination::Name(name), Some(slot)) => {
                self.resolver.look_up(name, family, slot, now);
            }
            (Destination::Through(_), _) => unreachable!("nothing is looked up on this side"),
            (Destination::Name(_), None) => unreachable!("a dial by name has a slot until it ends"),
        }
    }

    /// The answers of look-ups that have come, as events.
    fn answers(&self) -> Vec<Event> {
        let answers = self.slot.as_ref().map(|slot| slot.take()).unwrap_or_default();
        let events = answers.into_iter().map(|(family, addresses)| {
            let first = addresses.as_ref().ok().and_then(|list| list.first());
            let source = first.and_then(|first| direct::source_towards(*first, &self.config));
            Event::Resolved { family, addresses, source }
        });
        events.collect()
    }

    /// Sets the timer to the machine's deadline, or to the time when a look-up that found every
    /// thread busy can be looked after.
    fn arm(&mut self, now: Instant) {
        let relief = match &self.slot {
            Some(_) => self.resolver.relieve(now),
            None => None,
        };
        let transports = self.transports.values().filter_map(Transport::wake_at).min();
        self.wake_at = [self.machine.deadline(), relief, transports].into_iter().flatten().min();
        self.poller.arm(self.wake_at.map(|at| at.saturating_duration_since(now)));
    }

    /// Makes the descriptor silent, and lets the winner go.
    fn finish(&mut self, end: End) {
        if let Some((cache, place)) = self.cache.take() {
            cache.learn(&place, &self.machine.observations());
        }
        self.wake_at = None;
        self.poller.arm(None);
        if self.slot.is_some() {
            self.stop_looking_up();
            // An answer that came too late has woken us; nobody will ask for it any more.
            self.poller.ready(Some(Duration::ZERO));
        }
        let winner = match end {
            End::Connected(winner) => Some(winner),
            _ => None,
        };
        debug_assert!(
            self.transports.keys().all(|&id| Some(id) == winner),
            "the machine closed all"
        );
        if let Some(transport) = winner.and_then(|winner| self.transports.get(&winner)) {
            self.poller.deregister(transport);
        }
    }

    fn stop_looking_up(&mut self) {
        if let Some(slot) = self.slot.take() {
            slot.empty();
        }
    }

    fn is_forked(&self) -> bool {
        self.process != std::process::id()
    }
}

impl Drop for Dial {
    /// In the owner, sockets are deregistered before they are closed. A forked child shares the
    /// epoll instance, the timer and the waker with its parent: it only closes its copies.
    fn drop(&mut self) {
        if self.is_forked() {
            if self.slot.take().is_some_and(|slot| !Slot::is_left_in_fork(slot)) {
                self.poller.close_in_fork();
            }
            return;
        }
        self.stop_looking_up();
        for transport in self.transports.values() {
            self.poller.deregister(transport);
        }
    }
}

fn status(end: End) -> Status {
    match end {
        End::Connected(_) => Status::Connected,
        _ => Status::Failed,
    }
}
