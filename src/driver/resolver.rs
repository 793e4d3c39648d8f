//! Name look-ups on separate threads, shared by every dial that holds the same [`Resolver`].
//!
//! The C library's look-up cannot be cancelled and may take minutes, so nothing waits for it: a
//! thread that is stuck holds no descriptor of any dial and no lock, and a dial that goes away
//! leaves only an empty slot behind.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::per_process::PerProcess;
use super::resolv_conf;
use super::sys;
use crate::machine::Query;
use crate::plan::Family;
use crate::report::LookupError;
use crate::sorted_map::SortedMap;

/// Look-ups that run at once, not counting those that have become [`OLD`].
const RUNNING: usize = 16;
/// After this long a look-up counts as stuck, and another one may run beside it.
const OLD: Duration = Duration::from_secs(5);
/// Look-ups altogether, stuck ones included; beyond it others wait.
const MOST_RUNNING: usize = 64;
/// Threads altogether, with those whose look-up is no longer needed.
const MOST_THREADS: usize = 1000;
/// For so long a look-up that is under way is joined by others: an older one may have begun in
/// another network.
const JOINED: Duration = Duration::from_secs(1);
/// How long a thread waits for another look-up after its last one.
const IDLE: Duration = Duration::from_millis(500);
/// How soon a look-up that no thread has taken is looked after again.
const RETRY: Duration = Duration::from_millis(500);

/// What a look-up gives: addresses of both families, best first, their ports ignored.
pub(super) type LookupResult = Result<Vec<SocketAddr>, LookupError>;

/// Looks up names for dials, without ever making one wait for another.
///
/// A clone is a handle to the same resolver. Dials that ask the same within a second share one
/// look-up, if their threads are in the same network and mount namespaces. At most 16 look-ups run
/// at once; one that has taken longer than 5 s no longer counts, and 64 is the limit for all. One
/// that no dial waits for any more counts against neither. A thread ends 0.5 s after its last
/// look-up.
///
/// [`Resolver::default`] is one for the whole process, made when it is first needed, and asks the
/// system (`getaddrinfo`). After a fork the child begins without look-ups.
#[derive(Clone)]
pub struct Resolver {
    look: Look,
    shared: PerProcess<ResolverShared>,
}

type Filter = dyn Fn(Vec<SocketAddr>) -> LookupResult + Send + Sync;
type LookupAnswer = dyn Fn(&str, Query) -> LookupResult + Send + Sync;

/// Who is asked.
#[derive(Clone)]
enum Look {
    /// The system; what it gives goes through this filter.
    System(Arc<Filter>),
    Custom(Arc<LookupAnswer>),
}

impl Default for Resolver {
    fn default() -> Resolver {
        static SYSTEM: OnceLock<Resolver> = OnceLock::new();
        SYSTEM.get_or_init(|| Resolver::system_filtered(Ok)).clone()
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").finish_non_exhaustive()
    }
}

/// What the handles and threads of a resolver share in one process.
#[derive(Default)]
struct ResolverShared {
    state: Mutex<ResolverState>,
    /// Wakes threads that wait for a look-up.
    given: Condvar,
}

#[derive(Default)]
struct ResolverState {
    /// Look-ups that have not ended, by a number that is never used twice.
    jobs: SortedMap<u64, Job>,
    /// The last look-up of each key, which others may join.
    latest: SortedMap<Key, u64>,
    /// Look-ups that no thread has taken yet.
    queue: VecDeque<u64>,
    threads: SortedMap<u64, Thread>,
    /// The number that comes next.
    next: u64,
}

/// What is asked, and where.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    name: String,
    question: LookupQuestion,
    /// Of the thread that asks; `None` where the system does not tell.
    namespaces: Option<sys::Namespaces>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum LookupQuestion {
    Both,
    Only(Family),
    /// Of the name with a final dot.
    Final(Family),
}

