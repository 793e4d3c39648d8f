//! A report as JSON: one object, always with the same keys in the same order. Keys of
//! what only a tunnel or a greeting wait has (via, `via_error`, greeting, note) are there where they have a value.

use std::time::Duration;

use serde::{Serialize, Serializer};

use super::{Attempt, Greeting, Report, format_host};
use crate::outcome::{Icmp, Outcome, ViaError};
use crate::plan::Family;

/// Counts up when a key changes its meaning or goes; a new key does not change it.
const VERSION: u8 = 1;

impl Report {
    /// The report as one JSON object on one line. Times are in milliseconds, counted from the
    /// call.
    ///
    /// ```
    /// # use std::time::Instant;
    /// # use mailport::{Config, Plan};
    /// # use mailport::machine::Machine;
    /// # let target = "192.0.2.1".parse()?;
    /// # let start = Instant::now();
    /// # let machine = Machine::new(&target, &Plan::submission(), &Config::default(), start)?;
    /// # let report = machine.report();
    /// assert!(report.to_json().starts_with(r#"{"version":1,"connected":null,"elapsed_ms":"#));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn to_json(&self) -> String {
        line(self)
    }

    /// The object of [`Report::to_json`] for a dial that never began: without attempts, its `error`
    /// being this sentence.
    pub fn json_of_refusal(sentence: &str) -> String {
        line(&ReportObject::without_report(sentence.to_owned()))
    }
}

/// As one of the `attempts` of [`Report::to_json`].
impl Serialize for Attempt {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        AttemptObject::new(self).serialize(serializer)
    }
}

impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        ReportObject::new(self).serialize(serializer)
    }
}

fn line(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("every key of a report is a string")
}

#[derive(Serialize)]
struct ReportObject {
    version: u8,
    connected: Option<ConnectedObject>,
    elapsed_ms: f64,
    summary: String,
    error: Option<String>,
    attempts: Vec<Attempt>,
}

#[derive(Serialize)]
struct ConnectedObject {
    port: u16,
    tls: &'static str,
    address: Option<String>,
    family: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    via: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    greeting: Option<&'static str>,
}

#[derive(Serialize)]
struct AttemptObject {
    port: u16,
    tls: &'static str,
    address: Option<String>,
    family: Option<&'static str>,
    started_ms: f64,
    ended_ms: f64,
    outcome: Option<&'static str>,
    errno: Option<String>,
    icmp: Option<IcmpObject>,
    syns: Option<u32>,
    reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    via_error: Option<ViaErrorObject>,
    #[serde(skip_serializing_if = "Option::is_none")]
    greeting: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

#[derive(Serialize)]
struct ViaErrorObject {
    error: &'static str,
    code: Option<u8>,
    message: String,
}

#[derive(Serialize)]
struct IcmpObject {
    version: u8,
    #[serde(rename = "type")]
    kind: u8,
    code: u8,
    sender: Option<String>,
}

impl ReportObject {
    fn new(report: &Report) -> ReportObject {
        let summary = report.summary();
        let winner = report.winner();
        ReportObject {
            version: VERSION,
            connected: winner.map(|winner| ConnectedObject::new(winner, report.via.clone())),
            elapsed_ms: millis(report.elapsed),
            error: winner.is_none().then(|| summary.clone()),
            summary,
            attempts: report.attempts.clone(),
        }
    }

