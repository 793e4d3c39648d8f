//! Name look-ups on threads of their own, shared by every dial that holds the same [`Resolver`].
//!
//! The C library's look-up cannot be cancelled and may take minutes, so nothing waits for it: a
//! thread that is stuck holds no descriptor of any dial and no lock, and a dial that goes away
//! leaves only an empty slot behind.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::sys;
use crate::plan::Family;
use crate::report::LookupError;

/// Threads that run look-ups at once, not counting those that have become [`OLD`].
const THREADS: usize = 16;
/// After this long a look-up counts as stuck, and another thread may take its place.
const OLD: Duration = Duration::from_secs(5);
/// Threads altogether, stuck ones included; beyond it look-ups wait.
const MOST_THREADS: usize = 64;
/// The stack of a thread: name service modules want more than a few pages.
const STACK: usize = 256 * 1024;

/// What a look-up gives: addresses, best first, their ports ignored.
pub(super) type LookupResult = Result<Vec<SocketAddr>, LookupError>;
type Look = dyn Fn(&str, Family) -> LookupResult + Send + Sync;

/// Looks up names for dials, without ever making one wait for another.
///
/// A clone is a handle to the same resolver. Dials that want the same name and family at the same
/// time share one look-up. At most 16 threads run them; one that has taken longer than 5 s no
/// longer counts, and 64 is the limit for all. A thread lives only while there is work.
///
/// [`Resolver::default`] is one for the whole process, made when it is first needed, and asks the
/// system (`getaddrinfo`). After a fork the child begins with no look-ups of its own.
#[derive(Clone)]
pub struct Resolver {
    look: Arc<Look>,
    generation: Arc<Generation>,
}

impl Default for Resolver {
    fn default() -> Resolver {
        static SYSTEM: OnceLock<Resolver> = OnceLock::new();
        SYSTEM.get_or_init(|| Resolver::custom(sys::get_addr_info)).clone()
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").finish_non_exhaustive()
    }
}

/// The state of a resolver in one process. A child of a fork must not touch its parent's: the lock
/// may be held by a thread that does not exist there.
struct Generation {
    process: u32,
    state: Mutex<State>,
    next: OnceLock<Arc<Generation>>,
}

#[derive(Default)]
struct State {
    /// Look-ups that no thread has taken yet.
    queue: VecDeque<Key>,
    /// Who waits for each look-up, taken or not.
    waiting: BTreeMap<Key, Vec<Arc<Slot>>>,
    /// When each thread began its present look-up.
    threads: BTreeMap<u64, Instant>,
    next_thread: u64,
}

type Key = (String, Family);

impl Resolver {
    /// A resolver that asks `look` instead of the system. It is called on threads of its own, may
    /// block, and gets the name and the one family wanted.
    pub fn custom(look: impl Fn(&str, Family) -> LookupResult + Send + Sync + 'static) -> Resolver {
        Resolver { look: Arc::new(look), generation: Arc::new(Generation::new()) }
    }

    /// Begins a look-up, or joins the one under way; the answer comes to `slot`.
    pub(super) fn look_up(&self, name: &str, family: Family, slot: &Arc<Slot>, now: Instant) {
        let generation = self.generation();
        let key = (name.to_owned(), family);
        let mut state = generation.lock();
        let waiting = state.waiting.entry(key.clone()).or_default();
        waiting.push(Arc::clone(slot));
        if waiting.len() == 1 {
            state.queue.push_back(key);
        }
        drop(state);
        self.relieve(now);
    }

    /// Starts threads for look-ups that wait, as far as the limits allow, and says when the limits
    /// will allow more: call again then, for no thread watches the others.
    pub(super) fn relieve(&self, now: Instant) -> Option<Instant> {
        let generation = self.generation();
        loop {
            let mut state = generation.lock();
            if state.queue.is_empty() {
                return None;
            }
            let young = state.threads.values().filter(|&&since| now < since + OLD);
            if young.count() >= THREADS || state.threads.len() >= MOST_THREADS {
                let ages = state.threads.values().map(|&since| since + OLD);
                return ages.filter(|&at| at > now).min();
            }
            // Handed over here, so that no more threads are started than there are look-ups.
            let key = state.next()?;
            let number = state.next_thread;
            state.next_thread += 1;
            state.threads.insert(number, now);
            drop(state);
            if let Err(error) = self.start_thread(&generation, number, key.clone()) {
                generation.lock().not_started(number, key, &error);
                return None;
            }
        }
    }

    fn start_thread(
        &self,
        generation: &Arc<Generation>,
        number: u64,
        first: Key,
    ) -> std::io::Result<()> {
        let look = Arc::clone(&self.look);
        let generation = Arc::clone(generation);
        let builder = thread::Builder::new().name("mailport-resolve".into()).stack_size(STACK);
        let started = sys::with_signals_blocked(|| {
            builder.spawn(move || work(&*look, &generation, number, first))
        });
        started.map(drop)
    }

