//! The file of a cache: read as a whole, and replaced as a whole under a lock.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::cache::{Change, Stamp, Table};

/// A larger file is not a cache of mailport.
const MOST: u64 = 4 << 20;

/// What is in the file; an empty table where there is none. An error is a file that must not be
/// used or replaced.
pub(super) fn read(path: &Path, now: Stamp) -> io::Result<Table> {
    let text = text(path)?.unwrap_or_default();
    if Table::is_of_the_future(&text) {
        return Err(later_version());
    }
    Ok(Table::from_text(&text, now))
}

/// The bytes of the file; `None` where there is none yet. An error is a file that must not be used
/// or replaced: anything but a cache of this user.
fn text(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut options = OpenOptions::new();
    // A link is not followed, and opening a pipe does not block.
    options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    let file = match options.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => {
            return Err(refused("it is a symbolic link, which is not followed"));
        }
        Err(error) => return Err(error),
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(refused("it is not a regular file"));
    }
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(refused("it belongs to another user"));
    }
    let mut text = Vec::new();
    let read = file.take(MOST + 1).read_to_end(&mut text)?;
    if read as u64 > MOST || !Table::is_recognised(&text) {
        return Err(refused("it is not a cache of mailport"));
    }
    Ok(Some(text))
}

/// Why a file is left unchanged.
fn refused(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, reason)
}

fn later_version() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "a later version of mailport has written it")
}

/// Makes the directory of the file, with those above it, where no directory on the way belongs to
/// another user, nor a link: root that runs with the home of a user must not leave files there, and
/// that user could lead it elsewhere.
fn make_directory(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    for directory in parent.ancestors().filter(|directory| !directory.as_os_str().is_empty()) {
        for found in [fs::symlink_metadata(directory), fs::metadata(directory)] {
            match found {
                Ok(found) if belongs_to_another_user(&found) => {
                    let directory = directory.display();
                    return Err(refused(&format!("{directory} belongs to another user")));
                }
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(_) | Err(_) => {}
            }
        }
    }
    DirBuilder::new().recursive(true).mode(0o700).create(parent)
}

/// Whether a directory is neither of this user nor of root, nor of a user who does not exist in this
/// user namespace: there, what belongs to the root outside has the number of another user.
fn belongs_to_another_user(directory: &fs::Metadata) -> bool {
    let owner = directory.uid();
    let exists = || {
        // Lines of the first number inside, the first outside, and how many.
        let users = fs::read_to_string("/proc/self/uid_map").ok()?;
        Some(users.lines().any(|line| {
            let mut numbers = line.split_whitespace().map(str::parse::<u32>);
            let (first, count) = (numbers.next(), numbers.nth(1));
            let (Some(Ok(first)), Some(Ok(count))) = (first, count) else { return true };
            owner.checked_sub(first).is_some_and(|place| place < count)
        }))
    };
    owner != 0 && owner != rustix::process::geteuid().as_raw() && exists().unwrap_or(true)
}

/// Applies changes to what is in the file by now, and returns what it holds then. Waits until no
/// other process uses it. A file that a later version of mailport has written is replaced only
/// where everything is to be forgotten.
///
/// Nothing is synced: after a loss of power the cache may be gone, and the disk was not woken.
pub(super) fn save(path: &Path, changes: &[Change], now: Stamp) -> io::Result<Table> {
    // Beside a file that is not ours no lock is made either.
    text(path)?;
    make_directory(path)?;
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    let _lock = Lock::take(options.open(beside(path, ".lock"))?)?;
    let before = text(path)?.unwrap_or_default();
    let clears = changes.iter().any(|change| matches!(change, Change::Cleared { .. }));
    if Table::is_of_the_future(&before) && !clears {
        return Err(later_version());
    }
    let mut table = Table::from_text(&before, now);
    for change in changes {
        table.apply(change, now);
    }
    replace(path, table.to_text().as_bytes())?;
    Ok(table)
}

/// The lock of a cache file, which ends with the process at the latest.
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

/// Replaces the file. The lock is held, so a file with the next one's name was left by a process
/// that was killed, if it is ours.
fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let next = beside(path, ".new");
    if self::text(&next)
        .map_err(|error| refused(&format!("{}: {error}", next.display())))?
        .is_some()
    {
        fs::remove_file(&next)?;
    }
    let mut file: File = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&next)?;
    let replaced = file.write_all(text).and_then(|()| fs::rename(&next, path));
    if replaced.is_err() {
        // A file that is half written is of no use.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::{Network, Place};
    use crate::machine::Observation;
    use crate::outcome::Outcome;
    use crate::plan::{Family, Plan};

    const NOW: Stamp = Stamp(1_800_000_000_000);

    /// That a target with a name of a fixed length has connected.
    fn learned(number: u64) -> Change {
        let target = format!("mail{number:05}.example").parse().unwrap();
        let observation = Observation {
            service: Plan::submission().services()[0],
            family: Some(Family::Ipv4),
            outcome: Outcome::Connected,
            round_trip: Some(std::time::Duration::from_micros(1234)),
            provisional: false,
        };
        let at = Stamp(NOW.0 + number);
        Change::Learned { place: Place::new(Network::this_machine(""), &target), observation, at }
    }

    /// A save reads the file as it was and writes it anew, each once, so its length is the cost.
    #[test]
    fn a_save_costs_as_much_for_ten_thousand_targets_as_for_as_many_as_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache.json");
        let end = Stamp(NOW.0 + 10_000);
        let length = || fs::metadata(&path).unwrap().len();
        let changes: Vec<Change> = (0..10_000).map(learned).collect();
        let kept = Table::MAX_PLACES;
        save(&path, &changes[..10], end).unwrap();
        let ten = length();
        save(&path, &changes[10..kept], end).unwrap();
        let full = length();
        assert!(full > 20 * ten && full < 64 << 10, "{ten} and {full} bytes");
        for changes in changes[kept..].chunks(1000) {
            let table = save(&path, changes, end).unwrap();
            assert_eq!((length(), table.list(end).len()), (full, kept));
        }
        let newest = changes.last().map(|_| "mail09999.example");
        let table = read(&path, end).unwrap();
        assert_eq!(table.list(end).last().map(|line| line.place.target()), newest);
    }
}
