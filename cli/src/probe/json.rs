//! A probe as JSON: one object, always with the same keys.

use std::time::{Duration, SystemTime};

use mailport::Family;
use mailport::internal::millis;
use mailport::report::{Attempt, Lookup, format_host};
use serde::Serialize;

use super::survey::{Survey, Tally};
use super::{ProbeFound, tls};

/// Counts up when a key changes its meaning or goes; a new key does not change it.
const VERSION: u8 = 1;

/// Formats a probe as one JSON object on one line: each host with its [`forecast`](Probed::forecast),
/// and the survey where there is one. Times are in milliseconds, counted from the start of the
/// host's look-ups.
///
/// The keys are `version`, `hosts` and `survey` (or null). Each host has `host`, `lookup` (null
/// for an address; it has `hedged`, `ended_ms`, `addresses` and `error`), `attempts` (as in
/// [`Report::to_json`]), `choice` (`port`, `tls`, `address`, `family`, `after_ms`; null where a dial
/// would not connect) and `summary`; with `--tls` also `sessions` and `message`. The survey has
/// `reports`, `at_home`, `redundant`, `n`, `servers` and `cases`, the last two with `name` and
/// `count`.
pub(super) fn to_json(hosts: &[ProbeFound], survey: Option<&Survey>) -> String {
    let hosts = hosts.iter().map(HostObject::new).collect();
    let object = ProbeObject { version: VERSION, hosts, survey: survey.map(SurveyObject::new) };
    serde_json::to_string(&object).expect("every key of a probe is a string")
}

#[derive(Serialize)]
struct ProbeObject<'a> {
    version: u8,
    hosts: Vec<HostObject<'a>>,
    survey: Option<SurveyObject<'a>>,
}

#[derive(Serialize)]
struct HostObject<'a> {
    host: &'a str,
    lookup: Option<LookupObject>,
    attempts: &'a [Attempt],
    choice: Option<ChoiceObject>,
    summary: String,
    /// With `--tls`.
    #[serde(flatten)]
    tls: Option<TlsObject<'a>>,
}

#[derive(Serialize)]
struct TlsObject<'a> {
    sessions: Vec<tls::SessionObject<'a>>,
    message: Option<String>,
}

#[derive(Serialize)]
struct LookupObject {
    hedged: bool,
    ended_ms: Option<f64>,
    addresses: Vec<String>,
    error: Option<String>,
}

#[derive(Serialize)]
struct ChoiceObject {
    port: u16,
    tls: &'static str,
    address: Option<String>,
    family: Option<&'static str>,
    after_ms: f64,
}

#[derive(Serialize)]
struct SurveyObject<'a> {
    reports: usize,
    at_home: usize,
    redundant: usize,
    n: usize,
    servers: Vec<TallyObject<'a>>,
    cases: Vec<TallyObject<'a>>,
}

#[derive(Serialize)]
struct TallyObject<'a> {
    name: &'a str,
    count: usize,
}

impl<'a> HostObject<'a> {
    fn new(found: &'a ProbeFound) -> HostObject<'a> {
        let ProbeFound { probed, forecast, sessions } = found;
        let (host, now) = (probed.target.as_str(), SystemTime::now());
        let tls = sessions.as_ref().map(|sessions| {
            let object = |session| tls::SessionObject::new(session, host, now);
            TlsObject { sessions: sessions.iter().map(object).collect(), message: found.sentence() }
        });
        HostObject {
            host,
            lookup: probed.lookup().as_ref().map(LookupObject::new),
            attempts: &probed.attempts,
            choice: forecast.winner().map(|winner| ChoiceObject::new(winner, forecast.elapsed)),
            summary: probed.summary(forecast),
            tls,
        }
    }
}

impl LookupObject {
    fn new(lookup: &Lookup) -> LookupObject {
        let list = lookup.result.as_deref().unwrap_or_default();
        LookupObject {
            hedged: lookup.hedged,
            ended_ms: lookup.ended.map(millis),
            addresses: list.iter().copied().map(format_host).collect(),
            error: lookup.result.as_ref().err().map(ToString::to_string),
        }
    }
}

impl ChoiceObject {
    fn new(winner: &Attempt, elapsed: Duration) -> ChoiceObject {
        ChoiceObject {
            port: winner.service.port(),
            tls: winner.service.tls().name(),
            address: winner.address.map(format_host),
            family: winner.family.map(Family::name),
            after_ms: millis(elapsed),
        }
    }
}

impl<'a> SurveyObject<'a> {
    fn new(survey: &'a Survey) -> SurveyObject<'a> {
        let rows = |rows: &'a [Tally]| {
            let rows = rows.iter().map(|row| TallyObject { name: &row.name, count: row.count });
            rows.collect()
        };
        SurveyObject {
            reports: survey.reports,
            at_home: survey.at_home,
            redundant: survey.redundant,
            n: survey.n(),
            servers: rows(&survey.servers),
            cases: rows(&survey.cases),
        }
    }
}
