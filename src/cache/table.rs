//! The rules of the cache: what is kept, for how long, and which hints a dial gets.

use std::cmp::Reverse;
use std::time::Duration;

use super::{Network, Place, Stamp};
use crate::machine::{Answer, Hints, Observation};
use crate::outcome::Outcome;
use crate::plan::{Family, Plan, Service};
use crate::sorted_map::SortedMap;
use crate::target::Target;

/// What is remembered, of every target in every network. It grows by [`Change`]s only, so two
/// processes that bring theirs to the same table, one after the other, lose nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Table {
    pub(super) places: SortedMap<Place, KnownTarget>,
}

/// What is known of one target in one network.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct KnownTarget {
    /// By the service without its family, and the family; no family through a proxy.
    pub(super) outcomes: SortedMap<(Service, Option<Family>), CacheEntry>,
    /// By the service that would come next.
    pub(super) answers: SortedMap<Service, RememberedAnswer>,
}

/// How a service fared the last time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CacheEntry {
    pub(super) outcome: Outcome,
    pub(super) when: Stamp,
    /// Its time to live is the time from `when` to here.
    pub(super) until: Stamp,
    pub(super) round_trip: Option<Duration>,
    /// How often in a row it was good, or bad.
    pub(super) count: u32,
}

/// What the user has answered for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RememberedAnswer {
    pub(super) answer: Answer,
    pub(super) when: Stamp,
    pub(super) until: Stamp,
}

/// One thing that happened, to be brought to a [`Table`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A dial has taught this.
    Learned {
        /// Where.
        place: Place,
        /// What.
        observation: Observation,
        /// When.
        at: Stamp,
    },
    /// The user has answered for good.
    RememberedAnswer {
        /// Where.
        place: Place,
        /// The service that would come next.
        service: Service,
        /// The answer.
        answer: Answer,
        /// When.
        at: Stamp,
    },
    /// A target is to be forgotten, in every network.
    Forgot {
        /// The target.
        target: Target,
        /// When: what is learned later stays.
        at: Stamp,
    },
    /// Everything is to be forgotten.
    Cleared {
        /// When: what is learned later stays.
        at: Stamp,
    },
}

/// One line of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Remembered {
    /// The network, and the target there.
    pub place: Place,
    /// The service; of a remembered answer, the one that would come next.
    pub service: Service,
    /// The family of an outcome; none through a proxy or a command.
    pub family: Option<Family>,
    /// What is remembered.
    pub what: What,
    /// The round trip of a connection.
    pub round_trip: Option<Duration>,
    /// How often in a row the service was good, or bad; 1 for a remembered answer.
    pub count: u32,
    /// When it happened last.
    pub since: Stamp,
    /// When it is no longer used.
    pub until: Stamp,
    /// Whether it is used now.
    pub is_used: bool,
}

/// What is remembered of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// How it fared.
    Outcome(Outcome),
    /// What the user answered for good when it would come next.
    RememberedAnswer(Answer),
}

impl Table {
    /// How long an outcome is used for, unless it was confirmed after that.
    pub const LIFE: Duration = Duration::from_secs(10 * 60);
    /// How long silence is used for that the proof of a dial alone has shown (rule 6), before the
    /// patience had ended.
    pub const PROVISIONAL_LIFE: Duration = Duration::from_secs(60);
    /// The longest that an outcome is used for: each confirmation doubles the time until then.
    pub const LONGEST_LIFE: Duration = Duration::from_secs(24 * 60 * 60);
    /// How long a remembered answer is used for.
    pub const ANSWER_LIFETIME: Duration = Duration::from_secs(30 * 24 * 60 * 60);
    /// How long an outcome is kept after its use, so that a confirmation is known for one.
    pub const KEPT: Duration = Duration::from_secs(30 * 24 * 60 * 60);
    /// The most targets, each counted once in each network; the oldest goes first.
    pub const MAX_PLACES: usize = 256;
    /// The most outcomes of one target in one network, and the most answers; the oldest goes
    /// first. A plan has 16 services at most.
    pub const MAX_OF_PLACE: usize = 32;
    /// By how much the clocks of two moments may differ: what happened later than this after now
    /// has not happened, but the clock was set back.
    pub const CLOCK_SLACK: Duration = Duration::from_secs(60);

