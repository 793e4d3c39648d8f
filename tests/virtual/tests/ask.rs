//! Dials that ask before they fall back, in virtual time.
//!
//! The lines of a story are: milliseconds, what happened, the port, and the address as `v6` or
//! `v4`. Every port that has no fate here is open.
#![allow(clippy::unwrap_used, reason = "what helps a test may fail like one")]

use std::net::IpAddr;
use std::time::{Duration, Instant};

use mailport::machine::{Answer, Event, Machine, Query, Stale};
use mailport::report::End;
use mailport::{Cleartext, Config, Family, Outcome, Plan};
use mailport_lab::Fate::{self, DropFirst, Reset, Silent};
use mailport_lab::scenario::{ROUND_TRIP, V4, V6, network};
use mailport_lab::world::{self, History, Names, What, World};

const SECOND: Duration = Duration::from_secs(1);

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn world(addresses: &[IpAddr], fates: &[(u16, IpAddr, Fate)], answers: &[(u64, Answer)]) -> World {
    let mut world = World::new(network(ROUND_TRIP, addresses, fates));
    world.answers = answers.iter().map(|&(after, answer)| (ms(after), answer)).collect();
    world
}

fn asking() -> Config {
    let mut config = Config::default();
    config.ask = true;
    config
}

fn run(world: &World) -> History {
    world.dial(&Plan::submission(), &asking())
}

fn words(history: &History) -> Vec<&str> {
    let asked = history.log.iter().filter_map(|entry| match &entry.what {
        What::Asked { words, .. } => Some(words.as_str()),
        _ => None,
    });
    asked.collect()
}

mod a_question {
    use super::*;

    #[test]
    fn comes_when_the_next_service_would_and_not_a_syn_before_the_answer() {
        let refused =
            world(&[V6, V4], &[(587, V6, Reset), (587, V4, Reset)], &[(20_000, Answer::FallBack)]);
        run(&refused).reads(
            "0 connect 587 v6
             40 reset 587 v6
             40 connect 587 v4
             80 reset 587 v4
             80 asks 1
             20080 said fall-back
             20080 connect 25 v6
             20120 connected 25 v6
             20120 wins 25 v6",
        );
    }

    #[test]
    fn is_not_asked_where_the_first_service_connects() {
        run(&world(&[V4], &[], &[])).reads(
            "0 connect 587 v4
             40 connected 587 v4
             40 wins 587 v4",
        );
    }

    #[test]
    fn waits_for_the_patience_of_a_silent_service() {
        let silent =
            world(&[V6, V4], &[(587, V6, Silent), (587, V4, Silent)], &[(1, Answer::FallBack)]);
        run(&silent).reads(
            "0 connect 587 v6
             250 connect 587 v4
             500 connect 587 v6
             750 connect 587 v4
             1550 asks 1
             1551 said fall-back
             1551 connect 25 v6
             1591 connected 25 v6
             1591 close 587 v6 timeout
             1591 close 587 v4 timeout
             1591 close 587 v6 timeout
             1591 close 587 v4 timeout
             1591 wins 25 v6",
        );
    }

    #[test]
    fn is_withdrawn_when_the_preferred_service_connects_after_all() {
        let late = world(&[V4], &[(587, V4, DropFirst(2))], &[(5000, Answer::GiveUp)]);
        run(&late).reads(
            "0 connect 587 v4
             250 connect 587 v4
             1300 asks 1
             2040 connected 587 v4
             2040 close 587 v4 timeout
             2040 withdrawn
             2040 wins 587 v4",
        );
    }

    #[test]
    fn has_the_facts_and_what_would_come_next() {
        let filtered =
            world(&[V4], &[(587, V4, Fate::Icmp { kind: 3, code: 13 })], &[(1, Answer::FallBack)]);
        assert_eq!(
            words(&run(&filtered)),
            ["587 is filtered by 203.0.113.1 (communication administratively prohibited). \
             Fall back to 25 (STARTTLS)?"]
        );
        let plan = Plan::parse("465:implicit,25:cleartext", Cleartext::Allow).unwrap();
        let silent = world(&[V4], &[(465, V4, Silent)], &[(1, Answer::FallBack)]);
        assert_eq!(
            words(&silent.dial(&plan, &asking())),
            ["465 is silent. Fall back to 25 (cleartext)?"]
        );
    }

