//! What a picture shows: panels, bands of rows, and their measures.

use std::time::Duration;

use super::labels::{NOTE, PLACE, clean, float, wrap};
use super::scale::retransmissions;
use crate::outcome::Outcome;
use crate::plan::{Family, Service};
use crate::report::summary::{notes, of_lookup, shorten, worth_seeing};
use crate::report::{Attempt, End, Lookup, Millis, Report, format_host};

/// One dial in a picture, or anything else that has attempts: what [`draw`](super::draw) draws.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Panel {
    /// The sentence above it.
    pub title: String,
    /// The host, shown where an attempt has no address.
    pub host: String,
    /// Name look-ups; those that were quick are left out.
    pub lookup: Option<Lookup>,
    /// The attempts, in the order in which they were started. The bars of a service are next to one another.
    pub attempts: Vec<Attempt>,
    /// What came of them, and when.
    pub decision: Option<Decision>,
}

/// The moment that a [`Panel`] marks from top to bottom.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decision {
    /// When, from the beginning of the dial.
    pub at: Duration,
    /// What was decided, in a few words: `connected to 25`.
    pub words: String,
    /// The attempt that won, as an index of [`Panel::attempts`]; `None` where nothing did.
    pub winner: Option<usize>,
}

impl From<&Report> for Panel {
    fn from(report: &Report) -> Panel {
        let (words, winner) = match report.end {
            Some(End::Connected(index)) => {
                let port = report.winner().map(|winner| winner.service.port());
                (port.map_or_else(String::new, |port| format!("connected to {port}")), Some(index))
            }
            Some(End::Exhausted) => ("nothing is left to try".into(), None),
            Some(End::Timeout) => ("timeout".into(), None),
            Some(End::Unresolved) => ("no address".into(), None),
            Some(End::LocalResourceError) => ("this machine lacks something".into(), None),
            Some(End::Via) => ("no way there".into(), None),
            Some(End::Declined) => ("declined".into(), None),
            Some(End::Cancelled) => ("cancelled".into(), None),
            None => ("not ended yet".into(), None),
        };
        Panel {
            title: report.summary(),
            host: report.host.clone(),
            lookup: report.lookup.clone(),
            attempts: report.attempts.clone(),
            decision: Some(Decision { at: report.elapsed, words, winner }),
        }
    }
}

/// Of a row: its height with one line of text, and what each further line adds.
pub(super) const ROW: f64 = 24.0;
pub(super) const LINE: f64 = 15.0;

/// A group: the attempts of a service, or the look-ups.
pub(super) struct Band {
    pub(super) service: Option<Service>,
    pub(super) rows: Vec<Bar>,
}

impl Band {
    /// What it is called, in two lines, each with its class.
    pub(super) fn name(&self) -> [(&'static str, String); 2] {
        match self.service {
            Some(service) => {
                [("port", service.port().to_string()), ("small soft", service.tls().to_string())]
            }
            None => [("", "name".to_owned()), ("small soft", "look-ups".to_owned())],
        }
    }

    pub(super) fn height(&self) -> f64 {
        let rows: f64 = self.rows.iter().map(Bar::height).sum();
        // The two lines of its name.
        rows.max(ROW + LINE)
    }
}

/// One bar, and what is written beside it.
pub(super) struct Bar {
    /// `None` where a proxy or a command was given the name.
    pub(super) family: Option<Family>,
    pub(super) place: String,
    pub(super) began: Duration,
    pub(super) connected: Option<Duration>,
    pub(super) ended: Duration,
    pub(super) mark: Mark,
    /// When the SYN was sent again.
    pub(super) syns: Vec<Duration>,
    pub(super) note: Vec<String>,
    /// Everything, in one sentence.
    pub(super) story: String,
    pub(super) won: bool,
    pub(super) lookup: bool,
}

/// How a bar ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    Connected,
    Failed,
    /// Given up by us, without an answer.
    Silent,
}

