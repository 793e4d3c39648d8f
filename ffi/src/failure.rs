//! Why a call failed that has no object to keep its message: one per thread, as `errno` is.
#![allow(unsafe_code, reason = "a name for C is an unsafe attribute; the code is safe")]

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char, c_int};
use std::io;

use mailport::ConnectError;

use crate::boundary::{bounded, c_string, export};
use crate::status::{
    self, MAILPORT_ERR_INVALID, MAILPORT_ERR_LOCAL_RESOURCE, MAILPORT_ERR_NULL_POINTER, Status,
};

/// Why a call failed.
#[derive(Debug)]
pub(crate) struct CallFailure {
    pub(crate) status: Status,
    pub(crate) message: CString,
    /// An errno(3) number; 0 where none fits.
    pub(crate) errno: c_int,
}

impl CallFailure {
    /// The caller's mistake.
    pub(crate) fn invalid(message: &str) -> CallFailure {
        let message = bounded(message);
        CallFailure { status: MAILPORT_ERR_INVALID, message, errno: libc::EINVAL }
    }

    /// A pointer that must not be NULL, by the name that the header gives it.
    pub(crate) fn null(pointer: &str) -> CallFailure {
        let message = bounded(&format!("the argument `{pointer}` is NULL"));
        CallFailure { status: MAILPORT_ERR_NULL_POINTER, message, errno: libc::EINVAL }
    }

    /// What this machine could not provide.
    pub(crate) fn local(what: &str, error: &io::Error) -> CallFailure {
        let message = bounded(&format!("{what}: {error}"));
        let errno = error.raw_os_error().unwrap_or(0);
        CallFailure { status: MAILPORT_ERR_LOCAL_RESOURCE, message, errno }
    }
}

impl From<ConnectError> for CallFailure {
    fn from(error: ConnectError) -> CallFailure {
        let status = status::from_error(&error);
        let caller = if status == MAILPORT_ERR_INVALID { libc::EINVAL } else { 0 };
        let errno = error.errno().map_or(caller, |errno| errno.0);
        let message = match &error {
            // The library bounds its parts, and each of them matters.
            ConnectError::Failed(report) => c_string(report.summary()),
            _ => bounded(&error.to_string()),
        };
        CallFailure { status, message, errno }
    }
}

/// The failure of the last call of this thread that failed.
#[derive(Default)]
struct Last {
    message: CString,
    errno: c_int,
}

thread_local! {
    static LAST: RefCell<Last> = RefCell::default();
}

/// Keeps a failure for the getters below. A success changes nothing, as with `errno`.
pub(crate) fn record(result: Result<Status, CallFailure>) -> Status {
    match result {
        Ok(status) => status,
        Err(CallFailure { status, message, errno }) => {
            // It fails while the thread ends, when no caller can ask any more.
            let _ = LAST.try_with(|last| *last.borrow_mut() = Last { message, errno });
            status
        }
    }
}

/// Returns why the last call of this thread failed, of those that have no object to keep their
/// message: mailport_connect(), mailport_dial_start() and the calls of a cache. It is empty where
/// none has failed yet. A call that succeeds leaves it unchanged. The string is valid until the
/// next such call of the same thread fails, or the thread ends.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_last_error_message() -> *const c_char {
    let empty: &CStr = c"";
    export!(empty.as_ptr(); => {
        LAST.try_with(|last| last.borrow().message.as_ptr()).unwrap_or(empty.as_ptr())
    })
}

/// Returns the errno(3) number of that failure: EINVAL for a mistake of the caller, the system's
/// number where the system refused something; 0 where no number fits and where no call has failed.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_last_error_errno() -> c_int {
    export!(0; => LAST.try_with(|last| last.borrow().errno).unwrap_or(0))
}
