//! The rules of a dial, one after the other, in virtual time.
//!
//! The lines of a story are: milliseconds, what happened, the port, and the address as `v6` or
//! `v4`, where `v6b` is the second one. Every port that has no fate here is open.
#![allow(clippy::unwrap_used, reason = "what helps a test may fail like one")]

use std::net::IpAddr;
use std::time::Duration;

use mailport::{Config, Patience, Plan};
use mailport_lab::Fate::{self, DropFirst, Icmp, Reset, Silent};
use mailport_lab::scenario::{ROUND_TRIP, V4, V6, network};
use mailport_lab::world::{History, Kernel, Names, What, World};

const V6B: IpAddr = IpAddr::V6(std::net::Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 2));
const V4B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));
const V4C: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 3));
const SOFT_V6: Fate = Icmp { kind: 1, code: 3 };
const SOFT_V4: Fate = Icmp { kind: 3, code: 1 };
const HARD_V4: Fate = Icmp { kind: 3, code: 13 };

type Fates<'a> = &'a [(u16, IpAddr, Fate)];

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn world(addresses: &[IpAddr], fates: Fates) -> World {
    World::new(network(ROUND_TRIP, addresses, fates))
}

fn far_world(round_trip: u64, addresses: &[IpAddr], fates: Fates) -> World {
    World::new(network(ms(round_trip), addresses, fates))
}

fn until(deadline: u64) -> Config {
    let mut config = Config::default();
    config.timeout = ms(deadline);
    config
}

fn run(world: &World) -> History {
    world.dial(&Plan::submission(), &Config::default())
}

/// 587 and nothing else.
fn alone(world: &World) -> History {
    world.dial(&"587:starttls".parse().unwrap(), &Config::default())
}

mod addresses {
    use super::*;

    #[test]
    fn a_failed_attempt_starts_the_next_candidate_at_once() {
        alone(&world(&[V4, V4B], &[(587, V4, Reset)])).reads(
            "0 connect 587 v4
             40 reset 587 v4
             40 connect 587 v4b
             80 connected 587 v4b
             80 wins 587 v4b",
        );
    }

    #[test]
    fn a_silent_attempt_starts_the_next_candidate_after_the_attempt_delay_and_stays() {
        alone(&world(&[V6, V4], &[(587, V6, DropFirst(1)), (587, V4, Silent)])).reads(
            "0 connect 587 v6
             250 connect 587 v4
             500 connect 587 v6
             750 connect 587 v4
             1040 connected 587 v6
             1040 close 587 v4 cancelled
             1040 close 587 v6 cancelled
             1040 close 587 v4 cancelled
             1040 wins 587 v6",
        );
    }

    #[test]
    fn any_failure_starts_the_next_candidate_not_only_that_of_the_latest() {
        let fates = [(587, V6, Reset), (587, V4, Silent)];
        alone(&far_world(300, &[V6, V6B, V4], &fates)).reads(
            "0 connect 587 v6
             250 connect 587 v4
             300 reset 587 v6
             300 connect 587 v6b
             600 connected 587 v6b
             600 close 587 v4 timeout
             600 wins 587 v6b",
        );
    }

    /// Eight addresses over IPv4, all silent.
    fn eight() -> World {
        let addresses: Vec<IpAddr> = (1..=8).map(|host| IpAddr::from([192, 0, 2, host])).collect();
        let fates: Vec<_> = addresses.iter().map(|&address| (587, address, Silent)).collect();
        world(&addresses, &fates)
    }

    fn starts_and_closes(history: &History) -> Vec<String> {
        let script = history.script();
        let from = script.lines().skip_while(|line| !line.starts_with("1250"));
        from.map(str::to_owned).collect()
    }

