//! What a machine tells of its dial: the report, and the question.

use super::Machine;
use super::ask::Question;
use super::race::{Try, TryState};
use crate::outcome::Outcome;
use crate::report::{Attempt, Report};

impl Machine {
    /// The dial so far; complete once [`Machine::outcome`] is there. An open attempt has no
    /// outcome, and a dial that has not ended no end.
    pub fn report(&self) -> Report {
        let end = self.ended.map(|(end, _)| end);
        let at = self.ended.map_or(self.now, |(_, at)| at);
        Report {
            host: self.host.clone(),
            via: self.via.clone(),
            attempts: self.race.tries.iter().map(|t| self.attempt(t)).collect(),
            lookup: self.looks_up.then(|| self.addresses.lookup(self.began)),
            end,
            elapsed: at - self.began,
        }
    }

    /// The question that the dial has stopped with.
    pub fn question(&self) -> Option<Question> {
        let (number, asked) = self.asking.open().filter(|_| self.ended.is_none())?;
        let so_far = |t: &Try| {
            let mut attempt = self.attempt(t);
            // Not by the cache's word: the user wants to know what has happened.
            let overdue = self.rules().overdue_at(t, None, None);
            if overdue.is_some_and(|at| at <= self.now) {
                attempt.outcome = Some(Outcome::Timeout);
            }
            attempt
        };
        Some(Question {
            number,
            unavailable: self.settings.services[asked.next - 1],
            next: self.settings.services[asked.next],
            reason: asked.reason,
            attempts: self.race.tries.iter().map(so_far).collect(),
            asked: asked.at - self.began,
        })
    }

    fn attempt(&self, t: &Try) -> Attempt {
        let (ended, failure) = match t.state {
            TryState::Ended { at, end, .. } => (at, Some(end.failure())),
            _ => (self.now, None),
        };
        Attempt {
            service: self.settings.services[t.service],
            family: t.family(),
            address: t.place.address(),
            stage: t.stage(),
            started: t.started - self.began,
            connected: t.connected.map(|at| at - self.began),
            ended: ended - self.began,
            outcome: failure.map(|failure| failure.outcome),
            errno: failure.and_then(|failure| failure.errno),
            icmp: failure.and_then(|failure| failure.icmp),
            via_error: failure.and_then(|failure| failure.via_error),
            note: t.note.clone(),
            greeting: t.greeting,
            syns: t.syns,
            reason: t.reason,
        }
    }
}
