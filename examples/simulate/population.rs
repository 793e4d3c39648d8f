//! Hosts by chance, and a dial of one of them in virtual time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use mailport::machine::{Action, AttemptId, Event, Machine, Query};
use mailport::outcome::{Errno, Failure};
use mailport::{Config, Family, Outcome, Plan, Target};

const V4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));
const ECONNREFUSED: i32 = 111;
/// When Linux sends SYNs, in seconds after the first.
const SYNS: [u64; 11] = [0, 1, 2, 3, 4, 5, 7, 11, 19, 35, 68];
/// Of 23 servers in the paper's field test, how many had 587 open, and how many refused it.
const OPEN: u32 = 12;
const REFUSED: u32 = 7;
const SERVERS: u32 = 23;

/// What became of 587 at a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Submission {
    Open,
    Refused,
    Silent,
}

/// A server, and the way to it.
pub(crate) struct Host {
    pub(crate) submission: Submission,
    round_trip: Duration,
    /// The probability that one packet is lost.
    loss: f64,
    two_families: bool,
    /// Chance for everything that happens on the way; the same for every setting.
    seed: u64,
}

impl Host {
    pub(crate) fn any(random: &mut fastrand::Rng) -> Host {
        let submission = match random.u32(0..SERVERS) {
            n if n < OPEN => Submission::Open,
            n if n < OPEN + REFUSED => Submission::Refused,
            _ => Submission::Silent,
        };
        let round_trip = Duration::from_secs_f64(0.005 * 400f64.powf(random.f64()));
        let (loss, two_families) = (0.1 * random.f64(), random.bool());
        Host { submission, round_trip, loss, two_families, seed: random.u64(..) }
    }

    /// When the answer to a connect comes, if ever, after its first SYN. A SYN and its answer can
    /// both be lost; a server sends its answer again as a client does its SYN.
    fn answer(&self, address: SocketAddr) -> Option<Duration> {
        if address.port() == 587 && self.submission == Submission::Silent {
            return None;
        }
        // Of the address, not of the order of attempts, so that a setting changes no luck.
        let number = u64::from(address.port()) * 2 + u64::from(address.is_ipv4());
        let mut random = fastrand::Rng::with_seed(self.seed ^ number);
        let mut arrives = |at: u64| {
            let there_and_back = random.f64() >= self.loss && random.f64() >= self.loss;
            // No two round trips are the same; without this, ties would be decided by the rules.
            let round_trip = self.round_trip.mul_f64(0.9 + 0.3 * random.f64());
            there_and_back.then(|| Duration::from_secs(at) + round_trip)
        };
        SYNS.into_iter().find_map(&mut arrives)
    }
}

/// What came of a dial.
pub(crate) struct Dialled {
    pub(crate) port: Option<u16>,
    pub(crate) wait: Duration,
    /// Whether a SYN went to 25.
    pub(crate) tried_25: bool,
}

/// One dial of 587 and then 25; names are known at once.
pub(crate) fn dial(host: &Host, config: &Config) -> Dialled {
    static TARGET: OnceLock<Target> = OnceLock::new();
    let target = TARGET.get_or_init(|| "mail.example.com".parse().expect("a host name"));
    let start = Instant::now();
    let mut machine =
        Machine::new(target, &Plan::submission(), config, start).expect("settings that can work");
    // Ordered by time, then by the order of the attempts.
    let mut coming: BinaryHeap<Reverse<(Duration, usize, u16)>> = BinaryHeap::new();
    let mut ports: Vec<u16> = Vec::new();
    let mut now = Duration::ZERO;
    loop {
        machine.handle_timeout(start + now);
        while let Some(action) = machine.poll_action() {
            match action {
                Action::Resolve { query } => machine.handle(names(host, query), start + now),
                Action::Connect { attempt, address } => {
                    ports.push(address.port());
                    let answer = host.answer(address);
                    coming.extend(answer.map(|t| Reverse((now + t, attempt.0, address.port()))));
                }
                Action::Through { .. } | Action::Close { .. } => {}
            }
        }
        if let Some(end) = machine.outcome() {
            let port = match end {
                mailport::report::End::Connected(winner) => Some(ports[winner]),
                _ => None,
            };
            return Dialled { port, wait: now, tried_25: ports.contains(&25) };
        }
        let due = machine.deadline().map_or(Duration::MAX, |at| at - start);
        now = coming.peek().map_or(due, |Reverse((at, ..))| due.min(*at)).max(now);
        while let Some(&Reverse((at, attempt, port))) = coming.peek()
            && at <= now
        {
            coming.pop();
            arrive(&mut machine, host, AttemptId(attempt), port, start + now);
        }
    }
}

fn arrive(machine: &mut Machine, host: &Host, attempt: AttemptId, port: u16, now: Instant) {
    if port == 587 && host.submission == Submission::Refused {
        let errno = Some(Errno(ECONNREFUSED));
        let failure = Failure { errno, ..Failure::new(Outcome::Reset) };
        machine.handle(Event::Failed { attempt, failure, syns: None }, now);
    } else {
        // The kernel's smoothed round trip: what a connection measures, without the chance of one.
        let round_trip = host.round_trip;
        machine.handle(Event::Connected { attempt, round_trip, syns: None }, now);
        machine.handle(Event::Confirmed { attempt }, now);
    }
}

fn names(host: &Host, query: Query) -> Event {
    let list = if host.two_families { &[V6, V4][..] } else { &[V4] };
    let addresses = Ok(list.iter().map(|&ip| SocketAddr::new(ip, 0)).collect());
    Event::Resolved { query, addresses, routes: Family::ALL.to_vec() }
}
