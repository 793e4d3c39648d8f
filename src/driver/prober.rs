//! Every candidate of many hosts: what is to be probed, and with which settings.

use std::io;
use std::net::{SocketAddr, SocketAddrV6};
use std::time::{Duration, Instant};

use super::dialer::{Dialer, scope};
use super::probe_run::{ProbeProgress, Probing, Run};
use super::stream::Stream;
use super::transport::direct;
use crate::config::{Config, ConfigError, Families, GreetingWait, MIN_DELAY};
use crate::machine::{Hints, Machine};
use crate::plan::Service;
use crate::probe::Probed;
use crate::target::{Host, Target};

/// Tries every candidate of every service of hosts, at the same time and without stopping at the
/// first that connects.
///
/// Nothing is sent to a server: each connection is closed as soon as it is established.
///
/// ```no_run
/// use std::time::Instant;
/// use mailport::{Dialer, Prober};
///
/// let dialer = Dialer::new();
/// let hosts = ["mail.example.com".parse()?, "192.0.2.1".parse()?];
/// for probed in Prober::new(dialer.clone()).run(&hosts, |_| ())? {
///     let forecast = probed.forecast(dialer.plan(), dialer.config(), Instant::now())?;
///     println!("{}", forecast.summary());
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Prober {
    dialer: Dialer,
    attempt_timeout: Duration,
}

/// Why nothing was probed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// Settings that no dial can work with; the caller's mistake, and nothing was sent.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A host that cannot be dialled with these settings; the caller's mistake, and nothing was
    /// sent.
    #[error("{host}: {source}")]
    Host {
        /// The host.
        host: String,
        /// What is wrong with it.
        source: ConfigError,
    },
    /// The descriptors that every probe needs could not be had; nothing was sent.
    #[error("cannot start to probe: {0}")]
    Setup(#[source] io::Error),
}

impl Prober {
    /// How long a candidate may be silent, unless the caller says otherwise: by then five or six
    /// SYNs have gone unanswered.
    pub const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);

    /// A prober for the dials of this dialer.
    ///
    /// It probes the services of the dialer's plan. Of the settings, families, source address,
    /// device and mark matter to it, and the timeout, which the look-ups of a name have: otherwise
    /// it waits for its attempt timeout only. A probe is of addresses, so it goes through no
    /// proxy and no command. The cache is used for the forecast only: the probe teaches it nothing.
    pub fn new(dialer: Dialer) -> Prober {
        Prober { dialer, attempt_timeout: Prober::ATTEMPT_TIMEOUT }
    }

    /// The same prober with another time for each candidate. Default 5 s; at least 10 ms. What
    /// takes longer is silent.
    #[must_use]
    pub fn with_attempt_timeout(self, attempt_timeout: Duration) -> Prober {
        Prober { attempt_timeout, ..self }
    }

    /// Probes the hosts, blocks until all is known, and gives what was found in their order.
    /// `progress` is called whenever something has changed.
    ///
    /// At most 64 candidates are tried at once. Where descriptors run out, fewer are; only where
    /// not even one can be tried is its outcome [`Outcome::Local`](crate::Outcome::Local).
    pub fn run(
        &self,
        targets: &[Target],
        progress: impl FnMut(ProbeProgress),
    ) -> Result<Vec<Probed>, ProbeError> {
        self.run_and_hand_over(targets, progress, |_, _, _, _| ())
    }

    /// Probes the hosts like [`Prober::run`], and calls `connected` with each connection instead of
    /// closing it: the index of the host in `targets`, the service, the address and port, and the
    /// connection, which is non-blocking. The probe waits while `connected` runs.
    pub fn run_and_hand_over(
        &self,
        targets: &[Target],
        progress: impl FnMut(ProbeProgress),
        connected: impl FnMut(usize, Service, SocketAddr, Stream),
    ) -> Result<Vec<Probed>, ProbeError> {
        let config = self.config_of_one();
        self.dialer.config().check()?;
        config.check().map_err(of_attempt)?;
        let hosts = targets.iter().map(|target| self.host(target)).collect::<Result<_, _>>()?;
        let dialer = self.dialer.clone().direct_only();
        let of_one = dialer.clone().with_config(config);
        let run = Run::new(dialer, of_one, hosts, progress, connected);
        let mut run = run.map_err(ProbeError::Setup)?;
        while run.admit() {
            run.wait();
        }
        let mut found = run.into_probed();
        for probed in &mut found {
            probed.hints = self.hints(&probed.target);
        }
        Ok(found)
    }

    /// The hints of the cache for a dial to a target.
    fn hints(&self, target: &Target) -> Hints {
        let Some(cache) = self.dialer.cache() else { return Hints::default() };
        let place = cache.place_of_dial(target, self.dialer.config(), None, false);
        place.map(|place| cache.hints(&place, self.dialer.plan())).unwrap_or_default()
    }

    /// The settings of a dial that has one candidate.
    fn config_of_one(&self) -> Config {
        Config {
            attempt_delay: MIN_DELAY,
            timeout: self.attempt_timeout,
            families: Families::Any,
            // A connection is closed as soon as it is established.
            greeting_wait: GreetingWait::Off,
            ..self.dialer.config().clone()
        }
    }

    /// A host before its probe, which is known to be one that can be dialled.
    fn host(&self, target: &Target) -> Result<Probing, ProbeError> {
        let now = Instant::now();
        let refused = |source| ProbeError::Host { host: target.as_str().to_owned(), source };
        let machine =
            Machine::new(target, self.dialer.plan(), self.dialer.config(), now).map_err(refused)?;
        let address = match target.host() {
            Host::Name(_) => None,
            Host::Address(address) => Some(SocketAddr::new(*address, 0)),
            Host::Scoped(address, zone) => {
                let scope = scope(zone).map_err(refused)?;
                Some(SocketAddrV6::new(*address, 0, 0, scope).into())
            }
        };
        let zone = match address {
            Some(SocketAddr::V6(v6)) => v6.scope_id(),
            _ => 0,
        };
        direct::check_options(self.dialer.config(), machine.families(), zone).map_err(refused)?;
        let families = machine.families().to_vec();
        Ok(Probing::new(target.clone(), address, families, now))
    }
}

/// Names the setting as the caller knows it: the timeout of one attempt is that of its dial.
fn of_attempt(error: ConfigError) -> ConfigError {
    let name = "attempt timeout";
    match error {
        ConfigError::TooShort { name: "timeout", value, least } => {
            ConfigError::TooShort { name, value, least }
        }
        ConfigError::TooLong { name: "timeout", value } => ConfigError::TooLong { name, value },
        other => other,
    }
}
