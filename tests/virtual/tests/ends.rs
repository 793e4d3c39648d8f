//! How a dial ends: which connection wins, what holds it back, and what is left when none does.
//!
//! The lines of a story are: milliseconds, what happened, the port, and the address as `v6` or
//! `v4`, where `v6b` is the second one. Every port that has no fate here is open.
#![allow(clippy::unwrap_used, reason = "what helps a test may fail like one")]

use std::net::IpAddr;
use std::time::Duration;

use mailport::{Config, Patience, Plan};
use mailport_lab::Fate::{self, AcceptThenClose, DropFirst, Reset, Silent};
use mailport_lab::scenario::{ROUND_TRIP, V4, V6, network};
use mailport_lab::world::{Answer, History, Kernel, Names, What, World};

const V4B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

type Fates<'a> = &'a [(u16, IpAddr, Fate)];

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn world(addresses: &[IpAddr], fates: Fates) -> World {
    World::new(network(ROUND_TRIP, addresses, fates))
}

fn far_world(round_trip: u64, fates: Fates) -> World {
    World::new(network(ms(round_trip), &[V4], fates))
}

fn config(change: impl FnOnce(&mut Config)) -> Config {
    let mut config = Config::default();
    change(&mut config);
    config
}

fn run(world: &World) -> History {
    world.dial(&Plan::submission(), &Config::default())
}

/// By the patience alone, as where the caller sets the port delay.
fn run_by_patience(world: &World) -> History {
    world.dial(&Plan::submission(), &config(|config| config.port_delay = ms(1000)))
}

mod a_held_connection {
    use super::*;

    #[test]
    fn wins_when_the_earlier_attempt_is_overdue() {
        run_by_patience(&world(&[V4], &[(587, V4, Silent)])).reads(
            "0 connect 587 v4
             250 connect 587 v4
             1000 connect 25 v4
             1040 connected 25 v4
             1300 close 587 v4 timeout
             1300 close 587 v4 timeout
             1300 wins 25 v4",
        );
    }

    #[test]
    fn wins_when_the_earlier_attempt_fails() {
        let mut world = world(&[V4], &[(587, V4, Silent)]);
        world.kernel = Kernel { gives_up: ms(1020), ..Kernel::default() };
        run_by_patience(&world).reads(
            "0 connect 587 v4
             250 connect 587 v4
             1000 connect 25 v4
             1020 timeout 587 v4
             1040 connected 25 v4
             1270 timeout 587 v4
             1270 wins 25 v4",
        );
    }

    #[test]
    fn is_held_for_a_second_and_two_round_trips_where_that_is_longer() {
        let wins = |round_trip| {
            run_by_patience(&far_world(round_trip, &[(587, V4, Silent)])).report.elapsed
        };
        assert_eq!(wins(150), ms(1300));
        assert_eq!(wins(151), ms(1302));
        assert_eq!(wins(500), ms(2000));
        assert_eq!(wins(1000), ms(3000));
    }

    #[test]
    fn is_held_as_long_as_the_caller_says_whatever_the_round_trip() {
        let wins = |patience| {
            let config = config(|c| c.patience = Patience::Fixed(ms(patience)));
            far_world(400, &[(587, V4, Silent)]).dial(&Plan::submission(), &config).report.elapsed
        };
        assert_eq!(wins(1700), ms(1700));
        assert_eq!(wins(1400), ms(1400));
        assert_eq!(wins(1300), ms(1400), "it cannot win before it is connected");
    }

    #[test]
    fn is_closed_unused_when_the_earlier_service_connects_meanwhile() {
        let config = config(|c| c.port_delay = ms(400));
        let world = world(&[V4], &[(587, V4, DropFirst(1))]);
        world.dial(&Plan::submission(), &config).reads(
            "0 connect 587 v4
             250 connect 587 v4
             400 connect 25 v4
             440 connected 25 v4
             1040 connected 587 v4
             1040 close 587 v4 cancelled
             1040 close 25 v4 cancelled
             1040 wins 587 v4",
        );
    }

    #[test]
    fn lets_nothing_of_its_service_or_a_later_one_start() {
        let plan: Plan = "587:starttls,25:starttls,2525:starttls".parse().unwrap();
        let config = config(|c| c.patience = Patience::Fixed(ms(5000)));
        let fates = [(587, V6, Silent), (587, V4, Silent)];
        world(&[V6, V4], &fates).dial(&plan, &config).reads(
            "0 connect 587 v6
             250 connect 587 v4
             500 connect 587 v6
             750 connect 587 v4
             1250 connect 25 v6
             1290 connected 25 v6
             5250 close 587 v6 timeout
             5250 close 587 v4 timeout
             5250 close 587 v6 timeout
             5250 close 587 v4 timeout
             5250 wins 25 v6",
        );
    }

