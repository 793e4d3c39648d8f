//! What is not saved when the process ends.

use std::sync::{Arc, Mutex, Once, OnceLock, PoisonError};
use std::time::Instant;

use super::super::per_process::PerProcess;
use super::super::sys;
use super::{Cache, CacheShared};

/// The caches that a thread is saving.
type Saving = Mutex<Vec<Arc<CacheShared>>>;

fn saving() -> Arc<Saving> {
    static SAVING: OnceLock<PerProcess<Saving>> = OnceLock::new();
    // The threads of a parent are not the child's.
    SAVING.get_or_init(|| PerProcess::new(Mutex::default())).get(|_| Mutex::default())
}

/// Has the end of the process wait for a cache, until [`forget`].
pub(super) fn expect(cache: &Arc<CacheShared>) {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| sys::at_exit(flush));
    let saving = saving();
    saving.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(cache));
}

pub(super) fn forget(cache: &Arc<CacheShared>) {
    let saving = saving();
    let mut saving = saving.lock().unwrap_or_else(PoisonError::into_inner);
    // Its next thread may have begun.
    if let Some(place) = saving.iter().position(|other| Arc::ptr_eq(cache, other)) {
        saving.swap_remove(place);
    }
}

extern "C" fn flush() {
    let until = Instant::now() + Cache::FLUSH;
    // Another thread may hold the lock and never run again.
    let waited_for = saving().try_lock().map(|saving| saving.clone()).unwrap_or_default();
    for cache in waited_for {
        cache.settle(until);
    }
}
