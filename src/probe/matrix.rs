//! A probe laid out for people: addresses down, services across.

use std::fmt::Write;

use super::Probed;
use crate::outcome::Outcome;
use crate::plan::{Plan, Service};
use crate::report::{Attempt, Millis, Report, host_of};

/// What a probe found of a host, as rows and columns: what [`Probed::matrix`] gives. It is for
/// whoever sets it as a table.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Matrix {
    /// The headings of the columns: every service of the plan.
    pub services: Vec<String>,
    /// One row for each address that was tried, in their order, with a cell for each service.
    pub rows: Vec<(String, Vec<Option<Cell>>)>,
}

/// What one address has to say of one service; there is none where the service leaves out the
/// address's family.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cell {
    /// How the attempt ended.
    pub outcome: Outcome,
    /// The outcome and the time it took: of a connection, a reset and an ICMP error the round trip,
    /// unless a SYN was lost; of silence, how long it was listened to.
    pub text: String,
    /// What else is known: the router that sent the error, the count of SYNs, the system's error.
    pub detail: String,
    /// Whether a dial would come to this.
    pub chosen: bool,
}

impl Probed {
    /// The attempts by address and service, with the one that a dial would choose by this forecast.
    pub fn matrix(&self, plan: &Plan, forecast: &Report) -> Matrix {
        let chosen = self.chosen(forecast);
        let cell = |service: Service, host: &str| {
            let mut attempts = self.attempts.iter().enumerate();
            let of_both = |attempt: &Attempt| {
                attempt.service == service && attempt.address.is_some_and(|a| host_of(a) == host)
            };
            let (index, attempt) = attempts.find(|(_, attempt)| of_both(attempt))?;
            Some(Cell::new(attempt, chosen == Some(index)))
        };
        let hosts = self.addresses().map(host_of);
        let row = |host: String| {
            let cells: Vec<_> = plan.services().iter().map(|&s| cell(s, &host)).collect();
            (host, cells)
        };
        Matrix {
            services: plan.services().iter().map(ToString::to_string).collect(),
            rows: hosts.map(row).collect(),
        }
    }

    /// What the look-up of the name gave, in one line: `2 addresses in 3.1 ms`. Empty for an
    /// address.
    pub fn names(&self) -> String {
        let Some(lookup) = self.lookup() else { return String::new() };
        let mut line = match &lookup.result {
            Ok(list) if list.len() == 1 => "1 address".to_owned(),
            Ok(list) => format!("{} addresses", list.len()),
            // The system's words, which may be anything.
            Err(error) => error.to_string().replace(char::is_control, " "),
        };
        if let Some(ended) = lookup.ended {
            let _ = write!(line, " in {}", Millis(ended));
        }
        line
    }
}

impl Cell {
    fn new(attempt: &Attempt, chosen: bool) -> Cell {
        // A probe's attempts have all ended.
        let outcome = attempt.outcome.unwrap_or(Outcome::Cancelled);
        let router = attempt.icmp.and_then(|icmp| icmp.sender);
        let detail = match (outcome, attempt.syns) {
            (Outcome::Local, _) => attempt.errno.map_or_else(String::new, |e| e.to_string()),
            (Outcome::Timeout, Some(1)) => "1 SYN unanswered".to_owned(),
            (Outcome::Timeout, Some(syns)) => format!("{syns} SYNs unanswered"),
            // Not a round trip alone: the first SYN or its answer was lost.
            (Outcome::Connected, Some(syns)) if syns > 1 => format!("{syns} SYNs"),
            _ => router.map_or_else(String::new, |router| format!("by {router}")),
        };
        let text = format!("{outcome} {}", Millis(attempt.lasted()));
        Cell { outcome, text, detail, chosen }
    }
}