    /// Brings a change to the table at the time `now`, and gives how many outcomes and answers
    /// were forgotten by the caller's wish.
    ///
    /// The order of changes does not matter where their times differ: an older observation
    /// does not replace a newer one, and what was learned after a forgetting stays.
    pub fn apply(&mut self, change: &Change, now: Stamp) -> usize {
        let before = self.len();
        match change {
            Change::Learned { place, observation, at } => {
                let (service, at) = (observation.service.over_both(), (*at).min(now));
                let known = self.places.entry(place);
                let last = known.outcomes.get(&(service, observation.family));
                let last = last.filter(|last| last.is_believed(now));
                if last.is_none_or(|last| last.when <= at) {
                    let entry = CacheEntry::after(last.copied(), *observation, at);
                    known.outcomes.insert((service, observation.family), entry);
                }
            }
            Change::RememberedAnswer { place, service, answer, at } => {
                let at = (*at).min(now);
                let known = self.places.entry(place);
                let last = known.answers.get(service).filter(|last| last.is_believed(now));
                if last.is_none_or(|last| last.when <= at) {
                    let until = at.plus(Table::ANSWER_LIFETIME);
                    let remembered = RememberedAnswer { answer: *answer, when: at, until };
                    known.answers.insert(*service, remembered);
                }
            }
            Change::Forgot { target, at } => {
                self.forget(*at, now, |place| place.target() == target.canonical());
                return before - self.len();
            }
            Change::Cleared { at } => {
                self.forget(*at, now, |_| true);
                return before - self.len();
            }
        }
        self.tidy(now);
        0
    }

    /// The hints for a dial by this plan in a place.
    pub fn hints(&self, place: &Place, plan: &Plan, now: Stamp) -> Hints {
        let Some(known) = self.places.get(place) else { return Hints::default() };
        let living = |service: Service, family| {
            let entry = known.outcomes.get(&(service.over_both(), family));
            entry.filter(|entry| entry.is_living(now))
        };
        let mut hints = Hints::default();
        for &service in plan.services() {
            let families = Family::ALL.into_iter().filter(|&family| service.allows(family));
            for family in families.map(Some).chain([None]) {
                if living(service, family).is_some_and(|e| e.outcome != Outcome::Connected) {
                    hints.bad.push((service, family));
                }
            }
            let remembered =
                known.answers.get(&service).filter(|remembered| remembered.is_living(now));
            hints.answers.extend(remembered.map(|remembered| (service, remembered.answer)));
            if known.is_known(service, now) {
                hints.known.push(service);
            }
        }
        hints.round_trips = known.round_trips(now).collect();
        let worked = known.outcomes.iter().filter_map(|(&(_, family), entry)| {
            let works = entry.is_living(now) && entry.outcome == Outcome::Connected;
            Some((entry.round_trip.unwrap_or(Duration::MAX), family.filter(|_| works)?))
        });
        hints.family = worked.min().map(|(_, family)| family);
        hints
    }

    /// Every line, by network, target and service.
    pub fn list(&self, now: Stamp) -> Vec<Remembered> {
        let lines = self.places.iter().flat_map(|(place, known)| {
            let outcomes = known.outcomes.iter().map(|(&(service, family), entry)| Remembered {
                place: place.clone(),
                service,
                family,
                what: What::Outcome(entry.outcome),
                round_trip: entry.round_trip,
                count: entry.count,
                since: entry.when,
                until: entry.until,
                is_used: entry.is_living(now),
            });
            let answers = known.answers.iter().map(|(&service, remembered)| Remembered {
                place: place.clone(),
                service,
                family: None,
                what: What::RememberedAnswer(remembered.answer),
                round_trip: None,
                count: 1,
                since: remembered.when,
                until: remembered.until,
                is_used: remembered.is_living(now),
            });
            outcomes.chain(answers)
        });
        lines.collect()
    }

