//! Bytes as a dial: host, plan and settings, then its events and their times.

use std::time::Duration;

use mailport::machine::{AttemptId, Event, Query};
use mailport::outcome::Failure;
use mailport::report::LookupError;
use mailport::{Cleartext, Config, Families, Patience, Plan, PlanError, Service, Target};

use super::bytes::Bytes;

const HOSTS: [&str; 6] = [
    "mail.example.com",
    "mail.example.com.",
    "192.0.2.1",
    "2001:db8:2::1",
    "::ffff:192.0.2.1",
    "fe80::1%eth0",
];
const PORTS: [u16; 6] = [587, 25, 465, 2525, 1, 65535];

/// What is done next with the machine.
pub(super) enum Step {
    /// Give it this event, with those that follow until time goes on.
    Tell(Event),
    /// Let time go on and bring it.
    Wait(Duration),
    /// Bring a time that is past.
    GoBack(Duration),
    /// Bring the time that the machine wants to be woken at, and so many nanoseconds less.
    Wake(u8),
}

pub(super) fn host(bytes: &mut Bytes) -> Target {
    bytes.one_of(&HOSTS).parse().unwrap()
}

pub(super) fn plan(bytes: &mut Bytes) -> Result<Plan, PlanError> {
    let choice = usize::from(bytes.byte());
    if let Some(name) = Plan::NAMES.get(choice) {
        return name.parse();
    }
    let services: Vec<Service> = (0..choice % 18)
        .map(|_| {
            let port = bytes.one_of(&PORTS).saturating_sub(u16::from(bytes.byte()));
            let service = Service::new(port.max(1), bytes.tls()).unwrap();
            bytes.maybe(Bytes::family).map_or(service, |family| service.over(family))
        })
        .collect();
    Plan::new(services, Cleartext::Allow)
}

/// One that may be refused.
pub(super) fn config(bytes: &mut Bytes) -> Config {
    let mut config = Config::default();
    let usual = bytes.byte();
    if usual & 2 == 0 {
        return config;
    }
    let millis = |bytes: &mut Bytes| Duration::from_millis(bytes.u16().into());
    config.attempt_delay = millis(bytes);
    config.port_delay = millis(bytes);
    config.patience = bytes.maybe(millis).map_or(Patience::Automatic, Patience::Fixed);
    config.timeout = Duration::from_micros(u64::from(bytes.u32()) << (bytes.byte() % 8));
    config.families = bytes.one_of(&[
        Families::Any,
        Families::Ipv4,
        Families::Ipv6,
        Families::PreferIpv4,
        Families::PreferIpv6,
    ]);
    config.source = bytes.maybe(|bytes| bytes.address().ip());
    config
}

/// Most often something of an attempt that there is, but not always.
pub(super) fn step(bytes: &mut Bytes, started: usize) -> Step {
    let what = bytes.byte();
    match what % 12 {
        0 => Step::Wait(Duration::from_millis(bytes.byte().into())),
        1 => Step::Wait(Duration::from_micros(bytes.u32().into()) / 16),
        2 | 3 => Step::Wake(0),
        4 => Step::Wake(bytes.byte()),
        5 => Step::GoBack(Duration::from_millis(bytes.u16().into())),
        _ => Step::Tell(event(bytes, what, started)),
    }
}

fn event(bytes: &mut Bytes, what: u8, started: usize) -> Event {
    if what % 12 == 6 {
        let query = bytes.maybe(Bytes::family).map_or(Query::Authority, Query::Hedge);
        let addresses = match lookup_error(bytes) {
            Some(error) => Err(error),
            None => Ok((0..bytes.byte() % 16).map(|_| bytes.address()).collect()),
        };
        let routes = bytes.maybe(Bytes::family).into_iter().collect();
        return Event::Resolved { query, addresses, routes };
    }
    let number = usize::from(bytes.byte());
    let attempt = AttemptId(if number < 0xe0 { number % started.max(1) } else { number - 0xe0 });
    match what % 12 {
        7 => {
            // The kernel says no more than 32 bits of microseconds; another caller may.
            let round_trip = match bytes.u32() {
                u32::MAX => Duration::MAX,
                micros => Duration::from_micros(micros.into()),
            };
            Event::Connected { attempt, round_trip, syns: bytes.maybe(Bytes::u32) }
        }
        8 => Event::Confirmed { attempt },
        11 => Event::Closed { attempt, syns: bytes.maybe(Bytes::u32) },
        _ => {
            let outcome = bytes.outcome();
            let errno = bytes.maybe(Bytes::errno);
            let failure = Failure { errno, ..Failure::new(outcome) };
            Event::Failed { attempt, failure, syns: bytes.maybe(Bytes::u32) }
        }
    }
}

/// None more often than not.
pub(super) fn lookup_error(bytes: &mut Bytes) -> Option<LookupError> {
    match bytes.byte() {
        0xf0 => Some(LookupError::NoSuchName),
        0xf1 => Some(LookupError::TryAgain),
        0xf2 => Some(LookupError::Unanswered),
        0xf4 => Some(LookupError::NoAddress),
        0xf5 => Some(LookupError::LocalResourceError(bytes.errno())),
        0xf3 => Some(LookupError::Failed(bytes.text())),
        _ => None,
    }
}