    #[test]
    fn a_start_that_is_due_while_six_are_open_closes_the_longest_silent_overdue_one() {
        let plan = "587:starttls".parse().unwrap();
        let history = eight().dial(&plan, &until(1760));
        assert_eq!(
            starts_and_closes(&history)[..5],
            [
                "1250 connect 587 v4f",
                "1500 close 587 v4 timeout",
                "1500 connect 587 v4g",
                "1750 close 587 v4b timeout",
                "1750 connect 587 v4h",
            ]
        );
        assert!(history.open().iter().all(|(_, open)| open.len() <= 6));
    }

    #[test]
    fn a_start_that_is_due_while_six_are_open_waits_where_none_is_overdue() {
        let plan = "587:starttls".parse().unwrap();
        let mut patient = until(3300);
        patient.patience = Patience::Fixed(ms(3000));
        let history = eight().dial(&plan, &patient);
        assert_eq!(
            starts_and_closes(&history)[..5],
            [
                "1250 connect 587 v4f",
                "3000 close 587 v4 timeout",
                "3000 connect 587 v4g",
                "3250 close 587 v4b timeout",
                "3250 connect 587 v4h",
            ]
        );
    }

    #[test]
    fn no_service_closes_the_attempts_of_another() {
        let addresses: Vec<IpAddr> = (1..=6).map(|host| IpAddr::from([192, 0, 2, host])).collect();
        let silent = |port| addresses.iter().map(move |&address| (port, address, Silent));
        let fates: Vec<_> = silent(587).chain(silent(25)).collect();
        let history = world(&addresses, &fates).dial(&Plan::submission(), &until(4000));
        assert_eq!(history.open().iter().map(|(_, open)| open.len()).max(), Some(12));
        let closed = history.log.iter().find(|entry| matches!(entry.what, What::Close { .. }));
        assert_eq!(closed.unwrap().at, ms(4000));
    }
}

mod the_next_service {
    use super::*;

    #[test]
    fn starts_when_one_was_refused_though_another_is_live() {
        run(&world(&[V6, V4], &[(587, V6, Reset), (587, V4, Silent)])).reads(
            "0 connect 587 v6
             40 reset 587 v6
             40 connect 587 v4
             40 connect 25 v6
             80 connected 25 v6
             290 close 587 v4 timeout
             290 wins 25 v6",
        );
    }

    #[test]
    fn starts_no_sooner_than_every_candidate_has_been_started() {
        let fates = [(587, V4, Silent), (587, V4B, HARD_V4), (587, V4C, Silent)];
        let addresses = [V4, V4B, V4C];
        let history = run(&far_world(100, &addresses, &fates));
        assert_eq!(
            history.connects().map(|(at, to)| (at, to.port(), to.ip())).collect::<Vec<_>>(),
            [(ms(0), 587, V4), (ms(250), 587, V4B), (ms(350), 587, V4C), (ms(350), 25, V4),]
        );
        let silent = addresses.map(|address| (587, address, Silent));
        let history = run(&world(&addresses, &silent));
        assert_eq!(history.connects().nth(3).unwrap(), (ms(500 + 250), (V4, 25).into()));
    }

    #[test]
    fn starts_when_all_have_failed_and_a_soft_error_is_a_failure_like_any_other() {
        run(&world(&[V4], &[(587, V4, SOFT_V4)])).reads(
            "0 connect 587 v4
             40 icmp-soft 587 v4
             40 connect 25 v4
             80 connected 25 v4
             80 wins 25 v4",
        );
        let mut gives_up = world(&[V4], &[(587, V4, Silent)]);
        gives_up.kernel = Kernel { gives_up: ms(200), ..Kernel::default() };
        run(&gives_up).reads(
            "0 connect 587 v4
             200 timeout 587 v4
             200 connect 25 v4
             240 connected 25 v4
             240 wins 25 v4",
        );
    }