    fn generation(&self) -> Arc<Generation> {
        let mut generation = &self.generation;
        let here = std::process::id();
        while generation.process != here {
            generation = generation.next.get_or_init(|| Arc::new(Generation::new()));
        }
        Arc::clone(generation)
    }
}

impl Generation {
    fn new() -> Generation {
        let process = std::process::id();
        Generation { process, state: Mutex::default(), next: OnceLock::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock; if it did, the state would still be whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The next look-up that somebody still waits for.
    fn next(&mut self) -> Option<Key> {
        while let Some(key) = self.queue.pop_front() {
            let wanted = self.waiting.get(&key).is_some_and(|w| w.iter().any(|s| s.is_wanted()));
            if wanted {
                return Some(key);
            }
            self.waiting.remove(&key);
        }
        None
    }

    /// A thread could not be started: its look-up waits for another one to end or, where there is
    /// none, fails with all that wait.
    fn not_started(&mut self, number: u64, key: Key, error: &std::io::Error) {
        self.threads.remove(&number);
        self.queue.push_front(key);
        if !self.threads.is_empty() {
            return;
        }
        let error = LookupError::Failed(format!("cannot start a thread: {error}"));
        while let Some(key) = self.queue.pop_front() {
            for slot in self.waiting.remove(&key).unwrap_or_default() {
                slot.fill(key.1, Err(error.clone()));
            }
        }
    }
}

/// What a thread does: its first look-up, then others, until there are none.
fn work(look: &Look, generation: &Generation, number: u64, first: Key) {
    let mut next = Some(first);
    while let Some(key) = next {
        let result = panic::catch_unwind(AssertUnwindSafe(|| look(&key.0, key.1)))
            .unwrap_or_else(|_| Err(LookupError::Failed("the look-up panicked".into())));
        let waiting = generation.lock().waiting.remove(&key).unwrap_or_default();
        for slot in waiting {
            slot.fill(key.1, result.clone());
        }
        let mut state = generation.lock();
        next = state.next();
        if next.is_some() {
            state.threads.insert(number, Instant::now());
        } else {
            // With the lock still held, so that whoever queues a look-up next starts a thread.
            state.threads.remove(&number);
        }
    }
}

/// Where a look-up leaves its answer for one dial. The dial empties it when it ends, so that the
/// thread finds no descriptor there.
#[derive(Debug)]
pub(super) struct Slot(Mutex<Inside>);

#[derive(Debug)]
struct Inside {
    /// Wakes the dial; `None` once the dial has ended.
    waker: Option<Arc<OwnedFd>>,
    answers: Vec<(Family, LookupResult)>,
}

impl Slot {
    pub(super) fn new(waker: Arc<OwnedFd>) -> Slot {
        Slot(Mutex::new(Inside { waker: Some(waker), answers: Vec::new() }))
    }

    /// The answers that have come since the last call.
    pub(super) fn take(&self) -> Vec<(Family, LookupResult)> {
        std::mem::take(&mut self.lock().answers)
    }

    /// Lets go of the waker: no answer is wanted any more.
    pub(super) fn empty(&self) {
        self.lock().waker = None;
    }

    /// Lets go of a slot in a forked child. False where a thread of the parent's has a part in it,
    /// and perhaps its lock, which nobody there gives back: it then stays with all that is in it.
    pub(super) fn is_left_in_fork(slot: Arc<Slot>) -> bool {
        Arc::try_unwrap(slot).map_err(std::mem::forget).is_ok()
    }

    fn is_wanted(&self) -> bool {
        self.lock().waker.is_some()
    }

    fn fill(&self, family: Family, result: LookupResult) {
        let mut inside = self.lock();
        let Inside { waker: Some(waker), answers } = &mut *inside else { return };
        answers.push((family, result));
        // Under the lock: once the dial has emptied the slot, nobody writes to its descriptor.
        sys::wake(waker.as_fd());
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    fn slot() -> Arc<Slot> {
        Arc::new(Slot::new(Arc::new(sys::event().unwrap())))
    }

    fn wait_for(what: impl Fn() -> bool) {
        let until = Instant::now() + Duration::from_secs(20);
        while !what() {
            assert!(Instant::now() < until, "it never happened");
            thread::yield_now();
        }
    }

    fn threads(resolver: &Resolver) -> usize {
        resolver.generation.lock().threads.len()
    }

    /// A resolver whose look-ups all wait until the sender is dropped, and a count of them.
    fn stuck() -> (Resolver, mpsc::Sender<()>, Arc<AtomicUsize>) {
        let (release, wait) = mpsc::channel::<()>();
        let wait = Mutex::new(wait);
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&calls);
        let open = Arc::new(OnceLock::new());
        let resolver = Resolver::custom(move |_, _| {
            counted.fetch_add(1, Ordering::SeqCst);
            while open.get().is_none() {
                let gone = wait.try_lock().is_ok_and(|wait| {
                    wait.recv_timeout(Duration::from_millis(1))
                        == Err(mpsc::RecvTimeoutError::Disconnected)
                });
                if gone {
                    let _ = open.set(());
                }
                thread::yield_now();
            }
            Err(LookupError::NotFound)
        });
        (resolver, release, calls)
    }

    #[test]
    fn a_look_up_starts_one_thread() {
        let (resolver, release, calls) = stuck();
        let slot = slot();
        for number in 0..3 {
            let name = format!("{number}.example");
            resolver.look_up(&name, Family::Ipv4, &slot, Instant::now());
        }
        assert_eq!(threads(&resolver), 3, "whether or not they have begun yet");
        drop(release);
        wait_for(|| slot.lock().answers.len() == 3);
        wait_for(|| threads(&resolver) == 0);
        assert_eq!(calls.load(Ordering::SeqCst), 3);
        assert_eq!(resolver.generation.lock().next_thread, 3, "none was started for nothing");
    }

    #[test]
    fn one_look_up_serves_all_who_wait_for_it() {
        let (resolver, release, calls) = stuck();
        let slots: Vec<_> = (0..5).map(|_| slot()).collect();
        for slot in &slots {
            resolver.look_up("mail.example", Family::Ipv4, slot, Instant::now());
        }
        drop(release);
        for slot in &slots {
            wait_for(|| !slot.lock().answers.is_empty());
        }
        assert_eq!(calls.load(Ordering::SeqCst), 1);
        wait_for(|| threads(&resolver) == 0);
        assert!(resolver.generation.lock().waiting.is_empty());
    }

    #[test]
    fn sixteen_run_at_once_and_old_ones_make_room_up_to_sixty_four() {
        let (resolver, release, calls) = stuck();
        let slot = slot();
        let start = Instant::now();
        for number in 0..100 {
            resolver.look_up(&format!("{number}.example"), Family::Ipv4, &slot, start);
        }
        wait_for(|| calls.load(Ordering::SeqCst) == 16);
        assert_eq!(threads(&resolver), 16);
        let relief = resolver.relieve(start).expect("a time when the limits allow more");
        assert!(relief >= start + OLD);
        // Their age is told by the clock that the caller brings, so nobody has to wait for it.
        for (round, running) in [(1, 32), (2, 48), (3, 64), (4, 64)] {
            let later = Instant::now() + round * 2 * OLD;
            resolver.generation.lock().threads.values_mut().for_each(|since| *since = start);
            resolver.relieve(later);
            wait_for(|| calls.load(Ordering::SeqCst) >= running);
            assert_eq!(threads(&resolver), running, "round {round}");
        }
        drop(release);
        wait_for(|| slot.lock().answers.len() == 100);
        wait_for(|| threads(&resolver) == 0);
    }

    #[test]
    fn nobody_looks_up_what_nobody_waits_for() {
        let (resolver, release, calls) = stuck();
        let (kept, gone) = (slot(), slot());
        let now = Instant::now();
        for number in 0..16 {
            resolver.look_up(&format!("{number}.example"), Family::Ipv6, &kept, now);
        }
        wait_for(|| calls.load(Ordering::SeqCst) == 16);
        resolver.look_up("late.example", Family::Ipv6, &gone, now);
        gone.empty();
        drop(release);
        wait_for(|| threads(&resolver) == 0);
        assert_eq!(calls.load(Ordering::SeqCst), 16);
        assert!(gone.take().is_empty() && resolver.generation.lock().waiting.is_empty());
    }

    #[test]
    fn a_look_up_that_panics_is_a_failed_one() {
        let resolver = Resolver::custom(|_, _| panic!("in the look-up, as this test wants it"));
        let slot = slot();
        resolver.look_up("mail.example", Family::Ipv4, &slot, Instant::now());
        wait_for(|| !slot.lock().answers.is_empty());
        assert!(matches!(&slot.take()[..], [(Family::Ipv4, Err(LookupError::Failed(_)))]));
    }

    #[test]
    fn the_system_knows_localhost() {
        let slot = slot();
        Resolver::default().look_up("localhost", Family::Ipv4, &slot, Instant::now());
        wait_for(|| !slot.lock().answers.is_empty());
        let (_, result) = slot.take().remove(0);
        assert!(result.unwrap().iter().all(|address| address.ip().is_loopback()));
    }
}
