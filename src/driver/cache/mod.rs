//! The cache that dials share, and the thread that saves it.
//!
//! A dial only ever looks something up, or leaves something, under a lock that is never held over
//! I/O. What it leaves is brought to the file by a thread that lives while there is something to
//! save, and each time brings everything that has come together.

#[cfg(feature = "cache-file")]
mod at_exit;
mod current_network;
#[cfg(feature = "cache-file")]
mod file;

use std::collections::VecDeque;
use std::fmt;
use std::net::IpAddr;
#[cfg(feature = "cache-file")]
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use self::current_network::RecentNetworks;
use super::per_process::PerProcess;
use crate::cache::{Change, Place, Remembered, Stamp, Table};
use crate::config::Config;
use crate::machine::{Answer, Hints, Observation};
#[cfg(feature = "cache-file")]
use crate::outcome::Errno;
use crate::plan::{Plan, Service};
use crate::target::Target;
use crate::via::Via;

/// The least time between two saves, unless it is urgent.
#[cfg(feature = "cache-file")]
const SAVE_INTERVAL: Duration = Duration::from_secs(1);
/// The most changes that wait to be saved; without a place to save them, the oldest go.
const MAX_PENDING: usize = 1024;

/// What dials have learned, for those that follow: a later dial in the same network does not wait
/// again for what an earlier one found silent. It shortens waiting and never decides. A [`Dialer`]
/// uses the one it is [given](crate::Dialer::with_cache), or else the [shared](Cache::shared) cache
/// of the process; the rules are those of [`Table`].
///
/// A clone is a handle to the same cache. Only `flush` waits for a disk: saving is done by a
/// thread that lives while there is something to save, at once for the first time and then at most
/// once a second. `exit` waits for it, [`Cache::FLUSH`] at most. A file that cannot be read is an
/// empty cache, and one that cannot be written a cache that ends with the process.
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
    /// Whether it is the one that dials use by default.
    is_shared: bool,
    /// Whether the network of a dial is read once a second at most.
    reads_network_rarely: bool,
    state: PerProcess<CacheShared>,
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
struct CacheShared {
    state: Mutex<CacheState>,
    /// Something was saved, or could not be.
    settled: Condvar,
    /// It has become urgent to save.
    #[cfg(feature = "cache-file")]
    urged: Condvar,
    networks: RecentNetworks,
}

#[derive(Default)]
struct CacheState {
    table: Table,
    /// What is in the table and not in the file, the oldest first.
    pending: VecDeque<Change>,
    /// Whether a thread is at work.
    is_saving: bool,
    /// Whether it has to save at once.
    #[cfg(feature = "cache-file")]
    is_urgent: bool,
    /// When the last save ended, whether it succeeded or not.
    #[cfg(feature = "cache-file")]
    saved: Option<Instant>,
    /// Why the file cannot be used.
    #[cfg(feature = "cache-file")]
    error: Option<CacheError>,
}

impl Cache {
    /// How long `exit` waits for what is not saved yet. A program that ends by `_exit`, or by a signal
    /// that it handles, may wait so for [`Cache::flush`].
    pub const FLUSH: Duration = Duration::from_millis(50);

    /// A cache that ends with the process.
    pub fn new() -> Cache {
        Cache {
            #[cfg(feature = "cache-file")]
            path: None,
            is_shared: false,
            reads_network_rarely: false,
            state: PerProcess::new(CacheShared::with(Table::default())),
        }
    }

    /// The cache in memory that every dial of this process uses which names no other
    /// ([`Dialer::with_cache`](crate::Dialer::with_cache)) and does not go [without
    /// one](crate::Dialer::without_cache).
    ///
    /// It keeps outcomes only: no remembered answers, nothing of loopback addresses (whose ports are
    /// used again by other servers), and nothing of dials with [given
    /// addresses](crate::Dialer::with_addresses). It reads what the system says of the network at
    /// most once a second. [`Cache::clear`] empties it. A process that dials for several users
    /// should go without it.
    pub fn shared() -> Cache {
        static SHARED: OnceLock<Cache> = OnceLock::new();
        SHARED.get_or_init(|| Cache { is_shared: true, ..Cache::new() }).clone()
    }

    /// A cache that is kept in this file (feature `cache`), with what is in it. Reads the file,
    /// which may block.
    ///
    /// A file that does not exist yet is an empty cache. One that is not a cache of mailport, belongs
    /// to another user or is a symbolic link is left unchanged, and so is one of a later version of
    /// mailport until it is [cleared](Cache::clear): this cache then ends with the process, and
    /// [`Cache::error`] says why. A relative path is made absolute here. The lock is a file beside
    /// it, with `.lock` after its name; while it is saved there is another one, with `.new`. The
    /// directory is made when something is saved, never below a directory or a link of another user.
    #[cfg(feature = "cache-file")]
    pub fn open(path: impl Into<PathBuf>) -> Cache {
        let path = path.into();
        // It fails for an empty path, which fails again when it is opened.
        let path: Arc<Path> = std::path::absolute(&path).unwrap_or(path).into();
        let (table, error) = match file::read(&path, now()) {
            Ok(table) => (table, None),
            Err(error) => (Table::default(), Some(CacheError::new(&path, &error))),
        };
        let shared = CacheShared::with(table);
        shared.lock().error = error;
        Cache {
            path: Some(path),
            is_shared: false,
            reads_network_rarely: false,
            state: PerProcess::new(shared),
        }
    }

