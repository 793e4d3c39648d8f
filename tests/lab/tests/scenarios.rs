//! The table of scenarios on real kernels: the driver ends where the virtual network does, by the
//! same attempts in the same order.
//!
//! Needs root (or a user namespace) and /dev/net/tun; fails without them. A run that the machine
//! held up says nothing of the dial and is made again; which time it took is for the benchmarks.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mailport::report::{Attempt, End, LookupError};
use mailport::{Cache, ConnectError, Dialer, Family, Outcome, Report, Resolver};
use mailport_lab::Fate;
use mailport_lab::real::Lab;
use mailport_lab::scenario::{Scenario, V4, V6, scenarios, table, without_last_moment};
use mailport_lab::world::{Answer, Names, World};

/// How much later than in virtual time a thing may happen in a dial that still says something: less
/// than the least time between two events of the table.
const HELD_UP: Duration = Duration::from_millis(5);
const TRIES: usize = 10;

/// A resolver that answers as the scenario's names do, until it has to stop.
fn resolver(names: Names, stop: Arc<AtomicBool>) -> Resolver {
    Resolver::custom_with_hedges(move |_, query| answer(&names.of(query, &Family::ALL), &stop))
}

fn answer(answer: &Answer, stop: &AtomicBool) -> Result<Vec<SocketAddr>, LookupError> {
    let (after, result) = match answer {
        Answer::Never => {
            while !stop.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(5));
            }
            return Err(LookupError::TryAgain);
        }
        Answer::Addresses { after, list } => {
            (after, Ok(list.iter().map(|&ip| SocketAddr::new(ip, 0)).collect()))
        }
        Answer::Fails { after, error } => (after, Err(error.clone())),
    };
    thread::sleep(*after);
    result
}

/// What the table tells of a dial, and the order in which first SYNs passed the router.
#[derive(Debug, PartialEq)]
struct Seen {
    end: Result<(u16, Family), End>,
    attempts: Vec<(u16, Family, Outcome)>,
    syns: Vec<(u16, Family)>,
}

/// What a dial with this cache does.
fn dial(lab: &Lab, scenario: &Scenario, names: &Resolver, cache: &Cache) -> Report {
    lab.client(|| {
        let dialer = Dialer::default().with_resolver(names.clone()).with_cache(cache.clone());
        let target = "mail.example.com";
        match dialer
            .clone()
            .with_plan(scenario.plan.clone())
            .with_config(scenario.config.clone())
            .connect(target)
        {
            Ok(connected) => connected.report,
            Err(error) => panic!("{}: {error}", scenario.name),
        }
    })
}

/// Whether the second dial takes one round trip to the port of the table, after the first has taken
/// what it takes.
fn check_with_cache(scenario: &Scenario) {
    let round_trip = scenario.network.round_trip;
    for left in (0..TRIES).rev() {
        let lab =
            Lab::start(scenario.network.clone()).expect("a lab (needs root and /dev/net/tun)");
        let stop = Arc::new(AtomicBool::new(false));
        let names = resolver(scenario.names.clone(), Arc::clone(&stop));
        let cache = Cache::new();
        let first = dial(&lab, scenario, &names, &cache);
        let port = |report: &Report| report.winner().map(|won| won.service.port());
        // A packet that was lost is no property of the port: the next one is not.
        for (port, address) in scenario.network.losing() {
            lab.set(address, port, Fate::Open);
        }
        let second = dial(&lab, scenario, &names, &cache);
        // A dial that the machine held up may end elsewhere, and says nothing.
        let expected = scenario.expected.end.ok().map(|(port, _)| port);
        let is_right = port(&first) == expected && port(&second) == expected;
        let is_one_round_trip = second.elapsed < round_trip.mul_f64(1.9);
        if is_right && is_one_round_trip {
            return;
        }
        assert!(left > 0, "{}: {first:#?}, then {second:#?}", scenario.name);
    }
}

#[test]
fn every_case_of_the_table_takes_one_round_trip_the_second_time() {
    let table = table();
    thread::scope(|scope| {
        for lane in 0..4 {
            let mine = table.iter().skip(lane).step_by(4);
            scope.spawn(move || mine.for_each(check_with_cache));
        }
    });
}

#[test]
fn what_is_opened_meanwhile_is_found_by_the_next_dial() {
    let table = table();
    let scenario = table.iter().find(|s| s.name == "587 is silent twice").expect("its name");
    let lab = Lab::start(scenario.network.clone()).expect("a lab (needs root and /dev/net/tun)");
    let names = resolver(scenario.names.clone(), Arc::new(AtomicBool::new(false)));
    let cache = Cache::new();
    let port = |report: Report| report.winner().map(|won| won.service.port());
    assert_eq!(port(dial(&lab, scenario, &names, &cache)), Some(25));
    assert_eq!(port(dial(&lab, scenario, &names, &cache)), Some(25));
    for address in [V6, V4] {
        lab.set(address, 587, Fate::Open);
    }
    assert_eq!(port(dial(&lab, scenario, &names, &cache)), Some(587));
}

