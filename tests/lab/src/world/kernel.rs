//! What the client's TCP makes of the network's answers.

use std::net::IpAddr;
use std::time::Duration;

use mailport::Family;
use mailport::outcome::{Errno, ErrorQueue, Evidence, Failure, Icmp};

use crate::{Fate, ROUTER_V4, ROUTER_V6};

/// When SYNs are sent, from the first: measured on Linux, whose first five retransmissions are
/// linear since 6.5.
pub(super) const SYNS: [Duration; 11] = {
    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }
    [at(0), at(1), at(2), at(3), at(4), at(5), at(7), at(11), at(19), at(35), at(68)]
};

/// What a TCP does with an ICMP soft error before the connection is established.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SoftErrors {
    /// It ends the connect, as in Linux.
    End,
    /// It is noted, and the connect goes on: what RFC 1122 section 4.2.3.9 asks for.
    Noted,
}

/// The client's TCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kernel {
    /// Its way with soft errors.
    pub soft_errors: SoftErrors,
    /// When it gives up a connect that nothing has ended.
    pub gives_up: Duration,
}

/// Linux, as measured.
impl Default for Kernel {
    fn default() -> Kernel {
        Kernel { soft_errors: SoftErrors::End, gives_up: Duration::from_millis(134_900) }
    }
}

/// How a connect ends, if it is not closed before.
pub(super) enum Ending {
    Connected,
    Failed(Failure),
}

impl Kernel {
    /// How a connect ends and how long that takes.
    pub(super) fn ending(
        &self,
        fate: Fate,
        family: Family,
        round_trip: Duration,
    ) -> (Duration, Ending) {
        let given_up =
            (self.gives_up, Ending::Failed(reported(libc::ETIMEDOUT, ErrorQueue::Empty, 0)));
        let (after, ending) = match fate {
            Fate::Open | Fate::AcceptThenClose(_) => (round_trip, Ending::Connected),
            Fate::Reset => {
                let reset = reported(libc::ECONNREFUSED, ErrorQueue::Empty, 1);
                (round_trip, Ending::Failed(reset))
            }
            Fate::Icmp { kind, code } => match icmp(family, kind, code) {
                None => return given_up,
                Some(failure) if self.goes_on_after(failure) => {
                    return (self.gives_up, Ending::Failed(failure));
                }
                Some(failure) => (round_trip, Ending::Failed(failure)),
            },
            // Which of them is accepted, if SYNs are lost, depends on those of other connections.
            Fate::Silent | Fate::LoseSyns(_) => return given_up,
            Fate::DropFirst(lost) => match SYNS.get(lost as usize) {
                None => return given_up,
                Some(&sent) => (sent + round_trip, Ending::Connected),
            },
        };
        if after < self.gives_up { (after, ending) } else { given_up }
    }

    fn goes_on_after(&self, failure: Failure) -> bool {
        self.soft_errors == SoftErrors::Noted && failure.outcome == mailport::Outcome::IcmpSoft
    }
}

/// A connect that the client's own kernel refuses.
pub(super) fn refused_here(errno: Errno) -> Failure {
    reported(errno.0, ErrorQueue::Empty, 0)
}

fn reported(errno: i32, queue: ErrorQueue, segments_in: u32) -> Failure {
    let evidence = Evidence {
        errno: Some(Errno(errno)),
        queue,
        segments_in: Some(segments_in),
        own_addresses: &[],
    };
    Failure::from_evidence(&evidence).expect("an errno is a failure")
}

/// What an ICMP error leaves behind; `None` for one that does not end a connect.
fn icmp(family: Family, kind: u8, code: u8) -> Option<Failure> {
    let errno = match family {
        Family::Ipv4 => errno_v4(kind, code)?,
        Family::Ipv6 => errno_v6(kind, code)?,
    };
    let from: IpAddr = match family {
        Family::Ipv4 => ROUTER_V4,
        Family::Ipv6 => ROUTER_V6,
    };
    let icmp = Icmp { family, kind, code, sender: Some(from) };
    Some(reported(errno, ErrorQueue::Icmp(icmp, Errno(errno)), 0))
}

/// The error that Linux gives a connect for an ICMP error; `None` where the connect goes on.
fn errno_v4(kind: u8, code: u8) -> Option<i32> {
    Some(match (kind, code) {
        (3, 0 | 6 | 9 | 11) => libc::ENETUNREACH,
        (3, 1 | 10 | 12..=15) | (11, 0) => libc::EHOSTUNREACH,
        (3, 2) => libc::ENOPROTOOPT,
        (3, 3) => libc::ECONNREFUSED,
        (3, 5) => libc::EOPNOTSUPP,
        (3, 7) => libc::EHOSTDOWN,
        (3, 8) => libc::ENONET,
        (12, _) => libc::EPROTO,
        _ => return None,
    })
}

/// The same for ICMPv6.
fn errno_v6(kind: u8, code: u8) -> Option<i32> {
    Some(match (kind, code) {
        (1, 0) => libc::ENETUNREACH,
        (1, 2 | 3) | (3, _) => libc::EHOSTUNREACH,
        (1, 1 | 5 | 6) => libc::EACCES,
        (1, 4) => libc::ECONNREFUSED,
        (1, 7) | (4, _) => libc::EPROTO,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_icmp_error_that_can_end_a_connect_is_known_by_its_number_not_by_its_errno() {
        for (family, kind, code, name) in [
            (Family::Ipv4, 3, 1, "icmp-soft"),
            (Family::Ipv4, 3, 13, "icmp-hard"),
            (Family::Ipv4, 11, 0, "icmp-soft"),
            (Family::Ipv6, 1, 1, "icmp-hard"),
            (Family::Ipv6, 1, 3, "icmp-soft"),
        ] {
            let failure = icmp(family, kind, code).unwrap();
            assert_eq!(failure.outcome.name(), name, "{family} {kind}/{code}");
        }
    }
}