    /// Why the file could not be read when it was opened, or written when it was last tried; `None`
    /// when it could, and for a cache without a file.
    #[cfg(feature = "cache-file")]
    pub fn error(&self) -> Option<CacheError> {
        self.here().lock().error.clone()
    }

    /// Where a user's cache is kept: `mailport/cache.json` in `$XDG_CACHE_HOME` or else in
    /// `~/.cache` (XDG Base Directory Specification); `None` where neither is known.
    #[cfg(feature = "cache-file")]
    pub fn default_path() -> Option<PathBuf> {
        let folder = |name| std::env::var_os(name).map(PathBuf::from);
        default_path(folder("XDG_CACHE_HOME"), folder("HOME"))
    }

    /// The same cache, for a process that makes many dials: the network that they are in is read
    /// once a second at most, as that of [`Cache::shared`] is.
    #[doc(hidden)]
    #[must_use]
    pub fn reading_network_rarely(self) -> Cache {
        Cache { reads_network_rarely: true, ..self }
    }

    /// The place of a target in the network that this machine is in, for a dial with these
    /// settings; `None` where the network cannot be distinguished from another one, and nothing is
    /// remembered. Reads what the system says of its routes; sends nothing.
    ///
    /// Loopback addresses and `localhost` are a separate network. A proxy, and a command with
    /// all its words, make another network of each; of that only a hash is kept.
    pub fn place(target: &Target, config: &Config, via: Option<&Via>) -> Option<Place> {
        current_network::place(target, config, &via.map_or_else(String::new, Via::scope))
    }

    /// The place for a dial with this cache; `None` where it keeps nothing of such a dial.
    pub(super) fn place_of_dial(
        &self,
        target: &Target,
        config: &Config,
        via: Option<&Via>,
        has_addresses: bool,
    ) -> Option<Place> {
        if !self.is_shared && (!self.reads_network_rarely || target.is_here()) {
            return Cache::place(target, config, via);
        }
        if self.is_shared && (has_addresses || target.is_here() || via.is_some_and(Via::is_here)) {
            return None;
        }
        let scope = via.map_or_else(String::new, Via::scope);
        self.here().networks.place(target, config, &scope, Instant::now())
    }

    /// Whether this cache keeps outcomes of an address.
    pub(super) fn keeps(&self, address: IpAddr) -> bool {
        !self.is_shared || !address.to_canonical().is_loopback()
    }

    /// The hints for a dial by this plan.
    pub fn hints(&self, place: &Place, plan: &Plan) -> Hints {
        self.here().lock().table.hints(place, plan, now())
    }

    /// Takes in what a dial has taught.
    pub fn learn(&self, place: &Place, observations: &[Observation]) {
        let at = now();
        self.change(observations.iter().map(|&observation| {
            let place = place.clone();
            Change::Learned { place, observation, at }
        }));
    }

    /// Remembers what the user answered for good when this service would come next. Returns whether
    /// it is kept: the [shared](Cache::shared) cache keeps no answers.
    pub fn remember_answer(&self, place: &Place, service: Service, answer: Answer) -> bool {
        if !self.is_shared {
            let (place, at) = (place.clone(), now());
            self.change([Change::RememberedAnswer { place, service, answer, at }]);
        }
        !self.is_shared
    }

    /// Everything that is remembered, by network, target and service.
    pub fn list(&self) -> Vec<Remembered> {
        self.here().lock().table.list(now())
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
        let shared = self.here();
        // What could not be saved before is tried once more.
        self.save(&shared);
        shared.settle(until)
    }

