//! Bytes as a report, the report as JSON, and the JSON read back.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use mailport::Outcome;
use mailport::machine::{Event, Machine, Query};
use mailport::outcome::Icmp;
use mailport::report::{Attempt, End, Reason, Report, Stage};
use mailport::{Config, ConnectError, Family, Plan, Service};
use serde_json::Value;

use super::bytes::Bytes;

const KEYS: [&str; 6] = ["attempts", "connected", "elapsed_ms", "error", "summary", "version"];
const CONNECTED_KEYS: [&str; 4] = ["address", "family", "port", "tls"];
const ATTEMPT_KEYS: [&str; 11] = [
    "address",
    "ended_ms",
    "errno",
    "family",
    "icmp",
    "outcome",
    "port",
    "reason",
    "started_ms",
    "syns",
    "tls",
];
const ICMP_KEYS: [&str; 4] = ["code", "sender", "type", "version"];

/// The JSON of any report is one line of the documented keys with the values of the report.
pub fn json(data: &[u8]) {
    let report = report(&mut Bytes(data));
    let line = report.to_json();
    assert!(!line.contains(['\n', '\r']));
    let read: Value = serde_json::from_str(&line).unwrap();
    keys(&read, &KEYS);
    let winner = report.winner();
    assert_eq!(read["version"], 1);
    assert_eq!(read["summary"], report.summary());
    assert_eq!(read["error"].is_null(), winner.is_some());
    assert!(winner.is_some() || read["error"] == read["summary"]);
    time(&read["elapsed_ms"], report.elapsed);
    match winner {
        None => assert!(read["connected"].is_null()),
        Some(winner) => {
            keys(&read["connected"], &CONNECTED_KEYS);
            place(&read["connected"], winner);
        }
    }
    let attempts = read["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), report.attempts.len());
    attempts.iter().zip(&report.attempts).for_each(|(read, attempt)| check_attempt(read, attempt));
    // Numbers as they are written, before a reader rounds them.
    decimals(&serde_json::to_value(&report).unwrap());
    assert_eq!(ConnectError::Failed(Box::new(report)).to_json(), line);
}

fn check_attempt(read: &Value, attempt: &Attempt) {
    keys(read, &ATTEMPT_KEYS);
    place(read, attempt);
    time(&read["started_ms"], attempt.started);
    time(&read["ended_ms"], attempt.ended);
    assert_eq!(read["outcome"].as_str(), attempt.outcome.map(Outcome::name));
    assert_eq!(read["reason"], attempt.reason.to_string());
    assert_eq!(read["syns"].as_u64(), attempt.syns.map(u64::from));
    assert_eq!(read["errno"].as_str(), attempt.errno.map(|errno| errno.to_string()).as_deref());
    let Some(icmp) = attempt.icmp else { return assert!(read["icmp"].is_null()) };
    let read = &read["icmp"];
    keys(read, &ICMP_KEYS);
    assert_eq!(read["version"], if icmp.family == Family::Ipv4 { 4 } else { 6 });
    assert_eq!((&read["type"], &read["code"]), (&icmp.kind.into(), &icmp.code.into()));
    assert_eq!(
        read["sender"].as_str().map(|sender| sender.parse::<IpAddr>().unwrap()),
        icmp.sender
    );
}

fn keys(value: &Value, expected: &[&str]) {
    let mut keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(keys, expected);
}

fn place(read: &Value, attempt: &Attempt) {
    assert_eq!(read["port"], attempt.service.port());
    assert_eq!(read["tls"], attempt.service.tls().name());
    assert_eq!(read["family"].as_str(), attempt.family.map(Family::name));
    let Some(address) = attempt.address else { return assert!(read["address"].is_null()) };
    let text = read["address"].as_str().unwrap();
    let (ip, zone) = text.split_once('%').map_or((text, None), |(ip, zone)| (ip, Some(zone)));
    assert_eq!(ip.parse(), Ok(address.ip()));
    let scope = match address {
        SocketAddr::V6(v6) if v6.scope_id() != 0 => Some(v6.scope_id().to_string()),
        _ => None,
    };
    assert_eq!(zone, scope.as_deref());
}

/// To the microsecond; a time of years may lose more by being a double.
fn time(read: &Value, time: Duration) {
    let (read, time) = (read.as_f64().unwrap(), time.as_secs_f64() * 1000.0);
    assert!((read - time).abs() <= 0.000_501 + time * 1e-15, "{read} is not {time}");
}

/// Three at most, where the time is one that a dial can take.
fn decimals(value: &Value) {
    match value {
        Value::Array(values) => values.iter().for_each(decimals),
        Value::Object(values) => values.values().for_each(decimals),
        Value::Number(number) if number.as_f64().unwrap() < 1e9 => {
            let text = number.to_string();
            let decimals = text.split_once('.').map_or("", |(_, decimals)| decimals);
            assert!(decimals.len() <= 3 && !text.contains('e'), "{text}");
        }
        _ => {}
    }
}

/// A report that may contradict itself: its fields are public, and anybody may change them.
fn report(bytes: &mut Bytes) -> Report {
    let mut report = dialling();
    let attempt = report.attempts.remove(0);
    report.host = bytes.text();
    report.elapsed = duration(bytes);
    report.end = match bytes.byte() {
        index @ 0..=15 => Some(End::Connected(index.into())),
        16..=31 => Some(End::Timeout),
        32..=47 => Some(End::Unresolved),
        48..=63 => Some(End::LocalResourceError),
        64..=79 => Some(End::Cancelled),
        _ => Some(End::Exhausted),
    };
    if let Some(lookup) = &mut report.lookup {
        lookup.hedged = bytes.byte() & 1 == 1;
        lookup.ended = bytes.maybe(duration);
        lookup.result = super::stream::lookup_error(bytes).map_or(Ok(Vec::new()), Err);
    }
    while !bytes.is_empty() && report.attempts.len() < 20 {
        report.attempts.push(filled(attempt.clone(), bytes));
    }
    report
}

/// A dial with one attempt, for its shape: outside of the library, none can be made from nothing.
fn dialling() -> Report {
    let start = Instant::now();
    let host = "mail.example".parse().unwrap();
    let mut machine = Machine::new(&host, &Plan::submission(), &Config::default(), start).unwrap();
    let addresses = Ok(vec!["[2001:db8::1]:0".parse().unwrap()]);
    machine
        .handle(Event::Resolved { query: Query::Authority, addresses, routes: Vec::new() }, start);
    machine.handle_timeout(start);
    machine.report()
}

fn filled(mut attempt: Attempt, bytes: &mut Bytes) -> Attempt {
    let service = |bytes: &mut Bytes| {
        let service = Service::new(bytes.u16().max(1), bytes.tls()).unwrap();
        bytes.maybe(Bytes::family).map_or(service, |family| service.over(family))
    };
    attempt.service = service(bytes);
    attempt.family = Some(bytes.family());
    attempt.address = bytes.maybe(Bytes::address);
    attempt.stage = if bytes.flag() { Stage::Connect } else { Stage::Confirm };
    attempt.started = duration(bytes);
    attempt.connected = bytes.maybe(duration);
    attempt.ended = duration(bytes);
    attempt.outcome = Some(bytes.outcome());
    attempt.errno = bytes.maybe(Bytes::errno);
    attempt.icmp = bytes.maybe(icmp);
    attempt.syns = bytes.maybe(Bytes::u32);
    let other = service(bytes);
    attempt.reason = bytes.one_of(&[
        Reason::First,
        Reason::Failed,
        Reason::AttemptDelay,
        Reason::LateAddress,
        Reason::Refused(other),
        Reason::AllFailed(other),
        Reason::PortDelay(other),
        Reason::Overdue(other),
        Reason::NoAddress(other),
        Reason::SecondAttempt,
        Reason::Proof(other),
    ]);
    attempt
}

fn icmp(bytes: &mut Bytes) -> Icmp {
    let (kind, code) = (bytes.byte(), bytes.byte());
    let from = bytes.maybe(|bytes| bytes.address().ip());
    Icmp { family: bytes.family(), kind, code, sender: from }
}

/// From nanoseconds to the longest there is.
fn duration(bytes: &mut Bytes) -> Duration {
    let kind = bytes.byte();
    let number = u64::from(bytes.u32()) | u64::from(bytes.u32()) << 32;
    match kind {
        0 => Duration::MAX,
        1 => Duration::from_secs(number),
        shift => Duration::from_nanos(number >> (shift % 64)),
    }
}
