//! The status of a relay: what it has done so far, and what it does now.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use mailport::outcome::Outcome;
use mailport::plan::Plan;
use mailport::report::Report;

/// The upper bounds of [`DialTimes::buckets`], in milliseconds.
pub const DIAL_TIMES_MS: [u64; 12] =
    [1, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 10_000, 30_000];

/// The status of a relay: the answer on its control socket.
///
/// Each accepted connection has exactly one end: `accepted` is the sum of `handshaking`, `dialling`,
/// `joined` and [`RelayStatus::ends`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RelayStatus {
    /// The version of this object: 1.
    pub version: u32,
    /// For how long the relay has run.
    pub uptime_s: u64,
    /// Connections now that wait for the client's request to a proxy.
    pub handshaking: u64,
    /// Connections now whose server is being dialled, or that wait for that.
    pub dialling: u64,
    /// Connections now that are joined to a server.
    pub joined: u64,
    /// Descriptors in use now, with those set aside for sessions.
    pub descriptors: u64,
    /// The limit of descriptors.
    pub max_descriptors: u64,
    /// Dials now that wait for a look-up of a name.
    pub lookups: u64,
    /// Connections that were accepted.
    pub accepted: u64,
    /// Sessions that both sides have ended.
    pub ended: u64,
    /// Sessions that a side has broken by a reset or a timeout.
    pub broken: u64,
    /// Sessions that passed nothing for the idle timeout.
    pub idle_timeout: u64,
    /// Sessions that were cut at the relay's end.
    pub drain_timeout: u64,
    /// Connections whose client left before there was a server.
    pub client_left: u64,
    /// Connections whose dial failed.
    pub failed: u64,
    /// Connections that were refused, by reason.
    pub refused: BTreeMap<String, u64>,
    /// Dials that connected, by the service that was reached.
    pub services: BTreeMap<String, u64>,
    /// Dials by the outcome of the first service of their plan; `none` where it was not tried.
    pub outcomes: BTreeMap<String, u64>,
    /// How long dials took that connected.
    pub dial_times: DialTimes,
    /// Bytes from clients to servers.
    pub sent: u64,
    /// Bytes from servers to clients.
    pub received: u64,
    /// Lines of the log that were lost because it was not read.
    pub log_lost: u64,
}

/// A histogram of times.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DialTimes {
    /// How many dials took at most so many milliseconds, and longer than the bound before;
    /// longer ones are in `count` alone.
    pub buckets: BTreeMap<u64, u64>,
    /// How many dials there were.
    pub count: u64,
    /// How long they took together, in microseconds.
    pub sum_us: u64,
}

impl DialTimes {
    fn add(&mut self, took: Duration) {
        self.count += 1;
        self.sum_us += u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bound = DIAL_TIMES_MS.iter().find(|bound| took <= Duration::from_millis(**bound));
        if let Some(bound) = bound {
            *self.buckets.entry(*bound).or_default() += 1;
        }
    }
}

impl RelayStatus {
    /// Counts a dial that has connected or failed.
    pub(super) fn count_dial(&mut self, report: &Report, plan: &Plan) {
        if let Some(winner) = report.winner() {
            *self.services.entry(winner.service.to_string()).or_default() += 1;
            self.dial_times.add(report.elapsed);
        }
        let explained = report.telling_of(plan.services()[0]);
        let outcome = explained.and_then(|attempt| attempt.outcome);
        let name = outcome.map_or("none", Outcome::name);
        *self.outcomes.entry(name.to_owned()).or_default() += 1;
    }

    /// How many accepted connections have ended, in any way.
    pub fn ends(&self) -> u64 {
        let refused: u64 = self.refused.values().sum();
        [self.ended, self.broken, self.idle_timeout, self.drain_timeout]
            .into_iter()
            .chain([self.client_left, self.failed, refused])
            .sum()
    }

    /// The status in the text format of `OpenMetrics` 1.0, for Prometheus and others.
    pub fn openmetrics(&self) -> String {
        let mut text = String::new();
        for (name, help, value) in [
            ("uptime_seconds", "For how long the relay has run", self.uptime_s),
            ("handshaking", "Connections that wait for a request to a proxy", self.handshaking),
            ("dialling", "Connections whose server is being dialled", self.dialling),
            ("joined", "Connections that are joined to a server", self.joined),
            ("descriptors", "Descriptors in use or set aside", self.descriptors),
            ("max_descriptors", "The limit of descriptors", self.max_descriptors),
            ("lookups", "Dials that wait for a look-up", self.lookups),
        ] {
            family(&mut text, name, "gauge", help);
            let _ = writeln!(text, "mailport_relay_{name} {value}");
        }
        for (name, help, value) in [
            ("accepted", "Connections that were accepted", self.accepted),
            ("sent_bytes", "Bytes from clients to servers", self.sent),
            ("received_bytes", "Bytes from servers to clients", self.received),
            ("log_lost", "Lines of the log that were lost", self.log_lost),
        ] {
            family(&mut text, name, "counter", help);
            let _ = writeln!(text, "mailport_relay_{name}_total {value}");
        }
        family(&mut text, "ends", "counter", "Connections that have ended, by the way they did");
        for (how, value) in [
            ("ended", self.ended),
            ("broken", self.broken),
            ("idle_timeout", self.idle_timeout),
            ("drain_timeout", self.drain_timeout),
            ("client_left", self.client_left),
            ("failed", self.failed),
        ] {
            let _ = writeln!(text, "mailport_relay_ends_total{{end=\"{how}\"}} {value}");
        }
        for (name, label, help, values) in [
            ("refused", "reason", "Connections that were refused", &self.refused),
            ("connected", "service", "Dials by the service that was reached", &self.services),
            ("outcomes", "outcome", "Dials by the outcome of their first service", &self.outcomes),
        ] {
            family(&mut text, name, "counter", help);
            for (value, count) in values {
                let _ =
                    writeln!(text, "mailport_relay_{name}_total{{{label}=\"{value}\"}} {count}");
            }
        }
        self.dial_times.openmetrics(&mut text);
        text.push_str("# EOF\n");
        text
    }
}

