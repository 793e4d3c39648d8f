//! The attempts of one dial, and the rules that say what is due next.
//!
//! Only facts are kept: what was started and when, and how it ended. Whether an attempt is overdue,
//! whether a connection is held, whether a service may start: all that is derived, and each rule
//! derives the time at which it falls due. So what happens and when to wake up cannot disagree.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::answers::Answers;
use super::words::AttemptId;
use crate::config::Patience;
use crate::outcome::{Failure, Outcome};
use crate::plan::{Family, Service};
use crate::report::{End, Reason, Stage};

/// The most attempts of one service that are open at once.
pub(crate) const MAX_OPEN: usize = 6;
/// The least [`Patience::Automatic`]: a second for the first SYN, and time for the answer to the
/// retransmission.
const LEAST_PATIENCE: Duration = Duration::from_millis(1300);
/// When the kernel sends the SYN again (RFC 6298 section 2.1).
const RETRANSMISSION: Duration = Duration::from_secs(1);

/// What does not change during a dial.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) services: Vec<Service>,
    pub(super) strict: bool,
    pub(super) resolution_delay: Duration,
    pub(super) attempt_delay: Duration,
    pub(super) port_delay: Duration,
    pub(super) patience: Patience,
    pub(super) deadline: Instant,
}

impl Rules {
    /// How long a silent attempt may hold back a connection with this round trip.
    fn patience(&self, round_trip: Duration) -> Duration {
        match self.patience {
            Patience::Automatic => LEAST_PATIENCE.max(RETRANSMISSION + 2 * round_trip),
            Patience::Fixed(patience) => patience,
        }
    }
}

/// The facts.
#[derive(Debug, Default)]
pub(super) struct Race {
    /// The services that have begun: always the first ones of the plan, in its order.
    begun: Vec<Begun>,
    tries: Vec<Try>,
}

#[derive(Debug, Clone, Copy)]
struct Begun {
    at: Instant,
    reason: Reason,
}

#[derive(Debug)]
pub(super) struct Try {
    pub(super) service: usize,
    pub(super) address: SocketAddr,
    pub(super) started: Instant,
    pub(super) reason: Reason,
    pub(super) state: State,
    /// When its connection could be used.
    pub(super) connected: Option<Instant>,
    pub(super) syns: Option<u32>,
    /// How many attempts of the service had failed when this one started: one more since then is
    /// a reason to start another at once.
    failures_before: usize,
}

#[derive(Debug)]
pub(super) enum State {
    Connecting,
    Confirming { round_trip: Duration },
    Held { round_trip: Duration },
    Ended { at: Instant, stage: Stage, end: TryEnd },
}

#[derive(Debug, Clone, Copy)]
pub(super) enum TryEnd {
    Won,
    /// The world's doing.
    Failed(Failure),
    /// Ours: closed as `timeout` or `cancelled`.
    Closed(Outcome),
}

/// What is to be done next.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    Begin { reason: Reason },
    Start { service: usize, address: SocketAddr, reason: Reason, making_room: Option<AttemptId> },
    End(End),
}

/// A step, and when it falls due.
pub(super) type Due = (Instant, Step);

impl Try {
    pub(super) fn family(&self) -> Family {
        Family::of(self.address.ip())
    }

    fn is_live(&self) -> bool {
        matches!(self.state, State::Connecting | State::Confirming { .. })
    }

    fn is_open(&self) -> bool {
        !matches!(self.state, State::Ended { .. })
    }

    fn is_confirming(&self) -> bool {
        matches!(self.state, State::Confirming { .. })
    }

    fn failure(&self) -> Option<Failure> {
        match self.state {
            State::Ended { end: TryEnd::Failed(failure), .. } => Some(failure),
            _ => None,
        }
    }

    fn was_refused(&self) -> bool {
        self.failure().is_some_and(|failure| failure.outcome.is_refusal())
    }

    fn stage(&self) -> Stage {
        match self.state {
            State::Connecting => Stage::Connect,
            State::Confirming { .. } | State::Held { .. } => Stage::Confirm,
            State::Ended { stage, .. } => stage,
        }
    }

