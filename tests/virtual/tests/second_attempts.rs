//! Second attempts (rule 3) and the proof (rule 6) in virtual time, at a round trip of 40 ms unless a
//! test says otherwise.
//!
//! The lines of a story are: milliseconds, what happened, the port, and the address as `v6` or
//! `v4`, where `v6b` is the second one. Every port that has no fate here is open.
#![allow(clippy::unwrap_used, reason = "what helps a test may fail like one")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use mailport::outcome::Errno;
use mailport::{Config, Family, Plan};
use mailport_lab::Fate::{self, Icmp, LoseSyns, Reset, Silent};
use mailport_lab::scenario::{ROUND_TRIP, V4, V6, network};
use mailport_lab::world::{History, Names, World};

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn world(addresses: &[IpAddr], fates: &[(u16, IpAddr, Fate)]) -> World {
    World::new(network(ROUND_TRIP, addresses, fates))
}

fn far_world(round_trip: u64, fates: &[(u16, IpAddr, Fate)]) -> World {
    World::new(network(ms(round_trip), &[V4], fates))
}

fn run(world: &World) -> History {
    world.dial(&Plan::submission(), &Config::default())
}

/// How 25 wins where 587 is silent at one address.
fn wins_after(round_trip: u64) -> Duration {
    let history = run(&far_world(round_trip, &[(587, V4, Silent)]));
    assert_eq!(history.winner().unwrap().port(), 25, "{}", history.script());
    history.report.elapsed
}

mod a_second_attempt {
    use super::*;

    #[test]
    fn finds_the_port_whose_first_syn_was_lost_before_25_is_dialled() {
        run(&world(&[V4], &[(587, V4, LoseSyns(1))])).reads(
            "0 connect 587 v4
             250 connect 587 v4
             290 connected 587 v4
             290 close 587 v4 cancelled
             290 wins 587 v4",
        );
    }

    #[test]
    fn waits_until_every_candidate_has_been_started() {
        let addresses: Vec<IpAddr> = (1..=3).map(|n| Ipv4Addr::new(192, 0, 2, n).into()).collect();
        let fates: Vec<_> = addresses.iter().map(|&address| (587, address, Silent)).collect();
        let mut config = Config::default();
        config.timeout = ms(1600);
        let plan = "587:starttls".parse().unwrap();
        let history = world(&addresses, &fates).dial(&plan, &config);
        let at: Vec<u128> = history.connects().map(|(at, _)| at.as_millis()).collect();
        assert_eq!(at, [0, 250, 500, 750, 1000, 1250], "an attempt delay apart, and one each");
    }

    #[test]
    fn makes_room_for_a_new_candidate_the_earliest_one_first() {
        let v4: Vec<IpAddr> = (1..=4).map(|n| Ipv4Addr::new(192, 0, 2, n).into()).collect();
        let v6: Vec<IpAddr> =
            (1..=3).map(|n| Ipv6Addr::from(0x2001_0db8 << 96 | n).into()).collect();
        let all = [v6, v4.clone()].concat();
        let fates: Vec<_> = all.iter().map(|&address| (587, address, Silent)).collect();
        let mut world = world(&all, &fates);
        // Four addresses at first, and three more when six attempts are open.
        world.names = Names::after(&all, ms(1390), ms(10));
        let mut config = Config::default();
        config.timeout = ms(1900);
        let history = world.dial(&"587:starttls".parse().unwrap(), &config);
        let script = history.script();
        let lines: Vec<&str> =
            script.lines().skip_while(|line| !line.starts_with("1110")).collect();
        assert_eq!(
            lines[..8],
            [
                "1110 connect 587 v4",
                "1360 connect 587 v4b",
                "1390 close 587 v4 cancelled",
                "1390 connect 587 v6",
                "1640 close 587 v4b cancelled",
                "1640 connect 587 v6b",
                // There is no other second attempt, so the longest overdue one goes.
                "1890 close 587 v4 timeout",
                "1890 connect 587 v6c",
            ]
        );
        let mut ends = history.report.attempts.iter().map(|attempt| attempt.ended);
        assert_eq!(ends.nth(4), Some(ms(1390)), "the second attempt at v4 ends, not the first");
        assert_eq!(ends.next(), Some(ms(1640)));
    }

    #[test]
    fn is_not_made_where_another_candidate_was_refused() {
        let history = run(&world(&[V6, V4], &[(587, V6, Silent), (587, V4, Reset)]));
        assert!(
            history.connects().filter(|(_, to)| to.ip() == V6 && to.port() == 587).count() == 1
        );
    }

