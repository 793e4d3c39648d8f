//! One dial on real sockets, and the one loop that drives it.

use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::cache::Cache;
use super::cancel::Canceller;
use super::poller::{Poller, Ready};
use super::resolver::{Resolver, Slot};
use super::stream::Stream;
use super::sys::process_generation;
use super::transport::direct::{self, Socket};
use super::transport::{Fact, Passage, ProxyDial, Transport};
use crate::cache::Place;
use crate::config::Config;
use crate::error::ConnectError;
use crate::machine::{Action, Answer, AttemptId, Event, Machine, Query, Question, Stale};
use crate::outcome::{Failure, Outcome};
use crate::plan::{Family, Service};
use crate::report::{End, LookupError, Report};

/// Where a dial goes: what the machine's look-ups are answered from.
#[derive(Debug)]
pub(super) enum DialDestination {
    Name(String),
    /// Known without a look-up, best first.
    Addresses(Arc<[SocketAddr]>),
    /// Looked up and connected to elsewhere.
    Through(Passage),
}

impl DialDestination {
    /// The zone of an address, 0 where there is none.
    pub(super) fn scope(&self) -> u32 {
        match self {
            DialDestination::Addresses(list) => match list.first() {
                Some(SocketAddr::V6(v6)) => v6.scope_id(),
                _ => 0,
            },
            DialDestination::Name(_) | DialDestination::Through(_) => 0,
        }
    }
}

/// A connection, and how it came about.
#[derive(Debug)]
pub struct Connected {
    /// The connection, close-on-exec, with no option set but those of the caller.
    pub stream: Stream,
    /// The service that was reached. Its TLS mode is what the plan demands: insist on it, verify
    /// the target's name, and send no credentials before.
    pub service: Service,
    /// What the dial did.
    pub report: Report,
}

/// The state of a dial.
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

/// A dial under way: one descriptor to watch for reading, and one call when it is readable.
///
/// Call [`Dial::process`] first, then, while it returns [`Status::Pending`], wait until
/// [`Dial::descriptor`] is readable and call it again. The descriptor may be watched
/// level-triggered or edge-triggered, is the same for the dial's whole life, and has the timers
/// inside, so [`Dial::poll_timeout`] may be ignored. A program without an event loop calls
/// [`Dial::wait`] instead.
///
/// Nothing here blocks but `wait`, calls back, or leaves anything open: dropping a dial cancels it.
/// [`Dial::canceller`] ends one from another thread.
///
/// A dial belongs to the process that started it. In a forked child [`Dial::process`] and
/// [`Dial::wait`] return [`Status::Forked`], [`Dial::take`] fails, and dropping the dial closes the
/// child's descriptors without touching the parent's dial.
///
/// ```no_run
/// use mailport::{Dialer, Status};
///
/// # fn wait_until_readable(fd: std::os::fd::BorrowedFd<'_>) {}
/// let mut dial = Dialer::new().start("mail.example.com")?;
/// while dial.process() == Status::Pending {
///     wait_until_readable(dial.descriptor()?);
/// }
/// let connected = dial.take()?;
/// println!("{}", connected.report.summary());
/// # Ok::<(), mailport::ConnectError>(())
/// ```
#[derive(Debug)]
pub struct Dial {
    machine: Machine,
    destination: DialDestination,
    config: Config,
    resolver: Resolver,
    /// Where resolver threads leave answers; `None` before a look-up and after the end.
    slot: Option<Arc<Slot>>,
    /// Made by the first turn that ends pending, or for the caller: a dial to an address nearby
    /// needs none.
    poller: Option<Poller>,
    /// The transports of attempts that have not ended, by attempt number; in the end the winner's.
    transports: Vec<(usize, Transport)>,
    canceller: Option<Canceller>,
    /// When something is due without anything happening; `None` once the dial has ended.
    wake_at: Option<Instant>,
    /// What this machine lacked, which ended the dial.
    lacking: Option<ConnectError>,
    /// The process that owns this dial.
    process: u64,
    /// Where observations go in the end, and of which place.
    cache: Option<(Cache, Place)>,
}

