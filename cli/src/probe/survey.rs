//! The two tables of the paper's field test: servers by kind, and the breakdown of the cases.
//!
//! > The number of report is 39. The number of servers which indicates "localhost" or a server in
//! > a home is 7. This is not a typical usage. Subtracting this number from 39 results in 32. This
//! > includes reports whose both user and server are the same but clients locate different places.
//! > [...] Removing the redundancy from the server/user pair point of view, the total number
//! > becomes 26.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use mailport::probe::Probed;
use mailport::{Outcome, Plan, Report, Service, Tls};

use super::list::ListEntry;

/// How a dial would meet the first service of its plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Met {
    /// The first service is the Submission port, and this is the paper's case, 1 to 5.
    Case(u8),
    /// The first service is another one, which the paper lists by its name: `SSL(465)`.
    Service(Service),
    /// The Submission port ended in a way that the paper does not have, such as
    /// [`Outcome::Local`].
    Other(Outcome),
    /// The first service has no address.
    NoAddress,
}

impl Met {
    /// The name of its row, as in the paper where the paper has it.
    pub(super) fn name(self) -> String {
        let in_words = |words: &str| words.to_owned();
        match self {
            Met::Case(1) => in_words("Case 1 (Submission)"),
            Met::Case(2) => in_words("Case 2 (TCP RST)"),
            Met::Case(3) => in_words("Case 3 (Hard error)"),
            Met::Case(4) => in_words("Case 4 (Soft error)"),
            Met::Case(5) => in_words("Case 5 (TCP timeout)"),
            Met::Case(case) => format!("Case {case}"),
            Met::Service(service) => match (service.port(), service.tls()) {
                (22, Tls::Cleartext) => in_words("SSH(22)"),
                (465, Tls::Implicit) => in_words("SSL(465)"),
                (port, tls) => format!("{port}:{tls}"),
            },
            Met::Other(Outcome::Local) => in_words("No case (this machine)"),
            Met::Other(outcome) => format!("No case ({outcome})"),
            Met::NoAddress => in_words("No address"),
        }
    }
}

impl Met {
    /// How a dial by `plan` would meet its first service by this forecast: connected if the dial
    /// would connect there, else by the attempt that explains most.
    pub(super) fn new(plan: &Plan, forecast: &Report) -> Met {
        let Some(&first) = plan.services().first() else { return Met::NoAddress };
        let Some(telling) = forecast.telling_of(first) else { return Met::NoAddress };
        if first.port() != 587 {
            return Met::Service(first);
        }
        match telling.outcome {
            Some(Outcome::Connected) => Met::Case(1),
            Some(Outcome::Reset) => Met::Case(2),
            Some(Outcome::IcmpHard) => Met::Case(3),
            Some(Outcome::IcmpSoft) => Met::Case(4),
            Some(Outcome::Timeout) => Met::Case(5),
            other => Met::Other(other.unwrap_or(Outcome::Cancelled)),
        }
    }
}

/// Whether this is localhost or a server in a home: by its name, or because all its addresses are
/// private. The tables leave these out.
pub(super) fn is_at_home(probed: &Probed) -> bool {
    let name = ListEntry::from(probed.target.clone()).server();
    let mut addresses = probed.addresses().peekable();
    name == "localhost"
        || name.ends_with(".localhost")
        || addresses.peek().is_some() && addresses.all(|address| is_private(address.ip()))
}

/// Whether an address can only be of this machine or of a network like one at home: loopback,
/// private (RFC 1918, RFC 4193) or link-local.
fn is_private(address: IpAddr) -> bool {
    let v4 = |v4: Ipv4Addr| v4.is_loopback() || v4.is_private() || v4.is_link_local();
    let v6 = |v6: Ipv6Addr| v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local();
    match address.to_canonical() {
        IpAddr::V4(address) => v4(address),
        IpAddr::V6(address) => v6(address),
    }
}

/// One report of a field test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    /// The server, its kind and its user.
    pub(super) entry: ListEntry,
    /// The result of [`is_at_home`]. An entry of the kind `home` is left out in any case.
    pub(super) at_home: bool,
    /// How its first service is met.
    pub(super) met: Met,
}

/// One row of a table.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Tally {
    /// What is counted.
    pub(super) name: String,
    /// How many there are.
    pub(super) count: usize,
}

/// The paper's two tables, and how the number of reports came down to what they count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Survey {
    /// Every report.
    pub(super) reports: usize,
    /// Those that name localhost or a server in a home: left out, for this is not typical usage.
    pub(super) at_home: usize,
    /// Of the others, those that repeat user and server of an earlier one: left out.
    pub(super) redundant: usize,
    /// Servers by kind, those that the paper has first, and `Unknown` last.
    pub(super) servers: Vec<Tally>,
    /// The paper's five cases, whether or not they occurred; then what else did.
    pub(super) cases: Vec<Tally>,
}

/// The kinds of the paper, in its order.
const KINDS: [&str; 4] = ["ISP", "ASP", "Company", "University"];
const UNKNOWN: &str = "Unknown";

