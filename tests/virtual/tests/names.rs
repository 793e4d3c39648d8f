//! Names: what the two look-ups do to a dial, in virtual time.
//!
//! The lines of a story are: milliseconds, what happened, the port, and the address as `v6` or
//! `v4`, where `v6b` is the second one.
#![allow(clippy::unwrap_used, reason = "what helps a test may fail like one")]

use std::net::IpAddr;
use std::time::{Duration, Instant};

use mailport::machine::{Action, Machine};
use mailport::report::LookupError;
use mailport::{Config, Families, Plan};
use mailport_lab::Fate::{self, Open, Reset, Silent};
use mailport_lab::scenario::{ROUND_TRIP, V4, V6, network};
use mailport_lab::world::{Answer, History, Names, World};

const NEVER: Answer = Answer::Never;

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn gives(after: u64, address: IpAddr) -> Answer {
    Answer::Addresses { after: ms(after), list: vec![address] }
}

fn fails(after: u64) -> Answer {
    Answer::Fails { after: ms(after), error: LookupError::TryAgain }
}

fn world(v6: Answer, v4: Answer, fates: &[(u16, IpAddr, Fate)]) -> World {
    let network = network(ROUND_TRIP, &[V6, V4], fates);
    World { names: Names { v6, v4 }, ..World::new(network) }
}

fn dial(v6: Answer, v4: Answer, fates: &[(u16, IpAddr, Fate)]) -> History {
    world(v6, v4, fates).dial(&Plan::submission(), &Config::default())
}

fn asked(target: &str, plan: &Plan, config: &Config) -> Vec<&'static str> {
    let start = Instant::now();
    let mut machine = Machine::new(&target.parse().unwrap(), plan, config, start).unwrap();
    machine.handle_timeout(start);
    let actions = std::iter::from_fn(|| machine.poll_action());
    let families = actions.map(|action| match action {
        Action::Resolve { family } => family.name(),
        other => panic!("{other:?}"),
    });
    families.collect()
}

#[test]
fn both_families_are_looked_up_at_once() {
    let (plan, config) = (Plan::submission(), Config::default());
    assert_eq!(asked("mail.example.com", &plan, &config), ["ipv6", "ipv4"]);
}

#[test]
fn a_family_that_nothing_can_use_is_not_looked_up() {
    let (plan, mut config) = (Plan::submission(), Config::default());
    assert_eq!(asked("192.0.2.1", &plan, &config), ["ipv4"]);
    assert_eq!(asked("2001:db8:2::1", &plan, &config), ["ipv6"]);
    let over_v4 = "587/ipv4:starttls,25/ipv4:starttls".parse().unwrap();
    assert_eq!(asked("mail.example.com", &over_v4, &config), ["ipv4"]);
    config.families = Families::Ipv6;
    assert_eq!(asked("mail.example.com", &plan, &config), ["ipv6"]);
}

#[test]
fn ipv6_addresses_begin_at_once_and_do_not_wait_for_ipv4() {
    // > If a positive AAAA response (a response with at least one valid AAAA record) is received
    // > first, the first IPv6 connection attempt is immediately started. (RFC 8305 section 3)
    dial(gives(10, V6), NEVER, &[]).reads(
        "10 connect 587 v6
         50 connected 587 v6
         50 wins 587 v6",
    );
}

#[test]
fn ipv4_addresses_wait_for_ipv6_for_the_resolution_delay() {
    // > If a positive A response is received first due to reordering, the client SHOULD wait a
    // > short time for the AAAA response to ensure that preference is given to IPv6 [...]. The
    // > recommended value for the Resolution Delay is 50 milliseconds. (RFC 8305 section 3)
    dial(gives(69, V6), gives(20, V4), &[]).reads(
        "69 connect 587 v6
         109 connected 587 v6
         109 wins 587 v6",
    );
    dial(gives(71, V6), gives(20, V4), &[]).reads(
        "70 connect 587 v4
         110 connected 587 v4
         110 wins 587 v4",
    );
}

#[test]
fn the_resolution_delay_is_the_callers_to_set() {
    let mut config = Config::default();
    config.resolution_delay = Duration::ZERO;
    world(NEVER, gives(20, V4), &[]).dial(&Plan::submission(), &config).reads(
        "20 connect 587 v4
         60 connected 587 v4
         60 wins 587 v4",
    );
}

#[test]
fn no_ipv6_address_is_an_answer_too_and_ends_the_wait() {
    dial(fails(30), gives(20, V4), &[]).reads(
        "30 connect 587 v4
         70 connected 587 v4
         70 wins 587 v4",
    );
}

#[test]
fn which_family_goes_first_follows_rfc_6724() {
    let first = |v6: Option<&str>, v4: Option<&str>| {
        let sources = [v6, v4].map(|text| text.map(|text| text.parse().unwrap()));
        let world = World { sources, ..world(gives(0, V6), gives(0, V4), &[]) };
        let history = world.dial(&Plan::submission(), &Config::default());
        history.report.attempts[0].family.unwrap().name()
    };
    let v4 = Some("198.51.100.2");
    assert_eq!(first(Some("2001:db8:1::2"), v4), "ipv6", "higher precedence");
    assert_eq!(first(None, v4), "ipv4", "unusable destinations go last");
    assert_eq!(first(Some("2001:db8:1::2"), None), "ipv6");
    assert_eq!(first(Some("fe80::2"), v4), "ipv4", "matching scope");
    assert_eq!(first(Some("fd00::2"), v4), "ipv4", "matching label");
    assert_eq!(first(Some("2002:c633:6402::2"), v4), "ipv4", "6to4 has a label of its own");
}

