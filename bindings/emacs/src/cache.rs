//! The caches that the dials of this Emacs share.

use std::sync::OnceLock;

use mailport::{Cache, Target, TargetError};

use crate::settings::CacheKind;

static SESSION: OnceLock<Cache> = OnceLock::new();
static FILE: OnceLock<Cache> = OnceLock::new();

/// Returns the cache of this kind. If there is no place for the file, the cache ends with Emacs.
pub(crate) fn get(kind: CacheKind) -> &'static Cache {
    match kind {
        CacheKind::Session => SESSION.get_or_init(Cache::new),
        CacheKind::File => {
            FILE.get_or_init(|| Cache::default_path().map_or_else(Cache::new, Cache::open))
        }
    }
}

/// Removes the entries of a host, or all entries if the host is empty. Returns how many outcomes
/// and answers were removed.
pub(crate) fn forget(host: &str) -> Result<usize, TargetError> {
    let both = [CacheKind::Session, CacheKind::File].map(get);
    if host.is_empty() {
        return Ok(both.iter().map(|cache| cache.clear()).sum());
    }
    let target: Target = host.parse()?;
    Ok(both.iter().map(|cache| cache.forget(&target)).sum())
}

/// Saves the file if it was used, and waits for [`Cache::FLUSH`] at most.
pub(crate) fn flush() {
    if let Some(cache) = FILE.get() {
        cache.flush(Cache::FLUSH);
    }
}