struct Job {
    key: Key,
    began: Instant,
    /// Since when a thread is at it.
    runs_since: Option<Instant>,
    waiting: Vec<(Arc<Slot>, Query)>,
}

struct Thread {
    namespaces: Option<sys::Namespaces>,
    /// The look-up that it is at, or is to begin; `None` while it is idle.
    job: Option<u64>,
}

impl Resolver {
    /// A resolver that asks `look` instead of the system: for the addresses of a name, of both
    /// families in one list, best first. It is called on separate threads and may block.
    ///
    /// Such a look-up has no help of look-ups a family, and addresses of families that the dial
    /// does not use are left out.
    pub fn custom(look: impl Fn(&str) -> LookupResult + Send + Sync + 'static) -> Resolver {
        Resolver::custom_with_hedges(move |name, query| match query {
            Query::Authority => look(name),
            Query::Hedge(_) => Err(LookupError::Unanswered),
        })
    }

    /// A resolver that answers every query of a dial, for tests.
    #[doc(hidden)]
    pub fn custom_with_hedges(
        look: impl Fn(&str, Query) -> LookupResult + Send + Sync + 'static,
    ) -> Resolver {
        Resolver::new(Look::Custom(Arc::new(look)))
    }

    /// A resolver that asks the system, with its own threads, and takes of each list of addresses
    /// what `filter` gives.
    #[doc(hidden)]
    pub fn system_filtered(
        filter: impl Fn(Vec<SocketAddr>) -> LookupResult + Send + Sync + 'static,
    ) -> Resolver {
        Resolver::new(Look::System(Arc::new(filter)))
    }

    fn new(look: Look) -> Resolver {
        Resolver { look, shared: PerProcess::new(ResolverShared::default()) }
    }

    /// Begins a look-up of these families, or joins one that began a moment ago; the answer comes
    /// to `slot`.
    pub(super) fn look_up(
        &self,
        name: &str,
        families: &[Family],
        query: Query,
        slot: &Arc<Slot>,
        now: Instant,
    ) {
        let question = match (query, families) {
            (Query::Hedge(family), _) => LookupQuestion::Final(family),
            (Query::Authority, &[family]) => LookupQuestion::Only(family),
            (Query::Authority, _) => LookupQuestion::Both,
        };
        if let LookupQuestion::Final(_) = question
            && matches!(self.look, Look::System(_))
            && !resolv_conf::is_hedged(name)
        {
            return slot.fill(query, Err(LookupError::Unanswered));
        }
        let namespaces = sys::namespaces();
        let key = Key { name: name.to_owned(), question, namespaces };
        let shared = self.shared();
        let mut state = shared.lock();
        if let Some(job) = state.joinable(&key, now) {
            job.waiting.push((Arc::clone(slot), query));
            return;
        }
        let waiting = vec![(Arc::clone(slot), query)];
        state.add(Job { key, began: now, runs_since: None, waiting });
        drop(state);
        self.start(&shared, namespaces, now);
    }

    /// Starts look-ups that wait for a thread, as far as the limits allow, and says when to call
    /// again: no thread watches the others.
    pub(super) fn relieve(&self, now: Instant) -> Option<Instant> {
        let shared = self.shared();
        if shared.lock().queue.is_empty() {
            return None;
        }
        self.start(&shared, sys::namespaces(), now)
    }

    /// Whether the look-up that counts for this slot has not begun, because of the limits.
    pub(super) fn is_queued(&self, slot: &Arc<Slot>) -> bool {
        let shared = self.shared();
        let state = shared.lock();
        state.queue.iter().any(|job| {
            let waiting = state.jobs.get(job).map(|job| &*job.waiting).unwrap_or_default();
            let counts = |query| query == Query::Authority;
            waiting.iter().any(|(waits, query)| counts(*query) && Arc::ptr_eq(waits, slot))
        })
    }

