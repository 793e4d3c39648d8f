//! Hosts by chance, and the way to them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use fastrand::Rng;

pub(crate) const V4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
pub(crate) const V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));
/// When Linux sends SYNs, in seconds after the first.
pub(crate) const SYNS: [u64; 11] = [0, 1, 2, 3, 4, 5, 7, 11, 19, 35, 68];
/// Of 23 servers in the paper's field test, how many had 587 open, and how many refused it.
const OPEN: u32 = 12;
const REFUSED: u32 = 7;
const SERVERS: u32 = 23;
/// How long a burst of losses lasts on average, and how much of it is lost.
const BURST: Duration = Duration::from_millis(300);
const LOST_IN_A_BURST: f64 = 0.9;
const OUTAGE: Duration = Duration::from_secs(1);

/// What became of 587 at a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Submission {
    Open,
    Refused,
    Silent,
}

/// Where the hosts of a row are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum World {
    /// Round trips from 5 ms to 2 s, and up to 10 % of the packets lost, each by itself.
    Population,
    /// Round trips from 5 to 60 ms, and up to 1 % of the packets lost.
    Near,
    /// The population, with the same losses in bursts.
    Bursts,
    /// The population, where one round trip in ten is longer by a heavy tail.
    HeavyTails,
    /// The path is down for a second at about the time of the dial.
    Outages,
    /// Only 587 is.
    SubmissionOutages,
    /// A device nearby answers 25, and 587 is far away.
    NearbyDevice,
    /// A device drops the first SYN of each connection to 587.
    DroppingDevice,
}

impl World {
    pub(crate) const ALL: [World; 8] = [
        World::Population,
        World::Near,
        World::Bursts,
        World::HeavyTails,
        World::Outages,
        World::SubmissionOutages,
        World::NearbyDevice,
        World::DroppingDevice,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            World::Population => "population",
            World::Near => "near",
            World::Bursts => "population, losses in bursts",
            World::HeavyTails => "population, heavy tails",
            World::Outages => "path down for 1 s",
            World::SubmissionOutages => "587 alone down for 1 s",
            World::NearbyDevice => "a device answers 25 nearby",
            World::DroppingDevice => "each first SYN to 587 dropped",
        }
    }
}

/// A server, and the way to it.
pub(crate) struct Host {
    pub(crate) submission: Submission,
    pub(crate) two_families: bool,
    world: World,
    /// The round trip without chance, and how much of it each address and port adds.
    round_trip: Duration,
    /// The probability that one packet is lost.
    loss: f64,
    /// Chance for everything that happens on the way; the same for every setting.
    seed: u64,
}

/// Random numbers for one purpose: they do not depend on what was drawn before.
fn chance(seed: u64, purpose: [u64; 4]) -> Rng {
    let mixed = purpose.into_iter().fold(seed, |mixed, part| {
        (mixed ^ part).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
    });
    Rng::with_seed(mixed)
}

/// Evenly on a logarithmic scale.
fn between(random: &mut Rng, least: f64, most: f64) -> Duration {
    Duration::from_secs_f64(least * (most / least).powf(random.f64()))
}

impl Host {
    pub(crate) fn any(world: World, random: &mut Rng) -> Host {
        let submission = match random.u32(0..SERVERS) {
            n if n < OPEN => Submission::Open,
            n if n < OPEN + REFUSED => Submission::Refused,
            _ => Submission::Silent,
        };
        let (round_trip, loss) = match world {
            World::Population | World::Bursts | World::HeavyTails => {
                (between(random, 0.005, 2.0), 0.1)
            }
            World::Near => (between(random, 0.005, 0.06), 0.01),
            World::NearbyDevice => (between(random, 0.1, 0.9), 0.02),
            World::Outages | World::SubmissionOutages | World::DroppingDevice => {
                (between(random, 0.01, 0.3), 0.01)
            }
        };
        let (loss, two_families) = (loss * random.f64(), random.bool());
        Host { submission, two_families, world, round_trip, loss, seed: random.u64(..) }
    }

