//! From the call to the result, at a round trip of 40 ms, dual-stack, on real kernels: each row of
//! the table in docs/design.md. Run it as root with `cargo bench -p mailport-lab --bench table`.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mailport::{Dialer, Resolver};
use mailport_lab::real::Lab;
use mailport_lab::scenario::{ROUND_TRIP, Scenario, scenarios};

const DIALS: usize = 7;

/// The rows of the table, by the names of their scenarios.
const ROWS: &[&str] = &[
    "587 is open twice",
    "587 is reset twice",
    "587 is filtered twice",
    "587 is unreachable twice",
    "587 is silent",
    "587 is silent twice",
    "IPv6 is dead and 587 open over IPv4",
    "IPv6 is dead and 587 reset over IPv4",
    "587 loses the first SYN",
    "587 loses the first two SYNs",
    "587 loses the first SYN over both families",
    "IPv4 is dead and 587 open over IPv6",
];

/// How long a dial takes, the port that it reaches, and how many SYNs it sends to 25.
fn dial(lab: &Lab, scenario: &Scenario) -> (Duration, Option<u16>, usize) {
    // What a dial before this one has lost is lost anew.
    for (port, address) in scenario.network.losing() {
        lab.set(address, port, scenario.network.fate(address, port));
    }
    let before = to_25(lab);
    let mut addresses: Vec<SocketAddr> =
        scenario.network.addresses().map(|ip| SocketAddr::new(ip, 0)).collect();
    // As the system orders them here: IPv6 first.
    addresses.sort_by_key(SocketAddr::is_ipv4);
    let names = Resolver::custom(move |_| Ok(addresses.clone()));
    let (took, port) = lab.client(|| {
        let dialer = Dialer::new().without_cache().with_resolver(names.clone());
        let target = "mail.example.com";
        let start = Instant::now();
        let result = dialer
            .clone()
            .with_plan(scenario.plan.clone())
            .with_config(scenario.config.clone())
            .connect(target);
        (start.elapsed(), result.ok().map(|connected| connected.service.port()))
    });
    (took, port, to_25(lab) - before)
}

/// How many SYNs the router has seen to 25.
fn to_25(lab: &Lab) -> usize {
    lab.syns().iter().filter(|syn| syn.port == 25).count()
}

fn main() -> io::Result<()> {
    let all = scenarios();
    let mut out = io::stdout().lock();
    writeln!(out, "round trip {ROUND_TRIP:?}, {DIALS} dials a row, milliseconds")?;
    writeln!(
        out,
        "{:44} {:>4} {:>8} {:>8} {:>8} {:>10}",
        "", "port", "rule", "median", "max", "SYNs to 25"
    )?;
    for name in ROWS {
        let scenario = all.iter().find(|s| s.name == *name).expect("a scenario of this name");
        let lab = Lab::start(scenario.network.clone())?;
        let mut results: Vec<_> = (0..DIALS).map(|_| dial(&lab, scenario)).collect();
        results.sort();
        let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
        let (median, port, syns) = results[DIALS / 2];
        let rule = scenario.expected.after(ROUND_TRIP);
        let port = port.map_or_else(|| "-".to_owned(), |port| port.to_string());
        writeln!(
            out,
            "{name:44} {port:>4} {:8.1} {:8.1} {:8.1} {syns:>10}",
            ms(rule),
            ms(median),
            ms(results[DIALS - 1].0)
        )?;
    }
    Ok(())
}
