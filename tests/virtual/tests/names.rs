//! Rule 1: what the look-ups do to a dial, in virtual time.
//!
//! The lines of a story are: milliseconds, what happened, the port, and the address as `v6` or
//! `v4`, where `v6b` is the second one.
#![allow(clippy::unwrap_used, reason = "what helps a test may fail like one")]

use std::net::IpAddr;
use std::time::{Duration, Instant};

use mailport::machine::{Action, Event, Machine, Query};
use mailport::outcome::Errno;
use mailport::report::LookupError;
use mailport::{Config, Families, Family, Plan};
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
    fails_with(after, LookupError::TryAgain)
}

fn fails_with(after: u64, error: LookupError) -> Answer {
    Answer::Fails { after: ms(after), error }
}

fn none(after: u64) -> Answer {
    fails_with(after, LookupError::NoAddress)
}

fn world(v6: Answer, v4: Answer, fates: &[(u16, IpAddr, Fate)]) -> World {
    let network = network(ROUND_TRIP, &[V6, V4], fates);
    World { names: Names::new(v6, v4), ..World::new(network) }
}

fn dial(v6: Answer, v4: Answer, fates: &[(u16, IpAddr, Fate)]) -> History {
    world(v6, v4, fates).dial(&Plan::submission(), &Config::default())
}

/// A dial whose look-up of both families has another answer than the name service.
fn dial_by(authority: Answer, v6: Answer, v4: Answer, fates: &[(u16, IpAddr, Fate)]) -> History {
    let mut world = world(v6, v4, fates);
    world.names.authority = Some(authority);
    world.dial(&Plan::submission(), &Config::default())
}

/// The families and the queries of a dial.
fn asked(target: &str, plan: &Plan, config: &Config) -> (Vec<Family>, Vec<Query>) {
    let start = Instant::now();
    let mut machine = Machine::new(&target.parse().unwrap(), plan, config, start).unwrap();
    machine.handle_timeout(start);
    let actions = std::iter::from_fn(|| machine.poll_action());
    let queries = actions.map(|action| match action {
        Action::Resolve { query } => query,
        other => panic!("{other:?}"),
    });
    let queries = queries.collect();
    (machine.families().to_vec(), queries)
}

#[test]
fn one_look_up_asks_for_the_families_that_the_dial_can_use() {
    let (plan, mut config) = (Plan::submission(), Config::default());
    let one = |family| (vec![family], vec![Query::Authority]);
    let both = (Family::ALL.to_vec(), vec![Query::Authority]);
    assert_eq!(asked("mail.example.com", &plan, &config), both);
    assert_eq!(asked("192.0.2.1", &plan, &config), one(Family::Ipv4));
    assert_eq!(asked("2001:db8:2::1", &plan, &config), one(Family::Ipv6));
    let over_v4 = "587/ipv4:starttls,25/ipv4:starttls".parse().unwrap();
    assert_eq!(asked("mail.example.com", &over_v4, &config), one(Family::Ipv4));
    config.families = Families::Ipv6;
    assert_eq!(asked("mail.example.com", &plan, &config), one(Family::Ipv6));
}

#[test]
fn a_look_up_that_ends_within_the_hedge_is_the_only_one() {
    let history = dial(gives(99, V6), gives(10, V4), &[]);
    history.reads(
        "99 connect 587 v6
         139 connected 587 v6
         139 wins 587 v6",
    );
    assert!(!history.report.lookup.unwrap().hedged);
}

#[test]
fn one_family_that_is_slow_delays_the_other_by_at_most_the_hedge() {
    for slow in [NEVER, gives(3000, V6), fails(3000), none(3000)] {
        dial(slow, gives(10, V4), &[]).reads(
            "110 connect 587 v4
             150 connected 587 v4
             150 wins 587 v4",
        );
    }
    for slow in [NEVER, gives(3000, V4), fails(3000)] {
        dial(gives(10, V6), slow, &[]).reads(
            "110 connect 587 v6
             150 connected 587 v6
             150 wins 587 v6",
        );
    }
}

#[test]
fn of_hedges_that_come_together_ipv6_goes_first() {
    dial_by(NEVER, gives(10, V6), gives(10, V4), &[(587, V6, Silent)]).reads(
        "110 connect 587 v6
         360 connect 587 v4
         400 connected 587 v4
         400 close 587 v6 cancelled
         400 wins 587 v4",
    );
}

#[test]
fn a_temporary_failure_starts_the_hedges_at_once() {
    dial(fails(20), fails(20), &[]).reads("40 ends unresolved");
    dial_by(fails(20), none(5), gives(10, V4), &[]).reads(
        "30 connect 587 v4
         70 connected 587 v4
         70 wins 587 v4",
    );
}

