//! The one table of scenarios: what a dial does in which network. It is run in virtual time and on
//! real kernels, so everything in it is data.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use mailport::Family::{self, Ipv4, Ipv6};
use mailport::Outcome::{self, Cancelled, Closed, Connected, IcmpHard, IcmpSoft, Reset, Timeout};
use mailport::report::{Attempt, End};
use mailport::{Config, Patience, Plan, Report};

use crate::world::{Answer, Names};
use crate::{Fate, Network};

/// The server's address over IPv4.
pub const V4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
/// The server's address over IPv6.
pub const V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 1));
/// The round trip of every scenario.
pub const ROUND_TRIP: Duration = Duration::from_millis(40);

const BOTH: &[IpAddr] = &[V6, V4];
const HARD_V4: Fate = Fate::Icmp { kind: 3, code: 13 };
const HARD_V6: Fate = Fate::Icmp { kind: 1, code: 1 };
const SOFT_V4: Fate = Fate::Icmp { kind: 3, code: 1 };
const SOFT_V6: Fate = Fate::Icmp { kind: 1, code: 3 };

/// One network, one dial, and what comes of it.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// A claim: what the network is like and what the dial does.
    pub name: &'static str,
    /// The services.
    pub plan: Plan,
    /// The caller's settings.
    pub config: Config,
    /// What becomes of each connection; every address is open unless said otherwise.
    pub network: Network,
    /// What the look-ups bring.
    pub names: Names,
    /// What is to come of it.
    pub expected: Expected,
}

/// What is to come of a dial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// The port and the family that are connected, or how the dial ends without.
    pub end: Result<(u16, Family), End>,
    /// The dial ends after this many round trips ...
    pub round_trips: u32,
    /// ... and this much.
    pub plus: Duration,
    /// The attempts in the order of their start.
    pub attempts: Vec<(u16, Family, Outcome)>,
}

impl Expected {
    /// When the dial ends.
    pub fn after(&self, round_trip: Duration) -> Duration {
        round_trip * self.round_trips + self.plus
    }
}

/// How close to the end of a dial an attempt may begin that virtual time does not have. Where two
/// connections are established at one instant there, a kernel reports one after the other, and the
/// first may begin a second attempt at another address.
pub const LAST_MOMENT: Duration = Duration::from_millis(5);

/// The attempts of a dial on real kernels, without those that began in its [`LAST_MOMENT`] and were
/// cancelled.
pub fn without_last_moment(report: &Report) -> impl Iterator<Item = &Attempt> {
    let moment = report.elapsed.saturating_sub(LAST_MOMENT);
    report
        .attempts
        .iter()
        .filter(move |attempt| attempt.outcome != Some(Cancelled) || attempt.started < moment)
}

/// Every scenario.
pub fn scenarios() -> Vec<Scenario> {
    [table(), sequential(), settings(), others()].into_iter().flatten().collect()
}

/// The scenarios of the design's table, at hosts with one address and with two.
pub fn table() -> Vec<Scenario> {
    [one_address(), two_addresses(), half_a_host()].into_iter().flatten().collect()
}

/// At a host with one address.
fn one_address() -> Vec<Scenario> {
    let won = |outcome, round_trips| {
        wins((25, Ipv4), round_trips, 0, &[(587, Ipv4, outcome), (25, Ipv4, Connected)])
    };
    // 25 is dialled after the port delay, and one more SYN to 587 is unanswered for 140 ms.
    let silent = || {
        let attempts = [
            (587, Ipv4, Timeout),
            (587, Ipv4, Timeout),
            (25, Ipv4, Connected),
            (587, Ipv4, Timeout),
        ];
        wins((25, Ipv4), 0, 500 + 40 + 140, &attempts)
    };
    let lost = wins((587, Ipv4), 1, 250, &[(587, Ipv4, Cancelled), (587, Ipv4, Connected)]);
    let lost_twice = wins(
        (587, Ipv4),
        1,
        540,
        &[
            (587, Ipv4, Cancelled),
            (587, Ipv4, Cancelled),
            (25, Ipv4, Cancelled),
            (587, Ipv4, Connected),
        ],
    );
    let one = |name, fate, expected| on(name, &[V4], &[(587, V4, fate)], expected);
    vec![
        on("587 is open", &[V4], &[], wins((587, Ipv4), 1, 0, &[(587, Ipv4, Connected)])),
        on("587 over IPv6 is open", &[V6], &[], wins((587, Ipv6), 1, 0, &[(587, Ipv6, Connected)])),
        one("587 is reset", Fate::Reset, won(Reset, 2)),
        one("587 is filtered", HARD_V4, won(IcmpHard, 2)),
        one("587 is unreachable", SOFT_V4, won(IcmpSoft, 2)),
        one("587 is silent", Fate::Silent, silent()),
        one("587 loses the first SYN", Fate::LoseSyns(1), lost),
        one("587 loses the first two SYNs", Fate::LoseSyns(2), lost_twice),
    ]
}

