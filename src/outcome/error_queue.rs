//! The error queue of a socket: what the kernel wrote there, read from its bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Errno, Icmp};
use crate::plan::Family;

/// What the error queue of a socket held (`IP_RECVERR`, `IPV6_RECVERR`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorQueue {
    /// This kernel does not queue errors for the socket, so nothing follows from its silence.
    Unavailable,
    /// Queueing is on, and nothing was there: no ICMP error ended the connect.
    Empty,
    /// An ICMP error.
    Icmp(Icmp, Errno),
    /// An error that this machine's own kernel queued.
    Local(Errno),
}

impl ErrorQueue {
    /// Reads one entry as the kernel lays it out: a `sock_extended_err` of linux/errqueue.h, and
    /// the `sockaddr` of the offender behind it. `None` for what is neither ICMP nor local.
    pub fn from_extended_error(data: &[u8]) -> Option<ErrorQueue> {
        let number = u32::from_ne_bytes(data.get(0..4)?.try_into().ok()?);
        let errno = Errno(i32::try_from(number).ok()?);
        let &[origin, kind, code] = data.get(4..7)? else { return None };
        let family = match origin {
            libc::SO_EE_ORIGIN_ICMP => Family::Ipv4,
            libc::SO_EE_ORIGIN_ICMP6 => Family::Ipv6,
            libc::SO_EE_ORIGIN_LOCAL => return Some(ErrorQueue::Local(errno)),
            _ => return None,
        };
        let from = data.get(16..).and_then(ip_of_sockaddr);
        Some(ErrorQueue::Icmp(Icmp { family, kind, code, sender: from }, errno))
    }
}

/// Reads the address of a `sockaddr_in` or `sockaddr_in6`.
pub(crate) fn ip_of_sockaddr(data: &[u8]) -> Option<IpAddr> {
    let family = u16::from_ne_bytes(data.get(0..2)?.try_into().ok()?);
    match libc::c_int::from(family) {
        libc::AF_INET => {
            let octets: [u8; 4] = data.get(4..8)?.try_into().ok()?;
            Some(Ipv4Addr::from(octets).into())
        }
        libc::AF_INET6 => {
            let octets: [u8; 16] = data.get(8..24)?.try_into().ok()?;
            Some(IpAddr::from(Ipv6Addr::from(octets)).to_canonical())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A `sock_extended_err` (errno 113, ICMP 3/13) with a `sockaddr_in` of 203.0.113.1 behind it.
    fn entry() -> Vec<u8> {
        let mut data = Vec::new();
        data.extend(113u32.to_ne_bytes());
        data.extend([2, 3, 13, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        data.extend(2u16.to_ne_bytes());
        data.extend([0, 0, 203, 0, 113, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
        data
    }

    #[test]
    fn an_entry_names_the_router() {
        let from = Some("203.0.113.1".parse().unwrap());
        let icmp = Icmp { family: Family::Ipv4, kind: 3, code: 13, sender: from };
        assert_eq!(
            ErrorQueue::from_extended_error(&entry()),
            Some(ErrorQueue::Icmp(icmp, Errno(113)))
        );
    }

    #[test]
    fn a_short_entry_is_no_entry_and_never_a_panic() {
        for length in 0..entry().len() {
            let parsed = ErrorQueue::from_extended_error(&entry()[..length]);
            assert_eq!(parsed.is_some(), length >= 7, "{length}");
        }
    }
}
