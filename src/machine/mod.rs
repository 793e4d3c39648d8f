//! The rules of a dial as a machine without I/O: no clock, no socket, no thread, no randomness.

mod addresses;
mod ask;
mod begin;
mod candidates;
mod event;
mod hints;
mod parameters;
mod proof;
mod race;
mod report;
mod rules;

use std::collections::VecDeque;
use std::time::Instant;

#[cfg(feature = "driver")]
pub(crate) use addresses::LOOKUP_HEDGE;
pub(crate) use addresses::usable;
pub use ask::{Answer, Question, Stale};
pub use event::{Action, AttemptId, Event, Query};
pub use hints::{Hints, Observation};

use crate::plan::{Family, Tls};
use crate::report::{End, Greeting};
use addresses::Addresses;
use ask::Asking;
use parameters::Parameters;
use race::{CandidatePlace, Race, Try, TryEnd, TryState};
use rules::{Due, Rules, Step};

/// One dial, without its sockets.
///
/// Its driver has a clock and can connect; the machine decides. Its methods are of four
/// kinds, and a turn calls them in this order:
///
/// 1. [`handle`](Machine::handle) takes in everything that has happened, one event a call. Nothing
///    is decided yet, so that events of one turn are equal and their order does not matter.
/// 2. [`handle_timeout`](Machine::handle_timeout) brings the time, once, due or not, and decides.
/// 3. [`poll_action`](Machine::poll_action) gives what is to be done, until it gives `None`. What
///    an action brings at once (a connect that fails) is an event: go back to 1.
/// 4. [`deadline`](Machine::deadline) says when to come back at the latest, and
///    [`outcome`](Machine::outcome) how the dial ended. Both only look: ask when step 3 has ended,
///    for an event that was not decided upon yet may be due at once.
///
/// A dial that asks stops with a [`question`](Machine::question), and goes on when an
/// [`answer`](Machine::answer) has been taken in, or an open attempt has connected. Until then
/// nothing is due, so `deadline` is `None`.
///
/// Once `outcome` is there it stays, the last actions close every socket but the winner, and
/// further events change nothing. The same calls give the same answers, always.
///
/// ```
/// use std::time::{Duration, Instant};
/// use mailport::{Config, Plan, Target};
/// use mailport::machine::{Action, Event, Machine};
/// use mailport::report::End;
///
/// let start = Instant::now();
/// let target: Target = "192.0.2.1".parse()?;
/// let mut machine = Machine::new(&target, &Plan::submission(), &Config::default(), start)?;
///
/// machine.handle_timeout(start);
/// let Some(Action::Resolve { query }) = machine.poll_action() else { panic!() };
/// let addresses = Ok(vec!["192.0.2.1:0".parse()?]);
/// machine.handle(Event::Resolved { query, addresses, routes: vec![] }, start);
/// machine.handle_timeout(start);
/// let Some(Action::Connect { attempt, address }) = machine.poll_action() else { panic!() };
/// assert_eq!(address, "192.0.2.1:587".parse()?);
///
/// let later = start + Duration::from_millis(40);
/// let round_trip = Duration::from_millis(40);
/// machine.handle(Event::Connected { attempt, round_trip, syns: Some(1) }, later);
/// machine.handle(Event::Confirmed { attempt }, later);
/// machine.handle_timeout(later);
/// assert_eq!(machine.outcome(), Some(End::Connected(attempt.0)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Machine {
    host: String,
    /// What the dial goes through.
    via: Option<String>,
    /// Whether the host is a name; an address is only asked for what it is.
    looks_up: bool,
    families: Vec<Family>,
    settings: Parameters,
    began: Instant,
    /// The latest time that was brought; the machine's time never goes back.
    now: Instant,
    addresses: Addresses,
    race: Race,
    asking: Asking,
    actions: VecDeque<Action>,
    ended: Option<(End, Instant)>,
}

impl Machine {
    /// Takes in something that happened, without deciding anything yet.
    pub fn handle(&mut self, event: Event, now: Instant) {
        self.now = self.now.max(now);
        if let Event::Closed { attempt, syns } = event {
            // The one fact that may still come after the end.
            if let Some(closed) = self.race.get_mut(attempt) {
                closed.syns = syns;
            }
        } else if self.ended.is_none() {
            self.take_in(event);
        }
    }

