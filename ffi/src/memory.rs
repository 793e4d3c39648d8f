//! What dials have learned, for those that follow.
#![allow(unsafe_code, reason = "a name for C is an unsafe attribute; the code is safe")]

use std::ffi::{OsStr, c_int};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use mailport::Target;

use crate::boundary::{self, Text, export};
use crate::status::{MAILPORT_INVALID, MAILPORT_OK, MAILPORT_PENDING, Status};

/// What dials have learned, for those that follow: a later dial in the same network does not wait
/// again for what an earlier one found silent. Options are told to use it
/// (mailport_options_set_memory). It may be used by several threads at once. A forked child goes on
/// with what its parent knew.
#[derive(Debug)]
pub struct Memory {
    pub(crate) memory: mailport::Memory,
}

/// A memory that ends with the process. Free it with mailport_memory_free().
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_memory_new() -> Option<Box<Memory>> {
    export!(None; => Some(Box::new(Memory { memory: mailport::Memory::new() })))
}

/// A memory that is kept in a file, with what is in it; NULL is the user's own, which the command
/// mailport has, too: mailport/memory.json in $XDG_CACHE_HOME or else in ~/.cache. This reads the
/// file, which may block. Without one, or with one that is not understood, it begins empty; one that
/// cannot be written is a memory that ends with the process. It gives NULL only where the user's own
/// is wanted and not known, or the program has more rights than its user. Free it with
/// mailport_memory_free().
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_memory_open(path: Text) -> Option<Box<Memory>> {
    export!(None; => {
        let path = match path.get() {
            Some(path) => Some(PathBuf::from(OsStr::from_bytes(path.to_bytes()))),
            None if boundary::is_privileged() => None,
            None => mailport::Memory::default_path(),
        };
        path.map(|path| Box::new(Memory { memory: mailport::Memory::open(path) }))
    })
}

/// Waits for at most timeout_ms (-1: for ever) until everything is saved: MAILPORT_OK, or
/// MAILPORT_PENDING where it is not. For a program that ends after a dial; 50 ms are plenty. What
/// dials learn is otherwise saved behind them, and mailport_connect() waits for it by itself.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_memory_flush(memory: Option<&Memory>, timeout_ms: c_int) -> Status {
    let timeout = u64::try_from(timeout_ms).map_or(Duration::MAX, Duration::from_millis);
    export!(status; memory => {
        if memory.memory.flush(timeout) { MAILPORT_OK } else { MAILPORT_PENDING }
    })
}

/// Forgets a host in every network, answers for good included. MAILPORT_INVALID for what cannot be
/// a host.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_memory_forget(memory: Option<&Memory>, host: Text) -> Status {
    let host = host.get();
    export!(status; memory, host => match host.to_str().ok().and_then(|host| host.parse().ok()) {
        Some(target) => {
            let target: Target = target;
            memory.memory.forget(&target);
            MAILPORT_OK
        }
        None => MAILPORT_INVALID,
    })
}

/// Forgets everything.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_memory_clear(memory: Option<&Memory>) -> Status {
    export!(status; memory => {
        memory.memory.clear();
        MAILPORT_OK
    })
}

/// Frees a handle. Options and dials that use the memory go on with it. It does not wait for what
/// is not saved yet: that goes on behind it.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_memory_free(memory: Option<Box<Memory>>) {
    export!(nothing; memory => drop(memory));
}
