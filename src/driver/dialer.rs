//! What starts dials, and a dial in one call.

use std::net::{SocketAddr, SocketAddrV6};
use std::sync::Arc;
use std::time::Instant;

use super::cache::Cache;
use super::dial::{Connected, Dial, DialDestination, Status};
use super::resolver::Resolver;
use super::sys;
use super::transport::{Passage, StartDial, direct};
use crate::config::{Config, ConfigError};
use crate::error::ConnectError;
use crate::machine::Machine;
use crate::plan::Plan;
use crate::target::{Host, Target};
use crate::via::Via;

/// Dials `host` by [`Plan::submission`] with the default settings, and blocks until it is
/// connected or cannot be.
///
/// `host` is a name or an address, or a [`Target`]. For everything else there is a [`Dialer`].
///
/// ```no_run
/// let connected = mailport::connect("mail.example.com")?;
/// println!("{}", connected.report.summary());
/// // Now speak SMTP on `connected.stream`, with TLS as `connected.service.tls()` demands.
/// # Ok::<(), mailport::ConnectError>(())
/// ```
pub fn connect<H>(host: H) -> Result<Connected, ConnectError>
where
    H: TryInto<Target>,
    ConnectError: From<H::Error>,
{
    Dialer::new().connect(host)
}

/// Starts dials: the plan, the settings, and what dials share. Cheap to clone.
///
/// ```no_run
/// use std::time::Duration;
/// use mailport::{Config, Dialer, Plan};
///
/// let mut config = Config::default();
/// config.timeout = Duration::from_secs(10);
/// let dialer = Dialer::new().with_plan(Plan::rfc8314()).with_config(config);
/// let connected = dialer.connect("mail.example.com")?;
/// # Ok::<(), mailport::ConnectError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Dialer {
    plan: Plan,
    config: Config,
    pub(super) resolver: Resolver,
    via: Option<Via>,
    cache: Option<Cache>,
    addresses: Option<Arc<[SocketAddr]>>,
}

impl Default for Dialer {
    fn default() -> Dialer {
        Dialer {
            plan: Plan::default(),
            config: Config::default(),
            resolver: Resolver::default(),
            via: None,
            cache: Some(Cache::shared()),
            addresses: None,
        }
    }
}

impl Dialer {
    /// A dialer by [`Plan::submission`] with the default settings, the system's resolver, and the
    /// [shared](Cache::shared) cache of the process.
    pub fn new() -> Dialer {
        Dialer::default()
    }

    /// The same dialer with another plan. Default [`Plan::submission`].
    #[must_use]
    pub fn with_plan(self, plan: Plan) -> Dialer {
        Dialer { plan, ..self }
    }

    /// The same dialer with other settings. Default [`Config::default`].
    #[must_use]
    pub fn with_config(self, config: Config) -> Dialer {
        Dialer { config, ..self }
    }

    /// The same dialer with another resolver. Default [`Resolver::default`], the system's.
    #[must_use]
    pub fn with_resolver(self, resolver: Resolver) -> Dialer {
        Dialer { resolver, ..self }
    }

    /// The same dialer with the addresses of the host, for a caller that has looked them up itself:
    /// best first, of both families; ports are ignored. Default none: the resolver is asked.
    ///
    /// Such a dial looks nothing up; an empty list fails as a name without addresses does. The host
    /// names the target in the report and in the cache. Through a proxy or a command the addresses
    /// are not used.
    #[must_use]
    pub fn with_addresses(self, addresses: impl Into<Arc<[SocketAddr]>>) -> Dialer {
        Dialer { addresses: Some(addresses.into()), ..self }
    }

    /// The same dialer, going through a proxy or a command. Default none: it connects by itself.
    ///
    /// Such a dial looks up no name but the proxy's, tries services one after the other, and waits
    /// for a greeting before a connection counts ([`GreetingWait`](crate::GreetingWait)). The
    /// settings for sockets (families, source address, device, mark) are for the connection to the
    /// proxy; a command takes none of them.
    ///
    /// A command runs for each service that is tried, with this process's environment but for
    /// `MAILPORT_VIA`. It is not a child of this process, and has a separate session. It ends when
    /// the dial is dropped before it has connected, and then with its input, when the connection is
    /// closed. The last line of its standard error (in memory, at most 1 MiB) is for the report.
    #[must_use]
    pub fn with_via(self, via: Via) -> Dialer {
        Dialer { via: Some(via), ..self }
    }

    /// The same dialer with another cache, from which its dials take hints of earlier ones, and
    /// where they leave observations for later ones. Default [`Cache::shared`].
    #[must_use]
    pub fn with_cache(self, cache: Cache) -> Dialer {
        Dialer { cache: Some(cache), ..self }
    }

