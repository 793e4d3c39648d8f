//! One listener: where it listens, and where its connections go.

use std::str::FromStr;
use std::time::Duration;

use mailport::config::{ConfigError, MAX_DELAY};
use mailport::plan::{Plan, Tls};
use mailport::target::Target;
use mailport::{Config, Via};

use super::error::SettingsError;
use super::listen_address::ListenAddress;
use crate::taken_over::TakenOver;

/// The ports to which mail clients submit mail: SMTP, submissions, submission.
pub const MAIL_PORTS: [u16; 3] = [25, 465, 587];
/// The ports at which mail clients read mail and manage filters: POP3, IMAP, IMAPS, POP3S, Sieve.
/// A client that sends everything through a proxy asks for these too. They have no fallback.
pub const MAILBOX_PORTS: [u16; 5] = [110, 143, 993, 995, 4190];

/// The default of [`Asked::ports`]: [`MAIL_PORTS`] and [`MAILBOX_PORTS`].
pub fn all_ports() -> Vec<u16> {
    [&MAIL_PORTS[..], &MAILBOX_PORTS].concat()
}

/// A listener.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listener {
    /// Where it listens.
    pub address: ListenAddress,
    /// Where its connections go.
    pub mode: Mode,
    /// The settings of its dials: timeout, delays, patience, families, source and device. The mark
    /// is the relay's.
    pub dial: Config,
    /// The proxy or command through which it dials. Default none.
    pub via: Option<Via>,
    /// How long a session may pass nothing in either direction. Default 10 min, the longest time
    /// that RFC 5321 section 4.5.3.2 lets a client wait.
    pub idle_timeout: Duration,
    /// The same for [`MAILBOX_PORTS`]. Default 35 min: a client that waits in IMAP IDLE sends
    /// something every 29 min (RFC 2177).
    pub mailbox_idle_timeout: Duration,
}

impl FromStr for ListenAddress {
    type Err = SettingsError;

    fn from_str(text: &str) -> Result<ListenAddress, SettingsError> {
        if text.starts_with('/') {
            return Ok(ListenAddress::Unix(text.into()));
        }
        let address = text.parse().map(ListenAddress::Tcp);
        address.map_err(|_| SettingsError::Address { text: text.to_owned() })
    }
}

/// How the destination of a connection is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// It is always this server, by this plan.
    Fixed {
        /// The server.
        target: Target,
        /// The services, all with one TLS mode.
        plan: Plan,
    },
    /// The client says it, by SOCKS5 or HTTP CONNECT.
    Proxy(Asked),
    /// It is where the connection was going before a packet filter redirected it.
    Transparent(Asked),
    /// This process has made the connection on behalf of a program, and knows where it was going.
    /// No file of settings has this mode.
    TakenOver(Asked, TakenOver),
}

/// What a client may ask for, and how that is served.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Asked {
    /// The ports that a client may ask for, and that a dial may fall back to.
    pub ports: Vec<u16>,
    /// Names of servers. A client that asks for an address of one of them is connected to any
    /// address of that name. Default none: such a client reaches the address alone.
    pub names: Vec<Target>,
    /// Which port a client that asks for 25 is connected to first.
    pub prefer: Prefer,
}

impl Default for Asked {
    fn default() -> Asked {
        Asked { ports: all_ports(), names: Vec::new(), prefer: Prefer::Asked }
    }
}

impl Asked {
    /// The default with these ports.
    pub fn with_ports(ports: impl Into<Vec<u16>>) -> Asked {
        Asked { ports: ports.into(), ..Asked::default() }
    }
}

/// Which of 25 and 587 a client that asks for port 25 is connected to first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Prefer {
    /// Port 25, as it has asked; 587 when that fails.
    #[default]
    Asked,
    /// Port 587, and 25 when that fails: for programs whose own default is 25.
    Submission,
}

impl Mode {
    /// The fixed mode. Fails for a plan with several TLS modes: the client uses one, and does not learn
    /// which service was reached.
    pub fn fixed(target: Target, plan: Plan) -> Result<Mode, SettingsError> {
        tls_of(&plan).map(|_| Mode::Fixed { target, plan })
    }

    /// What a client may ask for; `None` where it cannot ask.
    pub fn asked(&self) -> Option<&Asked> {
        match self {
            Mode::Fixed { .. } => None,
            Mode::Proxy(asked) | Mode::Transparent(asked) | Mode::TakenOver(asked, _) => {
                Some(asked)
            }
        }
    }

    /// The plan for a port that a client asks for, without services at ports that it may not ask
    /// for. `None` for such a port itself, and where no client can ask.
    pub fn plan(&self, port: u16) -> Option<Plan> {
        let asked = self.asked().filter(|asked| asked.ports.contains(&port))?;
        let plan = Plan::for_port(Some(port)).ok()?;
        let plan = match asked.prefer {
            Prefer::Asked => plan,
            Prefer::Submission => plan.prefer_submission(),
        };
        plan.only_ports(&asked.ports)
    }

