//! The cache that dials share, and the thread that saves it.
//!
//! A dial only ever looks something up, or leaves something, under a lock that is never held over
//! I/O. What it leaves is brought to the file by a thread that lives while there is something to
//! save, and each time brings everything that has come together.

mod current_network;
#[cfg(feature = "cache-file")]
mod file;

use std::collections::VecDeque;
use std::fmt;
#[cfg(feature = "cache-file")]
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::per_process::PerProcess;
use crate::cache::{Change, Place, Remembered, Stamp, Table};
use crate::config::Config;
use crate::machine::{Answer, Hints, Observation};
#[cfg(feature = "cache-file")]
use crate::outcome::Errno;
use crate::plan::{Plan, Service};
use crate::target::Target;
use crate::via::Via;

/// The most changes that wait to be saved; without a place to save them, the oldest go.
const MAX_PENDING: usize = 1024;

/// What dials have learned, for those that follow: a later dial in the same network does not wait
/// again for what an earlier one found silent. It shortens waiting and never decides. [`Dialer`]
/// uses the one it is [given](crate::Dialer::with_cache); the rules are those of
/// [`Table`].
///
/// A clone is a handle to the same cache. Nothing but `flush` waits for a disk: saving is done by a
/// thread that lives while there is something to save. A file that cannot be read is an empty
/// cache, and one that cannot be written a cache that ends with the process.
///
/// After a fork, the child continues with what its parent knew then, if no thread held the lock then,
/// and else with nothing. What the parent had not saved yet, the parent saves.
///
/// [`Dialer`]: crate::Dialer
///
/// ```no_run
/// use mailport::{Cache, Dialer};
///
/// let dialer = Dialer::new().with_cache(Cache::new());
/// let connected = dialer.connect("mail.example.com")?;
/// # Ok::<(), mailport::ConnectError>(())
/// ```
#[derive(Clone)]
pub struct Cache {
    #[cfg(feature = "cache-file")]
    path: Option<Arc<Path>>,
    #[cfg(feature = "cache-file")]
    interval: Duration,
    shared: PerProcess<Shared>,
}

impl Default for Cache {
    fn default() -> Cache {
        Cache::new()
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").finish_non_exhaustive()
    }
}

/// Why the file of a [`Cache`] cannot be used. The cache then ends with the process.
#[cfg(feature = "cache-file")]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {reason}", path.display())]
#[non_exhaustive]
pub struct CacheError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    pub reason: String,
    /// The error of the system, where there was one.
    pub errno: Option<Errno>,
}

#[cfg(feature = "cache-file")]
impl CacheError {
    fn new(path: &Path, error: &std::io::Error) -> CacheError {
        let errno = error.raw_os_error().map(Errno);
        CacheError { path: path.to_owned(), reason: error.to_string(), errno }
    }
}

/// What the handles and the thread of a cache share in one process.
struct Shared {
    state: Mutex<State>,
    /// Something was saved, or could not be.
    settled: Condvar,
    /// It has become urgent to save.
    #[cfg(feature = "cache-file")]
    urged: Condvar,
}

#[derive(Default)]
struct State {
    table: Table,
    /// What is in the table and not in the file, the oldest first.
    pending: VecDeque<Change>,
    /// Whether a thread is at work.
    is_saving: bool,
    /// Whether it has to save at once.
    #[cfg(feature = "cache-file")]
    is_urgent: bool,
    /// Why the file cannot be used.
    #[cfg(feature = "cache-file")]
    error: Option<CacheError>,
}

impl Cache {
    /// The longest time that a call that blocks waits for the cache to be saved. A program that ends its
    /// process after a dial should ([`Cache::flush`]).
    pub const FLUSH: Duration = Duration::from_millis(50);

    /// A cache that ends with the process.
    pub fn new() -> Cache {
        Cache {
            #[cfg(feature = "cache-file")]
            path: None,
            #[cfg(feature = "cache-file")]
            interval: Duration::ZERO,
            shared: PerProcess::new(Shared::with(Table::default())),
        }
    }

