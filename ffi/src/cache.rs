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
/// (mailport_options_set_cache). It may be used by several threads at once. A forked child goes on
/// with what its parent knew.
#[derive(Debug)]
pub struct Cache {
    pub(crate) cache: mailport::Cache,
}

/// A cache that ends with the process. Free it with mailport_cache_free().
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_cache_new() -> Option<Box<Cache>> {
    export!(None; => Some(Box::new(Cache { cache: mailport::Cache::new() })))
}

/// A cache that is kept in a file, with what is in it; NULL is the user's own, which the command
/// mailport has, too: mailport/cache.json in $XDG_CACHE_HOME or else in ~/.cache. This reads the
/// file, which may block. Without one, or with one that is not understood, it begins empty; one that
/// cannot be written is a cache that ends with the process. It gives NULL only where the user's own
/// is wanted and not known, or the program has more rights than its user. Free it with
/// mailport_cache_free().
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_cache_open(path: Text) -> Option<Box<Cache>> {
    export!(None; => {
        let path = match path.get() {
            Some(path) => Some(PathBuf::from(OsStr::from_bytes(path.to_bytes()))),
            None if boundary::is_privileged() => None,
            None => mailport::Cache::default_path(),
        };
        path.map(|path| Box::new(Cache { cache: mailport::Cache::open(path) }))
    })
}

/// Waits for at most timeout_ms (-1: for ever) until everything is saved: MAILPORT_OK, or
/// MAILPORT_PENDING where it is not. For a program that ends after a dial; 50 ms are plenty. What
/// dials learn is otherwise saved behind them, and mailport_connect() waits for it by itself.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_cache_flush(cache: Option<&Cache>, timeout_ms: c_int) -> Status {
    let timeout = u64::try_from(timeout_ms).map_or(Duration::MAX, Duration::from_millis);
    export!(status; cache => {
        if cache.cache.flush(timeout) { MAILPORT_OK } else { MAILPORT_PENDING }
    })
}

/// Forgets a host in every network, answers for good included. MAILPORT_INVALID for what cannot be
/// a host.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_cache_forget(cache: Option<&Cache>, host: Text) -> Status {
    let host = host.get();
    export!(status; cache, host => match host.to_str().ok().and_then(|host| host.parse().ok()) {
        Some(target) => {
            let target: Target = target;
            cache.cache.forget(&target);
            MAILPORT_OK
        }
        None => MAILPORT_INVALID,
    })
}

/// Forgets everything.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_cache_clear(cache: Option<&Cache>) -> Status {
    export!(status; cache => {
        cache.cache.clear();
        MAILPORT_OK
    })
}

/// Frees a handle. Options and dials that use the cache go on with it. It does not wait for what
/// is not saved yet: that goes on behind it.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_cache_free(cache: Option<Box<Cache>>) {
    export!(nothing; cache => drop(cache));
}
