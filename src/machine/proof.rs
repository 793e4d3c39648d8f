//! Second attempts (rule 3) and the proof (rule 6): a lost packet is not a closed port.

use std::time::{Duration, Instant};

use super::event::AttemptId;
use super::race::Try;
use super::rules::{Due, MAX_OPEN, Rules, Step};
use crate::plan::Service;
use crate::report::Reason;

/// How much later than usual an answer may come before a second attempt is worth its SYN.
const LATE: Duration = Duration::from_millis(50);
/// The most attempts of one candidate.
const MAX_ATTEMPTS: usize = 3;
/// How long a connection measures the path of a later SYN at least, beyond its round trip.
const SLACK: Duration = Duration::from_millis(100);
/// How far a SYN that is sent for the proof keeps from other starts (RFC 8305 section 5: at least
/// 10 ms).
const SPACING: Duration = Duration::from_millis(10);
/// When the kernel has repeated a SYN for certain: it does so after 1 s (RFC 6298 section 2.1).
const REPETITION: Duration = Duration::from_millis(1100);
/// How long a candidate of unknown round trip holds back a connection to another address.
const ELSEWHERE: Duration = Duration::from_millis(600);
/// How long it holds back a connection that a device nearby may have answered.
const NEARBY: Duration = Duration::from_millis(950);
/// A shorter round trip may be one to a device nearby.
const NEAR: Duration = Duration::from_millis(10);

/// What a connection of a later service shows of the path to its host.
struct Proof {
    /// Since when the connection was there.
    at: Instant,
    /// When its SYN was sent: the path was good then.
    good_since: Instant,
    round_trip: Duration,
}

impl Proof {
    fn new(held: &Try) -> Option<Proof> {
        let at = held.established?;
        // Where the kernel does not tell, it is the whole time since the start at most.
        let round_trip = if held.round_trip.is_zero() {
            at.saturating_duration_since(held.started)
        } else {
            held.round_trip
        };
        let sent = at.checked_sub(round_trip).map_or(held.started, |sent| sent.max(held.started));
        let good_since = if held.syns == Some(1) { held.started } else { sent };
        Some(Proof { at, good_since, round_trip })
    }

    /// How long a SYN must be unanswered.
    fn silence(&self) -> Duration {
        (self.round_trip * 3 / 2).max(self.round_trip + SLACK)
    }
}