    fn len(&self) -> usize {
        self.places.values().map(KnownTarget::len).sum()
    }

    /// Forgets what had happened at the time `at`; what lies in the future never has.
    fn forget(&mut self, at: Stamp, now: Stamp, is_meant: impl Fn(&Place) -> bool) {
        for (_, known) in self.places.iter_mut().filter(|(place, _)| is_meant(place)) {
            known.outcomes.retain(|_, entry| entry.when > at && entry.is_believed(now));
            known
                .answers
                .retain(|_, remembered| remembered.when > at && remembered.is_believed(now));
        }
        self.places.retain(|_, known| known.len() > 0);
    }

    /// Lets go of what is of no more use, and of the oldest where there is too much.
    pub(super) fn tidy(&mut self, now: Stamp) {
        for known in self.places.values_mut() {
            known.outcomes.retain(|_, e| now < e.until.plus(Table::KEPT));
            known.answers.retain(|_, remembered| now < remembered.until);
            let ages: Vec<Duration> = known.outcomes.values().map(|entry| entry.age(now)).collect();
            let mut kept = newest(&ages, Table::MAX_OF_PLACE);
            known.outcomes.retain(|_, _| kept.next() == Some(true));
            let ages: Vec<Duration> =
                known.answers.values().map(|answer| answer.age(now)).collect();
            let mut kept = newest(&ages, Table::MAX_OF_PLACE);
            known.answers.retain(|_, _| kept.next() == Some(true));
        }
        self.places.retain(|_, known| known.len() > 0);
        let ages: Vec<Duration> = self.places.values().map(|known| known.age(now)).collect();
        let mut kept = newest(&ages, Table::MAX_PLACES);
        self.places.retain(|_, _| kept.next() == Some(true));
    }
}

/// Which of the entries of these ages are kept where there may be this many: the oldest go, and of
/// the same age the first.
fn newest(ages: &[Duration], most: usize) -> impl Iterator<Item = bool> {
    let mut kept = vec![true; ages.len()];
    for _ in most..ages.len() {
        let left = (0..ages.len()).filter(|&index| kept[index]);
        if let Some(oldest) = left.max_by_key(|&index| (ages[index], Reverse(index))) {
            kept[oldest] = false;
        }
    }
    kept.into_iter()
}

impl KnownTarget {
    fn len(&self) -> usize {
        self.outcomes.len() + self.answers.len()
    }

    /// Whether a service has connected lately, or was silent the last time and that has expired:
    /// silence must then last for the whole patience.
    fn is_known(&self, service: Service, now: Stamp) -> bool {
        let families = Family::ALL.into_iter().filter(|&family| service.allows(family));
        let entries =
            families.filter_map(|family| self.outcomes.get(&(service.over_both(), Some(family))));
        let mut entries = entries.filter(|entry| entry.is_believed(now));
        entries.any(|entry| match entry.outcome {
            Outcome::Connected => entry.is_recent(now),
            Outcome::Timeout => now >= entry.until,
            _ => false,
        })
    }

    /// The round trips of connections that were made lately.
    fn round_trips(&self, now: Stamp) -> impl Iterator<Item = (Service, Family, Duration)> {
        self.outcomes.iter().filter_map(move |(&(service, family), entry)| {
            let is_used = entry.is_recent(now) && entry.outcome == Outcome::Connected;
            Some((service, family?, entry.round_trip.filter(|_| is_used)?))
        })
    }

