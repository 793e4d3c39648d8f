//! Dials that try one service after the other: through a proxy, or with the greeting wait. In
//! virtual time.
//!
//! The lines of a story are: milliseconds, what happened, the port, and the address as `v6` or
//! `v4`, or `far` where a proxy connects. Every port that has no fate here is open.
#![allow(clippy::unwrap_used, reason = "what helps a test may fail like one")]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use mailport::machine::{Answer, AttemptId, Event, Machine, Query};
use mailport::outcome::ViaError;
use mailport::report::{End, Greeting, Stage};
use mailport::{Config, Family, GreetingWait, Outcome, Plan};
use mailport_lab::Fate::{self, AcceptThenClose, DropFirst, Reset, Silent};
use mailport_lab::scenario::{ROUND_TRIP, V4, V6, network};
use mailport_lab::world::{Far, History, World};

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn submission() -> Plan {
    Plan::submission()
}

mod a_greeting_wait {
    use super::*;

    fn world(addresses: &[IpAddr], fates: &[(u16, IpAddr, Fate)], pause: u64) -> World {
        let mut world = World::new(network(ROUND_TRIP, addresses, fates));
        world.greet_pause = Some(ms(pause));
        world
    }

    fn greeting_wait(time: u64) -> Config {
        let mut config = Config::default();
        config.greeting_wait = GreetingWait::For(ms(time));
        config
    }

    fn run(world: &World) -> History {
        world.dial(&submission(), &greeting_wait(10_000))
    }

    #[test]
    fn waits_for_the_first_byte() {
        let history = run(&world(&[V4], &[], 5000));
        history.reads(
            "0 connect 587 v4
             40 connected 587 v4
             5080 greeted 587 v4
             5080 wins 587 v4",
        );
        assert_eq!(history.report.attempts[0].greeting, Some(Greeting::Received));
        assert_eq!(history.report.attempts[0].stage, Stage::Confirm);
    }

    #[test]
    fn opens_one_connection_however_long_the_pause() {
        for pause in [30_000, 300_000] {
            let history = run(&world(&[V6, V4], &[], pause));
            history.reads(
                "0 connect 587 v6
                 40 connected 587 v6
                 10040 wins 587 v6",
            );
            assert_eq!(history.report.attempts[0].greeting, Some(Greeting::Absent));
            let reported =
                "no greeting so far: the server pauses, or a tunnel hides a filtered port";
            assert!(history.report.summary().ends_with(reported), "{}", history.report.summary());
            let mut patient = greeting_wait(400_000);
            patient.timeout = Duration::from_secs(500);
            let history = world(&[V6, V4], &[], pause).dial(&submission(), &patient);
            assert_eq!(history.report.attempts.len(), 1);
            assert_eq!(history.report.attempts[0].greeting, Some(Greeting::Received));
            assert_eq!(history.report.elapsed, ms(pause + 80));
        }
    }

    #[test]
    fn takes_a_close_before_the_greeting_for_a_refusal() {
        run(&world(&[V4], &[(587, V4, AcceptThenClose(ms(100)))], 500)).reads(
            "0 connect 587 v4
             40 connected 587 v4
             180 closed 587 v4
             180 connect 25 v4
             220 connected 25 v4
             760 greeted 25 v4
             760 wins 25 v4",
        );
    }

    #[test]
    fn never_falls_back_for_silence() {
        let history = run(&world(&[V6, V4], &[(587, V6, Silent), (587, V4, Silent)], 0));
        assert_eq!(history.report.end, Some(End::Timeout));
        assert!(history.connects().all(|(_, to)| to.port() == 587));
    }

    #[test]
    fn still_races_the_addresses_of_a_service() {
        run(&world(&[V6, V4], &[(587, V6, Silent)], 100)).reads(
            "0 connect 587 v6
             250 connect 587 v4
             290 connected 587 v4
             290 close 587 v6 cancelled
             430 greeted 587 v4
             430 wins 587 v4",
        );
    }

    #[test]
    fn keeps_one_connection_and_tries_the_other_again_when_that_fails() {
        let fates = [(587, V6, DropFirst(1)), (587, V4, AcceptThenClose(ms(200)))];
        run(&world(&[V6, V4], &fates, 0)).reads(
            "0 connect 587 v6
             250 connect 587 v4
             290 connected 587 v4
             290 close 587 v6 cancelled
             530 closed 587 v4
             530 connect 587 v6
             1570 connected 587 v6
             1610 greeted 587 v6
             1610 wins 587 v6",
        );
    }