    pub(super) fn end(&mut self, end: TryEnd, at: Instant) {
        self.state = State::Ended { at, stage: self.stage(), end };
    }
}

impl Race {
    pub(super) fn tries(&self) -> &[Try] {
        &self.tries
    }

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
        address: SocketAddr,
        reason: Reason,
        at: Instant,
    ) -> AttemptId {
        let failures_before = self.failures(service);
        self.tries.push(Try {
            service,
            address,
            started: at,
            reason,
            state: State::Connecting,
            connected: None,
            syns: None,
            failures_before,
        });
        AttemptId(self.tries.len() - 1)
    }

    /// Ends every open attempt but the winner and names them, so that they can be closed.
    pub(super) fn close_all_but(
        &mut self,
        winner: Option<usize>,
        rules: &Rules,
        at: Instant,
    ) -> Vec<AttemptId> {
        let round_trip = match winner.map(|w| &self.tries[w].state) {
            Some(&State::Held { round_trip }) => round_trip,
            _ => Duration::ZERO,
        };
        let open = self.tries.iter().enumerate().filter(|(_, t)| t.is_open());
        let ends: Vec<(usize, TryEnd)> = open
            .map(|(id, t)| {
                let overdue = self.overdue_at(t, rules, round_trip).is_some_and(|due| due <= at);
                let end = if winner == Some(id) {
                    TryEnd::Won
                } else if t.is_live() && (overdue || at >= rules.deadline) {
                    TryEnd::Closed(Outcome::Timeout)
                } else {
                    TryEnd::Closed(Outcome::Cancelled)
                };
                (id, end)
            })
            .collect();
        for &(id, end) in &ends {
            self.tries[id].end(end, at);
        }
        ends.iter().map(|&(id, _)| AttemptId(id)).filter(|id| Some(id.0) != winner).collect()
    }

    /// The step that falls due first; of those that are due together, the one that decides more.
    pub(super) fn next(&self, answers: &Answers, rules: &Rules, now: Instant) -> Option<Due> {
        let due = [
            self.win(rules, now),
            Some(self.expire(rules)),
            self.begin_first(answers, rules),
            self.start_next(answers, rules, now),
            self.begin_next(answers, rules, now),
            self.give_up(answers, rules, now),
        ];
        let due = due.into_iter().flatten();
        // What is due already is done in the order of the rules; of the future, the nearest counts.
        due.min_by_key(|(at, _)| (*at).max(now))
    }

    /// A connected attempt wins when no live attempt of an earlier service is left that is not
    /// overdue. Nothing wins while anything is being confirmed.
    fn win(&self, rules: &Rules, now: Instant) -> Option<Due> {
        let (id, held, round_trip) = self.best_held()?;
        if self.tries.iter().any(Try::is_confirming) {
            return None;
        }
        let earlier = self.tries.iter().filter(|t| t.is_live() && t.service < held.service);
        let overdue = earlier.filter_map(|t| self.overdue_at(t, rules, round_trip));
        Some((overdue.max().unwrap_or(now), Step::End(End::Connected(id))))
    }

    /// At the deadline the best held connection wins; only with none is it an error.
    fn expire(&self, rules: &Rules) -> Due {
        let end = self.best_held().map_or(End::Deadline, |(id, ..)| End::Connected(id));
        (rules.deadline, Step::End(end))
    }

    fn begin_first(&self, answers: &Answers, rules: &Rules) -> Option<Due> {
        if !self.begun.is_empty() {
            return None;
        }
        let at = answers.begin_at(rules.resolution_delay)?;
        Some((at, Step::Begin { reason: Reason::First }))
    }

    /// The next service starts when every candidate of the last begun one has been started and one
    /// was refused, or all have failed, or all live ones have been silent for the port delay;
    /// strictly, when every attempt has failed or is overdue.
    fn begin_next(&self, answers: &Answers, rules: &Rules, now: Instant) -> Option<Due> {
        let last = self.begun.len().checked_sub(1)?;
        let service = *rules.services.get(last)?;
        let is_last_of_plan = last + 1 == rules.services.len();
        let blocked =
            self.tries.iter().any(|t| t.is_open() && !matches!(t.state, State::Connecting));
        if is_last_of_plan || blocked || self.unstarted(last, answers, rules).next().is_some() {
            return None;
        }
        let mut live = self.of(last).filter(|t| t.is_live()).peekable();
        let refused = self.of(last).any(Try::was_refused);
        let (at, reason) = if self.of(last).next().is_none() {
            (now, Reason::NoAddress(service))
        } else if live.peek().is_none() {
            if self.is_starved(last) {
                return None;
            }
            (now, if refused { Reason::Refused(service) } else { Reason::AllFailed(service) })
        } else if rules.strict {
            let overdue = live.filter_map(|t| self.overdue_at(t, rules, Duration::ZERO));
            (overdue.max()?, Reason::Overdue(service))
        } else if refused {
            (now, Reason::Refused(service))
        } else {
            let silent = live.map(|t| t.started + rules.port_delay);
            (silent.max()?, Reason::PortDelay(service))
        };
        Some((at, Step::Begin { reason }))
    }

    /// The start that falls due first, of the service that goes first.
    fn start_next(&self, answers: &Answers, rules: &Rules, now: Instant) -> Option<Due> {
        if self.tries.iter().any(Try::is_confirming) {
            return None;
        }
        // While one is held, nothing of its service or a later one is started.
        let held = self.best_held().map_or(usize::MAX, |(_, held, _)| held.service);
        let starts = (0..self.begun.len().min(held))
            .filter_map(|service| self.start_of(service, answers, rules, now));
        starts.min_by_key(|(at, _)| (*at).max(now))
    }

    fn start_of(
        &self,
        service: usize,
        answers: &Answers,
        rules: &Rules,
        now: Instant,
    ) -> Option<Due> {
        let address = self.choose(service, answers, rules, now)?;
        let arrived = answers.arrived(Family::of(address.ip()))?;
        let begun = self.begun[service];
        let (due, reason) = match self.of(service).last() {
            None => (begun.at, begun.reason),
            Some(last) if self.failures(service) > last.failures_before => (now, Reason::Failed),
            Some(last) => (last.started + rules.attempt_delay, Reason::AttemptDelay),
        };
        let late = arrived > begun.at && arrived >= due;
        let reason = if late { Reason::LateAddress } else { reason };
        let mut due = due.max(arrived);
        let mut making_room = None;
        if self.of(service).filter(|t| t.is_open()).count() >= MAX_OPEN {
            let (id, overdue) = self.longest_overdue(service, rules)?;
            due = due.max(overdue);
            making_room = Some(id);
        }
        Some((due, Step::Start { service, address, reason, making_room }))
    }

    /// The dial ends when nothing is live, nothing can be started and no look-up is pending.
    fn give_up(&self, answers: &Answers, rules: &Rules, now: Instant) -> Option<Due> {
        let more = (0..self.begun.len())
            .any(|service| self.unstarted(service, answers, rules).next().is_some());
        if answers.is_pending() || more || self.tries.iter().any(Try::is_open) {
            return None;
        }
        let end = if self.tries.is_empty() {
            if answers.begin_at(rules.resolution_delay).is_some() && self.begun.is_empty() {
                return None;
            }
            End::Unresolved
        } else if self.is_starved(self.begun.len() - 1) {
            End::OwnTrouble
        } else {
            End::Exhausted
        };
        Some((now, Step::End(end)))
    }

    /// The address of a service to start next: families in turn, the better one first.
    fn choose(
        &self,
        service: usize,
        answers: &Answers,
        rules: &Rules,
        now: Instant,
    ) -> Option<SocketAddr> {
        let of =
            |family| self.unstarted(service, answers, rules).find(|a| Family::of(a.ip()) == family);
        let standing = |family| self.standing(family, rules, now);
        let turn = match self.of(service).last() {
            // Interleaved (RFC 8305 section 4), with a First Address Family Count of 1.
            Some(last) => last.family().other(),
            None => answers.first_family(),
        };
        let first = match (standing(turn), standing(turn.other())) {
            (Standing::Bad, Standing::Good) => turn.other(),
            _ => turn,
        };
        of(first).or_else(|| of(first.other()))
    }

    /// What this dial has learned of a family: one that has answered goes before one that was
    /// silent for the attempt delay or failed softly.
    fn standing(&self, family: Family, rules: &Rules, now: Instant) -> Standing {
        let mut standing = Standing::Unknown;
        for t in self.tries.iter().filter(|t| t.family() == family) {
            let outcome = match &t.state {
                State::Connecting if now < t.started + rules.attempt_delay => continue,
                State::Connecting => Outcome::Timeout,
                State::Confirming { .. }
                | State::Held { .. }
                | State::Ended { end: TryEnd::Won, .. } => Outcome::Connected,
                State::Ended { end: TryEnd::Failed(failure), .. } => failure.outcome,
                State::Ended { end: TryEnd::Closed(outcome), .. } => *outcome,
            };
            if outcome.is_answer() {
                return Standing::Good;
            }
            if matches!(outcome, Outcome::IcmpSoft | Outcome::Timeout) {
                standing = Standing::Bad;
            }
        }
        standing
    }

    /// When a live attempt is overdue: silent for the patience or, where another candidate of its
    /// service was refused, for the attempt delay. One that is being confirmed never is.
    fn overdue_at(&self, t: &Try, rules: &Rules, round_trip: Duration) -> Option<Instant> {
        if !matches!(t.state, State::Connecting) {
            return None;
        }
        let patience = rules.patience(round_trip);
        let refused = self.of(t.service).any(Try::was_refused);
        let silence = if refused { patience.min(rules.attempt_delay) } else { patience };
        Some(t.started + silence)
    }

    fn longest_overdue(&self, service: usize, rules: &Rules) -> Option<(AttemptId, Instant)> {
        let round_trip = self.best_held().map_or(Duration::ZERO, |(.., round_trip)| round_trip);
        let of_service = self.tries.iter().enumerate().filter(|(_, t)| t.service == service);
        of_service
            .filter_map(|(id, t)| Some((AttemptId(id), self.overdue_at(t, rules, round_trip)?)))
            .min_by_key(|&(id, at)| (at, id))
    }

    /// The held connection of the highest priority: the earliest service, then the earliest start.
    fn best_held(&self) -> Option<(usize, &Try, Duration)> {
        let held = self.tries.iter().enumerate().filter_map(|(id, t)| match t.state {
            State::Held { round_trip } => Some((id, t, round_trip)),
            _ => None,
        });
        held.min_by_key(|(id, t, _)| (t.service, *id))
    }

    /// The known addresses of a service that have not been tried, each family's best first.
    fn unstarted(
        &self,
        service: usize,
        answers: &Answers,
        rules: &Rules,
    ) -> impl Iterator<Item = SocketAddr> {
        let offered = rules.services[service];
        let families = Family::ALL.into_iter().filter(move |&family| offered.allows(family));
        let at_port = move |address: &SocketAddr| {
            let mut address = *address;
            address.set_port(offered.port());
            address
        };
        families
            .flat_map(move |family| answers.addresses(family).iter().map(at_port))
            .filter(move |address| !self.of(service).any(|t| t.address == *address))
    }

    fn of(&self, service: usize) -> impl Iterator<Item = &Try> {
        self.tries.iter().filter(move |t| t.service == service)
    }

    /// Whether a service failed for a want of our own, and nothing of it was refused: that says
    /// nothing of the service, so it is no reason to begin the next one.
    fn is_starved(&self, service: usize) -> bool {
        let own_trouble = self.of(service).filter_map(Try::failure).any(Failure::is_own_trouble);
        own_trouble && !self.of(service).any(Try::was_refused)
    }

    fn failures(&self, service: usize) -> usize {
        self.of(service).filter(|t| t.failure().is_some()).count()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Good,
    Unknown,
    Bad,
}
