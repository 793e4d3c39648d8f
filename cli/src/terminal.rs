//! Colours. They are always written; anstream removes them if the output is not a terminal or
//! `NO_COLOR` is set.

use std::iter;

use anstyle::{AnsiColor, Style};
use mailport::Outcome;
use mailport::report::{Row, Timeline};

const CONNECTED: Style = AnsiColor::Green.on_default().bold();
pub(crate) const FAILED: Style = AnsiColor::Red.on_default().bold();
const SILENT: Style = AnsiColor::Yellow.on_default();
pub(crate) const QUIET: Style = Style::new().dimmed();

/// The timeline, line by line, each with its newline.
pub(crate) fn timeline(timeline: &Timeline) -> String {
    let axis = format!("{QUIET}{}{QUIET:#}\n", timeline.axis);
    iter::once(axis).chain(timeline.rows.iter().map(line)).collect()
}

fn line(row: &Row) -> String {
    let style = row.outcome.map_or(QUIET, of_outcome);
    let Row { label, bar, times, note, .. } = row;
    format!("{label}{style}{bar}{style:#}{QUIET}{times}{QUIET:#}{style}{note}{style:#}\n")
}

pub(crate) fn of_outcome(outcome: Outcome) -> Style {
    match outcome {
        Outcome::Connected => CONNECTED,
        Outcome::Timeout | Outcome::IcmpSoft => SILENT,
        Outcome::Cancelled => QUIET,
        _ => FAILED,
    }
}
