//! Statuses: the result of a call.
#![allow(unsafe_code, reason = "a name for C is an unsafe attribute; the code is safe")]

use std::ffi::{CStr, c_char};

use mailport::ConnectError;
use mailport::report::{End, Report};

use crate::boundary::export;

/// The result of a call: 0 for success, above 0 for not ended yet, below 0 for a failure. A number
/// never changes its meaning; a later version may have more.
pub type Status = i32;

/// Success.
pub const MAILPORT_OK: Status = 0;
/// The dial has not ended: wait until its descriptor is readable, then process it again.
pub const MAILPORT_PENDING: Status = 1;
/// The dial has stopped with a question, because the option ask is set. Answer it.
pub const MAILPORT_ASK: Status = 2;
/// A pointer that must not be NULL is NULL. Nothing was done.
pub const MAILPORT_ERR_NULL_POINTER: Status = -1;
/// A bug in mailport itself, reported on standard error. A dial that met it has ended.
pub const MAILPORT_ERR_INTERNAL: Status = -2;
/// The host, the plan or a setting cannot be used. Nothing was sent.
pub const MAILPORT_ERR_INVALID: Status = -3;
/// A local resource error: this machine refused a descriptor, memory, a thread or a port.
pub const MAILPORT_ERR_LOCAL_RESOURCE: Status = -4;
/// Called in a forked child of the process that the dial belongs to. Only free the dial there.
pub const MAILPORT_ERR_FORKED: Status = -5;
/// The connection has been taken already.
pub const MAILPORT_ERR_ALREADY_TAKEN: Status = -6;
/// The question no longer waits for an answer: it was answered, or withdrawn because an attempt
/// connected. Nothing has changed.
pub const MAILPORT_ERR_STALE: Status = -7;
/// Another thread is in a call of the same dial. Nothing was done.
pub const MAILPORT_ERR_BUSY: Status = -8;
/// The cache could not be saved in its file: see mailport_last_error_message().
pub const MAILPORT_ERR_NOT_SAVED: Status = -9;
/// Every service was tried, and none is left.
pub const MAILPORT_ERR_EXHAUSTED: Status = -16;
/// The timeout of the dial passed, and nothing had connected.
pub const MAILPORT_ERR_TIMEOUT: Status = -17;
/// The name has no address that could be tried, or could not be looked up.
pub const MAILPORT_ERR_UNRESOLVED: Status = -18;
/// The proxy or the command itself failed, which says nothing about any service.
pub const MAILPORT_ERR_VIA: Status = -19;
/// The user was asked, now or earlier, and does not want the next service.
pub const MAILPORT_ERR_DECLINED: Status = -20;
/// The dial was cancelled with mailport_dial_cancel().
pub const MAILPORT_ERR_CANCELLED: Status = -21;

/// Every status with its sentence.
const SENTENCES: &[(Status, &CStr)] = &[
    (MAILPORT_OK, c"success"),
    (MAILPORT_PENDING, c"not ended yet"),
    (MAILPORT_ASK, c"a question waits for an answer"),
    (MAILPORT_ERR_NULL_POINTER, c"a pointer that must not be NULL is NULL"),
    (MAILPORT_ERR_INTERNAL, c"a bug in mailport"),
    (MAILPORT_ERR_INVALID, c"the host, the plan or a setting cannot be used"),
    (MAILPORT_ERR_LOCAL_RESOURCE, c"this machine refused a descriptor, memory, a thread or a port"),
    (MAILPORT_ERR_FORKED, c"the dial belongs to the parent process of this forked child"),
    (MAILPORT_ERR_ALREADY_TAKEN, c"the connection has been taken already"),
    (MAILPORT_ERR_STALE, c"the question no longer waits for an answer"),
    (MAILPORT_ERR_BUSY, c"another thread is in a call of the same dial"),
    (MAILPORT_ERR_NOT_SAVED, c"the cache could not be saved"),
    (MAILPORT_ERR_EXHAUSTED, c"no service could be reached"),
    (MAILPORT_ERR_TIMEOUT, c"nothing connected before the timeout"),
    (MAILPORT_ERR_UNRESOLVED, c"the name has no address or could not be looked up"),
    (MAILPORT_ERR_VIA, c"the proxy or the command failed"),
    (MAILPORT_ERR_DECLINED, c"the user declined to fall back"),
    (MAILPORT_ERR_CANCELLED, c"the dial was cancelled"),
];

/// Returns the sentence of a status; never NULL, and valid for the life of the process. A dial's own
/// sentence (mailport_dial_message) says more.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_status_message(status: Status) -> *const c_char {
    export!(c"".as_ptr(); => sentence(status).as_ptr())
}

/// Returns the version of the library that runs, such as "0.1.0". MAILPORT_VERSION and
/// MAILPORT_VERSION_NUMBER are the version of the header.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}

pub(crate) fn sentence(status: Status) -> &'static CStr {
    let known = SENTENCES.iter().find(|(number, _)| *number == status);
    known.map_or(c"a status that this version does not know", |(_, sentence)| sentence)
}

/// The status of a dial that has ended.
pub(crate) fn from_report(report: &Report) -> Status {
    match report.end {
        Some(End::Connected(_)) => MAILPORT_OK,
        Some(End::Timeout) => MAILPORT_ERR_TIMEOUT,
        Some(End::Unresolved) => MAILPORT_ERR_UNRESOLVED,
        Some(End::LocalResourceError) => MAILPORT_ERR_LOCAL_RESOURCE,
        Some(End::Via) => MAILPORT_ERR_VIA,
        Some(End::Declined) => MAILPORT_ERR_DECLINED,
        Some(End::Cancelled) => MAILPORT_ERR_CANCELLED,
        _ => MAILPORT_ERR_EXHAUSTED,
    }
}

pub(crate) fn from_error(error: &ConnectError) -> Status {
    match error {
        ConnectError::Target(_) | ConnectError::Config(_) => MAILPORT_ERR_INVALID,
        ConnectError::Setup { .. } => MAILPORT_ERR_LOCAL_RESOURCE,
        ConnectError::Failed(report) => from_report(report),
        ConnectError::Forked => MAILPORT_ERR_FORKED,
        ConnectError::NotConnected => MAILPORT_ERR_ALREADY_TAKEN,
        _ => MAILPORT_ERR_INTERNAL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_its_own_sentence_and_number() {
        let source = include_str!("status.rs");
        let count = source.lines().filter(|line| line.starts_with("pub const MAILPORT_")).count();
        assert_eq!(SENTENCES.len(), count);
        for (index, (number, _)) in SENTENCES.iter().enumerate() {
            assert!(SENTENCES[..index].iter().all(|(other, _)| other != number), "{number}");
        }
        assert_eq!(sentence(4711), c"a status that this version does not know");
    }

    #[test]
    fn only_success_pending_and_ask_have_no_err_in_their_name() {
        let source = include_str!("status.rs");
        let names = source.lines().filter_map(|line| line.strip_prefix("pub const "));
        for line in names {
            let is_error = line.starts_with("MAILPORT_ERR_");
            assert_eq!(is_error, line.contains(" = -"), "{line}");
        }
    }
}
