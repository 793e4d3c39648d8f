//! The attempts of one dial: what was started and when, and how it ended.
//!
//! Only facts are kept. What follows from them (which attempt is overdue, which service may begin)
//! is derived in [`rules`](super::rules).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::event::AttemptId;
use super::hints::Observation;
use crate::outcome::{Failure, Outcome};
use crate::plan::{Family, Service};
use crate::report::{Greeting, Reason, Stage};

/// The facts.
#[derive(Debug, Default)]
pub(super) struct Race {
    /// The services that have begun: always the first ones of the plan, in its order.
    pub(super) begun: Vec<Begun>,
    pub(super) tries: Vec<Try>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Begun {
    pub(super) at: Instant,
    pub(super) reason: Reason,
}

#[derive(Debug)]
pub(super) struct Try {
    pub(super) service: usize,
    pub(super) place: CandidatePlace,
    pub(super) id: usize,
    /// The first attempt of its candidate; itself, unless it is a second one.
    pub(super) first: usize,
    pub(super) started: Instant,
    pub(super) reason: Reason,
    pub(super) state: TryState,
    /// Of its connection; nothing until there is one, and where the kernel does not tell.
    pub(super) round_trip: Duration,
    /// When its handshake was done.
    pub(super) established: Option<Instant>,
    /// When its connection could be used.
    pub(super) connected: Option<Instant>,
    pub(super) greeting: Option<Greeting>,
    pub(super) note: Option<String>,
    pub(super) syns: Option<u32>,
    /// Whether it went to what turned out to be no address of the host. It then counts for nothing.
    pub(super) disowned: bool,
    /// How many attempts of the service had failed when this one started: one more since then is
    /// a reason to start another at once.
    pub(super) failures_before: usize,
}

/// Where an attempt goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CandidatePlace {
    At(SocketAddr),
    /// To the target by its name, as a proxy or a command finds it.
    Far,
}

impl CandidatePlace {
    pub(super) fn address(self) -> Option<SocketAddr> {
        match self {
            CandidatePlace::At(address) => Some(address),
            CandidatePlace::Far => None,
        }
    }

    pub(super) fn family(self) -> Option<Family> {
        self.address().map(|address| Family::from(address.ip()))
    }
}

#[derive(Debug)]
pub(super) enum TryState {
    Connecting,
    /// `passed`: when the wait for the greeting alone began.
    Confirming {
        passed: Option<Instant>,
    },
    Held,
    Ended {
        at: Instant,
        stage: Stage,
        end: TryEnd,
    },
}

#[derive(Debug, Clone, Copy)]
pub(super) enum TryEnd {
    Won,
    /// The world's doing.
    Failed(Failure),
    /// A second attempt that failed on this machine, which says nothing of its candidate.
    Ignored(Failure),
    /// Ours: overdue without any help of the cache.
    Overdue,
    /// Ours: overdue by the proof alone, before the patience had ended.
    Unanswered,
    /// Ours: not overdue, but the deadline had come.
    Unheard,
    /// Ours: still in time.
    Cancelled,
    /// Ours: still in time, and the user has decided for another service.
    PassedOver,
}

impl TryEnd {
    pub(super) fn failure(self) -> Failure {
        match self {
            TryEnd::Won => Failure::new(Outcome::Connected),
            TryEnd::Failed(failure) | TryEnd::Ignored(failure) => failure,
            TryEnd::Overdue | TryEnd::Unanswered | TryEnd::Unheard => {
                Failure::new(Outcome::Timeout)
            }
            TryEnd::Cancelled | TryEnd::PassedOver => Failure::new(Outcome::Cancelled),
        }
    }
}

impl Try {
    pub(super) fn family(&self) -> Option<Family> {
        self.place.family()
    }

    /// Whether it goes to this address, at any port.
    pub(super) fn is_at(&self, address: SocketAddr) -> bool {
        let same = |mut at: SocketAddr| {
            at.set_port(address.port());
            at == address
        };
        self.place.address().is_some_and(same)
    }

    pub(super) fn is_first(&self) -> bool {
        self.id == self.first
    }

    pub(super) fn is_silent(&self) -> bool {
        matches!(self.state, TryState::Connecting)
    }

    pub(super) fn is_live(&self) -> bool {
        matches!(self.state, TryState::Connecting | TryState::Confirming { .. })
    }

    pub(super) fn is_open(&self) -> bool {
        !matches!(self.state, TryState::Ended { .. })
    }

    pub(super) fn is_confirming(&self) -> bool {
        matches!(self.state, TryState::Confirming { .. })
    }

    pub(super) fn is_held(&self) -> bool {
        matches!(self.state, TryState::Held)
    }

