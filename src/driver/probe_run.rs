//! A probe under way on real sockets: each candidate in a separate dial, and the one loop that
//! waits for them all.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use super::dial::{Dial, Status};
use super::dialer::Dialer;
use super::resolver::Slot;
use super::stream::Stream;
use super::sys;
use super::transport::direct;
use crate::error::ConnectError;
use crate::machine::{LOOKUP_HEDGE, Query};
use crate::outcome::{Errno, Outcome};
use crate::plan::{Cleartext, Family, Plan, Service};
use crate::probe::{LookedUp, Probed};
use crate::report::{Attempt, End, LookupError, Reason, Report, Stage};
use crate::target::{Host, Target};

/// The most candidates that are tried at once: each takes two descriptors, and 1,024 are customary.
const MAX_OPEN: usize = 64;
/// The most hosts whose names are looked up at once, in two look-ups each: as many as the resolver
/// has threads would only make them wait for each other.
const MAX_LOOKED_UP: usize = 8;
/// The waker's token; attempts count up from 0 and never come this far.
const WAKER: Token = Token(usize::MAX - 1);

/// A host under way.
pub(super) struct Probing {
    target: Target,
    /// Where the target is none to be looked up.
    address: Option<SocketAddr>,
    families: Vec<Family>,
    began: Instant,
    /// Where look-ups leave their answers; `None` before and after them.
    slot: Option<Arc<Slot>>,
    answers: Vec<LookedUp>,
    attempts: Vec<Attempt>,
    /// Whether the look-ups of one family have been started.
    is_hedged: bool,
    /// Candidates that have not been tried yet.
    left: usize,
}

impl Probing {
    pub(super) fn new(
        target: Target,
        address: Option<SocketAddr>,
        families: Vec<Family>,
        now: Instant,
    ) -> Probing {
        let (answers, attempts) = (Vec::new(), Vec::new());
        let (began, slot, is_hedged, left) = (now, None, false, 0);
        Probing { target, address, families, began, slot, answers, attempts, is_hedged, left }
    }

    fn answer(&self, query: Query) -> Option<&LookedUp> {
        self.answers.iter().find(|answer| answer.query == query)
    }

    /// Whether the answers of this host are final, as they would be for a dial.
    fn is_looked_up(&self) -> bool {
        let Some(authority) = self.answer(Query::Authority) else { return false };
        let all_hedges = || self.families.iter().all(|&f| self.answer(Query::Hedge(f)).is_some());
        !authority.addresses.as_ref().is_err_and(LookupError::is_temporary) || all_hedges()
    }

    /// Whether the look-ups of one family are due, so long after the beginning.
    fn is_hedged_at(&self, since: Duration) -> bool {
        !self.is_hedged && (since >= LOOKUP_HEDGE || self.answer(Query::Authority).is_some())
    }

    fn into_probed(self, plan: &Plan) -> Probed {
        let Probing { target, mut answers, attempts, .. } = self;
        answers.sort_by_key(|answer| answer.query);
        let mut probed = Probed::new(target, answers, Vec::new());
        let order = probed.candidates(plan);
        let place = |attempt: &Attempt| {
            order.iter().position(|&(_, address)| attempt.address == Some(address))
        };
        probed.attempts = attempts;
        probed.attempts.sort_by_key(place);
        probed
    }
}

/// A service at an address of a host.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    host: usize,
    service: Service,
    address: SocketAddr,
}

struct Open {
    candidate: Candidate,
    began: Instant,
    dial: Dial,
}

/// How far a probe has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ProbeProgress {
    /// Hosts altogether.
    pub hosts: usize,
    /// Hosts of which everything is known.
    pub hosts_done: usize,
    /// Candidates that are known of so far.
    pub candidates: usize,
    /// Candidates that have been tried.
    pub done: usize,
}

