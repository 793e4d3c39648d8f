//! What holds in every world, here in random ones, for dials with a cache, with questions, with a
//! greeting wait and through a proxy.
#![allow(clippy::unwrap_used, reason = "what helps a test may fail like one")]

mod worlds;

use std::collections::BTreeMap;
use std::time::Duration;

use mailport::machine::{Answer as Said, Hints};
use mailport::outcome::ViaError;
use mailport::report::{Attempt, End};
use mailport::{Config, Family, GreetingWait, Outcome, Plan, Service};
use mailport_lab::world::{Clock, Far, History, Kernel, What, World};
use proptest::prelude::*;
use proptest::sample::select;
use worlds::{PORTS, cases, config, plan, world};

prop_compose! {
    fn hints()(
        bad in prop::collection::vec(any::<bool>(), 32),
        known in prop::collection::vec(prop::option::weighted(0.3, worlds::millis(1..900)), 32),
        family in prop::option::of(select(&Family::ALL[..])),
        answers in prop::collection::vec(prop::option::weighted(0.2, said()), 8),
        plan in plan(),
    ) -> (Hints, Plan) {
        let families = [Some(Family::Ipv6), Some(Family::Ipv4), None];
        let services = plan.services().iter().copied();
        let places = services.clone().flat_map(|s| families.map(|family| (s, family)));
        let bad = places.zip(&bad).filter(|(_, bad)| **bad).map(|(place, _)| place).collect();
        let said = services.zip(answers).filter_map(|(s, said)| Some((s, said?)));
        let over = [Family::Ipv6, Family::Ipv4];
        let places = plan.services().iter().flat_map(|s| over.map(|family| (*s, family)));
        let round_trips: Vec<(Service, Family, Duration)> =
            places.zip(known).filter_map(|((s, family), time)| Some((s, family, time?))).collect();
        let known = round_trips.iter().map(|&(service, ..)| service).collect();
        (Hints { bad, family, answers: said.collect(), known, round_trips }, plan)
    }
}

fn said() -> impl Strategy<Value = Said> {
    select(&Said::ALL[..])
}

fn answers() -> impl Strategy<Value = Vec<(Duration, Said)>> {
    // More than any plan can ask, some before the next packet and some after hours.
    let after = prop_oneof![0..3000_u64, Just(7_200_000)].prop_map(Duration::from_millis);
    prop::collection::vec((after, said()), 64)
}

fn far() -> impl Strategy<Value = Far> {
    let own = [ViaError::Login, ViaError::Protocol, ViaError::Unreachable];
    let replies = [1, 2, 3, 4, 5, 6, 7, 8, 255].map(ViaError::Reply);
    let fails = select([&own[..], &replies[..]].concat());
    prop_oneof![
        2 => Just(Far::Opens),
        1 => Just(Far::AcceptsThenCloses),
        1 => Just(Far::AcceptsThenSilent),
        1 => Just(Far::Silent),
        4 => fails.prop_map(Far::Fails),
    ]
}

fn through() -> impl Strategy<Value = BTreeMap<u16, Far>> {
    prop::collection::vec(far(), 4).prop_map(|fates| PORTS.into_iter().zip(fates).collect())
}

fn place(services: &[Service], port: u16) -> usize {
    services.iter().rposition(|service| service.port() == port).unwrap()
}

/// While a question stands, nothing is sent to the service that it is about, nor to any after it. One
/// before it may have begun without an address, and get its first one late.
fn is_quiet_while_asked(history: &History, plan: &Plan) {
    let mut asked_about = None;
    for entry in &history.log {
        match entry.what {
            What::Asked { next, .. } => {
                asked_about = plan.services().iter().position(|&service| service == next);
                assert!(asked_about.is_some(), "{}", history.script());
            }
            What::Said(_) | What::Withdrawn => asked_about = None,
            What::Connect { address, .. } => {
                let family = Family::from(address.ip());
                let is_it = |s: &Service| s.port() == address.port() && s.allows(family);
                let service = plan.services().iter().position(is_it).unwrap();
                assert!(asked_about.is_none_or(|next| service < next), "{}", history.script());
            }
            _ => {}
        }
    }
}

