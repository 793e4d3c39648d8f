//! Servers of every fate, behind the lab's router.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use mailport::report::Greeting;
use mailport::{
    Config, ConnectError, Connected, Dialer, GreetingWait, Outcome, Patience, Plan, Report,
};
use mailport_lab::greeters::Greeters;
use mailport_lab::real::Lab;
use mailport_lab::{Fate, Network};

const ROUND_TRIP: Duration = Duration::from_millis(20);
const NO_PAUSE: Duration = Duration::ZERO;

/// A server, by what becomes of its port 587. Its port 25 is open and greets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Far {
    Open,
    Reset,
    IcmpHard,
    IcmpSoft,
    Silent,
    Closing,
}

impl Far {
    pub(crate) const ALL: [Far; 6] =
        [Far::Open, Far::Reset, Far::IcmpHard, Far::IcmpSoft, Far::Silent, Far::Closing];

    pub(crate) fn number(self) -> u8 {
        self as u8 + 1
    }

    pub(crate) fn address(self) -> IpAddr {
        Ipv4Addr::new(192, 0, 2, self.number()).into()
    }

    pub(crate) fn name(self) -> String {
        format!("far-{}.example.test", self.number())
    }

    fn fate(self) -> Fate {
        match self {
            Far::Open => Fate::Open,
            Far::Reset => Fate::Reset,
            Far::IcmpHard => Fate::Icmp { kind: 3, code: 13 },
            Far::IcmpSoft => Fate::Icmp { kind: 3, code: 1 },
            Far::Silent => Fate::Silent,
            Far::Closing => Fate::AcceptThenClose(Duration::from_millis(50)),
        }
    }

    /// The caller's settings, with a greeting wait. What ends for silence does so early only where nothing
    /// is to come.
    pub(crate) fn config(self) -> Config {
        let (greeting_wait, deadline) = if self == Far::Silent { (2, 4) } else { (20, 60) };
        let mut config = Config::default();
        config.greeting_wait = GreetingWait::For(Duration::from_secs(greeting_wait));
        config.timeout = Duration::from_secs(deadline);
        if self != Far::Silent {
            let held_up = Duration::from_secs(10);
            (config.port_delay, config.patience) = (held_up, Patience::Fixed(held_up));
        }
        config
    }
}

/// A lab with every server.
pub(crate) struct World {
    // Dropped first: it listens where the lab is.
    _greeters: Greeters,
    pub(crate) lab: Lab,
}

impl World {
    /// Servers whose port 587 meets its fate.
    pub(crate) fn new() -> World {
        World::with_fates_of(587)
    }

    /// Servers of which another port meets the fate, and leads to 587 if it is open.
    pub(crate) fn with_fates_of(port: u16) -> World {
        let network = Network::new(ROUND_TRIP);
        let network = Far::ALL.iter().fold(network, |n, far| n.address(far.address(), Fate::Open));
        let lab = Lab::start(network).expect("a lab (needs root and /dev/net/tun)");
        for far in Far::ALL {
            lab.set(far.address(), port, far.fate());
        }
        lab.set(Far::Closing.address(), 587, Far::Closing.fate());
        let relays = Far::ALL.map(|far| (far, 25));
        let servers = [(Far::Open, 587)].into_iter().chain(relays);
        let servers = servers.map(|(far, port)| (SocketAddr::new(far.address(), port), NO_PAUSE));
        let greeters = Greeters::start(&lab, &servers.collect::<Vec<_>>()).unwrap();
        let names = Far::ALL.map(|far| (far.name(), far.address()));
        let names: Vec<_> = names.iter().map(|(name, address)| (&**name, *address)).collect();
        lab.hosts(&names).unwrap();
        World { _greeters: greeters, lab }
    }

    /// The ports of a server to which connections were begun, each as often as it was.
    pub(crate) fn tried(&self, far: Far) -> Vec<u16> {
        let syns = self.lab.syns();
        let ours = syns.iter().filter(|syn| syn.address == far.address());
        let mut seen = BTreeSet::new();
        ours.filter(|syn| seen.insert((syn.port, syn.source_port))).map(|syn| syn.port).collect()
    }

    pub(crate) fn dial(&self, host: &str, plan: &Plan, via: Option<&str>, set: &Config) -> Report {
        connect(&self.lab, host, plan, via, set).map_or_else(|report| *report, |done| done.report)
    }
}

/// Dials where a lab's client is.
pub(crate) fn connect(
    lab: &Lab,
    host: &str,
    plan: &Plan,
    via: Option<&str>,
    config: &Config,
) -> Result<Connected, Box<Report>> {
    let dialer = match via {
        Some(via) => Dialer::new().without_cache().with_via(via.parse().unwrap()),
        None => Dialer::new().without_cache(),
    };
    lab.client(|| dialer.clone().with_plan(plan.clone()).with_config(config.clone()).connect(host))
        .map_err(|error| match error {
            ConnectError::Failed(report) => report,
            other => panic!("{host}: {other}"),
        })
}

/// What became of every attempt, in their order.
pub(crate) fn story(report: &Report) -> String {
    let reported = report.attempts.iter().map(|attempt| {
        let greeting = match attempt.greeting {
            _ if attempt.outcome != Some(Outcome::Connected) => "",
            Some(Greeting::Received) => " greeted",
            Some(Greeting::Absent) => " unheard",
            _ => "",
        };
        format!(
            "{} {}{greeting}",
            attempt.service.port(),
            attempt.outcome.map_or("open", Outcome::name)
        )
    });
    reported.collect::<Vec<_>>().join(", ")
}