    /// Hands look-ups of these namespaces, in which this thread is, to threads.
    fn start(
        &self,
        shared: &Arc<ResolverShared>,
        namespaces: Option<sys::Namespaces>,
        now: Instant,
    ) -> Option<Instant> {
        loop {
            let mut state = shared.lock();
            let Some(job) = state.next_job(namespaces, now) else {
                return (!state.queue.is_empty()).then_some(now + RETRY);
            };
            let idle = |thread: &&mut Thread| {
                thread.job.is_none() && thread.namespaces == namespaces && namespaces.is_some()
            };
            if let Some(thread) = state.threads.values_mut().find(idle) {
                thread.job = Some(job);
                shared.given.notify_all();
                continue;
            }
            // Handed over here, so that no more threads are started than there are look-ups.
            let number = state.number();
            state.threads.insert(number, Thread { namespaces, job: Some(job) });
            drop(state);
            if let Err(error) = self.start_thread(shared, number) {
                shared.lock().not_started(number, job, &error);
                return Some(now + RETRY);
            }
        }
    }

    fn start_thread(&self, shared: &Arc<ResolverShared>, number: u64) -> std::io::Result<()> {
        let look = self.look.clone();
        let shared = Arc::clone(shared);
        sys::spawn("mailport-resolve", sys::LOOKUP_STACK, move || work(&look, &shared, number))
    }

    /// A forked child begins with no look-ups.
    fn shared(&self) -> Arc<ResolverShared> {
        self.shared.get(|_| ResolverShared::default())
    }
}

impl ResolverShared {
    fn lock(&self) -> MutexGuard<'_, ResolverState> {
        // Nothing panics while it holds the lock; if it did, the state would still be whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Job {
    fn is_wanted(&self) -> bool {
        self.waiting.iter().any(|(slot, _)| slot.is_wanted())
    }
}

impl ResolverState {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn add(&mut self, job: Job) {
        let number = self.number();
        self.latest.insert(job.key.clone(), number);
        self.jobs.insert(number, job);
        self.queue.push_back(number);
    }

    /// The look-up that a dial which begins now may share.
    fn joinable(&mut self, key: &Key, now: Instant) -> Option<&mut Job> {
        key.namespaces?;
        let number = self.latest.get(key)?;
        let job = self.jobs.get_mut(number)?;
        (job.runs_since.is_none() || now < job.began + JOINED).then_some(job)
    }

    /// Takes the next look-up of these namespaces from the queue, if the limits allow one.
    fn next_job(&mut self, namespaces: Option<sys::Namespaces>, now: Instant) -> Option<u64> {
        let jobs = &self.jobs;
        let is_unwanted = |number: &u64| jobs.get(number).is_none_or(|job| !job.is_wanted());
        let unwanted: Vec<u64> = self.queue.iter().copied().filter(is_unwanted).collect();
        self.queue.retain(|number| !unwanted.contains(number));
        for number in unwanted {
            self.end(number);
        }
        let jobs = &self.jobs;
        let is_here = |job: &Job| job.key.namespaces == namespaces;
        let place = self.queue.iter().position(|n| jobs.get(n).is_some_and(is_here))?;
        // One that is no longer needed does not count against the limit.
        let running = jobs.values().filter(|job| job.is_wanted());
        let running: Vec<Instant> = running.filter_map(|job| job.runs_since).collect();
        let young = running.iter().filter(|&&since| now < since + OLD).count();
        let busy = self.threads.values().filter(|thread| thread.job.is_some()).count();
        if young >= RUNNING || running.len() >= MOST_RUNNING || busy >= MOST_THREADS {
            return None;
        }
        let number = self.queue.remove(place)?;
        self.jobs.get_mut(&number)?.runs_since = Some(now);
        Some(number)
    }

    /// Forgets a look-up, and gives those who wait for it.
    fn end(&mut self, number: u64) -> Vec<(Arc<Slot>, Query)> {
        let Some(job) = self.jobs.remove(&number) else { return Vec::new() };
        if self.latest.get(&job.key) == Some(&number) {
            self.latest.remove(&job.key);
        }
        job.waiting
    }