/// Hosts on their way.
pub(super) struct Run<P, C> {
    /// With the plan and the settings of the caller.
    dialer: Dialer,
    /// The dialer of one candidate, but for its plan.
    of_one: Dialer,
    poll: Poll,
    events: Events,
    /// Wakes the poll when a look-up was answered.
    waker: Arc<OwnedFd>,
    hosts: Vec<Probing>,
    /// The hosts from here on have not begun.
    next_host: usize,
    /// The hosts whose names are being looked up.
    looking_up: Vec<usize>,
    queue: VecDeque<Candidate>,
    /// By a number that is never used twice: an event on its way could find the wrong one.
    dials: BTreeMap<usize, Open>,
    next_dial: usize,
    /// How many dials there may be at once.
    limit: usize,
    count: ProbeProgress,
    progress: P,
    /// Takes over a connection of a host.
    connected: C,
}

impl<P, C> Run<P, C>
where
    P: FnMut(ProbeProgress),
    C: FnMut(usize, Service, SocketAddr, Stream),
{
    pub(super) fn new(
        dialer: Dialer,
        of_one: Dialer,
        hosts: Vec<Probing>,
        progress: P,
        connected: C,
    ) -> io::Result<Run<P, C>> {
        let poll = Poll::new()?;
        let waker = Arc::new(sys::event()?);
        poll.registry().register(&mut SourceFd(&waker.as_raw_fd()), WAKER, Interest::READABLE)?;
        Ok(Run {
            dialer,
            of_one,
            poll,
            events: Events::with_capacity(MAX_OPEN),
            waker,
            count: ProbeProgress { hosts: hosts.len(), ..ProbeProgress::default() },
            hosts,
            next_host: 0,
            looking_up: Vec::new(),
            queue: VecDeque::new(),
            dials: BTreeMap::new(),
            next_dial: 0,
            limit: MAX_OPEN,
            progress,
            connected,
        })
    }

    /// Starts what there is room for, and says whether anything is under way. A host begins when
    /// every candidate known so far has been started, so that few are known and not started.
    pub(super) fn admit(&mut self) -> bool {
        if self.looking_up.is_empty() {
            // What look-ups held has been given back.
            self.limit = self.limit.max(1);
        }
        loop {
            if self.dials.len() >= self.limit {
                break;
            } else if let Some(candidate) = self.queue.pop_front() {
                self.start(candidate);
            } else if self.next_host < self.hosts.len() && self.looking_up.len() < MAX_LOOKED_UP {
                self.next_host += 1;
                self.begin(self.next_host - 1);
            } else {
                break;
            }
        }
        let begun = &self.hosts[..self.next_host];
        self.count.hosts_done = begun.iter().filter(|h| h.left == 0 && h.slot.is_none()).count();
        (self.progress)(self.count);
        !self.dials.is_empty() || !self.looking_up.is_empty()
    }

    /// What was found, in the order of the hosts.
    pub(super) fn into_probed(self) -> Vec<Probed> {
        self.hosts.into_iter().map(|host| host.into_probed(self.dialer.plan())).collect()
    }

    /// Looks a host up, or takes its address as the answer.
    fn begin(&mut self, index: usize) {
        let now = Instant::now();
        let host = &mut self.hosts[index];
        host.began = now;
        let Host::Name(name) = host.target.host() else {
            let addresses = Ok(host.address.into_iter().collect());
            self.answered(index, Query::Authority, addresses, Some(Duration::ZERO));
            return self.looked_up(index);
        };
        let slot = host.slot.insert(Arc::new(Slot::new(Arc::clone(&self.waker))));
        let (resolver, families) = (&self.dialer.resolver, &host.families);
        resolver.look_up(name, families, Query::Authority, slot, now);
        self.looking_up.push(index);
    }

    fn answered(
        &mut self,
        index: usize,
        query: Query,
        addresses: Result<Vec<SocketAddr>, LookupError>,
        ended: Option<Duration>,
    ) {
        let host = &mut self.hosts[index];
        let answer = LookedUp::new(query, &host.families, ended, addresses);
        let routes = direct::routes(answer.list(), self.dialer.config());
        host.answers.push(answer.with_routes(routes));
    }

    /// Queues every candidate of a host whose name has been looked up.
    fn looked_up(&mut self, index: usize) {
        let host = &mut self.hosts[index];
        let probed = Probed::new(host.target.clone(), host.answers.clone(), Vec::new());
        for (service, address) in probed.candidates(self.dialer.plan()) {
            self.queue.push_back(Candidate { host: index, service, address });
            host.left += 1;
            self.count.candidates += 1;
        }
    }

    /// Takes the answers that have come, and gives up those that are too late.
    fn take_answers(&mut self, now: Instant) {
        for index in std::mem::take(&mut self.looking_up) {
            let Some(slot) = self.hosts[index].slot.clone() else { continue };
            let since = now - self.hosts[index].began;
            for (query, addresses) in slot.take() {
                self.answered(index, query, addresses, Some(since));
            }
            // As long as a dial would wait: a name service that lost one packet answers after 5 s.
            let is_over = since >= self.dialer.config().timeout;
            let host = &self.hosts[index];
            if !is_over && !host.is_looked_up() {
                if host.is_hedged_at(since) {
                    self.hedge(index, &slot, now);
                }
                self.looking_up.push(index);
                continue;
            }
            slot.empty();
            self.hosts[index].slot = None;
            if self.hosts[index].answer(Query::Authority).is_none() {
                self.answered(index, Query::Authority, Err(LookupError::Unanswered), None);
            }
            self.looked_up(index);
        }
    }

    /// Starts the look-ups of one family, when a dial would.
    fn hedge(&mut self, index: usize, slot: &Arc<Slot>, now: Instant) {
        let host = &mut self.hosts[index];
        host.is_hedged = true;
        let Host::Name(name) = host.target.host() else { return };
        let resolver = &self.dialer.resolver;
        for &family in &host.families {
            resolver.look_up(name, &host.families, Query::Hedge(family), slot, now);
        }
    }

    fn start(&mut self, candidate: Candidate) {
        let began = Instant::now();
        let plan = Plan::new([candidate.service], Cleartext::Allow)
            .expect("one service that the caller's plan has makes a plan");
        let Some(target) = literal(candidate.address) else {
            // As the kernel says of a link-local address without a zone.
            let error = io::Error::from_raw_os_error(libc::EINVAL);
            return self.ended(
                candidate,
                began,
                Err(ConnectError::Setup { what: "the address is no target", source: error }),
            );
        };
        let dial = self.of_one.clone().with_plan(plan).start(&target);
        let registered = dial.and_then(|mut dial| {
            dial.without_second_attempts();
            let raw = dial.descriptor_without_timer()?.as_raw_fd();
            let token = Token(self.next_dial);
            let registry = self.poll.registry();
            let registered = registry.register(&mut SourceFd(&raw), token, Interest::READABLE);
            let what = "no place for a dial in epoll";
            registered.map_err(|source| ConnectError::Setup { what, source })?;
            Ok(dial)
        });
        match registered {
            Ok(dial) => {
                self.dials.insert(self.next_dial, Open { candidate, began, dial });
                self.next_dial += 1;
                self.process(self.next_dial - 1);
            }
            Err(error) => self.ended(candidate, began, Err(error)),
        }
    }

    /// Waits until something has happened or is due, and lets those it concerns go on.
    pub(super) fn wait(&mut self) {
        let now = Instant::now();
        let due = self.looking_up.iter().map(|&host| {
            let host = &self.hosts[host];
            let wait = if host.is_hedged { self.dialer.config().timeout } else { LOOKUP_HEDGE };
            host.began + wait.min(self.dialer.config().timeout)
        });
        // Look-ups that found every thread busy want to be looked after.
        let relief =
            (!self.looking_up.is_empty()).then(|| self.dialer.resolver.relieve(now)).flatten();
        let due = due.chain(relief).map(|at| at.saturating_duration_since(now));
        let timeout =
            self.dials.values().filter_map(|open| open.dial.poll_timeout()).chain(due).min();
        // A signal ends the wait early, which does no harm; nothing else can fail here.
        let _ = self.poll.poll(&mut self.events, timeout);
        let ready = self.events.iter().map(|event| event.token().0);
        let due =
            self.dials.iter().filter(|(_, open)| open.dial.poll_timeout() == Some(Duration::ZERO));
        let mut turns: Vec<usize> = ready.chain(due.map(|(&number, _)| number)).collect();
        turns.sort_unstable();
        turns.dedup();
        for number in turns {
            self.process(number);
        }
        self.take_answers(Instant::now());
    }

    fn process(&mut self, number: usize) {
        let Some(open) = self.dials.get_mut(&number) else { return };
        if open.dial.process() == Status::Pending {
            return;
        }
        let Some(Open { candidate, began, mut dial }) = self.dials.remove(&number) else { return };
        if let Ok(watched) = dial.descriptor_without_timer() {
            let _ = self.poll.registry().deregister(&mut SourceFd(&watched.as_raw_fd()));
        }
        let result = match dial.take() {
            Ok(connected) => {
                let Candidate { host, service, address } = candidate;
                (self.connected)(host, service, address, connected.stream);
                Ok(connected.report)
            }
            Err(ConnectError::Failed(report)) => Ok(*report),
            Err(error) => Err(error),
        };
        drop(dial);
        self.ended(candidate, began, result);
    }

    /// Keeps the attempt of a candidate, or puts it back where it failed for a want of our own that
    /// will be less when others have ended.
    fn ended(
        &mut self,
        candidate: Candidate,
        began: Instant,
        result: Result<Report, ConnectError>,
    ) {
        let lacks_something = match &result {
            Ok(report) => report.end == Some(End::LocalResourceError),
            Err(error) => error.errno().is_some_and(Errno::is_local_resource_error),
        };
        // Others have what it lacks, and will give it back.
        if lacks_something && !(self.dials.is_empty() && self.looking_up.is_empty()) {
            self.limit = self.dials.len();
            return self.queue.push_front(candidate);
        }
        let host = &mut self.hosts[candidate.host];
        let offset = began - host.began;
        let errno = result.as_ref().err().and_then(ConnectError::errno);
        let attempt = result.ok().and_then(|report| report.attempts.into_iter().next());
        let attempt = attempt.unwrap_or_else(|| not_even_begun(errno));
        host.attempts.push(Attempt {
            service: candidate.service,
            family: Some(Family::from(candidate.address.ip())),
            address: Some(candidate.address),
            started: offset + attempt.started,
            connected: attempt.connected.map(|at| offset + at),
            ended: offset + attempt.ended,
            reason: Reason::Probe,
            ..attempt
        });
        host.left -= 1;
        self.count.done += 1;
    }
}

/// The attempt of a candidate that this machine has not even a socket for.
fn not_even_begun(errno: Option<Errno>) -> Attempt {
    Attempt {
        service: Plan::default().services()[0],
        family: None,
        address: None,
        stage: Stage::Connect,
        started: Duration::ZERO,
        connected: None,
        ended: Duration::ZERO,
        outcome: Some(Outcome::Local),
        errno,
        icmp: None,
        via_error: None,
        note: None,
        greeting: None,
        syns: None,
        reason: Reason::Probe,
    }
}

/// An address as a target; `None` where it cannot be one.
fn literal(address: SocketAddr) -> Option<Target> {
    let zone = match address {
        SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() => v6.scope_id(),
        _ => 0,
    };
    let text = match zone {
        0 => address.ip().to_string(),
        zone => format!("{}%{zone}", address.ip()),
    };
    text.parse().ok()
}