/// At a host with two addresses.
fn two_addresses() -> Vec<Scenario> {
    let both = |v6, v4| [(587, V6, v6), (587, V4, v4)];
    let won = |v6, v4, round_trips, plus| {
        let attempts = [(587, Ipv6, v6), (587, Ipv4, v4), (25, Ipv6, Connected)];
        wins((25, Ipv6), round_trips, plus, &attempts)
    };
    let lost = wins(
        (587, Ipv6),
        1,
        500,
        &[
            (587, Ipv6, Cancelled),
            (587, Ipv4, Cancelled),
            (25, Ipv6, Cancelled),
            (587, Ipv6, Connected),
        ],
    );
    // The other address holds 25 back for 600 ms.
    let silent = wins(
        (25, Ipv6),
        0,
        250 + 600,
        &[
            (587, Ipv6, Timeout),
            (587, Ipv4, Timeout),
            (25, Ipv6, Connected),
            (587, Ipv6, Timeout),
            (587, Ipv4, Timeout),
        ],
    );
    vec![
        on("587 is open twice", BOTH, &[], wins((587, Ipv6), 1, 0, &[(587, Ipv6, Connected)])),
        on("587 is reset twice", BOTH, &both(Fate::Reset, Fate::Reset), won(Reset, Reset, 2, 0)),
        on("587 is filtered twice", BOTH, &both(HARD_V6, HARD_V4), won(IcmpHard, IcmpHard, 2, 0)),
        on(
            "587 is unreachable twice",
            BOTH,
            &both(SOFT_V6, SOFT_V4),
            won(IcmpSoft, IcmpSoft, 3, 0),
        ),
        on("587 is silent twice", BOTH, &both(Fate::Silent, Fate::Silent), silent),
        on(
            "587 loses the first SYN over both families",
            BOTH,
            &both(Fate::LoseSyns(1), Fate::LoseSyns(1)),
            lost,
        ),
    ]
}

/// Hosts of which only one family works.
fn half_a_host() -> Vec<Scenario> {
    let v6_dead = [(587, V6, Fate::Silent), (25, V6, Fate::Silent)];
    let v4_dead = [(587, V4, Fate::Silent), (25, V4, Fate::Silent)];
    let v6_soft = [(587, V6, SOFT_V6), (25, V6, SOFT_V6)];
    let and = |dead: &[(u16, IpAddr, Fate)], more| [dead, &[more]].concat();
    vec![
        on(
            "IPv6 is dead and 587 open over IPv4",
            BOTH,
            &v6_dead,
            wins((587, Ipv4), 1, 250, &[(587, Ipv6, Cancelled), (587, Ipv4, Connected)]),
        ),
        on(
            "IPv6 is dead and 587 reset over IPv4",
            BOTH,
            &and(&v6_dead, (587, V4, Fate::Reset)),
            wins(
                (25, Ipv4),
                2,
                250,
                &[(587, Ipv6, Timeout), (587, Ipv4, Reset), (25, Ipv4, Connected)],
            ),
        ),
        on(
            "IPv4 is dead and 587 open over IPv6",
            BOTH,
            &v4_dead,
            wins((587, Ipv6), 1, 0, &[(587, Ipv6, Connected)]),
        ),
        on(
            "IPv4 is dead and 587 reset over IPv6",
            BOTH,
            &and(&v4_dead, (587, V6, Fate::Reset)),
            wins(
                (25, Ipv6),
                1,
                250,
                &[(587, Ipv6, Reset), (587, Ipv4, Timeout), (25, Ipv6, Connected)],
            ),
        ),
        on(
            "IPv6 is unreachable and 587 reset over IPv4",
            BOTH,
            &and(&v6_soft, (587, V4, Fate::Reset)),
            wins(
                (25, Ipv4),
                3,
                0,
                &[(587, Ipv6, IcmpSoft), (587, Ipv4, Reset), (25, Ipv4, Connected)],
            ),
        ),
    ]
}

