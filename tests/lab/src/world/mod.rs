//! A network in virtual time: it takes one dial from its first look-up to its result, without a
//! socket and without waiting.

mod history;
mod kernel;
mod names;
mod run;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use mailport::machine::{Answer as Said, Hints, Machine};
use mailport::outcome::{Errno, ViaError};
use mailport::{Config, Family, Plan, Target};

pub use history::{Entry, History, Syn, What};
pub use kernel::{Kernel, SoftErrors};
pub use names::{Answer, Names};

use crate::Network;

/// How punctual the loop around the machine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// It turns when something happens or is due, and then only.
    Exact,
    /// It also turns when there is no reason to, and events of one instant come in any order. No
    /// dial may turn out differently for that.
    Restless(u64),
    /// Every turn comes late, by less than this.
    Late {
        /// How the times are chosen.
        seed: u64,
        /// The bound.
        by: Duration,
    },
}

/// What a proxy makes of a connection to one port of the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Far {
    /// It connects, and the server greets.
    Opens,
    /// It says that it has connected, and then closes: a tunnel that accepts first.
    AcceptsThenCloses,
    /// It says that it has connected, and then nothing.
    AcceptsThenSilent,
    /// It says nothing.
    Silent,
    /// It fails so.
    Fails(ViaError),
}

/// A network, the names in it, and the machine that dials.
#[derive(Debug, Clone)]
pub struct World {
    /// The host, as the user wrote it; [`World::names`] answers for it.
    pub host: String,
    /// What becomes of each connection.
    pub network: Network,
    /// What the look-ups bring.
    pub names: Names,
    /// The client's TCP.
    pub kernel: Kernel,
    /// The client's address in each family, IPv6 first; without one there is no route.
    pub sources: [Option<IpAddr>; 2],
    /// Connects that the client's own kernel refuses at once.
    pub troubles: BTreeMap<SocketAddr, Errno>,
    /// What the client's own kernel says to every further connect to one address and port.
    pub trouble_again: Option<Errno>,
    /// The pause before the server's first byte, where the dial waits for that byte before a
    /// connection counts.
    pub greet_pause: Option<Duration>,
    /// What is remembered of the host.
    pub hints: Hints,
    /// How each question is answered, in their order, and how long after it is asked. A question
    /// beyond these is never answered.
    pub answers: Vec<(Duration, Said)>,
    /// The proxy that connects, by port of the target: nothing is looked up then.
    pub through: Option<BTreeMap<u16, Far>>,
    /// The loop around the machine.
    pub clock: Clock,
}

impl World {
    /// A world with routes to both families, whose names are answered at once with every address
    /// of the network.
    pub fn new(network: Network) -> World {
        let addresses: Vec<IpAddr> = network.addresses().collect();
        let sources = ["2001:db8:1::2", "198.51.100.2"];
        World {
            host: "mail.example.com".to_owned(),
            network,
            names: Names::at_once(&addresses),
            kernel: Kernel::default(),
            sources: sources.map(|text| Some(text.parse().expect("an address literal"))),
            troubles: BTreeMap::new(),
            trouble_again: None,
            greet_pause: None,
            hints: Hints::default(),
            answers: Vec::new(),
            through: None,
            clock: Clock::Exact,
        }
    }

    /// Dials, and gives what happened.
    ///
    /// Panics, and shows it all, where the machine never ends, spins, or changes its mind.
    pub fn dial(&self, plan: &Plan, config: &Config) -> History {
        let target: Target = self.host.parse().expect("the host of a world is a target");
        let start = Instant::now();
        let through = self.through.is_some();
        let machine = if through {
            Machine::through("socks5://proxy.example", &target, plan, config, start)
        } else {
            Machine::new(&target, plan, config, start)
        };
        let machine = machine.expect("something to dial").with_hints(self.hints.clone());
        run::run(self, machine, start, config.greeting_wait.wait(through).is_some())
    }

    fn source(&self, family: Family) -> Option<IpAddr> {
        self.sources[usize::from(family == Family::Ipv4)]
    }
}
