//! What one connect to a literal address costs on loopback.

use std::iter;
use std::net::{Ipv4Addr, TcpListener};

use mailport_lab::Network;
use mailport_lab::real::Lab;
use mailport_lab::scenario::ROUND_TRIP;

use crate::Result;
use crate::clients::{Client, Clients, Running};

/// Connects in a round; a listener of the standard library keeps 128 that are not accepted.
pub(crate) const CONNECTS: u32 = 100;
/// Rounds before those that count.
const WARM_UP: usize = 3;

/// One round of one client.
pub(crate) struct Round {
    pub(crate) client: &'static str,
    /// 0 for the first that counts.
    pub(crate) turn: usize,
    /// For each connect.
    pub(crate) microseconds: f64,
}

/// Lets the clients connect in turn: never two at a time, and each as busy a machine as the next.
pub(crate) fn run(clients: &Clients, rounds: usize) -> Result<Vec<Round>> {
    // A separate network, whose loopback nothing else uses and no firewall watches.
    let lab = Lab::start(Network::new(ROUND_TRIP))?;
    let clients: Vec<&Client> = iter::once(&clients.bare).chain(&clients.dialers).collect();
    lab.client(|| measure(&clients, rounds).map_err(|error| error.to_string())).map_err(Into::into)
}

fn measure(clients: &[&Client], rounds: usize) -> Result<Vec<Round>> {
    let racers: Result<Vec<Racer>> = clients.iter().map(|client| Racer::start(client)).collect();
    let mut racers = racers?;
    let mut results = Vec::new();
    for round in 0..WARM_UP + rounds {
        for racer in &mut racers {
            let microseconds = racer.race()?;
            if let Some(turn) = round.checked_sub(WARM_UP) {
                results.push(Round { client: racer.name, turn, microseconds });
            }
        }
        // No client always follows the same one.
        racers.rotate_left(1);
    }
    Ok(results)
}

/// A client, and its own listener, so that none meets the closed connections of another.
struct Racer {
    name: &'static str,
    client: Running,
    listener: TcpListener,
}

impl Racer {
    fn start(client: &Client) -> Result<Racer> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        let running = client.start(&Ipv4Addr::LOCALHOST.to_string(), &[port])?;
        Ok(Racer { name: client.name, client: running, listener })
    }

    /// Gives the microseconds for each connect of a round.
    fn race(&mut self) -> Result<f64> {
        self.client.ask(CONNECTS)?;
        let answer = self.client.answer()?;
        if answer.port == 0 {
            return Err(format!("{} does not connect on loopback", self.name).into());
        }
        // All are accepted only now: waking a server would be counted as the client's.
        while self.listener.accept().is_ok() {}
        Ok(answer.milliseconds * 1e3 / f64::from(CONNECTS))
    }
}