impl Survey {
    /// Counts reports by the paper's rule. Of reports with the same user and server the first
    /// counts; reports without a user are one user's.
    pub(super) fn new(reports: &[Seen]) -> Survey {
        let is_home = |kind: &String| kind.eq_ignore_ascii_case("home");
        let at_home = |seen: &&Seen| seen.at_home || seen.entry.kind.as_ref().is_some_and(is_home);
        let typical: Vec<&Seen> = reports.iter().filter(|seen| !at_home(seen)).collect();
        let mut pairs = BTreeSet::new();
        let pair = |seen: &Seen| (seen.entry.server(), seen.entry.user.clone());
        let counted: Vec<&Seen> =
            typical.iter().copied().filter(|seen| pairs.insert(pair(seen))).collect();
        Survey {
            reports: reports.len(),
            at_home: reports.len() - typical.len(),
            redundant: typical.len() - counted.len(),
            servers: servers(&counted),
            cases: cases(&counted),
        }
    }

    /// How many reports are not of localhost or a server in a home.
    pub(super) fn typical(&self) -> usize {
        self.reports - self.at_home
    }

    /// How many reports the tables count.
    pub(super) fn n(&self) -> usize {
        self.typical() - self.redundant
    }
}

fn servers(counted: &[&Seen]) -> Vec<Tally> {
    // However a kind is written, it is one kind; its first spelling is shown.
    let mut tallies: Vec<Tally> = KINDS.map(|kind| Tally { name: kind.into(), count: 0 }).into();
    let mut unknown = Tally { name: UNKNOWN.into(), count: 0 };
    for seen in counted {
        let kind = seen.entry.kind.as_deref().unwrap_or(UNKNOWN);
        if kind.eq_ignore_ascii_case(UNKNOWN) {
            unknown.count += 1;
        } else if let Some(tally) = tallies.iter_mut().find(|t| t.name.eq_ignore_ascii_case(kind)) {
            tally.count += 1;
        } else {
            tallies.push(Tally { name: kind.into(), count: 1 });
        }
    }
    tallies.push(unknown);
    tallies.retain(|tally| tally.count > 0);
    tallies
}

fn cases(counted: &[&Seen]) -> Vec<Tally> {
    let others = counted.iter().map(|seen| seen.met).filter(|met| !matches!(met, Met::Case(_)));
    let rows: BTreeSet<Met> = (1..=5).map(Met::Case).chain(others).collect();
    let tally = |met: Met| Tally {
        name: met.name(),
        count: counted.iter().filter(|seen| seen.met == met).count(),
    };
    rows.into_iter().map(tally).collect()
}

#[cfg(test)]
mod tests {
    use mailport::machine::Query;
    use mailport::probe::LookedUp;
    use std::net::{IpAddr, SocketAddr};
    use std::time::Duration;

    use mailport::Family;
    use mailport::outcome::Failure;

    use super::*;
    use crate::probe::list::parse_list;
    use crate::scene::{Fate, V4, V6, forecast, probed};

    fn seen(line: &str, met: Met) -> Seen {
        Seen { entry: parse_list(line).unwrap().remove(0), at_home: false, met }
    }

    fn tallies(rows: &[Tally]) -> Vec<(&str, usize)> {
        rows.iter().map(|row| (&*row.name, row.count)).collect()
    }

    /// Reports that come to the paper's numbers: 7 of localhost or a home, 6 from other places of a
    /// user and server already there, and 26 more.
    fn reports_of_the_paper() -> Vec<Seen> {
        let ssh = Met::Service(Service::new(22, Tls::Cleartext).unwrap());
        let ssl = Met::Service(Service::new(465, Tls::Implicit).unwrap());
        let mut reports = Vec::new();
        for number in 0..7 {
            let mut report = match number % 2 {
                0 => seen(&format!("localhost user=l{number}"), Met::Case(1)),
                _ => seen(&format!("h{number}.example kind=home"), Met::Case(2)),
            };
            report.at_home = number % 2 == 0;
            reports.push(report);
        }
        let kinds = [("ISP", 16), ("ASP", 1), ("Company", 6), ("University", 2), ("Unknown", 1)];
        let met = [(Met::Case(1), 12), (Met::Case(2), 7), (Met::Case(5), 4), (ssh, 2), (ssl, 1)];
        let mut all_met = met.iter().flat_map(|&(met, count)| vec![met; count]);
        for (kind, count) in kinds {
            for number in 0..count {
                let line = match kind {
                    "Unknown" => format!("s{number}.unknown.example user=u{number}"),
                    _ => format!("s{number}.{kind}.example kind={kind} user=u{number}"),
                };
                reports.push(seen(&line, all_met.next().unwrap()));
            }
        }
        for number in 0..6 {
            let line = format!("S{number}.isp.example. kind=ISP user=u{number}");
            reports.push(seen(&line, Met::Case(1)));
        }
        reports
    }

