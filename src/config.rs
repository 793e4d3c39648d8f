//! What a caller may set about a dial: plain data, checked when the dial begins.

use std::net::IpAddr;
use std::time::Duration;

use crate::plan::Family;

/// The shortest time that a delay may have, where one is needed at all (RFC 8305 section 5 forbids
/// a Connection Attempt Delay under 10 ms).
pub const MIN_DELAY: Duration = Duration::from_millis(10);
/// The longest time that any setting may have.
pub const MAX_DELAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The settings of a dial. [`Config::default`] is right for nearly everybody; start from it and
/// change single fields.
///
/// ```
/// use std::time::Duration;
/// use mailport::{Config, Families};
///
/// let mut config = Config::default();
/// config.timeout = Duration::from_secs(10);
/// config.families = Families::PreferIpv4;
/// assert!(config.check().is_ok());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// How long an attempt may be silent before the next address of its service is tried in
    /// parallel: the Connection Attempt Delay of RFC 8305 section 5. Default 250 ms, at least 10 ms.
    /// Shorter opens more connections to a server that is merely far away. Left at its default, it
    /// is twice the round trip where the cache has one, between 100 and 250 ms.
    pub attempt_delay: Duration,
    /// How long a service may be silent before the next one is tried in parallel. Default 500 ms,
    /// at least 10 ms. Shorter sends SYNs to a later port that were not needed. Left at its default,
    /// it is 1 s where the cache says that the service has connected lately, where the patience is
    /// set, and where a silent attempt is not repeated. Any other value is used as it is, and then
    /// silence counts by the patience alone.
    pub port_delay: Duration,
    /// How long a silent attempt may hold back the connection of a later service. Default
    /// [`Patience::Automatic`].
    pub patience: Patience,
    /// How long the whole dial may take, name resolution included. Default 30 s; at least the
    /// attempt delay.
    pub timeout: Duration,
    /// How long to wait for the server's greeting before a connection counts. Default
    /// [`GreetingWait::Automatic`]. With a greeting wait, services are tried one after the other: the next starts
    /// only when this one has failed, never for silence.
    pub greeting_wait: GreetingWait,
    /// Whether the dial stops with a question before it begins another service. Default no. Such a
    /// dial is sequential.
    pub ask: bool,
    /// Whether a service that is remembered as bad is tried last instead of first, though never
    /// after one of weaker TLS. Default no. It has no effect where the user is asked, with a greeting wait,
    /// or through a proxy or a command.
    pub try_failed_last: bool,
    /// Which address families are used, and which goes first. Default [`Families::Any`].
    pub families: Families,
    /// The source address of every attempt; the other family is then left out. Default none: the
    /// kernel chooses (RFC 6724 section 5).
    pub source: Option<IpAddr>,
    /// The source port of every attempt. Default 0: the kernel chooses one for each. The attempts of
    /// a dial share the port (`SO_REUSEADDR`), so no address is tried a second time while its first
    /// attempt is silent, and silence counts by the patience alone.
    pub source_port: u16,
    /// The network interface that every attempt is bound to (`SO_BINDTODEVICE`). Default none.
    pub device: Option<String>,
    /// The firewall mark of every packet (`SO_MARK`, needs `CAP_NET_ADMIN`). Default none.
    pub mark: Option<u32>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            attempt_delay: Config::DEFAULT_ATTEMPT_DELAY,
            port_delay: Config::DEFAULT_PORT_DELAY,
            patience: Patience::Automatic,
            timeout: Duration::from_secs(30),
            greeting_wait: GreetingWait::Automatic,
            ask: false,
            try_failed_last: false,
            families: Families::Any,
            source: None,
            source_port: 0,
            device: None,
            mark: None,
        }
    }
}

impl Config {
    pub(crate) const DEFAULT_ATTEMPT_DELAY: Duration = Duration::from_millis(250);
    pub(crate) const DEFAULT_PORT_DELAY: Duration = Duration::from_millis(500);

