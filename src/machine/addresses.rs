//! Rule 1: which addresses the host has, by what its look-ups have given so far.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::event::Query;
use crate::plan::Family;
use crate::report::{Lookup, LookupError};

/// How long the authority may take before one look-up a family helps it. Most answers of a name
/// service come sooner, so that most dials cost one look-up.
pub(crate) const LOOKUP_HEDGE: Duration = Duration::from_millis(100);

/// The most addresses of one family that a dial uses: the best ones. More than this is no server,
/// and could keep a dial busy until its deadline.
const MAX_ADDRESSES: usize = 32;

/// The addresses of the host. What was answered is kept; which addresses there are follows from
/// it, in any order of answers that come at the same time.
#[derive(Debug)]
pub(super) struct Addresses {
    /// The families that the dial can use, IPv6 first.
    families: Vec<Family>,
    authority: LookupState,
    /// The hedges, IPv6 first; none until they have been started.
    hedges: Vec<(Family, LookupState)>,
    /// The addresses that exist by what is known now, in the order to try them.
    known: Vec<KnownAddress>,
    /// The families that this machine has a route to.
    routes: Vec<Family>,
    /// The family that the caller wants first, or else the cache, before the authority's order.
    wanted: Option<Family>,
}

#[derive(Debug)]
enum LookupState {
    Pending,
    Given { list: Vec<SocketAddr>, at: Instant },
    Failed { error: LookupError, at: Instant },
}

#[derive(Debug, Clone, Copy)]
struct KnownAddress {
    address: SocketAddr,
    /// When it became known.
    at: Instant,
}

impl Addresses {
    pub(super) fn new(families: &[Family], wanted: Option<Family>) -> Addresses {
        Addresses {
            families: families.to_vec(),
            authority: LookupState::Pending,
            hedges: Vec::new(),
            known: Vec::new(),
            routes: Vec::new(),
            wanted,
        }
    }

    /// The family that has worked best goes first, if the caller has no wish.
    pub(super) fn prefer(&mut self, family: Family) {
        self.wanted = self.wanted.or(Some(family));
    }

    /// Takes the first answer to a query; a second one would move candidates under the race.
    pub(super) fn take(
        &mut self,
        query: Query,
        addresses: Result<Vec<SocketAddr>, LookupError>,
        routes: Vec<Family>,
        at: Instant,
    ) {
        let (families, answer) = match query {
            Query::Authority => (&*self.families, &mut self.authority),
            Query::Hedge(of) => {
                let mut hedges = self.hedges.iter_mut();
                let Some((family, answer)) = hedges.find(|(family, _)| *family == of) else {
                    return;
                };
                (std::slice::from_ref(&*family), answer)
            }
        };
        let LookupState::Pending = answer else { return };
        *answer = match addresses.and_then(|list| usable(families, list)) {
            Ok(list) => LookupState::Given { list, at },
            Err(error) => LookupState::Failed { error, at },
        };
        self.routes.extend(routes);
        self.known = self.derive();
    }

    /// The hedges start: one query a family.
    pub(super) fn hedge(&mut self) -> impl Iterator<Item = Query> {
        self.hedges = self.families.iter().map(|&family| (family, LookupState::Pending)).collect();
        self.hedges.iter().map(|&(family, _)| Query::Hedge(family))
    }

    /// When the hedges are to start, in a dial that began at this moment.
    pub(super) fn hedge_at(&self, began: Instant) -> Option<Instant> {
        match &self.authority {
            _ if !self.hedges.is_empty() => None,
            LookupState::Pending => Some(began + LOOKUP_HEDGE),
            LookupState::Failed { error, at } => error.is_temporary().then_some(*at),
            LookupState::Given { .. } => None,
        }
    }

    /// The addresses that exist: the authority's answer is the last word, and until it comes the
    /// hedges' are used, IPv6 first.
    fn derive(&self) -> Vec<KnownAddress> {
        if let LookupState::Given { list, at } = &self.authority {
            let known = list.iter().map(|&address| {
                let sooner = self.hedged().find(|hedged| hedged.address == address);
                KnownAddress { address, at: sooner.map_or(*at, |hedged| hedged.at.min(*at)) }
            });
            return known.collect();
        }
        if self.hedges_count() { self.hedged().collect() } else { Vec::new() }
    }

    fn hedged(&self) -> impl Iterator<Item = KnownAddress> {
        let given = self.hedges.iter().filter_map(|(_, answer)| match answer {
            LookupState::Given { list, at } => Some((list, *at)),
            _ => None,
        });
        given.flat_map(|(list, at)| list.iter().map(move |&address| KnownAddress { address, at }))
    }

    /// Whether the hedges' answers are used. An authority that says for certain that there is no
    /// address ends that, unless the dial was at one by then.
    fn hedges_count(&self) -> bool {
        match &self.authority {
            LookupState::Pending => true,
            LookupState::Given { .. } => false,
            LookupState::Failed { error, at } => {
                error.is_temporary() || self.hedged().any(|hedged| hedged.at <= *at)
            }
        }
    }