    #[test]
    fn is_asked_before_every_further_service_with_its_own_number() {
        let plan = Plan::parse("465:implicit,587:starttls,25:starttls", Cleartext::Refuse).unwrap();
        let refused = world(
            &[V4],
            &[(465, V4, Reset), (587, V4, Reset)],
            &[(10, Answer::FallBack), (10, Answer::FallBack)],
        );
        refused.dial(&plan, &asking()).reads(
            "0 connect 465 v4
             40 reset 465 v4
             40 asks 1
             50 said fall-back
             50 connect 587 v4
             90 reset 587 v4
             90 asks 2
             100 said fall-back
             100 connect 25 v4
             140 connected 25 v4
             140 wins 25 v4",
        );
    }

    #[test]
    fn lets_an_address_that_arrives_meanwhile_be_tried() {
        let mut late = world(&[V6, V4], &[(587, V4, Reset)], &[(60_000, Answer::FallBack)]);
        late.names = Names::at_once(&[V6, V4]);
        late.names.v6 = world::Answer::Addresses { after: ms(400), list: vec![V6] };
        run(&late).reads(
            "100 connect 587 v4
             140 reset 587 v4
             140 asks 1
             400 connect 587 v6
             440 connected 587 v6
             440 withdrawn
             440 wins 587 v6",
        );
    }
}

mod while_a_question_stands {
    use super::*;

    #[test]
    fn the_deadline_stands_still() {
        let silent = [(587, V4, Silent), (25, V4, Silent)];
        let slow = world(&[V4], &silent, &[(3_600_000, Answer::FallBack)]);
        let history = run(&slow);
        assert_eq!(history.report.end, Some(End::Timeout));
        assert_eq!(history.report.elapsed, 3600 * SECOND + 30 * SECOND);
    }

    #[test]
    fn the_patience_stands_still() {
        // 587 over IPv6 is started while the question stands; its patience counts after the answer.
        let fates = [(587, V4, Reset), (587, V6, Silent)];
        let mut late = world(&[V6, V4], &fates, &[(60_000, Answer::FallBack)]);
        late.names.v6 = world::Answer::Addresses { after: ms(1000), list: vec![V6] };
        run(&late).reads(
            "100 connect 587 v4
             140 reset 587 v4
             140 asks 1
             1000 connect 587 v6
             60140 said fall-back
             60140 connect 25 v6
             60180 connected 25 v6
             60390 close 587 v6 timeout
             60390 wins 25 v6",
        );
    }

    #[test]
    fn nothing_is_due() {
        let start = Instant::now();
        let target = "192.0.2.1".parse().unwrap();
        let mut machine = Machine::new(&target, &Plan::submission(), &asking(), start).unwrap();
        let addresses = Ok(vec!["192.0.2.1:0".parse().unwrap()]);
        let query = Query::Authority;
        machine.handle(Event::Resolved { query, addresses, routes: Vec::new() }, start);
        machine.handle_timeout(start + 2 * SECOND);
        machine.handle_timeout(start + 4 * SECOND);
        assert!(machine.is_asking());
        assert_eq!(machine.deadline(), None);
        machine.handle_timeout(start + 10_000 * SECOND);
        assert_eq!(machine.outcome(), None);
        let number = machine.question().unwrap().number;
        let now = start + 10_000 * SECOND;
        assert_eq!(machine.answer(number + 1, Answer::GiveUp, now), Err(Stale { question: 2 }));
        assert_eq!(machine.answer(number, Answer::WaitOn, now), Ok(()));
        assert_eq!(machine.answer(number, Answer::GiveUp, now), Err(Stale { question: 1 }));
        machine.handle_timeout(now);
        assert!(machine.deadline().is_some() && machine.question().is_none());
    }
}

mod the_answer {
    use super::*;