    /// The word for it in settings and in the log.
    pub fn name(&self) -> &'static str {
        match self {
            Mode::Fixed { .. } => "fixed",
            Mode::Proxy(_) => "proxy",
            Mode::Transparent(_) => "transparent",
            Mode::TakenOver(..) => "taken_over",
        }
    }
}

/// The one TLS mode of a plan.
pub fn tls_of(plan: &Plan) -> Result<Tls, SettingsError> {
    let first = plan.services()[0].tls();
    match plan.services().iter().find(|service| service.tls() != first) {
        None => Ok(first),
        Some(_) => Err(SettingsError::Modes { plan: plan.to_string() }),
    }
}

impl Listener {
    /// The default idle timeout.
    pub const IDLE_TIMEOUT: Duration = Duration::from_secs(10 * 60);
    /// The default idle timeout of [`MAILBOX_PORTS`].
    pub const MAILBOX_IDLE_TIMEOUT: Duration = Duration::from_secs(35 * 60);

    /// A listener with the default settings.
    pub fn new(address: impl Into<ListenAddress>, mode: Mode) -> Listener {
        Listener {
            address: address.into(),
            mode,
            dial: Config::default(),
            via: None,
            idle_timeout: Listener::IDLE_TIMEOUT,
            mailbox_idle_timeout: Listener::MAILBOX_IDLE_TIMEOUT,
        }
    }

    /// The idle timeout of a session by this plan.
    pub fn idle_timeout_of(&self, plan: &Plan) -> Duration {
        if reads_mail(plan) { self.mailbox_idle_timeout } else { self.idle_timeout }
    }

    pub(super) fn check(&self) -> Result<(), SettingsError> {
        let address = || self.address.clone();
        if let Mode::Fixed { plan, .. } = &self.mode {
            tls_of(plan)?;
        }
        if let Some(asked) = self.mode.asked()
            && (asked.ports.is_empty() || asked.ports.contains(&0))
        {
            return Err(SettingsError::Ports { address: address() });
        }
        if let (Mode::Transparent(_), ListenAddress::Unix(_)) = (&self.mode, &self.address) {
            return Err(SettingsError::TransparentSocket { address: address() });
        }
        for (name, value) in [
            ("idle_timeout", self.idle_timeout),
            ("mailbox_idle_timeout", self.mailbox_idle_timeout),
        ] {
            if value.is_zero() {
                return Err(SettingsError::Zero { name });
            }
            if value > MAX_DELAY {
                return Err(ConfigError::TooLong { name, value }.into());
            }
        }
        Ok(self.dial.check()?)
    }
}

/// Whether a plan is for reading mail, so that nothing of SMTP may be sent to the client.
pub(crate) fn reads_mail(plan: &Plan) -> bool {
    plan.services().iter().any(|service| MAILBOX_PORTS.contains(&service.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(asked: Asked, port: u16) -> Option<String> {
        Mode::Proxy(asked).plan(port).map(|plan| plan.to_string())
    }

    #[test]
    fn the_port_that_was_asked_for_comes_first() {
        let plan = |port| plan(Asked::default(), port).unwrap_or_default();
        assert_eq!(plan(587), "587:starttls,25:starttls");
        assert_eq!(plan(25), "25:starttls,587:starttls");
        assert_eq!(plan(465), "465:implicit");
        for (port, tls) in
            [(143, "starttls"), (110, "starttls"), (4190, "starttls"), (993, "implicit")]
        {
            assert_eq!(plan(port), format!("{port}:{tls}"), "alone, without a fallback");
        }
        assert_eq!((plan(995), plan(80)), ("995:implicit".to_owned(), String::new()));
    }

    #[test]
    fn submission_comes_first_where_it_is_preferred() {
        let asked = Asked { prefer: Prefer::Submission, ..Asked::default() };
        assert_eq!(plan(asked, 25).unwrap(), "587:starttls,25:starttls");
    }

    #[test]
    fn a_port_that_may_not_be_asked_for_is_no_fallback_either() {
        let plan = |ports: &[u16], port| plan(Asked::with_ports(ports), port);
        assert_eq!(plan(&[587], 587).unwrap(), "587:starttls");
        assert_eq!(plan(&[25, 465], 25).unwrap(), "25:starttls");
        assert_eq!((plan(&[25, 465], 587), plan(&[], 587)), (None, None));
    }

    #[test]
    fn an_address_is_that_of_tcp_or_a_path() {
        let parse = |text: &str| text.parse::<ListenAddress>();
        assert_eq!(parse("[::1]:25").unwrap().to_string(), "[::1]:25");
        assert_eq!(parse("/run/x").unwrap(), ListenAddress::Unix("/run/x".into()));
        assert!(parse("run/x").is_err() && parse("127.0.0.1").is_err() && parse("").is_err());
    }
}