    fn without_report(sentence: String) -> ReportObject {
        ReportObject {
            version: VERSION,
            connected: None,
            elapsed_ms: 0.0,
            summary: sentence.clone(),
            error: Some(sentence),
            attempts: Vec::new(),
        }
    }
}

impl ConnectedObject {
    fn new(winner: &Attempt, via: Option<String>) -> ConnectedObject {
        ConnectedObject {
            port: winner.service.port(),
            tls: winner.service.tls().name(),
            address: winner.address.map(format_host),
            family: winner.family.map(Family::name),
            via,
            greeting: winner.greeting.map(Greeting::name),
        }
    }
}

impl AttemptObject {
    fn new(attempt: &Attempt) -> AttemptObject {
        AttemptObject {
            port: attempt.service.port(),
            tls: attempt.service.tls().name(),
            address: attempt.address.map(format_host),
            family: attempt.family.map(Family::name),
            started_ms: millis(attempt.started),
            ended_ms: millis(attempt.ended),
            outcome: attempt.outcome.map(Outcome::name),
            errno: attempt.errno.map(|errno| errno.to_string()),
            icmp: attempt.icmp.map(IcmpObject::new),
            syns: attempt.syns,
            reason: attempt.reason.to_string(),
            via_error: attempt.via_error.map(ViaErrorObject::new),
            greeting: attempt.greeting.map(Greeting::name),
            note: attempt.note.clone(),
        }
    }
}

impl ViaErrorObject {
    fn new(error: ViaError) -> ViaErrorObject {
        ViaErrorObject { error: error.name(), code: error.code(), message: error.to_string() }
    }
}

impl IcmpObject {
    fn new(icmp: Icmp) -> IcmpObject {
        IcmpObject {
            version: icmp.version(),
            kind: icmp.kind,
            code: icmp.code,
            sender: icmp.sender.map(|sender| sender.to_string()),
        }
    }
}

/// Milliseconds to three decimals. A whole number divided by 1000 is the double nearest to the
/// decimal fraction, so no more decimals than these are ever printed.
#[expect(clippy::cast_precision_loss, reason = "microseconds are exact for 285 years")]
pub fn millis(time: Duration) -> f64 {
    // In whole numbers, for rounding a double would be the only call into the maths library.
    (time.as_nanos() + 500).div_euclid(1000) as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ConnectError;
    use crate::outcome::{Errno, Outcome};
    use crate::plan::{Family, Service, Tls};
    use crate::report::{End, Reason, Stage};

    fn refused() -> Attempt {
        Attempt {
            service: Service::new(587, Tls::StartTls).unwrap(),
            family: Some(Family::Ipv6),
            address: Some("[2001:db8::1]:587".parse().unwrap()),
            stage: Stage::Connect,
            started: Duration::from_nanos(100_499),
            connected: None,
            ended: Duration::from_micros(40_300),
            outcome: Some(Outcome::IcmpHard),
            errno: Some(Errno(libc::EACCES)),
            icmp: Some(Icmp {
                family: Family::Ipv6,
                kind: 1,
                code: 1,
                sender: Some("2001:db8:ffff::1".parse().unwrap()),
            }),
            via_error: None,
            note: None,
            greeting: None,
            syns: Some(1),
            reason: Reason::First,
        }
    }

    fn connected() -> Attempt {
        Attempt {
            service: Service::new(25, Tls::StartTls).unwrap(),
            family: Some(Family::Ipv4),
            address: Some("192.0.2.1:25".parse().unwrap()),
            outcome: Some(Outcome::Connected),
            errno: None,
            icmp: None,
            syns: None,
            reason: Reason::Refused(refused().service),
            started: Duration::from_micros(40_400),
            ended: Duration::from_secs(3),
            ..refused()
        }
    }

    fn report(attempts: Vec<Attempt>, end: End) -> Report {
        let elapsed = Duration::from_secs(3);
        let host = "mail.example".into();
        Report { host, via: None, attempts, lookup: None, end: Some(end), elapsed }
    }

    #[test]
    fn the_object_has_these_keys_in_this_order() {
        let json = report(vec![refused(), connected()], End::Connected(1)).to_json();
        assert_eq!(
            json,
            concat!(
                r#"{"version":1,"#,
                r#""connected":{"port":25,"tls":"starttls","address":"192.0.2.1","family":"ipv4"},"#,
                r#""elapsed_ms":3000.0,"#,
                r#""summary":"587 is filtered by 2001:db8:ffff::1 (communication with destination "#,
                r#"administratively prohibited); connected to 25 over IPv4 in 3.00 s","#,
                r#""error":null,"attempts":["#,
                r#"{"port":587,"tls":"starttls","address":"2001:db8::1","family":"ipv6","#,
                r#""started_ms":0.1,"ended_ms":40.3,"outcome":"icmp-hard","#,
                r#""errno":"EACCES","icmp":{"version":6,"type":1,"code":1,"#,
                r#""sender":"2001:db8:ffff::1"},"syns":1,"#,
                r#""reason":"first address of the first service"},"#,
                r#"{"port":25,"tls":"starttls","address":"192.0.2.1","family":"ipv4","#,
                r#""started_ms":40.4,"ended_ms":3000.0,"outcome":"connected","#,
                r#""errno":null,"icmp":null,"syns":null,"reason":"587 was refused"}]}"#,
            )
        );
    }

    #[test]
    fn a_failed_dial_has_its_sentence_twice_and_nothing_connected() {
        let failed = report(vec![refused()], End::Exhausted);
        let value: serde_json::Value = serde_json::from_str(&failed.to_json()).unwrap();
        assert_eq!(value["connected"], serde_json::Value::Null);
        assert_eq!(value["error"], failed.summary());
        assert_eq!(value["error"], value["summary"]);
        assert_eq!(ConnectError::Failed(Box::new(failed.clone())).to_json(), failed.to_json());
    }

    #[test]
    fn an_error_without_a_report_keeps_the_shape() {
        let error = ConnectError::Setup {
            what: "no timer descriptor",
            source: std::io::Error::from_raw_os_error(libc::EMFILE),
        };
        let bare: serde_json::Value = serde_json::from_str(&error.to_json()).unwrap();
        let full = serde_json::to_value(report(vec![refused()], End::Exhausted)).unwrap();
        let keys = |value: &serde_json::Value| -> Vec<String> {
            value.as_object().unwrap().keys().cloned().collect()
        };
        assert_eq!(keys(&bare), keys(&full));
        assert_eq!(bare["error"], error.to_string());
        assert_eq!(bare["attempts"], serde_json::json!([]));
    }

    #[test]
    fn an_address_keeps_its_zone_and_loses_its_port() {
        assert_eq!(format_host("[fe80::1%3]:587".parse().unwrap()), "fe80::1%3");
        assert_eq!(format_host("[2001:db8::1]:587".parse().unwrap()), "2001:db8::1");
    }
}
