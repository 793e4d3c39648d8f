//! What a probe found of one host.

use std::net::SocketAddr;
use std::time::Duration;

use crate::machine::{Hints, Query, usable};
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
    /// What the look-up of its name gave, and then, where that was slow, what those of one family
    /// gave; of an address, the address itself.
    pub answers: Vec<LookedUp>,
    /// One attempt for each of [`Probed::candidates`], in their order. Times are counted from the
    /// beginning of the host's look-ups.
    pub attempts: Vec<Attempt>,
    /// The hints of the cache for a dial; empty without a cache.
    pub hints: Hints,
}

/// What one look-up gave.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LookedUp {
    /// What was asked for.
    pub query: Query,
    /// When it came, from the beginning of the look-ups; `None` if it never did.
    pub ended: Option<Duration>,
    /// The addresses, best first, each once and with port 0; or why there is none.
    pub addresses: Result<Vec<SocketAddr>, LookupError>,
    /// The families of these addresses that this machine has a route to.
    pub routes: Vec<Family>,
}

impl LookedUp {
    /// An answer as a dial of these families would take it: repetitions, addresses of other
    /// families and those that no host can have are left out, and none at all is a failed look-up.
    pub fn new(
        query: Query,
        families: &[Family],
        ended: Option<Duration>,
        addresses: Result<Vec<SocketAddr>, LookupError>,
    ) -> LookedUp {
        let families = match &query {
            Query::Authority => families,
            Query::Hedge(family) => std::slice::from_ref(family),
        };
        let addresses = addresses.and_then(|list| usable(families, list));
        LookedUp { query, ended, addresses, routes: Vec::new() }
    }

    /// The same answer with the families that this machine has a route to.
    #[must_use]
    pub fn with_routes(self, routes: Vec<Family>) -> LookedUp {
        LookedUp { routes, ..self }
    }

    /// The addresses; none where the look-up failed.
    pub fn list(&self) -> &[SocketAddr] {
        self.addresses.as_deref().unwrap_or_default()
    }
}

impl Probed {
    /// A host with what its look-ups gave, and these attempts.
    pub fn new(target: Target, answers: Vec<LookedUp>, attempts: Vec<Attempt>) -> Probed {
        Probed { target, answers, attempts, hints: Hints::default() }
    }

    /// The addresses that the host has, in their order: those of the look-up that is the last word
    /// or, where it failed, those of the look-ups of one family.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        let of = |authority: bool| {
            let of_it = move |answer: &&LookedUp| (answer.query == Query::Authority) == authority;
            self.answers.iter().filter(of_it).flat_map(|answer| answer.list().iter().copied())
        };
        let failed = of(true).next().is_none();
        of(true).chain(of(false).filter(move |_| failed))
    }

    /// Every service at every address that it may be reached at, in the plan's order; within a
    /// service the addresses in their order.
    pub fn candidates(&self, plan: &Plan) -> Vec<(Service, SocketAddr)> {
        let mut candidates = Vec::new();
        for &service in plan.services() {
            let allowed = self.addresses().filter(|a| service.allows(Family::from(a.ip())));
            candidates.extend(allowed.map(|mut address| {
                address.set_port(service.port());
                (service, address)
            }));
        }
        candidates
    }

    /// The look-up as a report has it: none for an address.
    pub fn lookup(&self) -> Option<Lookup> {
        let Host::Name(_) = self.target.host() else { return None };
        let authority = self.answers.iter().find(|answer| answer.query == Query::Authority)?;
        let list: Vec<SocketAddr> = self.addresses().collect();
        let error = || authority.addresses.clone().err().unwrap_or(LookupError::NoAddress);
        Some(Lookup {
            hedged: self.answers.len() > 1,
            ended: authority.ended,
            result: if list.is_empty() { Err(error()) } else { Ok(list) },
        })
    }

    /// How long the probe of this host took: until its last attempt or its last answer.
    pub fn elapsed(&self) -> Duration {
        let attempts = self.attempts.iter().map(|attempt| attempt.ended);
        attempts.chain(self.answers.iter().filter_map(|a| a.ended)).max().unwrap_or_default()
    }

    /// The attempt of this probe at the address of a dial's attempt.
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
        let summary = forecast.summary();
        if forecast.winner().is_some() {
            let host = &self.target;
            // The last clause of a report's summary is what the dial ended with.
            return match summary.rsplit_once("; ") {
                Some((before, end)) => format!("{host}: {before}; a dial would be {end}"),
                None => format!("{host}: a dial would be {summary}"),
            };
        }
        // Where nothing connects, the probe's own words say what was measured and no more. One that
        // connected where the dial would not has failed by the dial's rules, so the failure is reported.
        let connected = self.attempts.iter().any(|a| a.outcome == Some(Outcome::Connected));
        if connected { summary } else { self.failure().summary() }
    }

    /// This probe of a host where nothing connected, as the report of a dial.
    fn failure(&self) -> Report {
        let end = if self.attempts.is_empty() { End::Unresolved } else { End::Exhausted };
        Report {
            host: self.target.as_str().to_owned(),
            via: None,
            attempts: self.attempts.clone(),
            lookup: self.lookup(),
            end: Some(end),
            elapsed: self.elapsed(),
        }
    }
}