impl Panel {
    pub(super) fn total(&self) -> Duration {
        let decided = self.decision.as_ref().map(|decision| decision.at);
        let looked_up = self.lookup.iter().filter_map(|lookup| lookup.ended);
        let ends = self.attempts.iter().map(|attempt| attempt.ended);
        ends.chain(looked_up).chain(decided).max().unwrap_or_default()
    }

    pub(super) fn bands(&self) -> Vec<Band> {
        let total = self.total();
        let lookups = self.lookup.iter().filter(|lookup| worth_seeing(lookup, total));
        let rows: Vec<Bar> = lookups.map(|lookup| Bar::from_lookup(lookup, total)).collect();
        let mut bands = Vec::new();
        if !rows.is_empty() {
            bands.push(Band { service: None, rows });
        }
        let winner = self.decision.as_ref().and_then(|decision| decision.winner);
        for (index, attempt) in self.attempts.iter().enumerate() {
            let service = Some(attempt.service);
            let row = Bar::from_attempt(attempt, &self.host, winner == Some(index));
            match bands.iter_mut().find(|band| band.service == service) {
                Some(band) => band.rows.push(row),
                None => bands.push(Band { service, rows: vec![row] }),
            }
        }
        bands
    }
}

impl Bar {
    fn from_attempt(attempt: &Attempt, host: &str, won: bool) -> Bar {
        let Attempt { service, family, started, outcome, .. } = *attempt;
        let ended = attempt.ended.max(started);
        let connected = match attempt.connected {
            None if outcome == Some(Outcome::Connected) => Some(ended),
            connected => connected.map(|at| at.clamp(started, ended)),
        };
        let address = attempt.address.map_or_else(|| host.to_owned(), format_host);
        let mark = match outcome {
            Some(Outcome::Connected) => Mark::Connected,
            None | Some(Outcome::Timeout | Outcome::Cancelled) => Mark::Silent,
            _ => Mark::Failed,
        };
        let note = clean(&notes(attempt).1);
        let silent = connected.unwrap_or(ended).saturating_sub(started);
        let retransmissions = attempt.syns.map(|syns| retransmissions(syns, silent));
        let place = clean(&address);
        let story = format!(
            "{service} at {place}, started at {} ({}): {note}, after {}",
            Millis(started),
            attempt.reason,
            Millis(silent)
        );
        Bar {
            family,
            place: shorten(&place, PLACE),
            began: started,
            connected,
            ended,
            mark,
            syns: retransmissions.into_iter().flatten().map(|after| started + after).collect(),
            note: wrap(&note, NOTE),
            story,
            won,
            lookup: false,
        }
    }

    fn from_lookup(lookup: &Lookup, total: Duration) -> Bar {
        let note = clean(&of_lookup(lookup));
        let ended = lookup.ended.unwrap_or(total);
        Bar {
            family: None,
            place: "look-up".to_owned(),
            began: Duration::ZERO,
            connected: None,
            ended,
            // A look-up has no sign at its end.
            mark: Mark::Silent,
            syns: Vec::new(),
            story: format!("look-up: {note}, after {}", Millis(ended)),
            note: wrap(&note, NOTE),
            won: false,
            lookup: true,
        }
    }

    /// How long it took to connect or, where it did not, to end.
    pub(super) fn took(&self) -> String {
        let took = self.connected.unwrap_or(self.ended).saturating_sub(self.began);
        if took < Duration::from_millis(1) {
            return format!("{} µs", took.as_micros());
        }
        Millis(took).to_string()
    }

    pub(super) fn held(&self) -> Option<Duration> {
        self.connected.filter(|&connected| connected < self.ended)
    }

    pub(super) fn height(&self) -> f64 {
        ROW + LINE * float(self.note.len().saturating_sub(1))
    }

    pub(super) fn color(&self) -> &'static str {
        self.family.map_or("through", Family::name)
    }
}