    /// A thread could not be started: its look-up waits for another one to end or, where there is
    /// none, fails.
    fn not_started(&mut self, thread: u64, number: u64, error: &std::io::Error) {
        self.threads.remove(&thread);
        let namespaces = self.jobs.get(&number).and_then(|job| job.key.namespaces);
        let is_followed = self.threads.values().any(|other| {
            let job = other.job.and_then(|job| self.jobs.get(&job));
            other.namespaces == namespaces && job.is_some_and(Job::is_wanted)
        });
        if is_followed && let Some(job) = self.jobs.get_mut(&number) {
            job.runs_since = None;
            self.queue.push_front(number);
            return;
        }
        for (slot, query) in self.end(number) {
            slot.fill(query, Err(LookupError::NoThread(error.to_string())));
        }
    }
}

/// What a thread does: its first look-up, then others of its namespaces, until there have been none
/// for a while.
fn work(look: &Look, shared: &ResolverShared, number: u64) {
    let mut state = shared.lock();
    loop {
        let given =
            |state: &mut ResolverState| state.threads.get(&number).is_some_and(|t| t.job.is_none());
        (state, _) = shared
            .given
            .wait_timeout_while(state, IDLE, given)
            .unwrap_or_else(PoisonError::into_inner);
        let Some(job) = state.threads.get(&number).and_then(|thread| thread.job) else {
            // With the lock still held, so that the next look-up that is queued starts a thread.
            state.threads.remove(&number);
            return;
        };
        let key = state.jobs.get(&job).map(|job| job.key.clone());
        drop(state);
        let result = key.map(|key| {
            let ask = || look.ask(&key);
            panic::catch_unwind(AssertUnwindSafe(ask))
                .unwrap_or_else(|_| Err(LookupError::Failed("the look-up panicked".into())))
        });
        let waiting = shared.lock().end(job);
        if let Some(result) = result {
            for (slot, query) in waiting {
                slot.fill(query, result.clone());
            }
        }
        state = shared.lock();
        let namespaces = state.threads.get(&number).and_then(|thread| thread.namespaces);
        // Its own look-up no longer counts.
        let next = state.next_job(namespaces, Instant::now());
        if let Some(thread) = state.threads.get_mut(&number) {
            thread.job = next;
        }
        if next.is_none() && namespaces.is_none() {
            state.threads.remove(&number);
            return;
        }
    }
}

impl Look {
    fn ask(&self, key: &Key) -> LookupResult {
        match self {
            Look::System(filter) => key.ask_system().and_then(|list| filter(list)),
            Look::Custom(look) => look(&key.name, key.question.query()),
        }
    }
}

impl Key {
    fn ask_system(&self) -> LookupResult {
        let name = &self.name;
        match self.question {
            LookupQuestion::Both => sys::get_addr_info(name, None),
            LookupQuestion::Only(family) => sys::get_addr_info(name, Some(family)),
            // Counted here, for a look-up reads the settings when it runs.
            LookupQuestion::Final(_) if resolv_conf::ndots() > resolv_conf::dots(name) => {
                Err(LookupError::Unanswered)
            }
            LookupQuestion::Final(family) => {
                let name = format!("{}.", name.trim_end_matches('.'));
                sys::get_addr_info(&name, Some(family))
            }
        }
    }
}

