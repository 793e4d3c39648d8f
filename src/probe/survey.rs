//! The two tables of the paper's field test: servers by kind, and the breakdown of the cases.
//!
//! > The number of report is 39. The number of servers which indicates "localhost" or a server in
//! > a home is 7. This is not a typical usage. Subtracting this number from 39 results in 32. This
//! > includes reports whose both user and server are the same but clients locate different places.
//! > [...] Removing the redundancy from the server/user pair point of view, the total number
//! > becomes 26.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Answer, Entry, Probed};
use crate::outcome::Outcome;
use crate::plan::{Plan, Service, Tls};
use crate::report::Report;

/// How a dial would meet the first service of its plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Met {
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
    pub fn name(self) -> String {
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

impl Probed {
    /// How a dial by `plan` would meet its first service: connected, if that is what it would come
    /// to, or else the attempt that says most of it.
    pub fn met(&self, plan: &Plan, forecast: &Report) -> Met {
        let Some(&first) = plan.services().first() else { return Met::NoAddress };
        let attempts = forecast.attempts.iter().filter(|attempt| attempt.service == first);
        let of_first = Report { attempts: attempts.cloned().collect(), ..forecast.clone() };
        let Some(telling) = of_first.telling() else { return Met::NoAddress };
        if first.port() != 587 {
            return Met::Service(first);
        }
        let won = forecast.winner().is_some_and(|winner| winner.service == first);
        match if won { Some(Outcome::Connected) } else { telling.outcome } {
            Some(Outcome::Connected) => Met::Case(1),
            Some(Outcome::Reset) => Met::Case(2),
            Some(Outcome::IcmpHard) => Met::Case(3),
            Some(Outcome::IcmpSoft) => Met::Case(4),
            Some(Outcome::Timeout) => Met::Case(5),
            other => Met::Other(other.unwrap_or(Outcome::Cancelled)),
        }
    }

    /// Whether this is no typical server: localhost, or one in a home, which is known by its name
    /// or by having private addresses only.
    pub fn is_at_home(&self) -> bool {
        let name = Entry::from(self.target.clone()).server();
        let mut addresses = self.answers.iter().flat_map(Answer::list).peekable();
        name == "localhost"
            || name.ends_with(".localhost")
            || addresses.peek().is_some() && addresses.all(|address| is_private(address.ip()))
    }
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
pub struct Seen {
    /// The server, its kind and its user.
    pub entry: Entry,
    /// Whether the server is localhost or in a home, as [`Probed::is_at_home`] tells. An entry of
    /// the kind `home` is, whatever stands here.
    pub at_home: bool,
    /// How its first service is met.
    pub met: Met,
}

/// One row of a table.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tally {
    /// What is counted.
    pub name: String,
    /// How many there are.
    pub count: usize,
}

/// The paper's two tables, and how the number of reports came down to what they count.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Survey {
    /// Every report.
    pub reports: usize,
    /// Those that name localhost or a server in a home: left out, for this is not typical usage.
    pub at_home: usize,
    /// Of the others, those that repeat user and server of an earlier one: left out.
    pub redundant: usize,
    /// Servers by kind, those that the paper has first, and `Unknown` last.
    pub servers: Vec<Tally>,
    /// The paper's five cases, whether or not they occurred; then what else did.
    pub cases: Vec<Tally>,
}

/// The kinds of the paper, in its order.
const KINDS: [&str; 4] = ["ISP", "ASP", "Company", "University"];
const UNKNOWN: &str = "Unknown";

impl Survey {
    /// Counts reports by the paper's rule. Of reports with the same user and server the first
    /// counts; reports without a user are one user's.
    pub fn new(reports: &[Seen]) -> Survey {
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
    pub fn typical(&self) -> usize {
        self.reports - self.at_home
    }

    /// How many reports the tables count.
    pub fn n(&self) -> usize {
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