    /// A cache that is kept in this file (feature `cache`), with what is in it. Reads the file,
    /// which may block.
    ///
    /// A file that does not exist yet is an empty cache. One that is not a cache of mailport, belongs
    /// to another user or is a symbolic link is left unchanged, and so is one of a later version of
    /// mailport until it is [cleared](Cache::clear): this cache then ends with the process, and
    /// [`Cache::error`] says why. A relative path is made absolute here. The lock is a file beside
    /// it, with `.lock` after its name; while it is saved there is another one, with `.new`. The
    /// directory is made when something is saved, never in a directory of another user.
    #[cfg(feature = "cache-file")]
    pub fn open(path: impl Into<PathBuf>) -> Cache {
        let path = path.into();
        // It fails for an empty path, which fails again when it is opened.
        let path: Arc<Path> = std::path::absolute(&path).unwrap_or(path).into();
        let (table, error) = match file::read(&path, now()) {
            Ok(table) => (table, None),
            Err(error) => (Table::default(), Some(CacheError::new(&path, &error))),
        };
        let shared = Shared::with(table);
        shared.lock().error = error;
        let interval = Duration::ZERO;
        Cache { path: Some(path), interval, shared: PerProcess::new(shared) }
    }

    /// The same cache, whose file is written at most once in this time: for a process that makes many
    /// dials. Default zero: as soon as there is something to save. [`Cache::flush`] does not wait.
    #[cfg(feature = "cache-file")]
    #[must_use]
    pub fn with_save_interval(self, interval: Duration) -> Cache {
        Cache { interval: interval.min(crate::config::MAX_DELAY), ..self }
    }

    /// Why the file could not be read when it was opened, or written when it was last tried; `None`
    /// when it could, and for a cache without a file.
    #[cfg(feature = "cache-file")]
    pub fn error(&self) -> Option<CacheError> {
        self.shared().lock().error.clone()
    }

    /// Where a user's cache is kept: `mailport/cache.json` in `$XDG_CACHE_HOME` or else in
    /// `~/.cache` (XDG Base Directory Specification); `None` where neither is known.
    #[cfg(feature = "cache-file")]
    pub fn default_path() -> Option<PathBuf> {
        let folder = |name| std::env::var_os(name).map(PathBuf::from);
        default_path(folder("XDG_CACHE_HOME"), folder("HOME"))
    }

    /// The place of a target in the network that this machine is in, for a dial with these
    /// settings; `None` where the network cannot be distinguished from another one, and nothing is
    /// remembered. Reads what the system says of its routes; sends nothing.
    ///
    /// Loopback addresses and `localhost` are in a network of their own. A proxy, and a command with
    /// all its words, make another network of each; of that only a hash is kept.
    pub fn place(target: &Target, config: &Config, via: Option<&Via>) -> Option<Place> {
        current_network::place(target, config, &via.map_or_else(String::new, Via::scope))
    }

    /// The hints for a dial by this plan.
    pub fn hints(&self, place: &Place, plan: &Plan) -> Hints {
        self.shared().lock().table.hints(place, plan, now())
    }

    /// Takes in what a dial has taught.
    pub fn learn(&self, place: &Place, observations: &[Observation]) {
        let at = now();
        self.change(observations.iter().map(|&observation| {
            let place = place.clone();
            Change::Learned { place, observation, at }
        }));
    }

    /// Remembers what the user answered for good when this service would come next.
    pub fn remember_answer(&self, place: &Place, service: Service, answer: Answer) {
        let (place, at) = (place.clone(), now());
        self.change([Change::RememberedAnswer { place, service, answer, at }]);
    }

    /// Everything that is remembered, by network, target and service.
    pub fn list(&self) -> Vec<Remembered> {
        self.shared().lock().table.list(now())
    }

    /// Forgets a target in every network, and gives how many outcomes and answers that were.
    pub fn forget(&self, target: &Target) -> usize {
        self.change([Change::Forgot { target: target.clone(), at: now() }])
    }

    /// Forgets everything, and gives how many outcomes and answers that were.
    pub fn clear(&self) -> usize {
        self.change([Change::Cleared { at: now() }])
    }