    #[test]
    fn keeps_the_one_that_was_greeted_where_two_connect_in_one_turn() {
        let start = Instant::now();
        let target = "mail.example.com".parse().unwrap();
        let mut machine =
            Machine::new(&target, &submission(), &greeting_wait(10_000), start).unwrap();
        let list = ["[2001:db8::1]:0", "192.0.2.1:0"];
        let (query, routes) = (Query::Authority, Vec::new());
        let addresses = Ok(list.map(|address| address.parse().unwrap()).to_vec());
        machine.handle(Event::Resolved { query, addresses, routes }, start);
        machine.handle_timeout(start);
        machine.handle_timeout(start + ms(250));
        let now = start + ms(300);
        for attempt in [AttemptId(0), AttemptId(1)] {
            machine.handle(Event::Connected { attempt, round_trip: ms(40), syns: None }, now);
            machine.handle(Event::Confirmed { attempt }, now);
        }
        machine.handle(Event::Greeted { attempt: AttemptId(1) }, now);
        machine.handle_timeout(now);
        assert_eq!(machine.outcome(), Some(End::Connected(1)));
    }

    #[test]
    fn lets_a_connection_through_at_the_deadline() {
        let mut config = greeting_wait(10_000);
        config.timeout = ms(3000);
        let history = world(&[V4], &[], 20_000).dial(&submission(), &config);
        history.reads(
            "0 connect 587 v4
             40 connected 587 v4
             3000 wins 587 v4",
        );
        assert_eq!(history.report.attempts[0].greeting, Some(Greeting::Absent));
    }

    #[test]
    fn does_not_wait_where_tls_comes_first() {
        let history = world(&[V4], &[], 5000).dial(&Plan::submissions(), &greeting_wait(10_000));
        history.reads(
            "0 connect 465 v4
             40 connected 465 v4
             40 wins 465 v4",
        );
        assert_eq!(history.report.attempts[0].greeting, None);
    }

    #[test]
    fn goes_on_to_the_next_service_when_this_one_is_refused() {
        run(&world(&[V4], &[(587, V4, Reset)], 0)).reads(
            "0 connect 587 v4
             40 reset 587 v4
             40 connect 25 v4
             80 connected 25 v4
             120 greeted 25 v4
             120 wins 25 v4",
        );
    }

    #[test]
    fn is_not_shortened_by_the_cache() {
        let mut world = world(&[V4], &[(587, V4, DropFirst(1))], 0);
        world.hints.bad = vec![(submission().services()[0], Some(Family::Ipv4))];
        assert_eq!(run(&world).winner().unwrap().port(), 587);
    }
}

mod a_proxy {
    use super::*;

    fn world(far: &[(u16, Far)]) -> World {
        let mut world = World::new(network(ROUND_TRIP, &[], &[]));
        world.through = Some(far.iter().copied().collect::<BTreeMap<_, _>>());
        world
    }

    fn run(far: &[(u16, Far)]) -> History {
        world(far).dial(&submission(), &Config::default())
    }

    #[test]
    fn is_asked_for_the_services_in_the_order_of_the_plan() {
        let history = run(&[(587, Far::Opens), (25, Far::Opens)]);
        history.reads(
            "0 through 587
             40 connected 587 far
             120 confirmed 587 far
             160 greeted 587 far
             160 wins 587 far",
        );
        let attempt = &history.report.attempts[0];
        assert_eq!((attempt.address, attempt.family), (None, None));
        assert_eq!(
            history.report.summary(),
            "connected to 587 through socks5://proxy.example in 160 ms"
        );
        assert!(history.report.lookup.is_none());
    }

    #[test]
    fn that_says_refused_or_not_allowed_refuses_the_service() {
        for code in [2, 5] {
            let history = run(&[(587, Far::Fails(ViaError::Reply(code))), (25, Far::Opens)]);
            history.reads(
                "0 through 587
                 40 connected 587 far
                 120 via 587 far
                 120 through 25
                 160 connected 25 far
                 240 confirmed 25 far
                 280 greeted 25 far
                 280 wins 25 far",
            );
            assert_eq!(history.report.attempts[1].reason.to_string(), "587 was refused");
            assert_eq!(history.report.attempts[0].outcome, Some(Outcome::Via));
        }
    }

    #[test]
    fn that_says_anything_else_fails_the_service_all_the_same() {
        for code in [1, 3, 4, 6, 7, 8, 99] {
            let history = run(&[(587, Far::Fails(ViaError::Reply(code))), (25, Far::Opens)]);
            let second = &history.report.attempts[1];
            assert_eq!(second.reason.to_string(), "every attempt of 587 failed");
            assert!(
                history
                    .observations
                    .iter()
                    .all(|observation| observation.outcome == Outcome::Connected)
            );
        }
    }

    #[test]
    fn that_fails_itself_ends_the_dial_and_says_nothing_of_the_service() {
        for error in [ViaError::Unreachable, ViaError::Login, ViaError::Protocol] {
            let history = run(&[(587, Far::Fails(error)), (25, Far::Opens)]);
            assert_eq!(history.report.end, Some(End::Via));
            assert_eq!(history.report.attempts.len(), 1);
            assert!(history.observations.is_empty());
            let summary = history.report.summary();
            assert!(summary.contains(&error.to_string()), "{summary}");
        }
    }