    /// The age of what is newest.
    fn age(&self, now: Stamp) -> Duration {
        let outcomes = self.outcomes.values().map(|entry| entry.age(now));
        let answers = self.answers.values().map(|remembered| remembered.age(now));
        outcomes.chain(answers).min().unwrap_or(Duration::MAX)
    }
}

impl CacheEntry {
    /// What an observation makes of the last entry. One that connected forgets what was bad, and begins
    /// anew. A bad one of a service that is remembered as bad renews the entry for the same time;
    /// where the entry had expired, it is a confirmation, and doubles the time. A provisional one
    /// is used for a minute, unless the entry was used for longer, and doubles nothing; what
    /// follows a provisional one begins anew. One that connected again is not renewed: the family
    /// that worked once would always go first.
    fn after(last: Option<CacheEntry>, observation: Observation, at: Stamp) -> CacheEntry {
        let is_good = |outcome| outcome == Outcome::Connected;
        let last = last.filter(|last| is_good(last.outcome) == is_good(observation.outcome));
        let life = match last {
            Some(last) if !is_good(observation.outcome) => {
                let life = last.until.since(last.when);
                let confirmed = at >= last.until;
                match confirmed {
                    true if observation.provisional => Table::PROVISIONAL_LIFE,
                    true if life >= Table::LIFE => (2 * life).min(Table::LONGEST_LIFE),
                    false if observation.provisional => life,
                    _ => life.max(Table::LIFE),
                }
            }
            _ if observation.provisional => Table::PROVISIONAL_LIFE,
            _ => Table::LIFE,
        };
        let lives_on = last.filter(|last| is_good(last.outcome) && at < last.until);
        CacheEntry {
            outcome: observation.outcome,
            when: at,
            until: lives_on.map_or(at.plus(life), |last| last.until),
            round_trip: observation.round_trip.filter(|_| is_good(observation.outcome)),
            count: last.map_or(0, |last| last.count).saturating_add(1),
        }
    }

    fn is_believed(&self, now: Stamp) -> bool {
        has_happened(self.when, now) && self.until.since(self.when) <= Table::LONGEST_LIFE
    }

    fn is_living(&self, now: Stamp) -> bool {
        self.is_believed(now) && now < self.until
    }

    /// Whether it happened within the last ten minutes. A connection is used for longer than that
    /// if it is made again and again, though the family that it prefers is not.
    fn is_recent(&self, now: Stamp) -> bool {
        self.age(now) < Table::LIFE
    }

    fn age(&self, now: Stamp) -> Duration {
        if self.is_believed(now) { now.since(self.when) } else { Duration::MAX }
    }
}

impl RememberedAnswer {
    fn is_believed(&self, now: Stamp) -> bool {
        has_happened(self.when, now) && self.until.since(self.when) <= Table::ANSWER_LIFETIME
    }

    fn is_living(&self, now: Stamp) -> bool {
        self.is_believed(now) && now < self.until
    }

    fn age(&self, now: Stamp) -> Duration {
        if self.is_believed(now) { now.since(self.when) } else { Duration::MAX }
    }
}

/// Whether a moment is not in the future, as it is after the clock was set back.
fn has_happened(when: Stamp, now: Stamp) -> bool {
    when <= now.plus(Table::CLOCK_SLACK)
}