#[test]
fn a_name_that_is_certain_not_to_exist_is_not_asked_for_again() {
    let history = dial_by(fails_with(20, LookupError::NoSuchName), NEVER, gives(0, V4), &[]);
    history.reads("20 ends unresolved");
    let summary = history.report.summary();
    assert!(summary.contains("no such name"), "{summary}");
    // Nor are the hedges of a slow one waited for.
    dial_by(none(120), NEVER, gives(50, V4), &[]).reads("120 ends unresolved");
}

#[test]
fn what_the_authority_does_not_have_is_closed_and_counts_no_more() {
    let v4b = "192.0.2.2".parse().unwrap();
    let fates = [(587, V4, Silent), (587, v4b, Silent)];
    // A line of the hosts file says 192.0.2.1, and the name service another address.
    let network = network(ROUND_TRIP, &[V4, v4b], &fates);
    let mut names = Names::new(none(10), gives(10, v4b));
    names.authority = Some(gives(300, V4));
    let world = World { names, ..World::new(network) };
    let history = world.dial(&Plan::submission(), &Config::default());
    assert_eq!(
        history.script().lines().take(3).collect::<Vec<_>>(),
        ["110 connect 587 v4", "300 close 587 v4 cancelled", "300 connect 587 v4"],
    );
    assert!(history.connects().skip(1).all(|(_, to)| to.ip() == V4), "{}", history.script());
    assert_eq!(history.report.lookup.as_ref().unwrap().result, Ok(vec![(V4, 0).into()]));
}

#[test]
fn a_refusal_at_an_address_of_another_host_begins_no_service_and_teaches_nothing() {
    let v4b = "192.0.2.2".parse().unwrap();
    let network = network(ROUND_TRIP, &[V4, v4b], &[(587, v4b, Reset), (25, v4b, Silent)]);
    let mut names = Names::new(none(10), gives(10, v4b));
    names.authority = Some(gives(200, V4));
    let world = World { names, ..World::new(network) };
    let history = world.dial(&Plan::submission(), &Config::default());
    assert_eq!(history.winner(), Some((V4, 587).into()), "{}", history.script());
    let connected = mailport::Outcome::Connected;
    assert!(history.observations.iter().all(|o| o.outcome == connected), "{history:?}");
}

#[test]
fn an_error_of_the_authority_changes_nothing_once_there_are_attempts() {
    for error in [LookupError::TryAgain, LookupError::NoSuchName] {
        let history = dial_by(fails_with(500, error), NEVER, gives(0, V4), &[(587, V4, Silent)]);
        assert_eq!(history.winner(), Some((V4, 25).into()), "{}", history.script());
    }
}

#[test]
fn where_look_ups_end_within_the_hedge_the_first_address_does_not_depend_on_their_order() {
    for (v6, v4) in [(0, 90), (90, 0), (50, 50)] {
        let history = dial(gives(v6, V6), gives(v4, V4), &[]);
        assert_eq!(history.connects().next().unwrap().1, (V6, 587).into());
    }
}

#[test]
fn the_order_of_families_is_the_callers_then_the_caches_then_the_authoritys() {
    use Family::{Ipv4, Ipv6};
    let mixed = |first, second| Answer::Addresses { after: ms(0), list: vec![first, second] };
    let first = |list: Answer, families, cached: Option<Family>| {
        let mut world = world(gives(0, V6), gives(0, V4), &[]);
        (world.names.authority, world.hints.family) = (Some(list), cached);
        let mut config = Config::default();
        config.families = families;
        world.dial(&Plan::submission(), &config).report.attempts[0].family.unwrap()
    };
    assert_eq!(first(mixed(V6, V4), Families::Any, None), Ipv6);
    assert_eq!(first(mixed(V4, V6), Families::Any, None), Ipv4);
    assert_eq!(first(mixed(V4, V6), Families::Any, Some(Ipv6)), Ipv6);
    assert_eq!(first(mixed(V4, V6), Families::PreferIpv6, Some(Ipv4)), Ipv6);
    assert_eq!(first(mixed(V6, V4), Families::PreferIpv4, None), Ipv4);
}

#[test]
fn on_a_machine_with_one_family_no_syn_goes_to_the_next_service() {
    let plans = [Plan::submission(), Plan::symmetric(), Plan::submission().sequential()];
    // Known together, or by hedges that come one after the other, the unreachable one first.
    let names = [
        Names::new(gives(0, V6), gives(0, V4)),
        Names::new(gives(0, V6), gives(150, V4)),
        Names { authority: Some(NEVER), ..Names::new(gives(0, V6), gives(40, V4)) },
    ];
    for (plan, names) in plans.iter().flat_map(|plan| names.iter().map(move |n| (plan, n))) {
        let mut world = World { names: names.clone(), ..world(NEVER, NEVER, &[]) };
        world.sources[0] = None;
        let history = world.dial(plan, &Config::default());
        assert_eq!(history.winner(), Some((V4, 587).into()), "{}", history.script());
        assert!(history.connects().all(|(_, to)| to.port() == 587), "{}", history.script());
    }
}

