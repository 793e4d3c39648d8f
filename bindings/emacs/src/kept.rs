//! What dials of this Emacs have learned, and what of it lasts.

use std::sync::OnceLock;

use mailport::{Cache, Target, TargetError};

use crate::options::Kept;

static SESSION: OnceLock<Cache> = OnceLock::new();
static FILE: OnceLock<Cache> = OnceLock::new();

/// The cache of this kind; without a place for the file, one that ends with Emacs.
pub(crate) fn cache(kept: Kept) -> &'static Cache {
    match kept {
        Kept::Session => SESSION.get_or_init(Cache::new),
        Kept::File => {
            FILE.get_or_init(|| Cache::default_path().map_or_else(Cache::new, Cache::open))
        }
    }
}

/// Forgets a host, or every one if it is empty; gives how many outcomes and answers that were.
pub(crate) fn forget(host: &str) -> Result<usize, TargetError> {
    let both = [Kept::Session, Kept::File].map(cache);
    if host.is_empty() {
        return Ok(both.iter().map(|cache| cache.clear()).sum());
    }
    let target: Target = host.parse()?;
    Ok(both.iter().map(|cache| cache.forget(&target)).sum())
}

/// Has what is to last saved, as far as it was used, and waits a moment for that.
pub(crate) fn flush() {
    if let Some(cache) = FILE.get() {
        cache.flush(Cache::FLUSH);
    }
}
