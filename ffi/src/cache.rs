//! The cache: what dials have found out, kept for later ones.
#![allow(unsafe_code, reason = "a name for C is an unsafe attribute; the code is safe")]

use std::ffi::{OsStr, c_int};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use mailport::Target;

use crate::boundary::{self, Text, bounded, export};
use crate::failure::{self, CallFailure};
use crate::status::{MAILPORT_ERR_NOT_SAVED, MAILPORT_OK, MAILPORT_PENDING, Status};

/// What dials have found out, kept for later ones: a later dial in the same network does not wait
/// again for a port that was silent. Options take it with mailport_options_set_cache(); dials without
/// one use the shared cache of the process. Several threads may use a cache at once. A forked child
/// starts with what its parent had.
#[derive(Debug)]
pub struct Cache {
    pub(crate) cache: mailport::Cache,
}

/// Returns a new cache without a file, which ends with the process. Free it with
/// mailport_cache_free().
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_cache_new() -> Option<Box<Cache>> {
    export!(None; => Some(Box::new(Cache { cache: mailport::Cache::new() })))
}

/// Returns the shared cache, which every dial of this process uses that has no other. It is in memory,
/// and keeps outcomes only: no answers, nothing of loopback addresses, and nothing of dials with
/// addresses from mailport_options_set_addresses(). mailport_cache_clear() empties it, and
/// mailport_options_set_shared_cache() turns it off. Free the handle with mailport_cache_free();
/// the cache stays.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_cache_shared() -> Option<Box<Cache>> {
    export!(None; => Some(Box::new(Cache { cache: mailport::Cache::shared() })))
}

/// Returns a cache that is kept in a file, with what is in the file. NULL means the cache of the
/// user, which the command mailport uses as well: mailport/cache.json in $XDG_CACHE_HOME, or else in
/// ~/.cache. A relative path is relative to the directory that is current now. This call reads the
/// file, which may block. Free the cache with mailport_cache_free().
///
/// A file that does not exist yet is an empty cache. A file that is not a cache, or cannot be
/// written, is left unchanged: the cache then ends with the process, and mailport_cache_flush() says
/// why. This call returns NULL only where the cache of the user is asked for and is not known, or
/// belongs to another user, or the program has more rights than its user;
/// mailport_last_error_message() says which.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_cache_open(path: Text) -> Option<Box<Cache>> {
    let open = |path: PathBuf| Box::new(Cache { cache: mailport::Cache::open(path) });
    let refused = |message| {
        failure::record(Err(CallFailure::invalid(message)));
        None
    };
    export!(None; => match path.get() {
        Some(path) if path.is_empty() => refused("the path of the cache is empty"),
        Some(path) => Some(open(PathBuf::from(OsStr::from_bytes(path.to_bytes())))),
        None if boundary::is_privileged() => {
            refused("a program with more rights than its user does not use the cache of the user")
        }
        None => match mailport::Cache::default_path() {
            Some(path) => Some(open(path)),
            None => refused(
                "there is no cache of this user: set XDG_CACHE_HOME or HOME to a directory that \
                 belongs to the user",
            ),
        },
    })
}

/// Waits for at most timeout_ms (-1: no limit) until everything is saved. Returns MAILPORT_OK when
/// it is, MAILPORT_PENDING when the time is over, and MAILPORT_ERR_NOT_SAVED when the file cannot be
/// written; mailport_last_error_message() and mailport_last_error_errno() then say why. For a
/// program that ends by _exit(2) or by a signal; exit(3) waits by itself, 50 ms at most. A thread
/// saves the cache in the background, once a second at most.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_cache_flush(cache: Option<&Cache>, timeout_ms: c_int) -> Status {
    let timeout = u64::try_from(timeout_ms).map_or(Duration::MAX, Duration::from_millis);
    export!(recorded; cache => {
        let is_saved = cache.cache.flush(timeout);
        match cache.cache.error() {
            _ if is_saved => Ok(MAILPORT_OK),
            None => Ok(MAILPORT_PENDING),
            Some(error) => Err(CallFailure {
                status: MAILPORT_ERR_NOT_SAVED,
                message: bounded(&error.to_string()),
                errno: error.errno.map_or(0, |errno| errno.0),
            }),
        }
    })
}

/// Forgets a host in every network, remembered answers included. It fails with MAILPORT_ERR_INVALID
/// for what cannot be a host.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_cache_forget(cache: Option<&Cache>, host: Text) -> Status {
    let host = host.get();
    export!(recorded; cache, host => {
        let host = host.to_str().map_err(|_| CallFailure::invalid("the host is not UTF-8"))?;
        let target = host.parse::<Target>();
        cache.cache.forget(&target.map_err(|error| CallFailure::invalid(&error.to_string()))?);
        Ok(MAILPORT_OK)
    })
}

/// Forgets everything.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_cache_clear(cache: Option<&Cache>) -> Status {
    export!(recorded; cache => {
        cache.cache.clear();
        Ok(MAILPORT_OK)
    })
}

/// Frees a handle. It accepts NULL and does not block. Options and dials that use the cache keep it.
/// What is not saved yet is saved in the background.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mailport_cache_free(cache: Option<Box<Cache>>) {
    export!(nothing; cache => drop(cache));
}