    #[test]
    fn lets_an_earlier_service_start_what_it_still_has() {
        let network = network(ROUND_TRIP, &[V6, V4], &[(587, V4, Silent)]);
        let names = Names::new(
            Answer::Addresses { after: ms(1110), list: vec![V6] },
            Answer::Addresses { after: ms(0), list: vec![V4] },
        );
        run_by_patience(&World { names, ..World::new(network) }).reads(
            "100 connect 587 v4
             350 connect 587 v4
             1100 connect 25 v4
             1110 connect 587 v6
             1140 connected 25 v4
             1150 connected 587 v6
             1150 close 587 v4 cancelled
             1150 close 587 v4 cancelled
             1150 close 25 v4 cancelled
             1150 wins 587 v6",
        );
    }

    #[test]
    fn that_the_peer_closes_is_closed_and_the_dial_goes_on() {
        let fates = [(587, V4, Silent), (587, V4B, Silent), (25, V4, AcceptThenClose(ms(10)))];
        run(&world(&[V4, V4B], &fates)).reads(
            "0 connect 587 v4
             250 connect 587 v4b
             500 connect 25 v4
             500 connect 587 v4
             540 connected 25 v4
             540 connect 587 v4b
             590 closed 25 v4
             590 connect 25 v4b
             630 connected 25 v4b
             630 connect 587 v4
             640 connect 587 v4b
             780 close 587 v4 timeout
             780 close 587 v4b timeout
             780 close 587 v4 timeout
             780 close 587 v4b timeout
             780 close 587 v4 timeout
             780 close 587 v4b timeout
             780 wins 25 v4b",
        );
    }

    #[test]
    fn that_the_peer_closes_is_a_refusal_of_its_service() {
        let plan: Plan = "587:starttls,25:starttls,2525:starttls".parse().unwrap();
        let fates = [(587, V4, Silent), (25, V4, AcceptThenClose(ms(10)))];
        let history = world(&[V4], &fates).dial(&plan, &Config::default());
        assert_eq!(history.report.attempts[4].reason.to_string(), "25 was refused");
        history.reads(
            "0 connect 587 v4
             250 connect 587 v4
             500 connect 25 v4
             540 connected 25 v4
             540 connect 587 v4
             590 closed 25 v4
             590 connect 2525 v4
             630 connected 2525 v4
             1240 close 587 v4 timeout
             1240 close 587 v4 timeout
             1240 close 587 v4 timeout
             1240 wins 2525 v4",
        );
    }
}

mod events_of_one_turn {
    use super::*;

    #[test]
    fn are_all_taken_in_before_anything_is_decided() {
        run(&world(&[V6, V4], &[(587, V6, Reset), (587, V4, Reset)])).reads(
            "0 connect 587 v6
             40 reset 587 v6
             40 connect 587 v4
             40 connect 25 v6
             80 reset 587 v4
             80 connected 25 v6
             80 wins 25 v6",
        );
    }

    #[test]
    fn that_are_equal_go_to_the_earlier_service() {
        run_by_patience(&world(&[V4], &[(587, V4, DropFirst(1))])).reads(
            "0 connect 587 v4
             250 connect 587 v4
             1000 connect 25 v4
             1040 connected 587 v4
             1040 connected 25 v4
             1040 close 587 v4 cancelled
             1040 close 25 v4 cancelled
             1040 wins 587 v4",
        );
    }

    #[test]
    fn that_are_equal_go_to_the_earlier_address_of_one_service() {
        let config = config(|c| c.attempt_delay = ms(1000));
        let world = world(&[V6, V4], &[(587, V6, DropFirst(1))]);
        world.dial(&"587:starttls".parse().unwrap(), &config).reads(
            "0 connect 587 v6
             1000 connect 587 v4
             1040 connected 587 v6
             1040 connected 587 v4
             1040 close 587 v4 cancelled
             1040 wins 587 v6",
        );
    }
}

mod the_end {
    use super::*;