    #[test]
    fn to_give_up_ends_the_dial_and_says_so() {
        let refused = world(&[V4], &[(587, V4, Reset)], &[(2000, Answer::GiveUp)]);
        let history = run(&refused);
        history.reads(
            "0 connect 587 v4
             40 reset 587 v4
             40 asks 1
             2040 said give-up
             2040 ends declined",
        );
        assert_eq!(
            history.report.summary(),
            "mail.example.com: 587 is refused at 192.0.2.1 after 40 ms; the fallback was \
             declined (after 2.04 s)"
        );
    }

    #[test]
    fn to_wait_on_with_nothing_open_is_to_give_up() {
        let refused = world(&[V4], &[(587, V4, Reset)], &[(10, Answer::WaitOn)]);
        run(&refused).reads(
            "0 connect 587 v4
             40 reset 587 v4
             40 asks 1
             50 said wait-on
             50 ends declined",
        );
    }

    #[test]
    fn to_wait_on_keeps_the_attempts_and_never_falls_back() {
        let late = world(&[V4], &[(587, V4, DropFirst(3))], &[(100, Answer::WaitOn)]);
        run(&late).reads(
            "0 connect 587 v4
             250 connect 587 v4
             1300 asks 1
             1400 said wait-on
             3040 connected 587 v4
             3040 close 587 v4 timeout
             3040 wins 587 v4",
        );
        let silent = world(&[V4], &[(587, V4, Silent)], &[(100, Answer::WaitOn)]);
        let history = run(&silent);
        assert_eq!((history.report.end, history.report.elapsed), (Some(End::Timeout), ms(30_100)));
        assert!(history.connects().all(|(_, to)| to.port() == 587));
    }
}

mod a_remembered_answer {
    use super::*;

    fn with_answer(remembered: Answer, fate: Fate) -> History {
        let mut world = world(&[V4], &[(587, V4, fate)], &[]);
        world.hints.answers = vec![(Plan::submission().services()[1], remembered)];
        run(&world)
    }

    #[test]
    fn answers_in_the_users_place() {
        with_answer(Answer::FallBack, Reset).reads(
            "0 connect 587 v4
             40 reset 587 v4
             40 connect 25 v4
             80 connected 25 v4
             80 wins 25 v4",
        );
        with_answer(Answer::GiveUp, Silent).reads(
            "0 connect 587 v4
             250 connect 587 v4
             1300 close 587 v4 timeout
             1300 close 587 v4 timeout
             1300 ends declined",
        );
        let waited = with_answer(Answer::WaitOn, DropFirst(2));
        assert_eq!(waited.winner().unwrap().port(), 587);
        assert!(words(&waited).is_empty());
    }

    #[test]
    fn is_of_the_service_with_its_tls_mode() {
        let mut world = world(&[V4], &[(587, V4, Reset)], &[(1, Answer::GiveUp)]);
        world.hints.answers = vec![(Plan::submission().services()[1], Answer::FallBack)];
        let plan = Plan::parse("587:starttls,25:cleartext", Cleartext::Allow).unwrap();
        assert_eq!(words(&world.dial(&plan, &asking())).len(), 1);
    }

    #[test]
    fn says_nothing_to_a_dial_that_does_not_ask() {
        let mut world = world(&[V4], &[(587, V4, Reset)], &[]);
        world.hints.answers = vec![(Plan::submission().services()[1], Answer::GiveUp)];
        let history = world.dial(&Plan::submission(), &Config::default());
        assert_eq!(history.winner().unwrap().port(), 25);
    }
}

#[test]
fn a_service_that_is_remembered_as_bad_is_asked_about_at_once() {
    let mut silent = world(&[V4], &[(587, V4, Silent)], &[(500, Answer::FallBack)]);
    silent.hints.bad = vec![(Plan::submission().services()[0], Some(Family::Ipv4))];
    let history = run(&silent);
    history.reads(
        "0 connect 587 v4
         0 asks 1
         500 said fall-back
         500 connect 25 v4
         540 connected 25 v4
         540 close 587 v4 cancelled
         540 wins 25 v4",
    );
    assert_eq!(history.report.attempts[0].outcome, Some(Outcome::Cancelled));
}