    /// Waits for at most `timeout` until everything is saved, and says whether it is. A cache
    /// without a file has nothing to save.
    pub fn flush(&self, timeout: Duration) -> bool {
        if !self.lasts() {
            return true;
        }
        let until = Instant::now() + timeout.min(crate::config::MAX_DELAY);
        let shared = self.shared();
        // What could not be saved before is tried once more.
        self.save(&shared);
        let mut state = shared.lock();
        #[cfg(feature = "cache-file")]
        {
            state.is_urgent = true;
            shared.urged.notify_all();
        }
        while state.is_saving {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = shared.settled.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        !state.is_saving && state.pending.is_empty()
    }

    /// Brings changes to the table, and has them saved.
    fn change(&self, changes: impl IntoIterator<Item = Change>) -> usize {
        let (shared, now) = (self.shared(), now());
        let mut forgotten = 0;
        let mut state = shared.lock();
        for change in changes {
            forgotten += state.table.apply(&change, now);
            if self.lasts() {
                state.pending.push_back(change);
            }
        }
        state.limit();
        drop(state);
        self.save(&shared);
        forgotten
    }

    #[cfg(feature = "cache-file")]
    fn lasts(&self) -> bool {
        self.path.is_some()
    }

    #[cfg(not(feature = "cache-file"))]
    #[expect(clippy::unused_self, reason = "with a file it depends on it")]
    fn lasts(&self) -> bool {
        false
    }

    /// Starts the thread, where there is something to save and none is at it. Where it cannot be
    /// started, the next change tries again.
    #[cfg(feature = "cache-file")]
    fn save(&self, shared: &Arc<Shared>) {
        /// The stack of the thread: it reads and writes one file of a known size.
        const STACK: usize = 128 * 1024;
        let Some(path) = self.path.clone() else { return };
        let mut state = shared.lock();
        if state.is_saving || state.pending.is_empty() {
            return;
        }
        state.is_saving = true;
        drop(state);
        let theirs = Arc::clone(shared);
        let (file, interval) = (Arc::clone(&path), self.interval);
        let started = super::sys::thread::spawn("mailport-cache", STACK, move || {
            theirs.wait_until_urgent(interval);
            work(&theirs, |changes| {
                file::save(&file, changes, now()).map_err(|error| CacheError::new(&file, &error))
            });
        });
        if let Err(error) = started {
            let mut state = shared.lock();
            state.is_saving = false;
            state.error = Some(CacheError::new(&path, &error));
            drop(state);
            shared.settled.notify_all();
        }
    }

    #[cfg(not(feature = "cache-file"))]
    #[expect(clippy::unused_self, reason = "with a file it depends on it")]
    fn save(&self, _: &Arc<Shared>) {}

    fn shared(&self) -> Arc<Shared> {
        self.shared.get(Shared::child)
    }
}

/// What the thread does: it saves until nothing is left to save, or something cannot be.
#[cfg(feature = "cache-file")]
fn work(shared: &Shared, save: impl Fn(&[Change]) -> Result<Table, CacheError>) {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    loop {
        let mut state = shared.lock();
        let changes: Vec<Change> = state.pending.drain(..).collect();
        if changes.is_empty() {
            state.is_saving = false;
            break;
        }
        drop(state);
        let saved = catch_unwind(AssertUnwindSafe(|| save(&changes)));
        let mut state = shared.lock();
        // A panic is a bug, which was reported when it happened.
        state.error = saved.as_ref().ok().and_then(|saved| saved.as_ref().err().cloned());
        if let Ok(Ok(mut table)) = saved {
            // With what others have saved meanwhile, and what has come here.
            for change in &state.pending {
                table.apply(change, now());
            }
            state.table = table;
        } else {
            for change in changes.into_iter().rev() {
                state.pending.push_front(change);
            }
            state.limit();
            state.is_saving = false;
            break;
        }
    }
    shared.settled.notify_all();
}

impl Shared {
    fn with(table: Table) -> Shared {
        let state = Mutex::new(State { table, ..State::default() });
        Shared {
            state,
            settled: Condvar::new(),
            #[cfg(feature = "cache-file")]
            urged: Condvar::new(),
        }
    }

