//! The rules of a dial once more, told backwards: given what happened, was it allowed?
//!
//! Nothing here asks the machine: every verdict is made anew from the facts of the history.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use mailport::machine::Query;
use mailport::outcome::Failure;
use mailport::report::{End, LookupError};
use mailport::{Config, Family, Outcome, Patience, Plan, Report};
use mailport_lab::world::{Entry, History, What};

/// What is known of one attempt at some moment.
struct Try {
    service: usize,
    address: SocketAddr,
    started: Duration,
    phase: Phase,
    /// How many attempts of the service had failed when it was started.
    failures_before: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Phase {
    Silent,
    Confirming,
    Held,
    Failed(Failure),
    Closed,
}

impl Try {
    fn is_open(&self) -> bool {
        !matches!(self.phase, Phase::Failed(_) | Phase::Closed)
    }

    fn is_refused(&self) -> bool {
        let refusals = [Outcome::Reset, Outcome::IcmpHard, Outcome::Closed];
        matches!(self.phase, Phase::Failed(failure) if refusals.contains(&failure.outcome))
    }

    fn had_local_resource_error(&self) -> bool {
        let own = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM, libc::EADDRNOTAVAIL];
        matches!(self.phase, Phase::Failed(Failure { errno: Some(errno), .. })
            if own.contains(&errno.0))
    }
}

/// Goes through a history entry by entry.
pub(crate) struct Judge<'a> {
    plan: &'a Plan,
    config: &'a Config,
    history: &'a History,
    round_trip: Duration,
    /// Whether every turn came as soon as something happened or fell due.
    punctual: bool,
    known: Vec<SocketAddr>,
    /// What has been answered so far.
    answers: Vec<(Query, Result<(), LookupError>)>,
    tries: Vec<Try>,
    /// When each service could begin, as far as it could by now.
    may_begin: Vec<Duration>,
    /// When the connection that could win last was ready, and the way was clear for it.
    clear_since: Option<(usize, Duration)>,
    now: Duration,
}

