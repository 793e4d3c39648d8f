//! A dial that gets any event, at any time.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mailport::machine::{Action, AttemptId, Event, Machine, Query};
use mailport::report::End;
use mailport::target::Host;
use mailport::{Config, ConfigError, Family, Outcome, Plan, Report, Target};

use super::bytes::Bytes;
use super::stream::{self, Step};

/// So far may the clock go back behind the beginning of the dial.
const BEFORE: Duration = Duration::from_secs(24 * 60 * 60);
/// The most attempts of one service that are open at once.
const MAX_OPEN: usize = 6;

/// A machine ends by its deadline and does not spin; it dials what it was given and may, nothing
/// twice, at most six at once of a service; what it opens it closes, but for the winner; its
/// report is that of what it did; and the order of the events of one time does not matter.
pub fn machine(data: &[u8]) {
    let bytes = &mut Bytes(data);
    let host = stream::host(bytes);
    let Ok(plan) = stream::plan(bytes) else { return };
    let config = stream::config(bytes);
    let origin = Instant::now();
    match Machine::new(&host, &plan, &config, origin + BEFORE) {
        Err(error) => refused(&error, &config),
        Ok(_) => Dial::new(&host, &plan, &config, origin).run(bytes),
    }
}

fn refused(error: &ConfigError, config: &Config) {
    assert!(!error.to_string().is_empty());
    match config.check() {
        Err(found) => assert_eq!(&found, error),
        Ok(()) => assert!(matches!(error, ConfigError::NothingToTry { .. }), "{error}"),
    }
}

/// A machine, and all that is known of it outside.
struct Dial<'a> {
    host: &'a Target,
    plan: &'a Plan,
    config: &'a Config,
    machine: Machine,
    /// The same one, given the events of a turn the other way round.
    twin: Machine,
    pending: Vec<Event>,
    origin: Instant,
    began: Instant,
    now: Instant,
    latest: Instant,
    answers: BTreeMap<Query, Vec<SocketAddr>>,
    /// The look-ups that the machine has asked for.
    asked: Vec<Query>,
    attempts: Vec<Seen>,
    /// Failures that were reported as something else.
    lies: usize,
}

struct Seen {
    service: usize,
    address: SocketAddr,
    is_open: bool,
}

