//! What one dial teaches the next, in virtual time: the world's machine, and the cache's table.
#![expect(clippy::unwrap_used, reason = "a test that cannot set its scene has failed")]

use std::net::IpAddr;
use std::time::Duration;

use mailport::cache::{Change, Network, Place, Stamp, Table};
use mailport::{Cleartext, Config, Family, Outcome, Plan};
use mailport_lab::Fate;
use mailport_lab::scenario::{ROUND_TRIP, Scenario, V4, V6, network, scenarios};
use mailport_lab::world::{History, World};

const MINUTE: Duration = Duration::from_secs(60);
const BOTH: &[IpAddr] = &[V6, V4];

/// A world, its cache, and the time in it.
struct Reader {
    world: World,
    table: Table,
    network: Network,
    now: Stamp,
    plan: Plan,
    config: Config,
}

impl Reader {
    fn new(addresses: &[IpAddr], fates: &[(u16, IpAddr, Fate)]) -> Reader {
        Reader::in_world(World::new(network(ROUND_TRIP, addresses, fates)))
    }

    fn in_world(world: World) -> Reader {
        let (table, network) = (Table::default(), Network::this_machine("office"));
        let (now, plan, config) = (Stamp(1_800_000_000_000), Plan::submission(), Config::default());
        Reader { world, table, network, now, plan, config }
    }

    fn place(&self) -> Place {
        Place::new(self.network.clone(), &self.world.host.parse().unwrap())
    }

    /// Dials as a dialer with a cache does.
    fn dial(&mut self) -> History {
        let place = self.place();
        self.world.hints = self.table.hints(&place, &self.plan, self.now);
        let history = self.world.dial(&self.plan, &self.config);
        self.pass(history.report.elapsed);
        for &observation in &history.observations {
            let change = Change::Learned { place: place.clone(), observation, at: self.now };
            self.table.apply(&change, self.now);
        }
        history
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now.plus(time);
    }

    fn becomes(&mut self, port: u16, address: IpAddr, fate: Fate) {
        self.world.network.set(address, port, fate);
    }

    /// Whether this port is remembered as bad over this family.
    fn knows_as_bad(&self, port: u16, family: Family) -> bool {
        let hints = self.table.hints(&self.place(), &self.plan, self.now);
        hints.bad.iter().any(|(service, of)| service.port() == port && *of == Some(family))
    }
}

/// The port, the family and the time of a connection.
fn won(history: &History) -> (u16, Family, Duration) {
    let winner = history.report.winner().unwrap_or_else(|| panic!("{}", history.script()));
    (winner.service.port(), winner.family.unwrap(), history.report.elapsed)
}

/// The ports that were dialled, in their order.
fn ports(history: &History) -> Vec<u16> {
    history.connects().map(|(_, address)| address.port()).collect()
}

/// The scenarios of the design's table: plan and settings are the default, names are known at once,
/// and the dial connects.
fn of_the_table() -> Vec<Scenario> {
    let plain = |scenario: &Scenario| {
        let at_once = World::new(scenario.network.clone()).names == scenario.names;
        let is_default =
            scenario.plan == Plan::submission() && scenario.config == Config::default();
        at_once && is_default && scenario.expected.end.is_ok()
    };
    let loses = |scenario: &Scenario| scenario.name.contains("SYN") || closes(scenario);
    scenarios().into_iter().filter(|s| plain(s) && !loses(s)).collect()
}

/// A held connection that its peer closes is another story.
fn closes(scenario: &Scenario) -> bool {
    scenario.expected.attempts.iter().any(|(_, _, outcome)| *outcome == Outcome::Closed)
}

#[test]
fn every_row_of_the_table_takes_one_round_trip_the_second_time_and_the_same_port() {
    let scenarios = of_the_table();
    assert!(scenarios.len() >= 16, "{}", scenarios.len());
    for scenario in scenarios {
        let mut reader = Reader::in_world(World::new(scenario.network.clone()));
        let (port, _, _) = won(&reader.dial());
        assert_eq!(Some(port), scenario.expected.end.ok().map(|(port, _)| port));
        for number in 2..=4 {
            // Silence that only the proof has shown is used for a minute.
            reader.pass(MINUTE / 4);
            let history = reader.dial();
            let (again, _, took) = won(&history);
            let name = scenario.name;
            assert_eq!((again, took), (port, ROUND_TRIP), "{name}, {number}\n{}", history.script());
        }
    }
}

