//! What a probe found of one host, as a table: addresses down, services across.

use std::fmt::Write as _;

use mailport::internal::Millis;
use mailport::probe::Probed;
use mailport::report::{Attempt, format_host};
use mailport::{Outcome, Plan, Service};

use super::{ProbeFound, table, tls};
use crate::terminal;

/// Every outcome that a cell may hold, for its colour.
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

/// The look-ups, and the table; each line with its newline.
pub(super) fn host(found: &ProbeFound, plan: &Plan, width: usize) -> String {
    let ProbeFound { probed, forecast, .. } = found;
    let lookup_line =
        lookup(probed).map_or_else(String::new, |found| format!("  look-up: {found}\n"));
    let hosts: Vec<String> = probed.addresses().map(format_host).collect();
    if hosts.is_empty() {
        return lookup_line;
    }
    let chosen = probed.chosen(forecast);
    let mut table = table::plain(width);
    let headings = plan.services().iter().map(ToString::to_string);
    table.set_header(["address".to_owned()].into_iter().chain(headings));
    for host in hosts {
        let cells: Vec<String> =
            plan.services().iter().map(|&service| cell(found, service, &host, chosen)).collect();
        table.add_row([host].into_iter().chain(cells));
    }
    lookup_line + &coloured(&table::indented(&table))
}

/// The result of the look-up of a name, in one line: `2 addresses in 3.1 ms`. `None` for an address.
fn lookup(probed: &Probed) -> Option<String> {
    let lookup = probed.lookup()?;
    let mut line = match &lookup.result {
        Ok(list) if list.len() == 1 => "1 address".to_owned(),
        Ok(list) => format!("{} addresses", list.len()),
        // The message of the C library, which may hold anything.
        Err(error) => error.to_string().replace(char::is_control, " "),
    };
    if let Some(ended) = lookup.ended {
        let _ = write!(line, " in {}", Millis(ended));
    }
    Some(line)
}

/// The lines of a cell; a hyphen where the service leaves out the family of the address.
fn cell(found: &ProbeFound, service: Service, host: &str, chosen: Option<usize>) -> String {
    let probed = &found.probed;
    let is_here = |attempt: &Attempt| {
        attempt.service == service && attempt.address.is_some_and(|at| format_host(at) == host)
    };
    let Some(index) = probed.attempts.iter().position(is_here) else { return "-".to_owned() };
    let attempt = &probed.attempts[index];
    // A probe's attempts have all ended.
    let outcome = attempt.outcome.unwrap_or(Outcome::Cancelled);
    // Of a connection, a reset and an ICMP error this is the round trip, unless a SYN was lost; of
    // silence, the time that was waited.
    let mut cell = format!("{outcome} {}", Millis(attempt.lasted()));
    let choice = if chosen == Some(index) { CHOICE } else { "" };
    let session = found.sessions().iter().find(|session| session.is_of(attempt));
    let stage = session.map_or_else(String::new, tls::stage);
    for line in [&*detail(attempt, outcome), &stage, choice] {
        if !line.is_empty() {
            let _ = write!(cell, "\n{line}");
        }
    }
    cell
}

/// The router that sent the error, the count of SYNs, or the system's error.
fn detail(attempt: &Attempt, outcome: Outcome) -> String {
    match (outcome, attempt.syns) {
        (Outcome::Local, _) => attempt.errno.map_or_else(String::new, |errno| errno.to_string()),
        (Outcome::Timeout, Some(1)) => "1 SYN unanswered".to_owned(),
        (Outcome::Timeout, Some(syns)) => format!("{syns} SYNs unanswered"),
        // More than one round trip: the first SYN or its answer was lost.
        (Outcome::Connected, Some(syns)) if syns > 1 => format!("{syns} SYNs"),
        _ => attempt
            .icmp
            .and_then(|icmp| icmp.sender)
            .map_or_else(String::new, |sender| format!("by {sender}")),
    }
}

/// The table with its outcomes in their colours: no address and no service is spelt like one.
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
    use std::time::Duration;

    use mailport::Family;
    use mailport::outcome::{Errno, Failure, Icmp};

    use super::*;
    use crate::scene::{Fate, V4, V6, forecast, probed};

    fn text(plan: &Plan, probed: &Probed) -> (String, String) {
        let (probed, forecast) = (probed.clone(), forecast(probed, plan));
        let table = host(&ProbeFound { probed, forecast, sessions: None }, plan, 80);
        (anstream::adapter::strip_str(&table).to_string(), table)
    }

    #[test]
    fn a_host_is_a_table_of_addresses_by_services() {
        let filtered = Failure {
            icmp: Some(Icmp {
                family: Family::Ipv6,
                kind: 1,
                code: 1,
                sender: Some("2001:db8:ffff::1".parse().unwrap()),
            }),
            ..Failure::new(Outcome::IcmpHard)
        };
        let fates = [
            (587, V6, Fate::Fails(filtered)),
            (587, V4, Fate::Silent(5)),
            (25, V6, Fate::Connects { syns: 2, after: Duration::from_millis(1040) }),
            (25, V4, Fate::Fails(Failure::new(Outcome::Reset))),
        ];
        let services = Plan::default();
        let (text, table) = text(&services, &probed("mail.example.com", &services, &fates));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines,
            [
                "  look-up: 2 addresses in 3.0 ms",
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
    fn a_local_failure_names_the_error_of_the_system() {
        let local =
            Failure { errno: Some(Errno(libc::ENETUNREACH)), ..Failure::new(Outcome::Local) };
        let services = Plan::default();
        let fates = [(587, V4, Fate::Fails(local))];
        let (text, _) = text(&services, &probed("192.0.2.1", &services, &fates));
        assert!(
            text.contains("local 40 ms  ") && text.contains("\n             ENETUNREACH"),
            "{text}"
        );
    }

    #[test]
    fn a_service_of_one_family_has_no_cell_of_the_other() {
        let services = Plan::mew();
        let (text, _) = text(&services, &probed("mail.example.com", &services, &[]));
        assert!(text.contains("2001:db8:2::1  -  "), "{text}");
    }
}
