//! What a call says of itself.
#![allow(unsafe_code, reason = "a name for C is an unsafe attribute; the code is safe")]

use std::ffi::{CStr, c_char};

use mailport::ConnectError;
use mailport::report::{End, Report};

use crate::boundary::export;

/// How a call ended: 0 done, above 0 not yet, below 0 failed. A number never changes its meaning;
/// a later version may have more.
pub type Status = i32;

/// Done.
pub const MAILPORT_OK: Status = 0;
/// The dial has not ended: wait until its descriptor is readable, then process it again.
pub const MAILPORT_PENDING: Status = 1;
/// The dial has stopped with a question, as the option ask wants. Answer it.
pub const MAILPORT_ASK: Status = 2;
/// A pointer that must not be NULL is NULL. Nothing was done.
pub const MAILPORT_NULL: Status = -1;
/// A bug in mailport itself, told on standard error. A dial that met it is at its end.
pub const MAILPORT_BUG: Status = -2;
/// The host, the plan or a setting cannot be used. Nothing was sent.
pub const MAILPORT_INVALID: Status = -3;
/// This machine lacks something of its own: descriptors, cache, ports.
pub const MAILPORT_SYSTEM: Status = -4;
/// Called in a fork of the process that the dial belongs to. Only free it there.
pub const MAILPORT_FORKED: Status = -5;
/// The connection has been taken already.
pub const MAILPORT_TAKEN: Status = -6;
/// The question no longer stands: it was answered, or withdrawn because an attempt connected.
/// Nothing has changed.
pub const MAILPORT_STALE: Status = -7;
/// Every service was tried, and none is left.
pub const MAILPORT_EXHAUSTED: Status = -16;
/// The deadline passed with nothing connected.
pub const MAILPORT_ERR_TIMEOUT: Status = -17;
/// The name has no address that could be tried.
pub const MAILPORT_UNRESOLVED: Status = -18;
/// The proxy or the command itself failed, which says nothing of any service.
pub const MAILPORT_VIA: Status = -19;
/// The user was asked, now or earlier, and does not want the next service.
pub const MAILPORT_DECLINED: Status = -20;

/// Every status with its sentence.
const SENTENCES: &[(Status, &CStr)] = &[
    (MAILPORT_OK, c"done"),
    (MAILPORT_PENDING, c"not ended yet"),
    (MAILPORT_ASK, c"a question waits for its answer"),
    (MAILPORT_NULL, c"a pointer is NULL that must not be"),
    (MAILPORT_BUG, c"a bug in mailport"),
    (MAILPORT_INVALID, c"the host, the plan or a setting cannot be used"),
    (MAILPORT_SYSTEM, c"this machine lacks descriptors, cache or ports"),
    (MAILPORT_FORKED, c"a dial belongs to the process that started it, and this is a fork of that"),
    (MAILPORT_TAKEN, c"the connection has been taken already"),
    (MAILPORT_STALE, c"the question no longer stands"),
    (MAILPORT_EXHAUSTED, c"no service could be reached"),
    (MAILPORT_ERR_TIMEOUT, c"nothing connected before the deadline"),
    (MAILPORT_UNRESOLVED, c"the name has no address"),
    (MAILPORT_VIA, c"the proxy or the command failed"),
    (MAILPORT_DECLINED, c"not falling back, as the user wishes"),
];

/// The sentence of a status; never NULL, and there for ever. What a dial says of itself
/// (mailport_dial_message) tells more.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_status_message(status: Status) -> *const c_char {
    export!(c"".as_ptr(); => sentence(status).as_ptr())
}

/// The version of the library that runs, such as "0.1.0"; MAILPORT_VERSION is that of the header.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}

pub(crate) fn sentence(status: Status) -> &'static CStr {
    let known = SENTENCES.iter().find(|(number, _)| *number == status);
    known.map_or(c"a status of another version", |(_, sentence)| sentence)
}

/// The verdict of a dial that has ended.
pub(crate) fn of_report(report: &Report) -> Status {
    match report.end {
        Some(End::Connected(_)) => MAILPORT_OK,
        Some(End::Timeout) => MAILPORT_ERR_TIMEOUT,
        Some(End::Unresolved) => MAILPORT_UNRESOLVED,
        Some(End::LocalResourceError) => MAILPORT_SYSTEM,
        Some(End::Via) => MAILPORT_VIA,
        Some(End::Declined) => MAILPORT_DECLINED,
        _ => MAILPORT_EXHAUSTED,
    }
}

pub(crate) fn of_error(error: &ConnectError) -> Status {
    match error {
        ConnectError::Config(_) => MAILPORT_INVALID,
        ConnectError::Setup { source: _, .. } => MAILPORT_SYSTEM,
        ConnectError::Failed(report) => of_report(report),
        ConnectError::Forked => MAILPORT_FORKED,
        ConnectError::NotConnected => MAILPORT_TAKEN,
        _ => MAILPORT_BUG,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_a_sentence_and_a_number_of_its_own() {
        let source = include_str!("status.rs");
        let count = source.lines().filter(|line| line.starts_with("pub const MAILPORT_")).count();
        assert_eq!(SENTENCES.len(), count);
        for (index, (number, _)) in SENTENCES.iter().enumerate() {
            assert!(SENTENCES[..index].iter().all(|(other, _)| other != number), "{number}");
        }
        assert_eq!(sentence(4711), c"a status of another version");
    }
}
