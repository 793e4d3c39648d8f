//! What a dial would choose, in virtual time.
#![expect(clippy::unwrap_used, reason = "a test that cannot set its scene has failed")]

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use mailport::machine::Query;
use mailport::probe::{LookedUp, Probed};
use mailport::report::LookupError;
use mailport::{Cleartext, Config, Family, Outcome, Plan, Target};
use mailport_lab::scenario::{ROUND_TRIP, V4, V6, network, scenarios};
use mailport_lab::world::{self, Names, World};
use mailport_lab::{Fate, Network};

/// What a probe that gives every candidate five seconds finds in a virtual world.
fn probed_in(world: &World, plan: &Plan, config: &Config) -> Probed {
    let target: Target = world.host.parse().unwrap();
    let families = Family::ALL.into_iter().filter(|&family| config.allows(family));
    let families: Vec<Family> = families.collect();
    let answer = |query, asked: Duration| {
        let (after, addresses) = match world.names.of(query, &families) {
            world::Answer::Addresses { after, mut list } => {
                list.sort_by_key(|&ip| world.sources[usize::from(ip.is_ipv4())].is_none());
                (Some(after), Ok(list.iter().map(|&ip| SocketAddr::new(ip, 0)).collect()))
            }
            world::Answer::Fails { after, error } => (Some(after), Err(error)),
            world::Answer::Never => (None, Err(LookupError::Unanswered)),
        };
        let answer = LookedUp::new(query, &families, after.map(|after| asked + after), addresses);
        let has = |family| answer.list().iter().any(|a| Family::from(a.ip()) == family);
        let routes = families.iter().copied().zip(world.sources);
        let routes = routes.filter(|&(family, source)| has(family) && source.is_some());
        let routes = routes.map(|(family, _)| family).collect();
        answer.with_routes(routes)
    };
    let mut answers = vec![answer(Query::Authority, Duration::ZERO)];
    let hedge = Duration::from_millis(100);
    if answers[0].ended.is_none_or(|ended| ended > hedge) {
        answers.extend(families.iter().map(|&family| answer(Query::Hedge(family), hedge)));
    }
    let mut probed = Probed::new(target, answers, Vec::new());
    let mut of_one = Config::default();
    of_one.timeout = Duration::from_secs(5);
    for (service, address) in probed.candidates(plan) {
        let mut alone = world.clone();
        alone.host = address.ip().to_string();
        alone.names = Names::at_once(&[address.ip()]);
        let plan = Plan::new([service], Cleartext::Allow).unwrap();
        // A probe makes no second attempts, and they change nothing of the first one.
        probed.attempts.extend(alone.dial(&plan, &of_one).report.attempts.into_iter().take(1));
    }
    probed
}

/// A forecast has no SYNs; for the rest it must be the dial.
fn check_forecast(name: &str, world: &World, plan: &Plan, config: &Config) {
    let mut dialled = world.dial(plan, config).report;
    let probed = probed_in(world, plan, config);
    let forecast = probed.forecast(plan, config, Instant::now()).unwrap();
    for attempt in &mut dialled.attempts {
        attempt.syns = None;
    }
    assert_eq!(forecast, dialled, "{name}: {world:#?}");
}

#[test]
fn the_forecast_of_every_scenario_is_its_dial() {
    let hangs_up = |network: &Network, plan: &Plan| {
        network.addresses().any(|address| {
            let mut services = plan.services().iter();
            services.any(|s| matches!(network.fate(address, s.port()), Fate::AcceptThenClose(_)))
        })
    };
    let mut checked = 0;
    for scenario in scenarios() {
        // What a server does after the handshake is nothing that a probe waits for.
        // And a packet that is lost once is not lost again.
        let loses = scenario.network.losing().next().is_some();
        if loses || hangs_up(&scenario.network, &scenario.plan) {
            continue;
        }
        let mut world = World::new(scenario.network);
        world.names = scenario.names;
        check_forecast(scenario.name, &world, &scenario.plan, &scenario.config);
        checked += 1;
    }
    assert!(checked > 25, "{checked}");
}