#[test]
fn a_lack_of_resources_in_the_look_up_is_a_local_error_with_its_number() {
    let lack = || fails_with(10, LookupError::LocalResourceError(Errno(libc::EMFILE)));
    let history = dial_by(lack(), NEVER, NEVER, &[]);
    history.reads("10 ends localresourceerror");
    assert_eq!(history.report.errno(), Some(Errno(libc::EMFILE)));
    let summary = history.report.summary();
    assert!(summary.contains("cannot look names up: EMFILE"), "{summary}");
}

#[test]
fn each_error_of_a_look_up_is_reported_in_words_of_its_own() {
    let said = |error| dial_by(fails_with(0, error), none(0), none(0), &[]).report.summary();
    let errors = [
        LookupError::NoSuchName,
        LookupError::NoAddress,
        LookupError::TryAgain,
        LookupError::LocalResourceError(Errno(libc::ENOMEM)),
    ];
    let said: std::collections::BTreeSet<String> = errors.into_iter().map(said).collect();
    assert_eq!(said.len(), 4, "{said:?}");
}

#[test]
fn a_mapped_address_is_the_ipv4_address_that_it_stands_for() {
    let start = Instant::now();
    let target = "mail.example.com".parse().unwrap();
    let mut machine =
        Machine::new(&target, &Plan::submission(), &Config::default(), start).unwrap();
    let addresses = Ok(vec!["[::ffff:192.0.2.1]:0".parse().unwrap(), (V4, 0).into()]);
    let (query, routes) = (Query::Authority, Vec::new());
    machine.handle(Event::Resolved { query, addresses, routes }, start);
    machine.handle_timeout(start);
    let report = machine.report();
    assert_eq!(report.lookup.unwrap().result, Ok(vec![(V4, 0).into()]));
    assert_eq!(report.attempts[0].address, Some((V4, 587).into()));
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
    let history = dial(none(0), twice, &[(587, V4, Reset), (25, V4, Reset)]);
    history.reads(
        "0 connect 587 v4
         40 reset 587 v4
         40 connect 25 v4
         80 reset 25 v4
         80 ends exhausted",
    );
    assert_eq!(history.report.lookup.unwrap().result, Ok(vec![(V4, 0).into()]));
}

#[test]
fn a_pending_look_up_neither_delays_the_next_service_nor_holds_a_connection() {
    dial(NEVER, gives(0, V4), &[(587, V4, Reset)]).reads(
        "100 connect 587 v4
         140 reset 587 v4
         140 connect 25 v4
         180 connected 25 v4
         180 wins 25 v4",
    );
}

#[test]
fn addresses_that_arrive_late_join_every_service_already_begun() {
    dial(gives(700, V6), gives(0, V4), &[(587, V4, Reset), (25, V4, Silent)]).reads(
        "100 connect 587 v4
         140 reset 587 v4
         140 connect 25 v4
         390 connect 25 v4
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
    dial(gives(0, V6), gives(200, V4), &fates).reads(
        "100 connect 587 v6
         350 connect 587 v4
         390 connected 587 v4
         390 close 587 v6 cancelled
         390 wins 587 v4",
    );
}

#[test]
fn with_nothing_live_the_dial_waits_for_a_pending_look_up() {
    let refused = [(587, V4, Reset), (25, V4, Reset)];
    dial(gives(5000, V6), gives(0, V4), &refused).reads(
        "100 connect 587 v4
         140 reset 587 v4
         140 connect 25 v4
         180 reset 25 v4
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
        "100 connect 587 v4
         140 reset 587 v4
         140 connect 25 v4
         180 reset 25 v4
         5000 ends exhausted",
    );
    dial(none(0), none(70), &[]).reads("70 ends unresolved");
    dial(NEVER, fails(70), &[]).reads("30000 ends timeout");
}

#[test]
fn a_service_whose_family_is_not_known_yet_is_not_passed_over() {
    let mew = |v4| world(gives(0, V6), v4, &[]).dial(&Plan::mew(), &Config::default());
    mew(gives(149, V4)).reads(
        "149 connect 587 v4
         189 connected 587 v4
         189 wins 587 v4",
    );
    // Once it is known to have none, the next one begins.
    mew(none(149)).reads(
        "149 connect 25 v6
         189 connected 25 v6
         189 wins 25 v6",
    );
}