#[test]
fn the_caller_may_want_ipv4_first_and_it_is_waited_for_then() {
    let mut config = Config::default();
    config.families = Families::PreferIpv4;
    world(gives(0, V6), gives(49, V4), &[]).dial(&Plan::submission(), &config).reads(
        "49 connect 587 v4
         89 connected 587 v4
         89 wins 587 v4",
    );
}

#[test]
fn families_are_interleaved() {
    // > Whichever address family is first in the list should be followed by an address of the
    // > other address family. (RFC 8305 section 4)
    let v6b = "2001:db8:2::2".parse().unwrap();
    let v4b = "192.0.2.2".parse().unwrap();
    let all = [V6, v6b, V4, v4b].map(|address| (587, address, Silent));
    let mut config = Config::default();
    config.timeout = ms(800);
    let world = World::new(network(ROUND_TRIP, &[V6, v6b, V4, v4b], &all));
    world.dial(&Plan::submission(), &config).reads(
        "0 connect 587 v6
         250 connect 587 v4
         500 connect 587 v6b
         750 connect 587 v4b
         800 close 587 v6 timeout
         800 close 587 v4 timeout
         800 close 587 v6b timeout
         800 close 587 v4b timeout
         800 ends timeout",
    );
}

#[test]
fn an_address_that_is_answered_twice_counts_once() {
    let twice = Answer::Addresses { after: ms(0), list: vec![V4, V4] };
    let history = dial(fails(0), twice, &[(587, V4, Reset), (25, V4, Reset)]);
    history.reads(
        "0 connect 587 v4
         40 reset 587 v4
         40 connect 25 v4
         80 reset 25 v4
         80 ends exhausted",
    );
    assert_eq!(history.report.lookups[1].result, Ok(1));
}

#[test]
fn a_pending_look_up_neither_delays_the_next_service_nor_holds_a_connection() {
    dial(NEVER, gives(0, V4), &[(587, V4, Reset)]).reads(
        "50 connect 587 v4
         90 reset 587 v4
         90 connect 25 v4
         130 connected 25 v4
         130 wins 25 v4",
    );
}

#[test]
fn addresses_that_arrive_late_join_every_service_already_begun() {
    dial(gives(700, V6), gives(0, V4), &[(587, V4, Reset), (25, V4, Silent)]).reads(
        "50 connect 587 v4
         90 reset 587 v4
         90 connect 25 v4
         340 connect 25 v4
         700 connect 587 v6
         700 connect 25 v6
         740 connected 587 v6
         740 connected 25 v6
         740 close 25 v4 cancelled
         740 close 25 v4 cancelled
         740 close 25 v6 cancelled
         740 wins 587 v6",
    );
}

#[test]
fn a_late_address_keeps_the_attempt_delay() {
    let fates = [(587, V6, Silent), (587, V4, Open)];
    dial(gives(0, V6), gives(100, V4), &fates).reads(
        "0 connect 587 v6
         250 connect 587 v4
         290 connected 587 v4
         290 close 587 v6 cancelled
         290 wins 587 v4",
    );
}

#[test]
fn a_look_up_that_fails_after_attempts_began_changes_nothing() {
    for fates in [&[(587, V4, Silent)][..], &[(587, V4, Reset)], &[]] {
        let failed = dial(fails(60), gives(0, V4), fates);
        assert_eq!(failed.script(), dial(NEVER, gives(0, V4), fates).script());
        assert_eq!(failed.report.lookups[0].ended, Some(ms(60)));
    }
}

#[test]
fn with_nothing_live_the_dial_waits_for_a_pending_look_up() {
    let refused = [(587, V4, Reset), (25, V4, Reset)];
    dial(gives(5000, V6), gives(0, V4), &refused).reads(
        "50 connect 587 v4
         90 reset 587 v4
         90 connect 25 v4
         130 reset 25 v4
         5000 connect 587 v6
         5000 connect 25 v6
         5040 connected 587 v6
         5040 connected 25 v6
         5040 close 25 v6 cancelled
         5040 wins 587 v6",
    );
}

#[test]
fn the_dial_fails_when_nothing_is_live_and_no_look_up_pending() {
    let refused = [(587, V4, Reset), (25, V4, Reset)];
    dial(fails(5000), gives(0, V4), &refused).reads(
        "50 connect 587 v4
         90 reset 587 v4
         90 connect 25 v4
         130 reset 25 v4
         5000 ends exhausted",
    );
    dial(fails(0), fails(70), &[]).reads("70 ends unresolved");
    dial(NEVER, fails(70), &[]).reads("30000 ends timeout");
}

#[test]
fn a_first_service_of_one_family_waits_the_resolution_delay_for_that_family() {
    let mew = |v4| world(gives(0, V6), v4, &[]).dial(&Plan::mew(), &Config::default());
    mew(gives(49, V4)).reads(
        "49 connect 587 v4
         89 connected 587 v4
         89 wins 587 v4",
    );
    mew(NEVER).reads(
        "50 connect 25 v6
         90 connected 25 v6
         90 wins 25 v6",
    );
}