impl<'a> Judge<'a> {
    pub(crate) fn new(
        plan: &'a Plan,
        config: &'a Config,
        history: &'a History,
        round_trip: Duration,
        punctual: bool,
    ) -> Judge<'a> {
        Judge {
            plan,
            config,
            history,
            round_trip,
            punctual,
            known: Vec::new(),
            answers: Vec::new(),
            tries: Vec::new(),
            may_begin: vec![Duration::ZERO],
            clear_since: None,
            now: Duration::ZERO,
        }
    }

    /// Panics where something was not allowed, or was due and did not happen.
    pub(crate) fn judge(mut self) {
        let log = &self.history.log;
        let closes = log.iter().rev().skip(1).take_while(|e| matches!(e.what, What::Close { .. }));
        // The losers are closed after the winner was chosen, and must not clear its way.
        let chosen = log.len() - 1 - closes.count();
        for (index, entry) in log.iter().enumerate() {
            if entry.at > self.now {
                self.look_ahead(|due| due < entry.at);
            }
            self.now = entry.at;
            // What happened at one instant is taken in before anything is decided.
            let acts =
                matches!(entry.what, What::Connect { .. } | What::Close { .. } | What::End(_));
            if acts && index <= chosen {
                self.look_ahead(|due| due <= entry.at);
            }
            self.step(entry);
        }
        self.report(&self.history.report);
    }

    /// What falls due with the facts as they are.
    fn look_ahead(&mut self, is_due: impl Fn(Duration) -> bool) {
        while let Some(due) = self.next_service_due().map(|due| due.max(self.now))
            && is_due(due)
        {
            self.may_begin.push(due);
        }
        let could_win = self.could_win().map(|(id, due)| (id, due.max(self.now)));
        self.clear_since = match (could_win.filter(|&(_, due)| is_due(due)), self.clear_since) {
            (Some((id, due)), Some((before, since))) if id == before => Some((id, due.min(since))),
            (now, _) => now,
        };
    }

    fn step(&mut self, entry: &Entry) {
        match &entry.what {
            What::Answered { query, result } => self.answer(*query, result),
            What::Connect { attempt, address } => {
                self.demand(attempt.0 == self.tries.len(), "attempts are numbered in order");
                self.connect(*address);
            }
            What::Connected { attempt } => self.tries[attempt.0].phase = Phase::Confirming,
            What::Confirmed { attempt } => self.tries[attempt.0].phase = Phase::Held,
            What::Failed { attempt, failure } => {
                self.tries[attempt.0].phase = Phase::Failed(*failure);
            }
            What::Close { attempt } => self.close(attempt.0),
            // The judge watches direct dials that neither ask nor wait for a greeting.
            What::Through { .. }
            | What::Greeted { .. }
            | What::Asked { .. }
            | What::Withdrawn
            | What::Said(_) => self.demand(false, "does nothing that it was not asked for"),
            What::End(end) => self.end(*end),
        }
    }

    /// Until the look-up of both families is answered, those of one count.
    fn answer(&mut self, query: Query, result: &Result<Vec<IpAddr>, LookupError>) {
        let told = |of| self.answers.iter().find(|(query, _)| *query == of).map(|(_, said)| said);
        let is_over = match told(Query::Authority) {
            None => false,
            Some(Err(LookupError::TryAgain)) => false,
            Some(Err(_)) => self.known.is_empty(),
            Some(Ok(())) => true,
        };
        if let Ok(list) = result
            && !is_over
        {
            if query == Query::Authority {
                self.known.clear();
            }
            self.known.extend(list.iter().map(|&ip| SocketAddr::new(ip, 0)));
        }
        let empty = result.as_ref().is_ok_and(Vec::is_empty);
        let said = if empty { Err(LookupError::NoAddress) } else { result.clone().map(drop) };
        self.answers.push((query, said));
    }

    /// Whether nothing is known yet of a family that a service may be reached over.
    fn is_awaited(&self, service: usize) -> bool {
        let told = |of| self.answers.iter().find(|(query, _)| *query == of).map(|(_, said)| said);
        let service = self.plan.services()[service];
        let mut families = Family::ALL.into_iter().filter(|&family| service.allows(family));
        families.any(|family| {
            let hedge = told(Query::Hedge(family));
            let hedge_is_told = matches!(hedge, Some(Ok(()) | Err(LookupError::NoAddress)));
            match told(Query::Authority) {
                None => !hedge_is_told,
                Some(Err(LookupError::TryAgain)) => hedge.is_none(),
                Some(Err(_)) => hedge.is_none() && !self.known.is_empty(),
                Some(Ok(())) => false,
            }
        })
    }

    fn connect(&mut self, address: SocketAddr) {
        let family = Family::from(address.ip());
        let mut services = self.plan.services().iter();
        let service = services.position(|s| s.port() == address.port() && s.allows(family));
        self.demand(service.is_some(), "dials only what the plan names");
        let service = service.expect("dials only what the plan names");
        let unknown = |c: &SocketAddr| self.candidates(service).contains(c);
        self.demand(unknown(&address), "dials only addresses that were answered");
        self.demand(self.tries.iter().all(|t| t.address != address), "dials nothing twice");
        self.demand(self.config.allows(family), "keeps to the families");
        self.demand(
            !self.tries.iter().any(|t| t.phase == Phase::Confirming),
            "starts nothing while a connection is confirmed",
        );
        self.demand(
            !self.tries.iter().any(|t| t.phase == Phase::Held && t.service <= service),
            "starts nothing of a held connection's service or a later one",
        );
        let failures = self.of(service).filter(|t| matches!(t.phase, Phase::Failed(_))).count();
        if let Some(last) = self.of(service).last() {
            let due = last.started + self.config.attempt_delay;
            self.demand(failures > last.failures_before || due <= self.now, "staggers attempts");
        } else {
            self.first_of(service);
        }
        self.demand(self.of(service).filter(|t| t.is_open()).count() < 6, "opens six at most");
        let started = self.now;
        let phase = Phase::Silent;
        self.tries.push(Try { service, address, started, phase, failures_before: failures });
    }

    fn first_of(&mut self, service: usize) {
        if self.tries.is_empty() {
            let passed = (0..service).all(|before| self.candidates(before).is_empty());
            self.demand(passed, "begins with the first service that has an address");
            self.may_begin = vec![self.now; service + 1];
        }
        let Some(&due) = self.may_begin.get(service) else {
            self.complain("begins no service too soon");
        };
        // A service without candidates leaves no trace of when it was begun.
        let traced = service > 0
            && self.of(service - 1).next().is_some()
            && self.candidates(service).iter().any(|a| self.answered(a) <= due);
        self.demand(!self.punctual || !traced || due == self.now, "begins no service too late");
    }

    /// When the service after the last that could begin can: with these facts, if ever.
    fn next_service_due(&self) -> Option<Duration> {
        let service = self.may_begin.len() - 1;
        let tried = |address: &SocketAddr| self.of(service).any(|t| t.address == *address);
        let last = service + 1 == self.plan.services().len();
        let established = self.tries.iter().any(|t| t.is_open() && t.phase != Phase::Silent);
        if last
            || established
            || self.tries.is_empty()
            || !self.candidates(service).iter().all(tried)
        {
            return None;
        }
        let refused = self.of(service).any(Try::is_refused);
        let mut live = self.of(service).filter(|t| t.is_open()).peekable();
        if live.peek().is_none() {
            let local =
                |t: &Try| matches!(t.phase, Phase::Failed(f) if f.outcome == Outcome::Local);
            if self.of(service).all(local) && self.is_awaited(service) {
                return None;
            }
            let own = self.of(service).any(Try::had_local_resource_error);
            return (refused || !own).then_some(Duration::ZERO);
        }
        if self.plan.is_sequential() {
            return live.map(|t| self.overdue(t, Duration::ZERO)).max();
        }
        if refused {
            Some(Duration::ZERO)
        } else {
            live.map(|t| t.started + self.config.port_delay).max()
        }
    }

    /// Silent for the patience or, where another of its service was refused, for the attempt delay.
    fn overdue(&self, t: &Try, round_trip: Duration) -> Duration {
        let patience = match self.config.patience {
            Patience::Automatic => {
                Duration::from_millis(1300).max(Duration::from_secs(1) + 2 * round_trip)
            }
            Patience::Fixed(patience) => patience,
        };
        let refused = self.of(t.service).any(Try::is_refused);
        t.started + if refused { patience.min(self.config.attempt_delay) } else { patience }
    }

    /// The connection that wins if nothing else happens, and when.
    fn could_win(&self) -> Option<(usize, Duration)> {
        let held = self.tries.iter().enumerate().filter(|(_, t)| t.phase == Phase::Held);
        let (id, held) = held.min_by_key(|(id, t)| (t.service, *id))?;
        if self.tries.iter().any(|t| t.phase == Phase::Confirming) {
            return None;
        }
        let silent = self.tries.iter().filter(|t| t.phase == Phase::Silent);
        let earlier = silent.filter(|t| t.service < held.service);
        let clear = earlier.map(|t| self.overdue(t, self.round_trip)).max();
        Some((id, clear.unwrap_or(Duration::ZERO)))
    }

    fn close(&mut self, id: usize) {
        let told = self.history.report.attempts[id].outcome;
        let t = &self.tries[id];
        let overdue = t.phase == Phase::Silent && self.overdue(t, self.round_trip) <= self.now;
        let at_deadline = t.phase != Phase::Held && self.now >= self.config.timeout;
        // An attempt that is overdue only for the shortest patience made room while none was held.
        let made_room = t.phase == Phase::Silent
            && self.overdue(t, Duration::ZERO) <= self.now
            && self.of(t.service).filter(|t| t.is_open()).count() == 6;
        let timeout = overdue || at_deadline;
        let right = (told == Some(Outcome::Timeout) && (timeout || made_room))
            || (told == Some(Outcome::Cancelled) && !timeout);
        self.demand(right, "an attempt that is closed is told as it was");
        let connected = matches!(self.history.report.end, Some(End::Connected(_)));
        self.demand(
            t.phase != Phase::Held || connected,
            "no connection is thrown away for nothing",
        );
        self.tries[id].phase = Phase::Closed;
    }

    fn end(&self, end: End) {
        let open: Vec<usize> =
            self.tries.iter().enumerate().filter(|(_, t)| t.is_open()).map(|(id, _)| id).collect();
        let at_deadline = self.now >= self.config.timeout;
        match end {
            End::Connected(winner) => {
                self.demand(open == [winner], "at the end nothing is open but the winner");
                self.demand(self.tries[winner].phase == Phase::Held, "the winner is connected");
                self.won(winner, at_deadline);
            }
            End::Timeout => self.demand(at_deadline, "the deadline is the deadline"),
            End::Exhausted => {
                self.demand(self.all_tried(), "everything was tried");
                self.demand(self.may_begin.len() == self.plan.services().len(), "every service");
            }
            End::LocalResourceError => {
                self.demand(
                    self.tries.iter().any(Try::had_local_resource_error),
                    "there was trouble",
                );
            }
            End::Unresolved => self.demand(self.known.is_empty(), "there was no address"),
            other => self.complain(&format!("no dial ends as {other:?}")),
        }
        if !matches!(end, End::Connected(_)) {
            self.demand(open.is_empty(), "at the end nothing is open");
            let pending = self.history.report.lookup.iter().any(|lookup| lookup.ended.is_none());
            self.demand(at_deadline || !pending, "a pending look-up is waited for");
        }
    }

    fn won(&self, winner: usize, at_deadline: bool) {
        if at_deadline {
            return;
        }
        let (id, since) = self.clear_since.unwrap_or((usize::MAX, self.now));
        self.demand(id == winner, "the connection of the highest priority wins, when it may");
        self.demand(!self.punctual || since == self.now, "a connection wins as soon as it may");
    }

    fn all_tried(&self) -> bool {
        let services = 0..self.plan.services().len();
        services.into_iter().all(|service| {
            let tried = |address: &SocketAddr| self.of(service).any(|t| t.address == *address);
            self.candidates(service).iter().all(tried)
        })
    }

    fn report(&self, report: &Report) {
        self.demand(report.attempts.len() == self.tries.len(), "every attempt is in the report");
        for (told, known) in report.attempts.iter().zip(&self.tries) {
            let place = (told.address, told.started, told.service);
            let service = self.plan.services()[known.service];
            let right = place == (Some(known.address), known.started, service);
            self.demand(right, "attempts are reported in their order");
            let failed = match known.phase {
                Phase::Failed(failure) => {
                    told.outcome == Some(failure.outcome) && told.icmp == failure.icmp
                }
                _ => true,
            };
            self.demand(failed, "failures are reported as they were");
        }
        let winners =
            report.attempts.iter().filter(|a| a.outcome == Some(Outcome::Connected)).count();
        let connected = matches!(report.end, Some(End::Connected(_)));
        self.demand(winners == usize::from(connected), "one winner at most");
        self.demand(report.elapsed == self.now, "the report ends with the dial");
    }

    fn of(&self, service: usize) -> impl Iterator<Item = &Try> {
        self.tries.iter().filter(move |t| t.service == service)
    }

    fn candidates(&self, service: usize) -> Vec<SocketAddr> {
        let service = self.plan.services()[service];
        let allowed = self.known.iter().filter(|a| service.allows(Family::from(a.ip())));
        allowed.map(|a| SocketAddr::new(a.ip(), service.port())).collect()
    }

    fn answered(&self, address: &SocketAddr) -> Duration {
        let answer = self.history.log.iter().find(|entry| match &entry.what {
            What::Answered { result: Ok(list), .. } => list.contains(&address.ip()),
            _ => false,
        });
        answer.map_or(Duration::MAX, |entry| entry.at)
    }

    #[track_caller]
    fn demand(&self, right: bool, rule: &str) {
        if !right {
            self.complain(rule);
        }
    }

    #[track_caller]
    fn complain(&self, rule: &str) -> ! {
        let (plan, config, script) = (self.plan, self.config, self.history.script());
        panic!("{rule}: broken at {:?}\n{plan}\n{config:?}\n{script}", self.now);
    }
}
