//! The networks in which every client dials 587 and then 25.

use std::thread;
use std::time::Duration;

use mailport_lab::real::Lab;
use mailport_lab::scenario::{V4, V6, scenarios};

use crate::Result;
use crate::clients::{Answer, Client, Clients, Running};

const HOST: &str = "mail.example.com";
const SERVICES: [u16; 2] = [587, 25];

/// Between the starts of dials that wait at the same time.
const STAGGER: Duration = Duration::from_millis(100);

/// A column of the table.
pub(crate) struct Case {
    pub(crate) title: &'static str,
    /// The name of the lab's scenario; its network is used.
    scenario: &'static str,
    /// Some clients wait for seconds and use no processor meanwhile: all dial side by side.
    together: bool,
}

/// One dial of one client.
pub(crate) struct Dial {
    pub(crate) case: &'static str,
    pub(crate) client: &'static str,
    pub(crate) run: usize,
    pub(crate) answer: Answer,
}

pub(crate) const CASES: [Case; 9] = [
    alone("open", "587 is open twice"),
    alone("reset", "587 is reset twice"),
    alone("hard ICMP", "587 is filtered twice"),
    alone("soft ICMP", "587 is unreachable twice"),
    together("silent", "587 is silent twice"),
    together("v6 dead", "IPv6 is dead and 587 open over IPv4"),
    together("v6 dead, v4:587 reset", "IPv6 is dead and 587 reset over IPv4"),
    alone("first SYN lost", "587 loses the first SYN over both families"),
    alone("v4 dead", "IPv4 is dead and 587 open over IPv6"),
];

const fn alone(title: &'static str, scenario: &'static str) -> Case {
    Case { title, scenario, together: false }
}

const fn together(title: &'static str, scenario: &'static str) -> Case {
    Case { title, scenario, together: true }
}

impl Case {
    /// Lets every client dial so many times, each time in a new process, in one network.
    pub(crate) fn run(&self, clients: &Clients, runs: usize) -> Result<Vec<Dial>> {
        let all = scenarios();
        let scenario = all.iter().find(|s| s.name == self.scenario).ok_or("no such scenario")?;
        let lab = Lab::start(scenario.network.clone())?;
        lab.hosts(&[(HOST, V6), (HOST, V4)])?;
        // An error must become text before it leaves the thread inside.
        // Each client loses its own first SYNs.
        let network = &scenario.network;
        let lose_again = || {
            for (port, address) in network.losing() {
                lab.set(address, port, network.fate(address, port));
            }
        };
        let dials = || self.dials(&clients.dialers, runs, lose_again);
        lab.client(|| dials().map_err(|error| error.to_string())).map_err(Into::into)
    }

    fn dials(&self, clients: &[Client], runs: usize, before_each: impl Fn()) -> Result<Vec<Dial>> {
        let mut dials = Vec::new();
        let side_by_side = if self.together { clients.len() } else { 1 };
        for run in 0..runs {
            for clients in clients.chunks(side_by_side) {
                before_each();
                for (client, answer) in clients.iter().zip(answers(clients)?) {
                    dials.push(Dial { case: self.title, client: client.name, run, answer });
                }
            }
        }
        Ok(dials)
    }
}

/// Starts these clients, then lets each dial once, and waits for all.
fn answers(clients: &[Client]) -> Result<Vec<Answer>> {
    let running: Result<Vec<Running>> =
        clients.iter().map(|client| client.start(HOST, &SERVICES)).collect();
    let mut running = running?;
    for client in &mut running {
        client.ask(1)?;
        if clients.len() > 1 {
            thread::sleep(STAGGER);
        }
    }
    running.iter_mut().map(Running::answer).collect()
}
