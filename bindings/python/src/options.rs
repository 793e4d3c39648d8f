//! What a caller says: the host, the plan and the settings.

use std::net::IpAddr;
use std::time::Duration;

use mailport::{Cleartext, Config, Families, GreetingWait, Patience, Service, Target};
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
    fn new(text: &str, allow_cleartext: bool, sequential: bool) -> PyResult<Plan> {
        let cleartext = if allow_cleartext { Cleartext::Allow } else { Cleartext::Refuse };
        let plan = mailport::Plan::parse(text, cleartext).map_err(misuse)?;
        Ok(Plan(if sequential { plan.sequential() } else { plan }))
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
    fn sequential(&self) -> bool {
        self.0.is_sequential()
    }
}

/// The settings of a dial, as a dictionary gives them: times in seconds, `None` for what is
/// automatic or left to the kernel.
#[derive(FromPyObject, IntoPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct Settings {
    attempt_delay: f64,
    port_delay: f64,
    patience: Option<f64>,
    deadline: f64,
    sequential: bool,
    greeting_wait: Option<f64>,
    ask: bool,
    try_failed_last: bool,
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
        config.attempt_delay = time("attempt_delay", self.attempt_delay)?;
        config.port_delay = time("port_delay", self.port_delay)?;
        config.patience = match self.patience {
            None => Patience::Automatic,
            Some(patience) => Patience::Fixed(time("patience", patience)?),
        };
        config.timeout = time("timeout", self.deadline)?;
        config.sequential = self.sequential;
        config.greeting_wait = match self.greeting_wait {
            None => GreetingWait::Automatic,
            Some(0.0) => GreetingWait::Off,
            Some(greeting_wait) => GreetingWait::For(time("greeting_wait", greeting_wait)?),
        };
        config.ask = self.ask;
        config.try_failed_last = self.try_failed_last;
        config.families = families(&self.families)?;
        config.source = self.source.as_deref().map(source).transpose()?;
        config.device.clone_from(&self.device);
        config.mark = self.mark;
        Ok(config)
    }

    fn new(config: &Config) -> Settings {
        let families = FAMILIES.iter().find(|(_, families)| *families == config.families);
        Settings {
            attempt_delay: config.attempt_delay.as_secs_f64(),
            port_delay: config.port_delay.as_secs_f64(),
            patience: match config.patience {
                Patience::Automatic => None,
                Patience::Fixed(patience) => Some(patience.as_secs_f64()),
            },
            deadline: config.timeout.as_secs_f64(),
            sequential: config.sequential,
            greeting_wait: match config.greeting_wait {
                GreetingWait::Automatic => None,
                GreetingWait::Off => Some(0.0),
                GreetingWait::For(greeting_wait) => Some(greeting_wait.as_secs_f64()),
            },
            ask: config.ask,
            try_failed_last: config.try_failed_last,
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
    Settings::new(&Config::default())
}

/// Raises `ValueError` for settings that no dial can work with.
#[pyfunction]
#[expect(clippy::needless_pass_by_value, reason = "what comes from Python is made for the call")]
pub(crate) fn check(settings: Settings) -> PyResult<()> {
    settings.config()?.check().map_err(misuse)
}