    /// The same host at another time: everything that happens on the way is new.
    pub(crate) fn at_another_time(&self, number: u64) -> Host {
        let seed = chance(self.seed, [number, 20, 0, 0]).u64(..);
        Host { seed, ..*self }
    }

    /// When the answer to the n-th connect to an address comes, if ever, its SYNs and its round
    /// trip. A SYN and its answer can both be lost; a server sends its answer again as a client
    /// does its SYN.
    pub(crate) fn answer(&self, address: SocketAddr, nth: u64, start: Duration) -> Option<Answer> {
        let is_submission = address.port() == 587;
        if is_submission && self.submission == Submission::Silent {
            return None;
        }
        let dropped = usize::from(is_submission && self.world == World::DroppingDevice);
        // Of the address, not of the order of attempts, so that a setting changes no luck.
        let place = u64::from(address.port()) * 2 + u64::from(address.is_ipv4());
        SYNS.into_iter().enumerate().skip(dropped).find_map(|(index, after)| {
            let mut random = chance(self.seed, [place, nth, index as u64, 1]);
            let sent = start + Duration::from_secs(after);
            let round_trip = self.round_trip(address, &mut random);
            let there = self.passes(address, sent, &mut random);
            let back = self.passes(address, sent + round_trip, &mut random);
            let at = sent + round_trip;
            (there && back).then_some(Answer { at, syns: index as u32 + 1, round_trip })
        })
    }

    /// No two round trips are the same; without that, ties would be decided by the rules.
    fn round_trip(&self, address: SocketAddr, random: &mut Rng) -> Duration {
        let mut of_place = chance(0, [address.port().into(), u64::from(address.is_ipv4()), 2, 2]);
        let near = self.world == World::NearbyDevice && address.port() == 25;
        let usual = if near {
            Duration::from_millis(1) + self.round_trip.div_f64(150.0)
        } else {
            self.round_trip.mul_f64(0.95 + 0.1 * of_place.f64())
        };
        let jitter = usual.mul_f64(0.9 + 0.3 * random.f64());
        // A tenth is longer by a Pareto distribution with an exponent of 1.5.
        let is_late = self.world == World::HeavyTails && random.f64() < 0.1;
        if is_late {
            jitter.mul_f64(random.f64().max(1e-4).powf(-1.0 / 1.5).min(50.0))
        } else {
            jitter
        }
    }

    /// Whether a packet arrives that is on its way at a time.
    fn passes(&self, address: SocketAddr, at: Duration, random: &mut Rng) -> bool {
        let is_down = match self.world {
            World::Outages => self.is_down(at),
            World::SubmissionOutages => address.port() == 587 && self.is_down(at),
            _ => false,
        };
        let loss = match self.world {
            World::Bursts if self.is_in_a_burst(address, at) => LOST_IN_A_BURST,
            World::Bursts => 0.0,
            _ => self.loss,
        };
        !is_down && random.f64() >= loss
    }

    /// One outage, which begins up to a second before or after the dial.
    fn is_down(&self, at: Duration) -> bool {
        let begins = 2.0 * chance(self.seed, [3, 0, 0, 3]).f64() - 1.0;
        let at = at.as_secs_f64() - begins;
        (0.0..OUTAGE.as_secs_f64()).contains(&at)
    }

    /// Whether the path over this family loses nearly everything at a time. Slots as long as a
    /// burst are bad together or alone, as often as the host's loss asks for.
    fn is_in_a_burst(&self, address: SocketAddr, at: Duration) -> bool {
        let mut phase = chance(self.seed, [4, address.is_ipv4().into(), 0, 4]);
        let slot = (at.as_secs_f64() / BURST.as_secs_f64() + phase.f64()) as u64;
        let mut slot = chance(self.seed, [5, address.is_ipv4().into(), slot, 5]);
        slot.f64() < self.loss / LOST_IN_A_BURST
    }
}

/// A SYN that was answered.
pub(crate) struct Answer {
    pub(crate) at: Duration,
    pub(crate) syns: u32,
    pub(crate) round_trip: Duration,
}
