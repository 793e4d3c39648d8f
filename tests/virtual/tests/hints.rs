//! What a dial makes of hints, and what it teaches, in virtual time.
//!
//! The lines of a story are: milliseconds, what happened, the port, and the address as `v6` or
//! `v4`. Every port that has no fate here is open.
#![allow(clippy::unwrap_used, reason = "what helps a test may fail like one")]

use std::net::IpAddr;
use std::time::Duration;

use mailport::Family::{self, Ipv4, Ipv6};
use mailport::Outcome::{self, Closed, Connected, IcmpSoft, Reset as WasReset, Timeout};
use mailport::machine::Observation;
use mailport::{Cleartext, Config, GreetingWait, Plan, Service};
use mailport_lab::Fate::{self, AcceptThenClose, DropFirst, Icmp, Reset, Silent};
use mailport_lab::scenario::{ROUND_TRIP, V4, V6, network};
use mailport_lab::world::{Answer, History, Kernel, World};

const SOFT: Fate = Icmp { kind: 3, code: 1 };

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn service(port: u16) -> Service {
    let all = "465:implicit,587:starttls,25:starttls";
    let plan = Plan::parse(all, Cleartext::Refuse).unwrap();
    *plan.services().iter().find(|service| service.port() == port).unwrap()
}

fn world(addresses: &[IpAddr], fates: &[(u16, IpAddr, Fate)], bad: &[(u16, Family)]) -> World {
    let mut world = World::new(network(ROUND_TRIP, addresses, fates));
    world.hints.bad = bad.iter().map(|&(port, family)| (service(port), Some(family))).collect();
    world
}

fn config(change: impl FnOnce(&mut Config)) -> Config {
    let mut config = Config::default();
    change(&mut config);
    config
}

fn run(world: &World) -> History {
    world.dial(&Plan::submission(), &Config::default())
}

mod a_service_that_is_remembered_as_bad {
    use super::*;

    #[test]
    fn is_tried_all_the_same_and_begins_the_next_with_itself() {
        let history = run(&world(&[V4], &[(587, V4, Silent)], &[(587, Ipv4)]));
        history.reads(
            "0 connect 587 v4
             0 connect 25 v4
             40 connected 25 v4
             40 close 587 v4 cancelled
             40 wins 25 v4",
        );
        assert_eq!(history.report.attempts[1].reason.to_string(), "587 is remembered as bad");
        assert_eq!(reported(&history), [(25, Some(Ipv4), Connected)], "and it teaches nothing");
        let summary = history.report.summary();
        assert_eq!(summary, "587 is remembered as bad; connected to 25 over IPv4 in 40 ms");
    }

    #[test]
    fn wins_where_it_has_come_back() {
        let history = run(&world(&[V6, V4], &[], &[(587, Ipv6), (587, Ipv4)]));
        assert_eq!(history.winner().unwrap().port(), 587);
        assert_eq!(history.report.summary(), "connected to 587 over IPv6 in 40 ms");
        assert_eq!(reported(&history)[0], (587, Some(Ipv6), Connected));
    }

    #[test]
    fn over_one_family_only_goes_first_over_the_other() {
        let history = run(&world(&[V6, V4], &[], &[(587, Ipv6)]));
        history.reads(
            "0 connect 587 v4
             40 connected 587 v4
             40 wins 587 v4",
        );
        let mut no_route = world(&[V6, V4], &[(587, V4, Silent)], &[(587, Ipv4)]);
        no_route.sources[0] = None;
        assert_eq!(run(&no_route).winner().unwrap().port(), 25);
    }

    #[test]
    fn has_its_chance_over_a_family_that_is_not_known_yet() {
        // What a first dial teaches where the A record comes a moment late.
        let mut late = world(&[V6, V4], &[(587, V6, Reset)], &[(587, Ipv6)]);
        late.names.v4 = Answer::Addresses { after: ms(101), list: vec![V4] };
        for skip in [false, true] {
            let history = late.dial(&Plan::submission(), &config(|c| c.try_failed_last = skip));
            assert_eq!(history.winner().unwrap().port(), 587, "{}", history.script());
        }
    }

