//! What a machine tells of its dial: the report, and the question.

use std::time::{Duration, Instant};

use super::Machine;
use super::answers::Answer;
use super::ask::Question;
use super::race::{State, Try, TryEnd};
use crate::outcome::Outcome;
use crate::report::{Attempt, End, Lookup, LookupError, Report};

impl Machine {
    /// The dial so far; complete once [`Machine::outcome`] is there. An attempt that has not
    /// ended, and a dial that has not, are shown as cancelled now.
    pub fn report(&self) -> Report {
        let (end, at) = self.ended.unwrap_or((End::Cancelled, self.now));
        Report {
            host: self.host.clone(),
            via: self.via.clone(),
            attempts: self.race.tries.iter().map(|t| self.attempt(t)).collect(),
            lookups: self.lookups(),
            end,
            elapsed: at - self.began,
        }
    }

    /// The question that the dial has stopped with.
    pub fn question(&self) -> Option<Question> {
        let (number, asked) = self.asking.open().filter(|_| self.ended.is_none())?;
        let so_far = |t: &Try| {
            let mut attempt = self.attempt(t);
            // Not by the memory's word: the user wants to know what has happened.
            let overdue = self.rules().overdue_at(t, None, Duration::ZERO);
            if overdue.is_some_and(|at| at <= self.now) {
                attempt.outcome = Outcome::Timeout;
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
        let (ended, end) = match t.state {
            State::Ended { at, end, .. } => (at, end),
            _ => (self.now, TryEnd::Cancelled),
        };
        let failure = end.failure();
        Attempt {
            service: self.settings.services[t.service],
            family: t.family(),
            address: t.place.address(),
            stage: t.stage(),
            started: t.started - self.began,
            connected: t.connected.map(|at| at - self.began),
            ended: ended - self.began,
            outcome: failure.outcome,
            errno: failure.errno,
            icmp: failure.icmp,
            via: failure.via,
            note: t.note.clone(),
            greeting: t.greeting,
            syns: t.syns,
            reason: t.reason,
        }
    }

    fn lookups(&self) -> Vec<Lookup> {
        if !self.looks_up {
            return Vec::new();
        }
        let since = |at: &Instant| Some(*at - self.began);
        let asked = self.answers.asked().iter().map(|asked| {
            let (ended, result) = match &asked.answer {
                Answer::Pending => (None, Err(LookupError::Pending)),
                Answer::Addresses { list, at, .. } => (since(at), Ok(list.len())),
                Answer::Failed { error, at } => (since(at), Err(error.clone())),
            };
            Lookup { family: asked.family, ended, result }
        });
        asked.collect()
    }
}
