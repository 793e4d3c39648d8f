//! What a caller passes: the host, the plan and the settings.

use std::net::IpAddr;
use std::time::Duration;

use mailport::target::Host;
use mailport::{Cleartext, Families, GreetingWait, Patience, Service, Target};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// A service as a tuple: port, TLS mode and, if there is only one, the family.
pub(crate) type ServiceTuple = (u16, &'static str, Option<&'static str>);

pub(crate) fn tuple_of(service: Service) -> ServiceTuple {
    (service.port(), service.tls().name(), service.family().map(mailport::Family::name))
}

/// A `ValueError` for a mistake of the caller.
pub(crate) fn value_error(error: impl Into<Box<dyn std::error::Error>>) -> PyErr {
    PyValueError::new_err(error.into().to_string())
}

/// A plan, parsed.
#[pyclass(frozen, eq, hash, str = "{0}", module = "mailport._native")]
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Plan(pub(crate) mailport::Plan);

#[pymethods]
impl Plan {
    #[new]
    fn new(text: &str, allow_cleartext: bool, sequential: bool) -> PyResult<Plan> {
        let cleartext = if allow_cleartext { Cleartext::Allow } else { Cleartext::Refuse };
        let plan = mailport::Plan::parse(text, cleartext).map_err(value_error)?;
        Ok(Plan(if sequential { plan.sequential() } else { plan }))
    }

    /// The plan for code that used to connect to this port.
    #[staticmethod]
    #[pyo3(signature = (port, prefer_submission))]
    fn for_port(port: Option<u16>, prefer_submission: bool) -> PyResult<Plan> {
        let plan = mailport::Plan::for_port(port).map_err(value_error)?;
        Ok(Plan(if prefer_submission { plan.prefer_submission() } else { plan }))
    }

    /// The names of plans.
    #[staticmethod]
    fn names() -> Vec<&'static str> {
        mailport::Plan::NAMES.to_vec()
    }

    #[getter]
    fn services(&self) -> Vec<ServiceTuple> {
        self.0.services().iter().copied().map(tuple_of).collect()
    }

    /// Whether its services have more than one TLS mode.
    #[getter]
    fn is_mixed(&self) -> bool {
        let services = self.0.services();
        services.iter().any(|service| service.tls() != services[0].tls())
    }

    #[getter]
    fn sequential(&self) -> bool {
        self.0.is_sequential()
    }
}

/// The settings of a dial, checked: times in seconds, `None` for what is automatic or left to the
/// kernel.
#[pyclass(frozen, module = "mailport._native")]
pub(crate) struct Config {
    config: mailport::Config,
    /// `None`: the default, or the timeout of the dial if that is shorter.
    attempt_delay: Option<Duration>,
}

const FAMILIES: [(&str, Families); 5] = [
    ("any", Families::Any),
    ("ipv4", Families::Ipv4),
    ("ipv6", Families::Ipv6),
    ("prefer-ipv4", Families::PreferIpv4),
    ("prefer-ipv6", Families::PreferIpv6),
];

#[pymethods]
impl Config {
    #[new]
    #[pyo3(signature = (*, attempt_delay, port_delay, patience, greeting_wait, try_failed_last, families, source, device, mark))]
    #[expect(clippy::too_many_arguments, reason = "Python passes them by name")]
    fn new(
        attempt_delay: Option<f64>,
        port_delay: f64,
        patience: Option<f64>,
        greeting_wait: Option<f64>,
        try_failed_last: bool,
        families: &str,
        source: Option<&str>,
        device: Option<String>,
        mark: Option<u32>,
    ) -> PyResult<Config> {
        let mut config = mailport::Config::default();
        let attempt_delay = attempt_delay.map(|delay| time("attempt_delay", delay)).transpose()?;
        config.attempt_delay = attempt_delay.unwrap_or(config.attempt_delay);
        config.port_delay = time("port_delay", port_delay)?;
        config.patience = match patience {
            None => Patience::Automatic,
            Some(patience) => Patience::Fixed(time("patience", patience)?),
        };
        config.timeout = mailport::config::MAX_DELAY;
        config.greeting_wait = match greeting_wait {
            None => GreetingWait::Automatic,
            Some(0.0) => GreetingWait::Off,
            Some(greeting_wait) => GreetingWait::For(time("greeting_wait", greeting_wait)?),
        };
        config.try_failed_last = try_failed_last;
        config.families = families_of(families)?;
        config.source = source.map(source_of).transpose()?;
        config.device = device;
        config.mark = mark;
        config.check().map_err(value_error)?;
        Ok(Config { config, attempt_delay })
    }

    /// The default values that Python states: the timeout and the port delay.
    #[staticmethod]
    fn defaults() -> (f64, f64) {
        let config = mailport::Config::default();
        (config.timeout.as_secs_f64(), config.port_delay.as_secs_f64())
    }
}

impl Config {
    /// The settings of one dial; the library checks them when the dial starts.
    pub(crate) fn for_dial(
        &self,
        timeout: Option<f64>,
        asks: bool,
        source: Option<(&str, u16)>,
    ) -> PyResult<mailport::Config> {
        let mut config = self.config.clone();
        config.ask = asks;
        if let Some((address, port)) = source {
            if !address.is_empty() {
                config.source = Some(source_of(address)?);
            }
            config.source_port = port;
        }
        if let Some(timeout) = timeout {
            config.timeout = time("timeout", timeout)?;
            if self.attempt_delay.is_none() {
                let shortest = mailport::config::MIN_DELAY;
                config.attempt_delay = config.attempt_delay.min(config.timeout.max(shortest));
            }
        }
        Ok(config)
    }
}

fn time(name: &str, seconds: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(seconds).map_err(|_| {
        value_error(format!("{name} must be a number of seconds, not negative: {seconds}"))
    })
}

fn families_of(name: &str) -> PyResult<Families> {
    let found = FAMILIES.iter().find(|(known, _)| *known == name);
    found.map(|(_, families)| *families).ok_or_else(|| {
        let known = FAMILIES.map(|(known, _)| known).join(", ");
        value_error(format!("families must be one of {known}: `{name}`"))
    })
}

fn source_of(text: &str) -> PyResult<IpAddr> {
    text.parse().map_err(|_| {
        value_error(format!("the source address must be an IPv4 or IPv6 address: `{text}`"))
    })
}

pub(crate) fn target_of(host: &str) -> PyResult<Target> {
    host.parse().map_err(value_error)
}

/// The name that a certificate must have for a host: in ASCII, without a zone or a final dot.
#[pyfunction]
pub(crate) fn tls_name(host: &str) -> PyResult<String> {
    Ok(match target_of(host)?.host() {
        Host::Name(name) => name.strip_suffix('.').unwrap_or(name).to_owned(),
        Host::Address(address) => address.to_string(),
        Host::Scoped(address, _) => address.to_string(),
    })
}
