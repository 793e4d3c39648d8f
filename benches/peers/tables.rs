//! The tables that the run ends in, in Markdown.

use std::io::Write;

use crate::cases::{CASES, Dial};
use crate::clients::Clients;
use crate::loopback::{CONNECTS, Round};
use crate::machine::Machine;
use crate::records::Records;
use crate::{Extent, Result};

pub(crate) fn print(
    out: &mut impl Write,
    records: &Records,
    machine: &Machine,
    clients: &Clients,
    extent: &Extent,
) -> Result<()> {
    let Machine { date, kernel, processor, processors } = machine;
    writeln!(out, "{date}, Linux {kernel}, {processors} x {processor}\n")?;
    for client in &clients.dialers {
        writeln!(out, "- {}: {}", client.name, client.version)?;
    }

    writeln!(
        out,
        "\nMilliseconds from the call to the result, and the port reached. 587 then 25, IPv6 then \
         IPv4, round trip 40 ms; median of {}.\n",
        extent.runs
    )?;
    let mut rows = vec![texts(["client"].into_iter().chain(CASES.iter().map(|case| case.title)))];
    for client in &clients.dialers {
        let cells = CASES.iter().map(|case| {
            cell(records.dials.iter().filter(|d| d.case == case.title && d.client == client.name))
        });
        rows.push([client.name.to_owned()].into_iter().chain(cells).collect());
    }
    table(out, &rows)?;

    writeln!(
        out,
        "\nMicroseconds for one connect to a literal address on loopback, and its close; {} \
         rounds of {CONNECTS}, medians. The ratio is taken round by round.\n",
        extent.rounds
    )?;
    let rounds = |name| records.rounds.iter().filter(move |round| round.client == name);
    let bare: Vec<&Round> = rounds(clients.bare.name).collect();
    let mut rows = vec![texts(["client", "µs", "to bare"])];
    for client in [&clients.bare].into_iter().chain(&clients.dialers) {
        let ours = rounds(client.name).map(|round| round.microseconds);
        let ratios = rounds(client.name).zip(&bare).map(|(a, b)| a.microseconds / b.microseconds);
        let (ours, ratio) = (median(ours.collect()), median(ratios.collect()));
        rows.push(vec![client.name.to_owned(), format!("{ours:.1}"), format!("{ratio:.2}")]);
    }
    table(out, &rows)
}

fn texts<'a>(words: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    words.into_iter().map(str::to_owned).collect()
}

/// The median, and every port that was reached.
fn cell<'a>(dials: impl Iterator<Item = &'a Dial>) -> String {
    let (mut times, mut ports) = (Vec::new(), Vec::new());
    for Dial { answer, .. } in dials {
        times.push(answer.milliseconds);
        ports.push(if answer.port == 0 { "none".to_owned() } else { answer.port.to_string() });
    }
    ports.sort();
    ports.dedup();
    format!("{:.0} {}", median(times), ports.join("/"))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A table with aligned columns, names to the left and figures to the right; the
/// first row is its head.
fn table(out: &mut impl Write, rows: &[Vec<String>]) -> Result<()> {
    let widths: Vec<usize> = (0..rows[0].len())
        .map(|i| rows.iter().map(|row| row[i].chars().count()).max().unwrap_or(0))
        .collect();
    for (number, row) in rows.iter().enumerate() {
        let (name, width) = (&row[0], widths[0]);
        write!(out, "| {name:width$} |")?;
        for (cell, width) in row.iter().zip(&widths).skip(1) {
            write!(out, " {cell:>width$} |")?;
        }
        writeln!(out)?;
        if number == 0 {
            write!(out, "|{}|", "-".repeat(widths[0] + 2))?;
            for width in &widths[1..] {
                write!(out, "{}:|", "-".repeat(width + 1))?;
            }
            writeln!(out)?;
        }
    }
    Ok(())
}