    pub(super) fn was_cancelled(&self) -> bool {
        matches!(self.state, TryState::Ended { end: TryEnd::Cancelled, .. })
    }

    pub(super) fn failure(&self) -> Option<Failure> {
        match self.state {
            TryState::Ended { end: TryEnd::Failed(failure), .. } => Some(failure),
            _ => None,
        }
    }

    pub(super) fn was_refused(&self) -> bool {
        self.failure().is_some_and(Failure::is_refusal)
    }

    /// Whether it ended with an answer of the host or of the path to it.
    pub(super) fn has_answered(&self) -> bool {
        self.failure().is_some_and(|failure| failure.outcome != Outcome::Timeout)
    }

    pub(super) fn stage(&self) -> Stage {
        match self.state {
            TryState::Connecting => Stage::Connect,
            TryState::Confirming { .. } | TryState::Held => Stage::Confirm,
            TryState::Ended { stage, .. } => stage,
        }
    }

    pub(super) fn hold(&mut self, greeting: Option<Greeting>, at: Instant) {
        self.state = TryState::Held;
        self.greeting = greeting;
        self.connected = Some(at);
    }

    pub(super) fn end(&mut self, end: TryEnd, at: Instant) {
        self.state = TryState::Ended { at, stage: self.stage(), end };
    }

    /// What the world did. A second attempt that fails on this machine is ignored.
    pub(super) fn fail(&mut self, failure: Failure, at: Instant) {
        let is_ignored = !self.is_first() && failure.outcome == Outcome::Local;
        let end = if is_ignored { TryEnd::Ignored } else { TryEnd::Failed };
        self.end(end(failure), at);
    }
}

impl Race {
    /// The attempt of this number, while it has not ended.
    pub(super) fn open_mut(&mut self, id: AttemptId) -> Option<&mut Try> {
        self.tries.get_mut(id.0).filter(|t| t.is_open())
    }

    pub(super) fn get_mut(&mut self, id: AttemptId) -> Option<&mut Try> {
        self.tries.get_mut(id.0)
    }

    pub(super) fn begin(&mut self, reason: Reason, at: Instant) {
        self.begun.push(Begun { at, reason });
    }

    pub(super) fn start(
        &mut self,
        service: usize,
        place: CandidatePlace,
        reason: Reason,
        at: Instant,
    ) -> AttemptId {
        self.push(service, place, self.tries.len(), reason, at)
    }

    /// Starts another attempt of a candidate, by its first one.
    pub(super) fn repeat(&mut self, first: usize, reason: Reason, at: Instant) -> AttemptId {
        let Try { service, place, .. } = self.tries[first];
        self.push(service, place, first, reason, at)
    }

    fn push(
        &mut self,
        service: usize,
        place: CandidatePlace,
        first: usize,
        reason: Reason,
        at: Instant,
    ) -> AttemptId {
        let (id, failures_before) = (self.tries.len(), self.failures(service));
        // Most dials make one attempt or two, and there is one of these for each pending dial.
        if self.tries.len() == self.tries.capacity() {
            self.tries.reserve_exact(2);
        }
        self.tries.push(Try {
            service,
            place,
            id,
            first,
            started: at,
            reason,
            state: TryState::Connecting,
            round_trip: Duration::ZERO,
            established: None,
            connected: None,
            greeting: None,
            note: None,
            syns: None,
            disowned: false,
            failures_before,
        });
        AttemptId(id)
    }

    /// The held connection of the highest priority: the earliest service, then the earliest start.
    pub(super) fn best_held(&self) -> Option<(usize, &Try)> {
        self.best(Try::is_held)
    }

    /// The attempt past its connect that goes first.
    pub(super) fn best_confirming(&self) -> Option<(usize, &Try)> {
        self.best(Try::is_confirming)
    }

    fn best(&self, is: impl Fn(&Try) -> bool) -> Option<(usize, &Try)> {
        let tries = self.tries.iter().enumerate().filter(|(_, t)| is(t));
        tries.min_by_key(|(id, t)| (t.service, *id))
    }

    pub(super) fn of(&self, service: usize) -> impl Iterator<Item = &Try> {
        self.tries.iter().filter(move |t| t.service == service && !t.disowned)
    }

    /// The first attempts of a service: one for each candidate that was started.
    pub(super) fn firsts(&self, service: usize) -> impl Iterator<Item = &Try> {
        self.of(service).filter(|t| t.is_first())
    }

    /// The first attempt of the candidate that an attempt belongs to.
    pub(super) fn first_of(&self, t: &Try) -> &Try {
        &self.tries[t.first]
    }

    /// Every attempt of the candidate that an attempt belongs to.
    pub(super) fn candidate(&self, t: &Try) -> impl Iterator<Item = &Try> {
        let first = t.first;
        self.tries[first..].iter().filter(move |other| other.first == first)
    }

