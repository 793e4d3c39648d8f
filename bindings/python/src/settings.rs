//! What a caller says: the host, the plan and the settings.

use std::net::IpAddr;
use std::time::Duration;

use mailport::{Cleartext, Config, Families, Gate, Patience, Service, Target};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// A service as a tuple: port, TLS mode and, where there is only one, the family.
pub(crate) type ServiceTuple = (u16, &'static str, Option<&'static str>);

pub(crate) fn tuple_of(service: Service) -> ServiceTuple {
    (service.port(), service.tls().name(), service.family().map(mailport::Family::name))
}

/// Misuse, told as `ValueError`.
pub(crate) fn misuse(error: impl Into<Box<dyn std::error::Error>>) -> PyErr {
    PyValueError::new_err(error.into().to_string())
}

/// A plan, parsed.
#[pyclass(frozen, eq, hash, str = "{0}", module = "mailport._native")]
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Plan(pub(crate) mailport::Plan);

#[pymethods]
impl Plan {
    #[new]
    fn new(text: &str, allow_cleartext: bool, strict: bool) -> PyResult<Plan> {
        let cleartext = if allow_cleartext { Cleartext::Allow } else { Cleartext::Refuse };
        let plan = mailport::Plan::parse(text, cleartext).map_err(misuse)?;
        Ok(Plan(if strict { plan.strict() } else { plan }))
    }

    /// The plan for code that used to connect to this port.
    #[staticmethod]
    #[pyo3(signature = (port))]
    fn for_port(port: Option<u16>) -> PyResult<Plan> {
        mailport::Plan::for_port(port).map(Plan).map_err(misuse)
    }

    /// The names that stand for plans.
    #[staticmethod]
    fn names() -> Vec<&'static str> {
        mailport::Plan::NAMES.to_vec()
    }

    #[getter]
    fn services(&self) -> Vec<ServiceTuple> {
        self.0.services().iter().copied().map(tuple_of).collect()
    }

    #[getter]
    fn strict(&self) -> bool {
        self.0.is_strict()
    }
}

/// The settings of a dial, as a dictionary gives them: times in seconds, `None` for what is
/// automatic or left to the kernel.
#[derive(FromPyObject, IntoPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct Settings {
    resolution_delay: f64,
    attempt_delay: f64,
    port_delay: f64,
    patience: Option<f64>,
    deadline: f64,
    strict: bool,
    gate: Option<f64>,
    ask: bool,
    skip: bool,
    families: String,
    source: Option<String>,
    device: Option<String>,
    mark: Option<u32>,
}

const FAMILIES: [(&str, Families); 5] = [
    ("any", Families::Any),
    ("ipv4", Families::Ipv4),
    ("ipv6", Families::Ipv6),
    ("prefer-ipv4", Families::PreferIpv4),
    ("prefer-ipv6", Families::PreferIpv6),
];

impl Settings {
    /// The settings as the library takes them; it checks them itself when the dial begins.
    pub(crate) fn config(&self) -> PyResult<Config> {
        let mut config = Config::default();
        config.resolution_delay = time("resolution_delay", self.resolution_delay)?;
        config.attempt_delay = time("attempt_delay", self.attempt_delay)?;
        config.port_delay = time("port_delay", self.port_delay)?;
        config.patience = match self.patience {
            None => Patience::Automatic,
            Some(patience) => Patience::Fixed(time("patience", patience)?),
        };
        config.deadline = time("timeout", self.deadline)?;
        config.strict = self.strict;
        config.gate = match self.gate {
            None => Gate::Automatic,
            Some(0.0) => Gate::Off,
            Some(gate) => Gate::For(time("gate", gate)?),
        };
        config.ask = self.ask;
        config.skip = self.skip;
        config.families = families(&self.families)?;
        config.source = self.source.as_deref().map(source).transpose()?;
        config.device.clone_from(&self.device);
        config.mark = self.mark;
        Ok(config)
    }

    fn of(config: &Config) -> Settings {
        let families = FAMILIES.iter().find(|(_, families)| *families == config.families);
        Settings {
            resolution_delay: config.resolution_delay.as_secs_f64(),
            attempt_delay: config.attempt_delay.as_secs_f64(),
            port_delay: config.port_delay.as_secs_f64(),
            patience: match config.patience {
                Patience::Automatic => None,
                Patience::Fixed(patience) => Some(patience.as_secs_f64()),
            },
            deadline: config.deadline.as_secs_f64(),
            strict: config.strict,
            gate: match config.gate {
                Gate::Automatic => None,
                Gate::Off => Some(0.0),
                Gate::For(gate) => Some(gate.as_secs_f64()),
            },
            ask: config.ask,
            skip: config.skip,
            families: families.map_or("any", |(name, _)| name).to_owned(),
            source: config.source.map(|source| source.to_string()),
            device: config.device.clone(),
            mark: config.mark,
        }
    }
}

fn time(name: &str, seconds: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(seconds).map_err(|_| {
        misuse(format!("{name} is {seconds}: it is a number of seconds, not negative"))
    })
}

fn families(name: &str) -> PyResult<Families> {
    let found = FAMILIES.iter().find(|(known, _)| *known == name);
    found.map(|(_, families)| *families).ok_or_else(|| {
        let known = FAMILIES.map(|(known, _)| known).join(", ");
        misuse(format!("`{name}` is not a choice of families: it is one of {known}"))
    })
}

fn source(text: &str) -> PyResult<IpAddr> {
    text.parse().map_err(|_| misuse(format!("the source `{text}` is not an IPv4 or IPv6 address")))
}

pub(crate) fn target(host: &str) -> PyResult<Target> {
    host.parse().map_err(misuse)
}

/// The library's own defaults.
#[pyfunction]
pub(crate) fn defaults() -> Settings {
    Settings::of(&Config::default())
}

/// Raises `ValueError` for settings that no dial can work with.
#[pyfunction]
#[expect(clippy::needless_pass_by_value, reason = "what comes from Python is made for the call")]
pub(crate) fn check(settings: Settings) -> PyResult<()> {
    settings.config()?.check().map_err(misuse)
}
