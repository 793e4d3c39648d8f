//! What a probe found, as tables.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use mailport::probe::{Cell, Probed, Survey, Tally};
use mailport::{Outcome, Plan, Report};

use crate::terminal;

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
    let names = probed.names();
    let names = if names.is_empty() { names } else { format!("  names: {names}\n") };
    let matrix = probed.matrix(plan, forecast);
    if matrix.rows.is_empty() {
        return names;
    }
    let mut table = plain(width);
    let headings = matrix.services.into_iter();
    table.set_header(["address".to_owned()].into_iter().chain(headings));
    for (address, cells) in matrix.rows {
        let cells = cells.iter().map(|cell| cell.as_ref().map_or_else(|| "-".into(), words));
        table.add_row([address].into_iter().chain(cells));
    }
    names + &coloured(&indented(&table))
}

fn words(cell: &Cell) -> String {
    let choice = if cell.chosen { CHOICE } else { "" };
    let lines = [&*cell.text, &*cell.detail, choice].into_iter().filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join("\n")
}

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

/// A table without lines, that can be pasted into a mail.
fn plain(width: usize) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(u16::try_from(width.saturating_sub(1)).unwrap_or(u16::MAX));
    table
}

/// The table's lines one column to the right, each with its newline; the headings are quiet.
fn indented(table: &Table) -> String {
    let quiet = terminal::QUIET;
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
        let style = terminal::of_outcome(outcome);
        let word = format!("{} ", outcome.name());
        table = table.replace(&word, &format!("{style}{}{style:#} ", outcome.name()));
    }
    table.replace(CHOICE, &format!("{0}{CHOICE}{0:#}", terminal::of_outcome(Outcome::Connected)))
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, SocketAddr};
    use std::time::{Duration, Instant};

    use mailport::Family;
    use mailport::probe::Answer;
    use mailport_lab::Fate;
    use mailport_lab::scenario::{V4, V6, network};
    use mailport_lab::world::World;

    use super::*;

    /// What a probe finds in a virtual network.
    fn probed(plan: &Plan, fates: &[(u16, IpAddr, Fate)]) -> (Probed, Report) {
        let mut world = World::new(network(Duration::from_millis(40), &[V6, V4], fates));
        let mut config = mailport::Config::default();
        config.timeout = Duration::from_secs(5);
        let answers = [V6, V4].map(|address| {
            let list = Ok(vec![SocketAddr::new(address, 0)]);
            Answer::new(Family::from(address), Some(Duration::from_millis(3)), list, Some(address))
        });
        let target = "mail.example.com".parse().unwrap();
        let mut probed = Probed::new(target, answers.to_vec(), Vec::new());
        for (service, address) in probed.candidates(plan) {
            world.host = address.ip().to_string();
            world.names = mailport_lab::world::Names::at_once(&[address.ip()]);
            let alone = Plan::new([service], mailport::Cleartext::Refuse).unwrap();
            probed.attempts.extend(world.dial(&alone, &config).report.attempts);
        }
        let forecast = probed.forecast(plan, &mailport::Config::default(), Instant::now());
        (probed, forecast.unwrap())
    }

    #[test]
    fn a_host_is_a_table_of_addresses_by_services() {
        let fates = [
            (587, V6, Fate::Icmp { kind: 1, code: 1 }),
            (587, V4, Fate::Silent),
            (25, V6, Fate::LoseSyns(1)),
            (25, V4, Fate::Reset),
        ];
        let services = Plan::default();
        let (probed, forecast) = probed(&services, &fates);
        let table = host(&probed, &services, &forecast, 80);
        let text = anstream::adapter::strip_str(&table).to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines,
            [
                "  names: IPv6 1 address in 3.0 ms, IPv4 1 address in 3.0 ms",
                "  address        587:starttls         25:starttls",
                "  2001:db8:2::1  icmp-hard 40 ms      connected 1.04 s",
                "                 by 2001:db8:ffff::1  2 SYNs",
                "                                      <- a dial's choice",
                "  192.0.2.1      timeout 5.00 s       reset 40 ms",
                "                 5 SYNs unanswered",
            ],
            "{text}"
        );
        assert_eq!(table.matches("\u{1b}[1m\u{1b}[32mconnected\u{1b}[0m ").count(), 1);
    }

    #[test]
    fn a_service_of_one_family_has_no_cell_of_the_other() {
        let services = Plan::mew();
        let (probed, forecast) = probed(&services, &[]);
        let table = host(&probed, &services, &forecast, 80);
        let text = anstream::adapter::strip_str(&table).to_string();
        assert!(text.contains("2001:db8:2::1  -  "), "{text}");
    }
}
