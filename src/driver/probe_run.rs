//! A probe under way on real sockets: each candidate in a dial of its own, and the one loop that
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
use super::prober::{Prober, Progress};
use super::resolver::Slot;
use super::sys;
use super::transport::direct;
use crate::config::Config;
use crate::error::ConnectError;
use crate::outcome::{Errno, Outcome};
use crate::plan::{Cleartext, Family, Plan, Service};
use crate::probe::{Answer, Probed};
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
    answers: Vec<Answer>,
    attempts: Vec<Attempt>,
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
        Probing { target, address, families, began: now, slot: None, answers, attempts, left: 0 }
    }

    fn into_probed(self, plan: &Plan) -> Probed {
        let Probing { target, mut answers, attempts, .. } = self;
        answers.sort_by_key(|answer| answer.family);
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

/// Hosts on their way.
pub(super) struct Run<'a, F> {
    prober: &'a Prober,
    config: Config,
    poll: Poll,
    events: Events,
    /// Wakes the poll when a look-up was answered.
    waker: Arc<OwnedFd>,
    hosts: Vec<Probing>,
    /// The hosts from here on have not begun.
    next_host: usize,
    /// The hosts whose names are being looked up.
    looked_up: Vec<usize>,
    queue: VecDeque<Candidate>,
    /// By a number that is never used twice: an event on its way could find the wrong one.
    dials: BTreeMap<usize, Open>,
    next_dial: usize,
    /// How many dials there may be at once.
    limit: usize,
    count: Progress,
    progress: F,
}

