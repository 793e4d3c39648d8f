//! The rules of docs/design.md: what is due next, and when.
//!
//! Each rule derives from the facts the time at which it falls due. So what happens and when to
//! wake up come from the same lines and cannot disagree.

use std::time::{Duration, Instant};

use super::addresses::Addresses;
use super::ask::{Answer, Asking};
use super::event::AttemptId;
use super::parameters::Parameters;
use super::race::{CandidatePlace, Race, Try, TryEnd, TryState};
use crate::outcome::{Outcome, ViaError};
use crate::plan::{Family, Service};
use crate::report::{End, LookupError, Reason};

/// The most attempts of one service that are open at once.
pub(crate) const MAX_OPEN: usize = 6;

/// What is to be done next.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    /// Rule 1: starts the look-ups that help the authority.
    Hedge,
    /// Rule 1: gives up an attempt at what is no address of the host.
    Disown(AttemptId),
    Begin {
        reason: Reason,
    },
    Start {
        service: usize,
        place: CandidatePlace,
        reason: Reason,
        making_room: Option<AttemptId>,
    },
    /// Starts another attempt of a candidate, by its first one.
    Repeat {
        first: usize,
        reason: Reason,
        in_place_of: Option<AttemptId>,
    },
    /// Closes an attempt that is still in time, to be tried again if need be.
    Cancel(AttemptId),
    /// Closes an attempt of a service that the user has done with.
    PassOver(AttemptId),
    /// Lets an attempt through the greeting wait that has been silent for its time.
    LetThrough(AttemptId),
    Ask {
        reason: Reason,
    },
    Withdraw,
    End(End),
}

/// A step, and when it falls due.
pub(super) type Due = (Instant, Step);

/// The facts of this moment, and the rules over them.
pub(super) struct Rules<'a> {
    pub(super) race: &'a Race,
    pub(super) addresses: &'a Addresses,
    pub(super) asking: &'a Asking,
    pub(super) settings: &'a Parameters,
    pub(super) now: Instant,
}