/// How long questions stood.
fn paused(history: &History) -> Duration {
    let mut since = None;
    let mut paused = Duration::ZERO;
    for entry in &history.log {
        match entry.what {
            What::Asked { .. } => since = Some(entry.at),
            What::Said(_) | What::Withdrawn => {
                paused += entry.at.saturating_sub(since.take().unwrap_or(entry.at));
            }
            _ => {}
        }
    }
    paused
}

/// One attempt at most is past its connect, nothing is open beside it, and no service is begun
/// while an attempt of an earlier one is open.
fn is_one_after_the_other(history: &History, services: &[Service]) {
    let mut open: BTreeMap<usize, usize> = BTreeMap::new();
    let mut past = None;
    for entry in &history.log {
        match entry.what {
            What::Connect { attempt, address } => {
                assert_eq!(past, None, "{}", history.script());
                let service = place(services, address.port());
                assert!(open.values().all(|&o| o == service), "{}", history.script());
                open.insert(attempt.0, service);
            }
            What::Through { attempt, port } => {
                assert!(past.is_none() && open.is_empty(), "{}", history.script());
                open.insert(attempt.0, place(services, port));
            }
            What::Connected { attempt } => past = past.or(Some(attempt.0)),
            What::Failed { attempt, .. } | What::Close { attempt } => {
                open.remove(&attempt.0);
                past = past.filter(|&p| p != attempt.0);
            }
            _ => {}
        }
    }
}

/// Whether an attempt was closed before the end.
fn has_made_room(history: &History) -> bool {
    let end = history.report.elapsed;
    history.log.iter().any(|e| matches!(e.what, What::Close { .. }) && e.at < end)
}

/// A world that is the same for as long as a dial lasts, and a dial that has the time.
fn steady(world: World) -> (World, Config) {
    let mut config = Config::default();
    config.timeout = Duration::from_secs(300);
    let world = World {
        kernel: Kernel::default(),
        clock: Clock::Exact,
        greet_pause: None,
        troubles: BTreeMap::new(),
        ..world
    };
    (world, config)
}

