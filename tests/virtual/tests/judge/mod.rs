//! The rules of a dial once more, backwards: given what happened, was it allowed?
//!
//! Nothing here asks the machine: every verdict is made anew from the facts of the history.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use mailport::machine::Query;
use mailport::outcome::Failure;
use mailport::report::{End, LookupError, Reason};
use mailport::{Config, Family, Outcome, Patience, Plan, Report};
use mailport_lab::world::{Entry, History, What};

/// A SYN is repeated by the kernel after a second, and has left for certain by then.
const REPEATED: Duration = Duration::from_millis(1100);
const SPACING: Duration = Duration::from_millis(10);

/// What is known of one attempt at some moment.
struct Try {
    service: usize,
    address: SocketAddr,
    started: Duration,
    phase: Phase,
    /// When its handshake was done.
    connected: Option<Duration>,
    /// Whether it is the first of its candidate.
    is_first: bool,
    /// How many candidates of the service had failed when it was started.
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

    fn is_silent(&self) -> bool {
        self.phase == Phase::Silent
    }

    /// Whether the world has ended it; a second attempt that this machine refuses does not count.
    fn has_failed(&self) -> bool {
        match self.phase {
            Phase::Failed(failure) => self.is_first || failure.outcome != Outcome::Local,
            _ => false,
        }
    }

    /// Whether it ended by anything but silence.
    fn is_answered(&self) -> bool {
        let is_silence = |phase| matches!(phase, Phase::Failed(f) if f.outcome == Outcome::Timeout);
        self.has_failed() && !is_silence(self.phase)
    }

    fn is_refused(&self) -> bool {
        let refusals = [Outcome::Reset, Outcome::IcmpHard, Outcome::Closed];
        matches!(self.phase, Phase::Failed(failure) if refusals.contains(&failure.outcome))
    }

