//! The loop around the machine, and its sockets.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mailport::machine::{self, Action, AttemptId, Event, Machine, Query};
use mailport::outcome::{Errno, Failure, ViaError};
use mailport::report::LookupError;
use mailport::{Family, Outcome};

use super::history::{self, Entry, History, What};
use super::kernel::{self, Ending, SYNS};
use super::{Answer, Clock, Far, World};
use crate::Fate;

/// More turns than this at one instant are a machine that spins.
const MAX_TURNS: usize = 200;
/// More instants than this are a dial that never ends.
const MAX_INSTANTS: usize = 10_000;

/// Takes a dial that began at `start` to its end.
pub(super) fn run(world: &World, machine: Machine, start: Instant, greeting_wait: bool) -> History {
    let seed = match world.clock {
        Clock::Exact => 1,
        Clock::Restless(seed) | Clock::Late { seed, .. } => seed | 1,
    };
    let mut run = Run {
        world,
        machine,
        start,
        greeting_wait,
        now: Duration::ZERO,
        asked: None,
        coming: Vec::new(),
        sockets: Vec::new(),
        lost: BTreeMap::new(),
        log: Vec::new(),
        dice: Dice(seed),
    };
    run.until_the_end();
    run.check_that_it_stays();
    History { log: run.log, report: run.machine.report(), observations: run.machine.observations() }
}

/// One dial on its way.
struct Run<'w> {
    world: &'w World,
    machine: Machine,
    start: Instant,
    /// Whether the machine waits for a greeting.
    greeting_wait: bool,
    now: Duration,
    /// The question that stands.
    asked: Option<u32>,
    /// What the world has set in motion, in no order.
    coming: Vec<(Duration, Coming)>,
    /// By the number of the attempt.
    sockets: Vec<Socket>,
    /// How many SYNs to a port were lost, where some are.
    lost: BTreeMap<SocketAddr, u32>,
    log: Vec<Entry>,
    dice: Dice,
}

#[derive(Debug, Clone, Copy)]
enum Coming {
    Answer(Query),
    /// A SYN to a port that loses some, by its number within the attempt.
    Syn(AttemptId, usize),
    Connected(AttemptId),
    Confirmed(AttemptId),
    Greeted(AttemptId),
    Said(u32, machine::Answer),
    Failed(AttemptId, Failure),
}

#[derive(Clone, Copy)]
struct Socket {
    /// `None` through a proxy.
    address: Option<SocketAddr>,
    started: Duration,
    /// When the handshake was done: no SYN is sent after that.
    connected: Option<Duration>,
    is_open: bool,
}

