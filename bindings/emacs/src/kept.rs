//! What dials of this Emacs have learned, and what of it lasts.

use std::sync::OnceLock;

use mailport::{Memory, Target, TargetError};

use crate::settings::Kept;

static SESSION: OnceLock<Memory> = OnceLock::new();
static FILE: OnceLock<Memory> = OnceLock::new();

/// The memory of this kind; without a place for the file, one that ends with Emacs.
pub(crate) fn memory(kept: Kept) -> &'static Memory {
    match kept {
        Kept::Session => SESSION.get_or_init(Memory::new),
        Kept::File => {
            FILE.get_or_init(|| Memory::default_path().map_or_else(Memory::new, Memory::open))
        }
    }
}

/// Forgets a host, or every one if it is empty; gives how many outcomes and answers that were.
pub(crate) fn forget(host: &str) -> Result<usize, TargetError> {
    let both = [Kept::Session, Kept::File].map(memory);
    if host.is_empty() {
        return Ok(both.iter().map(|memory| memory.clear()).sum());
    }
    let target: Target = host.parse()?;
    Ok(both.iter().map(|memory| memory.forget(&target)).sum())
}

/// Has what is to last saved, as far as it was used, and waits a moment for that.
pub(crate) fn flush() {
    if let Some(memory) = FILE.get() {
        memory.flush(Memory::FLUSH);
    }
}
