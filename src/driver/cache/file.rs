//! The file of a cache: read as a whole, and replaced as a whole under a lock.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::cache::{Change, Stamp, Table};

/// A larger file is none of ours.
const MOST: u64 = 4 << 20;

/// What is in the file; an empty table where there is none, or none that is understood.
pub(super) fn read(path: &Path, now: Stamp) -> Table {
    let text = text(path).ok().flatten().unwrap_or_default();
    Table::from_text(&text, now)
}

/// The bytes of the file; `None` where there is none yet. An error is what may not be replaced.
fn text(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut options = OpenOptions::new();
    // A link is not followed to a file that is none of ours, and a pipe is not waited for.
    options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    let file = match options.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if !file.metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut text = Vec::new();
    let read = file.take(MOST + 1).read_to_end(&mut text)?;
    Ok(Some(if read as u64 > MOST { Vec::new() } else { text }))
}

/// Brings changes to what is in the file by now, and gives what it holds then. Waits until no other
/// process is at it. What another version of mailport has written, and this one cannot read, it
/// replaces only where everything is to be forgotten.
///
/// Nothing is synced: after a loss of power the cache may be gone, and the disk was not woken.
pub(super) fn save(path: &Path, changes: &[Change], now: Stamp) -> io::Result<Table> {
    // Beside what is none of ours no lock is made either.
    text(path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    let _lock = Lock::take(options.open(beside(path, ".lock"))?)?;
    let before = text(path)?.unwrap_or_default();
    let clears = changes.iter().any(|change| matches!(change, Change::Cleared { .. }));
    if Table::is_of_the_future(&before) && !clears {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "of a later version"));
    }
    let mut table = Table::from_text(&before, now);
    for change in changes {
        table.apply(change, now);
    }
    replace(path, table.to_text().as_bytes())?;
    Ok(table)
}

/// The lock of a cache, which ends with the process at the latest.
struct Lock(File);

impl Lock {
    fn take(file: File) -> io::Result<Lock> {
        rustix::io::retry_on_intr(|| flock(&file, FlockOperation::LockExclusive))?;
        Ok(Lock(file))
    }
}

impl Drop for Lock {
    /// Closing is not enough: a process that was forked meanwhile holds a copy.
    fn drop(&mut self) {
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

/// Puts a new file in the place of the old one. The lock is held, so whatever is left under the
/// next one's name is of a process that was killed.
fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let next = beside(path, ".new");
    match fs::remove_file(&next) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file: File = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&next)?;
    let replaced = file.write_all(text).and_then(|()| fs::rename(&next, path));
    if replaced.is_err() {
        // What is half written is of no use to anybody.
        let _ = fs::remove_file(&next);
    }
    replaced
}

/// A file beside this one, with this after its name.
fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}
