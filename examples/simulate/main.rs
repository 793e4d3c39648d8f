//! Are the defaults right? Dials a population of hosts in virtual time, and draws how long a user
//! waits, and how often a lost packet alone leads to the wrong port, against patience and port
//! delay.
//!
//! ```sh
//! cargo run --release --example simulate            # a million dials; writes simulate.svg
//! cargo run --release --example simulate -- 50000 picture.svg
//! ```
//!
//! The population: each packet is lost with a probability between 0 and 10 %, a round trip is 5 to
//! 2,000 ms (evenly on a logarithmic scale) give or take a tenth or two, half the hosts have one address and half have one of
//! each family, and 587 is open, refused or silent as in the field test of the fallback paper (12,
//! 7 and 4 of 23 servers). 25 is always open: nothing tempts a dial more to leave 587 too early.

#![allow(clippy::cast_precision_loss, reason = "counts and milliseconds of a chart")]

mod picture;
mod population;

use std::io::{self, Write};
use std::time::{Duration, Instant};

use mailport::{Config, Patience};
use population::{Host, Submission, dial};

/// Patience, in milliseconds; 0 stands for the default, which looks at the round trip.
const PATIENCES: [u64; 9] = [0, 250, 500, 1000, 1300, 1600, 2000, 3000, 5000];
/// Port delays, in milliseconds.
const PORT_DELAYS: [u64; 5] = [100, 250, 500, 1000, 2000];
const SEED: u64 = 587;
/// Fewer hosts for a setting say nothing.
const LEAST: u64 = 100;

/// What came of all dials with one setting.
pub(crate) struct Cell {
    pub(crate) patience: u64,
    pub(crate) port_delay: u64,
    /// Of the hosts whose 587 is open, how many were reached on 25, in percent.
    pub(crate) false_fallback: f64,
    /// Mean wait where 587 is silent, in seconds.
    pub(crate) silent_wait: f64,
    /// The wait that 99 of 100 stay under where 587 is open, in seconds.
    pub(crate) open_wait_99: f64,
    /// Of the hosts whose 587 is open, how many got a SYN on 25 all the same, in percent.
    pub(crate) needless: f64,
}

fn settings(patience: u64, port_delay: u64) -> Config {
    let mut config = Config::default();
    config.port_delay = Duration::from_millis(port_delay);
    if patience > 0 {
        config.patience = Patience::Fixed(Duration::from_millis(patience));
    }
    config
}

/// Dials the same hosts, with the same losses, under one setting.
fn cell(patience: u64, port_delay: u64, dials: u64) -> Cell {
    let config = settings(patience, port_delay);
    let mut random = fastrand::Rng::with_seed(SEED);
    let (mut open, mut silent) = (Vec::new(), Vec::new());
    for _ in 0..dials {
        let host = Host::any(&mut random);
        let dialled = dial(&host, &config);
        match host.submission {
            Submission::Open => open.push(dialled),
            Submission::Silent => silent.push(dialled),
            Submission::Refused => {}
        }
    }
    let percent = |part: usize| 100.0 * part as f64 / open.len() as f64;
    let mut waits: Vec<Duration> = open.iter().map(|dialled| dialled.wait).collect();
    waits.sort_unstable();
    let silent_total: Duration = silent.iter().map(|dialled| dialled.wait).sum();
    Cell {
        patience,
        port_delay,
        false_fallback: percent(open.iter().filter(|d| d.port == Some(25)).count()),
        silent_wait: silent_total.as_secs_f64() / silent.len() as f64,
        open_wait_99: waits[waits.len() * 99 / 100].as_secs_f64(),
        needless: percent(open.iter().filter(|d| d.tried_25).count()),
    }
}

fn name(patience: u64) -> String {
    if patience == 0 { "default".into() } else { format!("{patience} ms") }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let dials: u64 = arguments.next().map_or(Ok(1_000_000), |text| text.parse())?;
    let file = arguments.next().unwrap_or_else(|| "simulate.svg".into());
    let each = dials / (PATIENCES.len() * PORT_DELAYS.len()) as u64;
    if each < LEAST {
        return Err(format!("{dials} dials are too few: {LEAST} hosts for each setting").into());
    }
    let start = Instant::now();
    let settings = PATIENCES.iter().flat_map(|&p| PORT_DELAYS.iter().map(move |&d| (p, d)));
    let cells: Vec<Cell> = settings.map(|(p, d)| cell(p, d, each)).collect();
    let took = start.elapsed();

    let mut out = io::stdout().lock();
    let total = each * cells.len() as u64;
    writeln!(out, "{total} dials in {took:.1?}; {each} hosts, the same for each setting\n")?;
    writeln!(
        out,
        "{:>10} {:>10} {:>16} {:>16} {:>16} {:>14}",
        "patience",
        "port delay",
        "false fallback",
        "wait, silent",
        "wait 99%, open",
        "needless SYN"
    )?;
    for cell in &cells {
        writeln!(
            out,
            "{:>10} {:>7} ms {:>14.2} % {:>14.2} s {:>14.2} s {:>12.1} %",
            name(cell.patience),
            cell.port_delay,
            cell.false_fallback,
            cell.silent_wait,
            cell.open_wait_99,
            cell.needless
        )?;
    }
    picture::draw(&cells, &file)?;
    writeln!(out, "\ndrawn in {file}")?;
    Ok(())
}
