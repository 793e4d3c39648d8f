//! ICMP errors: what each type and code says about a connection that is being made.

use std::fmt;
use std::net::IpAddr;

use crate::plan::Family::{self, Ipv4, Ipv6};
use Verdict::{Hard, NotAFailure, Soft};

/// An ICMP error, and the router that sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Icmp {
    /// ICMP for IPv4 (RFC 792) or ICMPv6 (RFC 4443).
    pub family: Family,
    /// The type.
    pub kind: u8,
    /// The code.
    pub code: u8,
    /// The address of the router that sent it, where the kernel knew it.
    pub sender: Option<IpAddr>,
}

impl Icmp {
    /// 4 or 6, as in JSON.
    pub fn version(self) -> u8 {
        match self.family {
            Ipv4 => 4,
            Ipv6 => 6,
        }
    }

    /// What the type and code mean, in the words of the RFC; `None` for an unassigned one.
    pub fn meaning(self) -> Option<&'static str> {
        self.row().map(|row| row.meaning)
    }

    /// The verdict of the table; `None` for a code that it does not know.
    pub(super) fn verdict(self) -> Option<Verdict> {
        self.row().map(|row| row.verdict)
    }

    fn row(self) -> Option<&'static IcmpRow> {
        ICMP.iter().find(|row| {
            row.family == self.family
                && row.kind == self.kind
                && row.code.is_none_or(|code| code == self.code)
        })
    }
}

/// The meaning, or type and code in numbers where there is none.
impl fmt::Display for Icmp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.meaning() {
            Some(meaning) => f.write_str(meaning),
            None => write!(f, "ICMPv{} type {} code {}", self.version(), self.kind, self.code),
        }
    }
}

/// One row of [`ICMP`]: what a type and code say about a connection that is being made.
struct IcmpRow {
    family: Family,
    kind: u8,
    /// `None` for every code of the type.
    code: Option<u8>,
    verdict: Verdict,
    meaning: &'static str,
    /// Where the kind is said; "by analogy" where no RFC says it of a TCP connect.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "read by the test that wants one in each row")
    )]
    source: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Soft,
    Hard,
    /// The connect goes on; Linux does not report it.
    NotAFailure,
}

const fn row(
    family: Family,
    kind: u8,
    code: Option<u8>,
    verdict: Verdict,
    meaning: &'static str,
    source: &'static str,
) -> IcmpRow {
    IcmpRow { family, kind, code, verdict, meaning, source }
}

/// Where a row's verdict is from: RFC 1122 section 4.2.3.9 and RFC 9293 section 3.9.2.2 sort the
/// errors that they name. The others follow the errors they resemble: an administrator's "no" is
/// hard, trouble on the way is soft.
const TCP: &str = "RFC 1122 section 4.2.3.9";
const TCP_V6: &str = "RFC 9293 section 3.9.2.2";
const LIKE_HOSTS: &str = "RFC 1122 section 3.2.2.1, by analogy";
const LIKE_ROUTERS: &str = "RFC 1812 section 5.2.7.1, by analogy";
const LIKE_V6: &str = "RFC 4443 section 3.1, by analogy";

/// One row a line, so that it reads as a table.
#[rustfmt::skip]
const ICMP: &[IcmpRow] = &[
    row(Ipv4, 3, Some(0), Soft, "net unreachable", TCP),
    row(Ipv4, 3, Some(1), Soft, "host unreachable", TCP),
    row(Ipv4, 3, Some(2), Hard, "protocol unreachable", TCP),
    row(Ipv4, 3, Some(3), Hard, "port unreachable", TCP),
    row(Ipv4, 3, Some(4), NotAFailure, "fragmentation needed", "RFC 1191 section 3"),
    row(Ipv4, 3, Some(5), Soft, "source route failed", TCP),
    row(Ipv4, 3, Some(6), Hard, "destination network unknown", LIKE_HOSTS),
    row(Ipv4, 3, Some(7), Hard, "destination host unknown", LIKE_HOSTS),
    row(Ipv4, 3, Some(8), Hard, "source host isolated", LIKE_HOSTS),
    row(Ipv4, 3, Some(9), Hard, "communication with destination network administratively prohibited", LIKE_HOSTS),
    row(Ipv4, 3, Some(10), Hard, "communication with destination host administratively prohibited", LIKE_HOSTS),
    row(Ipv4, 3, Some(11), Soft, "network unreachable for type of service", LIKE_HOSTS),
    row(Ipv4, 3, Some(12), Soft, "host unreachable for type of service", LIKE_HOSTS),
    row(Ipv4, 3, Some(13), Hard, "communication administratively prohibited", LIKE_ROUTERS),
    row(Ipv4, 3, Some(14), Hard, "host precedence violation", LIKE_ROUTERS),
    row(Ipv4, 3, Some(15), Hard, "precedence cutoff in effect", LIKE_ROUTERS),
    row(Ipv4, 4, Some(0), NotAFailure, "source quench", "RFC 6633 section 4"),
    row(Ipv4, 11, Some(0), Soft, "time to live exceeded in transit", TCP),
    row(Ipv4, 11, Some(1), NotAFailure, "fragment reassembly time exceeded", TCP),
    row(Ipv4, 12, None, Soft, "parameter problem", TCP),
    row(Ipv6, 1, Some(0), Soft, "no route to destination", TCP_V6),
    row(Ipv6, 1, Some(1), Hard, "communication with destination administratively prohibited", TCP_V6),
    row(Ipv6, 1, Some(2), Soft, "beyond scope of source address", LIKE_V6),
    row(Ipv6, 1, Some(3), Soft, "address unreachable", TCP_V6),
    row(Ipv6, 1, Some(4), Hard, "port unreachable", TCP_V6),
    row(Ipv6, 1, Some(5), Hard, "source address failed ingress/egress policy", LIKE_V6),
    row(Ipv6, 1, Some(6), Hard, "reject route to destination", LIKE_V6),
    row(Ipv6, 1, Some(7), Hard, "error in source routing header", "RFC 6554 section 4.2, by analogy"),
    row(Ipv6, 2, Some(0), NotAFailure, "packet too big", "RFC 8201 section 4"),
    row(Ipv6, 3, None, Soft, "time exceeded", TCP_V6),
    row(Ipv6, 4, None, Soft, "parameter problem", TCP_V6),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_names_its_source() {
        for row in ICMP {
            let words: Vec<&str> = row.source.split(&[' ', ','][..]).collect();
            assert!(words[0] == "RFC" && words[2] == "section", "{}", row.source);
        }
    }
}
