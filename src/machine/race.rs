//! The attempts of one dial: what was started and when, and how it ended.
//!
//! Only facts are kept. What follows from them (which attempt is overdue, which service may begin)
//! is derived in [`rules`](super::rules).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::words::AttemptId;
use crate::outcome::{Failure, Outcome};
use crate::plan::Family;
use crate::report::{Reason, Stage};

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
    pub(super) address: SocketAddr,
    pub(super) started: Instant,
    pub(super) reason: Reason,
    pub(super) state: State,
    /// When its connection could be used.
    pub(super) connected: Option<Instant>,
    pub(super) syns: Option<u32>,
    /// How many attempts of the service had failed when this one started: one more since then is
    /// a reason to start another at once.
    pub(super) failures_before: usize,
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

impl Try {
    pub(super) fn family(&self) -> Family {
        Family::of(self.address.ip())
    }

    pub(super) fn is_live(&self) -> bool {
        matches!(self.state, State::Connecting | State::Confirming { .. })
    }

    pub(super) fn is_open(&self) -> bool {
        !matches!(self.state, State::Ended { .. })
    }

    pub(super) fn is_confirming(&self) -> bool {
        matches!(self.state, State::Confirming { .. })
    }

    pub(super) fn failure(&self) -> Option<Failure> {
        match self.state {
            State::Ended { end: TryEnd::Failed(failure), .. } => Some(failure),
            _ => None,
        }
    }

    pub(super) fn was_refused(&self) -> bool {
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

    /// The held connection of the highest priority: the earliest service, then the earliest start.
    pub(super) fn best_held(&self) -> Option<(usize, &Try, Duration)> {
        let held = self.tries.iter().enumerate().filter_map(|(id, t)| match t.state {
            State::Held { round_trip } => Some((id, t, round_trip)),
            _ => None,
        });
        held.min_by_key(|(id, t, _)| (t.service, *id))
    }

    pub(super) fn of(&self, service: usize) -> impl Iterator<Item = &Try> {
        self.tries.iter().filter(move |t| t.service == service)
    }

    /// Whether a service failed for a want of our own, and nothing of it was refused: that says
    /// nothing of the service, so it is no reason to begin the next one.
    pub(super) fn is_starved(&self, service: usize) -> bool {
        let own_trouble = self.of(service).filter_map(Try::failure).any(Failure::is_own_trouble);
        own_trouble && !self.of(service).any(Try::was_refused)
    }

    pub(super) fn failures(&self, service: usize) -> usize {
        self.of(service).filter(|t| t.failure().is_some()).count()
    }
}