    fn had_local_resource_error(&self) -> bool {
        let own = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM, libc::EADDRNOTAVAIL];
        self.is_first
            && matches!(self.phase, Phase::Failed(Failure { errno: Some(errno), .. })
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
    /// The reported outcome of each attempt that is open when the dial ends.
    verdicts: Vec<Outcome>,
    /// What was closed last, and when.
    made_room: Option<(SocketAddr, Duration)>,
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
            verdicts: Vec::new(),
            made_room: None,
            now: Duration::ZERO,
        }
    }

    /// Panics where something was not allowed, or was due and did not happen.
    pub(crate) fn judge(mut self) {
        let log = &self.history.log;
        let end = log.last().map_or(Duration::ZERO, |entry| entry.at);
        let is_last = |e: &&Entry| matches!(e.what, What::Close { .. }) && e.at == end;
        let closes = log.iter().rev().skip(1).take_while(is_last);
        // The losers are closed after the winner was chosen, and must not clear its way.
        let chosen = log.len() - 1 - closes.count();
        for (index, entry) in log.iter().enumerate() {
            if entry.at > self.now {
                self.look_ahead(|due| due < entry.at);
                self.nothing_is_owed(entry.at);
            }
            self.now = entry.at;
            // What happened at one instant is taken in before anything is decided.
            let acts =
                matches!(entry.what, What::Connect { .. } | What::Close { .. } | What::End(_));
            if acts && index <= chosen {
                self.look_ahead(|due| due <= entry.at);
            }
            if index == chosen {
                self.verdicts = self.tries.iter().map(|t| self.verdict(t)).collect();
            }
            self.step(entry, index >= chosen);
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

    /// What was due between two entries, and did not happen.
    fn nothing_is_owed(&self, until: Duration) {
        let answered = self.tries.iter().any(|t| t.is_silent() && self.has_answered(t));
        self.demand(!answered, "an answer is the answer to every attempt of its candidate");
        if !self.punctual {
            return;
        }
        let is_due = |due: Option<Duration>| due.is_some_and(|due| due.max(self.now) < until);
        let services = 0..self.may_begin.len();
        let owed = services.into_iter().any(|service| is_due(self.second_attempt_due(service)));
        self.demand(!owed, "each silent candidate has its second attempt in time");
        let lacking = self.tries.iter().any(|t| is_due(self.proof_due(t)));
        self.demand(!lacking, "a connection is proven in time");
    }

    fn step(&mut self, entry: &Entry, is_over: bool) {
        match &entry.what {
            What::Answered { query, result } => self.answer(*query, result),
            What::Connect { attempt, address } => {
                self.demand(attempt.0 == self.tries.len(), "attempts are numbered in order");
                self.connect(*address);
            }
            What::Connected { attempt } => {
                self.tries[attempt.0].phase = Phase::Confirming;
                self.tries[attempt.0].connected = Some(self.now);
            }
            What::Confirmed { attempt } => self.tries[attempt.0].phase = Phase::Held,
            What::Failed { attempt, failure } => {
                self.tries[attempt.0].phase = Phase::Failed(*failure);
            }
            What::Close { attempt } => self.close(attempt.0, is_over),
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
        let reported =
            |of| self.answers.iter().find(|(query, _)| *query == of).map(|(_, said)| said);
        let is_over = match reported(Query::Authority) {
            None | Some(Err(LookupError::TryAgain)) => false,
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
        let reported =
            |of| self.answers.iter().find(|(query, _)| *query == of).map(|(_, said)| said);
        let service = self.plan.services()[service];
        let mut families = Family::ALL.into_iter().filter(|&family| service.allows(family));
        families.any(|family| {
            let hedge = reported(Query::Hedge(family));
            let hedge_is_reported = matches!(hedge, Some(Ok(()) | Err(LookupError::NoAddress)));
            match reported(Query::Authority) {
                None => !hedge_is_reported,
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
        self.demand(self.config.allows(family), "keeps to the families");
        self.demand(
            !self.tries.iter().any(|t| t.phase == Phase::Confirming),
            "starts nothing while a connection is confirmed",
        );
        self.demand(
            !self.tries.iter().any(|t| t.phase == Phase::Held && t.service <= service),
            "starts nothing of a held connection's service or a later one",
        );
        let failures = self.failures(service);
        let is_first = self.tries.iter().all(|t| t.address != address);
        if !is_first {
            self.again(service, address);
        } else if let Some(last) = self.firsts(service).last() {
            let due = last.started + self.config.attempt_delay;
            self.demand(failures > last.failures_before || due <= self.now, "staggers attempts");
        } else {
            self.first_of(service);
        }
        self.demand(self.open(service) < 6, "opens six at most");
        let (started, phase, connected) = (self.now, Phase::Silent, None);
        let failures_before = failures;
        self.made_room = None;
        self.tries.push(Try {
            service,
            address,
            started,
            phase,
            connected,
            is_first,
            failures_before,
        });
    }

    /// Another attempt of a candidate: the second one, or the SYN that a connection is proven by.
    fn again(&self, service: usize, address: SocketAddr) {
        self.demand(self.is_silent(address), "dials nothing twice that is not silent");
        let reason = self.history.report.attempts[self.tries.len()].reason;
        match reason {
            Reason::SecondAttempt => {
                self.demand(self.attempts(address).count() == 1, "a second attempt is the second");
                let due = self.second_attempt_due(service);
                self.demand(due.is_some_and(|due| due <= self.now), "a second attempt is due");
            }
            Reason::Proof(_) => {
                let first = self.attempts(address).next().expect("it was tried");
                let due = self.proof_due(first);
                self.demand(due.is_some_and(|due| due <= self.now), "a proof is lacking");
            }
            _ => self.complain("tries a candidate again for a reason"),
        }
    }

    /// When the next second attempt of a service is due, with these facts.
    fn second_attempt_due(&self, service: usize) -> Option<Duration> {
        let held = self.held().map_or(usize::MAX, |(_, held)| held.service);
        let confirming = self.tries.iter().any(|t| t.phase == Phase::Confirming);
        let all_started = self
            .candidates(service)
            .iter()
            .all(|address| self.tries.iter().any(|t| t.address == *address));
        let refused = self.of(service).any(Try::is_refused);
        if confirming || held <= service || !all_started || refused || self.open(service) >= 6 {
            return None;
        }
        let once = |t: &&Try| t.is_silent() && self.attempts(t.address).count() == 1;
        self.firsts(service).find(once)?;
        Some(self.of(service).last()?.started + self.config.attempt_delay)
    }

    /// When a SYN must be sent to a candidate, so that the connection it holds back is proven.
    fn proof_due(&self, t: &Try) -> Option<Duration> {
        let (_, held) = self.held()?;
        let confirming = self.tries.iter().any(|t| t.phase == Phase::Confirming);
        let may = self.is_silent(t.address)
            && !confirming
            && held.service > t.service
            && self.is_by_proof(t);
        if !may || self.attempts(t.address).count() >= 3 {
            return None;
        }
        let good = self.path_was_good(held);
        let last = self.tries.last().expect("something was started").started;
        let due = (last + SPACING).max(held.connected?);
        // The kernel may be first.
        let sent_by_then = self.syns_to(t).any(|at| good <= at && at <= due.max(self.now));
        (!sent_by_then).then_some(due)
    }

    /// Whether nothing has come of a candidate, which may have just made room for itself.
    fn is_silent(&self, address: SocketAddr) -> bool {
        self.attempts(address).any(Try::is_silent) || self.made_room == Some((address, self.now))
    }

    /// Whether silence counts by the proof, and not by the patience alone.
    fn is_by_proof(&self, t: &Try) -> bool {
        let own_times = self.config.patience != Patience::Automatic
            || self.config.port_delay != Duration::from_millis(500);
        let refused = self.of(t.service).any(Try::is_refused);
        !own_times && !refused && !self.is_sequential()
    }

    fn is_sequential(&self) -> bool {
        self.plan.is_sequential()
    }

    /// When the path is known to have been good: as the SYN was sent that was answered.
    fn path_was_good(&self, held: &Try) -> Duration {
        let connected = held.connected.expect("it is connected");
        let is_one_syn = connected.saturating_sub(held.started) <= Duration::from_secs(1);
        if is_one_syn { held.started } else { connected.saturating_sub(self.round_trip) }
    }

    /// The SYNs to a candidate whose answer is still awaited.
    fn syns_to(&self, t: &Try) -> impl Iterator<Item = Duration> {
        let open = self.attempts(t.address).filter(|t| t.is_silent());
        open.flat_map(|t| [t.started, t.started + REPEATED])
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
                // An address that is not known yet is waited for as a silent attempt is.
                let is_untried = self.of(service).next().is_none();
                return is_untried.then(|| self.may_begin[service] + self.silence());
            }
            let own = self.of(service).any(Try::had_local_resource_error);
            return (refused || !own).then_some(Duration::ZERO);
        }
        if self.plan.is_sequential() {
            return live.map(|t| self.impatient(t, Duration::ZERO)).max();
        }
        if refused {
            return Some(Duration::ZERO);
        }
        let started = live.map(|t| self.first(t).started);
        let by_patience = self.config.patience != Patience::Automatic;
        match self.config.port_delay {
            half_a_second if half_a_second == Duration::from_millis(500) && !by_patience => {
                let staggered = self.firsts(service).last()?.started + self.config.attempt_delay;
                Some((started.min()? + half_a_second).max(staggered))
            }
            half_a_second if half_a_second == Duration::from_millis(500) => {
                Some(started.max()? + Duration::from_secs(1))
            }
            set => Some(started.max()? + set),
        }
    }

    /// How long a service is waited for that has not been tried.
    fn silence(&self) -> Duration {
        let is_full = self.plan.is_sequential() || self.config.patience != Patience::Automatic;
        match self.config.port_delay {
            half_a_second if half_a_second == Duration::from_millis(500) && is_full => {
                Duration::from_secs(1)
            }
            set => set,
        }
    }

    /// Its candidate silent for the patience or, where another of its service was refused, for the
    /// attempt delay.
    fn impatient(&self, t: &Try, round_trip: Duration) -> Duration {
        let patience = match self.config.patience {
            Patience::Automatic => {
                Duration::from_millis(1300).max(Duration::from_secs(1) + 2 * round_trip)
            }
            Patience::Fixed(patience) => patience,
        };
        let refused = self.of(t.service).any(Try::is_refused);
        let silence = if refused { patience.min(self.config.attempt_delay) } else { patience };
        self.first(t).started + silence
    }

    /// When an attempt no longer holds back a connection, with these facts.
    fn overdue(&self, t: &Try, held: &Try) -> Duration {
        if held.service <= t.service || !self.is_by_proof(t) {
            return self.impatient(t, self.round_trip);
        }
        let good = self.path_was_good(held);
        let sent = |by: Duration| self.syns_to(t).filter(|&at| good <= at && at <= by).min();
        let unanswered =
            (self.round_trip * 3 / 2).max(self.round_trip + Duration::from_millis(100));
        let first = self.first(t).started;
        let elsewhere = t.address.ip() != held.address.ip();
        let nearby = self.round_trip < Duration::from_millis(10);
        let at_least = match (nearby, elsewhere) {
            (true, _) => first + Duration::from_millis(950),
            (false, true) => first + Duration::from_millis(600),
            (false, false) => first,
        };
        let exhausted = self.attempts(t.address).count() >= 3;
        match sent(self.now).or_else(|| sent(Duration::MAX).filter(|_| exhausted)) {
            Some(sent) => at_least.max(sent + unanswered),
            None if exhausted => self.impatient(t, self.round_trip),
            // The SYN is still to be sent.
            None => Duration::MAX,
        }
    }

    fn held(&self) -> Option<(usize, &Try)> {
        let held = self.tries.iter().enumerate().filter(|(_, t)| t.phase == Phase::Held);
        held.min_by_key(|(id, t)| (t.service, *id))
    }

    /// The connection that wins if nothing else happens, and when.
    fn could_win(&self) -> Option<(usize, Duration)> {
        let (id, held) = self.held()?;
        if self.tries.iter().any(|t| t.phase == Phase::Confirming) {
            return None;
        }
        let silent = self.tries.iter().filter(|t| t.phase == Phase::Silent);
        let earlier = silent.filter(|t| t.service < held.service);
        let clear = earlier.map(|t| self.overdue(t, held)).max();
        Some((id, clear.unwrap_or(Duration::ZERO)))
    }

    fn close(&mut self, id: usize, is_over: bool) {
        let reported = self.history.report.attempts[id].outcome;
        let t = &self.tries[id];
        if self.has_answered(t) && t.is_silent() {
            self.demand(reported == Some(Outcome::Cancelled), "its candidate has answered");
        } else if is_over {
            let right = reported == Some(self.verdicts[id]);
            self.demand(right, "an attempt that is closed is reported with its outcome");
        } else {
            self.make_room(t, reported);
        }
        let connected = matches!(self.history.report.end, Some(End::Connected(_)));
        self.demand(
            t.phase != Phase::Held || connected,
            "no connection is thrown away for nothing",
        );
        self.made_room = Some((t.address, self.now));
        self.tries[id].phase = Phase::Closed;
    }

    /// The reported outcome of an attempt, if the dial ends now.
    fn verdict(&self, t: &Try) -> Outcome {
        let overdue = match self.history.report.end {
            Some(End::Connected(winner)) => self.overdue(t, &self.tries[winner]),
            _ => self.impatient(t, Duration::ZERO),
        };
        let at_deadline = t.phase != Phase::Held && self.now >= self.config.timeout;
        let timeout = t.is_silent() && overdue <= self.now || at_deadline;
        if timeout { Outcome::Timeout } else { Outcome::Cancelled }
    }

    /// An attempt that is closed for another one of its service. It may be overdue only for the
    /// shortest patience, while no connection is held.
    fn make_room(&self, t: &Try, reported: Option<Outcome>) {
        self.demand(t.is_silent() && self.open(t.service) == 6, "closes nothing for nothing");
        let seconds = || self.of(t.service).filter(|t| t.is_silent() && !t.is_first);
        let of_a_second_attempt = seconds().next().is_some();
        let is_overdue = self.impatient(t, Duration::ZERO) <= self.now;
        let right = match reported {
            Some(Outcome::Timeout) => is_overdue,
            // A second attempt, or what a proof takes the place of.
            Some(Outcome::Cancelled) => !is_overdue && of_a_second_attempt || self.held().is_some(),
            _ => false,
        };
        self.demand(right, "a second attempt makes room first, and then what is overdue");
        let first_goes = t.is_first && of_a_second_attempt && self.held().is_none();
        self.demand(!first_goes, "a second attempt makes room before a first one");
        let is_earliest = seconds().all(|other| t.started <= other.started);
        let in_order = t.is_first || is_earliest || self.held().is_some();
        self.demand(in_order, "the earliest second attempt makes room");
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
        for (reported, known) in report.attempts.iter().zip(&self.tries) {
            let place = (reported.address, reported.started, reported.service);
            let service = self.plan.services()[known.service];
            let right = place == (Some(known.address), known.started, service);
            self.demand(right, "attempts are reported in their order");
            let failed = match known.phase {
                Phase::Failed(failure) => {
                    reported.outcome == Some(failure.outcome) && reported.icmp == failure.icmp
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

    /// The first attempt of each candidate of a service.
    fn firsts(&self, service: usize) -> impl Iterator<Item = &Try> {
        self.of(service).filter(|t| t.is_first)
    }

    /// Every attempt of a candidate.
    fn attempts(&self, address: SocketAddr) -> impl Iterator<Item = &Try> {
        self.tries.iter().filter(move |t| t.address == address)
    }

    fn first(&self, t: &Try) -> &Try {
        self.attempts(t.address).next().expect("it was started")
    }

    fn has_answered(&self, t: &Try) -> bool {
        self.attempts(t.address).any(Try::is_answered)
    }

    /// How many candidates of a service have failed, with every attempt.
    fn failures(&self, service: usize) -> usize {
        let failed = |t: &&Try| {
            let mut attempts = self.attempts(t.address);
            attempts.any(Try::has_failed) && !self.attempts(t.address).any(Try::is_silent)
        };
        self.firsts(service).filter(failed).count()
    }

    fn open(&self, service: usize) -> usize {
        self.of(service).filter(|t| t.is_open()).count()
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
