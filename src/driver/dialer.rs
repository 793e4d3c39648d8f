//! What starts dials.

use std::net::{SocketAddr, SocketAddrV6};
use std::time::Instant;

use super::dial::{Destination, Dial};
use super::memory::Memory;
use super::resolve::Resolver;
use super::sockets;
use super::sys;
use crate::config::{Config, ConfigError};
use crate::error::ConnectError;
use crate::machine::Machine;
use crate::plan::Plan;
use crate::target::{Host, Target};

/// Starts dials, and holds what they share. Cheap to clone.
///
/// [`Dialer::default`] uses the resolver of the process and has no memory; nothing more is needed
/// to dial.
#[derive(Debug, Clone, Default)]
pub struct Dialer {
    pub(super) resolver: Resolver,
    pub(crate) memory: Option<Memory>,
}

impl Dialer {
    /// The same dialer with another resolver.
    #[must_use]
    pub fn with_resolver(self, resolver: Resolver) -> Dialer {
        Dialer { resolver, ..self }
    }

    /// The same dialer with a memory: its dials are told what earlier ones have learned, and teach
    /// later ones.
    #[must_use]
    pub fn with_memory(self, memory: Memory) -> Dialer {
        Dialer { memory: Some(memory), ..self }
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

    /// A dial without a timer in its descriptor, for a caller that only ever uses
    /// [`Dial::wait`].
    pub(crate) fn prepare(
        &self,
        target: &Target,
        plan: &Plan,
        config: &Config,
    ) -> Result<Dial, ConnectError> {
        let now = Instant::now();
        let mut machine = Machine::new(target, plan, config, now)?;
        let host = match target.host() {
            Host::Name(name) => Destination::Name(name.clone()),
            Host::Address(address) => Destination::Address(SocketAddr::new(*address, 0)),
            Host::Scoped(address, zone) => {
                let scope = scope(zone)?;
                Destination::Address(SocketAddrV6::new(*address, 0, 0, scope).into())
            }
        };
        sockets::check_options(config, machine.families(), host.scope())?;
        let memory = self.memory.clone();
        let memory = memory.and_then(|memory| Some((memory, Memory::place(target, config, "")?)));
        if let Some((memory, place)) = &memory {
            machine = machine.with_advice(memory.advice(place, plan));
        }
        let mut dial = Dial::new(machine, host, config.clone(), self.resolver.clone(), now)
            .map_err(ConnectError::Setup)?;
        dial.teaches(memory);
        Ok(dial)
    }
}

/// The number of a zone: an interface's name, or its index in digits (RFC 4007 section 11.2).
pub(super) fn scope(zone: &str) -> Result<u32, ConfigError> {
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