    /// Brings the time, whether or not [`Machine::deadline`] has come, and decides.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = self.now.max(now);
        while let Some((at, step)) = self.next()
            && at <= self.now
        {
            self.take(step);
        }
    }

    /// The next thing to do, until there is nothing left.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`Machine::handle_timeout`] must be called at the latest; `None` after the end, and
    /// while a question is open.
    pub fn deadline(&self) -> Option<Instant> {
        self.next().map(|(at, _)| at)
    }

    /// Whether the time of the whole dial is over.
    #[cfg(feature = "driver")]
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        self.ended.is_none() && !self.asking.is_open() && self.rules().deadline() <= now
    }

    /// How the dial ended; `None` while it runs.
    pub fn outcome(&self) -> Option<End> {
        self.ended.map(|(end, _)| end)
    }

    /// Whether a question is open.
    pub fn is_asking(&self) -> bool {
        self.ended.is_none() && self.asking.is_open()
    }

    /// Takes in the answer to a question, by its number, without deciding anything yet. An answer
    /// to another question than the open one changes nothing.
    pub fn answer(&mut self, question: u32, answer: Answer, now: Instant) -> Result<(), Stale> {
        self.now = self.now.max(now);
        match self.asking.open().filter(|_| self.ended.is_none()) {
            Some((number, _)) if number == question => {
                self.asking.close(Some(answer), self.now);
                Ok(())
            }
            _ => Err(Stale { question }),
        }
    }

    /// Ends the dial by the caller's wish, unless it has ended before.
    pub fn cancel(&mut self, now: Instant) {
        self.now = self.now.max(now);
        if self.ended.is_none() {
            self.take(Step::End(End::Cancelled));
        }
    }

    /// What a dial that has connected teaches the cache: nothing of attempts that were still in
    /// time, or that the cache alone made overdue. A dial that connected nowhere teaches nothing.
    pub fn observations(&self) -> Vec<Observation> {
        let Some((End::Connected(winner), _)) = self.ended else { return Vec::new() };
        let settings = &self.settings;
        let patience = settings.patience(self.race.tries[winner].round_trip);
        race::observations(&self.race, winner, &settings.services, patience)
    }

    /// The families that are looked up, IPv6 first; never changes.
    pub fn families(&self) -> &[Family] {
        &self.families
    }

    /// Whether it matters which families this machine has a route to: only what is remembered as bad
    /// makes a difference.
    #[cfg(feature = "driver")]
    pub(crate) fn uses_routes(&self) -> bool {
        !self.settings.hints.bad.is_empty()
    }

    /// Whether an attempt is connected and held back by an earlier service. The peer of such a
    /// connection is worth watching.
    pub fn is_held(&self, attempt: AttemptId) -> bool {
        self.race.tries.get(attempt.0).is_some_and(Try::is_held)
    }

    fn take_in(&mut self, event: Event) {
        let now = self.now;
        match event {
            Event::Resolved { query, addresses, routes } => {
                self.addresses.take(query, addresses, routes, now);
            }
            Event::Connected { attempt, round_trip, syns } => {
                if let Some(t) = self.race.open_mut(attempt)
                    && let TryState::Connecting = t.state
                {
                    t.state = TryState::Confirming { passed: None };
                    t.round_trip = round_trip;
                    t.established = Some(now);
                    t.syns = syns;
                }
            }
            Event::Confirmed { attempt } => self.confirm(attempt),
            Event::Greeted { attempt } => {
                if let Some(t) = self.race.open_mut(attempt)
                    && let TryState::Confirming { passed: Some(_) } = t.state
                {
                    t.hold(Some(Greeting::Received), now);
                }
            }
            Event::Noted { attempt, note } => {
                if let Some(t) = self.race.get_mut(attempt) {
                    t.note = Some(note);
                }
            }
            Event::Failed { attempt, failure, syns } => {
                if let Some(t) = self.race.open_mut(attempt) {
                    t.fail(failure, now);
                    t.syns = syns.or(t.syns);
                }
            }
            Event::Closed { .. } => {}
        }
    }

    /// The service is reached; its greeting may be waited for.
    fn confirm(&mut self, attempt: AttemptId) {
        let (greeting_wait, now) = (self.settings.greeting_wait, self.now);
        let Some(t) = self.race.open_mut(attempt) else { return };
        let TryState::Confirming { passed: None } = t.state else { return };
        // Before TLS that begins with the first byte, no server says anything.
        let greets = self.settings.services[t.service].tls() != Tls::Implicit;
        if greeting_wait.is_some() && greets {
            t.state = TryState::Confirming { passed: Some(now) };
        } else {
            t.hold(None, now);
        }
    }

    fn rules(&self) -> Rules<'_> {
        let Machine { race, addresses, asking, settings, now, .. } = self;
        Rules { race, addresses, asking, settings, now: *now }
    }

    fn next(&self) -> Option<Due> {
        if self.ended.is_some() {
            return None;
        }
        self.rules().next()
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Hedge => {
                let queries = self.addresses.hedge();
                self.actions.extend(queries.map(|query| Action::Resolve { query }));
            }
            Step::Disown(attempt) => {
                if let Some(t) = self.race.get_mut(attempt) {
                    t.disowned = true;
                    if t.is_open() {
                        t.note = Some("no address of the host, by the look-up that counts".into());
                        t.end(TryEnd::Cancelled, self.now);
                        self.actions.push_back(Action::Close { attempt });
                    }
                }
            }
            Step::Begin { reason } => {
                if self.race.begun.is_empty() {
                    self.settings.services = self.rules().order();
                }
                self.race.begin(reason, self.now);
            }
            Step::Start { service, place, reason, making_room } => {
                self.make_room(making_room);
                let attempt = self.race.start(service, place, reason, self.now);
                self.connect(attempt);
            }
            Step::Repeat { first, reason, in_place_of } => {
                self.make_room(in_place_of);
                let attempt = self.race.repeat(first, reason, self.now);
                self.connect(attempt);
            }
            Step::Cancel(attempt) => {
                if let Some(t) = self.race.open_mut(attempt) {
                    t.end(TryEnd::Cancelled, self.now);
                    self.actions.push_back(Action::Close { attempt });
                }
            }
            Step::PassOver(attempt) => {
                if let Some(t) = self.race.open_mut(attempt) {
                    t.end(TryEnd::PassedOver, self.now);
                    self.actions.push_back(Action::Close { attempt });
                }
            }
            Step::LetThrough(attempt) => self.let_through(attempt),
            Step::Ask { reason } => self.asking.ask(self.race.begun.len(), reason, self.now),
            Step::Withdraw => self.asking.close(None, self.now),
            Step::End(end) => {
                let winner = match end {
                    End::Connected(index) => Some(index),
                    _ => None,
                };
                if let Some(winner) = winner {
                    self.let_through(AttemptId(winner));
                }
                // Nothing is begun any more; what was has to be closed.
                let kept = |action: &Action| matches!(action, Action::Close { .. });
                let (closes, never_begun) = self.actions.drain(..).partition(kept);
                self.actions = closes;
                for (attempt, end) in self.rules().ends(winner) {
                    self.race.tries[attempt.0].end(end, self.now);
                    if Some(attempt.0) != winner && !is_about(&never_begun, attempt) {
                        self.actions.push_back(Action::Close { attempt });
                    }
                }
                self.ended = Some((end, self.now));
            }
        }
    }

    /// Closes a silent attempt for another one.
    fn make_room(&mut self, attempt: Option<AttemptId>) {
        let Some(attempt) = attempt else { return };
        let end = self.rules().silence(&self.race.tries[attempt.0], None);
        if let Some(t) = self.race.open_mut(attempt) {
            t.end(end, self.now);
            self.actions.push_back(Action::Close { attempt });
        }
    }

    fn connect(&mut self, attempt: AttemptId) {
        let Try { service, place, .. } = self.race.tries[attempt.0];
        self.actions.push_back(match place {
            CandidatePlace::At(address) => Action::Connect { attempt, address },
            CandidatePlace::Far => {
                Action::Through { attempt, port: self.settings.services[service].port() }
            }
        });
    }

    /// Ends the wait for a greeting, if that is what the attempt does.
    fn let_through(&mut self, attempt: AttemptId) {
        if let Some(t) = self.race.open_mut(attempt)
            && t.is_confirming()
        {
            t.hold(Some(Greeting::Absent), self.now);
        }
    }
}

/// Whether one of these actions would have begun an attempt.
fn is_about(actions: &VecDeque<Action>, of: AttemptId) -> bool {
    actions.iter().any(|action| match action {
        Action::Connect { attempt, .. } | Action::Through { attempt, .. } => *attempt == of,
        Action::Resolve { .. } | Action::Close { .. } => false,
    })
}