#[test]
fn the_cache_alone_never_gives_up() {
    let mut slow = world(&[V4], &[(587, V4, DropFirst(1))], &[]);
    let services = Plan::submission().services().to_vec();
    slow.hints.bad = vec![(services[0], Some(Family::Ipv4))];
    slow.hints.answers = vec![(services[1], Answer::GiveUp)];
    assert_eq!(run(&slow).winner().unwrap().port(), 587);
}

#[test]
fn what_is_remembered_is_tried_over_every_address_before_it_is_asked_about() {
    let fates = [(587, V6, Silent)];
    let mut half = world(&[V6, V4], &fates, &[(60_000, Answer::FallBack)]);
    let services = Plan::submission().services().to_vec();
    half.hints.bad = Family::ALL.map(|family| (services[0], Some(family))).to_vec();
    run(&half).reads(
        "0 connect 587 v6
         250 connect 587 v4
         250 asks 1
         290 connected 587 v4
         290 close 587 v6 cancelled
         290 withdrawn
         290 wins 587 v4",
    );
    let mut silent = world(&[V4], &[(587, V4, Silent)], &[(1, Answer::FallBack)]);
    silent.hints.bad = vec![(services[0], Some(Family::Ipv4))];
    assert_eq!(words(&run(&silent)), ["587 is remembered as bad. Fall back to 25 (STARTTLS)?"]);
}

mod a_remembered_answer_to_give_up {
    use super::*;

    fn three(fates: &[(u16, IpAddr, Fate)], addresses: &[IpAddr]) -> (World, Plan) {
        let plan = Plan::parse("465:implicit,587:starttls,25:starttls", Cleartext::Refuse).unwrap();
        let mut world = world(addresses, fates, &[]);
        let services = plan.services();
        world.hints.answers = vec![(services[1], Answer::FallBack), (services[2], Answer::GiveUp)];
        (world, plan)
    }

    #[test]
    fn waits_for_every_attempt_that_is_still_in_time() {
        let fates = [(465, V4, DropFirst(1)), (587, V4, Reset)];
        let (mut remembered, plan) = three(&fates, &[V4]);
        remembered.hints.bad = vec![(plan.services()[0], Some(Family::Ipv4))];
        let history = remembered.dial(&plan, &asking());
        assert_eq!(history.winner().unwrap().port(), 465, "{}", history.script());
    }

    #[test]
    fn waits_for_an_address_that_came_late() {
        let fates = [(465, V4, Reset), (587, V4, Reset), (587, V6, Reset), (465, V6, DropFirst(1))];
        let (mut late, plan) = three(&fates, &[V6, V4]);
        late.names.v6 = world::Answer::Addresses { after: ms(160), list: vec![V6] };
        let history = late.dial(&plan, &asking());
        // Beside a sibling that was refused, silence is overdue after the attempt delay.
        history.reads(
            "100 connect 465 v4
             140 reset 465 v4
             140 connect 587 v4
             160 connect 465 v6
             180 reset 587 v4
             180 connect 587 v6
             220 reset 587 v6
             410 close 465 v6 timeout
             410 ends declined",
        );
    }
}

#[test]
fn a_service_without_an_address_is_asked_about_and_declined_in_words() {
    let plan = Plan::parse("587/ipv6:starttls,25:starttls", Cleartext::Refuse).unwrap();
    for answer in [Answer::WaitOn, Answer::GiveUp] {
        let history = world(&[V4], &[], &[(10, answer)]).dial(&plan, &asking());
        assert_eq!(words(&history), ["587 over IPv6 has no address. Fall back to 25 (STARTTLS)?"]);
        assert_eq!(history.report.end, Some(End::Declined));
        let summary = history.report.summary();
        assert!(summary.contains("nothing answered; the fallback was declined"), "{summary}");
    }
}

#[test]
fn the_time_of_every_question_is_left_out() {
    let plan = Plan::parse("465:implicit,587:starttls,25:starttls", Cleartext::Refuse).unwrap();
    let fates = [(465, V4, Reset), (587, V4, Reset), (25, V4, Silent)];
    let answers = [(100_000, Answer::FallBack), (200_000, Answer::FallBack)];
    let history = world(&[V4], &fates, &answers).dial(&plan, &asking());
    assert_eq!((history.report.end, history.report.elapsed), (Some(End::Timeout), 330 * SECOND));
}