impl Rules<'_> {
    /// Rule 3: an answer to one attempt of a candidate is the answer to all of them.
    pub(super) fn close_answered(&self) -> Option<Due> {
        let is_answered = |t: &&Try| self.race.candidate(t).any(Try::has_answered);
        let silent = self.race.tries.iter().filter(|t| t.is_silent()).find(is_answered)?;
        Some((self.now, Step::Cancel(AttemptId(silent.id))))
    }

    /// Rule 3: once every candidate of a service has been started, each that is silent gets a
    /// second attempt, one after the other, an attempt delay apart.
    pub(super) fn try_again(&self) -> Option<Due> {
        if !self.settings.has_second_attempts() || self.race.tries.iter().any(Try::is_confirming) {
            return None;
        }
        // While one is held, nothing of its service or a later one is started.
        let held = self.race.best_held().map_or(usize::MAX, |(_, held)| held.service);
        let begun = 0..self.race.begun.len().min(held);
        let due = begun.filter_map(|service| self.second_attempt_of(service));
        due.min_by_key(|(at, _)| (*at).max(self.now))
    }

    fn second_attempt_of(&self, service: usize) -> Option<Due> {
        let is_full = self.open(service) >= MAX_OPEN;
        let refused = self.race.of(service).any(Try::was_refused);
        if is_full || refused || self.unstarted(service).next().is_some() {
            return None;
        }
        let last = self.race.of(service).last()?;
        let staggered = self.after(last.started, self.settings.attempt_delay_over(last.family()));
        let silent = self.race.firsts(service).filter(|t| t.is_silent());
        let once = silent.filter(|t| self.race.candidate(t).count() == 1);
        let due = once.map(|t| {
            let known = self.known_round_trip(t);
            let answered = known.map_or(Duration::ZERO, |known| known * 5 / 4 + LATE);
            let reason = Reason::SecondAttempt;
            let step = Step::Repeat { first: t.id, reason, in_place_of: None };
            (staggered.max(self.after(t.started, answered)), step)
        });
        due.min_by_key(|(at, _)| *at)
    }

    /// Rule 6: where no SYN has been sent to a candidate since the path was good, one is sent.
    pub(super) fn prove(&self) -> Option<Due> {
        let (_, held) = self.race.best_held()?;
        if self.race.tries.iter().any(Try::is_confirming) {
            return None;
        }
        let proof = Proof::new(held)?;
        let in_favour_of = Some(self.service(held));
        let mut earlier = (0..held.service).flat_map(|service| self.race.firsts(service));
        let first = earlier.find(|t| self.lacks_proof(t, in_favour_of, &proof))?;
        let is_full = self.open(first.service) >= MAX_OPEN;
        let longest_silent = self.race.candidate(first).find(|t| t.is_silent());
        let in_place_of = longest_silent.map(|t| AttemptId(t.id)).filter(|_| is_full);
        let reason = Reason::Proof(self.service(held));
        Some((self.proof_at(&proof), Step::Repeat { first: first.id, reason, in_place_of }))
    }

    /// Whether a candidate, by its first attempt, needs a SYN for the proof, and may have it.
    fn lacks_proof(&self, first: &Try, in_favour_of: Option<Service>, proof: &Proof) -> bool {
        self.race.candidate(first).any(Try::is_silent)
            && self.race.candidate(first).count() < MAX_ATTEMPTS
            && self.needs_proof(first, in_favour_of)
            && !self.sent(first).any(|at| at >= proof.good_since && at <= self.now)
    }

    /// When the next SYN for the proof is sent.
    fn proof_at(&self, proof: &Proof) -> Instant {
        let last = self.race.tries.last().map_or(proof.at, |last| last.started + SPACING);
        last.max(proof.at)
    }

    /// Whether silence alone says too little of a candidate: nothing is remembered against it, and
    /// no other one of its service was refused.
    fn needs_proof(&self, t: &Try, in_favour_of: Option<Service>) -> bool {
        self.settings.has_proof()
            && !self.is_remembered_against(t, in_favour_of)
            && !self.race.of(t.service).any(Try::was_refused)
    }

    /// When the SYNs of a candidate were or will be sent: those of its open attempts, and the
    /// kernel's first repetition of each.
    fn sent(&self, t: &Try) -> impl Iterator<Item = Instant> {
        let open = self.race.candidate(t).filter(|t| t.is_silent());
        open.flat_map(|t| [t.started, t.started + REPETITION])
    }

    /// When the silence of a candidate is proven by a connection that it holds back; `None` where
    /// the patience alone decides.
    pub(super) fn proven_at(
        &self,
        t: &Try,
        in_favour_of: Option<Service>,
        held: Option<&Try>,
    ) -> Option<Instant> {
        let held = held.filter(|held| held.service > t.service)?;
        if !self.needs_proof(t, in_favour_of) {
            return None;
        }
        let (proof, first) = (Proof::new(held)?, self.race.first_of(t));
        let since = || self.sent(t).filter(|&at| at >= proof.good_since);
        let sent = if let Some(sent) = since().filter(|&at| at <= self.now).min() {
            sent
        } else if self.race.candidate(t).count() < MAX_ATTEMPTS {
            // It is still to be sent.
            self.proof_at(&proof).max(self.now)
        } else {
            since().min()?
        };
        let proven = sent + proof.silence();
        if self.known_round_trip(t).is_some() {
            return Some(proven);
        }
        let address = |t: &Try| t.place.address().map(|address| address.ip());
        let elsewhere = (address(t) != address(held)).then_some(ELSEWHERE);
        let nearby = (proof.round_trip < NEAR).then_some(NEARBY);
        Some(proven.max(first.started + elsewhere.max(nearby).unwrap_or_default()))
    }

    /// The round trip to a candidate of this service.
    fn known_round_trip(&self, t: &Try) -> Option<Duration> {
        self.settings.hints.round_trip(self.service(t), t.family())
    }

    /// How many attempts of a service are open.
    pub(super) fn open(&self, service: usize) -> usize {
        self.race.of(service).filter(|t| t.is_open()).count()
    }

    pub(super) fn service(&self, t: &Try) -> Service {
        self.settings.services[t.service]
    }
}
