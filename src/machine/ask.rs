//! The question that a dial stops with before it falls back, where the user is to be asked.

use std::fmt;
use std::time::{Duration, Instant};

use crate::plan::{Service, Tls};
use crate::report::{self, Attempt, Reason};

/// What the user says to a [`Question`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Answer {
    /// Begin the next service.
    FallBack,
    /// Begin no other service, and wait on for the attempts that are open; with none open, the
    /// same as to give up.
    WaitOn,
    /// End the dial.
    GiveUp,
}

impl Answer {
    /// Every answer.
    pub const ALL: [Answer; 3] = [Answer::FallBack, Answer::WaitOn, Answer::GiveUp];

    /// The word used in files and in JSON: `fall-back`, `wait-on` or `give-up`.
    pub fn name(self) -> &'static str {
        match self {
            Answer::FallBack => "fall-back",
            Answer::WaitOn => "wait-on",
            Answer::GiveUp => "give-up",
        }
    }
}

/// The answer was to a question that no longer waits for one: an open attempt connected meanwhile, or it
/// was answered before. Nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("question {question} no longer waits for an answer")]
pub struct Stale {
    /// The number that was given.
    pub question: u32,
}

/// A dial has stopped, for the next service would begin: everything that a user needs to decide.
///
/// Until the answer no packet goes to the next service, and deadline and patience do not advance. Open
/// attempts go on: one that connects withdraws the question.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Question {
    /// Its number in this dial, from 1 on; never used twice.
    pub number: u32,
    /// The service that is not available.
    pub unavailable: Service,
    /// The service that would come next, with the TLS mode that would hold there.
    pub next: Service,
    /// Why it would.
    pub reason: Reason,
    /// Every attempt so far. One that is still open is shown as ended now: as a timeout where it is
    /// overdue, and else as cancelled.
    pub attempts: Vec<Attempt>,
    /// When it was asked, from the beginning of the dial.
    pub asked: Duration,
}

impl Question {
    /// What became of the services so far, in one line: `587 is silent`.
    pub fn summary(&self) -> String {
        let clauses = report::clauses(&self.attempts, |_| true, false).join("; ");
        if clauses.is_empty() { self.reason.to_string() } else { clauses }
    }
}

/// The facts and the question: `587 is silent. Fall back to 25 (STARTTLS)?`
impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tls = match self.next.tls() {
            Tls::Implicit => "implicit TLS",
            Tls::StartTls => "STARTTLS",
            Tls::Cleartext => "cleartext",
        };
        let next = report::Spoken(self.next);
        write!(f, "{}. Fall back to {next} ({tls})?", self.summary())
    }
}

/// The questions of one dial; the last one may be open.
#[derive(Debug, Default)]
pub(super) struct Asking {
    questions: Vec<OpenQuestion>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct OpenQuestion {
    /// The place of the next service.
    pub(super) next: usize,
    pub(super) reason: Reason,
    pub(super) at: Instant,
    /// When it was answered or withdrawn.
    closed: Option<Instant>,
    answer: Option<Answer>,
}

impl Asking {
    pub(super) fn ask(&mut self, next: usize, reason: Reason, at: Instant) {
        self.questions.push(OpenQuestion { next, reason, at, closed: None, answer: None });
    }

    /// The open question, with its number.
    pub(super) fn open(&self) -> Option<(u32, OpenQuestion)> {
        let last = self.questions.last().filter(|asked| asked.closed.is_none())?;
        let number = u32::try_from(self.questions.len()).unwrap_or(u32::MAX);
        Some((number, *last))
    }

    pub(super) fn is_open(&self) -> bool {
        self.open().is_some()
    }

    pub(super) fn close(&mut self, answer: Option<Answer>, at: Instant) {
        if let Some(last) = self.questions.last_mut() {
            last.closed = Some(at);
            last.answer = answer;
        }
    }

    /// What was answered about a service, and why it would have begun.
    pub(super) fn answer_to(&self, next: usize) -> Option<(Reason, Answer)> {
        let mut answered = self.questions.iter().filter(|asked| asked.next == next);
        answered.find_map(|asked| Some((asked.reason, asked.answer?)))
    }

    /// For how long questions have stood since a moment: time that does not count.
    pub(super) fn pause_since(&self, moment: Instant, now: Instant) -> Duration {
        let stood = |asked: &OpenQuestion| {
            asked.closed.unwrap_or(now).saturating_duration_since(asked.at.max(moment))
        };
        self.questions.iter().map(stood).sum()
    }
}