    #[test]
    fn the_number_of_report_is_39_and_comes_down_to_26_in_the_papers_two_tables() {
        // > The number of report is 39. The number of servers which indicates "localhost" or a server
        // > in a home is 7. [...] Subtracting this number from 39 results in 32. [...] Removing the
        // > redundancy from the server/user pair point of view, the total number becomes 26.
        let survey = Survey::new(&reports_of_the_paper());
        assert_eq!((survey.reports, survey.at_home, survey.typical()), (39, 7, 32));
        assert_eq!((survey.redundant, survey.n()), (6, 26));
        assert_eq!(
            tallies(&survey.servers),
            [("ISP", 16), ("ASP", 1), ("Company", 6), ("University", 2), ("Unknown", 1)]
        );
        assert_eq!(
            tallies(&survey.cases),
            [
                ("Case 1 (Submission)", 12),
                ("Case 2 (TCP RST)", 7),
                ("Case 3 (Hard error)", 0),
                ("Case 4 (Soft error)", 0),
                ("Case 5 (TCP timeout)", 4),
                ("SSH(22)", 2),
                ("SSL(465)", 1),
            ]
        );
    }

    #[test]
    fn a_report_is_redundant_by_user_and_server_only() {
        let survey = Survey::new(&[
            seen("a.example user=x kind=isp", Met::Case(1)),
            seen("A.example. user=x kind=ASP", Met::Case(2)),
            seen("a.example user=y kind=Cooperative", Met::Case(2)),
            seen("a.example", Met::NoAddress),
            seen("a.example", Met::Other(Outcome::Local)),
            seen("b.example kind=HOME", Met::Case(1)),
        ]);
        assert_eq!((survey.reports, survey.at_home, survey.redundant, survey.n()), (6, 1, 2, 3));
        assert_eq!(tallies(&survey.servers), [("ISP", 1), ("Cooperative", 1), ("Unknown", 1)]);
        let (first, second) = (("Case 1 (Submission)", 1), ("Case 2 (TCP RST)", 1));
        let cases = tallies(&survey.cases);
        assert_eq!(
            cases.iter().filter(|row| row.1 > 0).collect::<Vec<_>>(),
            [&first, &second, &("No address", 1)]
        );
        assert_eq!(Survey::new(&[]).n(), 0);
    }

    #[test]
    fn localhost_and_private_addresses_are_at_home() {
        let at_home = |host: &str, addresses: &[&str]| {
            let list = addresses.iter().map(|text| SocketAddr::new(text.parse().unwrap(), 0));
            let (query, list) = (Query::Authority, Ok(list.collect()));
            let answer = LookedUp::new(query, &Family::ALL, Some(Duration::ZERO), list);
            is_at_home(&Probed::new(host.parse().unwrap(), vec![answer], Vec::new()))
        };
        assert!(at_home("LocalHost.", &[]) && at_home("mail.localhost", &[]));
        assert!(at_home("mail.example", &["192.168.1.2", "fd00::1"]));
        assert!(at_home("127.0.0.2", &["127.0.0.2"]) && at_home("::1", &["::1"]));
        assert!(!at_home("mail.example", &["10.0.0.1", "2001:db8::1"]));
        assert!(!at_home("mail.example", &[]) && !at_home("mylocalhost", &["192.0.2.1"]));
    }

    #[test]
    fn the_case_of_a_host_is_how_a_dial_meets_its_first_service() {
        let met = |host: &str, plan: &str, fates: &[(u16, IpAddr, Fate)]| {
            let plan = plan.parse().unwrap();
            Met::new(&plan, &forecast(&probed(host, &plan, fates), &plan))
        };
        let fails = |outcome| Fate::Fails(Failure::new(outcome));
        for (fate, case) in [
            (Fate::Connects { syns: 1, after: Duration::from_millis(40) }, 1),
            (fails(Outcome::Reset), 2),
            (fails(Outcome::IcmpHard), 3),
            (fails(Outcome::IcmpSoft), 4),
            (Fate::Silent(5), 5),
        ] {
            assert_eq!(met("192.0.2.1", "submission", &[(587, V4, fate)]), Met::Case(case));
        }
        // One family is enough, and of two failures the one that explains more counts.
        let (silent, hard) = ((587, V6, Fate::Silent(5)), fails(Outcome::IcmpHard));
        assert_eq!(met("mail.example", "submission", &[silent]), Met::Case(1));
        assert_eq!(met("mail.example", "submission", &[silent, (587, V4, hard)]), Met::Case(3));
        let local = (587, V4, fails(Outcome::Local));
        assert_eq!(met("192.0.2.1", "submission", &[local]), Met::Other(Outcome::Local));
        assert_eq!(met("2001:db8:2::1", "mew", &[]), Met::NoAddress);
        assert_eq!(met("192.0.2.1", "rfc8314", &[]).name(), "SSL(465)");
        assert_eq!(met("192.0.2.1", "25:starttls", &[(25, V4, hard)]).name(), "25:starttls");
    }
}