    #[test]
    fn is_not_saved_by_a_family_without_a_route() {
        for fate in [Silent, Reset, SOFT] {
            let mut v4_only = world(&[V6, V4], &[(587, V4, fate)], &[(587, Ipv4)]);
            v4_only.sources[0] = None;
            let history = run(&v4_only);
            assert_eq!(history.winner().unwrap().port(), 25);
            assert_eq!(history.report.elapsed, ROUND_TRIP, "{}", history.script());
        }
    }

    #[test]
    fn is_waited_for_as_ever_against_one_of_weaker_tls() {
        let plan = Plan::parse("587:starttls,25:cleartext", Cleartext::Allow).unwrap();
        let lossy = world(&[V4], &[(587, V4, DropFirst(1))], &[(587, Ipv4)]);
        lossy.dial(&plan, &config(|c| c.port_delay = ms(1000))).reads(
            "0 connect 587 v4
             250 connect 587 v4
             1000 connect 25 v4
             1040 connected 587 v4
             1040 connected 25 v4
             1040 close 587 v4 cancelled
             1040 close 25 v4 cancelled
             1040 wins 587 v4",
        );
        let plan = Plan::parse("465:implicit,587:starttls,25:cleartext", Cleartext::Allow).unwrap();
        let fates = [(465, V4, DropFirst(1)), (587, V4, Reset)];
        let plan = plan.sequential();
        let history = world(&[V4], &fates, &[(465, Ipv4)]).dial(&plan, &Config::default());
        assert_eq!(history.winner().unwrap().port(), 465);
        assert!(history.connects().all(|(_, to)| to.port() != 25), "{}", history.script());
    }

    #[test]
    fn is_overdue_from_its_start_in_a_sequential_dial() {
        world(&[V4], &[(587, V4, Silent)], &[(587, Ipv4)])
            .dial(&Plan::submission().sequential(), &Config::default())
            .reads(
                "0 connect 587 v4
             0 connect 25 v4
             40 connected 25 v4
             40 close 587 v4 cancelled
             40 wins 25 v4",
            );
    }

    #[test]
    fn does_not_hurry_a_dial_with_a_greeting_wait() {
        let greeting_wait = config(|c| {
            c.greeting_wait = GreetingWait::For(ms(5000));
            c.ask = true;
        });
        let lossy = world(&[V4], &[(587, V4, DropFirst(1))], &[(587, Ipv4)]);
        let history = lossy.dial(&Plan::submission(), &greeting_wait);
        assert!(!history.script().contains("asks"), "{}", history.script());
        assert_eq!(history.winner().unwrap().port(), 587);
    }
}

mod to_skip {
    use super::*;

    fn first(plan: &str, bad: &[(u16, Family)], change: impl FnOnce(&mut Config)) -> u16 {
        let plan = Plan::parse(plan, Cleartext::Allow).unwrap();
        let config = config(|c| {
            c.try_failed_last = true;
            change(c);
        });
        let history = world(&[V4], &[], bad).dial(&plan, &config);
        history.connects().next().unwrap().1.port()
    }

    #[test]
    fn tries_what_is_bad_last() {
        assert_eq!(first("submission", &[(587, Ipv4)], |_| ()), 25);
        assert_eq!(first("submission", &[(587, Ipv4), (25, Ipv4)], |_| ()), 587);
        let three = "465:implicit,587:starttls,25:starttls";
        assert_eq!(first(three, &[(465, Ipv4), (587, Ipv4)], |_| ()), 25);
        assert_eq!(first(three, &[(465, Ipv4)], |_| ()), 587);
    }

    #[test]
    fn never_puts_weaker_tls_first() {
        assert_eq!(first("587:starttls,25:cleartext", &[(587, Ipv4)], |_| ()), 587);
    }