    /// The same dialer without a cache: its dials learn nothing from one another.
    #[must_use]
    pub fn without_cache(self) -> Dialer {
        Dialer { cache: None, ..self }
    }

    /// What looks names up and connects, and nothing else.
    pub(super) fn direct_only(self) -> Dialer {
        Dialer { via: None, cache: None, addresses: None, ..self }
    }

    /// The plan of its dials.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The settings of its dials.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The cache of its dials; `None` where they go without one.
    pub fn cache(&self) -> Option<&Cache> {
        self.cache.as_ref()
    }

    /// Dials `host` and blocks until it is connected or cannot be.
    ///
    /// The stream blocks, as one from `std::net::TcpStream::connect` does. System calls that a
    /// signal interrupts are repeated. [`Config::ask`] is refused, since a call that blocks cannot
    /// ask.
    pub fn connect<H>(&self, host: H) -> Result<Connected, ConnectError>
    where
        H: TryInto<Target>,
        ConnectError: From<H::Error>,
    {
        let target = host.try_into()?;
        self.refuse_to_ask()?;
        let mut dial = self.start_dial(&target)?;
        while dial.wait(None) == Status::Pending {}
        let connected = dial.take()?;
        let blocking = connected.stream.set_nonblocking(false);
        blocking
            .map_err(|source| ConnectError::Setup { what: "the stream does not block", source })?;
        Ok(connected)
    }

    /// Starts to dial `host` and returns at once; nothing is sent before the first
    /// [`Dial::process`].
    ///
    /// Fails for a host that is not valid, and for settings that no dial can use. What the network says
    /// always comes from [`Dial::process`].
    pub fn start<H>(&self, host: H) -> Result<Dial, ConnectError>
    where
        H: TryInto<Target>,
        ConnectError: From<H::Error>,
    {
        self.start_dial(&host.try_into()?)
    }

    /// For a call that returns a connection or an error, and nothing in between.
    pub(super) fn refuse_to_ask(&self) -> Result<(), ConfigError> {
        if !self.config.ask {
            return Ok(());
        }
        Err(ConfigError::Unusable {
            name: "ask",
            value: "yes".to_owned(),
            reason: "a call that returns a connection cannot ask: start a dial".to_owned(),
            errno: None,
        })
    }

    fn start_dial(&self, target: &Target) -> Result<Dial, ConnectError> {
        let now = Instant::now();
        let (mut machine, destination) = match &self.via {
            None => self.direct(target, now)?,
            Some(via) => {
                let name = via.to_string();
                let machine = Machine::through(&name, target, &self.plan, &self.config, now)?;
                let passage = Passage::new(via, target, &self.config, &self.starter())?;
                (machine, DialDestination::Through(passage))
            }
        };
        let cache = self.cache.as_ref().and_then(|cache| {
            let has_addresses = self.addresses.is_some();
            let place =
                cache.place_of_dial(target, &self.config, self.via.as_ref(), has_addresses)?;
            Some((cache.clone(), place))
        });
        if let Some((cache, place)) = &cache {
            machine = machine.with_hints(cache.hints(place, &self.plan));
        }
        let (config, resolver) = (self.config.clone(), self.resolver.clone());
        Ok(Dial::new(machine, destination, config, resolver, cache, now))
    }

    /// A direct dial before its descriptors, which is known to be one that can begin.
    fn direct(
        &self,
        target: &Target,
        now: Instant,
    ) -> Result<(Machine, DialDestination), ConfigError> {
        let machine = Machine::new(target, &self.plan, &self.config, now)?;
        let destination = match (&self.addresses, target.host()) {
            (Some(addresses), _) => DialDestination::Addresses(Arc::clone(addresses)),
            (None, Host::Name(name)) => DialDestination::Name(name.clone()),
            (None, Host::Address(address)) => {
                DialDestination::Addresses([SocketAddr::new(*address, 0)].into())
            }
            (None, Host::Scoped(address, zone)) => {
                let scope = scope(zone)?;
                DialDestination::Addresses([SocketAddrV6::new(*address, 0, 0, scope).into()].into())
            }
        };
        direct::check_options(&self.config, machine.families(), destination.scope())?;
        Ok((machine, destination))
    }

    /// How the dials to a proxy are checked and started.
    fn starter(&self) -> StartDial {
        let resolver = self.resolver.clone();
        StartDial::new(move |target, plan, config| {
            let dialer = Dialer::new().without_cache().with_resolver(resolver.clone());
            let dial = dialer.with_plan(plan.clone()).with_config(config.clone()).start(target)?;
            Ok(Box::new(dial))
        })
    }
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
        errno: error.raw_os_error(),
    })
}