impl Remembered {
    /// The network's name for people.
    pub fn network(&self) -> &Network {
        self.place.network()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Stamp = Stamp(1_800_000_000_000);
    const MINUTE: Duration = Duration::from_secs(60);

    /// A table, the only plan and target it is asked about, and a clock.
    struct Scene {
        table: Table,
        now: Stamp,
    }

    fn place() -> Place {
        Place::new(Network::this_machine(""), &"mail.example".parse().unwrap())
    }

    fn submission() -> Service {
        Plan::submission().services()[0]
    }

    fn observation(outcome: Outcome) -> Observation {
        let family = Some(Family::Ipv4);
        let service = submission();
        Observation { service, family, outcome, round_trip: None, provisional: false }
    }

    fn worked(family: Family, millis: u64) -> Observation {
        let round_trip = Some(Duration::from_millis(millis));
        let family = Some(family);
        let outcome = Outcome::Connected;
        Observation { service: submission(), family, outcome, round_trip, provisional: false }
    }

    impl Scene {
        fn new() -> Scene {
            Scene { table: Table::default(), now: START }
        }

        fn pass(&mut self, time: Duration) {
            self.now = self.now.plus(time);
        }

        fn learn(&mut self, observation: Observation) {
            let change = Change::Learned { place: place(), observation, at: self.now };
            self.table.apply(&change, self.now);
        }

        fn hints(&self) -> Hints {
            self.table.hints(&place(), &Plan::submission(), self.now)
        }

        fn is_bad(&self) -> bool {
            self.hints().bad == [(submission(), Some(Family::Ipv4))]
        }

        fn line(&self) -> Remembered {
            self.table.list(self.now).remove(0)
        }

        /// For how long an entry is used from now on.
        fn life(&self) -> Duration {
            self.line().until.since(self.now)
        }
    }

    #[test]
    fn a_bad_outcome_is_given_for_ten_minutes_and_no_longer() {
        for outcome in [Outcome::Reset, Outcome::Timeout, Outcome::IcmpSoft, Outcome::Via] {
            let mut scene = Scene::new();
            scene.learn(observation(outcome));
            assert!(scene.is_bad());
            scene.pass(Duration::from_millis(599_999));
            assert!(scene.is_bad());
            scene.pass(Duration::from_millis(1));
            assert_eq!(scene.hints().bad, []);
        }
    }

    #[test]
    fn an_expired_entry_that_is_confirmed_lives_twice_as_long_up_to_a_day() {
        let mut scene = Scene::new();
        scene.learn(observation(Outcome::Timeout));
        for (count, minutes) in [(1, 10), (2, 20), (3, 40), (4, 80)] {
            assert_eq!((scene.line().count, scene.life()), (count, minutes * MINUTE));
            scene.pass(scene.life());
            assert!(!scene.is_bad(), "it is dropped each time, so that the service has its chance");
            scene.learn(observation(Outcome::Timeout));
        }
        for _ in 0..9 {
            scene.pass(scene.life());
            scene.learn(observation(Outcome::Timeout));
        }
        assert_eq!(scene.life(), Table::LONGEST_LIFE);
    }

    #[test]
    fn silence_by_the_proof_alone_is_used_for_a_minute_and_then_waited_out() {
        let mut scene = Scene::new();
        let provisional = Observation { provisional: true, ..observation(Outcome::Timeout) };
        scene.learn(provisional);
        assert!(scene.is_bad() && scene.hints().known.is_empty());
        assert_eq!(scene.life(), MINUTE);
        scene.pass(MINUTE);
        assert!(scene.hints().bad.is_empty());
        assert_eq!(scene.hints().known, [submission()], "now the whole patience counts");
        scene.learn(observation(Outcome::Timeout));
        assert!(scene.is_bad());
        assert_eq!(scene.life(), 10 * MINUTE, "it is no confirmation of a minute");
        scene.learn(provisional);
        assert_eq!(scene.life(), 10 * MINUTE, "what is known better stays");
        scene.pass(10 * MINUTE);
        assert_eq!(scene.hints().known, [submission()]);
        scene.learn(observation(Outcome::Timeout));
        assert_eq!(scene.life(), 20 * MINUTE);
    }

    #[test]
    fn a_service_that_has_connected_lately_is_given_with_its_round_trip() {
        let mut scene = Scene::new();
        scene.learn(worked(Family::Ipv4, 40));
        scene.learn(observation_over(Family::Ipv6, Outcome::Reset));
        let hints = scene.hints();
        assert_eq!(hints.known, [submission()], "over one family is enough");
        let round_trip = (submission(), Family::Ipv4, Duration::from_millis(40));
        assert_eq!(hints.round_trips, [round_trip]);
        for _ in 0..5 {
            scene.pass(9 * MINUTE);
            assert_eq!(scene.hints().known, [submission()]);
            scene.learn(worked(Family::Ipv4, 40));
        }
        scene.pass(10 * MINUTE);
        assert_eq!(scene.hints(), Hints::default());
    }

    fn observation_over(family: Family, outcome: Outcome) -> Observation {
        Observation { family: Some(family), ..observation(outcome) }
    }

    #[test]
    fn a_bad_observation_of_what_is_known_as_bad_renews_it_and_does_not_double() {
        let mut scene = Scene::new();
        for _ in 0..5 {
            scene.learn(observation(Outcome::Reset));
            scene.pass(9 * MINUTE);
            assert!(scene.is_bad());
        }
        assert_eq!(scene.life(), MINUTE);
        scene.learn(observation(Outcome::Timeout));
        let line = scene.line();
        assert_eq!((line.what, line.count), (What::Outcome(Outcome::Timeout), 6));
        assert_eq!((line.since, scene.life()), (scene.now, 10 * MINUTE));
    }

    #[test]
    fn a_connection_forgets_what_was_bad_at_once_and_with_its_count() {
        let mut scene = Scene::new();
        scene.learn(observation(Outcome::Timeout));
        scene.pass(10 * MINUTE);
        scene.learn(observation(Outcome::Timeout));
        scene.learn(worked(Family::Ipv4, 40));
        assert!(scene.hints().bad.is_empty());
        assert_eq!(scene.line().count, 1);
        scene.learn(observation(Outcome::Timeout));
        assert_eq!((scene.line().count, scene.life()), (1, 10 * MINUTE));
        assert_eq!(scene.line().round_trip, None);
    }

    #[test]
    fn the_family_with_the_shorter_round_trip_is_given_while_it_is_known() {
        let mut scene = Scene::new();
        scene.learn(worked(Family::Ipv4, 40));
        assert_eq!(scene.hints().family, Some(Family::Ipv4), "one that worked, and one unknown");
        scene.pass(5 * MINUTE);
        scene.learn(worked(Family::Ipv6, 50));
        assert_eq!(scene.hints().family, Some(Family::Ipv4));
        scene.pass(5 * MINUTE);
        assert_eq!(scene.hints().family, Some(Family::Ipv6), "the other one is too long ago");
        scene.learn(worked(Family::Ipv4, 60));
        assert_eq!(scene.hints().family, Some(Family::Ipv6));
        scene.pass(10 * MINUTE);
        assert_eq!(scene.hints().family, None);
    }

    #[test]
    fn a_service_of_one_family_is_the_same_port() {
        let mut scene = Scene::new();
        scene.learn(observation(Outcome::Reset));
        let hints = scene.table.hints(&place(), &Plan::mew(), scene.now);
        assert_eq!(hints.bad, [(Plan::mew().services()[0], Some(Family::Ipv4))]);
        let symmetric = scene.table.hints(&place(), &Plan::symmetric(), scene.now);
        assert_eq!(symmetric.bad, [(submission().over(Family::Ipv4), Some(Family::Ipv4))]);
        // Another TLS mode is another service.
        let implicit = "587:implicit,25:starttls".parse().unwrap();
        assert!(scene.table.hints(&place(), &implicit, scene.now).bad.is_empty());
    }

    #[test]
    fn nothing_is_given_of_another_network_or_target() {
        let mut scene = Scene::new();
        scene.learn(observation(Outcome::Reset));
        let proxy = Network::this_machine("socks5://proxy");
        for other in [
            Place::new(proxy, &"mail.example".parse().unwrap()),
            Place::new(Network::this_machine(""), &"mail2.example".parse().unwrap()),
        ] {
            let hints = scene.table.hints(&other, &Plan::submission(), scene.now);
            assert_eq!(hints, Hints::default());
        }
    }

    #[test]
    fn through_a_proxy_there_is_no_family() {
        let mut scene = Scene::new();
        scene.learn(Observation { family: None, ..observation(Outcome::Via) });
        assert_eq!(scene.hints().bad, [(submission(), None)]);
        scene.learn(Observation { family: None, ..worked(Family::Ipv4, 4) });
        assert_eq!(scene.hints(), Hints::default());
    }

    #[test]
    fn a_remembered_answer_holds_for_thirty_days_and_for_its_service_alone() {
        let mut scene = Scene::new();
        let next = Plan::submission().services()[1];
        let remembered =
            |answer, at| Change::RememberedAnswer { place: place(), service: next, answer, at };
        scene.table.apply(&remembered(Answer::FallBack, scene.now), scene.now);
        assert_eq!(scene.hints().answers, [(next, Answer::FallBack)]);
        scene.pass(MINUTE);
        scene.table.apply(&remembered(Answer::GiveUp, scene.now), scene.now);
        assert_eq!(scene.hints().answers, [(next, Answer::GiveUp)]);
        let clear: Plan =
            Plan::parse("587:starttls,25:cleartext", crate::Cleartext::Allow).unwrap();
        assert!(scene.table.hints(&place(), &clear, scene.now).answers.is_empty());
        scene.pass((30 * 24 * 60 - 1) * MINUTE);
        assert_eq!(scene.hints().answers.len(), 1);
        scene.pass(MINUTE);
        assert!(scene.hints().answers.is_empty());
        scene.learn(worked(Family::Ipv4, 40));
        assert_eq!(scene.table.list(scene.now).len(), 1, "and is then let go");
    }

    #[test]
    fn changes_that_come_in_another_order_come_to_the_same() {
        let at = |minutes: u32| START.plus(minutes * MINUTE);
        let learned = |observation, at| Change::Learned { place: place(), observation, at };
        let target = "mail.example".parse().unwrap();
        let changes = [
            learned(observation(Outcome::Reset), at(0)),
            Change::Forgot { target, at: at(1) },
            learned(worked(Family::Ipv4, 40), at(2)),
            learned(worked(Family::Ipv6, 40), at(2)),
        ];
        let now = at(3);
        let table = |order: [usize; 4]| {
            let mut table = Table::default();
            for index in order {
                table.apply(&changes[index], now);
            }
            table
        };
        let expected = table([0, 1, 2, 3]);
        assert_eq!(expected.list(now).len(), 2);
        for order in [[0, 3, 2, 1], [2, 1, 3, 0], [3, 0, 2, 1]] {
            assert_eq!(table(order), expected, "{order:?}");
        }
    }

    #[test]
    fn what_is_forgotten_is_counted_and_nothing_else_is_touched() {
        let mut scene = Scene::new();
        scene.learn(observation(Outcome::Reset));
        scene.learn(worked(Family::Ipv6, 40));
        let other = Place::new(Network::this_machine(""), &"mail2.example".parse().unwrap());
        let (observation, at) = (observation(Outcome::Reset), scene.now);
        scene.table.apply(&Change::Learned { place: other, observation, at }, at);
        let target: Target = "Mail.Example.".parse().unwrap();
        assert_eq!(scene.table.apply(&Change::Forgot { target: target.clone(), at }, at), 2);
        assert_eq!(scene.table.apply(&Change::Forgot { target, at }, at), 0);
        assert_eq!(scene.table.apply(&Change::Cleared { at }, at), 1);
        assert_eq!(scene.table, Table::default());
    }

    #[test]
    fn after_the_clock_was_set_back_nothing_is_believed_that_has_yet_to_happen() {
        let mut scene = Scene::new();
        scene.learn(observation(Outcome::Reset));
        let future = scene.table.clone();
        scene.now = Stamp(START.0 - 60_000);
        assert!(scene.is_bad(), "a minute is no step");
        scene.now = Stamp(START.0 - 60_001);
        assert!(!scene.is_bad() && !scene.line().is_used);
        // What is learned now takes its place, though it is older.
        scene.learn(observation(Outcome::Timeout));
        assert!(scene.is_bad());
        assert_eq!((scene.line().count, scene.line().since), (1, scene.now));
        // And it can be forgotten.
        scene.table = future;
        assert_eq!(scene.table.apply(&Change::Cleared { at: scene.now }, scene.now), 1);
    }

    #[test]
    fn a_family_that_works_is_not_given_without_end_however_often_it_works() {
        let mut scene = Scene::new();
        for _ in 0..5 {
            scene.learn(worked(Family::Ipv4, 40));
            assert_eq!(scene.hints().family, Some(Family::Ipv4));
            scene.pass(2 * MINUTE);
        }
        assert_eq!(scene.hints().family, None);
        scene.learn(worked(Family::Ipv4, 40));
        assert_eq!((scene.hints().family, scene.life()), (Some(Family::Ipv4), 10 * MINUTE));
    }

    #[test]
    fn an_observation_from_the_future_is_one_of_now() {
        let mut scene = Scene::new();
        let (observation, at) = (observation(Outcome::Reset), scene.now.plus(60 * MINUTE));
        scene.table.apply(&Change::Learned { place: place(), observation, at }, scene.now);
        assert_eq!((scene.line().since, scene.life()), (scene.now, 10 * MINUTE));
    }

    #[test]
    fn a_time_to_live_that_no_rule_gives_is_not_believed() {
        let mut scene = Scene::new();
        scene.learn(observation(Outcome::Reset));
        let known = scene.table.places.get_mut(&place()).unwrap();
        known.outcomes.values_mut().for_each(|e| e.until = e.when.plus(25 * 60 * MINUTE));
        assert!(!scene.is_bad());
    }

    #[test]
    fn an_entry_is_let_go_thirty_days_after_its_use() {
        let mut scene = Scene::new();
        scene.learn(observation(Outcome::Reset));
        scene.pass(Table::LIFE + (30 * 24 * 60 - 1) * MINUTE);
        scene.learn(worked(Family::Ipv6, 40));
        assert_eq!(scene.table.list(scene.now).len(), 2);
        scene.pass(MINUTE);
        scene.learn(worked(Family::Ipv6, 40));
        assert_eq!(scene.table.list(scene.now).len(), 1);
    }

    #[test]
    fn of_too_many_targets_the_oldest_go_and_those_of_a_wrong_clock_first() {
        let place = |n: usize| {
            Place::new(Network::this_machine(""), &format!("m{n}.example").parse().unwrap())
        };
        let mut table = Table::default();
        let learned = |n, at| {
            let observation = observation(Outcome::Reset);
            Change::Learned { place: place(n), observation, at }
        };
        let future = START.plus(1000 * 60 * MINUTE);
        table.apply(&learned(0, future), future);
        let at = |n: usize| Stamp(START.0 + n as u64);
        for n in 1..=Table::MAX_PLACES + 10 {
            table.apply(&learned(n, at(n)), at(n));
        }
        let left: Vec<&Place> = table.places.iter().map(|(place, _)| place).collect();
        assert_eq!(left.len(), Table::MAX_PLACES);
        for n in 0..=Table::MAX_PLACES + 10 {
            assert_eq!(left.contains(&&place(n)), n > 10, "{n}");
        }
    }

    #[test]
    fn of_too_many_services_of_a_target_the_oldest_go() {
        let mut scene = Scene::new();
        for port in 1..=40 {
            scene.pass(MINUTE);
            let service = format!("{port}:starttls").parse().unwrap();
            scene.learn(Observation { service, ..observation(Outcome::Reset) });
        }
        let ports: Vec<u16> =
            scene.table.list(scene.now).iter().map(|line| line.service.port()).collect();
        assert_eq!(ports, (9..=40).collect::<Vec<u16>>());
    }
}
