//! The rules of a dial as a machine without I/O: no clock, no socket, no thread, no randomness.

mod answers;
mod order;
mod race;
mod rules;
mod words;

use std::collections::VecDeque;
use std::time::Instant;

pub(crate) use answers::usable;
pub use words::{Action, AttemptId, Event};

use crate::config::{Config, ConfigError};
use crate::outcome::{Failure, Outcome};
use crate::plan::{Family, Plan, Service};
use crate::report::{Attempt, End, Lookup, LookupError, Report};
use crate::target::{Host, Target};
use answers::{Answer, Answers};
use race::{Race, State, Try, TryEnd};
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
    /// Whether the host is a name; an address is only asked for what it is.
    looks_up: bool,
    families: Vec<Family>,
    settings: Settings,
    began: Instant,
    /// The latest time that was brought; the machine's time never goes back.
    now: Instant,
    answers: Answers,
    race: Race,
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
        let services: Vec<Service> = plan.services().to_vec();
        let first_service = services.iter().find(|s| families.iter().any(|&f| s.allows(f)));
        let awaited = first_service.and_then(|service| service.family());
        Ok(Machine {
            host: target.as_str().to_owned(),
            looks_up: matches!(target.host(), Host::Name(_)),
            settings: Settings {
                services,
                strict: config.strict || plan.is_strict(),
                resolution_delay: config.resolution_delay,
                attempt_delay: config.attempt_delay,
                port_delay: config.port_delay,
                patience: config.patience,
                deadline: now + config.deadline,
            },
            began: now,
            now,
            answers: Answers::new(&families, config.families.first(), awaited),
            race: Race::default(),
            actions: families.iter().map(|&family| Action::Resolve { family }).collect(),
            ended: None,
            families,
        })
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

    /// When [`Machine::handle_timeout`] must be called at the latest; `None` after the end.
    pub fn deadline(&self) -> Option<Instant> {
        self.next().map(|(at, _)| at)
    }

    /// How the dial ended; `None` while it runs.
    pub fn outcome(&self) -> Option<End> {
        self.ended.map(|(end, _)| end)
    }

    /// The families that are looked up, IPv6 first; never changes.
    pub fn families(&self) -> &[Family] {
        &self.families
    }

    /// Whether an attempt is connected and held back by an earlier service. The peer of such a
    /// connection is worth watching.
    pub fn is_held(&self, attempt: AttemptId) -> bool {
        let held = |t: &Try| matches!(t.state, State::Held { .. });
        self.race.tries.get(attempt.0).is_some_and(held)
    }

    /// The dial so far; complete once [`Machine::outcome`] is there. An attempt that has not
    /// ended, and a dial that has not, are shown as cancelled now.
    pub fn report(&self) -> Report {
        let (end, at) = self.ended.unwrap_or((End::Cancelled, self.now));
        Report {
            host: self.host.clone(),
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
                    t.state = State::Confirming { round_trip };
                    t.syns = syns;
                }
            }
            Event::Confirmed { attempt } => {
                if let Some(t) = self.race.open_mut(attempt)
                    && let State::Confirming { round_trip } = t.state
                {
                    t.state = State::Held { round_trip };
                    t.connected = Some(now);
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

    fn rules(&self) -> Rules<'_> {
        let (race, answers, settings) = (&self.race, &self.answers, &self.settings);
        Rules { race, answers, settings, now: self.now }
    }

    fn next(&self) -> Option<Due> {
        if self.ended.is_some() {
            return None;
        }
        self.rules().next()
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Begin { reason } => self.race.begin(reason, self.now),
            Step::Start { service, address, reason, making_room } => {
                if let Some(attempt) = making_room
                    && let Some(t) = self.race.open_mut(attempt)
                {
                    t.end(TryEnd::Closed(Outcome::Timeout), self.now);
                    self.actions.push_back(Action::Close { attempt });
                }
                let attempt = self.race.start(service, address, reason, self.now);
                self.actions.push_back(Action::Connect { attempt, address });
            }
            Step::End(end) => {
                let winner = match end {
                    End::Connected(index) => Some(index),
                    _ => None,
                };
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

    fn attempt(&self, t: &Try) -> Attempt {
        let (ended, stage, end) = match t.state {
            State::Ended { at, stage, end } => (at, stage, end),
            _ => (self.now, crate::report::Stage::Connect, TryEnd::Closed(Outcome::Cancelled)),
        };
        let failure = match end {
            TryEnd::Won => Failure::of(Outcome::Connected),
            TryEnd::Failed(failure) => failure,
            TryEnd::Closed(outcome) => Failure::of(outcome),
        };
        Attempt {
            service: self.settings.services[t.service],
            family: t.family(),
            address: Some(t.address),
            stage,
            started: t.started - self.began,
            connected: t.connected.map(|at| at - self.began),
            ended: ended - self.began,
            outcome: failure.outcome,
            errno: failure.errno,
            icmp: failure.icmp,
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
                Answer::Pending => (None, Err(LookupError::Pending)),
                Answer::Addresses { list, at, .. } => (since(at), Ok(list.len())),
                Answer::Failed { error, at } => (since(at), Err(error.clone())),
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
