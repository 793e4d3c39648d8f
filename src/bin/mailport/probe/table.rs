//! What a probe found, as tables.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use mailport::probe::{Cell, Probed, Survey, Tally};
use mailport::{Outcome, Plan, Report};

use crate::paint;

/// Every outcome that may stand in a cell, for its colour.
const OUTCOMES: [Outcome; 7] = [
    Outcome::Connected,
    Outcome::Reset,
    Outcome::IcmpHard,
    Outcome::IcmpSoft,
    Outcome::Timeout,
    Outcome::Local,
    Outcome::Closed,
];
const CHOICE: &str = "<- a dial's choice";

/// The look-ups, and a table of addresses by services; each line with its newline.
pub(super) fn host(probed: &Probed, plan: &Plan, forecast: &Report, width: usize) -> String {
    let mut text = String::new();
    let names = probed.names();
    if !names.is_empty() {
        text += &format!("  names: {names}\n");
    }
    let matrix = probed.matrix(plan, forecast);
    if matrix.rows.is_empty() {
        return text;
    }
    let mut table = plain(width);
    let headings = matrix.services.into_iter();
    table.set_header(["address".to_owned()].into_iter().chain(headings));
    for (address, cells) in matrix.rows {
        let cells = cells.iter().map(|cell| cell.as_ref().map_or_else(|| "-".into(), words));
        table.add_row([address].into_iter().chain(cells));
    }
    text + &coloured(&indented(&table))
}

fn words(cell: &Cell) -> String {
    let choice = if cell.chosen { CHOICE } else { "" };
    let lines = [&*cell.text, &*cell.detail, choice].into_iter().filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join("\n")
}

/// The two tables of the field test, and how their n came about.
pub(super) fn survey(survey: &Survey) -> String {
    let mut text = format!("Field test\n  {:>4} reports\n", survey.reports);
    let steps = [
        (survey.at_home, survey.typical(), "of localhost or a server in a home"),
        (survey.redundant, survey.n(), "of a user and server counted before"),
    ];
    for (fewer, left, what) in steps {
        text += &format!("  {fewer:>4} {what} left out: {left} remain\n");
    }
    text += &format!("  n = {}\n", survey.n());
    for (heading, rows) in [("Servers", &survey.servers), ("Cases", &survey.cases)] {
        if !rows.is_empty() {
            text += &format!("\n{}", tallies(heading, rows));
        }
    }
    text
}

fn tallies(heading: &str, rows: &[Tally]) -> String {
    let mut table = plain(80);
    table.set_header([heading, "n"]);
    for row in rows {
        table.add_row([row.name.clone(), row.count.to_string()]);
    }
    if let Some(column) = table.column_mut(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    indented(&table)
}

/// A table without lines, that can be pasted into a mail.
fn plain(width: usize) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(u16::try_from(width.saturating_sub(1)).unwrap_or(u16::MAX));
    table
}

/// The table's lines one column to the right, each with its newline; the headings are quiet.
fn indented(table: &Table) -> String {
    let quiet = paint::QUIET;
    let lines = table.to_string();
    let lines = lines.lines().map(str::trim_end).enumerate().map(|(number, line)| match number {
        0 => format!(" {quiet}{line}{quiet:#}\n"),
        _ => format!(" {line}\n"),
    });
    lines.collect()
}

/// The outcomes in their colours: nothing else in a table of addresses is spelt like one.
fn coloured(table: &str) -> String {
    let mut table = table.to_owned();
    for outcome in OUTCOMES {
        let style = paint::of_outcome(outcome);
        let word = format!("{} ", outcome.name());
        table = table.replace(&word, &format!("{style}{}{style:#} ", outcome.name()));
    }
    table.replace(CHOICE, &format!("{0}{CHOICE}{0:#}", paint::of_outcome(Outcome::Connected)))
}