impl LookupQuestion {
    fn query(self) -> Query {
        match self {
            LookupQuestion::Both | LookupQuestion::Only(_) => Query::Authority,
            LookupQuestion::Final(family) => Query::Hedge(family),
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
    answers: Vec<(Query, LookupResult)>,
}

impl Slot {
    pub(super) fn new(waker: Arc<OwnedFd>) -> Slot {
        Slot(Mutex::new(Inside { waker: Some(waker), answers: Vec::new() }))
    }

    /// The answers that have come since the last call.
    pub(super) fn take(&self) -> Vec<(Query, LookupResult)> {
        std::mem::take(&mut self.lock().answers)
    }

    /// Lets go of the waker: no answer is wanted any more.
    pub(super) fn empty(&self) {
        self.lock().waker = None;
    }

    /// Lets go of a slot in a forked child. False where a thread of the parent's has a part in it,
    /// and perhaps its lock, which no thread there releases: it then stays with all that is in it.
    pub(super) fn is_left_in_fork(slot: Arc<Slot>) -> bool {
        Arc::try_unwrap(slot).map_err(std::mem::forget).is_ok()
    }

    fn is_wanted(&self) -> bool {
        self.lock().waker.is_some()
    }

    fn fill(&self, query: Query, result: LookupResult) {
        let mut inside = self.lock();
        let Inside { waker: Some(waker), answers } = &mut *inside else { return };
        answers.push((query, result));
        // Under the lock: once the dial has emptied the slot, no thread writes to its descriptor.
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
    use std::thread;

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
        resolver.shared().lock().threads.len()
    }

    /// A resolver whose look-ups all wait until the sender is dropped, and a count of them.
    fn stuck() -> (Resolver, mpsc::Sender<()>, Arc<AtomicUsize>) {
        let (release, wait) = mpsc::channel::<()>();
        let wait = Mutex::new(wait);
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&calls);
        let open = Arc::new(OnceLock::new());
        let resolver = Resolver::custom(move |_| {
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
            Err(LookupError::NoSuchName)
        });
        (resolver, release, calls)
    }

    fn look_up(resolver: &Resolver, name: &str, slot: &Arc<Slot>, now: Instant) {
        resolver.look_up(name, &Family::ALL, Query::Authority, slot, now);
    }

    fn is_idle(resolver: &Resolver) -> bool {
        resolver.shared().lock().threads.values().all(|thread| thread.job.is_none())
    }

    #[test]
    fn a_look_up_starts_one_thread_which_ends_half_a_second_later() {
        let (resolver, release, calls) = stuck();
        let slot = slot();
        for number in 0..3 {
            look_up(&resolver, &format!("{number}.example"), &slot, Instant::now());
        }
        assert_eq!(threads(&resolver), 3, "whether or not they have begun yet");
        drop(release);
        wait_for(|| slot.lock().answers.len() == 3);
        wait_for(|| threads(&resolver) == 0);
        assert_eq!(calls.load(Ordering::SeqCst), 3);
    }

    #[test]
    fn a_thread_that_is_idle_takes_the_next_look_up() {
        let resolver = Resolver::custom(|_| Err(LookupError::NoAddress));
        let slot = slot();
        for number in 0..20 {
            look_up(&resolver, &format!("{number}.example"), &slot, Instant::now());
            wait_for(|| slot.lock().answers.len() == number + 1 && is_idle(&resolver));
        }
        // A machine that is held up may have let one go in between.
        assert!(threads(&resolver) <= 1);
    }

    #[test]
    fn one_look_up_serves_all_who_ask_within_a_second() {
        let (resolver, release, calls) = stuck();
        let slots: Vec<_> = (0..5).map(|_| slot()).collect();
        let now = Instant::now();
        for slot in &slots {
            look_up(&resolver, "mail.example", slot, now + JOINED / 2);
        }
        wait_for(|| calls.load(Ordering::SeqCst) == 1);
        let late = slot();
        look_up(&resolver, "mail.example", &late, now + 2 * JOINED);
        wait_for(|| calls.load(Ordering::SeqCst) == 2);
        drop(release);
        for slot in slots.iter().chain([&late]) {
            wait_for(|| !slot.lock().answers.is_empty());
        }
        assert_eq!(calls.load(Ordering::SeqCst), 2);
        let shared = resolver.shared();
        let state = shared.lock();
        assert!(state.jobs.len() + state.latest.len() == 0);
    }

    #[test]
    fn sixteen_run_at_once_and_old_ones_make_room_up_to_sixty_four() {
        let (resolver, release, calls) = stuck();
        let slot = slot();
        let start = Instant::now();
        for number in 0..100 {
            look_up(&resolver, &format!("{number}.example"), &slot, start);
        }
        wait_for(|| calls.load(Ordering::SeqCst) == 16);
        assert_eq!(threads(&resolver), 16);
        assert!(resolver.is_queued(&slot));
        let relief = resolver.relieve(start).expect("a time when the limits may allow more");
        assert!(relief > start);
        // Their age depends on the time that the caller passes, so the test need not wait.
        for (round, running) in [(1, 32), (2, 48), (3, 64), (4, 64)] {
            let later = Instant::now() + round * 2 * OLD;
            let shared = resolver.shared();
            let mut state = shared.lock();
            let running_now = state.jobs.values_mut().filter_map(|job| job.runs_since.as_mut());
            running_now.for_each(|since| *since = start);
            drop(state);
            resolver.relieve(later);
            wait_for(|| calls.load(Ordering::SeqCst) >= running);
            assert_eq!(threads(&resolver), running, "round {round}");
        }
        drop(release);
        wait_for(|| slot.lock().answers.len() == 100);
        assert!(!resolver.is_queued(&slot));
    }

    #[test]
    fn look_ups_that_are_no_longer_needed_do_not_count_against_the_limit() {
        let (resolver, release, calls) = stuck();
        let (gone, kept) = (slot(), slot());
        let now = Instant::now();
        for number in 0..16 {
            look_up(&resolver, &format!("{number}.example"), &gone, now);
        }
        look_up(&resolver, "last.example", &kept, now);
        wait_for(|| calls.load(Ordering::SeqCst) == 16);
        gone.empty();
        resolver.relieve(now);
        wait_for(|| calls.load(Ordering::SeqCst) == 17);
        drop(release);
    }

    #[test]
    fn a_look_up_that_is_not_needed_is_not_started() {
        let (resolver, release, calls) = stuck();
        let (kept, gone) = (slot(), slot());
        let now = Instant::now();
        for number in 0..16 {
            look_up(&resolver, &format!("{number}.example"), &kept, now);
        }
        wait_for(|| calls.load(Ordering::SeqCst) == 16);
        look_up(&resolver, "late.example", &gone, now);
        gone.empty();
        drop(release);
        wait_for(|| is_idle(&resolver));
        assert_eq!(calls.load(Ordering::SeqCst), 16);
        assert!(gone.take().is_empty() && resolver.shared().lock().jobs.len() == 0);
    }

    #[test]
    fn a_look_up_that_panics_is_a_failed_one() {
        let resolver = Resolver::custom(|_| panic!("in the look-up, as this test wants it"));
        let slot = slot();
        look_up(&resolver, "mail.example", &slot, Instant::now());
        wait_for(|| !slot.lock().answers.is_empty());
        assert!(matches!(&slot.take()[..], [(Query::Authority, Err(LookupError::Failed(_)))]));
    }

    #[test]
    fn a_name_that_a_search_list_may_mean_has_no_help() {
        let slot = slot();
        let (resolver, now) = (Resolver::default(), Instant::now());
        resolver.look_up("mail.local", &Family::ALL, Query::Hedge(Family::Ipv4), &slot, now);
        let answers = slot.take();
        let unanswered = (Query::Hedge(Family::Ipv4), Err(LookupError::Unanswered));
        assert_eq!(answers, [unanswered], "at once, and without a thread");
    }

    #[test]
    fn the_system_knows_localhost() {
        let slot = slot();
        look_up(&Resolver::default(), "localhost", &slot, Instant::now());
        wait_for(|| !slot.lock().answers.is_empty());
        let (_, result) = slot.take().remove(0);
        assert!(result.unwrap().iter().all(|address| address.ip().is_loopback()));
    }
}