/// Sequential dials: no SYN to the next service before this one has failed or is overdue.
fn sequential() -> Vec<Scenario> {
    let won = |v6, v4, family, round_trips, plus| {
        let attempts = [(587, Ipv6, v6), (587, Ipv4, v4), (25, family, Connected)];
        wins((25, family), round_trips, plus, &attempts)
    };
    let silent = [(587, V6, Fate::Silent), (587, V4, Fate::Silent)];
    // Each address twice, before the patience with the last one ends.
    let won_over_silence = |order: [Family; 4], plus| {
        let attempts = order.map(|family| (587, family, Timeout));
        wins((25, Ipv6), 1, plus, &[&attempts[..], &[(25, Ipv6, Connected)]].concat())
    };
    let reset = [(587, V6, Fate::Reset), (587, V4, Fate::Reset)];
    let half_dead = [(587, V6, Fate::Silent), (25, V6, Fate::Silent), (587, V4, Fate::Reset)];
    vec![
        on("sequential, 587 is reset twice", BOTH, &reset, won(Reset, Reset, Ipv6, 3, 0))
            .sequential(),
        on(
            "sequential, 587 is silent twice",
            BOTH,
            &silent,
            won_over_silence([Ipv6, Ipv4, Ipv6, Ipv4], 1550),
        )
        .sequential(),
        on(
            "sequential, IPv6 is dead and 587 reset over IPv4",
            BOTH,
            &half_dead,
            won(Timeout, Reset, Ipv4, 2, 250),
        )
        .sequential(),
        on(
            "as Mew did, 587 over IPv4 only",
            BOTH,
            &reset,
            wins((25, Ipv6), 2, 0, &[(587, Ipv4, Reset), (25, Ipv6, Connected)]),
        )
        .plan(Plan::mew()),
        on(
            "symmetric, 587 is silent twice",
            BOTH,
            &silent,
            won_over_silence([Ipv6, Ipv6, Ipv4, Ipv4], 2600),
        )
        .plan(Plan::symmetric()),
    ]
}

/// What the caller may set.
fn settings() -> Vec<Scenario> {
    let silent = [(587, V4, Fate::Silent)];
    let won = |round_trips, plus| {
        let attempts = [(587, Ipv4, Timeout), (587, Ipv4, Timeout), (25, Ipv4, Connected)];
        wins((25, Ipv4), round_trips, plus, &attempts)
    };
    let second_last = [(587, Ipv4, Timeout), (25, Ipv4, Connected), (587, Ipv4, Timeout)];
    let all_silent =
        [V6, V4].map(|address| [(587, address, Fate::Silent), (25, address, Fate::Silent)]);
    vec![
        on("with more patience 587 is waited for longer", &[V4], &silent, won(0, 2000))
            .set(|config| config.patience = Patience::Fixed(ms(2000))),
        on(
            "with less patience than port delay 25 wins as it connects",
            &[V4],
            &silent,
            won(1, 1000),
        )
        .set(|config| config.patience = Patience::Fixed(ms(500))),
        on(
            "with a shorter port delay 25 is dialled sooner and still held",
            &[V4],
            &silent,
            wins((25, Ipv4), 0, 1300, &second_last),
        )
        .set(|config| config.port_delay = ms(200)),
        on(
            "everything is silent until the deadline",
            BOTH,
            &all_silent.concat(),
            ends(
                End::Timeout,
                0,
                1400,
                &[
                    (587, Ipv6, Timeout),
                    (587, Ipv4, Timeout),
                    (25, Ipv6, Timeout),
                    (587, Ipv6, Timeout),
                    (25, Ipv4, Timeout),
                    (587, Ipv4, Timeout),
                    (25, Ipv6, Timeout),
                    (25, Ipv4, Timeout),
                ],
            ),
        )
        .set(|config| config.timeout = ms(1400)),
        on(
            "at the deadline a held connection is better than none",
            &[V4],
            &silent,
            wins(
                (25, Ipv4),
                0,
                600,
                &[
                    (587, Ipv4, Timeout),
                    (587, Ipv4, Timeout),
                    (25, Ipv4, Connected),
                    (587, Ipv4, Timeout),
                ],
            ),
        )
        .set(|config| config.timeout = ms(600)),
    ]
}

