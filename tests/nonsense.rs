//! A machine that gets any event at all: events for attempts that never were, twice, out of
//! order, at times that go back. It must not panic, not spin, and leave nothing open.
#![allow(clippy::unwrap_used, reason = "what helps a test may fail like one")]

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use mailport::machine::{Action, Answer, AttemptId, Event, Hints, Machine, Query};
use mailport::outcome::{Errno, Failure, ViaError};
use mailport::report::{End, LookupError};
use mailport::{Cleartext, Config, Family, GreetingWait, Outcome, Plan};
use proptest::prelude::*;
use proptest::sample::select;

const DEADLINE: Duration = Duration::from_secs(30);
/// So many seconds lie before the dial, for a clock that goes back behind its beginning.
const BEFORE: u64 = 1000;
const PLANS: [&str; 5] = [
    "submission",
    "symmetric",
    "mew",
    "465/ipv6:implicit,587/ipv4:starttls,25:starttls",
    "1:cleartext,2:cleartext,3:cleartext,4:cleartext,5:cleartext,6:cleartext,7:cleartext,8:cleartext",
];

/// One call, and how many milliseconds the clock goes on or back before it.
#[derive(Debug, Clone)]
struct Step {
    event: Option<Event>,
    answer: Option<(u32, Answer)>,
    milliseconds: i64,
}

fn family() -> impl Strategy<Value = Family> {
    select(&Family::ALL[..])
}

fn query() -> impl Strategy<Value = Query> {
    prop_oneof![Just(Query::Authority), family().prop_map(Query::Hedge)]
}

fn address() -> impl Strategy<Value = SocketAddr> {
    let ip = prop_oneof![
        (0..6_u8).prop_map(|host| IpAddr::from([192, 0, 2, host])),
        (0..6_u16).prop_map(|host| IpAddr::from([0x2001, 0xdb8, 2, 0, 0, 0, 0, host])),
    ];
    (ip, any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip, port))
}

fn failure() -> impl Strategy<Value = Failure> {
    let outcomes = vec![
        Outcome::Connected,
        Outcome::Reset,
        Outcome::IcmpHard,
        Outcome::IcmpSoft,
        Outcome::Timeout,
        Outcome::Local,
        Outcome::Closed,
        Outcome::Via,
        Outcome::Cancelled,
    ];
    let errno = select(vec![None, Some(Errno(libc::EMFILE)), Some(Errno(libc::ECONNREFUSED))]);
    let via = select(vec![None, Some(ViaError::Reply(5)), Some(ViaError::Login)]);
    let parts = (select(outcomes), errno, prop_oneof![4 => Just(None), 1 => via]);
    parts.prop_map(|(outcome, errno, via)| Failure {
        errno,
        via_error: via,
        ..Failure::new(outcome)
    })
}