    /// Lets changes come together for a while before they are saved.
    #[cfg(feature = "cache-file")]
    fn wait_until_urgent(&self, interval: Duration) {
        let until = Instant::now() + interval;
        let mut state = self.lock();
        while !state.is_urgent {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.urged.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.is_urgent = false;
    }

    /// The state of a forked child: what the parent knew, unless a thread that does not exist here
    /// never releases the lock.
    fn child(&self) -> Shared {
        let table = match self.state.try_lock() {
            Ok(state) => state.table.clone(),
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner().table.clone(),
            Err(TryLockError::WouldBlock) => Table::default(),
        };
        Shared::with(table)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock; if it did, the state would still be whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn limit(&mut self) {
        let too_many = self.pending.len().saturating_sub(MAX_PENDING);
        self.pending.drain(..too_many);
    }
}

/// The time by the system's clock.
fn now() -> Stamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Stamp::default().plus(since)
}

/// > All paths set in these environment variables must be absolute. If an implementation encounters
/// > a relative path in any of these variables it should consider the path invalid and ignore it.
/// > (XDG Base Directory Specification)
#[cfg(feature = "cache-file")]
fn default_path(cache: Option<PathBuf>, home: Option<PathBuf>) -> Option<PathBuf> {
    let cache = cache.filter(|folder| folder.is_absolute());
    let home = home.filter(|folder| folder.is_absolute()).map(|home| home.join(".cache"));
    Some(cache.or(home)?.join("mailport/cache.json"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Network;
    use crate::outcome::Outcome;
    use crate::plan::Family;

    fn place() -> Place {
        Place::new(Network::this_machine(""), &"mail.example".parse().unwrap())
    }

    fn reset(port: usize) -> Observation {
        let service = Plan::submission().services()[port];
        Observation {
            service,
            family: Some(Family::Ipv4),
            outcome: Outcome::Reset,
            round_trip: None,
            provisional: false,
        }
    }

    #[test]
    fn every_handle_of_a_cache_knows_what_one_has_learned() {
        let cache = Cache::new();
        cache.clone().learn(&place(), &[reset(0)]);
        assert_eq!(cache.hints(&place(), &Plan::submission()).bad.len(), 1);
        assert!(cache.flush(Duration::ZERO), "there is nothing to save");
        assert_eq!(cache.forget(&"MAIL.example.".parse().unwrap()), 1);
        assert!(cache.list().is_empty());
    }

    #[cfg(feature = "cache-file")]
    #[test]
    fn the_users_cache_is_an_absolute_folder_or_that_at_home() {
        let path = |cache: &str, home: &str| {
            let folder = |text: &str| (!text.is_empty()).then(|| PathBuf::from(text));
            default_path(folder(cache), folder(home))
        };
        let expected = |text: &str| Some(PathBuf::from(text));
        assert_eq!(path("/c", "/h"), expected("/c/mailport/cache.json"));
        assert_eq!(path("c", "/h"), expected("/h/.cache/mailport/cache.json"));
        assert_eq!(path("", "/h"), expected("/h/.cache/mailport/cache.json"));
        assert_eq!((path("c", ""), path("", "h")), (None, None));
    }

    #[cfg(feature = "cache-file")]
    #[test]
    fn what_comes_while_the_file_is_written_is_saved_by_the_same_thread() {
        let shared = Shared::with(Table::default());
        let change = |port| Change::Learned { place: place(), observation: reset(port), at: now() };
        shared.lock().pending.push_back(change(0));
        let saves = Mutex::new(Vec::new());
        work(&shared, |changes| {
            let mut saves = saves.lock().unwrap();
            saves.push(changes.len());
            if saves.len() == 1 {
                // The lock is not held meanwhile, or this would never end.
                shared.lock().pending.extend([change(1), change(0)]);
            }
            Ok(Table::default())
        });
        assert_eq!(*saves.lock().unwrap(), [1, 2]);
    }

    #[cfg(feature = "cache-file")]
    #[test]
    fn what_could_not_be_saved_is_kept_for_the_next_time_and_is_not_too_much() {
        let shared = Shared::with(Table::default());
        shared.lock().is_saving = true;
        for number in 0..MAX_PENDING + 5 {
            let at = Stamp(number as u64);
            shared.lock().pending.push_back(Change::Cleared { at });
        }
        let full = CacheError::new(Path::new("/full"), &std::io::ErrorKind::StorageFull.into());
        work(&shared, |_| Err(full.clone()));
        let state = shared.lock();
        assert_eq!(state.error, Some(full.clone()));
        assert_eq!((state.pending.len(), state.is_saving), (MAX_PENDING, false));
        assert_eq!(
            state.pending.front(),
            Some(&Change::Cleared { at: Stamp(5) }),
            "the oldest went"
        );
    }
}