/// Other plans, other ends, other names.
fn others() -> Vec<Scenario> {
    let refusing =
        [V6, V4].map(|address| [(587, address, Fate::Reset), (25, address, Fate::Reset)]);
    let open_over_v4 =
        |round_trips, plus| wins((587, Ipv4), round_trips, plus, &[(587, Ipv4, Connected)]);
    let closing = Fate::AcceptThenClose(ms(50));
    vec![
        on(
            "of three services the first is silent and the second reset",
            &[V4],
            &[(465, V4, Fate::Silent), (587, V4, Fate::Reset)],
            wins(
                (25, Ipv4),
                0,
                500 + 2 * 40 + 140,
                &[
                    (465, Ipv4, Timeout),
                    (465, Ipv4, Timeout),
                    (587, Ipv4, Reset),
                    (25, Ipv4, Connected),
                    (465, Ipv4, Timeout),
                ],
            ),
        )
        .plan("465:implicit,587:starttls,25:starttls".parse().expect("a plan")),
        on(
            "465 alone is reset",
            &[V4],
            &[(465, V4, Fate::Reset)],
            ends(End::Exhausted, 1, 0, &[(465, Ipv4, Reset)]),
        )
        .plan(Plan::submissions()),
        on(
            "everything is reset",
            BOTH,
            &refusing.concat(),
            ends(
                End::Exhausted,
                3,
                0,
                &[(587, Ipv6, Reset), (587, Ipv4, Reset), (25, Ipv6, Reset), (25, Ipv4, Reset)],
            ),
        ),
        on(
            "a held connection is closed and 587 comes late",
            &[V4],
            &[(587, V4, Fate::LoseSyns(3)), (25, V4, closing)],
            wins(
                (587, Ipv4),
                1,
                1000,
                &[
                    (587, Ipv4, Connected),
                    (587, Ipv4, Cancelled),
                    (25, Ipv4, Closed),
                    (587, Ipv4, Cancelled),
                ],
            ),
        ),
        on(
            "a device that drops each first SYN to 587 leads to 25",
            &[V4],
            &[(587, V4, Fate::DropFirst(1))],
            wins(
                (25, Ipv4),
                0,
                680,
                &[
                    (587, Ipv4, Timeout),
                    (587, Ipv4, Timeout),
                    (25, Ipv4, Connected),
                    (587, Ipv4, Timeout),
                ],
            ),
        ),
        on(
            "a server that closes soon is connected",
            &[V4],
            &[(587, V4, closing)],
            open_over_v4(1, 0),
        ),
        on("the host has no address", &[], &[], ends(End::Unresolved, 0, 20, &[]))
            .names(Names::after(&[], ms(20), ms(10))),
        on("AAAA is never answered", &[V4], &[], open_over_v4(1, 120))
            .names(Names::new(Answer::Never, Answer::Addresses { after: ms(20), list: vec![V4] })),
        on(
            "AAAA is answered late and IPv4 is silent",
            BOTH,
            &[(587, V4, Fate::Silent)],
            wins((587, Ipv6), 1, 350, &[(587, Ipv4, Cancelled), (587, Ipv6, Connected)]),
        )
        .names(Names::after(BOTH, ms(200), ms(0))),
    ]
}

/// A network of these addresses, every port of them open but those with another fate.
pub fn network(
    round_trip: Duration,
    addresses: &[IpAddr],
    fates: &[(u16, IpAddr, Fate)],
) -> Network {
    let empty = Network::new(round_trip);
    let open = |network: Network, &address| network.address(address, Fate::Open);
    let mut network = addresses.iter().fold(empty, open);
    for &(port, address, fate) in fates {
        network.set(address, port, fate);
    }
    network
}

/// A dial of 587 and 25 at these addresses; the fates are for ports that are not open.
fn on(
    name: &'static str,
    addresses: &[IpAddr],
    fates: &[(u16, IpAddr, Fate)],
    expected: Expected,
) -> Scenario {
    Scenario {
        name,
        plan: Plan::submission(),
        config: Config::default(),
        network: network(ROUND_TRIP, addresses, fates),
        names: Names::at_once(addresses),
        expected,
    }
}

impl Scenario {
    fn plan(self, plan: Plan) -> Scenario {
        Scenario { plan, ..self }
    }

    fn set(mut self, change: impl FnOnce(&mut Config)) -> Scenario {
        change(&mut self.config);
        self
    }

    fn sequential(self) -> Scenario {
        let plan = self.plan.clone().sequential();
        self.plan(plan)
    }

    fn names(self, names: Names) -> Scenario {
        Scenario { names, ..self }
    }
}

fn wins(
    winner: (u16, Family),
    round_trips: u32,
    plus: u64,
    attempts: &[(u16, Family, Outcome)],
) -> Expected {
    Expected { end: Ok(winner), round_trips, plus: ms(plus), attempts: attempts.to_vec() }
}

fn ends(end: End, round_trips: u32, plus: u64, attempts: &[(u16, Family, Outcome)]) -> Expected {
    Expected { end: Err(end), round_trips, plus: ms(plus), attempts: attempts.to_vec() }
}

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}
