//! How an attempt ended, decided from the errors that the kernel reports, without I/O.
//!
//! `errno` alone does not tell: `EHOSTUNREACH` is a host that a router could not reach, a firewall,
//! or our own neighbour table; `ECONNREFUSED` is a RST or an ICMP port unreachable. The ICMP error
//! in the socket's error queue, and the count of segments that came in, do.

mod error_queue;
mod icmp;
mod via_error;

use std::fmt;
use std::net::IpAddr;

pub use error_queue::ErrorQueue;
#[cfg(feature = "driver")]
pub(crate) use error_queue::ip_of_sockaddr;
pub use icmp::Icmp;
pub use via_error::ViaError;

use icmp::Verdict::{Hard, NotAFailure, Soft};

/// How an attempt ended. Cases 1 to 5 are those of the fallback paper.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// The connection was established, and won.
    Connected,
    /// The peer answered with a RST.
    Reset,
    /// An ICMP hard error (RFC 1122 section 4.2.3.9), as from a firewall that says so.
    IcmpHard,
    /// An ICMP soft error (the same section): a problem of the path, not of the port.
    IcmpSoft,
    /// Silence until given up.
    Timeout,
    /// This machine said no: no route, a local firewall, a neighbour that does not answer, no
    /// descriptors.
    Local,
    /// Accepted, then closed by the peer before the connection was used.
    Closed,
    /// A proxy's reply.
    Via,
    /// Still in time when another attempt won, or given up by the caller's wish.
    Cancelled,
}

impl Outcome {
    /// The word used in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Connected => "connected",
            Outcome::Reset => "reset",
            Outcome::IcmpHard => "icmp-hard",
            Outcome::IcmpSoft => "icmp-soft",
            Outcome::Timeout => "timeout",
            Outcome::Local => "local",
            Outcome::Closed => "closed",
            Outcome::Via => "via",
            Outcome::Cancelled => "cancelled",
        }
    }

    /// Whether this alone says that the service is not there. A proxy's reply may, too:
    /// [`Failure::is_refusal`] knows.
    pub fn is_refusal(self) -> bool {
        matches!(self, Outcome::Reset | Outcome::IcmpHard | Outcome::Closed)
    }

    /// Whether this is an answer from the far side, so that the family works.
    pub fn is_answer(self) -> bool {
        matches!(self, Outcome::Connected | Outcome::Reset | Outcome::IcmpHard | Outcome::Closed)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An error number of the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Errno(pub i32);

impl Errno {
    /// The symbolic name, such as `ECONNREFUSED`; `None` for a number that no connect gives.
    pub fn name(self) -> Option<&'static str> {
        ERRNO_NAMES.iter().find(|(number, _)| *number == self.0).map(|(_, name)| *name)
    }

    /// Whether this is a want of our own that says nothing of any service: it never makes the next
    /// one start. `ENOSPC` is how epoll says that no more descriptors can be watched.
    pub fn is_local_resource_error(self) -> bool {
        use libc::{EADDRINUSE, EADDRNOTAVAIL, EMFILE, ENFILE, ENOBUFS, ENOMEM, ENOSPC};
        [EMFILE, ENFILE, ENOBUFS, ENOMEM, ENOSPC, EADDRNOTAVAIL, EADDRINUSE].contains(&self.0)
    }
}

/// The symbolic name, or `errno 42` where there is none.
impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "errno {}", self.0),
        }
    }
}

macro_rules! errno_names {
    ($($name:ident)*) => { &[$((libc::$name, stringify!($name))),*] };
}

/// The names of every error that socket, bind, setsockopt or connect may give on Linux.
const ERRNO_NAMES: &[(i32, &str)] = errno_names! {
    EACCES EADDRINUSE EADDRNOTAVAIL EAFNOSUPPORT EAGAIN EALREADY EBADF ECONNABORTED ECONNREFUSED
    ECONNRESET EDESTADDRREQ EFAULT EHOSTDOWN EHOSTUNREACH EINPROGRESS EINTR EINVAL EIO EISCONN
    ELOOP EMFILE EMSGSIZE ENETDOWN ENETRESET ENETUNREACH ENFILE ENOBUFS ENODEV ENOENT ENOMEM
    ENONET ENOPROTOOPT ENOSPC ENOSYS ENOTCONN ENOTSOCK ENXIO EOPNOTSUPP EPERM EPIPE EPROTO
    EPROTONOSUPPORT EPROTOTYPE ETIMEDOUT
};