#[test]
fn a_submission_port_that_was_opened_meanwhile_is_found_by_the_next_dial() {
    for fate in [Fate::Silent, Fate::Reset, Fate::Icmp { kind: 3, code: 13 }] {
        let mut reader = Reader::new(&[V4], &[(587, V4, fate)]);
        reader.dial();
        assert!(reader.knows_as_bad(587, Family::Ipv4));
        reader.pass(MINUTE);
        reader.becomes(587, V4, Fate::Open);
        let history = reader.dial();
        assert_eq!(won(&history), (587, Family::Ipv4, ROUND_TRIP), "{}", history.script());
        assert!(!reader.knows_as_bad(587, Family::Ipv4), "and is forgotten at once");
        assert_eq!(ports(&reader.dial()), [587], "so that 25 is not even dialled");
    }
}

#[test]
fn silence_that_only_the_proof_has_shown_is_waited_out_after_a_minute_and_then_used_for_ten() {
    let mut reader = Reader::new(&[V4], &[(587, V4, Fate::Silent)]);
    let mut took = |minutes: u32| {
        let (port, _, took) = won(&reader.dial());
        assert_eq!(port, 25);
        reader.pass(minutes * MINUTE);
        took
    };
    assert_eq!(took(0), Duration::from_millis(680));
    assert_eq!(took(1), ROUND_TRIP);
    assert_eq!(took(9), Duration::from_millis(1300), "the whole patience");
    assert_eq!(took(1), ROUND_TRIP);
    assert_eq!(took(19), Duration::from_millis(1300), "and so with every expired entry");
    assert_eq!(took(1), ROUND_TRIP);
}

#[test]
fn a_device_that_drops_each_first_syn_leads_to_25_once_and_no_more() {
    let mut reader = Reader::new(&[V4], &[(587, V4, Fate::DropFirst(1))]);
    let mut ports = Vec::new();
    for _ in 0..20 {
        ports.push(won(&reader.dial()).0);
        reader.pass(2 * MINUTE);
    }
    assert_eq!(ports[0], 25, "the weakness of the proof");
    assert_eq!(ports[1..], [587; 19]);
}

#[test]
fn a_known_submission_port_gets_its_second_syn_sooner_and_25_later() {
    let mut reader = Reader::new(&[V4], &[]);
    assert_eq!(won(&reader.dial()), (587, Family::Ipv4, ROUND_TRIP));
    reader.becomes(587, V4, Fate::LoseSyns(1));
    // Twice the round trip is 80 ms, and 100 ms is the least.
    let second = ROUND_TRIP + Duration::from_millis(100);
    assert_eq!(won(&reader.dial()), (587, Family::Ipv4, second));
    reader.becomes(587, V4, Fate::Silent);
    let history = reader.dial();
    assert_eq!(won(&history), (25, Family::Ipv4, Duration::from_millis(1300)));
    let to_25 = history.connects().find(|(_, to)| to.port() == 25);
    assert_eq!(to_25.unwrap().0, Duration::from_secs(1));
}

#[test]
fn another_network_learns_afresh_and_the_first_one_still_knows() {
    let mut reader = Reader::new(&[V4], &[(587, V4, Fate::Silent)]);
    let silent = Duration::from_millis(680);
    assert_eq!(won(&reader.dial()), (25, Family::Ipv4, silent));
    let office = std::mem::replace(&mut reader.network, Network::this_machine("hotel"));
    assert_eq!(won(&reader.dial()), (25, Family::Ipv4, silent));
    reader.network = office;
    assert_eq!(won(&reader.dial()), (25, Family::Ipv4, ROUND_TRIP));
}

#[test]
fn a_dial_that_connected_nowhere_teaches_nothing() {
    let all = |fate| [(587, V6, fate), (587, V4, fate), (25, V6, fate), (25, V4, fate)];
    for outage in [Fate::Silent, Fate::Reset, Fate::Icmp { kind: 3, code: 1 }] {
        let mut reader = Reader::new(BOTH, &all(outage));
        reader.config.timeout = Duration::from_secs(5);
        let until = reader.now.plus(MINUTE);
        while reader.now < until {
            assert!(reader.dial().report.winner().is_none());
            reader.pass(Duration::from_secs(5));
        }
        assert_eq!(reader.table, Table::default());
        for (port, address, _) in all(outage) {
            reader.becomes(port, address, Fate::Open);
        }
        let history = reader.dial();
        assert_eq!((won(&history), ports(&history)), ((587, Family::Ipv6, ROUND_TRIP), vec![587]));
    }
}