    /// Finds the first setting that no dial can work with; a dial does this before anything else.
    pub fn check(&self) -> Result<(), ConfigError> {
        let patience = match self.patience {
            Patience::Automatic => None,
            Patience::Fixed(patience) => Some(patience),
        };
        let greeting_wait = match self.greeting_wait {
            GreetingWait::For(time) => Some(time),
            GreetingWait::Automatic | GreetingWait::Off => None,
        };
        let settings = [
            ("attempt delay", Some(self.attempt_delay), MIN_DELAY),
            ("port delay", Some(self.port_delay), MIN_DELAY),
            ("patience", patience, MIN_DELAY),
            ("greeting_wait", greeting_wait, MIN_DELAY),
            ("timeout", Some(self.timeout), MIN_DELAY),
        ];
        for (name, value, least) in settings {
            let Some(value) = value else { continue };
            if value < least {
                return Err(ConfigError::TooShort { name, value, least });
            }
            if value > MAX_DELAY {
                return Err(ConfigError::TooLong { name, value });
            }
        }
        if self.timeout < self.attempt_delay {
            return Err(ConfigError::TimeoutBelowAttemptDelay {
                timeout: self.timeout,
                attempt_delay: self.attempt_delay,
            });
        }
        if let Some(address) = self.source
            && !self.families.allow(Family::from(address))
        {
            return Err(ConfigError::SourceFamily { address });
        }
        if let Some(device) = &self.device {
            // IFNAMSIZ is 16 bytes with the final NUL.
            if device.is_empty() || device.len() > 15 || device.bytes().any(|b| b == 0 || b == b'/')
            {
                return Err(ConfigError::DeviceName { device: device.clone() });
            }
        }
        Ok(())
    }

    /// Whether attempts over this family may be made at all.
    pub fn allows(&self, family: Family) -> bool {
        self.families.allow(family) && self.source.is_none_or(|s| Family::from(s) == family)
    }
}

/// How long a silent attempt may hold back the connection of a later service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Patience {
    /// Until the proof: a SYN that was sent while the path was good, as the held connection shows,
    /// has had no answer (docs/design.md, rule 6). Where the cache says that the service has
    /// connected lately, and where the port delay is set, the patience counts: 1.3 s, or 1 s and two
    /// round trips of the held connection if that is longer. The first SYN and its retransmission
    /// (after 1 s, RFC 6298 section 2) have then both gone unanswered.
    #[default]
    Automatic,
    /// This long, at least 10 ms, for any round trip. A short time lets lost SYNs lead to the
    /// later port.
    Fixed(Duration),
}

impl Patience {
    /// The least [`Patience::Automatic`]: a second for the first SYN, and time for the answer to
    /// the retransmission.
    pub const LEAST: Duration = Duration::from_millis(1300);
    /// When TCP sends a SYN again for the first time (RFC 6298 section 2.1); two round trips on
    /// top of it are the other bound of [`Patience::Automatic`].
    pub const RETRANSMISSION: Duration = Duration::from_secs(1);
}

/// How long the greeting wait waits for a server's first byte. The byte is looked at and left in
/// the socket. A connection that is closed before it counts as closed by its port; silence for this
/// long is a success, marked as one without a greeting: servers that pause are no failure.
///
/// A service with implicit TLS has no greeting before the handshake, so there the greeting wait does not
/// wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GreetingWait {
    /// [`GreetingWait::DEFAULT`] through a proxy or a command, which may accept before they have connected;
    /// off for a direct dial.
    #[default]
    Automatic,
    /// A connection counts at once.
    Off,
    /// This long, at least 10 ms. For a local forward (`ssh -L`, stunnel), which accepts before it
    /// has connected.
    For(Duration),
}

impl GreetingWait {
    /// What [`GreetingWait::Automatic`] waits through a proxy or a command.
    pub const DEFAULT: Duration = Duration::from_secs(10);

    /// How long to wait; `None` is not at all.
    pub fn wait(self, through: bool) -> Option<Duration> {
        match self {
            GreetingWait::Automatic => through.then_some(GreetingWait::DEFAULT),
            GreetingWait::Off => None,
            GreetingWait::For(time) => Some(time),
        }
    }
}

/// Which address families are used, and which goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Families {
    /// Both, in the order of RFC 6724 section 6.
    #[default]
    Any,
    /// IPv4 only.
    Ipv4,
    /// IPv6 only.
    Ipv6,
    /// Both, IPv4 first.
    PreferIpv4,
    /// Both, IPv6 first.
    PreferIpv6,
}