    /// Whether a service failed for a want of our own, and nothing of it was refused: that says
    /// nothing of the service, so it is no reason to begin the next one.
    pub(super) fn is_starved(&self, service: usize) -> bool {
        let local_resource_error =
            self.of(service).filter_map(Try::failure).any(Failure::is_local_resource_error);
        local_resource_error && !self.of(service).any(Try::was_refused)
    }

    /// How many candidates of a service have failed: with every attempt.
    pub(super) fn failures(&self, service: usize) -> usize {
        let has_failed = |t: &&Try| {
            self.candidate(t).any(|t| t.failure().is_some())
                && !self.candidate(t).any(Try::is_silent)
        };
        self.firsts(service).filter(has_failed).count()
    }
}

/// The observations of a dial that was won by `winner`: one for each service over each family.
///
/// | attempts of the service over the family | observation |
/// |---|---|
/// | one connected, and won or was held | connected, with its round trip |
/// | one was refused | that outcome |
/// | silent for the whole patience | timeout |
/// | silent until the proof alone (rule 6) | timeout, provisional |
/// | soft errors or local errors | none; a soft error counts if every candidate of the service had failed and a later service of the same host was reached, because then the path was not at fault |
/// | open for less, or cancelled | none |
pub(super) fn observations(
    race: &Race,
    winner: usize,
    services: &[Service],
    patience: Duration,
) -> Vec<Observation> {
    let tries = &race.tries;
    let mut observations: Vec<Observation> = Vec::new();
    for (index, t) in tries.iter().enumerate() {
        let (service, family) = (services[t.service], t.family());
        let is_the_same = |o: &Try| o.service == t.service && o.family() == family && !o.disowned;
        if t.disowned || tries[..index].iter().any(is_the_same) {
            continue;
        }
        // One that was closed for another and tried again counts by its last try.
        let is_last = |i: usize, o: &Try| {
            !o.was_cancelled()
                || tries[i + 1..].iter().all(|l| (l.service, l.place) != (o.service, o.place))
        };
        let counts = |i: usize, o: &Try| !o.disowned && is_last(i, o);
        let last = || tries.iter().enumerate().filter(|&(i, o)| counts(i, o)).map(|(_, o)| o);
        let of_service = || last().filter(|o| o.service == t.service);
        let group: Vec<&Try> = of_service().filter(|o| o.family() == family).collect();
        let connected =
            group.iter().find(|t| t.is_won() || t.connected.is_some() && !t.was_refused());
        let has_failed = |o: &Try| race.candidate(o).any(Try::has_failed);
        let blamed = of_service().all(has_failed) && t.service < tries[winner].service;
        let outcome = match connected {
            Some(_) => Some(Outcome::Connected),
            None => group.iter().filter_map(|t| t.bad(blamed, patience)).min(),
        };
        let is_silent = outcome == Some(Outcome::Timeout);
        let provisional = is_silent && group.iter().any(|t| t.was_unanswered());
        // A round trip of nothing is one that the kernel did not tell.
        let round_trip = connected.map(|t| t.round_trip).filter(|time| !time.is_zero());
        if let Some(outcome) = outcome {
            let observed = Observation { service, family, outcome, round_trip, provisional };
            observations.push(observed);
        }
    }
    observations
}

impl Try {
    fn is_won(&self) -> bool {
        matches!(self.state, TryState::Ended { end: TryEnd::Won, .. })
    }

    fn has_failed(&self) -> bool {
        let TryState::Ended { end, .. } = self.state else { return false };
        matches!(end, TryEnd::Failed(_) | TryEnd::Overdue | TryEnd::Unanswered)
    }

    fn was_unanswered(&self) -> bool {
        matches!(self.state, TryState::Ended { end: TryEnd::Unanswered, .. })
    }

    /// What is to be remembered against the service; `blamed` is whether soft errors count.
    fn bad(&self, blamed: bool, patience: Duration) -> Option<Outcome> {
        let TryState::Ended { end, at, .. } = self.state else { return None };
        // The kernel may give up before we would.
        let was_silent =
            matches!(end, TryEnd::Overdue | TryEnd::Unanswered) || at >= self.started + patience;
        let failure = match end {
            TryEnd::Overdue | TryEnd::Unanswered | TryEnd::Failed(_) => end.failure(),
            TryEnd::Won
            | TryEnd::Ignored(_)
            | TryEnd::Unheard
            | TryEnd::Cancelled
            | TryEnd::PassedOver => return None,
        };
        let soft = failure.outcome == Outcome::IcmpSoft && blamed;
        let silent = failure.outcome == Outcome::Timeout && was_silent;
        let counts = failure.is_refusal() || silent || soft;
        counts.then_some(failure.outcome)
    }
}