/// What a socket that may have failed left behind.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// `SO_ERROR`, or what `connect` itself returned; `None` where it was 0. Reading the queue can
    /// clear it, so the queue decides first.
    pub errno: Option<Errno>,
    /// What the error queue held.
    pub queue: ErrorQueue,
    /// `tcpi_segs_in`: segments that came in; `None` where the kernel does not tell.
    pub segments_in: Option<u32>,
    /// Addresses of this machine: a router that has one of them is no router.
    pub own_addresses: &'a [IpAddr],
}

/// Why an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Failure {
    /// The kind.
    pub outcome: Outcome,
    /// The system's error, where there was one.
    pub errno: Option<Errno>,
    /// The ICMP error, where there was one.
    pub icmp: Option<Icmp>,
    /// What the proxy or the command did, where the outcome is [`Outcome::Via`].
    pub via_error: Option<ViaError>,
}

impl Failure {
    /// A failure without any error of the system.
    pub fn new(outcome: Outcome) -> Failure {
        Failure { outcome, errno: None, icmp: None, via_error: None }
    }

    /// A failure of the proxy or the command, or its reply.
    pub fn from_via_error(error: ViaError) -> Failure {
        Failure { via_error: Some(error), ..Failure::new(Outcome::Via) }
    }

    /// Whether this says that the service is not there, so that the next one may start at once.
    pub fn is_refusal(self) -> bool {
        self.outcome.is_refusal() || self.via_error.is_some_and(ViaError::is_refusal)
    }

    /// Whether this is a local resource error; such a failure never makes the next
    /// service start.
    pub fn is_local_resource_error(self) -> bool {
        self.outcome == Outcome::Local && self.errno.is_some_and(Errno::is_local_resource_error)
    }

    /// Tells the failure from the evidence; `None` when nothing has failed yet.
    pub fn from_evidence(evidence: &Evidence) -> Option<Failure> {
        let errno = evidence.errno;
        match evidence.queue {
            ErrorQueue::Local(queued) => {
                let errno = Some(errno.unwrap_or(queued));
                Some(Failure { errno, ..Failure::new(Outcome::Local) })
            }
            ErrorQueue::Icmp(icmp, queued) => {
                let failed = Failure::from_icmp(icmp, errno.unwrap_or(queued), evidence);
                failed.or_else(|| {
                    errno.map(|e| Failure::from_errno(e, ErrorQueue::Empty, evidence.segments_in))
                })
            }
            queue => errno.map(|e| Failure::from_errno(e, queue, evidence.segments_in)),
        }
    }

    fn from_icmp(icmp: Icmp, errno: Errno, evidence: &Evidence) -> Option<Failure> {
        let outcome = match icmp.verdict() {
            Some(NotAFailure) => return None,
            _ if icmp.sender.is_some_and(|from| evidence.own_addresses.contains(&from)) => {
                Outcome::Local
            }
            Some(Soft) => Outcome::IcmpSoft,
            Some(Hard) => Outcome::IcmpHard,
            None => outcome_of_errno(errno),
        };
        Some(Failure { errno: Some(errno), icmp: Some(icmp), ..Failure::new(outcome) })
    }

    fn from_errno(errno: Errno, queue: ErrorQueue, segments_in: Option<u32>) -> Failure {
        let outcome = match errno.0 {
            libc::ETIMEDOUT => Outcome::Timeout,
            // A RST is a segment that came in. Where the kernel does not count, it must be
            // believed: only an ICMP port unreachable looks alike, and that is a refusal too.
            libc::ECONNREFUSED | libc::ECONNRESET if segments_in != Some(0) => Outcome::Reset,
            // A want of our own is never the network's word, whether errors are queued or not.
            _ if errno.is_local_resource_error() => Outcome::Local,
            // Errors of the network are queued, so one that was not is this machine's own.
            _ if queue == ErrorQueue::Empty => Outcome::Local,
            _ => outcome_of_errno(errno),
        };
        Failure { errno: Some(errno), ..Failure::new(outcome) }
    }
}

