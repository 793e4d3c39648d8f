//! The rules of a dial as a machine without I/O: no clock, no socket, no thread, no randomness.

mod advice;
mod answers;
mod ask;
mod order;
mod race;
mod rules;
mod words;

use std::collections::VecDeque;
use std::time::Instant;

pub use advice::{Advice, Lesson};
pub(crate) use answers::usable;
pub use ask::{Answer, Question, Stale};
pub use words::{Action, AttemptId, Event};

use crate::config::{Config, ConfigError};
use crate::outcome::Outcome;
use crate::plan::{Family, Plan, Service, Tls};
use crate::report::{Attempt, End, Greeting, Lookup, LookupError, Report};
use crate::target::{Host, Target};
use answers::Answers;
use ask::Asking;
use race::{Place, Race, State, Try, TryEnd};
use rules::{Due, Rules, Settings, Step};

/// One dial, without its sockets.
///
/// Whoever drives it has a clock and can connect; the machine decides. Its methods are of four
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
/// let Some(Action::Resolve { family }) = machine.poll_action() else { panic!() };
/// let addresses = Ok(vec!["192.0.2.1:0".parse()?]);
/// machine.handle(Event::Resolved { family, addresses, source: None }, start);
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
    settings: Settings,
    began: Instant,
    /// The latest time that was brought; the machine's time never goes back.
    now: Instant,
    answers: Answers,
    race: Race,
    asking: Asking,
    actions: VecDeque<Action>,
    ended: Option<(End, Instant)>,
}

impl Machine {
    /// Begins a dial at the time `now`.
    ///
    /// Fails for a [`Config`] that no dial can work with, and where plan, target and families
    /// together leave nothing to try.
    pub fn new(
        target: &Target,
        plan: &Plan,
        config: &Config,
        now: Instant,
    ) -> Result<Machine, ConfigError> {
        config.check()?;
        let families = families(target, plan, config)?;
        Ok(Machine::begin(target, plan, config, families, None, now))
    }

    /// Begins a dial through a proxy or a command that is given the target's name: nothing is
    /// looked up, and services are tried one after the other. `via` names it in the report.
    ///
    /// Fails for a [`Config`] that no dial can work with, and for a plan with a service of one
    /// family only: whoever looks the name up elsewhere chooses the family, too.
    pub fn through(
        via: &str,
        target: &Target,
        plan: &Plan,
        config: &Config,
        now: Instant,
    ) -> Result<Machine, ConfigError> {
        config.check()?;
        if let Some(service) = plan.services().iter().find(|service| service.family().is_some()) {
            return Err(ConfigError::Unusable {
                name: "service",
                value: service.to_string(),
                reason: format!("the family cannot be chosen through {via}"),
            });
        }
        Ok(Machine::begin(target, plan, config, Vec::new(), Some(via.to_owned()), now))
    }

    /// The same machine with what is remembered of the target; to be given before the first turn.
    #[must_use]
    pub fn with_advice(mut self, advice: Advice) -> Machine {
        if let Some(family) = advice.family {
            self.answers.advise(family);
        }
        self.settings.advice = advice;
        self
    }

    fn begin(
        target: &Target,
        plan: &Plan,
        config: &Config,
        families: Vec<Family>,
        via: Option<String>,
        now: Instant,
    ) -> Machine {
        let services: Vec<Service> = plan.services().to_vec();
        let first_service = services.iter().find(|s| families.iter().any(|&f| s.allows(f)));
        let awaited = first_service.and_then(|service| service.family());
        Machine {
            host: target.as_str().to_owned(),
            looks_up: via.is_none() && matches!(target.host(), Host::Name(_)),
            settings: Settings {
                services,
                strict: config.strict || plan.is_strict(),
                through: via.is_some(),
                gate: config.gate.wait(via.is_some()),
                ask: config.ask,
                skip: config.skip,
                resolution_delay: config.resolution_delay,
                attempt_delay: config.attempt_delay,
                port_delay: config.port_delay,
                patience: config.patience,
                began: now,
                deadline: config.deadline,
                advice: Advice::default(),
            },
            via,
            began: now,
            now,
            answers: Answers::new(&families, config.families.first(), awaited),
            race: Race::default(),
            asking: Asking::default(),
            actions: families.iter().map(|&family| Action::Resolve { family }).collect(),
            ended: None,
            families,
        }
    }

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
    /// while a question stands.
    pub fn deadline(&self) -> Option<Instant> {
        self.next().map(|(at, _)| at)
    }

