//! Are the rules for silence right? Dials hosts in virtual time, and shows how long a user waits
//! and how often lost packets alone lead to the wrong port: by the rules, as it was before there
//! were second attempts, by what else could have been chosen, with a cache that knows 587, and in
//! twenty dials of a host, two minutes apart.
//!
//! ```sh
//! cargo run --release --example simulate            # a million hosts; writes simulate.svg
//! cargo run --release --example simulate -- 50000 picture.svg
//! ```
//!
//! The population: each packet is lost with a probability between 0 and 10 %, a round trip is 5 to
//! 2,000 ms (evenly on a logarithmic scale) give or take a tenth or two, half the hosts have one
//! address and half have one of each family, and 587 is open, refused or silent as in the field
//! test of the fallback paper (12, 7 and 4 of 23 servers). 25 is always open: nothing tempts a dial
//! more to leave 587 too early. The other worlds are in `population.rs`.

#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts and milliseconds of a chart"
)]

mod dial;
mod picture;
mod population;
mod series;

use std::io::{self, Write};
use std::time::{Duration, Instant};

use dial::{Dialled, Policy, dial};
use mailport::machine::Hints;
use mailport::{Config, Patience};
use population::{Host, Submission, World};
use series::{known, series};

/// Patience, in milliseconds; 0 means the rules.
const PATIENCES: [u64; 9] = [0, 250, 500, 1000, 1300, 1600, 2000, 3000, 5000];
/// Port delays, in milliseconds.
const PORT_DELAYS: [u64; 5] = [100, 250, 500, 1000, 2000];
const SEED: u64 = 587;
/// Fewer hosts say nothing.
const LEAST: u64 = 9000;

/// What came of all dials with one setting.
pub(crate) struct Cell {
    pub(crate) patience: u64,
    pub(crate) port_delay: u64,
    pub(crate) sums: Sums,
}

/// What a row shows.
#[derive(Default)]
pub(crate) struct Sums {
    open: u64,
    fallbacks: u64,
    needless: u64,
    syns: u64,
    silent: u64,
    silent_wait: Duration,
    open_wait: Duration,
}

impl Sums {
    fn add(&mut self, host: &Host, dialled: &Dialled) {
        match host.submission {
            Submission::Open => {
                self.open += 1;
                self.fallbacks += u64::from(dialled.port == Some(25));
                self.needless += u64::from(dialled.tried_25);
                self.syns += dialled.syns;
                self.open_wait += dialled.wait;
            }
            Submission::Silent => {
                self.silent += 1;
                self.silent_wait += dialled.wait;
            }
            Submission::Refused => {}
        }
    }

    /// Of the hosts whose 587 is open, how many were reached on 25, in percent.
    pub(crate) fn false_fallback(&self) -> f64 {
        100.0 * self.fallbacks as f64 / self.open as f64
    }

    /// Mean wait where 587 is silent, in seconds.
    pub(crate) fn silent_wait(&self) -> f64 {
        self.silent_wait.as_secs_f64() / self.silent as f64
    }
}

/// The rules.
fn rules() -> Policy {
    Policy { config: Config::default(), once: false }
}

/// One attempt for each candidate; the times decide.
fn as_before() -> Policy {
    let mut policy = rules();
    policy.config.port_delay = Duration::from_secs(1);
    policy.once = true;
    policy
}

/// Second attempts, but the caller's times decide.
fn by_times(patience: Option<u64>, port_delay: u64) -> Policy {
    let mut policy = rules();
    policy.config.port_delay = Duration::from_millis(port_delay);
    if let Some(patience) = patience {
        policy.config.patience = Patience::Fixed(Duration::from_millis(patience));
    }
    policy
}

/// Dials hosts once each; the same hosts, with the same losses, for every policy.
fn once_each(world: World, policy: &Policy, hosts: u64, is_known: bool) -> Sums {
    let mut random = fastrand::Rng::with_seed(SEED);
    let mut sums = Sums::default();
    for _ in 0..hosts {
        let host = Host::any(world, &mut random);
        let hints = if is_known { known(&host, policy) } else { Hints::default() };
        sums.add(&host, &dial(&host, policy, hints));
    }
    sums
}

fn row(out: &mut impl Write, name: &str, sums: &Sums) -> io::Result<()> {
    writeln!(
        out,
        "  {:44} {:>9.3} % {:>8.2} s {:>9.3} s {:>9.2} % {:>8.2}",
        name,
        sums.false_fallback(),
        sums.silent_wait(),
        sums.open_wait.as_secs_f64() / sums.open as f64,
        100.0 * sums.needless as f64 / sums.open as f64,
        sums.syns as f64 / sums.open as f64,
    )
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let hosts: u64 = arguments.next().map_or(Ok(1_000_000), |text| text.parse())?;
    let file = arguments.next().unwrap_or_else(|| "simulate.svg".into());
    if hosts < LEAST {
        return Err(format!("{hosts} hosts are too few: {LEAST}").into());
    }
    let start = Instant::now();
    let mut out = io::stdout().lock();
    for world in World::ALL {
        let all = hosts;
        // What is rare in the population has to be seen often.
        let hosts = if world == World::Population { all } else { all / 10 };
        writeln!(
            out,
            "{}: {hosts} hosts\n  {:44} {:>11} {:>10} {:>11} {:>11} {:>8}",
            world.name(),
            "",
            "587 open,",
            "silent:",
            "open:",
            "needless",
            "SYNs"
        )?;
        writeln!(
            out,
            "  {:44} {:>11} {:>10} {:>11} {:>11} {:>8}",
            "", "25 used", "mean wait", "mean wait", "SYN to 25", "to 587"
        )?;
        row(&mut out, "before", &once_each(world, &as_before(), hosts, false))?;
        row(&mut out, "the rules", &once_each(world, &rules(), hosts, false))?;
        row(&mut out, "before, 587 known", &once_each(world, &as_before(), hosts, true))?;
        row(&mut out, "the rules, 587 known", &once_each(world, &rules(), hosts, true))?;
        row(&mut out, "before, twenty dials", &series(world, &as_before(), hosts / 20))?;
        row(&mut out, "the rules, twenty dials", &series(world, &rules(), hosts / 20))?;
        let rejected = [
            ("rejected: second attempts, times as before", by_times(None, 1000)),
            ("rejected: these, and a port delay of 501 ms", by_times(None, 501)),
            ("rejected: these, and a patience of 700 ms", by_times(Some(700), 501)),
        ];
        for (name, policy) in &rejected {
            row(&mut out, name, &once_each(world, policy, all / 10, false))?;
        }
        writeln!(out)?;
    }
    let each = hosts / 2 / (PATIENCES.len() * PORT_DELAYS.len()) as u64;
    let settings = PATIENCES.iter().flat_map(|&p| PORT_DELAYS.iter().map(move |&d| (p, d)));
    let cells = settings.map(|(patience, port_delay)| {
        let policy = if patience == 0 && port_delay == 500 {
            rules()
        } else {
            by_times(Some(patience).filter(|&patience| patience > 0), port_delay)
        };
        let sums = once_each(World::Population, &policy, each, false);
        Cell { patience, port_delay, sums }
    });
    let cells: Vec<Cell> = cells.collect();
    picture::draw(&cells, &file)?;
    writeln!(out, "drawn in {file}, with {each} hosts a setting; {:.1?} in all", start.elapsed())?;
    Ok(())
}