/// The kind of an error that came from the network and is known by its number only.
fn outcome_of_errno(errno: Errno) -> Outcome {
    match errno.0 {
        libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EOPNOTSUPP | libc::EPROTO => {
            Outcome::IcmpSoft
        }
        libc::ECONNREFUSED | libc::EACCES | libc::ENOPROTOOPT | libc::EHOSTDOWN | libc::ENONET => {
            Outcome::IcmpHard
        }
        libc::ETIMEDOUT => Outcome::Timeout,
        _ => Outcome::Local,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Family::{self, Ipv4, Ipv6};
    use libc::{
        EACCES, ECONNREFUSED, ECONNRESET, EHOSTDOWN, EHOSTUNREACH, EINVAL, EMFILE, ENETUNREACH,
        ENONET, ENOPROTOOPT, EOPNOTSUPP, EPROTO, ETIMEDOUT,
    };

    const ROUTER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 1));
    const OURS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 2));

    fn classified(errno: i32, queue: ErrorQueue, segments_in: u32) -> Option<Failure> {
        Failure::from_evidence(&Evidence {
            errno: (errno != 0).then_some(Errno(errno)),
            queue,
            segments_in: Some(segments_in),
            own_addresses: &[OURS],
        })
    }

    fn icmp(family: Family, kind: u8, code: u8, errno: i32) -> ErrorQueue {
        ErrorQueue::Icmp(Icmp { family, kind, code, sender: Some(ROUTER) }, Errno(errno))
    }

    fn outcome(queue: ErrorQueue) -> Option<Outcome> {
        classified(0, queue, 0).map(|failure| failure.outcome)
    }

    #[test]
    fn every_icmp_error_that_ends_a_connect_has_its_kind() {
        use Outcome::{IcmpHard, IcmpSoft};
        let v4: &[(u8, u8, i32, Outcome)] = &[
            (3, 0, ENETUNREACH, IcmpSoft),
            (3, 1, EHOSTUNREACH, IcmpSoft),
            (3, 2, ENOPROTOOPT, IcmpHard),
            (3, 3, ECONNREFUSED, IcmpHard),
            (3, 5, EOPNOTSUPP, IcmpSoft),
            (3, 6, ENETUNREACH, IcmpHard),
            (3, 7, EHOSTDOWN, IcmpHard),
            (3, 8, ENONET, IcmpHard),
            (3, 9, ENETUNREACH, IcmpHard),
            (3, 10, EHOSTUNREACH, IcmpHard),
            (3, 11, ENETUNREACH, IcmpSoft),
            (3, 12, EHOSTUNREACH, IcmpSoft),
            (3, 13, EHOSTUNREACH, IcmpHard),
            (3, 14, EHOSTUNREACH, IcmpHard),
            (3, 15, EHOSTUNREACH, IcmpHard),
            (11, 0, EHOSTUNREACH, IcmpSoft),
            (12, 0, EPROTO, IcmpSoft),
            (12, 2, EPROTO, IcmpSoft),
        ];
        for &(kind, code, errno, expected) in v4 {
            let failure = classified(0, icmp(Ipv4, kind, code, errno), 0).expect("a failure");
            assert_eq!(failure.outcome, expected, "{kind}/{code}");
            assert_eq!(failure.errno, Some(Errno(errno)), "the queue's errno stands in");
        }
        let v6: &[(u8, u8, i32, Outcome)] = &[
            (1, 0, ENETUNREACH, IcmpSoft),
            (1, 1, EACCES, IcmpHard),
            (1, 2, EHOSTUNREACH, IcmpSoft),
            (1, 3, EHOSTUNREACH, IcmpSoft),
            (1, 4, ECONNREFUSED, IcmpHard),
            (1, 5, EACCES, IcmpHard),
            (1, 6, EACCES, IcmpHard),
            (1, 7, EPROTO, IcmpHard),
            (3, 0, EHOSTUNREACH, IcmpSoft),
            (3, 1, EHOSTUNREACH, IcmpSoft),
            (4, 0, EPROTO, IcmpSoft),
            (4, 2, EPROTO, IcmpSoft),
        ];
        for &(kind, code, errno, expected) in v6 {
            assert_eq!(outcome(icmp(Ipv6, kind, code, errno)), Some(expected), "{kind}/{code}");
        }
    }

    #[test]
    fn icmp_that_ends_no_connect_is_not_a_failure() {
        for queue in [
            icmp(Ipv4, 3, 4, libc::EMSGSIZE),
            icmp(Ipv4, 4, 0, 0),
            icmp(Ipv4, 11, 1, EHOSTUNREACH),
            icmp(Ipv6, 2, 0, libc::EMSGSIZE),
        ] {
            assert_eq!(classified(0, queue, 0), None, "{queue:?}");
        }
    }

    #[test]
    fn an_unknown_code_is_sorted_by_its_errno_and_keeps_its_numbers() {
        assert_eq!(outcome(icmp(Ipv4, 3, 99, EHOSTUNREACH)), Some(Outcome::IcmpSoft));
        assert_eq!(outcome(icmp(Ipv6, 1, 99, EACCES)), Some(Outcome::IcmpHard));
        let failure = classified(0, icmp(Ipv4, 3, 99, EHOSTUNREACH), 0).unwrap();
        assert_eq!(failure.icmp.unwrap().to_string(), "ICMPv4 type 3 code 99");
    }

    #[test]
    fn a_reset_is_a_segment_that_came_in_with_an_empty_queue() {
        for errno in [ECONNREFUSED, ECONNRESET] {
            let failure = classified(errno, ErrorQueue::Empty, 1).unwrap();
            assert_eq!((failure.outcome, failure.icmp), (Outcome::Reset, None));
        }
        assert_eq!(
            classified(ECONNREFUSED, icmp(Ipv4, 3, 3, ECONNREFUSED), 0).unwrap().outcome,
            Outcome::IcmpHard
        );
        assert_eq!(classified(ECONNREFUSED, ErrorQueue::Empty, 0).unwrap().outcome, Outcome::Local);
    }

    #[test]
    fn the_queue_decides_even_where_reading_it_cleared_the_error() {
        assert_eq!(outcome(icmp(Ipv4, 3, 13, EHOSTUNREACH)), Some(Outcome::IcmpHard));
    }

    #[test]
    fn what_this_machine_refuses_is_local() {
        for errno in [ENETUNREACH, EHOSTUNREACH, EACCES, EINVAL, libc::EPERM, EMFILE] {
            let failure = classified(errno, ErrorQueue::Empty, 0).unwrap();
            assert_eq!(failure.outcome, Outcome::Local, "{}", Errno(errno));
        }
        // A neighbour that does not answer: the kernel sends itself a host unreachable.
        let own = Icmp { family: Ipv4, kind: 3, code: 1, sender: Some(OURS) };
        let failure =
            classified(EHOSTUNREACH, ErrorQueue::Icmp(own, Errno(EHOSTUNREACH)), 0).unwrap();
        assert_eq!(failure.outcome, Outcome::Local);
        assert_eq!(
            outcome(ErrorQueue::Local(Errno(libc::EMSGSIZE))),
            Some(Outcome::Local),
            "queued by our own kernel"
        );
    }

    #[test]
    fn without_a_queue_errno_alone_decides() {
        let queue = ErrorQueue::Unavailable;
        assert_eq!(classified(EHOSTUNREACH, queue, 0).unwrap().outcome, Outcome::IcmpSoft);
        assert_eq!(classified(EACCES, queue, 0).unwrap().outcome, Outcome::IcmpHard);
        assert_eq!(classified(EMFILE, queue, 0).unwrap().outcome, Outcome::Local);
        assert_eq!(classified(ECONNREFUSED, queue, 1).unwrap().outcome, Outcome::Reset);
    }

    #[test]
    fn the_kernel_giving_up_is_a_timeout() {
        assert_eq!(classified(ETIMEDOUT, ErrorQueue::Empty, 0).unwrap().outcome, Outcome::Timeout);
        assert_eq!(classified(0, ErrorQueue::Empty, 1), None, "nothing failed");
    }

    #[test]
    fn only_local_resource_errors_end_the_dial() {
        let own =
            |errno| classified(errno, ErrorQueue::Empty, 0).unwrap().is_local_resource_error();
        assert!(own(EMFILE) && own(libc::ENFILE) && own(libc::ENOBUFS) && own(libc::ENOMEM));
        assert!(own(libc::EADDRNOTAVAIL) && own(libc::EADDRINUSE));
        assert!(!own(ENETUNREACH) && !own(libc::EPERM));
    }

    #[test]
    fn numbers_without_a_name_are_still_shown() {
        assert_eq!(Errno(ECONNREFUSED).to_string(), "ECONNREFUSED");
        assert_eq!(Errno(4242).to_string(), "errno 4242");
    }
}