#[test]
fn the_forecast_of_any_world_is_its_dial() {
    let mut dice = fastrand::Rng::with_seed(587);
    for round in 0..2_000 {
        let fates = [
            Fate::Open,
            Fate::Reset,
            Fate::Icmp { kind: 3, code: 13 },
            Fate::Icmp { kind: 3, code: 1 },
            Fate::Silent,
            Fate::DropFirst(1),
            Fate::DropFirst(3),
        ];
        let all: Vec<IpAddr> = vec![V6, "2001:db8:2::2".parse().unwrap(), V4];
        let addresses: Vec<IpAddr> = all.into_iter().filter(|_| dice.u8(0..4) > 0).collect();
        let ports = [465, 587, 25];
        let each = addresses.iter().flat_map(|&address| ports.map(|port| (port, address)));
        let places: Vec<_> = each
            .map(|(port, address)| {
                let fate = match (address, fates[dice.usize(0..fates.len())]) {
                    (IpAddr::V6(_), Fate::Icmp { code: 13, .. }) => Fate::Icmp { kind: 1, code: 1 },
                    (IpAddr::V6(_), Fate::Icmp { .. }) => Fate::Icmp { kind: 1, code: 3 },
                    (_, fate) => fate,
                };
                (port, address, fate)
            })
            .collect();
        let round_trip = Duration::from_millis(dice.u64(1..120));
        let mut world = World::new(network(round_trip, &addresses, &places));
        // No route, or a source that puts IPv4 first (RFC 6724).
        world.sources[0] = match dice.u8(0..4) {
            0 => None,
            1 => Some("fd00::2".parse().unwrap()),
            _ => world.sources[0],
        };
        let delay = |dice: &mut fastrand::Rng| Duration::from_millis(dice.u64(0..400));
        let (v6, v4) = (delay(&mut dice), delay(&mut dice));
        world.names = Names::after(&addresses, v6, v4);
        let plans = [Plan::submission(), Plan::rfc8314(), Plan::mew(), Plan::symmetric(), {
            "465:implicit,587/ipv6:starttls,25:starttls".parse().unwrap()
        }];
        let plan = plans[dice.usize(0..plans.len())].clone();
        let plan = if dice.bool() { plan.sequential() } else { plan };
        check_forecast(&round.to_string(), &world, &plan, &Config::default());
    }
}

#[test]
fn what_was_not_probed_is_silent_in_a_forecast() {
    let world = World::new(network(ROUND_TRIP, &[V4], &[]));
    let probed = probed_in(&world, &Plan::submission(), &Config::default());
    let plan: Plan = "465:implicit,25:starttls".parse().unwrap();
    let forecast = probed.forecast(&plan, &Config::default(), Instant::now()).unwrap();
    let outcomes: Vec<Outcome> = forecast.attempts.iter().filter_map(|a| a.outcome).collect();
    let silent = Outcome::Timeout;
    assert_eq!(outcomes, [silent, silent, Outcome::Connected, silent]);
}

#[test]
fn a_summary_claims_what_was_measured_and_no_more() {
    let summary = |fates: &[(u16, IpAddr, Fate)]| {
        let world = World::new(network(ROUND_TRIP, &[V4], fates));
        let (plan, config) = (Plan::submission(), Config::default());
        let probed = probed_in(&world, &plan, &config);
        probed.summary(&probed.forecast(&plan, &config, Instant::now()).unwrap())
    };
    assert_eq!(
        summary(&[]),
        "mail.example.com: a dial would be connected to 587 over IPv4 in 40 ms"
    );
    assert_eq!(
        summary(&[(587, V4, Fate::Silent)]),
        "mail.example.com: 587 is silent; a dial would be connected to 25 over IPv4 in 680 ms"
    );
    // Five seconds were waited for, not the thirty that a dial would take.
    assert_eq!(
        summary(&[(587, V4, Fate::Silent), (25, V4, Fate::Reset)]),
        "mail.example.com: 587 is silent (5 SYNs unanswered) at 192.0.2.1 after 5.00 s; 25 is \
         refused at 192.0.2.1 after 40 ms; nothing is left to try (after 5.00 s)"
    );
}
