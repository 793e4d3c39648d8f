//! Random worlds, plans and settings.

#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, reason = "what helps a test may fail like one")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use mailport::outcome::Errno;
use mailport::report::LookupError;
use mailport::{Cleartext, Config, Families, Patience, Plan};
use mailport_lab::Fate::{self, AcceptThenClose, Icmp, LoseSyns, Open, Reset, Silent};
use mailport_lab::scenario::network;
use mailport_lab::world::{Answer, Clock, Kernel, Names, SoftErrors, World};
use proptest::prelude::*;
use proptest::sample::select;

pub(crate) const PLANS: [&str; 8] = [
    "submission",
    "submissions",
    "rfc8314",
    "mew",
    "symmetric",
    "465:implicit,587:starttls,25:starttls",
    "465/ipv6:implicit,587/ipv4:starttls,2525:starttls,25:starttls",
    "587:starttls,25:cleartext",
];
pub(crate) const PORTS: [u16; 4] = [465, 587, 2525, 25];

pub(crate) fn millis(range: std::ops::Range<u64>) -> impl Strategy<Value = Duration> {
    // Whole multiples meet at one instant now and then; the others hardly ever do.
    prop_oneof![
        range.clone().prop_map(|ms| Duration::from_millis(ms - ms % 10)),
        range.prop_map(|ms| Duration::from_micros(ms * 1000 + 137)),
    ]
}

pub(crate) fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        1 => Just(Open),
        2 => Just(Reset),
        4 => Just(Silent),
        1 => (1..4_u32).prop_map(LoseSyns),
        1 => millis(0..500).prop_map(AcceptThenClose),
        2 => (select(vec![1_u8, 3, 4, 11, 12]), 0..16_u8).prop_map(|(kind, code)| Icmp { kind, code }),
    ]
}

pub(crate) fn addresses(family: fn(u8) -> IpAddr) -> impl Strategy<Value = Vec<IpAddr>> {
    let count = prop_oneof![4 => 0..3_u8, 1 => 3..9_u8];
    count.prop_map(move |count| (1..=count).map(family).collect())
}

pub(crate) fn answer(list: Vec<IpAddr>, after: Duration, dice: u8) -> Answer {
    match dice {
        0 => Answer::Never,
        1 => Answer::Fails { after, error: LookupError::TryAgain },
        _ => Answer::Addresses { after, list },
    }
}

prop_compose! {
    pub(crate) fn names()(
        v6 in addresses(|host| Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, host.into()).into()),
        v4 in addresses(|host| Ipv4Addr::new(192, 0, 2, host).into()),
        after in [millis(0..100), millis(0..100)],
        dice in [0..12_u8, 0..12_u8],
        slow in [0..8_u32, 0..8_u32],
    ) -> Names {
        // One look-up in four is slow enough to come in the middle of a race.
        let wait = |index: usize| after[index] * if slow[index] < 2 { 20 } else { 1 };
        Names::new(answer(v6, wait(0), dice[0]), answer(v4, wait(1), dice[1]))
    }
}

prop_compose! {
    pub(crate) fn config()(
        delays in (millis(10..400), millis(10..1500)),
        usual in any::<bool>(),
        patience in prop::option::weighted(0.3, millis(10..4000)),
        deadline in prop_oneof![millis(400..5000), millis(20_000..200_000)],
        families in select(vec![
            Families::Any, Families::Any, Families::PreferIpv4, Families::PreferIpv6,
        ]),
    ) -> Config {
        let mut config = Config::default();
        if !usual {
            (config.attempt_delay, config.port_delay) = delays;
        }
        config.patience = patience.map_or(Patience::Automatic, Patience::Fixed);
        config.timeout = deadline.max(config.attempt_delay);
        config.families = families;
        config
    }
}

pub(crate) fn kernel() -> impl Strategy<Value = Kernel> {
    let gives_up = prop_oneof![3 => Just(134_900), 1 => 100..5000_u64];
    (any::<bool>(), gives_up).prop_map(|(old, gives_up)| Kernel {
        soft_errors: if old { SoftErrors::Noted } else { SoftErrors::End },
        gives_up: Duration::from_millis(gives_up),
    })
}

pub(crate) fn clock() -> impl Strategy<Value = Clock> {
    prop_oneof![
        3 => Just(Clock::Exact),
        1 => any::<u64>().prop_map(Clock::Restless),
        1 => (any::<u64>(), millis(1..300)).prop_map(|(seed, by)| Clock::Late { seed, by }),
    ]
}

prop_compose! {
    pub(crate) fn world()(
        names in names(),
        round_trip in prop_oneof![millis(1..300), millis(300..3000)],
        fates in prop::collection::vec(fate(), 72),
        kernel in kernel(),
        routes in [prop::bool::weighted(0.9), prop::bool::weighted(0.9)],
        trouble in prop::collection::vec((0..72_usize, select(vec![libc::EMFILE, libc::EPERM])), 0..3),
        greet_pause in prop::option::weighted(0.2, millis(0..2000)),
        clock in clock(),
    ) -> World {
        let list = |answer: &Answer| match answer {
            Answer::Addresses { list, .. } => list.clone(),
            _ => Vec::new(),
        };
        let addresses = [list(&names.v6), list(&names.v4)].concat();
        let places: Vec<(u16, IpAddr)> =
            PORTS.iter().flat_map(|&port| addresses.iter().map(move |&a| (port, a))).collect();
        let set = |(&(port, address), &fate): (&(u16, IpAddr), &Fate)| (port, address, fate);
        let fates: Vec<_> = places.iter().zip(&fates).map(set).collect();
        let mut world = World::new(network(round_trip, &addresses, &fates));
        for (index, route) in routes.into_iter().enumerate() {
            world.sources[index] = world.sources[index].filter(|_| route);
        }
        let troubled = trouble.iter().filter_map(|&(place, errno)| {
            let &(port, address) = places.get(place)?;
            Some((SocketAddr::new(address, port), Errno(errno)))
        });
        world.troubles = troubled.collect();
        World { names, kernel, greet_pause, clock, ..world }
    }
}

pub(crate) fn plan() -> impl Strategy<Value = Plan> {
    (select(&PLANS[..]), any::<bool>()).prop_map(|(text, sequential)| {
        let plan = Plan::parse(text, Cleartext::Allow).unwrap();
        if sequential { plan.sequential() } else { plan }
    })
}

pub(crate) fn cases(cases: u32) -> ProptestConfig {
    // A world in three does not fit some rules, however many are asked for.
    let max_global_rejects = 1_000_000;
    let default = ProptestConfig::default();
    ProptestConfig { cases, failure_persistence: None, max_global_rejects, ..default }
}