fn event() -> impl Strategy<Value = Event> {
    let attempt = || (0..24_usize).prop_map(AttemptId);
    let syns = || any::<Option<u32>>();
    let addresses = prop_oneof![
        4 => prop::collection::vec(address(), 0..10).prop_map(Ok),
        1 => Just(Err(LookupError::TryAgain)),
    ];
    let round_trip = (0..5000_u64).prop_map(Duration::from_millis);
    prop_oneof![
        1 => (query(), addresses, prop::collection::vec(family(), 0..3))
            .prop_map(|(query, addresses, routes)| Event::Resolved { query, addresses, routes }),
        1 => (attempt(), round_trip, syns()).prop_map(|(attempt, round_trip, syns)| {
            Event::Connected { attempt, round_trip, syns }
        }),
        1 => attempt().prop_map(|attempt| Event::Confirmed { attempt }),
        1 => attempt().prop_map(|attempt| Event::Greeted { attempt }),
        1 => attempt().prop_map(|attempt| Event::Noted { attempt, note: "a note".into() }),
        3 => (attempt(), failure(), syns())
            .prop_map(|(attempt, failure, syns)| Event::Failed { attempt, failure, syns }),
        1 => (attempt(), syns()).prop_map(|(attempt, syns)| Event::Closed { attempt, syns }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let milliseconds = prop_oneof![3 => 0..400_i64, 1 => -5000..5000_i64];
    let answer = prop::option::weighted(0.1, (0..4_u32, select(&Answer::ALL[..])));
    (prop::option::weighted(0.6, event()), answer, milliseconds)
        .prop_map(|(event, answer, milliseconds)| Step { event, answer, milliseconds })
}

/// A machine, and the sockets that it believes to be open.
struct Driven {
    machine: Machine,
    started: usize,
    open: BTreeSet<AttemptId>,
    /// In milliseconds, from [`BEFORE`] the beginning.
    clock: i64,
    origin: Instant,
    latest: Instant,
}

impl Driven {
    fn new(plan: &Plan, config: &Config, through: bool, hints: Hints) -> Driven {
        let origin = Instant::now();
        let began = origin + Duration::from_secs(BEFORE);
        let target = "mail.example.com".parse().unwrap();
        let machine = if through {
            Machine::through("socks5://proxy.example", &target, plan, config, began)
        } else {
            Machine::new(&target, plan, config, began)
        };
        Driven {
            machine: machine.unwrap().with_hints(hints),
            started: 0,
            open: BTreeSet::new(),
            clock: i64::try_from(BEFORE * 1000).unwrap(),
            origin,
            latest: began,
        }
    }

    fn tell(&mut self, step: Step) {
        self.clock = (self.clock + step.milliseconds).max(0);
        let now = self.origin + Duration::from_millis(self.clock.unsigned_abs());
        self.latest = self.latest.max(now);
        if let Some((question, answer)) = step.answer {
            let stands = self.machine.question().is_some_and(|q| q.number == question);
            assert_eq!(self.machine.answer(question, answer, now).is_ok(), stands);
        }
        let Some(event) = step.event else { return self.turn(now) };
        if let Event::Failed { attempt, .. } = event
            && self.machine.outcome().is_none()
        {
            // The reporter of a failure has closed the socket.
            self.open.remove(&attempt);
        }
        self.machine.handle(event, now);
    }

    fn turn(&mut self, now: Instant) {
        let (before, outcome) = (self.started, self.machine.outcome());
        self.machine.handle_timeout(now);
        while let Some(action) = self.machine.poll_action() {
            match action {
                Action::Resolve { .. } => {}
                Action::Connect { attempt, .. } | Action::Through { attempt, .. } => {
                    assert_eq!(attempt, AttemptId(self.started), "numbers are never used twice");
                    self.started += 1;
                    assert!(self.open.insert(attempt));
                }
                Action::Close { attempt } => {
                    assert!(self.open.remove(&attempt), "closes what is open, once: {attempt:?}");
                }
            }
        }
        assert!(self.machine.deadline().is_none_or(|at| at > self.latest), "wants to spin");
        if outcome.is_some() {
            assert_eq!((self.machine.outcome(), self.started), (outcome, before), "goes on");
        }
        let report = self.machine.report();
        // What was started as the dial ended was never begun.
        assert!(report.attempts.len() >= self.started);
        assert!(self.machine.question().is_none() || self.machine.deadline().is_none());
        assert!(!report.summary().is_empty());
    }

    fn end(&mut self) -> End {
        self.latest = self.latest.max(self.origin + Duration::from_secs(BEFORE));
        for _ in 0..20 {
            if let Some(question) = self.machine.question() {
                self.machine.answer(question.number, Answer::FallBack, self.latest).unwrap();
            }
            // No event comes any more, so every wait ends in its time.
            self.latest += 2 * DEADLINE;
            self.turn(self.latest);
        }
        let end = self.machine.outcome().expect("a dial ends at its deadline");
        let winner = match end {
            End::Connected(winner) => Some(AttemptId(winner)),
            _ => None,
        };
        let open: Vec<AttemptId> = self.open.iter().copied().collect();
        assert_eq!(open, Vec::from_iter(winner), "nothing is open but the winner");
        end
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

    #[test]
    fn a_machine_that_gets_nonsense_ends_and_closes_everything(
        steps in prop::collection::vec(step(), 0..120),
        more in prop::collection::vec(step(), 0..10),
        plan in select(&PLANS[..]),
        sequential in any::<bool>(),
        (ask, skip, through) in any::<(bool, bool, bool)>(),
        (bad, said) in (any::<u32>(), prop::option::weighted(0.2, select(&Answer::ALL[..]))),
        greeting_wait in select(vec![GreetingWait::Off, GreetingWait::Automatic, GreetingWait::For(DEADLINE / 3)]),
    ) {
        let mut config = Config::default();
        config.timeout = DEADLINE;
        (config.ask, config.try_failed_last, config.greeting_wait) = (ask, skip, greeting_wait);
        let plan = Plan::parse(plan, Cleartext::Allow).unwrap();
        let plan = if sequential { plan.sequential() } else { plan };
        let of_one_family = plan.services().iter().any(|service| service.family().is_some());
        let families = [Some(Family::Ipv6), Some(Family::Ipv4), None];
        let services = plan.services().iter().copied();
        let places = services.clone().flat_map(|s| families.map(|family| (s, family)));
        let is_bad = |index: usize| bad >> (index % 32) & 1 == 1;
        let bad = places.enumerate().filter(|(i, _)| is_bad(*i)).map(|(_, place)| place).collect();
        let answers = services.filter_map(|service| Some((service, said?))).collect();
        let hints = Hints { bad, answers, ..Hints::default() };
        let mut reported = Driven::new(&plan, &config, through && !of_one_family, hints);
        for step in steps {
            reported.tell(step);
        }
        let end = reported.end();
        for step in more {
            reported.tell(step);
        }
        prop_assert_eq!(reported.end(), end);
    }
}
