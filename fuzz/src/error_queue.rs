//! Bytes as an entry of a socket's error queue, and what it says of a connect.

use std::net::IpAddr;

use mailport::outcome::{Errno, ErrorQueue, Evidence, Failure, Icmp};
use mailport::{Family, Outcome};

use super::bytes::Bytes;

/// The length of a `sock_extended_err`, which the offender's address follows.
const ENTRY: usize = 16;

/// An entry keeps number, type, code and router, and only the network's word becomes an outcome of
/// the network.
pub fn error_queue(data: &[u8]) {
    let parsed = ErrorQueue::from_extended_error(data);
    match parsed {
        None => assert!(is_none_rightly(data)),
        Some(ErrorQueue::Local(errno)) => assert_eq!((number(data), data[4]), (errno, 1)),
        Some(ErrorQueue::Icmp(icmp, errno)) => {
            let origin = if icmp.family == Family::Ipv4 { 2 } else { 3 };
            assert_eq!((number(data), &data[4..7]), (errno, &[origin, icmp.kind, icmp.code][..]));
            assert_eq!(ErrorQueue::from_extended_error(&entry(icmp, errno)), parsed);
            let shorter = ErrorQueue::from_extended_error(&data[..data.len().min(ENTRY)]);
            assert_eq!(shorter, Some(ErrorQueue::Icmp(Icmp { sender: None, ..icmp }, errno)));
        }
        Some(other) => panic!("an entry says that there is none: {other:?}"),
    }
    // The parser reads nothing of these: here they are the rest of the evidence.
    let mut rest = Bytes(data.get(7..ENTRY).unwrap_or_default());
    let own = rest.flag();
    let segments_in = rest.maybe(Bytes::u32);
    let errno = rest.maybe(Bytes::errno);
    for queue in [Some(ErrorQueue::Empty), Some(ErrorQueue::Unavailable), parsed] {
        let Some(queue) = queue else { continue };
        let own_addresses: Vec<IpAddr> = match queue {
            ErrorQueue::Icmp(icmp, _) if own => icmp.sender.into_iter().collect(),
            _ => Vec::new(),
        };
        check(&Evidence { errno, queue, segments_in, own_addresses: &own_addresses });
    }
}

fn number(data: &[u8]) -> Errno {
    Errno(i32::from_ne_bytes(data[..4].try_into().unwrap()))
}

fn is_none_rightly(data: &[u8]) -> bool {
    data.len() < 7 || number(data).0 < 0 || !(1..=3).contains(&data[4])
}

/// An entry as the kernel writes it.
fn entry(icmp: Icmp, errno: Errno) -> Vec<u8> {
    let origin = if icmp.family == Family::Ipv4 { 2 } else { 3 };
    let mut data = errno.0.to_ne_bytes().to_vec();
    data.extend([origin, icmp.kind, icmp.code]);
    data.resize(ENTRY, 0);
    match icmp.sender {
        None => {}
        Some(IpAddr::V4(from)) => {
            data.extend(2_u16.to_ne_bytes());
            data.extend([0; 2]);
            data.extend(from.octets());
            data.extend([0; 8]);
        }
        Some(IpAddr::V6(from)) => {
            data.extend(10_u16.to_ne_bytes());
            data.extend([0; 6]);
            data.extend(from.octets());
            data.extend([0; 4]);
        }
    }
    data
}

fn check(evidence: &Evidence) {
    let Some(failure) = Failure::from_evidence(evidence) else {
        let nothing = match evidence.queue {
            ErrorQueue::Icmp(icmp, _) => icmp.meaning().is_some(),
            ErrorQueue::Local(_) => false,
            ErrorQueue::Empty | ErrorQueue::Unavailable => true,
        };
        return assert!(nothing && evidence.errno.is_none(), "{evidence:?}");
    };
    let known = match evidence.queue {
        ErrorQueue::Icmp(_, errno) | ErrorQueue::Local(errno) => evidence.errno.or(Some(errno)),
        ErrorQueue::Empty | ErrorQueue::Unavailable => evidence.errno,
    };
    assert_eq!(failure.errno, known, "{evidence:?}");
    let outcomes: &[Outcome] = match (failure.icmp, evidence.queue) {
        (Some(icmp), ErrorQueue::Icmp(queued, _)) => {
            assert_eq!(icmp, queued);
            let own = icmp.sender.is_some_and(|from| evidence.own_addresses.contains(&from));
            match icmp.meaning() {
                _ if own => &[Outcome::Local],
                Some(_) => &[Outcome::IcmpHard, Outcome::IcmpSoft],
                None => &[Outcome::IcmpHard, Outcome::IcmpSoft, Outcome::Timeout, Outcome::Local],
            }
        }
        (Some(_), _) => panic!("an ICMP error out of nowhere: {evidence:?}"),
        (None, ErrorQueue::Local(_)) => &[Outcome::Local],
        (None, ErrorQueue::Unavailable) => &[
            Outcome::Reset,
            Outcome::IcmpHard,
            Outcome::IcmpSoft,
            Outcome::Timeout,
            Outcome::Local,
        ],
        // Without an ICMP error that ended it, it was a RST, silence or this machine.
        (None, _) => &[Outcome::Reset, Outcome::Timeout, Outcome::Local],
    };
    assert!(outcomes.contains(&failure.outcome), "{failure:?} from {evidence:?}");
    if failure.icmp.is_none() && known.is_some_and(Errno::is_local_resource_error) {
        assert!(failure.is_local_resource_error(), "{failure:?} from {evidence:?}");
    }
    if failure.outcome == Outcome::Reset {
        assert_ne!(evidence.segments_in, Some(0), "a RST is a segment");
    }
    assert!(failure.icmp.is_none_or(|icmp| !icmp.to_string().is_empty()));
}
