//! The rules of docs/design.md: what is due next, and when.
//!
//! Each rule derives from the facts the time at which it falls due. So what happens and when to
//! wake up come from the same lines and cannot disagree.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::answers::Answers;
use super::race::{Race, State, Try, TryEnd};
use super::words::AttemptId;
use crate::config::{MAX_DELAY, Patience};
use crate::outcome::Outcome;
use crate::plan::{Family, Service};
use crate::report::{End, Reason};

/// The most attempts of one service that are open at once.
pub(crate) const MAX_OPEN: usize = 6;
/// What does not change during a dial.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) services: Vec<Service>,
    pub(super) strict: bool,
    pub(super) resolution_delay: Duration,
    pub(super) attempt_delay: Duration,
    pub(super) port_delay: Duration,
    pub(super) patience: Patience,
    pub(super) deadline: Instant,
}

impl Settings {
    /// How long a silent attempt may hold back a connection with this round trip.
    fn patience(&self, round_trip: Duration) -> Duration {
        match self.patience {
            // No round trip is longer than a dial can be.
            Patience::Automatic => {
                Patience::LEAST.max(Patience::RETRANSMISSION + 2 * round_trip.min(MAX_DELAY))
            }
            Patience::Fixed(patience) => patience,
        }
    }
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

/// The facts of this moment, and the rules over them.
pub(super) struct Rules<'a> {
    pub(super) race: &'a Race,
    pub(super) answers: &'a Answers,
    pub(super) settings: &'a Settings,
    pub(super) now: Instant,
}

