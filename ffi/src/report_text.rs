//! The strings of a report that C borrows, made when the first of them is wanted.

use std::ffi::CString;
use std::net::SocketAddr;
use std::time::Duration;

use mailport::Service;
use mailport::report::{Attempt, Lookup, Reason};

use crate::boundary::c_string;

/// The strings of one attempt.
#[derive(Debug)]
pub(crate) struct AttemptText {
    pub(crate) address: CString,
    pub(crate) icmp_message: CString,
    pub(crate) icmp_sender: CString,
    pub(crate) via_error_message: CString,
    pub(crate) note: CString,
    pub(crate) reason_message: CString,
    pub(crate) reason_service: CString,
}

impl AttemptText {
    pub(crate) fn new(attempt: &Attempt) -> AttemptText {
        let icmp = attempt.icmp;
        let sender = icmp.and_then(|icmp| icmp.sender);
        let via_error = attempt.via_error.map(|error| c_string(error.to_string()));
        let service = reason_service(attempt.reason).map(|service| c_string(service.to_string()));
        AttemptText {
            address: address(attempt),
            icmp_message: icmp.map(|icmp| c_string(icmp.to_string())).unwrap_or_default(),
            icmp_sender: sender.map(|sender| c_string(sender.to_string())).unwrap_or_default(),
            via_error_message: via_error.unwrap_or_default(),
            note: attempt.note.as_deref().map(c_string).unwrap_or_default(),
            reason_message: c_string(attempt.reason.to_string()),
            reason_service: service.unwrap_or_default(),
        }
    }
}

/// The sentence of a look-up that failed; empty where it did not.
pub(crate) fn lookup_message(lookup: &Lookup) -> CString {
    let message = lookup.result.as_ref().err().map(ToString::to_string);
    c_string(message.unwrap_or_default())
}

/// The service that a reason names.
fn reason_service(reason: Reason) -> Option<Service> {
    match reason {
        Reason::Refused(service)
        | Reason::AllFailed(service)
        | Reason::PortDelay(service)
        | Reason::Overdue(service)
        | Reason::NoAddress(service)
        | Reason::Remembered(service)
        | Reason::Proof(service) => Some(service),
        _ => None,
    }
}

/// The address without its port, but with its zone.
pub(crate) fn address(attempt: &Attempt) -> CString {
    let text = |address| match address {
        SocketAddr::V6(v6) if v6.scope_id() > 0 => format!("{}%{}", v6.ip(), v6.scope_id()),
        address => address.ip().to_string(),
    };
    attempt.address.map(|address| c_string(text(address))).unwrap_or_default()
}

/// A time as C gets it.
pub(crate) fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}