impl Families {
    /// Whether `family` is used at all.
    pub fn allow(self, family: Family) -> bool {
        match self {
            Families::Any | Families::PreferIpv4 | Families::PreferIpv6 => true,
            Families::Ipv4 => family == Family::Ipv4,
            Families::Ipv6 => family == Family::Ipv6,
        }
    }

    /// The family that goes first by the caller's wish.
    pub fn first(self) -> Option<Family> {
        match self {
            Families::Any => None,
            Families::Ipv4 | Families::PreferIpv4 => Some(Family::Ipv4),
            Families::Ipv6 | Families::PreferIpv6 => Some(Family::Ipv6),
        }
    }
}

/// Why a dial was refused before it began; the caller's mistake, found before anything is sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A duration so short that the dial would spin.
    #[error("the {name} of {value:?} is too short: at least {least:?}")]
    TooShort {
        /// The setting.
        name: &'static str,
        /// What it was set to.
        value: Duration,
        /// The least it may be.
        least: Duration,
    },
    /// A duration over [`MAX_DELAY`].
    #[error("the {name} of {value:?} is too long: at most 24 h")]
    TooLong {
        /// The setting.
        name: &'static str,
        /// What it was set to.
        value: Duration,
    },
    /// The dial would end before its second attempt could start.
    #[error("the timeout of {timeout:?} is below the attempt delay of {attempt_delay:?}")]
    TimeoutBelowAttemptDelay {
        /// The timeout.
        timeout: Duration,
        /// The attempt delay.
        attempt_delay: Duration,
    },
    /// A source address of a family that is not used.
    #[error("the source address {address} is of a family that this dial leaves out")]
    SourceFamily {
        /// The source address.
        address: IpAddr,
    },
    /// No interface can have this name.
    #[error("`{device}` is not the name of a network interface")]
    DeviceName {
        /// The name.
        device: String,
    },
    /// Target, plan, families and source address leave nothing to try.
    #[error("nothing is left to try: {reasons}")]
    NothingToTry {
        /// What leaves out which family.
        reasons: String,
    },
    /// A setting that this dial or this system cannot use, found before any attempt.
    #[error("the {name} `{value}` cannot be used: {reason}")]
    Unusable {
        /// The setting.
        name: &'static str,
        /// What it was set to.
        value: String,
        /// Why.
        reason: String,
        /// The system's error number, if the system refused it.
        errno: Option<i32>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(change: impl FnOnce(&mut Config)) -> String {
        let mut config = Config::default();
        change(&mut config);
        config.check().expect_err("a setting that cannot work").to_string()
    }

    #[test]
    fn the_defaults_hold() {
        assert_eq!(Config::default().check(), Ok(()));
    }

    #[test]
    fn durations_that_would_spin_are_refused_by_name() {
        assert!(message(|c| c.attempt_delay = Duration::ZERO).contains("attempt delay"));
        assert!(message(|c| c.port_delay = Duration::from_millis(9)).contains("port delay"));
        assert!(message(|c| c.patience = Patience::Fixed(Duration::ZERO)).contains("patience"));
        assert!(message(|c| c.timeout = Duration::ZERO).contains("timeout"));
        assert!(message(|c| c.timeout = Duration::MAX).contains("at most 24 h"));
    }

    #[test]
    fn a_timeout_below_the_attempt_delay_is_refused() {
        let words = message(|c| c.timeout = Duration::from_millis(249));
        assert_eq!(words, "the timeout of 249ms is below the attempt delay of 250ms");
    }

    #[test]
    fn a_source_address_narrows_the_families_and_must_not_contradict_them() {
        let source = "192.0.2.1".parse().unwrap();
        let config = Config { source: Some(source), ..Config::default() };
        assert!(config.allows(Family::Ipv4) && !config.allows(Family::Ipv6));
        let words = message(|c| {
            c.source = Some(source);
            c.families = Families::Ipv6;
        });
        assert!(words.contains("192.0.2.1"), "{words}");
    }

    #[test]
    fn a_device_is_a_name_that_an_interface_can_have() {
        for device in ["", "a-name-of-16-byt", "a/b", "a\0"] {
            assert!(message(|c| c.device = Some(device.into())).contains("interface"), "{device}");
        }
    }
}
