//! Which candidate of a service is next, and in which order services and families go.

use super::race::{CandidatePlace, Try, TryState};
use super::rules::Rules;
use crate::outcome::Outcome;
use crate::plan::{Family, Service};

impl Rules<'_> {
    /// The services in the order in which they are tried, when the first of them begins: those
    /// remembered as bad go last where the caller wants that, but never after one of weaker TLS.
    pub(super) fn order(&self) -> Vec<Service> {
        let mut services = self.settings.services.clone();
        // One after the other, one that is silent would keep the better one from its turn; and to
        // begin with another is what an asking dial asks about.
        if self.settings.try_failed_last && !self.settings.is_serial() && !self.settings.ask {
            // Sorts stably, but nothing passes a service of weaker TLS.
            for end in (1..services.len()).rev() {
                for i in 0..end {
                    let (first, second) = (services[i], services[i + 1]);
                    let passes = !second.tls().is_weaker_than(first.tls());
                    if passes && self.is_known_as_bad(first) && !self.is_known_as_bad(second) {
                        services.swap(i, i + 1);
                    }
                }
            }
        }
        services
    }

    /// The address of a service to start next: families in turn, the better one first.
    pub(super) fn choose(&self, service: usize) -> Option<CandidatePlace> {
        if self.settings.through {
            return self.unstarted(service).next();
        }
        let of = |family| self.unstarted(service).find(|place| place.family() == Some(family));
        let turn = match self.race.of(service).last().and_then(Try::family) {
            // Interleaved (RFC 8305 section 4), with a First Address Family Count of 1.
            Some(last) => last.other(),
            None => self.addresses.first_family(),
        };
        let first = if self.goes_before(turn.other(), turn, service) { turn.other() } else { turn };
        of(first).or_else(|| of(first.other()))
    }

    /// Whether a family goes before the one whose turn it is: one that has answered goes before
    /// one that was silent for the attempt delay or failed softly, and before anything is known in
    /// this dial, one that is not remembered as bad before one that is.
    fn goes_before(&self, family: Family, turn: Family, service: usize) -> bool {
        let service = self.settings.services[service];
        let remembered = |family| self.settings.hints.knows_as_bad(service, Some(family));
        match (self.standing(turn), self.standing(family)) {
            (Standing::Bad, Standing::Good) => true,
            (Standing::Unknown, Standing::Good) => remembered(turn),
            (Standing::Unknown, Standing::Unknown) => {
                remembered(turn) && !remembered(family) && self.addresses.has_route(family)
            }
            _ => false,
        }
    }

    /// What this dial has learned of a family.
    fn standing(&self, family: Family) -> Standing {
        let mut standing = Standing::Unknown;
        for t in self.race.tries.iter().filter(|t| t.family() == Some(family)) {
            let outcome = match &t.state {
                TryState::Connecting
                    if self.now < self.after(t.started, self.settings.attempt_delay) =>
                {
                    continue;
                }
                TryState::Connecting => Outcome::Timeout,
                TryState::Confirming { .. } | TryState::Held => Outcome::Connected,
                TryState::Ended { end, .. } => end.failure().outcome,
            };
            if outcome.is_answer() {
                return Standing::Good;
            }
            if matches!(outcome, Outcome::IcmpSoft | Outcome::Timeout) {
                standing = Standing::Bad;
            }
        }
        standing
    }

    /// Whether a service is remembered as bad over every family that may still lead to it: one
    /// without addresses does not, nor one without a route where the other has one, nor one whose
    /// every attempt has failed in this dial.
    pub(super) fn is_known_as_bad(&self, service: Service) -> bool {
        let may_lead = |&family: &Family| {
            let has_failed = |address| {
                let mut tries = self.race.tries.iter();
                tries.any(|t| {
                    self.settings.services[t.service] == service
                        && t.is_at(address)
                        && t.failure().is_some()
                })
            };
            let other = family.other();
            let has_way = self.addresses.has_route(family) || !self.addresses.has_route(other);
            let may = has_way && !self.addresses.of(family).all(has_failed);
            service.allows(family) && (may || self.addresses.may_bring(family))
        };
        let mut families = Family::ALL.into_iter().filter(may_lead).peekable();
        let is_bad = |family| self.settings.hints.knows_as_bad(service, Some(family));
        families.peek().is_some() && families.all(is_bad)
    }

    /// The known candidates of a service that have not been tried, each family's best first.
    pub(super) fn unstarted(&self, service: usize) -> impl Iterator<Item = CandidatePlace> {
        let offered = self.settings.services[service];
        let at_port = move |mut address: std::net::SocketAddr| {
            address.set_port(offered.port());
            CandidatePlace::At(address)
        };
        let far = self.settings.through.then_some(CandidatePlace::Far);
        let addresses = self.addresses.all();
        let allowed = addresses.filter(move |address| offered.allows(Family::from(address.ip())));
        let tried = move |t: &Try, place| t.place == place && !self.may_be_repeated(t);
        far.into_iter()
            .chain(allowed.map(at_port))
            .filter(move |&place| !self.race.of(service).any(|t| tried(t, place)))
    }

    /// An attempt that was closed only because another was past its connect has not been tried.
    fn may_be_repeated(&self, t: &Try) -> bool {
        self.settings.is_serial() && t.was_cancelled()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Good,
    Unknown,
    Bad,
}