fn run(scenario: &Scenario) -> (Seen, Report) {
    let lab = Lab::start(scenario.network.clone()).expect("a lab (needs root and /dev/net/tun)");
    let stop = Arc::new(AtomicBool::new(false));
    let names = resolver(scenario.names.clone(), Arc::clone(&stop));
    let report = lab.client(|| {
        let dialer = Dialer::new().without_cache().with_resolver(names.clone());
        let target = "mail.example.com";
        match dialer
            .clone()
            .with_plan(scenario.plan.clone())
            .with_config(scenario.config.clone())
            .connect(target)
        {
            Ok(connected) => {
                let peer = connected.stream.peer_addr().expect("a connected socket");
                assert_eq!(Some(peer), connected.report.winner().and_then(|won| won.address));
                connected.report
            }
            Err(ConnectError::Failed(report)) => *report,
            Err(other) => panic!("{}: {other}", scenario.name),
        }
    });
    stop.store(true, Ordering::Relaxed);
    let mut syns: Vec<(u16, IpAddr)> = Vec::new();
    for syn in lab.syns() {
        if !syns.contains(&(syn.port, syn.address)) {
            syns.push((syn.port, syn.address));
        }
    }
    let attempts = without_last_moment(&report).map(|a| {
        (a.service.port(), a.family.expect("a direct dial"), a.outcome.expect("an ended attempt"))
    });
    let winner =
        report.winner().map(|won| (won.service.port(), won.family.expect("a direct dial")));
    let seen = Seen {
        end: winner.ok_or_else(|| report.end.expect("an ended dial")),
        attempts: attempts.collect(),
        syns: syns.into_iter().map(|(port, address)| (port, Family::from(address))).collect(),
    };
    (seen, report)
}

/// Each once, in the order of the first: a second attempt is at the same candidate.
fn firsts(all: impl Iterator<Item = (u16, Family)>) -> Vec<(u16, Family)> {
    let mut firsts = Vec::new();
    for one in all {
        if !firsts.contains(&one) {
            firsts.push(one);
        }
    }
    firsts
}

/// Whether anything of a dial came later than in virtual time, where it is exact: each attempt is
/// compared with the one at the same candidate and of the same turn.
fn is_held_up(report: &Report, exact: &Report) -> bool {
    let candidate = |attempt: &Attempt| (attempt.service.port(), attempt.family);
    let of = |attempts: &[Attempt], index: usize| {
        attempts[..index].iter().filter(|one| candidate(one) == candidate(&attempts[index])).count()
    };
    let is_late = |real: Duration, exact: Duration| real > exact + HELD_UP;
    let is_attempt_late = |(index, real): (usize, &Attempt)| {
        let turn = of(&report.attempts, index);
        let mut alike = exact.attempts.iter().filter(|one| candidate(one) == candidate(real));
        alike.nth(turn).is_some_and(|exact| {
            is_late(real.started, exact.started) || is_late(real.ended, exact.ended)
        })
    };
    is_late(report.elapsed, exact.elapsed)
        || report.attempts.iter().enumerate().any(is_attempt_late)
}

fn check(scenario: &Scenario) {
    let world = World { names: scenario.names.clone(), ..World::new(scenario.network.clone()) };
    let exact = world.dial(&scenario.plan, &scenario.config).report;
    let expected = &scenario.expected;
    let wanted = Seen {
        end: expected.end,
        attempts: expected.attempts.clone(),
        syns: firsts(expected.attempts.iter().map(|&(port, family, _)| (port, family))),
    };
    let after = expected.after(scenario.network.round_trip);
    let mut last = None;
    for _ in 0..TRIES {
        let (seen, report) = run(scenario);
        if seen == wanted {
            // A clock that is read before the kernel's may make a dial look a moment early.
            let early = after.saturating_sub(report.elapsed);
            assert!(early < Duration::from_millis(2), "{} too early: {early:?}", scenario.name);
            return;
        }
        let is_held_up = is_held_up(&report, &exact);
        last = Some((seen, report));
        if !is_held_up {
            break;
        }
    }
    let (seen, report) = last.expect("at least one run");
    panic!("{}\nwanted {wanted:#?}\nseen {seen:#?}\n{report:#?}", scenario.name);
}

#[test]
fn every_scenario_ends_on_real_kernels_as_in_virtual_time() {
    let scenarios = scenarios();
    let start = Instant::now();
    // Dials mostly wait, so a few run side by side; more would hold each other up.
    thread::scope(|scope| {
        for lane in 0..4 {
            let mine = scenarios.iter().skip(lane).step_by(4);
            scope.spawn(move || mine.for_each(check));
        }
    });
    println!("{} scenarios in {:?}", scenarios.len(), start.elapsed());
}