impl Rules<'_> {
    /// The step that falls due first; of those that are due together, the one that decides more.
    pub(super) fn next(&self) -> Option<Due> {
        if self.asking.is_open() {
            // Time does not advance, so only what is due already can happen.
            let due = [self.disown(), self.close_answered(), self.withdraw(), self.start_next()];
            return due.into_iter().flatten().find(|(at, _)| *at <= self.now);
        }
        let due = [
            self.disown(),
            self.close_answered(),
            self.hedge(),
            self.single_out(),
            self.pass_over(),
            self.let_through(),
            self.win(),
            Some(self.expire()),
            self.break_off(),
            self.begin_first(),
            self.start_next(),
            self.begin_next(),
            self.try_again(),
            self.prove(),
            self.give_up(),
        ];
        let due = due.into_iter().flatten();
        // What is due already is done in the order of the rules; of the future, the nearest counts.
        due.min_by_key(|(at, _)| (*at).max(self.now))
    }

    /// Rule 7: how each open attempt ends, now that the dial ends: the winner, if any, has won.
    pub(super) fn ends(&self, winner: Option<usize>) -> Vec<(AttemptId, TryEnd)> {
        let held = winner.map(|winner| &self.race.tries[winner]);
        let is_over = self.now >= self.deadline();
        let open = self.race.tries.iter().enumerate().filter(|(_, t)| t.is_open());
        let ends = open.map(|(id, t)| {
            let end = if winner == Some(id) {
                TryEnd::Won
            } else {
                match self.silence(t, held) {
                    TryEnd::Cancelled if t.is_live() && is_over => TryEnd::Unheard,
                    end => end,
                }
            };
            (AttemptId(id), end)
        });
        ends.collect()
    }

    /// How an attempt ends that is closed now: by what its candidate's silence shows.
    pub(super) fn silence(&self, t: &Try, held: Option<&Try>) -> TryEnd {
        let round_trip = held.map_or(Duration::ZERO, |held| held.round_trip);
        let is_past = |at: Option<Instant>| at.is_some_and(|at| at <= self.now);
        let impatient = is_past(self.impatient_at(t, round_trip));
        match (is_past(self.overdue_at(t, None, held)), impatient) {
            (true, true) => TryEnd::Overdue,
            (true, false) => TryEnd::Unanswered,
            (false, _) => TryEnd::Cancelled,
        }
    }

    /// This long after a moment, not counting the time for which a question stood.
    pub(super) fn after(&self, at: Instant, delay: Duration) -> Instant {
        at + delay + self.asking.pause_since(at, self.now)
    }

    pub(super) fn deadline(&self) -> Instant {
        self.after(self.settings.began, self.settings.timeout)
    }

    /// Rule 1: where the authority is slow or has failed for now, look-ups a family help it.
    fn hedge(&self) -> Option<Due> {
        let at = self.addresses.hedge_at(self.settings.began)?;
        (!self.settings.through).then_some((at, Step::Hedge))
    }

    /// Rule 1: the authority's answer is the last word. What it does not have counts no more.
    fn disown(&self) -> Option<Due> {
        let is_disowned =
            |t: &Try| !t.disowned && t.place.address().is_some_and(|at| self.addresses.disowns(at));
        let id = self.race.tries.iter().position(is_disowned)?;
        Some((self.now, Step::Disown(AttemptId(id))))
    }

    /// Rule 11: where services are tried one after the other, at most one attempt is past its
    /// connect, and no other is open.
    fn single_out(&self) -> Option<Due> {
        if !self.settings.is_serial() {
            return None;
        }
        let (chosen, _) = self.race.best_held().or(self.race.best_confirming())?;
        let mut tries = self.race.tries.iter().enumerate();
        let (other, _) = tries.find(|&(id, t)| t.is_open() && id != chosen)?;
        Some((self.now, Step::Cancel(AttemptId(other))))
    }

    /// Rules 10 and 11: one after the other, the answer to fall back also gives up what is still
    /// silent.
    fn pass_over(&self) -> Option<Due> {
        if !self.settings.is_serial() {
            return None;
        }
        let last = self.race.begun.len().checked_sub(1)?;
        let begun = self.race.begun[last].at;
        let is_left = |t: &Try| {
            matches!(t.state, TryState::Connecting) && t.service < last && t.started < begun
        };
        let left = self.race.tries.iter().position(is_left)?;
        Some((self.now, Step::PassOver(AttemptId(left))))
    }

    /// Rule 12: silence for the whole greeting wait is success: a server may pause before it greets.
    fn let_through(&self) -> Option<Due> {
        let (id, confirming) = self.race.best_confirming()?;
        let TryState::Confirming { passed: Some(passed) } = confirming.state else { return None };
        Some((self.after(passed, self.settings.greeting_wait?), Step::LetThrough(AttemptId(id))))
    }

    /// Rule 6: a connected attempt wins when no live attempt of an earlier service is left that is
    /// not overdue. Nothing wins while anything is being confirmed.
    fn win(&self) -> Option<Due> {
        let (id, held) = self.race.best_held()?;
        if self.race.tries.iter().any(Try::is_confirming) {
            return None;
        }
        let service = self.settings.services[held.service];
        let earlier = self.race.tries.iter().filter(|t| t.is_live() && t.service < held.service);
        let overdue = earlier.filter_map(|t| self.overdue_at(t, Some(service), Some(held)));
        Some((overdue.max().unwrap_or(self.now), Step::End(End::Connected(id))))
    }

    /// Rule 7: at the deadline the best held connection wins, or the one in the greeting wait. The
    /// dial fails only without one.
    fn expire(&self) -> Due {
        let passed = |t: &Try| matches!(t.state, TryState::Confirming { passed: Some(_) });
        let in_greeting_wait = self.race.best_confirming().filter(|(_, t)| passed(t));
        let best = self.race.best_held().or(in_greeting_wait);
        let end = best.map_or(End::Timeout, |(id, _)| End::Connected(id));
        (self.deadline(), Step::End(end))
    }

    /// Rule 11: where the proxy or the command itself has failed, no other service can be reached.
    fn break_off(&self) -> Option<Due> {
        let mut failures = self.race.tries.iter().filter_map(Try::failure);
        let broken = failures.any(|failure| failure.via_error.is_some_and(ViaError::is_of_the_way));
        broken.then_some((self.now, Step::End(End::Via)))
    }

    fn begin_first(&self) -> Option<Due> {
        if !self.race.begun.is_empty() {
            return None;
        }
        let at = if self.settings.through { self.now } else { self.addresses.begin_at()? };
        Some((at, Step::Begin { reason: Reason::First }))
    }

    /// Rules 4 and 10: the next service starts when it is due and the user, if asked, agrees.
    fn begin_next(&self) -> Option<Due> {
        let next = self.race.begun.len();
        let service = *self.settings.services.get(next).filter(|_| next > 0)?;
        let past_connect = |t: &Try| t.is_open() && !matches!(t.state, TryState::Connecting);
        if self.race.tries.iter().any(past_connect) {
            return None;
        }
        let (at, reason, said) = if let Some((reason, answer)) = self.asking.answer_to(next) {
            // It counts at once, even if something has changed since the question.
            (self.now, reason, Some(answer))
        } else {
            let remembered = self.remembered_answer(next);
            // To give up is a decision, which the cache has no part in.
            let in_favour_of = (remembered != Some(Answer::GiveUp)).then_some(service);
            let (at, reason) = self.next_is_due(next - 1, in_favour_of)?;
            (at, reason, remembered)
        };
        let step = match said {
            Some(Answer::WaitOn) => return None,
            Some(Answer::GiveUp) => Step::End(End::Declined),
            None if self.settings.ask => Step::Ask { reason },
            None | Some(Answer::FallBack) => Step::Begin { reason },
        };
        Some((at, step))
    }

    /// Rule 4: the next service is due when every candidate of the last begun one has been started
    /// and one was refused, or all have failed, or they have been silent for the port delay. Rule 9:
    /// sequentially, when every attempt has failed or is overdue. Rule 11: one after the other, when
    /// all have failed. One that is remembered as bad over every family begins the next together
    /// with itself, if the cache may count in favour of that.
    fn next_is_due(&self, last: usize, in_favour_of: Option<Service>) -> Option<(Instant, Reason)> {
        let service = self.settings.services[last];
        let careful = self.settings.sequential || self.settings.ask;
        let mut live = self.race.of(last).filter(|t| t.is_live()).peekable();
        let refused = self.race.of(last).any(Try::was_refused);
        let untried = self.race.of(last).next().is_none();
        let is_remembered = in_favour_of.is_some_and(|next| self.speaks_against(service, next))
            && self.is_known_as_bad(service);
        if !careful && is_remembered && !untried && live.peek().is_some() {
            return Some((self.now, Reason::Remembered(service)));
        }
        if self.unstarted(last).next().is_some() {
            return None;
        }
        let awaited = Family::ALL
            .into_iter()
            .any(|family| service.allows(family) && self.addresses.are_awaited(family));
        let (at, reason) = if untried {
            // Rule 4: an address that is not known yet is waited for as a silent attempt is.
            let begun = self.race.begun[last].at;
            let until = self.after(begun, self.settings.port_delay(service));
            (if awaited { until } else { self.now }, Reason::NoAddress(service))
        } else if live.peek().is_none() {
            // Rule 4: nor does an attempt that this machine could not make.
            let local = |t: &Try| t.failure().is_some_and(|f| f.outcome == Outcome::Local);
            if self.race.is_starved(last) || awaited && self.race.of(last).all(local) {
                return None;
            }
            (self.now, if refused { Reason::Refused(service) } else { Reason::AllFailed(service) })
        } else if self.settings.is_serial() {
            return None;
        } else if careful {
            let remembered = Reason::Remembered(service);
            (self.now, if is_remembered { remembered } else { Reason::Overdue(service) })
        } else if refused {
            (self.now, Reason::Refused(service))
        } else {
            (self.port_delay_ends(last)?, Reason::PortDelay(service))
        };
        let in_time = self.race.tries.iter().filter(|t| careful && self.holds_back(t, last));
        let overdue = in_time.filter_map(|t| self.overdue_at(t, in_favour_of, None));
        Some((overdue.max().map_or(at, |overdue| overdue.max(at)), reason))
    }

    /// Rule 4: the port delay counts from the earliest candidate that is live, and an attempt delay
    /// passes after the last new one. Where the caller has set the times, every live one has been
    /// silent for the port delay.
    fn port_delay_ends(&self, service: usize) -> Option<Instant> {
        let delay = self.settings.port_delay(self.settings.services[service]);
        let live = self.race.of(service).filter(|t| t.is_live());
        let started = live.map(|t| self.race.first_of(t).started);
        if !self.settings.has_proof() {
            return Some(self.after(started.max()?, delay));
        }
        let last = self.race.firsts(service).last()?;
        let staggered = self.after(last.started, self.settings.attempt_delay_over(last.family()));
        Some(self.after(started.min()?, delay).max(staggered))
    }

    /// Rule 9: whether a sequential dial waits for an attempt before it starts the next service: for
    /// those of this service, and for earlier ones only if the cache began this one. A dial that
    /// asks waits for all.
    fn holds_back(&self, t: &Try, service: usize) -> bool {
        let of = self.settings.services[t.service];
        let remembered = self.settings.hints.knows_as_bad(of, t.family());
        t.is_live() && (t.service == service || remembered || self.settings.ask)
    }

    /// Rule 10: the remembered answer about a service.
    fn remembered_answer(&self, service: usize) -> Option<Answer> {
        self.settings
            .hints
            .remembered_answer(self.settings.services[service])
            .filter(|_| self.settings.ask)
    }

    /// Rule 10: a question is withdrawn when an open attempt connects after all.
    fn withdraw(&self) -> Option<Due> {
        let connected = |t: &Try| t.is_confirming() || t.is_held();
        self.race.tries.iter().any(connected).then_some((self.now, Step::Withdraw))
    }

    /// Rule 3: the start that is due first, of the service that goes first.
    fn start_next(&self) -> Option<Due> {
        if self.race.tries.iter().any(Try::is_confirming) {
            return None;
        }
        // While one is held, nothing of its service or a later one is started.
        let held = self.race.best_held().map_or(usize::MAX, |(_, held)| held.service);
        let begun = 0..self.race.begun.len().min(held);
        let starts = begun.filter(|&service| self.may_start(service));
        let starts = starts.filter_map(|service| self.start_of(service));
        starts.min_by_key(|(at, _)| (*at).max(self.now))
    }

    /// Rule 11: whether a service may have another attempt: one after the other, not while another
    /// service has an open one.
    fn may_start(&self, service: usize) -> bool {
        let of_another = |t: &Try| t.service != service && t.is_open();
        !(self.settings.is_serial() && self.race.tries.iter().any(of_another))
    }

    fn start_of(&self, service: usize) -> Option<Due> {
        let place = self.choose(service)?;
        let arrived = match place.address() {
            Some(address) => self.addresses.arrived(address)?,
            None => self.settings.began,
        };
        let begun = self.race.begun[service];
        let (due, reason) = match self.race.firsts(service).last() {
            None => (begun.at, begun.reason),
            Some(last) if self.race.failures(service) > last.failures_before => {
                (self.now, Reason::Failed)
            }
            Some(last) => {
                let delay = self.settings.attempt_delay_over(last.family());
                (self.after(last.started, delay), Reason::AttemptDelay)
            }
        };
        let late = arrived > begun.at && arrived >= due;
        let again = self.race.of(service).any(|t| t.place == place);
        let reason = match (again, late) {
            (true, _) => Reason::Again,
            (false, true) => Reason::LateAddress,
            (false, false) => reason,
        };
        let mut due = due.max(arrived);
        let mut making_room = None;
        if self.open(service) >= MAX_OPEN {
            let (id, at) = self.making_room(service)?;
            due = due.max(at);
            making_room = Some(id);
        }
        Some((due, Step::Start { service, place, reason, making_room }))
    }

    /// Rule 7: the dial ends when nothing is live, nothing can be started and no look-up is pending.
    fn give_up(&self) -> Option<Due> {
        let begun = self.race.begun.len();
        let more = (0..begun).any(|service| self.unstarted(service).next().is_some());
        if self.addresses.is_pending() || more || self.race.tries.iter().any(Try::is_open) {
            return None;
        }
        let end = if begun == 0 {
            if self.begin_first().is_some() {
                return None;
            }
            match self.addresses.error() {
                Some(LookupError::LocalResourceError(_)) => End::LocalResourceError,
                _ => End::Unresolved,
            }
        } else if self.race.is_starved(begun - 1) {
            End::LocalResourceError
        } else if begun < self.settings.services.len() && self.settings.ask {
            // Something was said, or the next would have begun.
            End::Declined
        } else if self.race.tries.is_empty() {
            End::Unresolved
        } else {
            End::Exhausted
        };
        Some((self.now, Step::End(end)))
    }

    /// Rule 6: when a live attempt is overdue, by its candidate: from its start, where the cache
    /// counts against it in favour of another service; else by the proof, where a connection is held; else
    /// by the patience. Where the service is known, both count. One that is being confirmed never
    /// is.
    pub(super) fn overdue_at(
        &self,
        t: &Try,
        in_favour_of: Option<Service>,
        held: Option<&Try>,
    ) -> Option<Instant> {
        if t.is_silent() && self.is_remembered_against(t, in_favour_of) {
            return Some(self.race.first_of(t).started);
        }
        let round_trip = held.map_or(Duration::ZERO, |held| held.round_trip);
        let impatient = self.impatient_at(t, round_trip)?;
        let due = match self.proven_at(t, in_favour_of, held) {
            Some(proven) if self.settings.hints.knows(self.service(t)) => proven.max(impatient),
            Some(proven) => proven,
            None => impatient,
        };
        Some(due)
    }

    /// Rule 6: when the patience with a live attempt ends, counted from its candidate's first one: or the
    /// attempt delay, where another candidate of its service was refused.
    fn impatient_at(&self, t: &Try, round_trip: Duration) -> Option<Instant> {
        if !t.is_silent() {
            return None;
        }
        let patience = self.settings.patience(round_trip);
        let refused = self.race.of(t.service).any(Try::was_refused);
        let silence = if refused { patience.min(self.settings.attempt_delay) } else { patience };
        Some(self.after(self.race.first_of(t).started, silence))
    }

    /// Rule 3: what a new candidate closes where six are open, and when: the second attempt that
    /// was started first, or the attempt that has been overdue longest.
    fn making_room(&self, service: usize) -> Option<(AttemptId, Instant)> {
        let silent = || self.race.of(service).filter(|t| t.is_silent());
        if let Some(second) = silent().find(|t| !t.is_first()) {
            return Some((AttemptId(second.id), second.started));
        }
        let round_trip = self.race.best_held().map_or(Duration::ZERO, |(_, held)| held.round_trip);
        silent()
            .filter_map(|t| Some((AttemptId(t.id), self.impatient_at(t, round_trip)?)))
            .min_by_key(|&(id, at)| (at, id))
    }

    /// Whether the cache says that a candidate is bad, and may count in favour of another service.
    pub(super) fn is_remembered_against(&self, t: &Try, in_favour_of: Option<Service>) -> bool {
        let service = self.service(t);
        in_favour_of.is_some_and(|other| self.speaks_against(service, other))
            && self.settings.hints.knows_as_bad(service, t.family())
    }

    /// Whether the cache may count against a service in favour of another: never of one with
    /// weaker TLS, and not where services are tried one after the other.
    fn speaks_against(&self, service: Service, other: Service) -> bool {
        !self.settings.is_serial() && !other.tls().is_weaker_than(service.tls())
    }
}
