//! What a cache tells a dial before it begins, and what a dial teaches a cache when it has ended.

use std::time::Duration;

use super::ask::Answer;
use crate::outcome::Outcome;
use crate::plan::{Family, Service};

/// What is remembered of a target in this network. It shortens waiting and never decides; only a
/// remembered answer does, for a dial that would ask. The default knows nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hints {
    /// Services that are remembered as bad, each over one family; without a family, through a
    /// proxy or a command, where it is unknown.
    pub bad: Vec<(Service, Option<Family>)>,
    /// The family that worked best.
    pub family: Option<Family>,
    /// Services whose silence is waited out for the whole patience: those that have connected
    /// lately, and those that were silent the last time, which is too long ago to be used.
    pub known: Vec<Service>,
    /// The round trips of connections that were made lately, of any service of the target.
    pub round_trips: Vec<(Service, Family, Duration)>,
    /// What the user answered for good when these services were to be begun.
    pub answers: Vec<(Service, Answer)>,
}

impl Hints {
    pub(super) fn knows_as_bad(&self, service: Service, family: Option<Family>) -> bool {
        self.bad.contains(&(service, family))
    }

    /// Whether a service is known: it gets the longer port delay, and the whole patience.
    pub(super) fn knows(&self, service: Service) -> bool {
        self.known.contains(&service)
    }

    /// The round trip to a service over a family: its own, never that of another service, for a
    /// device on the way may answer one and not the other.
    pub(super) fn round_trip(&self, service: Service, family: Option<Family>) -> Option<Duration> {
        let mut known = self.round_trips.iter().filter(|&&(_, over, _)| Some(over) == family);
        known.find(|(of, ..)| of.over_both() == service.over_both()).map(|&(.., time)| time)
    }

    /// The longest known round trip to the target over a family.
    pub(super) fn round_trip_over(&self, family: Option<Family>) -> Option<Duration> {
        let known = self.round_trips.iter().filter(|&&(_, over, _)| Some(over) == family);
        known.map(|&(.., time)| time).max()
    }

    pub(super) fn remembered_answer(&self, service: Service) -> Option<Answer> {
        self.answers.iter().find(|(s, _)| *s == service).map(|&(_, answer)| answer)
    }
}

/// What a dial has learned of a service over one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observation {
    /// The service.
    pub service: Service,
    /// The family; `None` through a proxy or a command.
    pub family: Option<Family>,
    /// [`Outcome::Connected`], which forgets, or what is to be remembered against it.
    pub outcome: Outcome,
    /// The round trip of the connection; `None` where the kernel did not tell.
    pub round_trip: Option<Duration>,
    /// Whether it is remembered for a minute only: silence that the proof (rule 6) alone has shown.
    pub provisional: bool,
}
