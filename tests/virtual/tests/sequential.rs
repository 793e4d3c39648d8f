//! Sequential dials, in virtual time: for a user who wants no SYN at a later port that was not needed.
//!
//! The lines of a story are: milliseconds, what happened, the port, and the address as `v6` or
//! `v4`. Every port that has no fate here is open.

use std::net::IpAddr;
use std::time::Duration;

use mailport::{Config, Patience, Plan};
use mailport_lab::Fate::{self, DropFirst, Reset, Silent};
use mailport_lab::scenario::{ROUND_TRIP, V4, V6, network};
use mailport_lab::world::{History, World};

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn world(addresses: &[IpAddr], fates: &[(u16, IpAddr, Fate)]) -> World {
    World::new(network(ROUND_TRIP, addresses, fates))
}

fn sequential(world: &World) -> History {
    world.dial(&Plan::submission().sequential(), &Config::default())
}

#[test]
fn sends_no_syn_to_the_next_service_before_every_attempt_has_failed_or_is_overdue() {
    sequential(&world(&[V6, V4], &[(587, V6, Reset), (587, V4, Silent)])).reads(
        "0 connect 587 v6
         40 reset 587 v6
         40 connect 587 v4
         290 connect 25 v6
         330 connected 25 v6
         330 close 587 v4 timeout
         330 wins 25 v6",
    );
    sequential(&world(&[V4], &[(587, V4, DropFirst(1))])).reads(
        "0 connect 587 v4
         250 connect 587 v4
         1040 connected 587 v4
         1040 close 587 v4 cancelled
         1040 wins 587 v4",
    );
}

#[test]
fn keeps_silent_attempts_in_the_race() {
    let far = network(ms(800), &[V4], &[(587, V4, DropFirst(1))]);
    sequential(&World::new(far)).reads(
        "0 connect 587 v4
         250 connect 587 v4
         1300 connect 25 v4
         1550 connect 25 v4
         1800 connected 587 v4
         1800 close 587 v4 cancelled
         1800 close 25 v4 cancelled
         1800 close 25 v4 cancelled
         1800 wins 587 v4",
    );
}

#[test]
fn is_the_plans_or_the_callers_choice() {
    let world = world(&[V6, V4], &[(587, V6, Silent), (587, V4, Silent)]);
    let by_plan = world.dial(&Plan::submission().sequential(), &Config::default());
    assert_eq!(by_plan.script(), sequential(&world).script());
}

#[test]
fn waits_as_long_as_the_patience_that_the_caller_sets() {
    let mut hurried = Config::default();
    hurried.patience = Patience::Fixed(ms(700));
    world(&[V4], &[(587, V4, Silent)]).dial(&Plan::submission().sequential(), &hurried).reads(
        "0 connect 587 v4
         250 connect 587 v4
         700 connect 25 v4
         740 connected 25 v4
         740 close 587 v4 timeout
         740 close 587 v4 timeout
         740 wins 25 v4",
    );
}