    #[test]
    fn is_not_made_from_a_source_port_that_the_first_one_has() {
        let mut config = Config::default();
        config.source_port = 2525;
        let world = world(&[V4], &[(587, V4, Silent)]);
        world.dial(&Plan::submission(), &config).reads(
            "0 connect 587 v4
             1000 connect 25 v4
             1040 connected 25 v4
             1300 close 587 v4 timeout
             1300 wins 25 v4",
        );
    }

    #[test]
    fn ends_with_the_answer_to_the_other_one() {
        for fate in [Reset, Icmp { kind: 3, code: 1 }] {
            let history = run(&far_world(300, &[(587, V4, fate)]));
            let attempts = &history.report.attempts;
            assert_eq!(attempts[1].outcome.unwrap().name(), "cancelled", "{}", history.script());
            assert_eq!(attempts[1].ended, ms(300));
            assert_eq!(history.report.elapsed, ms(600));
        }
    }

    #[test]
    fn that_this_machine_cannot_make_is_ignored() {
        let mut world = world(&[V4], &[(587, V4, LoseSyns(1))]);
        world.trouble_again = Some(Errno(libc::EMFILE));
        run(&world).reads(
            "0 connect 587 v4
             250 connect 587 v4
             250 local 587 v4
             500 connect 25 v4
             540 connected 25 v4
             540 connect 587 v4
             540 local 587 v4
             1040 connected 587 v4
             1040 close 25 v4 cancelled
             1040 wins 587 v4",
        );
    }

    #[test]
    fn to_a_known_service_waits_for_its_usual_answer() {
        let mut world = far_world(900, &[]);
        let submission = Plan::submission().services()[0];
        world.hints.known = vec![submission];
        world.hints.round_trips = vec![(submission, Family::Ipv4, ms(900))];
        run(&world).reads(
            "0 connect 587 v4
             900 connected 587 v4
             900 wins 587 v4",
        );
        // A service of which nothing is known is tried again, and 25 is dialled.
        world.hints = mailport::machine::Hints::default();
        assert_eq!(run(&world).connects().count(), 4, "587 and 25, and each again");
    }
}

mod a_proof {
    use super::*;

    #[test]
    fn takes_one_and_a_half_round_trips_or_a_tenth_of_a_second_more_than_one() {
        // The port delay, the handshake, and the answer to one more SYN that did not come.
        assert_eq!(wins_after(40), ms(500 + 40 + 140));
        assert_eq!(wins_after(200), ms(500 + 200 + 300));
        // The kernel's repetition at 1.1 s came before the handshake.
        assert_eq!(wins_after(700), ms(1100 + 1050));
    }

    #[test]
    fn takes_950_ms_where_a_device_nearby_may_have_answered() {
        assert_eq!(wins_after(9), ms(950));
        assert_eq!(wins_after(10), ms(500 + 10 + 110));
    }

    #[test]
    fn counts_from_the_syn_that_was_answered() {
        let fates = [(587, V4, LoseSyns(4)), (25, V4, LoseSyns(1))];
        // 25's second attempt is the one that connects.
        run(&world(&[V4], &fates)).reads(
            "0 connect 587 v4
             250 connect 587 v4
             500 connect 25 v4
             750 connect 25 v4
             790 connected 25 v4
             790 connect 587 v4
             930 close 587 v4 timeout
             930 close 587 v4 timeout
             930 close 25 v4 cancelled
             930 close 587 v4 timeout
             930 wins 25 v4",
        );
    }

    #[test]
    fn and_the_patience_count_for_a_known_service() {
        let mut world = world(&[V4], &[(587, V4, Silent)]);
        world.hints.known = vec![Plan::submission().services()[0]];
        run(&world).reads(
            "0 connect 587 v4
             250 connect 587 v4
             1000 connect 25 v4
             1040 connected 25 v4
             1040 connect 587 v4
             1300 close 587 v4 timeout
             1300 close 587 v4 timeout
             1300 close 587 v4 timeout
             1300 wins 25 v4",
        );
        // The proof ends later here: 250 ms after the kernel's repetition.
        let mut far = far_world(150, &[(587, V4, Silent)]);
        far.hints.known = vec![Plan::submission().services()[0]];
        assert_eq!(run(&far).report.elapsed, ms(1350));
    }

    #[test]
    fn is_reported_with_its_reason() {
        let history = run(&world(&[V4], &[(587, V4, Silent)]));
        let reasons: Vec<String> =
            history.report.attempts.iter().map(|attempt| attempt.reason.to_string()).collect();
        assert_eq!(
            reasons,
            [
                "first address of the first service",
                "the first attempt here is silent",
                "587 was silent for the port delay",
                "25 has connected, so the path is good"
            ]
        );
        assert_eq!(
            history.report.summary(),
            "587 is silent (3 SYNs unanswered); connected to 25 over IPv4 in 680 ms"
        );
    }
}
