//! What a probe would find, for unit tests: the machine gets the end of each attempt.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use mailport::machine::{Action, Event, Machine, Query};
use mailport::outcome::{Failure, Outcome};
use mailport::probe::{LookedUp, Probed};
use mailport::report::Attempt;
use mailport::target::Host;
use mailport::{Cleartext, Config, Family, Plan, Report, Service};

pub(crate) const V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 1));
pub(crate) const V4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const ROUND_TRIP: Duration = Duration::from_millis(40);
/// How long a probe waits for each candidate.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);

/// How an attempt ends; it connects after one round trip unless a fate is given.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fate {
    Connects {
        syns: u32,
        after: Duration,
    },
    Fails(Failure),
    /// Until the probe stops waiting, by which time this many SYNs were sent.
    Silent(u32),
}

/// What a probe finds of a name with both addresses, or of an address.
pub(crate) fn probed(host: &str, plan: &Plan, fates: &[(u16, IpAddr, Fate)]) -> Probed {
    let target: mailport::Target = host.parse().unwrap();
    let addresses = match target.host() {
        Host::Address(address) => vec![*address],
        _ => vec![V6, V4],
    };
    let list = addresses.iter().map(|&address| SocketAddr::new(address, 0)).collect();
    let ended = Some(Duration::from_millis(3));
    let answer = LookedUp::new(Query::Authority, &Family::ALL, ended, Ok(list));
    let answers = vec![answer.with_routes(Family::ALL.to_vec())];
    let mut probed = Probed::new(target, answers, Vec::new());
    for (service, address) in probed.candidates(plan) {
        let fate = fates.iter().find(|fate| (fate.0, fate.1) == (service.port(), address.ip()));
        let connects = Fate::Connects { syns: 1, after: ROUND_TRIP };
        probed.attempts.push(attempt(service, address, fate.map_or(connects, |fate| fate.2)));
    }
    probed
}

/// What a dial with the default settings would do.
pub(crate) fn forecast(probed: &Probed, plan: &Plan) -> Report {
    probed.forecast(plan, &Config::default(), Instant::now()).unwrap()
}

/// The attempt of a dial that has this candidate alone.
pub(crate) fn attempt(service: Service, address: SocketAddr, fate: Fate) -> Attempt {
    let (target, start) = (address.ip().to_string().parse().unwrap(), Instant::now());
    let plan = Plan::new([service], Cleartext::Allow).unwrap();
    let mut config = Config::default();
    config.timeout = ATTEMPT_TIMEOUT;
    let mut machine = Machine::new(&target, &plan, &config, start).unwrap();
    machine.handle_timeout(start);
    while let Some(action) = machine.poll_action() {
        let attempt = match action {
            Action::Connect { attempt, .. } => attempt,
            Action::Resolve { query } => {
                let addresses = Ok(vec![address]);
                machine.handle(Event::Resolved { query, addresses, routes: Vec::new() }, start);
                machine.handle_timeout(start);
                continue;
            }
            _ => continue,
        };
        let (event, after) = match fate {
            Fate::Connects { syns, after } => {
                let event = Event::Connected { attempt, round_trip: ROUND_TRIP, syns: Some(syns) };
                machine.handle(event, start + after);
                (Event::Confirmed { attempt }, after)
            }
            Fate::Fails(failure) => (Event::Failed { attempt, failure, syns: None }, ROUND_TRIP),
            Fate::Silent(syns) => {
                let failure = Failure::new(Outcome::Timeout);
                (Event::Failed { attempt, failure, syns: Some(syns) }, ATTEMPT_TIMEOUT)
            }
        };
        machine.handle(event, start + after);
        machine.handle_timeout(start + after);
    }
    machine.report().attempts.remove(0)
}
