//! Tables without lines, which can be pasted into a mail; and those of the field test.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use super::survey::{Survey, Tally};
use crate::terminal;

/// The two tables of the field test, and how their n came about.
pub(super) fn survey(survey: &Survey) -> String {
    let Survey { reports, at_home, redundant, .. } = survey;
    let (typical, n) = (survey.typical(), survey.n());
    let counted = format!(
        "Field test: how the first service of the plan is met\n  \
         {reports:>4} reports\n  \
         {typical:>4} without the {at_home} of localhost or a server in a home\n  \
         {n:>4} without the {redundant} that repeat a user and a server\n"
    );
    if n == 0 {
        return counted;
    }
    let servers = tallies("Servers", n, &survey.servers);
    let cases = tallies("Cases", n, &survey.cases);
    format!("{counted}\n{servers}\n{cases}")
}

fn tallies(heading: &str, n: usize, rows: &[Tally]) -> String {
    let mut table = plain(80);
    table.set_header([heading.to_owned(), format!("n = {n}")]);
    for row in rows {
        table.add_row([row.name.clone(), row.count.to_string()]);
    }
    if let Some(column) = table.column_mut(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    indented(&table)
}

/// An empty table for a terminal of this width.
pub(super) fn plain(width: usize) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(u16::try_from(width.saturating_sub(1)).unwrap_or(u16::MAX));
    table
}

/// The table's lines one column to the right, each with its newline; the headings are dimmed.
pub(super) fn indented(table: &Table) -> String {
    let quiet = terminal::QUIET;
    let lines = table.to_string();
    let lines = lines.lines().map(str::trim_end).enumerate().map(|(number, line)| match number {
        0 => format!(" {quiet}{line}{quiet:#}\n"),
        _ => format!(" {line}\n"),
    });
    lines.collect()
}
