//! What starts dials.

use std::net::{SocketAddr, SocketAddrV6};
use std::time::Instant;

use super::cache::Cache;
use super::dial::{Destination, Dial};
use super::resolver::Resolver;
use super::sys;
use super::transport::Passage;
use super::transport::direct;
use crate::config::{Config, ConfigError};
use crate::error::ConnectError;
use crate::machine::Machine;
use crate::plan::Plan;
use crate::target::{Host, Target};
use crate::via::Via;

/// Starts dials, and holds what they share. Cheap to clone.
///
/// [`Dialer::default`] uses the resolver of the process and has no cache; nothing more is needed
/// to dial.
#[derive(Debug, Clone, Default)]
pub struct Dialer {
    pub(super) resolver: Resolver,
    via: Option<Via>,
    pub(crate) cache: Option<Cache>,
}

impl Dialer {
    /// The same dialer with another resolver.
    #[must_use]
    pub fn with_resolver(self, resolver: Resolver) -> Dialer {
        Dialer { resolver, ..self }
    }

    /// The same dialer, going through a proxy or a command. Default none: it connects by itself.
    ///
    /// Such a dial looks up no name but the proxy's, tries services one after the other, and waits
    /// for a greeting before a connection counts ([`GreetingWait`](crate::GreetingWait)). The settings for sockets
    /// (families, source address, device, mark) are for the connection to the proxy; a command
    /// takes none of them.
    ///
    /// A command runs for each service that is tried, with this process's environment but for
    /// `MAILPORT_VIA`. It is not this process's child: a child of this process starts it and ends
    /// at once, for which a handler of SIGCHLD is called once. It ends when the connection is
    /// closed, as far as it minds the end of its input. The last line of its standard error (in
    /// cache, at most 1 MiB) is for the report.
    #[must_use]
    pub fn with_via(self, via: Via) -> Dialer {
        Dialer { via: Some(via), ..self }
    }

    /// What looks names up, and nothing else.
    pub(super) fn alone(self) -> Dialer {
        Dialer { via: None, cache: None, ..self }
    }

    /// The same dialer with a cache: its dials are told what earlier ones have learned, and teach
    /// later ones.
    #[must_use]
    pub fn with_cache(self, cache: Cache) -> Dialer {
        Dialer { cache: Some(cache), ..self }
    }

    /// Starts a dial and returns at once; nothing is sent before the first [`Dial::process`].
    ///
    /// Fails for settings that no dial can work with, and where the descriptors that every dial
    /// needs cannot be had. What the network says always comes from [`Dial::process`].
    pub fn start(
        &self,
        target: &Target,
        plan: &Plan,
        config: &Config,
    ) -> Result<Dial, ConnectError> {
        let mut dial = self.prepare(target, plan, config)?;
        dial.add_timer().map_err(ConnectError::Setup)?;
        Ok(dial)
    }

    /// A dial without a timer in its descriptor, for a caller that only ever uses [`Dial::wait`],
    /// which brings the time itself; in all else as [`Dialer::start`] gives it. Whoever watched the
    /// descriptor would miss what is due by time alone, unless [`Dial::add_timer`] was called.
    ///
    /// It costs less: a timer that is due at once interrupts the processor, which takes longer than
    /// a whole dial to an address nearby.
    pub fn prepare(
        &self,
        target: &Target,
        plan: &Plan,
        config: &Config,
    ) -> Result<Dial, ConnectError> {
        let now = Instant::now();
        let (mut machine, host) = match &self.via {
            None => begin(target, plan, config, now)?,
            Some(via) => {
                let machine = Machine::through(&via.to_string(), target, plan, config, now)?;
                let passage = Passage::new(via, target, config, &self.resolver, now)?;
                (machine, Destination::Through(passage))
            }
        };
        let via = self.via.as_ref();
        let cache = self.cache.clone();
        let cache = cache.and_then(|cache| Some((cache, Cache::place(target, config, via)?)));
        if let Some((cache, place)) = &cache {
            machine = machine.with_hints(cache.hints(place, plan));
        }
        let mut dial = Dial::new(machine, host, config.clone(), self.resolver.clone(), now)
            .map_err(ConnectError::Setup)?;
        dial.teaches(cache);
        Ok(dial)
    }
}

/// A direct dial before its descriptors, which is known to be one that can begin.
fn begin(
    target: &Target,
    plan: &Plan,
    config: &Config,
    now: Instant,
) -> Result<(Machine, Destination), ConfigError> {
    let machine = Machine::new(target, plan, config, now)?;
    let host = match target.host() {
        Host::Name(name) => Destination::Name(name.clone()),
        Host::Address(address) => Destination::Address(SocketAddr::new(*address, 0)),
        Host::Scoped(address, zone) => {
            let scope = scope(zone)?;
            Destination::Address(SocketAddrV6::new(*address, 0, 0, scope).into())
        }
    };
    direct::check_options(config, machine.families(), host.scope())?;
    Ok((machine, host))
}

/// Whether a direct dial can begin.
pub(super) fn check(
    target: &Target,
    plan: &Plan,
    config: &Config,
    now: Instant,
) -> Result<(), ConfigError> {
    begin(target, plan, config, now).map(drop)
}

/// The number of a zone: an interface's name, or its index in digits (RFC 4007 section 11.2).
pub fn scope(zone: &str) -> Result<u32, ConfigError> {
    if let Ok(index) = zone.parse::<u32>()
        && index > 0
    {
        return Ok(index);
    }
    sys::interface_index(zone).map_err(|error| ConfigError::Unusable {
        name: "zone",
        value: zone.to_owned(),
        reason: error.to_string(),
    })
}
