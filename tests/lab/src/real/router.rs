//! The router: it holds every packet for a while, and decides the fate of every SYN.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags};

use super::ledger::Ledger;
use super::packet::Opening;
use super::worker::{Worker, wait};
use crate::Fate;

/// More than the MTU of the devices, which is 1500.
const LONGEST_PACKET: usize = 65_535;

/// How many packets are taken from one side before those that are due go out.
const TURN: usize = 64;

/// Starts the router between the devices of the two namespaces.
pub(super) fn start(client: File, server: File, ledger: Arc<Ledger>) -> io::Result<Worker> {
    let round_trip = ledger.round_trip();
    let there = round_trip / 2;
    let back = round_trip.saturating_sub(there);
    let (held, order, lost) = (BTreeMap::new(), 0, BTreeMap::new());
    let router = Router { client, server, there, back, held, order, lost, ledger };
    Worker::start("lab-router", |bell| router.run(&bell))
}

#[derive(Debug, Clone, Copy)]
enum Side {
    Client,
    Server,
}

struct Router {
    client: File,
    server: File,
    /// The time from the client to the server, and back.
    there: Duration,
    back: Duration,
    /// The packets on their way, by the time when they arrive and the order in which they came.
    held: BTreeMap<(Instant, u64), (Side, Vec<u8>)>,
    order: u64,
    /// How many SYNs of a connection were dropped, where the first ones are.
    lost: BTreeMap<Opening, u32>,
    ledger: Arc<Ledger>,
}

impl Router {
    /// Works until the bell rings.
    fn run(mut self, bell: &UnixStream) -> io::Result<()> {
        let mut buffer = vec![0; LONGEST_PACKET];
        loop {
            self.deliver();
            let next = self.held.first_key_value().map(|((due, _), _)| *due);
            let mut ready = [bell.as_fd(), self.client.as_fd(), self.server.as_fd()]
                .map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            wait(&mut ready, next)?;
            let [stop, client, server] = ready.map(|fd| fd.any().unwrap_or(true));
            if stop {
                return Ok(());
            }
            for side in [(client, Side::Client), (server, Side::Server)] {
                if let (true, side) = side {
                    self.take(side, &mut buffer)?;
                }
            }
        }
    }

    /// Takes the packets that one side has sent.
    fn take(&mut self, side: Side, buffer: &mut [u8]) -> io::Result<()> {
        for _ in 0..TURN {
            let read = match side {
                Side::Client => self.client.read(buffer),
                Side::Server => self.server.read(buffer),
            };
            let packet = match read {
                Ok(length) => &buffer[..length],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            };
            let now = Instant::now();
            match (side, Opening::read(packet)) {
                (Side::Client, Some(opening)) => self.decide(&opening, packet, now),
                (Side::Client, None) => self.hold(now + self.there, Side::Server, packet),
                (Side::Server, _) => self.hold(now + self.back, Side::Client, packet),
            }
        }
        Ok(())
    }

    /// Does to a SYN what its port is fated to.
    fn decide(&mut self, opening: &Opening, packet: &[u8], now: Instant) {
        self.ledger.note(opening, now);
        let answered = now + self.there + self.back;
        match self.ledger.fate(opening.to) {
            Fate::Open | Fate::AcceptThenClose(_) => {
                self.hold(now + self.there, Side::Server, packet);
            }
            Fate::LoseSyns(count) => {
                if !self.ledger.loses(opening.to, count) {
                    self.hold(now + self.there, Side::Server, packet);
                }
            }
            Fate::DropFirst(count) => {
                let lost = self.lost.entry(*opening).or_default();
                if *lost < count {
                    *lost += 1;
                } else {
                    self.hold(now + self.there, Side::Server, packet);
                }
            }
            Fate::Silent => {}
            Fate::Reset => self.hold(answered, Side::Client, &opening.reset()),
            Fate::Icmp { kind, code } => {
                self.hold(answered, Side::Client, &opening.icmp(kind, code, packet));
            }
        }
    }

    /// Lets a packet arrive on a side at a later time.
    fn hold(&mut self, due: Instant, side: Side, packet: &[u8]) {
        self.held.insert((due, self.order), (side, packet.to_vec()));
        self.order += 1;
    }

    /// Delivers the packets that are due.
    fn deliver(&mut self) {
        let now = Instant::now();
        while let Some(entry) = self.held.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let (side, packet) = entry.remove();
            let mut device = match side {
                Side::Client => &self.client,
                Side::Server => &self.server,
            };
            // A link that its namespace has set down loses packets, like any other.
            let _ = device.write(&packet);
        }
    }
}