proptest! {
    #![proptest_config(cases(250))]

    #[test]
    fn the_cache_never_decides_whether_there_is_mail(
        world in world(),
        (hints, plan) in hints(),
        skip in any::<bool>(),
    ) {
        let (world, mut config) = steady(world);
        let without = world.dial(&plan, &config);
        config.try_failed_last = skip;
        let with = World { hints, ..world }.dial(&plan, &config);
        // What a peer closes while it is held depends on when it is tried, and so does what is
        // closed to make room for a seventh address.
        let chance = |h: &History| h.script().contains(" closed ") || has_made_room(h);
        prop_assume!(!chance(&without) && !chance(&with));
        prop_assert!(
            without.report.winner().is_none() || with.report.winner().is_some(),
            "without:\n{}with:\n{}", without.script(), with.script()
        );
    }

    #[test]
    fn the_cache_never_leads_to_weaker_tls(world in world(), (hints, plan) in hints()) {
        let (world, config) = steady(world);
        let without = world.dial(&plan, &config);
        // Which family goes first is a guess, and so is a round trip; both may be wrong.
        let hints = Hints { family: None, round_trips: Vec::new(), ..hints };
        let with = World { hints, ..world }.dial(&plan, &config);
        let reported = format!("without:\n{}with:\n{}", without.script(), with.script());
        let Some(b) = with.report.winner() else { return Ok(()) };
        // A candidate whose attempts were all cancelled was overdue by the word of the cache alone.
        let stronger = |t: &&Attempt| b.service.tls().is_weaker_than(t.service.tls());
        let mut left = with.report.attempts.iter().filter(stronger);
        let has_ended = |t: &Attempt| {
            let mut attempts = with.report.attempts.iter();
            attempts.any(|o| o.address == t.address && o.outcome != Some(Outcome::Cancelled))
        };
        prop_assert!(left.all(has_ended), "{}", reported);
        // What is tried later, for it was bad, may be silent for too long when it was not before.
        let Some(a) = without.report.winner() else { return Ok(()) };
        let is_it = |t: &&Attempt| (t.service, t.address) == (a.service, a.address);
        let silent = with.report.attempts.iter().find(is_it);
        let overdue = silent.is_some_and(|t| t.outcome == Some(Outcome::Timeout));
        prop_assert!(overdue || !b.service.tls().is_weaker_than(a.service.tls()), "{}", reported);
    }

    #[test]
    fn no_packet_leaves_while_a_question_stands(
        world in world(),
        (hints, plan) in hints(),
        config in config(),
        answers in answers(),
    ) {
        let config = { let mut config = config; config.ask = true; config };
        let late = match world.clock {
            Clock::Late { by, .. } => 4 * by,
            _ => Duration::ZERO,
        };
        let history = World { hints, answers, ..world }.dial(&plan, &config);
        is_quiet_while_asked(&history, &plan);
        let longest = config.timeout + paused(&history) + late;
        prop_assert!(history.report.elapsed <= longest, "{}", history.script());
    }

    #[test]
    fn with_a_greeting_wait_services_go_one_after_the_other(
        world in world(),
        (hints, plan) in hints(),
        config in config(),
        greeting_wait in 10..5000_u64,
        skip in any::<bool>(),
    ) {
        let mut config = config;
        (config.greeting_wait, config.try_failed_last) = (GreetingWait::For(Duration::from_millis(greeting_wait)), skip);
        let history = World { hints, ..world }.dial(&plan, &config);
        let order: Vec<Service> = order(&history, &plan);
        is_one_after_the_other(&history, &order);
    }

    #[test]
    fn through_a_proxy_services_go_one_after_the_other(
        world in world(),
        (hints, plan) in hints(),
        through in through(),
        skip in any::<bool>(),
    ) {
        prop_assume!(plan.services().iter().all(|service| service.family().is_none()));
        let mut config = Config::default();
        config.try_failed_last = skip;
        let world = World { hints, through: Some(through), ..world };
        let history = world.dial(&plan, &config);
        is_one_after_the_other(&history, &order(&history, &plan));
        let is_broken = |a: &&Attempt| a.via_error.is_some_and(ViaError::is_of_the_way);
        let broken = history.report.attempts.iter().find(is_broken);
        // What is found by a turn that comes after the deadline comes too late.
        let too_late = broken.is_some_and(|b| b.ended == history.report.elapsed);
        let end = if history.report.end == Some(End::Timeout) && too_late { Some(End::Via) } else { history.report.end };
        prop_assert_eq!(broken.is_some(), end == Some(End::Via), "{}", history.script());
        prop_assert!(broken.is_none() || history.observations.is_empty());
    }

    #[test]
    fn a_restless_loop_changes_nothing_of_this(
        world in world(),
        (hints, plan) in hints(),
        config in config(),
        greeting_wait in prop::option::of(10..5000_u64),
        ask in any::<bool>(),
        answers in answers(),
        seed in any::<u64>(),
    ) {
        let mut config = config;
        config.ask = ask;
        config.greeting_wait = greeting_wait.map_or(GreetingWait::Off, |greeting_wait| GreetingWait::For(Duration::from_millis(greeting_wait)));
        let world = World { hints, answers, ..world };
        let exact = World { clock: Clock::Exact, ..world.clone() }.dial(&plan, &config);
        let restless = World { clock: Clock::Restless(seed), ..world }.dial(&plan, &config);
        prop_assert_eq!(&exact.report, &restless.report, "{}", exact.script());
        prop_assert_eq!(&exact.observations, &restless.observations, "{}", exact.script());
    }

    #[test]
    fn a_dial_that_connected_nowhere_teaches_nothing(
        world in world(),
        plan in plan(),
        config in config(),
    ) {
        let history = world.dial(&plan, &config);
        if history.report.winner().is_none() {
            prop_assert!(history.observations.is_empty());
        }
    }
}

/// The services in the order in which the dial took them.
fn order(history: &History, plan: &Plan) -> Vec<Service> {
    let mut order: Vec<Service> = Vec::new();
    for attempt in &history.report.attempts {
        if !order.contains(&attempt.service) {
            order.push(attempt.service);
        }
    }
    order
        .extend(plan.services().iter().filter(|s| !order.contains(s)).copied().collect::<Vec<_>>());
    order
}