    /// Brings changes to the table, and has them saved.
    fn change(&self, changes: impl IntoIterator<Item = Change>) -> usize {
        let (shared, now) = (self.here(), now());
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
    fn save(&self, shared: &Arc<CacheShared>) {
        /// The stack of the thread: it reads and writes one file of a known size.
        const STACK: usize = 128 * 1024;
        let Some(path) = self.path.clone() else { return };
        let mut state = shared.lock();
        if state.is_saving || state.pending.is_empty() {
            return;
        }
        state.is_saving = true;
        drop(state);
        at_exit::expect(shared);
        let (theirs, file) = (Arc::clone(shared), Arc::clone(&path));
        let started = super::sys::spawn("mailport-cache", STACK, move || {
            work(&theirs, |changes| {
                file::save(&file, changes, now()).map_err(|error| CacheError::new(&file, &error))
            });
            at_exit::forget(&theirs);
        });
        if let Err(error) = started {
            at_exit::forget(shared);
            let mut state = shared.lock();
            state.is_saving = false;
            state.error = Some(CacheError::new(&path, &error));
            drop(state);
            shared.settled.notify_all();
        }
    }

    #[cfg(not(feature = "cache-file"))]
    #[expect(clippy::unused_self, reason = "with a file it depends on it")]
    fn save(&self, _: &Arc<CacheShared>) {}

    /// What the handles share in this process.
    fn here(&self) -> Arc<CacheShared> {
        self.state.get(CacheShared::child)
    }
}

/// What the thread does: it saves until nothing is left to save, or something cannot be, the first
/// time at once.
#[cfg(feature = "cache-file")]
fn work(shared: &CacheShared, save: impl Fn(&[Change]) -> Result<Table, CacheError>) {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    loop {
        let mut state = shared.wait_until_due();
        let changes: Vec<Change> = state.pending.drain(..).collect();
        if changes.is_empty() {
            state.is_saving = false;
            break;
        }
        drop(state);
        let saved = catch_unwind(AssertUnwindSafe(|| save(&changes)));
        let mut state = shared.lock();
        state.saved = Some(Instant::now());
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

impl CacheShared {
    fn with(table: Table) -> CacheShared {
        let state = Mutex::new(CacheState { table, ..CacheState::default() });
        CacheShared {
            state,
            settled: Condvar::new(),
            #[cfg(feature = "cache-file")]
            urged: Condvar::new(),
            networks: RecentNetworks::default(),
        }
    }

    /// Lets changes come together until a second after the last save, or until it is urgent.
    #[cfg(feature = "cache-file")]
    fn wait_until_due(&self) -> MutexGuard<'_, CacheState> {
        let mut state = self.lock();
        while !state.is_urgent && !state.pending.is_empty() {
            let due = state.saved.map(|saved| saved + SAVE_INTERVAL);
            let left = due.unwrap_or_else(Instant::now).saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.urged.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.is_urgent = false;
        state
    }

    /// Has what the thread is to save saved at once, waits for it until then, and says whether
    /// everything is saved.
    fn settle(&self, until: Instant) -> bool {
        let mut state = self.lock();
        #[cfg(feature = "cache-file")]
        {
            state.is_urgent = state.is_saving;
            self.urged.notify_all();
        }
        while state.is_saving {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.settled.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        !state.is_saving && state.pending.is_empty()
    }

    /// The state of a forked child: what the parent knew, unless a thread that does not exist here
    /// never releases the lock.
    fn child(&self) -> CacheShared {
        let table = match self.state.try_lock() {
            Ok(state) => state.table.clone(),
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner().table.clone(),
            Err(TryLockError::WouldBlock) => Table::default(),
        };
        CacheShared::with(table)
    }

    fn lock(&self) -> MutexGuard<'_, CacheState> {
        // Nothing panics while it holds the lock; if it did, the state would still be whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CacheState {
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

    #[test]
    fn the_shared_cache_keeps_nothing_of_this_machine_or_of_given_addresses_and_no_answer() {
        let (cache, config) = (Cache::shared(), Config::default());
        let place_of = |host: &str, via: Option<&str>, given| {
            let via: Option<Via> = via.map(|via| via.parse().unwrap());
            cache.place_of_dial(&host.parse().unwrap(), &config, via.as_ref(), given)
        };
        for host in
            ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "localhost", "a.localhost."]
        {
            assert_eq!(place_of(host, None, false), None, "{host}");
        }
        assert_eq!(place_of("192.0.2.1", None, true), None);
        assert_eq!(place_of("192.0.2.1", Some("socks5://[::1]:1080"), false), None);
        let known = Cache::place(&"192.0.2.1".parse().unwrap(), &config, None);
        assert_eq!(place_of("192.0.2.1", None, false), known, "what is left is kept");
        for address in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            assert!(!cache.keeps(address.parse().unwrap()), "{address}");
            assert!(Cache::new().keeps(address.parse().unwrap()), "{address}");
        }
        let service = Plan::submission().services()[1];
        assert!(!cache.remember_answer(&place(), service, Answer::FallBack));
        assert!(Cache::new().remember_answer(&place(), service, Answer::FallBack));
        assert!(cache.list().is_empty());
    }

    #[cfg(feature = "cache-file")]
    #[test]
    fn the_first_save_is_immediate_and_later_ones_come_together_for_a_second() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache.json");
        let cache = Cache::open(&path);
        let saved = || Cache::open(&path).list().len();
        let until = |len| {
            let begun = Instant::now();
            while saved() != len {
                assert!(begun.elapsed() < Duration::from_secs(60), "never saved");
                std::thread::sleep(Duration::from_millis(5));
            }
            Instant::now()
        };
        cache.learn(&place(), &[reset(0)]);
        let first = until(1);
        for name in 0..50 {
            let target = format!("mail{name}.example").parse().unwrap();
            cache.learn(&Place::new(Network::this_machine(""), &target), &[reset(0)]);
        }
        // Held up, this thread comes too late to see it.
        if first.elapsed() < Duration::from_millis(400) {
            assert_eq!(saved(), 1);
        }
        let second = until(51);
        assert!(second - first > Duration::from_millis(500), "{:?}", second - first);
        cache.learn(&place(), &[reset(1)]);
        assert!(cache.flush(Duration::from_secs(60)));
        assert_eq!(saved(), 52);
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
        let shared = CacheShared::with(Table::default());
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
        let shared = CacheShared::with(Table::default());
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