    /// Whether more may become known.
    pub(super) fn is_pending(&self) -> bool {
        self.families.iter().any(|&family| self.may_bring(family))
    }

    /// Whether addresses of a family may still become known.
    pub(super) fn may_bring(&self, family: Family) -> bool {
        let hedge = self.hedges.iter().find(|(of, _)| *of == family).map(|(_, answer)| answer);
        match (&self.authority, hedge) {
            _ if !self.families.contains(&family) => false,
            (LookupState::Pending, _) => true,
            (_, Some(LookupState::Pending)) => self.hedges_count(),
            (LookupState::Failed { error, .. }, None) => error.is_temporary(),
            _ => false,
        }
    }

    /// Whether the first addresses of a family may still become known: its hedge has not brought
    /// any, nor said that there is none.
    pub(super) fn are_awaited(&self, family: Family) -> bool {
        let mut hedges = self.hedges.iter();
        let has_answer = hedges.any(|(of, answer)| {
            let is_final = match answer {
                LookupState::Given { .. } => true,
                LookupState::Failed { error, .. } => error.says_there_is_none(),
                LookupState::Pending => false,
            };
            *of == family && is_final
        });
        self.may_bring(family) && !has_answer
    }

    /// Whether the authority has said that this is no address of the host.
    pub(super) fn disowns(&self, address: SocketAddr) -> bool {
        let has = |list: &[SocketAddr]| list.iter().any(|known| is_same_host(*known, address));
        matches!(&self.authority, LookupState::Given { list, .. } if !has(list))
    }

    /// Whether this machine has a route to a family.
    pub(super) fn has_route(&self, family: Family) -> bool {
        self.routes.contains(&family)
    }

    /// The addresses of a family that are known now, best first.
    pub(super) fn of(&self, family: Family) -> impl Iterator<Item = SocketAddr> {
        self.all().filter(move |address| Family::from(address.ip()) == family)
    }

    /// The addresses that are known now.
    pub(super) fn all(&self) -> impl Iterator<Item = SocketAddr> {
        self.known.iter().map(|known| known.address)
    }

    /// When an address became known, at any port.
    pub(super) fn arrived(&self, address: SocketAddr) -> Option<Instant> {
        self.known.iter().find(|known| is_same_host(known.address, address)).map(|known| known.at)
    }

    /// When the first address became known: connecting begins then.
    pub(super) fn begin_at(&self) -> Option<Instant> {
        self.known.iter().map(|known| known.at).min()
    }

    /// Rule 2: the family that goes first, of those known now: the caller's choice, or the
    /// cache's, or that of the authority's order.
    pub(super) fn first_family(&self) -> Family {
        let first = || self.all().next().map(|address| Family::from(address.ip()));
        self.wanted.or_else(first).unwrap_or(Family::Ipv6)
    }

    /// The error of a host without addresses: the authority's, for it is the last word.
    pub(super) fn error(&self) -> Option<&LookupError> {
        match &self.authority {
            LookupState::Failed { error, .. } if self.known.is_empty() => Some(error),
            _ => None,
        }
    }

    /// The look-up as a report has it.
    pub(super) fn lookup(&self, began: Instant) -> Lookup {
        let (ended, error) = match &self.authority {
            LookupState::Pending => (None, LookupError::Unanswered),
            LookupState::Given { at, .. } => (Some(*at - began), LookupError::NoAddress),
            LookupState::Failed { error, at } => (Some(*at - began), error.clone()),
        };
        let known: Vec<SocketAddr> = self.all().collect();
        let result = if known.is_empty() { Err(error) } else { Ok(known) };
        Lookup { hedged: !self.hedges.is_empty(), ended, result }
    }
}

/// The addresses of these families that a server can have, without repetitions, in their order:
/// the best of each family.
pub(crate) fn usable(
    families: &[Family],
    list: Vec<SocketAddr>,
) -> Result<Vec<SocketAddr>, LookupError> {
    let mut seen: Vec<SocketAddr> = Vec::new();
    let mut refused = None;
    for mut address in list {
        address.set_port(0);
        if let IpAddr::V4(mapped) = address.ip().to_canonical() {
            // An IPv4-mapped IPv6 address is the IPv4 address that it maps.
            address.set_ip(mapped.into());
        }
        let family = Family::from(address.ip());
        if !families.contains(&family) {
            continue;
        }
        let of_family = seen.iter().filter(|seen| Family::from(seen.ip()) == family).count();
        // Others are tried as they come: a resolver may give addresses with a private meaning, which a
        // shim of connect(2) understands (proxychains: 224.0.0.0/8).
        if address.ip().is_unspecified() {
            refused = Some(address.ip());
        } else if of_family < MAX_ADDRESSES && !seen.contains(&address) {
            seen.push(address);
        }
    }
    match (seen.is_empty(), refused) {
        (false, _) => Ok(seen),
        (true, Some(address)) => Err(LookupError::Unusable(address)),
        (true, None) => Err(LookupError::NoAddress),
    }
}

/// Whether two addresses are equal but for their ports.
fn is_same_host(one: SocketAddr, mut other: SocketAddr) -> bool {
    other.set_port(one.port());
    one == other
}
