//! The line in the echo area while a dial runs.

use std::time::Duration;

use mailport::report::Attempt;
use mailport::{Outcome, Report, Service};

/// Says what a dial is doing: `mail.example: 587 silent for 1 s, trying 25 too`. `now` is the time
/// since the dial began; the report may be older.
pub(crate) fn line(report: &Report, now: Duration) -> String {
    let host = &report.host;
    let mut services: Vec<Service> = Vec::new();
    for attempt in &report.attempts {
        if !services.contains(&attempt.service) {
            services.push(attempt.service);
        }
    }
    let Some((last, earlier)) = services.split_last() else {
        return format!("{host}: looking up the name");
    };
    let of = |service: &Service| -> Vec<&Attempt> {
        report.attempts.iter().filter(|attempt| attempt.service == *service).collect()
    };
    let is_open = |attempt: &&Attempt| attempt.outcome.is_none();
    let mut parts: Vec<String> =
        earlier.iter().map(|service| state(*service, &of(service), now)).collect();
    let in_parallel = earlier.iter().any(|service| of(service).iter().any(is_open));
    let too = if in_parallel { " too" } else { "" };
    parts.push(format!("trying {}{too}", last.port()));
    format!("{host}: {}", parts.join(", "))
}

/// Returns the state of an earlier service in words.
fn state(service: Service, attempts: &[&Attempt], now: Duration) -> String {
    let port = service.port();
    let has = |outcome| attempts.iter().any(|attempt| attempt.outcome == outcome);
    let filter =
        attempts.iter().find_map(|a| a.icmp.filter(|_| a.outcome == Some(Outcome::IcmpHard)));
    if let Some(icmp) = filter {
        return match icmp.sender {
            Some(sender) => format!("{port} filtered by {sender}"),
            None => format!("{port} filtered"),
        };
    }
    if has(Some(Outcome::Reset)) {
        return format!("{port} refused");
    }
    if has(Some(Outcome::Closed)) {
        return format!("{port} closed the connection");
    }
    if has(None) || has(Some(Outcome::Timeout)) {
        let began = attempts.iter().map(|attempt| attempt.started).min().unwrap_or_default();
        return format!("{port} silent for {} s", now.saturating_sub(began).as_secs());
    }
    if has(Some(Outcome::IcmpSoft)) {
        return format!("{port} unreachable");
    }
    format!("{port} not available")
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};
    use std::time::Instant;

    use mailport::machine::{Action, Event, Machine};
    use mailport::outcome::Failure;
    use mailport::{Config, Plan};

    use super::*;

    /// A machine whose name has one address, with its attempts so far.
    fn machine(now: Instant) -> Machine {
        let (target, plan) = ("mail.example".parse().unwrap(), Plan::submission());
        Machine::new(&target, &plan, &Config::default(), now).unwrap()
    }

    fn resolve(machine: &mut Machine, now: Instant) {
        let mut asked = Vec::new();
        machine.handle_timeout(now);
        while let Some(action) = machine.poll_action() {
            if let Action::Resolve { query } = action {
                asked.push(query);
            }
        }
        for query in asked {
            let addresses = Ok(vec![SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), 0))]);
            machine.handle(Event::Resolved { query, addresses, routes: Vec::new() }, now);
        }
        run_due(machine, now);
    }

    /// Runs the actions that are due.
    fn run_due(machine: &mut Machine, now: Instant) {
        machine.handle_timeout(now);
        while machine.poll_action().is_some() {}
    }

    #[test]
    fn the_line_names_a_silent_port_and_the_next_one() {
        let began = Instant::now();
        let mut machine = machine(began);
        assert_eq!(line(&machine.report(), Duration::ZERO), "mail.example: looking up the name");
        resolve(&mut machine, began);
        assert_eq!(line(&machine.report(), Duration::ZERO), "mail.example: trying 587");
        let later = Duration::from_millis(1010);
        run_due(&mut machine, began + later);
        assert_eq!(
            line(&machine.report(), later),
            "mail.example: 587 silent for 1 s, trying 25 too"
        );
    }

    #[test]
    fn the_line_names_a_refused_port() {
        let began = Instant::now();
        let mut machine = machine(began);
        resolve(&mut machine, began);
        let attempt = mailport::machine::AttemptId(0);
        let failure = Failure::new(Outcome::Reset);
        machine.handle(Event::Failed { attempt, failure, syns: None }, began);
        run_due(&mut machine, began);
        assert_eq!(line(&machine.report(), Duration::ZERO), "mail.example: 587 refused, trying 25");
    }
}
