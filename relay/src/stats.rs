//! What a relay has done so far.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::access::Refusal;
use mailport::outcome::Outcome;
use mailport::plan::Plan;
use mailport::report::Report;

/// How a relay stands: the answer on its control socket.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Status {
    /// The version of this object: 1.
    pub version: u32,
    /// For how long it has run.
    pub uptime_s: u64,
    /// Sessions now: those that are being asked for or dialled, and those that are joined.
    pub dialling: u64,
    /// Sessions now that are joined.
    pub joined: u64,
    /// Connections that were accepted.
    pub accepted: u64,
    /// Dials that failed.
    pub failed: u64,
    /// Sessions that were joined and are over: both sides had closed.
    pub ended: u64,
    /// Sessions that were joined and broke.
    pub broken: u64,
    /// Sessions that were closed because nothing was said for too long.
    pub idle: u64,
    /// Connections that were refused, by the reason.
    pub refused: BTreeMap<String, u64>,
    /// Dials that connected, by the service that was reached.
    pub services: BTreeMap<String, u64>,
    /// Dials by how they met the first service of their plan: the paper's cases 1 to 5, or `none`.
    pub outcomes: BTreeMap<String, u64>,
    /// Bytes from mail readers to servers.
    pub sent: u64,
    /// Bytes from servers to mail readers.
    pub received: u64,
}

impl Status {
    /// Counts a refusal.
    pub(super) fn refuse(&mut self, refusal: Refusal) {
        *self.refused.entry(refusal.name().to_owned()).or_default() += 1;
    }

    /// Counts a dial that has ended.
    pub(super) fn dialled(&mut self, report: &Report, plan: &Plan) {
        match report.winner() {
            Some(winner) => {
                *self.services.entry(winner.service.to_string()).or_default() += 1;
            }
            None => self.failed += 1,
        }
        // How the first service of the plan ended, told by the attempt that explains it.
        let outcome = report.telling_of(plan.services()[0]).and_then(|attempt| attempt.outcome);
        let name = outcome.map_or("none", Outcome::name);
        *self.outcomes.entry(name.to_owned()).or_default() += 1;
    }
}

/// Some lines for people.
impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |map: &BTreeMap<String, u64>, before: &str| {
            let parts: Vec<String> =
                map.iter().map(|(name, count)| format!("{before}{name}: {count}")).collect();
            if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }
        };
        let Status { dialling, joined, accepted, failed, ended, broken, idle, .. } = self;
        writeln!(f, "sessions now: {joined} joined, {dialling} on their way")?;
        writeln!(
            f,
            "sessions so far: {accepted} accepted, {ended} ended, {broken} broken, {idle} idle, \
             {failed} not connected"
        )?;
        writeln!(f, "services won: {}", list(&self.services, ""))?;
        writeln!(f, "outcomes of the first service: {}", list(&self.outcomes, ""))?;
        writeln!(f, "refused: {}", list(&self.refused, ""))?;
        write!(f, "bytes: {} sent, {} received", self.sent, self.received)?;
        write!(f, "\nfor: {} s", self.uptime_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_the_same_after_a_journey_as_json() {
        let mut status = Status { version: 1, sent: 7, ..Status::default() };
        status.refuse(Refusal::Loop);
        status.refuse(Refusal::Loop);
        let text = serde_json::to_string(&status).unwrap();
        assert_eq!(serde_json::from_str::<Status>(&text).unwrap(), status);
        assert!(status.to_string().contains("refused: loop: 2"), "{status}");
        assert!(status.to_string().contains("services won: none"));
    }
}