impl DialTimes {
    fn openmetrics(&self, text: &mut String) {
        let name = "dial_seconds";
        family(text, name, "histogram", "How long dials took that connected");
        let mut sum = 0;
        for bound in DIAL_TIMES_MS {
            sum += self.buckets.get(&bound).copied().unwrap_or(0);
            let bound = seconds(bound * 1000);
            let _ = writeln!(text, "mailport_relay_{name}_bucket{{le=\"{bound}\"}} {sum}");
        }
        let _ = writeln!(text, "mailport_relay_{name}_bucket{{le=\"+Inf\"}} {}", self.count);
        let _ = writeln!(text, "mailport_relay_{name}_count {}", self.count);
        let _ = writeln!(text, "mailport_relay_{name}_sum {}", seconds(self.sum_us));
    }
}

fn family(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(text, "# TYPE mailport_relay_{name} {kind}");
    let _ = writeln!(text, "# HELP mailport_relay_{name} {help}.");
}

fn seconds(micros: u64) -> String {
    let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    let text = text.trim_end_matches('0');
    if text.ends_with('.') { format!("{text}0") } else { text.to_owned() }
}

/// A few lines for people.
impl fmt::Display for RelayStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |map: &BTreeMap<String, u64>| {
            let parts: Vec<String> =
                map.iter().map(|(name, count)| format!("{name}: {count}")).collect();
            if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }
        };
        let RelayStatus { handshaking, dialling, joined, accepted, ended, broken, .. } = self;
        let RelayStatus { idle_timeout, drain_timeout, client_left, failed, .. } = self;
        writeln!(f, "sessions now: {joined} joined, {dialling} dialling, {handshaking} asking")?;
        writeln!(
            f,
            "connections so far: {accepted} accepted, {ended} ended, {broken} broken, \
             {idle_timeout} idle, {drain_timeout} cut off, {client_left} left by the client, \
             {failed} not connected"
        )?;
        writeln!(f, "refused: {}", list(&self.refused))?;
        writeln!(f, "connected to: {}", list(&self.services))?;
        writeln!(f, "outcomes of the first service: {}", list(&self.outcomes))?;
        writeln!(f, "bytes: {} sent, {} received", self.sent, self.received)?;
        writeln!(f, "descriptors: {} of {}", self.descriptors, self.max_descriptors)?;
        if self.log_lost > 0 {
            writeln!(f, "lines of the log that were lost: {}", self.log_lost)?;
        }
        write!(f, "uptime: {} s", self.uptime_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_survives_json() {
        let mut status = RelayStatus { version: 1, sent: 7, ..RelayStatus::default() };
        status.refused.insert("loop".to_owned(), 2);
        status.dial_times.add(Duration::from_millis(7));
        let text = serde_json::to_string(&status).unwrap();
        assert_eq!(serde_json::from_str::<RelayStatus>(&text).unwrap(), status);
        assert!(status.to_string().contains("refused: loop: 2"), "{status}");
        assert!(status.to_string().contains("connected to: none"));
        assert_eq!(status.ends(), 2);
    }

    #[test]
    fn metrics_have_cumulative_buckets_and_counters_end_in_total() {
        let mut status = RelayStatus { accepted: 3, ..RelayStatus::default() };
        for took in [3, 4, 90, 60_000] {
            status.dial_times.add(Duration::from_millis(took));
        }
        status.refused.insert("per-client".to_owned(), 1);
        let text = status.openmetrics();
        for line in [
            "# TYPE mailport_relay_accepted counter",
            "mailport_relay_accepted_total 3",
            "mailport_relay_refused_total{reason=\"per-client\"} 1",
            "mailport_relay_dial_seconds_bucket{le=\"0.001\"} 0",
            "mailport_relay_dial_seconds_bucket{le=\"0.005\"} 2",
            "mailport_relay_dial_seconds_bucket{le=\"30.0\"} 3",
            "mailport_relay_dial_seconds_bucket{le=\"+Inf\"} 4",
            "mailport_relay_dial_seconds_sum 60.097",
        ] {
            assert!(text.lines().any(|have| have == line), "{line}: {text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