#[test]
fn an_outage_of_everything_makes_nothing_bad_that_was_good() {
    let mut reader = Reader::new(&[V4], &[]);
    reader.dial();
    let before = reader.table.clone();
    reader.becomes(587, V4, Fate::Silent);
    reader.becomes(25, V4, Fate::Silent);
    reader.config.timeout = Duration::from_secs(5);
    reader.dial();
    assert_eq!(reader.table, before);
}

/// A reader that dials every minute, at a server whose 587 was silent when it began and is open
/// from then on, but always answers later than 25 does.
fn always_late() -> Reader {
    let mut reader = Reader::new(&[V4], &[(587, V4, Fate::Silent)]);
    reader.dial();
    reader.pass(MINUTE);
    reader.dial();
    reader.becomes(587, V4, Fate::DropFirst(1));
    reader
}

#[test]
fn a_port_that_is_healthy_again_is_back_within_one_time_to_live_though_it_loses_every_race() {
    let mut reader = always_late();
    let healed = reader.now;
    let mut lost = 0;
    loop {
        reader.pass(MINUTE);
        let (port, _, _) = won(&reader.dial());
        if port == 587 {
            break;
        }
        lost += 1;
        assert!(reader.now.since(healed) <= Table::LIFE, "{:?}", reader.now.since(healed));
    }
    assert!(lost > 5, "it lost {lost} races before");
    assert!(!reader.knows_as_bad(587, Family::Ipv4));
}

#[test]
fn a_port_that_stays_silent_is_waited_for_ever_more_seldom() {
    let mut reader = Reader::new(&[V4], &[(587, V4, Fate::Silent)]);
    let mut waits = Vec::new();
    let start = reader.now;
    while reader.now.since(start) < 24 * 60 * MINUTE {
        let before = reader.now;
        if won(&reader.dial()).2 > ROUND_TRIP {
            waits.push(before.since(start).as_secs() / 60);
        }
        reader.pass(MINUTE);
    }
    assert!((5..=9).contains(&waits.len()), "{waits:?}");
    let gaps: Vec<u64> = waits.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps.windows(2).all(|pair| pair[1] >= 2 * pair[0] - 2), "{gaps:?}");
}

#[test]
fn weaker_tls_is_never_hastened_by_cache() {
    let mut reader = Reader::new(&[V4], &[(587, V4, Fate::Silent)]);
    reader.plan = Plan::parse("587:starttls,25:cleartext", Cleartext::Allow).unwrap();
    let silent = Duration::from_millis(680);
    for _ in 0..3 {
        for skip in [false, true] {
            reader.config.try_failed_last = skip;
            let history = reader.dial();
            assert_eq!(won(&history), (25, Family::Ipv4, silent), "{}", history.script());
            assert_eq!(ports(&history), [587, 587, 25, 587]);
        }
        assert!(reader.knows_as_bad(587, Family::Ipv4));
    }
}

#[test]
fn what_is_skipped_is_not_dialled_first_and_is_tried_again_after_its_time() {
    let mut reader = Reader::new(&[V4], &[(587, V4, Fate::Silent)]);
    reader.config.try_failed_last = true;
    assert_eq!(ports(&reader.dial()), [587, 587, 25, 587]);
    let history = reader.dial();
    assert_eq!((won(&history), ports(&history)), ((25, Family::Ipv4, ROUND_TRIP), vec![25]));
    reader.pass(Table::LIFE);
    reader.becomes(587, V4, Fate::Open);
    assert_eq!(ports(&reader.dial()), [587]);
}

#[test]
fn the_family_that_works_goes_first_and_the_other_is_not_waited_for() {
    let dead = [(587, V6, Fate::Silent), (25, V6, Fate::Silent)];
    let mut reader = Reader::new(BOTH, &dead);
    let slow = ROUND_TRIP + Duration::from_millis(250);
    assert_eq!(won(&reader.dial()), (587, Family::Ipv4, slow));
    let history = reader.dial();
    assert_eq!(won(&history), (587, Family::Ipv4, ROUND_TRIP));
    assert_eq!(history.connects().count(), 1, "IPv6 is not even tried");
    // The caller's wish goes before it.
    reader.config.families = mailport::Families::PreferIpv6;
    assert_eq!(won(&reader.dial()), (587, Family::Ipv4, slow));
    reader.config.families = mailport::Families::Any;
    reader.pass(Table::LIFE);
    reader.becomes(587, V6, Fate::Open);
    assert_eq!(won(&reader.dial()), (587, Family::Ipv6, ROUND_TRIP), "an observation ends");
}
