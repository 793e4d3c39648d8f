//! One dial of a host in virtual time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use mailport::machine::{Action, AttemptId, Event, Hints, Machine, Observation, Query};
use mailport::outcome::{Errno, Failure};
use mailport::report::End;
use mailport::{Config, Family, Outcome, Plan, Target};

use crate::population::{Answer, Host, SYNS, Submission, V4, V6};

const ECONNREFUSED: i32 = 111;

/// How a dial is made.
#[derive(Clone)]
pub(crate) struct Policy {
    pub(crate) config: Config,
    /// Whether a candidate is tried once only, as before there were second attempts: what the
    /// machine starts beyond that is not sent.
    pub(crate) once: bool,
}

/// What came of a dial.
pub(crate) struct Dialled {
    pub(crate) port: Option<u16>,
    pub(crate) wait: Duration,
    /// Whether a SYN went to 25.
    pub(crate) tried_25: bool,
    /// SYNs to 587.
    pub(crate) syns: u64,
    pub(crate) observations: Vec<Observation>,
}

/// One attempt as the network sees it.
struct Attempt {
    address: SocketAddr,
    answer: Option<Answer>,
    is_sent: bool,
    started: Duration,
    ended: Option<Duration>,
}

impl Attempt {
    /// How many SYNs it has sent by a time.
    fn syns(&self, now: Duration) -> u64 {
        let ended = self.ended.unwrap_or(now);
        let answered = self.answer.as_ref().map(|answer| answer.at).filter(|at| *at <= ended);
        let lasted = answered.unwrap_or(ended).saturating_sub(self.started);
        let sent = SYNS.iter().filter(|&&at| at == 0 || Duration::from_secs(at) < lasted);
        if self.is_sent { sent.count() as u64 } else { 0 }
    }
}

/// One dial of 587 and then 25; names are known at once.
pub(crate) fn dial(host: &Host, policy: &Policy, mut hints: Hints) -> Dialled {
    static TARGET: OnceLock<Target> = OnceLock::new();
    static PLAN: OnceLock<Plan> = OnceLock::new();
    if policy.once {
        hints.known.clear();
        hints.round_trips.clear();
    }
    let target = TARGET.get_or_init(|| "mail.example.com".parse().expect("a host name"));
    let plan = PLAN.get_or_init(Plan::submission);
    let start = Instant::now();
    let machine =
        Machine::new(target, plan, &policy.config, start).expect("settings that can work");
    let mut machine = machine.with_hints(hints);
    // Ordered by time, then by the order of the attempts.
    let mut coming: BinaryHeap<Reverse<(Duration, usize)>> = BinaryHeap::new();
    let mut attempts: Vec<Attempt> = Vec::new();
    let mut now = Duration::ZERO;
    loop {
        machine.handle_timeout(start + now);
        while let Some(action) = machine.poll_action() {
            match action {
                Action::Resolve { query } => machine.handle(names(host, query), start + now),
                Action::Connect { attempt, address } => {
                    let before = attempts.iter().filter(|before| before.address == address);
                    let before = before.count();
                    let is_sent = before == 0 || !policy.once;
                    let answer =
                        is_sent.then(|| host.answer(address, before as u64, now)).flatten();
                    coming.extend(answer.as_ref().map(|a| Reverse((a.at, attempt.0))));
                    attempts.push(Attempt { address, answer, is_sent, started: now, ended: None });
                }
                Action::Close { attempt } => attempts[attempt.0].ended = Some(now),
                Action::Through { .. } => {}
            }
        }
        if let Some(end) = machine.outcome() {
            let port = match end {
                End::Connected(winner) => Some(attempts[winner].address.port()),
                _ => None,
            };
            let to = |port| attempts.iter().filter(move |a| a.address.port() == port);
            return Dialled {
                port,
                wait: now,
                tried_25: to(25).next().is_some(),
                syns: to(587).map(|attempt| attempt.syns(now)).sum(),
                observations: machine.observations(),
            };
        }
        let due = machine.deadline().map_or(Duration::MAX, |at| at - start);
        now = coming.peek().map_or(due, |Reverse((at, _))| due.min(*at)).max(now);
        while let Some(&Reverse((at, attempt))) = coming.peek()
            && at <= now
        {
            coming.pop();
            arrive(&mut machine, host, attempt, &attempts[attempt], start + now);
        }
    }
}

fn arrive(
    machine: &mut Machine,
    host: &Host,
    id: usize,
    Attempt { address, answer, .. }: &Attempt,
    now: Instant,
) {
    let attempt = AttemptId(id);
    let Some(Answer { syns, round_trip, .. }) = *answer else { return };
    if address.port() == 587 && host.submission == Submission::Refused {
        let errno = Some(Errno(ECONNREFUSED));
        let failure = Failure { errno, ..Failure::new(Outcome::Reset) };
        machine.handle(Event::Failed { attempt, failure, syns: None }, now);
    } else {
        machine.handle(Event::Connected { attempt, round_trip, syns: Some(syns) }, now);
        machine.handle(Event::Confirmed { attempt }, now);
    }
}

fn names(host: &Host, query: Query) -> Event {
    let list = if host.two_families { &[V6, V4][..] } else { &[V4] };
    let addresses = Ok(list.iter().map(|&ip| SocketAddr::new(ip, 0)).collect());
    Event::Resolved { query, addresses, routes: Family::ALL.to_vec() }
}