impl Run<'_> {
    fn until_the_end(&mut self) {
        for _ in 0..MAX_INSTANTS {
            self.instant();
            if let Some(end) = self.machine.outcome() {
                self.note(What::End(end));
                return;
            }
            let due = self.machine.deadline().map(|at| at - self.start);
            if due.is_some_and(|due| due <= self.now) {
                self.fail("asks to be called again at once, without end");
            }
            let next = self.coming.iter().map(|&(at, _)| at).chain(due).min();
            let next = next.unwrap_or_else(|| self.fail("no result, and nothing to wait for"));
            self.now = self.turn_at(next);
        }
        self.fail("never ends");
    }

    /// When the loop turns next, if something is due at `next`.
    fn turn_at(&mut self, next: Duration) -> Duration {
        match self.world.clock {
            Clock::Restless(_) if self.dice.below(2) == 0 => {
                self.now + self.dice.part_of(next.saturating_sub(self.now))
            }
            Clock::Exact | Clock::Restless(_) => next,
            Clock::Late { by, .. } => next + self.dice.part_of(by),
        }
    }

    /// Turns as often as one instant needs: what an action brings at once is an event.
    fn instant(&mut self) {
        for _ in 0..MAX_TURNS {
            self.take_in();
            self.machine.handle_timeout(self.start + self.now);
            self.carry_out();
            self.look_for_a_question();
            let more = self.coming.iter().any(|&(at, _)| at <= self.now);
            if !more || self.machine.outcome().is_some() {
                return;
            }
        }
        self.fail("spins");
    }

    fn take_in(&mut self) {
        let mut events: Vec<(Duration, Coming)> =
            self.coming.extract_if(.., |&mut (at, _)| at <= self.now).collect();
        events.sort_by_key(|&(at, _)| at);
        if let Clock::Restless(_) = self.world.clock {
            for last in (1..events.len()).rev() {
                events.swap(last, self.dice.below(last + 1));
            }
            // What the order of facts forbids: confirmed before connected.
            events.sort_by_key(|(_, coming)| match coming {
                Coming::Confirmed(_) => 1,
                Coming::Greeted(_) => 2,
                _ => 0,
            });
        }
        for (_, event) in events {
            self.happen(event);
        }
    }

    fn happen(&mut self, coming: Coming) {
        match coming {
            Coming::Answer(query) => self.answer(query),
            Coming::Syn(attempt, number) => self.syn(attempt, number),
            Coming::Connected(attempt) => {
                if !self.socket(attempt).is_open {
                    return;
                }
                self.socket(attempt).connected = Some(self.now);
                self.note(What::Connected { attempt });
                let syns = Some(self.syns(attempt));
                let round_trip = self.world.network.round_trip;
                self.handle(Event::Connected { attempt, round_trip, syns });
                self.serve(attempt);
            }
            Coming::Confirmed(attempt) => {
                if self.socket(attempt).is_open {
                    self.note(What::Confirmed { attempt });
                    self.handle(Event::Confirmed { attempt });
                }
            }
            Coming::Greeted(attempt) => {
                if self.socket(attempt).is_open {
                    self.note(What::Greeted { attempt });
                    self.handle(Event::Greeted { attempt });
                }
            }
            Coming::Said(question, answer) => {
                let stands = self.machine.question().is_some_and(|q| q.number == question);
                let now = self.start + self.now;
                if self.machine.answer(question, answer, now).is_ok() != stands {
                    self.fail("takes an answer to a question that does not stand");
                }
                if stands {
                    self.asked = None;
                    self.note(What::Said(answer));
                }
            }
            // A connect that was given up, but for the handshake.
            Coming::Failed(attempt, Failure { outcome: Outcome::Timeout, .. })
                if self.socket(attempt).connected.is_some() => {}
            Coming::Failed(attempt, failure) => {
                if self.socket(attempt).is_open {
                    self.socket(attempt).is_open = false;
                    self.note(What::Failed { attempt, failure });
                    let syns = Some(self.syns(attempt));
                    self.handle(Event::Failed { attempt, failure, syns });
                }
            }
        }
    }

    /// Sends a SYN to a port that loses some: an answer follows, or the next SYN.
    fn syn(&mut self, attempt: AttemptId, number: usize) {
        let Socket { address, started, is_open, .. } = *self.socket(attempt);
        let Some(address) = address.filter(|_| is_open) else { return };
        let Fate::LoseSyns(count) = self.world.network.fate(address.ip(), address.port()) else {
            return;
        };
        let lost = self.lost.entry(address).or_default();
        if *lost >= count {
            let answered = started + SYNS[number] + self.world.network.round_trip;
            self.coming.push((answered, Coming::Connected(attempt)));
        } else {
            *lost += 1;
            let next = SYNS.get(number + 1).map(|&at| started + at);
            self.coming.extend(next.map(|at| (at, Coming::Syn(attempt, number + 1))));
        }
    }

    /// The server learns of the handshake half a round trip later, and what it does then takes
    /// another half to be seen.
    fn serve(&mut self, attempt: AttemptId) {
        let Some(address) = self.socket(attempt).address else { return };
        let seen = self.now + self.world.network.round_trip;
        let fate = self.world.network.fate(address.ip(), address.port());
        if let Fate::AcceptThenClose(delay) = fate {
            let closed = Failure::new(Outcome::Closed);
            self.coming.push((seen + delay, Coming::Failed(attempt, closed)));
        }
        match self.world.greet_pause {
            // Nothing is asked of a direct dial: it says so in the same turn.
            _ if self.greeting_wait => {
                self.happen(Coming::Confirmed(attempt));
                let greeted = seen + self.world.greet_pause.unwrap_or_default();
                if !matches!(fate, Fate::AcceptThenClose(_)) {
                    self.coming.push((greeted, Coming::Greeted(attempt)));
                }
            }
            None => self.happen(Coming::Confirmed(attempt)),
            Some(pause) => self.coming.push((seen + pause, Coming::Confirmed(attempt))),
        }
    }

    fn answer(&mut self, query: Query) {
        let result = match self.world.names.of(query, self.machine.families()) {
            Answer::Addresses { mut list, .. } => {
                // > Rule 1: Avoid unusable destinations. (RFC 6724 section 6)
                list.sort_by_key(|&ip| self.world.source(Family::from(ip)).is_none());
                Ok(list)
            }
            Answer::Fails { error, .. } => Err(error),
            Answer::Never => return,
        };
        let list = result.as_deref().unwrap_or_default();
        let has_route = |family: &Family| {
            self.world.source(*family).is_some() && list.iter().any(|&a| Family::from(a) == *family)
        };
        let routes = Family::ALL.into_iter().filter(has_route).collect();
        self.note(What::Answered { query, result: result.clone() });
        let addresses =
            result.map(|list| list.into_iter().map(|ip| SocketAddr::new(ip, 0)).collect());
        self.handle(Event::Resolved { query, addresses, routes });
    }

    fn carry_out(&mut self) {
        while let Some(action) = self.machine.poll_action() {
            match action {
                Action::Resolve { query } => {
                    let answer = self.world.names.of(query, self.machine.families());
                    let at = answer.after().map(|after| self.now + after);
                    self.coming.extend(at.map(|at| (at, Coming::Answer(query))));
                }
                Action::Connect { attempt, address } => self.connect(attempt, address),
                Action::Through { attempt, port } => self.through(attempt, port),
                Action::Close { attempt } => self.close(attempt),
            }
        }
    }

    /// Sees to it that a new question is answered, and notes what became of the last one.
    fn look_for_a_question(&mut self) {
        let stands = self.machine.question();
        let number = stands.as_ref().map(|question| question.number);
        if number == self.asked {
            return;
        }
        if self.asked.is_some() {
            self.note(What::Withdrawn);
        }
        self.asked = number;
        let Some(question) = stands else { return };
        if self.machine.deadline().is_some() {
            self.fail("something is due while a question stands");
        }
        let index = question.number as usize - 1;
        if let Some(&(after, answer)) = self.world.answers.get(index) {
            self.coming.push((self.now + after, Coming::Said(question.number, answer)));
        }
        let (next, words) = (question.next, question.to_string());
        self.note(What::Asked { question: question.number, next, words });
    }

    /// The proxy is one round trip away, and the target another.
    fn through(&mut self, attempt: AttemptId, port: u16) {
        let socket = Socket { address: None, started: self.now, connected: None, is_open: true };
        self.sockets.push(socket);
        self.note(What::Through { attempt, port });
        let far = self.world.through.as_ref().and_then(|ports| ports.get(&port));
        let far = *far.unwrap_or(&Far::Silent);
        let round_trip = self.world.network.round_trip;
        let (near, replied) = (self.now + round_trip, self.now + 3 * round_trip);
        let pause = self.world.greet_pause.unwrap_or_default();
        let closed = Coming::Failed(attempt, Failure::new(Outcome::Closed));
        let connected = (near, Coming::Connected(attempt));
        let confirmed = (replied, Coming::Confirmed(attempt));
        let greeted = (replied + round_trip + pause, Coming::Greeted(attempt));
        let coming = match far {
            Far::Opens => vec![connected, confirmed, greeted],
            Far::AcceptsThenCloses => vec![connected, confirmed, (replied + round_trip, closed)],
            Far::AcceptsThenSilent => vec![connected, confirmed],
            Far::Silent => vec![connected],
            Far::Fails(ViaError::Unreachable) => {
                vec![(
                    near,
                    Coming::Failed(attempt, Failure::from_via_error(ViaError::Unreachable)),
                )]
            }
            Far::Fails(error) => {
                vec![connected, (replied, Coming::Failed(attempt, Failure::from_via_error(error)))]
            }
        };
        self.coming.extend(coming);
    }

    fn connect(&mut self, attempt: AttemptId, address: SocketAddr) {
        if attempt.0 != self.sockets.len() {
            self.fail("attempts are numbered in the order of their start");
        }
        let is_again = self.sockets.iter().any(|socket| socket.address == Some(address));
        let socket =
            Socket { address: Some(address), started: self.now, connected: None, is_open: true };
        self.sockets.push(socket);
        self.note(What::Connect { attempt, address });
        let family = Family::from(address.ip());
        let trouble = match self.world.source(family) {
            None => Some(Errno(libc::ENETUNREACH)),
            Some(_) if is_again && self.world.trouble_again.is_some() => self.world.trouble_again,
            Some(_) => self.world.troubles.get(&address).copied(),
        };
        let (after, ending) = if let Some(errno) = trouble {
            (Duration::ZERO, Ending::Failed(kernel::refused_here(errno)))
        } else {
            let fate = self.world.network.fate(address.ip(), address.port());
            self.world.kernel.ending(fate, family, self.world.network.round_trip)
        };
        let loses =
            matches!(self.world.network.fate(address.ip(), address.port()), Fate::LoseSyns(_));
        if loses && trouble.is_none() {
            self.coming.push((self.now, Coming::Syn(attempt, 0)));
        }
        let coming = match ending {
            Ending::Connected => Coming::Connected(attempt),
            Ending::Failed(failure) => Coming::Failed(attempt, failure),
        };
        self.coming.push((self.now + after, coming));
    }

    fn close(&mut self, attempt: AttemptId) {
        if !self.sockets.get(attempt.0).is_some_and(|socket| socket.is_open) {
            self.fail("closes a socket that is not open");
        }
        self.socket(attempt).is_open = false;
        self.note(What::Close { attempt });
        let syns = Some(self.syns(attempt));
        self.handle(Event::Closed { attempt, syns });
    }

    /// No event after the end changes the result.
    fn check_that_it_stays(&mut self) {
        let (end, report) = (self.machine.outcome(), self.machine.report());
        for attempt in (0..=self.sockets.len()).map(AttemptId) {
            let round_trip = self.world.network.round_trip;
            self.handle(Event::Connected { attempt, round_trip, syns: Some(1) });
            self.handle(Event::Confirmed { attempt });
            self.handle(Event::Greeted { attempt });
            let failure = Failure::new(Outcome::Reset);
            self.handle(Event::Failed { attempt, failure, syns: Some(1) });
        }
        for query in Family::ALL.map(Query::Hedge).into_iter().chain([Query::Authority]) {
            let addresses = Err(LookupError::TryAgain);
            self.handle(Event::Resolved { query, addresses, routes: Vec::new() });
        }
        self.machine.handle_timeout(self.start + self.now + Duration::from_secs(100_000));
        if self.machine.poll_action().is_some()
            || self.machine.deadline().is_some()
            || self.machine.outcome() != end
            || self.machine.question().is_some()
            || self.machine.answer(1, machine::Answer::FallBack, self.start + self.now).is_ok()
            || self.machine.report() != report
        {
            self.fail("goes on after its end");
        }
    }

    fn syns(&mut self, attempt: AttemptId) -> u32 {
        let socket = self.socket(attempt);
        let until = socket.connected.unwrap_or(self.now);
        let sent = history::syns_between(self.sockets[attempt.0].started, until).count();
        u32::try_from(sent).expect("the schedule is short")
    }

    fn socket(&mut self, attempt: AttemptId) -> &mut Socket {
        &mut self.sockets[attempt.0]
    }

    fn handle(&mut self, event: Event) {
        self.machine.handle(event, self.start + self.now);
    }

    fn note(&mut self, what: What) {
        self.log.push(Entry { at: self.now, what });
    }

    fn fail(&self, complaint: &str) -> ! {
        let history = History {
            log: self.log.clone(),
            report: self.machine.report(),
            observations: self.machine.observations(),
        };
        panic!("{complaint}, at {:?}:\n{}\n{self:#?}", self.now, history.script());
    }
}

impl std::fmt::Debug for Run<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Run").field("world", self.world).field("machine", &self.machine).finish()
    }
}

/// Numbers that look random and are the same every time (Marsaglia's xorshift64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).expect("31 bits") % bound
    }

    /// Less than the whole, in microseconds, and not always zero.
    fn part_of(&mut self, whole: Duration) -> Duration {
        let micros = usize::try_from(whole.as_micros()).unwrap_or(usize::MAX).max(1);
        Duration::from_micros(self.below(micros) as u64)
    }
}