    #[test]
    fn changes_nothing_where_the_user_is_asked_or_services_go_one_after_the_other() {
        assert_eq!(first("submission", &[(587, Ipv4)], |c| c.ask = true), 587);
        assert_eq!(
            first("submission", &[(587, Ipv4)], |c| c.greeting_wait = GreetingWait::For(ms(100))),
            587
        );
    }

    #[test]
    fn still_comes_to_the_service_that_was_put_last() {
        let config = config(|c| c.try_failed_last = true);
        let filtered = world(&[V4], &[(25, V4, Reset)], &[(587, Ipv4)]);
        assert_eq!(filtered.dial(&Plan::submission(), &config).winner().unwrap().port(), 587);
    }
}

#[test]
fn the_family_that_worked_goes_first() {
    let mut world = world(&[V6, V4], &[], &[]);
    world.hints.family = Some(Ipv4);
    world.names.v6 = Answer::Addresses { after: ms(30), list: vec![V6] };
    run(&world).reads(
        "30 connect 587 v4
         70 connected 587 v4
         70 wins 587 v4",
    );
}

mod the_attempt_delay {
    use super::*;

    /// When the second address is tried, where the round trip of a target over IPv6 is known.
    fn after(round_trip: u64, over: Family, config: &Config) -> Duration {
        let mut world = world(&[V6, V4], &[(587, V6, Silent), (25, V6, Silent)], &[]);
        world.hints.round_trips = vec![(service(25), over, ms(round_trip))];
        let history = world.dial(&Plan::submission(), config);
        history.connects().nth(1).unwrap().0
    }

    #[test]
    fn is_twice_the_known_round_trip_between_100_and_250_ms() {
        let known = [(1, 100), (50, 100), (60, 120), (90, 180), (125, 250), (900, 250)];
        for (round_trip, delay) in known {
            assert_eq!(after(round_trip, Ipv6, &Config::default()), ms(delay), "{round_trip}");
        }
        assert_eq!(after(60, Ipv4, &Config::default()), ms(250), "of another family");
    }

    #[test]
    fn that_the_caller_sets_is_used_as_it_is() {
        assert_eq!(after(60, Ipv6, &config(|c| c.attempt_delay = ms(200))), ms(200));
    }

    #[test]
    fn of_rules_5_and_6_stays_250_ms() {
        // Rule 6: another candidate of the service was refused, so the silent one is overdue.
        let mut world = world(&[V6, V4], &[(587, V6, Silent), (587, V4, Reset)], &[]);
        world.hints.round_trips = vec![(service(587), Ipv6, ms(60))];
        run(&world).reads(
            "0 connect 587 v6
             120 connect 587 v4
             160 reset 587 v4
             160 connect 25 v6
             200 connected 25 v6
             250 close 587 v6 timeout
             250 wins 25 v6",
        );
    }
}

/// Port, family and outcome of each observation.
fn reported(history: &History) -> Vec<(u16, Option<Family>, Outcome)> {
    let reported = |observation: &Observation| {
        (observation.service.port(), observation.family, observation.outcome)
    };
    history.observations.iter().map(reported).collect()
}

mod a_dial_teaches {
    use super::*;

    #[test]
    fn what_was_refused_and_what_was_silent_for_the_whole_patience() {
        let fates = [(587, V6, Reset), (587, V4, Silent)];
        let history = run(&world(&[V6, V4], &fates, &[]));
        assert_eq!(
            reported(&history),
            [(587, Some(Ipv6), WasReset), (587, Some(Ipv4), Timeout), (25, Some(Ipv6), Connected)]
        );
        assert_eq!(history.observations[2].round_trip, Some(ROUND_TRIP));
    }

    #[test]
    fn silence_that_only_the_proof_has_shown_provisionally() {
        let is_provisional = |history: &History| {
            let silent = history.observations.iter().find(|o| o.outcome == Timeout);
            silent.unwrap().provisional
        };
        let silent = world(&[V4], &[(587, V4, Silent)], &[]);
        assert!(is_provisional(&run(&silent)));
        let by_patience = config(|c| c.port_delay = ms(1000));
        assert!(!is_provisional(&silent.dial(&Plan::submission(), &by_patience)));
        let mut known = silent;
        known.hints.known = vec![Plan::submission().services()[0]];
        assert!(!is_provisional(&run(&known)));
    }

