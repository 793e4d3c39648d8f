//! What holds in every world: here in all of those with three services at two addresses, one after
//! the other. The verdict is the judge's, who does not ask the machine.
#![allow(clippy::unwrap_used, reason = "what helps a test may fail like one")]

mod judge;

use std::net::IpAddr;
use std::time::Duration;

use judge::Judge;
use mailport::{Config, Plan};
use mailport_lab::Fate::{self, AcceptThenClose, Icmp, LoseSyns, Open, Reset, Silent};
use mailport_lab::scenario::{ROUND_TRIP, V4, V6, network};
use mailport_lab::world::{Clock, History, World};

const PORTS: [u16; 3] = [465, 587, 25];
const FATES: [[Fate; 2]; 7] = [
    [Open, Open],
    [Reset, Reset],
    [Icmp { kind: 1, code: 1 }, Icmp { kind: 3, code: 13 }],
    [Icmp { kind: 1, code: 3 }, Icmp { kind: 3, code: 1 }],
    [Silent, Silent],
    [LoseSyns(1), LoseSyns(1)],
    [AcceptThenClose(Duration::from_millis(100)), AcceptThenClose(Duration::from_millis(100))],
];

fn plan() -> Plan {
    "465:implicit,587:starttls,25:starttls".parse().unwrap()
}

/// The world whose number in base 7 names the fates, port by port, IPv6 first.
fn world(number: usize) -> World {
    let mut fates = Vec::with_capacity(6);
    let mut rest = number;
    for port in PORTS {
        for (family, address) in [V6, V4].into_iter().enumerate() {
            fates.push((port, address, FATES[rest % FATES.len()][family]));
            rest /= FATES.len();
        }
    }
    World::new(network(ROUND_TRIP, &[V6, V4], &fates))
}

fn has_open_port(world: &World) -> bool {
    let open = |port, address: IpAddr| world.network.fate(address, port) == Open;
    PORTS.into_iter().any(|port| open(port, V6) || open(port, V4))
}

/// Dials in every world and has it judged; in some it dials again.
fn every_world(sequential: bool) {
    let config = Config::default();
    let plan = if sequential { plan().sequential() } else { plan() };
    for number in 0..FATES.len().pow(6) {
        let mut world = world(number);
        let history = world.dial(&plan, &config);
        Judge::new(&plan, &config, &history, ROUND_TRIP, true).judge();
        assert!(!has_open_port(&world) || history.winner().is_some(), "{}", history.script());
        if number % 8 == 0 {
            again(&mut world, number, &plan, &config, &history);
        }
    }
}

/// Equal inputs give equal outputs, and a restless loop changes nothing.
fn again(world: &mut World, number: usize, plan: &Plan, config: &Config, history: &History) {
    let once = format!("{:?}", history.report);
    assert_eq!(format!("{:?}", world.dial(plan, config).report), once);
    world.clock = Clock::Restless(number as u64);
    assert_eq!(format!("{:?}", world.dial(plan, config).report), once, "restless");
}

#[test]
fn in_every_world_of_three_services_at_two_addresses_the_rules_are_kept() {
    every_world(false);
}

#[test]
fn in_every_such_world_a_sequential_dial_keeps_them_too() {
    every_world(true);
}