impl Rules<'_> {
    /// The step that falls due first; of those that are due together, the one that decides more.
    pub(super) fn next(&self) -> Option<Due> {
        let due = [
            self.win(),
            Some(self.expire()),
            self.begin_first(),
            self.start_next(),
            self.begin_next(),
            self.give_up(),
        ];
        let due = due.into_iter().flatten();
        // What is due already is done in the order of the rules; of the future, the nearest counts.
        due.min_by_key(|(at, _)| (*at).max(self.now))
    }

    /// How each open attempt ends, now that the dial does: the winner, if there is one, has won.
    pub(super) fn ends(&self, winner: Option<usize>) -> Vec<(AttemptId, TryEnd)> {
        let round_trip = match winner.map(|w| &self.race.tries[w].state) {
            Some(&State::Held { round_trip }) => round_trip,
            _ => Duration::ZERO,
        };
        let given_up = |t: &Try| {
            let overdue = self.overdue_at(t, round_trip).is_some_and(|due| due <= self.now);
            t.is_live() && (overdue || self.now >= self.settings.deadline)
        };
        let open = self.race.tries.iter().enumerate().filter(|(_, t)| t.is_open());
        let ends = open.map(|(id, t)| {
            let end = if winner == Some(id) {
                TryEnd::Won
            } else if given_up(t) {
                TryEnd::Closed(Outcome::Timeout)
            } else {
                TryEnd::Closed(Outcome::Cancelled)
            };
            (AttemptId(id), end)
        });
        ends.collect()
    }

    /// A connected attempt wins when no live attempt of an earlier service is left that is not
    /// overdue. Nothing wins while anything is being confirmed.
    fn win(&self) -> Option<Due> {
        let (id, held, round_trip) = self.race.best_held()?;
        if self.race.tries.iter().any(Try::is_confirming) {
            return None;
        }
        let earlier = self.race.tries.iter().filter(|t| t.is_live() && t.service < held.service);
        let overdue = earlier.filter_map(|t| self.overdue_at(t, round_trip));
        Some((overdue.max().unwrap_or(self.now), Step::End(End::Connected(id))))
    }

    /// At the deadline the best held connection wins; only with none is it an error.
    fn expire(&self) -> Due {
        let end = self.race.best_held().map_or(End::Deadline, |(id, ..)| End::Connected(id));
        (self.settings.deadline, Step::End(end))
    }

    fn begin_first(&self) -> Option<Due> {
        if !self.race.begun.is_empty() {
            return None;
        }
        let at = self.answers.begin_at(self.settings.resolution_delay)?;
        Some((at, Step::Begin { reason: Reason::First }))
    }

    /// The next service starts when every candidate of the last begun one has been started and one
    /// was refused, or all have failed, or all live ones have been silent for the port delay;
    /// strictly, when every attempt has failed or is overdue.
    fn begin_next(&self) -> Option<Due> {
        let last = self.race.begun.len().checked_sub(1)?;
        let service = *self.settings.services.get(last)?;
        let is_last_of_plan = last + 1 == self.settings.services.len();
        let blocked =
            self.race.tries.iter().any(|t| t.is_open() && !matches!(t.state, State::Connecting));
        if is_last_of_plan || blocked || self.unstarted(last).next().is_some() {
            return None;
        }
        let mut live = self.race.of(last).filter(|t| t.is_live()).peekable();
        let refused = self.race.of(last).any(Try::was_refused);
        let (at, reason) = if self.race.of(last).next().is_none() {
            (self.now, Reason::NoAddress(service))
        } else if live.peek().is_none() {
            if self.race.is_starved(last) {
                return None;
            }
            (self.now, if refused { Reason::Refused(service) } else { Reason::AllFailed(service) })
        } else if self.settings.strict {
            let overdue = live.filter_map(|t| self.overdue_at(t, Duration::ZERO));
            (overdue.max()?, Reason::Overdue(service))
        } else if refused {
            (self.now, Reason::Refused(service))
        } else {
            let silent = live.map(|t| t.started + self.settings.port_delay);
            (silent.max()?, Reason::PortDelay(service))
        };
        Some((at, Step::Begin { reason }))
    }

    /// The start that falls due first, of the service that goes first.
    fn start_next(&self) -> Option<Due> {
        if self.race.tries.iter().any(Try::is_confirming) {
            return None;
        }
        // While one is held, nothing of its service or a later one is started.
        let held = self.race.best_held().map_or(usize::MAX, |(_, held, _)| held.service);
        let starts =
            (0..self.race.begun.len().min(held)).filter_map(|service| self.start_of(service));
        starts.min_by_key(|(at, _)| (*at).max(self.now))
    }

    fn start_of(&self, service: usize) -> Option<Due> {
        let address = self.choose(service)?;
        let arrived = self.answers.arrived(Family::of(address.ip()))?;
        let begun = self.race.begun[service];
        let (due, reason) = match self.race.of(service).last() {
            None => (begun.at, begun.reason),
            Some(last) if self.race.failures(service) > last.failures_before => {
                (self.now, Reason::Failed)
            }
            Some(last) => (last.started + self.settings.attempt_delay, Reason::AttemptDelay),
        };
        let late = arrived > begun.at && arrived >= due;
        let reason = if late { Reason::LateAddress } else { reason };
        let mut due = due.max(arrived);
        let mut making_room = None;
        if self.race.of(service).filter(|t| t.is_open()).count() >= MAX_OPEN {
            let (id, overdue) = self.longest_overdue(service)?;
            due = due.max(overdue);
            making_room = Some(id);
        }
        Some((due, Step::Start { service, address, reason, making_room }))
    }

    /// The dial ends when nothing is live, nothing can be started and no look-up is pending.
    fn give_up(&self) -> Option<Due> {
        let more =
            (0..self.race.begun.len()).any(|service| self.unstarted(service).next().is_some());
        if self.answers.is_pending() || more || self.race.tries.iter().any(Try::is_open) {
            return None;
        }
        let end = if self.race.tries.is_empty() {
            if self.answers.begin_at(self.settings.resolution_delay).is_some()
                && self.race.begun.is_empty()
            {
                return None;
            }
            End::Unresolved
        } else if self.race.is_starved(self.race.begun.len() - 1) {
            End::OwnTrouble
        } else {
            End::Exhausted
        };
        Some((self.now, Step::End(end)))
    }

    /// The address of a service to start next: families in turn, the better one first.
    fn choose(&self, service: usize) -> Option<SocketAddr> {
        let of = |family| self.unstarted(service).find(|a| Family::of(a.ip()) == family);
        let turn = match self.race.of(service).last() {
            // Interleaved (RFC 8305 section 4), with a First Address Family Count of 1.
            Some(last) => last.family().other(),
            None => self.answers.first_family(),
        };
        let first = match (self.standing(turn), self.standing(turn.other())) {
            (Standing::Bad, Standing::Good) => turn.other(),
            _ => turn,
        };
        of(first).or_else(|| of(first.other()))
    }

    /// What this dial has learned of a family: one that has answered goes before one that was
    /// silent for the attempt delay or failed softly.
    fn standing(&self, family: Family) -> Standing {
        let mut standing = Standing::Unknown;
        for t in self.race.tries.iter().filter(|t| t.family() == family) {
            let outcome = match &t.state {
                State::Connecting if self.now < t.started + self.settings.attempt_delay => continue,
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
    fn overdue_at(&self, t: &Try, round_trip: Duration) -> Option<Instant> {
        if !matches!(t.state, State::Connecting) {
            return None;
        }
        let patience = self.settings.patience(round_trip);
        let refused = self.race.of(t.service).any(Try::was_refused);
        let silence = if refused { patience.min(self.settings.attempt_delay) } else { patience };
        Some(t.started + silence)
    }

    fn longest_overdue(&self, service: usize) -> Option<(AttemptId, Instant)> {
        let round_trip =
            self.race.best_held().map_or(Duration::ZERO, |(.., round_trip)| round_trip);
        let of_service = self.race.tries.iter().enumerate().filter(|(_, t)| t.service == service);
        of_service
            .filter_map(|(id, t)| Some((AttemptId(id), self.overdue_at(t, round_trip)?)))
            .min_by_key(|&(id, at)| (at, id))
    }

    /// The known addresses of a service that have not been tried, each family's best first.
    fn unstarted(&self, service: usize) -> impl Iterator<Item = SocketAddr> {
        let offered = self.settings.services[service];
        let families = Family::ALL.into_iter().filter(move |&family| offered.allows(family));
        let at_port = move |address: &SocketAddr| {
            let mut address = *address;
            address.set_port(offered.port());
            address
        };
        families
            .flat_map(move |family| self.answers.addresses(family).iter().map(at_port))
            .filter(move |address| !self.race.of(service).any(|t| t.address == *address))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Good,
    Unknown,
    Bad,
}