    #[test]
    fn does_not_start_for_a_soft_error_alone_which_is_not_a_refusal() {
        run(&world(&[V6, V4], &[(587, V6, SOFT_V6), (587, V4, Silent)])).reads(
            "0 connect 587 v6
             40 icmp-soft 587 v6
             40 connect 587 v4
             290 connect 587 v4
             540 connect 25 v6
             580 connected 25 v6
             580 connect 587 v4
             720 close 587 v4 timeout
             720 close 587 v4 timeout
             720 close 587 v4 timeout
             720 wins 25 v6",
        );
    }

    #[test]
    fn starts_when_all_live_ones_have_been_silent_for_the_port_delay() {
        run(&world(&[V6, V4], &[(587, V6, Silent), (587, V4, SOFT_V4)])).reads(
            "0 connect 587 v6
             250 connect 587 v4
             290 icmp-soft 587 v4
             500 connect 25 v6
             500 connect 587 v6
             540 connected 25 v6
             640 close 587 v6 timeout
             640 close 587 v6 timeout
             640 wins 25 v6",
        );
    }

    #[test]
    fn is_begun_by_the_last_begun_one_and_not_by_those_before() {
        let plan: Plan = "465:implicit,587:starttls,25:starttls".parse().unwrap();
        let fates = [(465, V4, Silent), (587, V4, Silent)];
        world(&[V4], &fates).dial(&plan, &Config::default()).reads(
            "0 connect 465 v4
             250 connect 465 v4
             500 connect 587 v4
             750 connect 587 v4
             1000 connect 25 v4
             1040 connected 25 v4
             1040 connect 465 v4
             1050 connect 587 v4
             1190 close 465 v4 timeout
             1190 close 465 v4 timeout
             1190 close 587 v4 timeout
             1190 close 587 v4 timeout
             1190 close 465 v4 timeout
             1190 close 587 v4 timeout
             1190 wins 25 v4",
        );
    }

    #[test]
    fn every_start_says_why() {
        let plan: Plan = "465/ipv6:implicit,587:starttls,25:starttls".parse().unwrap();
        let fates = [(587, V4, Silent), (587, V4B, Reset), (25, V4, Silent), (25, V4B, Silent)];
        let history = world(&[V4, V4B, V4C], &fates).dial(&plan, &until(900));
        let reasons: Vec<String> =
            history.report.attempts.iter().map(|a| a.reason.to_string()).collect();
        assert_eq!(reasons[0], "465 over IPv6 has no address");
        assert_eq!(
            reasons[1..],
            [
                "silent for the attempt delay",
                "an attempt of this service failed",
                "587 was refused"
            ]
        );
    }
}

mod families {
    use super::*;

    #[test]
    fn one_that_has_answered_goes_before_one_that_was_silent_for_the_attempt_delay() {
        let fates = [(587, V6, Silent), (587, V4, Reset), (587, V4B, HARD_V4), (587, V4C, Reset)];
        let history = run(&world(&[V6, V6B, V4, V4B, V4C], &fates));
        assert_eq!(
            history.connects().map(|(at, to)| (at, to.ip())).collect::<Vec<_>>(),
            [
                (ms(0), V6),
                (ms(250), V4),
                (ms(290), V4B),
                (ms(330), V4C),
                (ms(370), V6B),
                (ms(370), V4)
            ]
        );
    }

    #[test]
    fn one_that_has_answered_goes_before_one_that_failed_softly() {
        let fates = [(587, V6, SOFT_V6), (587, V4, Reset), (587, V6B, SOFT_V6), (587, V4B, Reset)];
        let history = run(&world(&[V6, V6B, V4, V4B], &fates));
        assert_eq!(
            history.connects().map(|(at, to)| (at, to.port(), to.ip())).collect::<Vec<_>>()[..4],
            [(ms(0), 587, V6), (ms(40), 587, V4), (ms(80), 587, V4B), (ms(120), 587, V6B)]
        );
    }

    #[test]
    fn one_that_failed_softly_keeps_its_turn_where_the_other_has_not_answered() {
        let fates = [(587, V6, SOFT_V6), (587, V4, SOFT_V4)];
        let history = run(&world(&[V6, V6B, V4, V4B], &fates));
        assert_eq!(history.connects().nth(2).unwrap(), (ms(80), (V6B, 587).into()));
    }

