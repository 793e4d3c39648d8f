//! What the look-ups have given so far, and when that is enough to begin.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::order;
use crate::plan::Family;
use crate::report::LookupError;
use crate::target::is_of_a_host;

/// The most addresses of one family that a dial uses: the best ones. More than this is no server,
/// and could keep a dial busy until its deadline.
const MAX_ADDRESSES: usize = 32;

/// The look-ups of one dial, one for each family that its plan can use.
#[derive(Debug)]
pub(super) struct Answers {
    asked: Vec<Asked>,
    /// The family that the caller wants first, or else the cache, whatever RFC 6724 says.
    wanted: Option<Family>,
    /// The only family of the first service.
    only_of_first_service: Option<Family>,
}

#[derive(Debug)]
pub(super) struct Asked {
    pub(super) family: Family,
    pub(super) answer: Answer,
}

#[derive(Debug)]
pub(super) enum Answer {
    Pending,
    Addresses { list: Vec<SocketAddr>, source: Option<IpAddr>, at: Instant },
    Failed { error: LookupError, at: Instant },
}

impl Answers {
    pub(super) fn new(
        families: &[Family],
        wanted: Option<Family>,
        only_of_first_service: Option<Family>,
    ) -> Answers {
        let asked = families.iter().map(|&family| Asked { family, answer: Answer::Pending });
        Answers { asked: asked.collect(), wanted, only_of_first_service }
    }

    /// The family that has worked best goes first, if the caller has no wish.
    pub(super) fn prefer(&mut self, family: Family) {
        self.wanted = self.wanted.or(Some(family));
    }

    pub(super) fn asked(&self) -> &[Asked] {
        &self.asked
    }

    /// Takes the first answer of a family; a second one would move candidates under the race.
    pub(super) fn take(
        &mut self,
        family: Family,
        addresses: Result<Vec<SocketAddr>, LookupError>,
        source: Option<IpAddr>,
        at: Instant,
    ) {
        let asked = self.asked.iter_mut().find(|asked| asked.family == family);
        let Some(Asked { answer: answer @ Answer::Pending, .. }) = asked else { return };
        *answer = match addresses.and_then(|list| usable(family, list)) {
            Ok(list) => Answer::Addresses { list, source, at },
            Err(error) => Answer::Failed { error, at },
        };
    }

    pub(super) fn is_pending(&self) -> bool {
        self.asked.iter().any(|asked| matches!(asked.answer, Answer::Pending))
    }

    pub(super) fn is_pending_in(&self, family: Family) -> bool {
        matches!(self.answer(family), Some(Answer::Pending))
    }

    /// Whether the kernel knows a way to the addresses of a family.
    pub(super) fn has_route(&self, family: Family) -> bool {
        matches!(self.answer(family), Some(Answer::Addresses { source: Some(_), .. }))
    }

    /// The addresses of a family that are known now, best first.
    pub(super) fn addresses(&self, family: Family) -> &[SocketAddr] {
        match self.answer(family) {
            Some(Answer::Addresses { list, .. }) => list,
            _ => &[],
        }
    }

    /// When the addresses of a family arrived.
    pub(super) fn arrived(&self, family: Family) -> Option<Instant> {
        match self.answer(family)? {
            Answer::Addresses { at, .. } => Some(*at),
            _ => None,
        }
    }

    /// The family that goes first, of those known now.
    pub(super) fn first_family(&self) -> Family {
        if let Some(wanted) = self.wanted {
            return wanted;
        }
        let known = |family| match self.answer(family) {
            Some(Answer::Addresses { list, source, .. }) => Some((list.first()?.ip(), *source)),
            _ => None,
        };
        match (known(Family::Ipv6), known(Family::Ipv4)) {
            (Some(v6), Some(v4)) => order::first_by_address(v6, v4),
            (None, Some(_)) => Family::Ipv4,
            _ => Family::Ipv6,
        }
    }

    /// When connecting may begin, as things stand.
    ///
    /// > If a positive A response is received first due to reordering, the client SHOULD wait a
    /// > short time for the AAAA response to ensure that preference is given to IPv6 (RFC 8305
    /// > section 3)
    pub(super) fn begin_at(&self, resolution_delay: Duration) -> Option<Instant> {
        // Addresses that the first service cannot use are no reason to begin: the dial would be
        // on the second service before the first had its chance.
        let awaited = self.only_of_first_service.or(self.wanted).unwrap_or(Family::Ipv6);
        if let Some(at) = self.arrived(awaited) {
            return Some(at);
        }
        let at = self.arrived(awaited.other())?;
        match self.answer(awaited) {
            Some(Answer::Pending) => Some(at + resolution_delay),
            _ => Some(at),
        }
    }

    fn answer(&self, family: Family) -> Option<&Answer> {
        self.asked.iter().find(|asked| asked.family == family).map(|asked| &asked.answer)
    }
}

/// The best addresses of `family` that a server can have, without repetitions, in their order.
pub(crate) fn usable(
    family: Family,
    list: Vec<SocketAddr>,
) -> Result<Vec<SocketAddr>, LookupError> {
    let mut seen = Vec::new();
    let mut refused = None;
    for mut address in list.into_iter().filter(|address| Family::from(address.ip()) == family) {
        address.set_port(0);
        if !is_of_a_host(address.ip()) {
            refused = Some(address.ip());
        } else if seen.len() < MAX_ADDRESSES && !seen.contains(&address) {
            seen.push(address);
        }
    }
    match (seen.is_empty(), refused) {
        (false, _) => Ok(seen),
        (true, Some(address)) => Err(LookupError::Unusable(address)),
        (true, None) => Err(LookupError::NotFound),
    }
}