    /// How the dial ended; `None` while it runs.
    pub fn outcome(&self) -> Option<End> {
        self.ended.map(|(end, _)| end)
    }

    /// The question that the dial has stopped with.
    pub fn question(&self) -> Option<Question> {
        let (number, asked) = self.asking.open().filter(|_| self.ended.is_none())?;
        let so_far = |t: &Try| {
            let mut attempt = self.attempt(t);
            if t.is_open() {
                attempt.outcome = Outcome::Timeout;
            }
            attempt
        };
        Some(Question {
            number,
            unavailable: self.settings.services[asked.next - 1],
            next: self.settings.services[asked.next],
            reason: asked.reason,
            attempts: self.race.tries.iter().map(so_far).collect(),
            asked: asked.at - self.began,
        })
    }

    /// Whether a question stands.
    pub fn is_asking(&self) -> bool {
        self.ended.is_none() && self.asking.is_open()
    }

    /// Takes in the answer to a question, by its number, without deciding anything yet. An answer
    /// to another question than the one that stands changes nothing.
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

    /// What a dial that has connected teaches the memory: nothing of attempts that were still in
    /// time, or that the memory alone made overdue. A dial that connected nowhere teaches nothing.
    pub fn lessons(&self) -> Vec<Lesson> {
        let Some((End::Connected(winner), _)) = self.ended else { return Vec::new() };
        race::lessons(&self.race.tries, winner, &self.settings.services)
    }

    /// The families that are looked up, IPv6 first; never changes.
    pub fn families(&self) -> &[Family] {
        &self.families
    }

    /// Whether an attempt is connected and held back by an earlier service. The peer of such a
    /// connection is worth watching.
    pub fn is_held(&self, attempt: AttemptId) -> bool {
        self.race.tries.get(attempt.0).is_some_and(Try::is_held)
    }

    /// The dial so far; complete once [`Machine::outcome`] is there. An attempt that has not
    /// ended, and a dial that has not, are shown as cancelled now.
    pub fn report(&self) -> Report {
        let (end, at) = self.ended.unwrap_or((End::Cancelled, self.now));
        Report {
            host: self.host.clone(),
            via: self.via.clone(),
            attempts: self.race.tries.iter().map(|t| self.attempt(t)).collect(),
            lookups: self.lookups(),
            end,
            elapsed: at - self.began,
        }
    }

