//! What a probe found of one host.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::machine::{Hints, usable};
use crate::outcome::Outcome;
use crate::plan::{Family, Plan, Service};
use crate::report::{Attempt, End, Lookup, LookupError, Report};
use crate::target::{Host, Target};

/// What a probe found of one host: every candidate of every service, whether or not another one
/// had connected.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Probed {
    /// The host.
    pub target: Target,
    /// What the look-ups of its name gave, IPv6 first; of an address, the address itself.
    pub answers: Vec<Answer>,
    /// One attempt for each of [`Probed::candidates`], in their order. Times are counted from the
    /// beginning of the host's look-ups.
    pub attempts: Vec<Attempt>,
    /// What a dial would be told by the cache; nothing without one.
    pub hints: Hints,
}

/// What the look-up of one family gave.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answer {
    /// The family that was asked for.
    pub family: Family,
    /// When it came, from the beginning of the look-ups; `None` if it never did.
    pub ended: Option<Duration>,
    /// The addresses, best first, each once and with port 0; or why there is none.
    pub addresses: Result<Vec<SocketAddr>, LookupError>,
    /// The source address that the kernel would use towards the first of them, `None` where it has
    /// no route. A dial orders the families by it (RFC 6724 section 6).
    pub source: Option<IpAddr>,
}

impl Answer {
    /// An answer as a dial would take it: repetitions, addresses of the other family and those that
    /// no host can have are left out, and none at all is a failed look-up.
    pub fn new(
        family: Family,
        ended: Option<Duration>,
        addresses: Result<Vec<SocketAddr>, LookupError>,
        source: Option<IpAddr>,
    ) -> Answer {
        let addresses = addresses.and_then(|list| usable(family, list));
        Answer { family, ended, addresses, source }
    }

    /// The addresses; none where the look-up failed.
    pub fn list(&self) -> &[SocketAddr] {
        self.addresses.as_deref().unwrap_or_default()
    }
}

impl Probed {
    /// A host with what its look-ups gave, and these attempts.
    pub fn new(target: Target, answers: Vec<Answer>, attempts: Vec<Attempt>) -> Probed {
        Probed { target, answers, attempts, hints: Hints::default() }
    }

    /// Every service at every address that it may be reached at, in the plan's order; within a
    /// service IPv6 first, and each family's addresses in their order.
    pub fn candidates(&self, plan: &Plan) -> Vec<(Service, SocketAddr)> {
        let mut candidates = Vec::new();
        for &service in plan.services() {
            let answers = self.answers.iter().filter(|answer| service.allows(answer.family));
            candidates.extend(answers.flat_map(Answer::list).map(|&address| {
                let mut address = address;
                address.set_port(service.port());
                (service, address)
            }));
        }
        candidates
    }

    /// The look-ups as a report has them: none for an address.
    pub fn lookups(&self) -> Vec<Lookup> {
        if !matches!(self.target.host(), Host::Name(_)) {
            return Vec::new();
        }
        let lookups = self.answers.iter().map(|answer| Lookup {
            family: answer.family,
            ended: answer.ended,
            result: answer.addresses.as_ref().map(Vec::len).map_err(LookupError::clone),
        });
        lookups.collect()
    }

    /// How long the probe of this host took: until its last attempt or its last answer.
    pub fn elapsed(&self) -> Duration {
        let attempts = self.attempts.iter().map(|attempt| attempt.ended);
        attempts.chain(self.answers.iter().filter_map(|a| a.ended)).max().unwrap_or_default()
    }

    /// The attempt of this probe that a dial's attempt stands for.
    pub(super) fn attempt_at(&self, address: SocketAddr) -> Option<&Attempt> {
        self.attempts.iter().find(|attempt| attempt.address == Some(address))
    }

    /// The index in [`Probed::attempts`] of what a forecast connects to.
    pub fn chosen(&self, forecast: &Report) -> Option<usize> {
        let winner = forecast.winner()?.address;
        self.attempts.iter().position(|attempt| attempt.address == winner)
    }

    /// One sentence for people: what a dial would come to by this [`forecast`](Probed::forecast),
    /// or what keeps it from connecting.
    pub fn summary(&self, forecast: &Report) -> String {
        let told = forecast.summary();
        if forecast.winner().is_some() {
            let host = &self.target;
            // The last clause of a report's summary is what the dial ended with.
            return match told.rsplit_once("; ") {
                Some((before, end)) => format!("{host}: {before}; a dial would be {end}"),
                None => format!("{host}: a dial would be {told}"),
            };
        }
        // Where nothing connects, the probe's own words say what was measured and no more. One that
        // connected where the dial would not has failed by the dial's rules, so that is told.
        let connected = self.attempts.iter().any(|a| a.outcome == Some(Outcome::Connected));
        if connected { told } else { self.failure().summary() }
    }

    /// This probe of a host where nothing connected, as the report of a dial.
    fn failure(&self) -> Report {
        let end = if self.attempts.is_empty() { End::Unresolved } else { End::Exhausted };
        Report {
            host: self.target.as_str().to_owned(),
            via: None,
            attempts: self.attempts.clone(),
            lookups: self.lookups(),
            end: Some(end),
            elapsed: self.elapsed(),
        }
    }
}
