//! Where a session goes.

use std::net::{SocketAddr, SocketAddrV6};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mailport::internal::scope;
use mailport::plan::Plan;
use mailport::target::{Host, Target};

/// Where a session goes.
#[derive(Debug)]
pub(super) struct Destination {
    pub(super) target: Target,
    pub(super) plan: Plan,
    /// How long the dial may take, with all its tries.
    pub(super) timeout: Duration,
    /// When it began.
    pub(super) began: Option<Instant>,
    /// The addresses of the target, where the relay has looked them up already.
    pub(super) addresses: Option<Arc<[SocketAddr]>>,
    /// Whether the client has named the host itself, so that its look-up counts against quotas.
    pub(super) is_named: bool,
}

impl Destination {
    /// The addresses that are known without a look-up.
    pub(super) fn known(&self) -> Vec<SocketAddr> {
        let Some(addresses) = &self.addresses else { return known(&self.target, &self.plan) };
        let ports = || self.plan.services().iter().map(|service| service.port());
        let at = |address: &SocketAddr| {
            let address = *address;
            ports().map(move |port| SocketAddr::new(address.ip(), port))
        };
        addresses.iter().flat_map(at).collect()
    }

    /// Whether the dial needs a look-up of a name that a client has chosen.
    pub(super) fn needs_quota(&self) -> bool {
        self.is_named && self.addresses.is_none() && matches!(self.target.host(), Host::Name(_))
    }

    /// When the dial has taken too long.
    pub(super) fn deadline(&mut self, now: Instant) -> Instant {
        *self.began.get_or_insert(now) + self.timeout
    }
}

fn known(target: &Target, plan: &Plan) -> Vec<SocketAddr> {
    let at = |port| match target.host() {
        Host::Name(_) => None,
        Host::Address(address) => Some(SocketAddr::new(*address, port)),
        // If there is no such link, the dial says so.
        Host::Scoped(address, zone) => {
            scope(zone).ok().map(|scope| SocketAddrV6::new(*address, port, 0, scope).into())
        }
    };
    plan.services().iter().filter_map(|service| at(service.port())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_known_before_the_dial_also_one_with_a_zone() {
        let known = |host: &str| known(&host.parse().unwrap(), &Plan::submission());
        let of = |text: &str| text.parse::<SocketAddr>().unwrap();
        assert_eq!(known("192.0.2.1"), [of("192.0.2.1:587"), of("192.0.2.1:25")]);
        assert_eq!(known("fe80::1%7"), [of("[fe80::1%7]:587"), of("[fe80::1%7]:25")]);
        assert!(known("mail.example").is_empty() && known("fe80::1%no-such-link").is_empty());
    }

    #[test]
    fn an_address_is_a_target_with_its_zone() {
        let target = |text: &str| {
            Target::try_from(text.parse::<SocketAddr>().unwrap())
                .ok()
                .map(|target| target.to_string())
        };
        assert_eq!(target("192.0.2.1:25"), Some("192.0.2.1".into()));
        assert_eq!(target("[2001:db8::1]:25"), Some("2001:db8::1".into()));
        assert_eq!(target("[fe80::1%7]:25"), Some("fe80::1%7".into()));
        assert_eq!((target("0.0.0.0:25"), target("[fe80::1]:25")), (None, None));
    }
}
