//! A probe on real kernels: each attempt names the router that answered, and the forecast of a probe
//! is what a dial then does.
//!
//! Needs root (or a user namespace) and /dev/net/tun; fails without them.

use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use mailport::probe::Probed;
use mailport::report::{End, LookupError};
use mailport::{Config, ConnectError, Dialer, Family, Outcome, Plan, Prober, Resolver, Target};
use mailport_lab::real::Lab;
use mailport_lab::scenario::{ROUND_TRIP, Scenario, V4, V6, network, scenarios};
use mailport_lab::world::{Answer, Names};
use mailport_lab::{Fate, ROUTER_V4, ROUTER_V6};

/// A machine that is held up may make one run tell something else.
const TRIES: usize = 5;

fn target() -> Target {
    "mail.example.com".parse().expect("a host")
}

fn resolver(names: Names) -> Resolver {
    Resolver::custom_with_hedges(move |_, query| answer(&names.of(query, &Family::ALL)))
}

fn answer(answer: &Answer) -> Result<Vec<SocketAddr>, LookupError> {
    let (after, result) = match answer {
        // Longer than any probe or dial here waits; the thread ends with the test.
        Answer::Never => (Duration::from_secs(8), Err(LookupError::TryAgain)),
        Answer::Addresses { after, list } => {
            (*after, Ok(list.iter().map(|&ip| SocketAddr::new(ip, 0)).collect()))
        }
        Answer::Fails { after, error } => (*after, Err(error.clone())),
    };
    thread::sleep(after);
    result
}

#[test]
fn the_attempts_name_the_routers_that_answered() {
    let fates = [
        (587, V6, Fate::Icmp { kind: 1, code: 1 }),
        (587, V4, Fate::Icmp { kind: 3, code: 13 }),
        (25, V6, Fate::Silent),
        (25, V4, Fate::Reset),
        (465, V6, Fate::Icmp { kind: 1, code: 3 }),
    ];
    let lab = Lab::start(network(ROUND_TRIP, &[V6, V4], &fates)).expect("a lab (needs root)");
    let plan: Plan = "587:starttls,25:starttls,465:implicit".parse().expect("a plan");
    let config = Config::default();
    let dialer = Dialer::new().without_cache().with_plan(plan.clone()).with_config(config.clone());
    let all = Prober::new(dialer.with_resolver(resolver(Names::at_once(&[V6, V4]))));
    let all = all.with_attempt_timeout(Duration::from_millis(2500));
    let probed = lab.client(|| all.run(&[target()], |_| ())).expect("a probe").remove(0);

    let expected: [(u16, IpAddr, Outcome, Option<IpAddr>); 6] = [
        (587, V6, Outcome::IcmpHard, Some(ROUTER_V6)),
        (587, V4, Outcome::IcmpHard, Some(ROUTER_V4)),
        (25, V6, Outcome::Timeout, None),
        (25, V4, Outcome::Reset, None),
        (465, V6, Outcome::IcmpSoft, Some(ROUTER_V6)),
        (465, V4, Outcome::Connected, None),
    ];
    let seen = probed.attempts.iter().map(|attempt| {
        let address = attempt.address.expect("an address").ip();
        let router = attempt.icmp.and_then(|icmp| icmp.sender);
        (attempt.service.port(), address, attempt.outcome.expect("an ended attempt"), router)
    });
    assert_eq!(seen.collect::<Vec<_>>(), expected);
    let silent = &probed.attempts[2];
    assert!(silent.syns.is_some_and(|syns| syns >= 2), "{silent:?}");
    for attempt in
        probed.attempts.iter().filter(|attempt| attempt.outcome != Some(Outcome::Timeout))
    {
        assert!(attempt.lasted() + Duration::from_millis(2) >= ROUND_TRIP, "{attempt:?}");
    }

    let forecast = probed.forecast(&plan, &config, Instant::now()).expect("something to dial");
    let chosen = probed.chosen(&forecast).map(|index| &probed.attempts[index]);
    let chosen = chosen.and_then(|attempt| attempt.address).expect("465 over IPv4");
    assert_eq!(chosen, SocketAddr::new(V4, 465));
    let summary = probed.summary(&forecast);
    assert!(
        summary.starts_with(&format!("mail.example.com: 587 is filtered by {ROUTER_V6} ("))
            && summary.contains("; a dial would be connected to 465 over IPv4 in "),
        "{summary}"
    );
}

/// What a dial came to: port and family, or how it ended.
type Choice = Result<(u16, Family), End>;

fn probe_then_dial(scenario: &Scenario) -> (Probed, Choice, Choice) {
    let lab = Lab::start(scenario.network.clone()).expect("a lab (needs root)");
    let dialer = Dialer::new().without_cache().with_resolver(resolver(scenario.names.clone()));
    let (plan, config) = (&scenario.plan, &scenario.config);
    let dialer = dialer.with_plan(plan.clone()).with_config(config.clone());
    let all = Prober::new(dialer.clone());
    let all = all.with_attempt_timeout(Duration::from_secs(3));
    let (probed, report) = lab.client(|| {
        let probed = all.run(&[target()], |_| ()).expect("a probe").remove(0);
        let report = match dialer
            .clone()
            .with_plan(plan.clone())
            .with_config(config.clone())
            .connect(target())
        {
            Ok(connected) => connected.report,
            Err(ConnectError::Failed(report)) => *report,
            Err(other) => panic!("{}: {other}", scenario.name),
        };
        (probed, report)
    });
    let forecast = probed.forecast(plan, config, Instant::now()).expect("something to dial");
    let choice = |report: &mailport::Report| {
        report
            .winner()
            .map(|won| (won.service.port(), won.family.expect("a direct dial")))
            .ok_or_else(|| report.end.expect("an ended dial"))
    };
    let choices = (choice(&forecast), choice(&report));
    (probed, choices.0, choices.1)
}

#[test]
fn a_dial_chooses_what_the_probe_before_it_said() {
    // A server that hangs up has a fate that a probe does not wait for, and a SYN that was lost is
    // not lost again.
    let is_another_world = |scenario: &Scenario| {
        let services = scenario.plan.services().iter();
        services.flat_map(|s| scenario.network.addresses().map(|a| (a, s.port()))).any(
            |(address, port)| {
                let fate = scenario.network.fate(address, port);
                matches!(fate, Fate::AcceptThenClose(_) | Fate::LoseSyns(_))
            },
        )
    };
    let scenarios: Vec<Scenario> =
        scenarios().into_iter().filter(|s| !is_another_world(s)).collect();
    assert!(scenarios.len() > 20);
    thread::scope(|scope| {
        for lane in 0..4 {
            let mine = scenarios.iter().skip(lane).step_by(4);
            scope.spawn(move || mine.for_each(check));
        }
    });
}

fn check(scenario: &Scenario) {
    let mut last = None;
    for _ in 0..TRIES {
        let (probed, forecast, dialled) = probe_then_dial(scenario);
        if forecast == dialled && dialled == scenario.expected.end {
            return;
        }
        last = Some((probed, forecast, dialled));
    }
    let (probed, forecast, dialled) = last.expect("at least one run");
    panic!("{}: forecast {forecast:?}, dialled {dialled:?}\n{probed:#?}", scenario.name);
}
