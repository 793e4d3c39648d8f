//! The caches that the dials of this Emacs share.

use std::sync::OnceLock;

use mailport::{Cache, Dialer, Target, TargetError};

use crate::settings::CacheKind;

static SESSION: OnceLock<Cache> = OnceLock::new();
static FILE: OnceLock<Cache> = OnceLock::new();

/// Returns the dialer with the cache of this kind. If there is no place for the file, the cache ends
/// with Emacs.
pub(crate) fn choose(dialer: Dialer, kind: CacheKind) -> Dialer {
    match kind {
        CacheKind::Shared => dialer,
        CacheKind::Off => dialer.without_cache(),
        CacheKind::Session => dialer.with_cache(session().clone()),
        CacheKind::File => dialer.with_cache(file().clone()),
    }
}

fn session() -> &'static Cache {
    SESSION.get_or_init(Cache::new)
}

fn file() -> &'static Cache {
    FILE.get_or_init(|| Cache::default_path().map_or_else(Cache::new, Cache::open))
}

/// Removes the entries of a host, or all entries if the host is empty. Returns how many outcomes
/// and answers were removed.
pub(crate) fn forget(host: &str) -> Result<usize, TargetError> {
    let all = [session().clone(), file().clone(), Cache::shared()];
    if host.is_empty() {
        return Ok(all.iter().map(Cache::clear).sum());
    }
    let target: Target = host.parse()?;
    Ok(all.iter().map(|cache| cache.forget(&target)).sum())
}

/// Saves the file if it was used, and waits for [`Cache::FLUSH`] at most.
pub(crate) fn flush() {
    if let Some(cache) = FILE.get() {
        cache.flush(Cache::FLUSH);
    }
}