impl<'a, F: FnMut(Progress)> Run<'a, F> {
    pub(super) fn new(
        prober: &'a Prober,
        config: Config,
        hosts: Vec<Probing>,
        progress: F,
    ) -> io::Result<Run<'a, F>> {
        let poll = Poll::new()?;
        let waker = Arc::new(sys::event()?);
        poll.registry().register(&mut SourceFd(&waker.as_raw_fd()), WAKER, Interest::READABLE)?;
        Ok(Run {
            prober,
            config,
            poll,
            events: Events::with_capacity(MAX_OPEN),
            waker,
            count: Progress { hosts: hosts.len(), ..Progress::default() },
            hosts,
            next_host: 0,
            looked_up: Vec::new(),
            queue: VecDeque::new(),
            dials: BTreeMap::new(),
            next_dial: 0,
            limit: MAX_OPEN,
            progress,
        })
    }

    /// Starts what there is room for, and says whether anything is under way. A host begins when
    /// every candidate known so far has been started, so that few are known and not started.
    pub(super) fn admit(&mut self) -> bool {
        if self.looked_up.is_empty() {
            // What look-ups held has been given back.
            self.limit = self.limit.max(1);
        }
        loop {
            if self.dials.len() >= self.limit {
                break;
            } else if let Some(candidate) = self.queue.pop_front() {
                self.start(candidate);
            } else if self.next_host < self.hosts.len() && self.looked_up.len() < MAX_LOOKED_UP {
                self.next_host += 1;
                self.begin(self.next_host - 1);
            } else {
                break;
            }
        }
        let begun = &self.hosts[..self.next_host];
        self.count.hosts_done = begun.iter().filter(|h| h.left == 0 && h.slot.is_none()).count();
        (self.progress)(self.count);
        !self.dials.is_empty() || !self.looked_up.is_empty()
    }

    /// What was found, in the order of the hosts.
    pub(super) fn into_probed(self) -> Vec<Probed> {
        self.hosts.into_iter().map(|host| host.into_probed(&self.prober.plan)).collect()
    }

    /// Looks a host up, or takes its address as the answer.
    fn begin(&mut self, index: usize) {
        let now = Instant::now();
        let host = &mut self.hosts[index];
        host.began = now;
        let Host::Name(name) = host.target.host() else {
            let (family, addresses) = (host.families[0], host.address.into_iter().collect());
            return self.answered(index, family, Ok(addresses), Some(Duration::ZERO));
        };
        let slot = host.slot.insert(Arc::new(Slot::new(Arc::clone(&self.waker))));
        for &family in &host.families {
            self.prober.dialer.resolver.look_up(name, family, slot, now);
        }
        self.looked_up.push(index);
    }

    fn answered(
        &mut self,
        index: usize,
        family: Family,
        addresses: Result<Vec<SocketAddr>, LookupError>,
        ended: Option<Duration>,
    ) {
        let host = &mut self.hosts[index];
        let mut answer = Answer::new(family, ended, addresses, None);
        let first = answer.list().first().copied();
        answer.source = first.and_then(|first| direct::source_towards(first, &self.prober.config));
        let services = self.prober.plan.services().iter().filter(|s| s.allows(family));
        for &service in services {
            for &address in answer.list() {
                let mut address = address;
                address.set_port(service.port());
                self.queue.push_back(Candidate { host: index, service, address });
                host.left += 1;
                self.count.candidates += 1;
            }
        }
        host.answers.push(answer);
    }

    /// Takes the answers that have come, and gives up those that are too late.
    fn take_answers(&mut self, now: Instant) {
        for index in std::mem::take(&mut self.looked_up) {
            let host = &self.hosts[index];
            let Some(slot) = host.slot.clone() else { continue };
            let since = now - host.began;
            for (family, addresses) in slot.take() {
                self.answered(index, family, addresses, Some(since));
            }
            let host = &self.hosts[index];
            let known = |family: &Family| host.answers.iter().any(|a| a.family == *family);
            let pending: Vec<Family> =
                host.families.iter().copied().filter(|family| !known(family)).collect();
            // As long as a dial would wait: a name service that lost one packet answers after 5 s.
            if !pending.is_empty() && since < self.prober.config.timeout {
                self.looked_up.push(index);
                continue;
            }
            slot.empty();
            self.hosts[index].slot = None;
            for family in pending {
                self.answered(index, family, Err(LookupError::Unanswered), None);
            }
        }
    }

    fn start(&mut self, candidate: Candidate) {
        let began = Instant::now();
        let plan = Plan::new([candidate.service], Cleartext::Allow)
            .expect("one service that the caller's plan has makes a plan");
        let Some(target) = literal(candidate.address) else {
            // As the kernel says of a link-local address without a zone.
            let error = io::Error::from_raw_os_error(libc::EINVAL);
            return self.ended(candidate, began, Err(ConnectError::Setup(error)));
        };
        let dial = self.prober.dialer.prepare(&target, &plan, &self.config);
        let registered = dial.and_then(|mut dial| {
            dial.without_second_attempts();
            let raw = dial.as_raw_fd();
            let mut source = SourceFd(&raw);
            let token = Token(self.next_dial);
            let registered = self.poll.registry().register(&mut source, token, Interest::READABLE);
            registered.map(|()| dial).map_err(ConnectError::Setup)
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
        let due =
            self.looked_up.iter().map(|&host| self.hosts[host].began + self.prober.config.timeout);
        // Look-ups that found every thread busy want to be looked after.
        let relief = (!self.looked_up.is_empty())
            .then(|| self.prober.dialer.resolver.relieve(now))
            .flatten();
        let due = due.chain(relief).map(|at| at.saturating_duration_since(now));
        let timeout = self.dials.values().filter_map(|open| open.dial.timeout()).chain(due).min();
        // A signal ends the wait early, which does no harm; nothing else can fail here.
        let _ = self.poll.poll(&mut self.events, timeout);
        let ready = self.events.iter().map(|event| event.token().0);
        let due = self.dials.iter().filter(|(_, open)| open.dial.timeout() == Some(Duration::ZERO));
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
        let _ = self.poll.registry().deregister(&mut SourceFd(&dial.as_raw_fd()));
        let result = match dial.take() {
            // The socket is closed here, and nothing was sent.
            Ok(connected) => Ok(connected.report),
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
        if lacks_something && !(self.dials.is_empty() && self.looked_up.is_empty()) {
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

/// An address as a target of its own; `None` where it cannot be one.
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