    #[test]
    fn nothing_of_what_was_still_in_time() {
        let history = run(&world(&[V6, V4], &[(587, V6, Silent)], &[]));
        assert_eq!(reported(&history), [(587, Some(Ipv4), Connected)]);
    }

    #[test]
    fn nothing_of_what_only_the_deadline_cut_short() {
        let config = config(|c| c.timeout = ms(600));
        let history = world(&[V4], &[(587, V4, Silent)], &[]).dial(&Plan::submission(), &config);
        assert_eq!(reported(&history), [(25, Some(Ipv4), Connected)]);
    }

    #[test]
    fn the_kernels_giving_up_only_after_the_patience() {
        let by_patience = config(|c| c.port_delay = ms(1000));
        let run = |world: &World| world.dial(&Plan::submission(), &by_patience);
        for (gives_up, taught) in [(500, 1), (1040, 1)] {
            let mut world = world(&[V4], &[(587, V4, Silent)], &[]);
            world.kernel = Kernel { gives_up: ms(gives_up), ..Kernel::default() };
            assert_eq!(run(&world).observations.len(), taught);
        }
        let mut world = world(&[V4], &[(587, V4, Silent), (25, V4, DropFirst(1))], &[]);
        world.kernel = Kernel { gives_up: ms(1350), ..Kernel::default() };
        assert_eq!(reported(&run(&world))[0], (587, Some(Ipv4), Timeout));
    }

    #[test]
    fn soft_errors_only_of_a_service_that_failed_altogether() {
        let all =
            run(&world(&[V6, V4], &[(587, V6, Icmp { kind: 1, code: 3 }), (587, V4, SOFT)], &[]));
        assert_eq!(
            reported(&all),
            [(587, Some(Ipv6), IcmpSoft), (587, Some(Ipv4), IcmpSoft), (25, Some(Ipv6), Connected)]
        );
        let one = run(&world(&[V6, V4], &[(587, V6, Icmp { kind: 1, code: 3 })], &[]));
        assert_eq!(reported(&one), [(587, Some(Ipv4), Connected)]);
    }

    #[test]
    fn a_connection_that_was_held_and_not_needed() {
        let early = config(|c| c.port_delay = ms(200));
        let history =
            world(&[V4], &[(587, V4, DropFirst(1))], &[]).dial(&Plan::submission(), &early);
        assert_eq!(reported(&history), [(587, Some(Ipv4), Connected), (25, Some(Ipv4), Connected)]);
    }

    #[test]
    fn a_connection_that_was_closed_while_held_as_bad() {
        let fates = [(587, V4, DropFirst(1)), (25, V4, AcceptThenClose(ms(10)))];
        let early = config(|c| c.port_delay = ms(200));
        let history = world(&[V4], &fates, &[]).dial(&Plan::submission(), &early);
        assert_eq!(reported(&history), [(587, Some(Ipv4), Connected), (25, Some(Ipv4), Closed)]);
    }

    #[test]
    fn of_a_service_over_a_family_one_thing() {
        let v4b: IpAddr = "192.0.2.2".parse().unwrap();
        let history = run(&world(&[V4, v4b], &[(587, V4, Reset)], &[]));
        // Both connect in one turn, for a refusal begins the next service.
        assert_eq!(reported(&history)[0], (587, Some(Ipv4), Connected), "one address is enough");
        assert_eq!(reported(&history).len(), 2);
    }

    #[test]
    fn what_was_closed_to_make_room() {
        let many: Vec<IpAddr> = (1..=8).map(|host| IpAddr::from([192, 0, 2, host])).collect();
        let fates: Vec<_> = many.iter().map(|&address| (587, address, Silent)).collect();
        let history = run(&world(&many, &fates, &[]));
        assert_eq!(reported(&history)[0], (587, Some(Ipv4), Timeout));
    }
}
