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
    /// What the user answered for good when these services were to be begun.
    pub answers: Vec<(Service, Answer)>,
}

impl Hints {
    pub(super) fn knows_as_bad(&self, service: Service, family: Option<Family>) -> bool {
        self.bad.contains(&(service, family))
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
    /// The round trip of the connection.
    pub round_trip: Option<Duration>,
}
