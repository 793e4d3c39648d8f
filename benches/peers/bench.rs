//! mailport beside other clients: the lab's networks first, then what one connect costs on
//! loopback. `make bench` runs it; docs/benchmarks.md says how to read it. It needs root.
//!
//! - `clients`: who takes part, and how a client is started and asked
//! - `rust_clients`: the two that are this program itself
//! - `cases`, `loopback`: what is measured
//! - `machine`: where
//! - `tables`: what is printed
//! - `records`: everything measured, as JSON lines

mod cases;
mod clients;
mod loopback;
mod machine;
mod records;
mod rust_clients;
mod tables;

use std::env;
use std::error::Error;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use cases::CASES;
use machine::Machine;
use records::Records;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const USAGE: &str = "usage: peers [--quick] [--json FILE]

  --quick      one run of each case instead of three, and fewer rounds on loopback
  --json FILE  write every single measurement there, as JSON lines; a relative FILE begins at the
               root of the project";

/// How much is measured.
struct Extent {
    /// Dials of each client in each network.
    runs: usize,
    /// Rounds on loopback.
    rounds: usize,
}

fn main() -> ExitCode {
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = say(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

fn measure() -> Result<()> {
    let mut extent = Extent { runs: 3, rounds: 31 };
    let mut json = None;
    let mut arguments = env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            rust_clients::FLAG => return rust_clients::run(arguments.collect()),
            "--quick" => extent = Extent { runs: 1, rounds: 11 },
            "--json" => {
                let file = arguments.next().ok_or(USAGE)?;
                let created = File::create(root().join(&file));
                json = Some(created.map_err(|error| format!("cannot write {file}: {error}"))?);
            }
            // From cargo, to every benchmark.
            "--bench" => {}
            _ => return Err(USAGE.into()),
        }
    }

    let machine = Machine::this()?;
    let clients = clients::prepare()?;
    let mut records = Records::default();
    for case in &CASES {
        say(&format!("{} ...", case.title))?;
        records.dials.extend(case.run(&clients, extent.runs)?);
    }
    say("loopback ...")?;
    records.rounds = loopback::run(&clients, extent.rounds)?;

    if let Some(file) = json {
        records.write(file, &machine, &clients)?;
    }
    tables::print(&mut io::stdout().lock(), &records, &machine, &clients, &extent)
}

/// The root of the project.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Reports the progress on standard error.
fn say(what: &str) -> io::Result<()> {
    writeln!(io::stderr(), "{what}")
}