impl<'a> Dial<'a> {
    fn new(host: &'a Target, plan: &'a Plan, config: &'a Config, origin: Instant) -> Dial<'a> {
        let began = origin + BEFORE;
        let machine = || Machine::new(host, plan, config, began).unwrap();
        Dial {
            host,
            plan,
            config,
            machine: machine(),
            twin: machine(),
            pending: Vec::new(),
            origin,
            began,
            now: began,
            latest: began,
            answers: BTreeMap::new(),
            asked: vec![Query::Authority],
            attempts: Vec::new(),
            lies: 0,
        }
    }

    fn run(mut self, bytes: &mut Bytes) {
        while !bytes.is_empty() {
            match stream::step(bytes, self.attempts.len()) {
                Step::Tell(event) => self.pending.push(event),
                Step::Wait(time) => self.turn(self.now + time),
                Step::GoBack(time) => {
                    self.turn(self.now.checked_sub(time).unwrap_or(self.origin).max(self.origin));
                }
                Step::Wake(early) => {
                    let early = Duration::from_nanos(early.into());
                    let at = self.machine.deadline().unwrap_or(self.now);
                    self.turn(at.checked_sub(early).unwrap_or(at));
                }
            }
        }
        self.turn(self.now);
        self.end();
    }

    fn turn(&mut self, now: Instant) {
        self.now = now;
        self.latest = self.latest.max(now);
        let before = (self.machine.outcome(), self.attempts.len());
        self.tell();
        let mut actions = Vec::new();
        self.machine.handle_timeout(now);
        while let Some(action) = self.machine.poll_action() {
            self.act(action);
            actions.push(action);
        }
        self.twin.handle_timeout(now);
        let twins: Vec<Action> = std::iter::from_fn(|| self.twin.poll_action()).collect();
        assert_eq!(actions, twins, "the order of the events of one time matters");

        self.machine.handle_timeout(now);
        assert_eq!(self.machine.poll_action(), None, "has more to do at once");
        if before.0.is_some() {
            assert_eq!((self.machine.outcome(), self.attempts.len()), before, "goes on");
        }
        match self.machine.deadline() {
            Some(at) => {
                assert!(at > self.latest, "wants to spin");
                assert!(at <= self.began + self.config.timeout, "sleeps past the deadline");
                assert_eq!(self.machine.outcome(), None);
            }
            None => assert!(self.machine.outcome().is_some(), "sleeps without end"),
        }
        if !actions.is_empty() {
            self.check(&self.machine.report());
        }
    }

    /// Gives both machines the collected events, each subject's events in their order.
    fn tell(&mut self) {
        let events = std::mem::take(&mut self.pending);
        let mut subjects: Vec<Subject> = Vec::new();
        for event in &events {
            if self.machine.outcome().is_none() {
                self.learn(event);
            }
            self.machine.handle(event.clone(), self.now);
            if !subjects.contains(&subject(event)) {
                subjects.push(subject(event));
            }
        }
        for of in subjects.into_iter().rev() {
            for event in events.iter().filter(|event| subject(event) == of) {
                self.twin.handle(event.clone(), self.now);
            }
        }
    }

    /// What the machine will know from now on; only the first answer of a family counts.
    fn learn(&mut self, event: &Event) {
        match event {
            Event::Resolved { query, addresses, .. } if self.asked.contains(query) => {
                let addresses = addresses.clone().unwrap_or_default();
                self.answers.entry(*query).or_insert(addresses);
            }
            Event::Failed { attempt, failure, .. } => {
                self.lies += usize::from(failure.outcome == Outcome::Connected);
                if let Some(seen) = self.attempts.get_mut(attempt.0) {
                    seen.is_open = false;
                }
            }
            _ => {}
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Resolve { query } => {
                let of_dial = |family| self.machine.families().contains(&family);
                assert!(!matches!(query, Query::Hedge(family) if !of_dial(family)));
                self.asked.push(query);
            }
            Action::Connect { attempt, address } => {
                assert_eq!(attempt.0, self.attempts.len(), "attempts are numbered in order");
                self.connect(address);
            }
            Action::Through { .. } => unreachable!("a direct dial"),
            Action::Close { attempt } => {
                let seen = self.attempts.get_mut(attempt.0).expect("closes what it has opened");
                assert!(seen.is_open, "closes what is open");
                seen.is_open = false;
            }
        }
    }

    fn connect(&mut self, address: SocketAddr) {
        let family = Family::from(address.ip());
        let mut services = self.plan.services().iter();
        let service = services
            .position(|s| s.port() == address.port() && s.allows(family))
            .expect("dials only what the plan names");
        assert!(self.machine.families().contains(&family), "keeps to the families");
        let ip = address.ip();
        assert!(!ip.is_unspecified(), "dials an address");
        let mut known = address;
        known.set_port(0);
        let mut answers = self.answers.values().flatten();
        let answered = answers.any(|&answer| {
            let mut answer = answer;
            answer.set_port(0);
            answer.set_ip(answer.ip().to_canonical());
            answer == known
        });
        assert!(answered, "dials only what was answered");
        // Rules 3 and 6: a first attempt, a second one, and one for the proof.
        let before = self.attempts.iter().filter(|a| a.address == address).count();
        assert!(before < 3, "tries a candidate three times at most");
        let mut of_service = self.attempts.iter().filter(|a| a.service == service);
        let open = of_service.by_ref().filter(|a| a.is_open).count();
        assert!(open < MAX_OPEN, "opens six at most");
        self.attempts.push(Seen { service, address, is_open: true });
    }

    /// Wakes the machine whenever it wants to be woken, until it has ended.
    fn end(mut self) {
        // What can fall due without any news: each start, each service, making room, the end.
        // A candidate has three attempts at most.
        let most = 2 * (self.plan.services().len() * 3 * 34 + 3);
        let mut turns = 0;
        while let Some(at) = self.machine.deadline() {
            turns += 1;
            assert!(turns < most, "wants to be woken for nothing");
            self.turn(at);
        }
        let end = self.machine.outcome().expect("a dial ends at its deadline");
        let open: Vec<usize> =
            (0..self.attempts.len()).filter(|&a| self.attempts[a].is_open).collect();
        match end {
            End::Connected(winner) => assert_eq!(open, [winner], "the winner is open, alone"),
            _ => assert_eq!(open, [0; 0], "nothing is open"),
        }
        let report = self.machine.report();
        self.check(&report);
        assert_eq!(report, self.twin.report());
        assert!(report.timeline(80).to_string().lines().count() <= 1 + self.attempts.len() + 2);
        self.pending.push(Event::Confirmed { attempt: AttemptId(0) });
        self.turn(self.latest + BEFORE);
        assert_eq!(self.machine.report(), report, "an end is an end");
    }

    fn check(&self, report: &Report) {
        assert_eq!(report.host, self.host.as_str());
        assert_eq!(report.summary().lines().count(), 1);
        assert_eq!(report.end, self.machine.outcome());
        assert!(self.machine.outcome().is_none() || report.elapsed <= self.latest - self.began);
        let looks_up = matches!(self.host.host(), Host::Name(_));
        assert_eq!(report.lookup.is_some(), looks_up);
        assert!(
            report.lookup.iter().all(|lookup| lookup.ended.is_none_or(|at| at <= report.elapsed))
        );
        assert_eq!(report.attempts.len(), self.attempts.len());
        let mut before = Duration::ZERO;
        for (attempt, seen) in report.attempts.iter().zip(&self.attempts) {
            assert_eq!(attempt.address, Some(seen.address));
            assert_eq!(attempt.family, Some(Family::from(seen.address.ip())));
            assert_eq!(attempt.service, self.plan.services()[seen.service]);
            let times = [
                before,
                attempt.started,
                attempt.connected.unwrap_or(attempt.started),
                attempt.ended,
            ];
            assert!(times.is_sorted() && attempt.ended <= report.elapsed, "{attempt:?}");
            before = attempt.started;
        }
        let connected =
            report.attempts.iter().filter(|a| a.outcome == Some(Outcome::Connected)).count();
        let won = usize::from(matches!(report.end, Some(End::Connected(_))));
        assert!((won..=won + self.lies).contains(&connected), "one winner at most");
        assert!(
            report
                .winner()
                .is_none_or(|w| w.outcome == Some(Outcome::Connected) && w.connected.is_some())
        );
    }
}

/// What an event is about: events of one subject have an order.
#[derive(PartialEq, Clone, Copy)]
enum Subject {
    Lookup(Query),
    Attempt(AttemptId),
}

fn subject(event: &Event) -> Subject {
    match event {
        Event::Resolved { query, .. } => Subject::Lookup(*query),
        Event::Connected { attempt, .. }
        | Event::Confirmed { attempt }
        | Event::Greeted { attempt }
        | Event::Noted { attempt, .. }
        | Event::Failed { attempt, .. }
        | Event::Closed { attempt, .. } => Subject::Attempt(*attempt),
    }
}