impl Dial {
    pub(super) fn new(
        machine: Machine,
        destination: DialDestination,
        config: Config,
        resolver: Resolver,
        cache: Option<(Cache, Place)>,
        now: Instant,
    ) -> Dial {
        Dial {
            machine,
            destination,
            config,
            resolver,
            slot: None,
            poller: None,
            transports: Vec::new(),
            canceller: None,
            wake_at: Some(now),
            lacking: None,
            process: process_generation(),
            cache,
        }
    }

    /// Has every candidate tried once only; to be called before the first turn.
    pub(super) fn without_second_attempts(&mut self) {
        self.machine.without_second_attempts();
    }

    /// The descriptor to watch for reading, which is made at the first call, with its timer.
    ///
    /// It is the same for the dial's whole life. Before the first [`Dial::process`] it is readable
    /// at once; after the end it stays open and silent. Fails where no descriptor can be made, and
    /// in a forked child.
    pub fn descriptor(&mut self) -> Result<BorrowedFd<'_>, ConnectError> {
        if self.is_forked() {
            return Err(ConnectError::Forked);
        }
        let wake_at = self.wake_at;
        let poller = made(&mut self.poller)?;
        poller.add_timer()?;
        poller.arm(wake_at.map(|at| at.saturating_duration_since(Instant::now())))?;
        Ok(AsFd::as_fd(&*poller))
    }

    /// The descriptor to watch, without a timer in it, for an event loop that has timers of its
    /// own: call [`Dial::process`] when it is readable, and after [`Dial::poll_timeout`].
    ///
    /// It is the same descriptor as that of [`Dial::descriptor`], which adds the timer. Fails where
    /// no descriptor can be made, and in a forked child.
    pub fn descriptor_without_timer(&mut self) -> Result<BorrowedFd<'_>, ConnectError> {
        if self.is_forked() {
            return Err(ConnectError::Forked);
        }
        Ok(AsFd::as_fd(&*made(&mut self.poller)?))
    }

    /// A handle that ends this dial from another thread.
    ///
    /// Fails where no descriptor can be made, and in a forked child.
    pub fn canceller(&mut self) -> Result<Canceller, ConnectError> {
        if self.is_forked() {
            return Err(ConnectError::Forked);
        }
        if self.canceller.is_none() {
            let waker = made(&mut self.poller)?.waker()?;
            self.canceller = Some(Canceller::new(waker, self.process));
            if self.settled().is_some() {
                self.silence();
            }
        }
        Ok(self.canceller.clone().expect("made above"))
    }

    /// Does what can be done now, and returns the state of the dial. Never blocks.
    ///
    /// A status that is neither [`Status::Pending`] nor [`Status::Asking`] is final: later calls
    /// return the same, and every socket but the winner's is closed.
    pub fn process(&mut self) -> Status {
        if let Some(status) = self.settled() {
            return status;
        }
        let ready = self.poller.as_mut().map(|poller| poller.ready(Some(Duration::ZERO)));
        self.turn(ready.unwrap_or(Ok(Vec::new())))
    }

    /// Waits for at most `timeout` (without limit for `None`) until something can be done, and does
    /// it. A signal ends the wait early, as [`Status::Pending`]. While a question is open, it waits
    /// until the question is withdrawn: give a timeout, or answer first.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Status {
        if let Some(status) = self.settled() {
            return status;
        }
        let ready = match &mut self.poller {
            // Nothing is watched before the first turn.
            None => Ok(Vec::new()),
            Some(poller) => {
                let due = self.wake_at.map(|at| at.saturating_duration_since(Instant::now()));
                poller.ready([due, timeout].into_iter().flatten().min())
            }
        };
        self.turn(ready)
    }

    /// In how long [`Dial::process`] must be called at the latest, if nothing happens before;
    /// `None` once the dial has ended, and while a question is open. Only the descriptor shows what
    /// happens before: a loop that only sleeps this long is late for everything else, to a
    /// connection by as much as the timeout of the dial.
    pub fn poll_timeout(&self) -> Option<Duration> {
        Some(self.wake_at?.saturating_duration_since(Instant::now()))
    }

    /// The question that the dial has stopped with.
    pub fn question(&self) -> Option<Question> {
        self.machine.question()
    }

    /// Answers a question, by its number; [`Dial::process`] then goes on, for which the descriptor
    /// is readable at once. Fails, and changes nothing, where that question no longer waits for an answer.
    pub fn answer(&mut self, question: u32, answer: Answer) -> Result<(), Stale> {
        if self.is_forked() {
            return Err(Stale { question });
        }
        let now = Instant::now();
        self.machine.answer(question, answer, now)?;
        self.wake_at = Some(now);
        let armed = self.poller.as_mut().map(|poller| poller.arm(Some(Duration::ZERO)));
        if let Some(Err(error)) = armed {
            self.give_up(error, now);
        }
        Ok(())
    }

    /// Answers a question as [`Dial::answer`] does, and remembers the answer for this network,
    /// target and next service, for 30 days: later dials do not ask. Without a cache, with
    /// the [shared](Cache::shared) one, or where the network is not known, the answer counts for
    /// this dial only.
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
        if let Some(error) = self.lacking.take() {
            return Err(error);
        }
        let winner = match self.machine.outcome() {
            None => return Err(ConnectError::NotConnected),
            Some(End::Connected(winner)) => winner,
            Some(_) => return Err(ConnectError::Failed(Box::new(self.machine.report()))),
        };
        let transport = self.remove(winner);
        let stream =
            transport.and_then(Transport::into_stream).ok_or(ConnectError::NotConnected)?;
        let report = self.machine.report();
        let service = report.attempts[winner].service;
        Ok(Connected { stream, service, report })
    }

    /// The status that no later call changes.
    fn settled(&self) -> Option<Status> {
        if self.is_forked() {
            return Some(Status::Forked);
        }
        self.machine.outcome().map(status)
    }

    /// Ends the dial for what this machine lacks; what is open is closed.
    fn give_up(&mut self, error: ConnectError, now: Instant) {
        self.lacking = Some(error);
        self.machine.cancel(now);
    }

    /// The one loop: readiness becomes events, events become actions, until there are none.
    fn turn(&mut self, ready: Result<Vec<Ready>, ConnectError>) -> Status {
        let now = Instant::now();
        let ready = ready.unwrap_or_else(|error| {
            self.give_up(error, now);
            Vec::new()
        });
        if self.canceller.as_ref().is_some_and(Canceller::is_cancelled) {
            self.machine.cancel(now);
        }
        let mut events = self.answers();
        events.extend(self.never_looked_up(now));
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
            if let Some(end) = self.machine.outcome() {
                if events.is_empty() {
                    self.finish(end);
                    return status(end);
                }
            } else if let Err(error) = self.watch(&mut events) {
                self.give_up(error, now);
            } else if events.is_empty() {
                match self.arm(now) {
                    Err(error) => self.give_up(error, now),
                    Ok(()) if self.machine.is_asking() => return Status::Asking,
                    Ok(()) => return Status::Pending,
                }
            }
        }
    }

    /// Watches the transports that are not watched yet, once a turn has left them pending.
    fn watch(&mut self, events: &mut Vec<Event>) -> Result<(), ConnectError> {
        if !events.is_empty() {
            return Ok(());
        }
        let poller = made(&mut self.poller)?;
        let mut failed = Vec::new();
        for (id, transport) in &mut self.transports {
            match transport.watch(poller, *id) {
                // Another attempt may find a place.
                Err(ConnectError::Setup { source, .. }) if Fact::is_of_a_lack(&source) => {
                    failed.push((AttemptId(*id), Fact::local(&source)));
                }
                watched => watched?,
            }
        }
        for (attempt, fact) in failed {
            self.take_in(attempt, vec![fact], events);
        }
        Ok(())
    }

    /// Looks at a transport that something happened to.
    fn look(&mut self, ready: Ready, events: &mut Vec<Event>, closed: &mut Vec<AttemptId>) {
        let attempt = AttemptId(ready.token);
        if ready.closed {
            events.extend(self.drop_held(attempt));
        }
        // An event may still be on its way for a socket that was closed in the turn before.
        let found = self.transports.iter_mut().find(|(id, _)| *id == ready.token);
        let Some((_, transport)) = found else { return };
        let facts = transport.look(self.poller.as_ref());
        self.take_in(attempt, facts, events);
        if ready.closed {
            closed.push(attempt);
        }
    }

    /// Looks at the transports whose own time has come. Where that of the dial has come as well,
    /// they report what they have waited for: after the end they no longer can.
    fn look_at_due(&mut self, now: Instant, events: &mut Vec<Event>) {
        let DialDestination::Through(_) = self.destination else { return };
        let due = |transport: &Transport| transport.wake_at().is_some_and(|at| at <= now);
        let due: Vec<usize> = self
            .transports
            .iter()
            .filter(|(_, transport)| due(transport))
            .map(|&(id, _)| id)
            .collect();
        for id in due {
            self.look(Ready { token: id, closed: false }, events, &mut Vec::new());
        }
        if self.machine.deadline().is_some_and(|at| at <= now) {
            events.extend(self.transports.iter().filter_map(|(id, transport)| {
                Some(Event::Noted { attempt: AttemptId(*id), note: transport.missing()? })
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
                Fact::Noted { note } => events.push(Event::Noted { attempt, note }),
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
            Action::Resolve { query } => self.resolve(query, now, events),
            Action::Connect { attempt, address } => self.connect(attempt, address, events),
            Action::Through { attempt, port } => self.go_through(attempt, port, now, events),
            Action::Close { attempt } => {
                let syns = self.close(attempt);
                events.push(Event::Closed { attempt, syns });
            }
        }
    }

    fn connect(&mut self, attempt: AttemptId, address: SocketAddr, events: &mut Vec<Event>) {
        if self.cache.as_ref().is_some_and(|(cache, _)| !cache.keeps(address.ip())) {
            self.cache = None;
        }
        let waits_for_greeting = self.config.greeting_wait.wait(false).is_some();
        match Socket::connect(address, &self.config) {
            Ok((socket, found)) => {
                let (transport, facts) = Transport::direct(socket, &found, waits_for_greeting);
                self.transports.push((attempt.0, transport));
                self.take_in(attempt, facts, events);
            }
            Err(errno) => {
                let failure = Failure { errno: Some(errno), ..Failure::new(Outcome::Local) };
                events.push(Event::Failed { attempt, failure, syns: None });
            }
        }
    }

    /// Begins a transport through the proxy or the command.
    fn go_through(&mut self, attempt: AttemptId, port: u16, now: Instant, events: &mut Vec<Event>) {
        let DialDestination::Through(passage) = &self.destination else {
            unreachable!("only a dial through something goes through it")
        };
        // One service is tried at a time, so nothing is due before the whole dial is.
        let left = self.machine.deadline().unwrap_or(now).saturating_duration_since(now);
        let waits_for_greeting = self.config.greeting_wait.wait(true).is_some();
        match passage.begin(port, left) {
            Ok(way) => {
                self.transports.push((attempt.0, Transport::new(way, waits_for_greeting)));
                // It has not been looked at yet, and a nested dial has not even begun.
                self.look(Ready { token: attempt.0, closed: false }, events, &mut Vec::new());
            }
            Err(fact) => self.take_in(attempt, vec![fact], events),
        }
    }

    /// Closes the transport of an attempt, and returns how many SYNs it had sent.
    fn close(&mut self, attempt: AttemptId) -> Option<u32> {
        let mut transport = self.remove(attempt.0)?;
        transport.unwatch(self.poller.as_ref());
        transport.syns()
    }

    fn remove(&mut self, id: usize) -> Option<Transport> {
        let place = self.transports.iter().position(|(other, _)| *other == id)?;
        Some(self.transports.swap_remove(place).1)
    }

    fn resolve(&mut self, query: Query, now: Instant, events: &mut Vec<Event>) {
        match &self.destination {
            DialDestination::Addresses(list) => {
                let routes = self.routes(list);
                events.push(Event::Resolved { query, addresses: Ok(list.to_vec()), routes });
            }
            DialDestination::Name(name) => {
                let slot = match &self.slot {
                    Some(slot) => Arc::clone(slot),
                    None => match made(&mut self.poller).and_then(Poller::waker) {
                        Ok(waker) => Arc::clone(self.slot.insert(Arc::new(Slot::new(waker)))),
                        Err(error) => return self.give_up(error, now),
                    },
                };
                self.resolver.look_up(name, self.machine.families(), query, &slot, now);
            }
            DialDestination::Through(_) => unreachable!("nothing is looked up on this side"),
        }
    }

    /// The answers of look-ups that have come, as events.
    fn answers(&self) -> Vec<Event> {
        let answers = self.slot.as_ref().map(|slot| slot.take()).unwrap_or_default();
        let events = answers.into_iter().map(|(query, addresses)| {
            let list = addresses.as_deref().unwrap_or_default();
            let routes = self.routes(list);
            Event::Resolved { query, addresses, routes }
        });
        events.collect()
    }

    /// The families that this machine has a route to, where the machine asks.
    fn routes(&self, list: &[SocketAddr]) -> Vec<Family> {
        if self.machine.uses_routes() { direct::routes(list, &self.config) } else { Vec::new() }
    }

    /// At the deadline: that the limits of the resolver have kept the name from being looked up.
    fn never_looked_up(&self, now: Instant) -> Option<Event> {
        let slot = self.slot.as_ref()?;
        (self.machine.is_over(now) && self.resolver.is_queued(slot)).then(|| Event::Resolved {
            query: Query::Authority,
            addresses: Err(LookupError::Busy),
            routes: Vec::new(),
        })
    }

    /// Sets the timer to the machine's deadline, or to the time when a look-up that found every
    /// thread busy can be looked after.
    fn arm(&mut self, now: Instant) -> Result<(), ConnectError> {
        let relief = match &self.slot {
            Some(_) => self.resolver.relieve(now),
            None => None,
        };
        let transports = self.transports.iter().filter_map(|(_, t)| t.wake_at()).min();
        self.wake_at = [self.machine.deadline(), relief, transports].into_iter().flatten().min();
        let delay = self.wake_at.map(|at| at.saturating_duration_since(now));
        self.poller.as_mut().map_or(Ok(()), |poller| poller.arm(delay))
    }

    /// Makes the descriptor silent, and lets the winner go.
    fn finish(&mut self, end: End) {
        if let Some((cache, place)) = self.cache.take() {
            cache.learn(&place, &self.machine.observations());
        }
        self.wake_at = None;
        self.stop_looking_up();
        self.silence();
        let winner = match end {
            End::Connected(winner) => Some(winner),
            _ => None,
        };
        debug_assert!(
            self.transports.iter().all(|&(id, _)| Some(id) == winner),
            "the machine closed all"
        );
        for (_, transport) in &mut self.transports {
            transport.unwatch(self.poller.as_ref());
        }
    }

    /// No timer and no wake-up makes the descriptor readable any more.
    fn silence(&mut self) {
        if let Some(poller) = &mut self.poller {
            // It fails where the program has closed the timer, which then is silent.
            let _ = poller.arm(None);
            poller.forget_waker();
        }
    }

    fn stop_looking_up(&mut self) {
        if let Some(slot) = self.slot.take() {
            slot.empty();
            // One that is no longer needed makes room for others.
            self.resolver.relieve(Instant::now());
        }
    }

    fn is_forked(&self) -> bool {
        self.process != process_generation()
    }
}

/// For a proxy, which is reached by a separate dial.
impl ProxyDial for Dial {
    fn turn(&mut self) -> Option<Result<Stream, ConnectError>> {
        match self.process() {
            Status::Pending => None,
            _ => Some(self.take().map(|connected| connected.stream)),
        }
    }

    fn wake_at(&self) -> Option<Instant> {
        self.wake_at
    }

    fn watched(&mut self) -> Result<BorrowedFd<'_>, ConnectError> {
        self.descriptor_without_timer()
    }
}

/// The poller, made at the first call.
fn made(poller: &mut Option<Poller>) -> Result<&mut Poller, ConnectError> {
    match poller {
        Some(poller) => Ok(poller),
        none => Ok(none.insert(Poller::new()?)),
    }
}

impl Drop for Dial {
    /// In the owner, sockets are deregistered before they are closed. A forked child shares the
    /// epoll instance, the timer and the waker with its parent: it only closes its copies.
    fn drop(&mut self) {
        if self.is_forked() {
            if self.slot.take().is_some_and(|slot| !Slot::is_left_in_fork(slot))
                && let Some(poller) = &mut self.poller
            {
                poller.close_in_fork();
            }
            return;
        }
        self.stop_looking_up();
        for (_, transport) in &mut self.transports {
            transport.unwatch(self.poller.as_ref());
        }
        if let Some(poller) = &mut self.poller {
            poller.forget_waker();
        }
    }
}

fn status(end: End) -> Status {
    match end {
        End::Connected(_) => Status::Connected,
        _ => Status::Failed,
    }
}