    fn take_in(&mut self, event: Event) {
        let now = self.now;
        match event {
            Event::Resolved { family, addresses, source } => {
                self.answers.take(family, addresses, source, now);
            }
            Event::Connected { attempt, round_trip, syns } => {
                if let Some(t) = self.race.open_mut(attempt)
                    && let State::Connecting = t.state
                {
                    t.state = State::Confirming { passed: None };
                    t.round_trip = round_trip;
                    t.syns = syns;
                }
            }
            Event::Confirmed { attempt } => self.confirm(attempt),
            Event::Greeted { attempt } => {
                if let Some(t) = self.race.open_mut(attempt)
                    && let State::Confirming { passed: Some(_) } = t.state
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
                    t.end(TryEnd::Failed(failure), now);
                    t.syns = syns.or(t.syns);
                }
            }
            Event::Closed { .. } => {}
        }
    }

    /// The service is reached; its greeting may be waited for.
    fn confirm(&mut self, attempt: AttemptId) {
        let (gate, now) = (self.settings.gate, self.now);
        let Some(t) = self.race.open_mut(attempt) else { return };
        let State::Confirming { passed: None } = t.state else { return };
        // Before TLS that begins with the first byte, no server says anything.
        let greets = self.settings.services[t.service].tls() != Tls::Implicit;
        if gate.is_some() && greets {
            t.state = State::Confirming { passed: Some(now) };
        } else {
            t.hold(None, now);
        }
    }

    fn rules(&self) -> Rules<'_> {
        let Machine { race, answers, asking, settings, now, .. } = self;
        Rules { race, answers, asking, settings, now: *now }
    }

    fn next(&self) -> Option<Due> {
        if self.ended.is_some() {
            return None;
        }
        self.rules().next()
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Begin { reason } => {
                if self.race.begun.is_empty() {
                    self.settings.services = self.rules().order();
                }
                self.race.begin(reason, self.now);
            }
            Step::Start { service, place, reason, making_room } => {
                if let Some(attempt) = making_room
                    && let Some(t) = self.race.open_mut(attempt)
                {
                    t.end(TryEnd::Overdue, self.now);
                    self.actions.push_back(Action::Close { attempt });
                }
                let attempt = self.race.start(service, place, reason, self.now);
                self.actions.push_back(match place {
                    Place::At(address) => Action::Connect { attempt, address },
                    Place::Far => {
                        Action::Through { attempt, port: self.settings.services[service].port() }
                    }
                });
            }
            Step::Cancel(attempt) => {
                if let Some(t) = self.race.open_mut(attempt) {
                    t.end(TryEnd::Cancelled, self.now);
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
                // Nothing is begun any more; what has to be closed still is.
                self.actions.retain(|action| matches!(action, Action::Close { .. }));
                for (attempt, end) in self.rules().ends(winner) {
                    self.race.tries[attempt.0].end(end, self.now);
                    if Some(attempt.0) != winner {
                        self.actions.push_back(Action::Close { attempt });
                    }
                }
                self.ended = Some((end, self.now));
            }
        }
    }

    /// Ends the wait for a greeting, if that is what the attempt does.
    fn let_through(&mut self, attempt: AttemptId) {
        if let Some(t) = self.race.open_mut(attempt)
            && t.is_confirming()
        {
            t.hold(Some(Greeting::None), self.now);
        }
    }

    fn attempt(&self, t: &Try) -> Attempt {
        let (ended, end) = match t.state {
            State::Ended { at, end, .. } => (at, end),
            _ => (self.now, TryEnd::Cancelled),
        };
        let failure = end.failure();
        Attempt {
            service: self.settings.services[t.service],
            family: t.family(),
            address: t.place.address(),
            stage: t.stage(),
            started: t.started - self.began,
            connected: t.connected.map(|at| at - self.began),
            ended: ended - self.began,
            outcome: failure.outcome,
            errno: failure.errno,
            icmp: failure.icmp,
            via: failure.via,
            note: t.note.clone(),
            greeting: t.greeting,
            syns: t.syns,
            reason: t.reason,
        }
    }

    fn lookups(&self) -> Vec<Lookup> {
        if !self.looks_up {
            return Vec::new();
        }
        let since = |at: &Instant| Some(*at - self.began);
        let asked = self.answers.asked().iter().map(|asked| {
            let (ended, result) = match &asked.answer {
                answers::Answer::Pending => (None, Err(LookupError::Pending)),
                answers::Answer::Addresses { list, at, .. } => (since(at), Ok(list.len())),
                answers::Answer::Failed { error, at } => (since(at), Err(error.clone())),
            };
            Lookup { family: asked.family, ended, result }
        });
        asked.collect()
    }
}

/// The families that this dial can use, IPv6 first.
fn families(target: &Target, plan: &Plan, config: &Config) -> Result<Vec<Family>, ConfigError> {
    let of_target = |family| match target.host() {
        Host::Name(_) => true,
        Host::Address(address) => Family::of(*address) == family,
        Host::Scoped(..) => family == Family::Ipv6,
    };
    let of_plan = |family| plan.services().iter().any(|service| service.allows(family));
    let all = Family::ALL.into_iter();
    let families: Vec<Family> =
        all.filter(|&f| of_target(f) && of_plan(f) && config.allows(f)).collect();
    if families.is_empty() {
        let left_out = |by: &'static str, allows: &dyn Fn(Family) -> bool| {
            let families = Family::ALL.into_iter().filter(|&family| !allows(family));
            families.map(|family| format!("{by} leaves out {family}")).collect::<Vec<_>>()
        };
        let reasons = [
            left_out("the host", &of_target),
            left_out("the plan", &of_plan),
            left_out("the choice of families", &|family| config.families.allow(family)),
            left_out("the source address", &|f| config.source.is_none_or(|s| Family::of(s) == f)),
        ];
        return Err(ConfigError::NothingToTry { reasons: reasons.concat().join(", ") });
    }
    Ok(families)
}
