//! What the outbox needs of files and Emacs Lisp lacks: locks that end with their process, and
//! directories that are on disk.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// A lock on a file. It ends when it is dropped, or with the process. Programs that Emacs starts
/// do not inherit it.
#[derive(Debug)]
pub(crate) struct FileLock {
    lock: Option<Flock<File>>,
}

impl FileLock {
    /// Locks a file, which is created with mode 0600 if it is missing. Returns `None` if another
    /// process has the lock, unless `wait` is true.
    pub(crate) fn new(path: &Path, wait: bool) -> io::Result<Option<FileLock>> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .custom_flags(nix::libc::O_NOFOLLOW)
            .open(path)?;
        let how = if wait { FlockArg::LockExclusive } else { FlockArg::LockExclusiveNonblock };
        match Flock::lock(file, how) {
            Ok(lock) => Ok(Some(FileLock { lock: Some(lock) })),
            Err((_, Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, errno)) => Err(errno.into()),
        }
    }

    /// Unlocks the file. A second call does nothing.
    pub(crate) fn unlock(&mut self) {
        self.lock = None;
    }
}

/// Waits until the names in a directory are on disk.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_locked_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let mut first = FileLock::new(&path, false).unwrap().unwrap();
        assert!(FileLock::new(&path, false).unwrap().is_none());
        first.unlock();
        assert!(FileLock::new(&path, false).unwrap().is_some());
        sync_directory(directory.path()).unwrap();
    }
}