    #[test]
    fn at_the_deadline_gives_the_best_held_connection() {
        let config = config(|c| {
            c.port_delay = ms(300);
            c.timeout = ms(700);
        });
        world(&[V4], &[(587, V4, Silent)]).dial(&Plan::submission(), &config).reads(
            "0 connect 587 v4
             250 connect 587 v4
             300 connect 25 v4
             340 connected 25 v4
             700 close 587 v4 timeout
             700 close 587 v4 timeout
             700 wins 25 v4",
        );
    }

    #[test]
    fn at_the_deadline_is_an_error_where_none_is_held() {
        run(&world(&[V4], &[(587, V4, Silent), (25, V4, Silent)])).reads(
            "0 connect 587 v4
             250 connect 587 v4
             500 connect 25 v4
             750 connect 25 v4
             30000 close 587 v4 timeout
             30000 close 587 v4 timeout
             30000 close 25 v4 timeout
             30000 close 25 v4 timeout
             30000 ends timeout",
        );
    }

    #[test]
    fn a_connection_that_comes_with_the_deadline_still_wins() {
        let config = config(|c| {
            c.port_delay = ms(1000);
            c.timeout = ms(1040);
        });
        world(&[V4], &[(587, V4, DropFirst(1))]).dial(&Plan::submission(), &config).reads(
            "0 connect 587 v4
             250 connect 587 v4
             1000 connect 25 v4
             1040 connected 587 v4
             1040 connected 25 v4
             1040 close 587 v4 timeout
             1040 close 25 v4 cancelled
             1040 wins 587 v4",
        );
    }

    #[test]
    fn comes_at_once_when_all_services_were_tried_and_nothing_is_live() {
        run(&world(&[V4], &[(587, V4, Reset), (25, V4, Reset)])).reads(
            "0 connect 587 v4
             40 reset 587 v4
             40 connect 25 v4
             80 reset 25 v4
             80 ends exhausted",
        );
    }

    #[test]
    fn closes_every_other_socket_before_the_result_is_visible() {
        let history = run(&world(&[V6, V4], &[(587, V6, Silent), (587, V4, Silent)]));
        let end = history.log.iter().position(|entry| matches!(entry.what, What::End(_)));
        assert_eq!(end, Some(history.log.len() - 1));
        let (_, open) = history.open().pop().unwrap();
        assert_eq!(open.iter().map(|attempt| attempt.0).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn tells_how_many_syns_each_attempt_sent() {
        let history = run_by_patience(&world(&[V4], &[(587, V4, DropFirst(1))]));
        let syns: Vec<_> = history.syns().iter().map(|syn| (syn.at, syn.address.port())).collect();
        let expected = [(ms(0), 587), (ms(250), 587), (ms(1000), 587), (ms(1000), 25)];
        assert_eq!(syns, expected);
        let reported: Vec<_> = history.report.attempts.iter().map(|attempt| attempt.syns).collect();
        assert_eq!(reported, [Some(2), Some(1), Some(1)]);
    }
}

mod an_attempt_in_the_confirm_stage {
    use super::*;

    #[test]
    fn is_neither_silent_nor_overdue_and_nothing_is_started_meanwhile() {
        let mut world = world(&[V6, V4], &[]);
        world.greet_pause = Some(ms(8000));
        run(&world).reads(
            "0 connect 587 v6
             40 connected 587 v6
             8080 confirmed 587 v6
             8080 wins 587 v6",
        );
    }

    #[test]
    fn lets_nothing_else_win() {
        let config = config(|c| c.port_delay = ms(400));
        let mut world = world(&[V4], &[(587, V4, DropFirst(1))]);
        world.greet_pause = Some(ms(500));
        world.dial(&Plan::submission(), &config).reads(
            "0 connect 587 v4
             250 connect 587 v4
             400 connect 25 v4
             440 connected 25 v4
             980 confirmed 25 v4
             1040 connected 587 v4
             1290 connected 587 v4
             1580 confirmed 587 v4
             1830 confirmed 587 v4
             1830 close 587 v4 cancelled
             1830 close 25 v4 cancelled
             1830 wins 587 v4",
        );
    }

    #[test]
    fn is_refused_when_the_peer_closes_before_its_greeting() {
        let mut world = world(&[V4], &[(587, V4, AcceptThenClose(ms(100)))]);
        world.greet_pause = Some(ms(500));
        run(&world).reads(
            "0 connect 587 v4
             40 connected 587 v4
             180 closed 587 v4
             180 connect 25 v4
             220 connected 25 v4
             760 confirmed 25 v4
             760 wins 25 v4",
        );
    }
}