    #[test]
    fn one_that_was_silent_for_less_than_the_attempt_delay_keeps_its_turn() {
        let mut world = world(&[V6, V4], &[(587, V6, Silent), (587, V4, Reset)]);
        world.names = Names::after(&[V6, V4], ms(110), ms(0));
        run(&world).reads(
            "100 connect 587 v4
             140 reset 587 v4
             140 connect 587 v6
             140 connect 25 v6
             180 connected 25 v6
             390 close 587 v6 timeout
             390 wins 25 v6",
        );
    }

    #[test]
    fn what_one_service_has_learned_counts_for_the_next() {
        run(&world(&[V6, V4], &[(587, V6, Silent), (25, V6, Silent), (587, V4, Reset)])).reads(
            "0 connect 587 v6
             250 connect 587 v4
             290 reset 587 v4
             290 connect 25 v4
             330 connected 25 v4
             330 close 587 v6 timeout
             330 wins 25 v4",
        );
    }
}

mod local_resource_error {
    use mailport::outcome::Errno;

    use super::*;

    const ALL: [i32; 6] = [
        libc::EMFILE,
        libc::ENFILE,
        libc::ENOBUFS,
        libc::ENOMEM,
        libc::EADDRNOTAVAIL,
        libc::ENOSPC,
    ];

    fn troubled(addresses: &[IpAddr], fates: Fates, at: (IpAddr, u16), errno: i32) -> History {
        let mut world = world(addresses, fates);
        world.troubles.insert(at.into(), Errno(errno));
        run(&world)
    }

    #[test]
    fn never_start_the_next_service_and_end_a_dial_with_nothing_live() {
        for errno in ALL {
            troubled(&[V4], &[], (V4, 587), errno).reads(
                "0 connect 587 v4
                 0 local 587 v4
                 0 ends localresourceerror",
            );
        }
    }

    #[test]
    fn end_a_dial_as_such_on_its_last_service_too() {
        troubled(&[V4], &[(587, V4, Reset)], (V4, 25), libc::EMFILE).reads(
            "0 connect 587 v4
             40 reset 587 v4
             40 connect 25 v4
             40 local 25 v4
             40 ends localresourceerror",
        );
    }

    #[test]
    fn are_not_all_that_is_local_for_no_route_is_news_of_the_service() {
        let mut world = world(&[V4], &[]);
        world.sources = [None, None];
        run(&world).reads(
            "0 connect 587 v4
             0 local 587 v4
             0 connect 25 v4
             0 local 25 v4
             0 ends exhausted",
        );
    }

    #[test]
    fn do_not_count_among_the_failures_that_start_the_next_service() {
        troubled(&[V6, V4], &[(587, V4, SOFT_V4)], (V6, 587), libc::EMFILE).reads(
            "0 connect 587 v6
             0 local 587 v6
             0 connect 587 v4
             40 icmp-soft 587 v4
             40 ends localresourceerror",
        );
    }

    #[test]
    fn leave_the_other_reasons_for_the_next_service_alone() {
        troubled(&[V6, V4], &[(587, V4, Reset)], (V6, 587), libc::EMFILE).reads(
            "0 connect 587 v6
             0 local 587 v6
             0 connect 587 v4
             40 reset 587 v4
             40 connect 25 v6
             80 connected 25 v6
             80 wins 25 v6",
        );
    }

    #[test]
    fn of_a_later_service_do_not_end_a_dial_that_has_a_live_attempt() {
        troubled(&[V4], &[(587, V4, DropFirst(2))], (V4, 25), libc::EMFILE).reads(
            "0 connect 587 v4
             250 connect 587 v4
             500 connect 25 v4
             500 local 25 v4
             2040 connected 587 v4
             2040 close 587 v4 timeout
             2040 wins 587 v4",
        );
    }
}
