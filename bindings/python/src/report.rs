//! The report of a dial, as plain Python data.

use std::time::Duration;

use mailport::Outcome;
use mailport::machine::Question;
use mailport::report::{Attempt, End, Greeting, Lookup, LookupError, Stage};
use pyo3::prelude::*;

use crate::config::{ServiceTuple, tuple_of};

/// A report, which can draw itself; `facts` returns it as dictionaries.
#[pyclass(frozen, module = "mailport._native")]
pub(crate) struct Report(pub(crate) mailport::Report);

#[pymethods]
impl Report {
    /// The report in one sentence.
    fn summary(&self) -> String {
        self.0.summary()
    }

    /// The timeline in text, at most this wide.
    fn timeline(&self, width: usize) -> String {
        self.0.timeline(width).to_string()
    }

    /// The timeline as SVG, as the command writes it with `--svg`.
    fn to_svg(&self) -> String {
        self.0.to_svg()
    }

    /// The report as JSON, as the command prints it with `--json`.
    fn to_json(&self) -> String {
        self.0.to_json()
    }

    /// The `EAI_` number of the look-up that found no address; `None` if the dial has ended
    /// otherwise.
    fn lookup_errno(&self) -> Option<i32> {
        self.0.lookup.as_ref()?.result.as_ref().err().map(eai)
    }

    /// The data of the report.
    fn facts(&self) -> ReportFacts {
        ReportFacts {
            host: self.0.host.clone(),
            via: self.0.via.clone(),
            attempts: self.0.attempts.iter().map(AttemptFacts::new).collect(),
            lookup: self.0.lookup.as_ref().map(LookupFacts::new),
            end: self.0.end.map(name_of),
            winner: match self.0.end {
                Some(End::Connected(index)) => Some(index),
                _ => None,
            },
            errno: self.0.errno().map(|errno| errno.0),
            elapsed: self.0.elapsed.as_secs_f64(),
        }
    }
}

/// The number that `getaddrinfo` would return.
fn eai(error: &LookupError) -> i32 {
    match error {
        LookupError::NoSuchName => libc::EAI_NONAME,
        LookupError::TryAgain | LookupError::Unanswered | LookupError::Busy => libc::EAI_AGAIN,
        LookupError::NoAddress | LookupError::Unusable(_) => libc::EAI_NODATA,
        LookupError::LocalResourceError(_) | LookupError::NoThread(_) => libc::EAI_SYSTEM,
        _ => libc::EAI_FAIL,
    }
}

#[derive(IntoPyObject)]
pub(crate) struct ReportFacts {
    host: String,
    via: Option<String>,
    attempts: Vec<AttemptFacts>,
    lookup: Option<LookupFacts>,
    end: Option<&'static str>,
    winner: Option<usize>,
    errno: Option<i32>,
    elapsed: f64,
}

#[derive(IntoPyObject)]
pub(crate) struct AttemptFacts {
    service: ServiceTuple,
    family: Option<&'static str>,
    address: Option<String>,
    stage: &'static str,
    started: f64,
    connected: Option<f64>,
    ended: f64,
    outcome: Option<&'static str>,
    errno: Option<i32>,
    icmp: Option<(u8, u8, u8, Option<String>, String)>,
    via_error: Option<String>,
    note: Option<String>,
    greeting: Option<&'static str>,
    syns: Option<u32>,
    reason: String,
}

impl AttemptFacts {
    fn new(attempt: &Attempt) -> AttemptFacts {
        AttemptFacts {
            service: tuple_of(attempt.service),
            family: attempt.family.map(mailport::Family::name),
            address: attempt.address.map(|address| match address {
                std::net::SocketAddr::V6(v6) if v6.scope_id() > 0 => {
                    format!("{}%{}", v6.ip(), v6.scope_id())
                }
                _ => address.ip().to_string(),
            }),
            stage: match attempt.stage {
                Stage::Connect => "connect",
                Stage::Confirm => "confirm",
            },
            started: attempt.started.as_secs_f64(),
            connected: attempt.connected.as_ref().map(Duration::as_secs_f64),
            ended: attempt.ended.as_secs_f64(),
            outcome: attempt.outcome.map(Outcome::name),
            errno: attempt.errno.map(|errno| errno.0),
            icmp: attempt.icmp.map(|icmp| {
                let from = icmp.sender.map(|from| from.to_string());
                (icmp.version(), icmp.kind, icmp.code, from, icmp.to_string())
            }),
            via_error: attempt.via_error.map(|error| error.to_string()),
            note: attempt.note.clone(),
            greeting: attempt.greeting.map(Greeting::name),
            syns: attempt.syns,
            reason: attempt.reason.to_string(),
        }
    }
}

#[derive(IntoPyObject)]
pub(crate) struct LookupFacts {
    hedged: bool,
    ended: Option<f64>,
    addresses: Vec<String>,
    error: Option<String>,
}

impl LookupFacts {
    fn new(lookup: &Lookup) -> LookupFacts {
        let list = lookup.result.as_deref().unwrap_or_default();
        LookupFacts {
            hedged: lookup.hedged,
            ended: lookup.ended.as_ref().map(Duration::as_secs_f64),
            addresses: list.iter().copied().map(mailport::report::format_host).collect(),
            error: lookup.result.as_ref().err().map(ToString::to_string),
        }
    }
}

#[derive(IntoPyObject)]
pub(crate) struct QuestionFacts {
    number: u32,
    unavailable: ServiceTuple,
    next: ServiceTuple,
    reason: String,
    attempts: Vec<AttemptFacts>,
    asked: f64,
    text: String,
}

impl QuestionFacts {
    pub(crate) fn new(question: &Question) -> QuestionFacts {
        QuestionFacts {
            number: question.number,
            unavailable: tuple_of(question.unavailable),
            next: tuple_of(question.next),
            reason: question.reason.to_string(),
            attempts: question.attempts.iter().map(AttemptFacts::new).collect(),
            asked: question.asked.as_secs_f64(),
            text: question.to_string(),
        }
    }
}

fn name_of(end: End) -> &'static str {
    match end {
        End::Connected(_) => "connected",
        End::Exhausted => "exhausted",
        End::Timeout => "timeout",
        End::Unresolved => "unresolved",
        End::LocalResourceError => "local-resource-error",
        End::Via => "via",
        End::Declined => "declined",
        End::Cancelled => "cancelled",
        _ => "unknown",
    }
}