    #[test]
    fn that_says_nothing_is_waited_for_until_the_deadline() {
        let history = run(&[(587, Far::Silent), (25, Far::Opens)]);
        history.reads(
            "0 through 587
             40 connected 587 far
             30000 close 587 far timeout
             30000 ends timeout",
        );
    }

    #[test]
    fn that_accepts_first_and_then_closes_refuses_the_service() {
        let history = run(&[(587, Far::AcceptsThenCloses), (25, Far::Opens)]);
        assert_eq!(history.report.winner().unwrap().service.port(), 25);
        assert_eq!(history.report.attempts[0].outcome, Some(Outcome::Closed));
    }

    #[test]
    fn that_accepts_first_and_then_is_silent_hides_whether_the_port_is_filtered() {
        let history = run(&[(587, Far::AcceptsThenSilent), (25, Far::Opens)]);
        assert_eq!(history.report.winner().unwrap().greeting, Some(Greeting::Absent));
        assert_eq!(history.report.elapsed, ms(10_120));
    }

    #[test]
    fn cannot_be_asked_for_a_family() {
        let plan = Plan::mew();
        let target = "mail.example.com".parse().unwrap();
        let config = Config::default();
        let way = "socks5://proxy.example";
        let error = Machine::through(way, &target, &plan, &config, Instant::now()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the service `587/ipv4:starttls` cannot be used: the family cannot be chosen through \
             socks5://proxy.example"
        );
    }

    #[test]
    fn teaches_what_it_refused() {
        let refused = Far::Fails(ViaError::Reply(5));
        let observations = run(&[(587, refused), (25, Far::Opens)]).observations;
        let reported: Vec<_> =
            observations.iter().map(|l| (l.service.port(), l.family, l.outcome)).collect();
        assert_eq!(reported, [(587, None, Outcome::Via), (25, None, Outcome::Connected)]);
    }

    #[test]
    fn is_asked_in_the_order_of_the_plan_whatever_is_remembered() {
        let mut world = world(&[(587, Far::Opens), (25, Far::Silent)]);
        world.hints.bad = vec![(submission().services()[0], None)];
        let mut config = Config::default();
        config.try_failed_last = true;
        let history = world.dial(&submission(), &config);
        assert_eq!(history.report.winner().unwrap().service.port(), 587);
    }
}

mod with_questions {
    use super::*;

    #[test]
    fn to_fall_back_leaves_an_address_that_came_late() {
        let mut world =
            World::new(network(ROUND_TRIP, &[V6, V4], &[(587, V4, Reset), (587, V6, Silent)]));
        world.names.v6 = mailport_lab::world::Answer::Addresses { after: ms(400), list: vec![V6] };
        world.answers = vec![(ms(5000), Answer::FallBack)];
        let mut config = Config::default();
        (config.greeting_wait, config.ask) = (GreetingWait::For(ms(10_000)), true);
        world.dial(&submission(), &config).reads(
            "100 connect 587 v4
             140 reset 587 v4
             140 asks 1
             400 connect 587 v6
             5140 said fall-back
             5140 close 587 v6 cancelled
             5140 connect 25 v6
             5180 connected 25 v6
             5220 greeted 25 v6
             5220 wins 25 v6",
        );
    }

    #[test]
    fn a_connection_that_waits_for_its_greeting_withdraws_the_question() {
        let mut world = World::new(network(ROUND_TRIP, &[V6, V4], &[(587, V4, Reset)]));
        world.names.v6 = mailport_lab::world::Answer::Addresses { after: ms(400), list: vec![V6] };
        world.greet_pause = Some(ms(3000));
        let mut config = Config::default();
        (config.greeting_wait, config.ask) = (GreetingWait::For(ms(2000)), true);
        let history = world.dial(&submission(), &config);
        history.reads(
            "100 connect 587 v4
             140 reset 587 v4
             140 asks 1
             400 connect 587 v6
             440 connected 587 v6
             440 withdrawn
             2440 wins 587 v6",
        );
    }

    #[test]
    fn a_broken_proxy_ends_the_dial_in_any_case() {
        let mut world = World::new(network(ROUND_TRIP, &[], &[]));
        let far = [(587, Far::Fails(ViaError::Reply(5))), (25, Far::Fails(ViaError::Login))];
        world.through = Some(far.into_iter().collect());
        world.answers = vec![(ms(10), Answer::FallBack)];
        let mut config = Config::default();
        config.ask = true;
        assert_eq!(world.dial(&submission(), &config).report.end, Some(End::Via));
    }
}
