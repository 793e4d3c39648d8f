//! The settings of a relay: its listeners, who may use them, and its limits.

mod error;
mod file;
mod listen_address;
mod listener;

use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use mailport::Via;
use mailport::config::{ConfigError, MAX_DELAY};

pub use error::SettingsError;
pub use listen_address::ListenAddress;
pub(crate) use listener::reads_mail;
pub use listener::{Asked, Listener, MAIL_PORTS, MAILBOX_PORTS, Mode, Prefer, all_ports, tls_of};

/// The firewall mark (`SO_MARK`) of a relay's own connections where a transparent listener needs
/// one and the settings name none.
pub const MARK: u32 = 0x6d70;

/// The settings of a relay.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Settings {
    /// Where the relay listens, and where each listener leads.
    pub listeners: Vec<Listener>,
    /// Clients of other machines that may use it. Default none.
    pub allow: Vec<IpNet>,
    /// Users of this machine, by number, that may use UNIX sockets of the relay, in addition to its
    /// own user and root. Default none: such a socket then has mode 0600, otherwise 0666.
    pub allow_uids: Vec<u32>,
    /// The limits.
    pub limits: Limits,
    /// The firewall mark of the relay's own connections (`SO_MARK`, needs `CAP_NET_ADMIN`). Default
    /// none; [`MARK`] with a transparent listener.
    pub mark: Option<u32>,
    /// The path of the control socket. Default none: `mailport relay status` cannot be used.
    pub control: Option<PathBuf>,
}

/// The limits of a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Sessions at the same time. Default 1,000. Clients that have not yet said where they want to
    /// go are counted apart, with the same limit.
    pub max_sessions: usize,
    /// Sessions at the same time of one client: a user of this machine, or an address of another.
    /// Default 200.
    pub max_sessions_per_client: usize,
    /// How long sessions may continue after SIGTERM. Default 30 s.
    pub drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_sessions: 1000,
            max_sessions_per_client: 200,
            drain_timeout: Duration::from_secs(30),
        }
    }
}

impl Settings {
    /// Reads a settings file (TOML).
    ///
    /// ```
    /// use mailport_relay::Settings;
    ///
    /// let settings = Settings::parse(
    ///     r#"
    ///     idle_timeout = "10min"
    ///
    ///     [[listener]]
    ///     mode = "fixed"
    ///     address = "127.0.0.1:2525"
    ///     server = "mail.example.com"
    ///
    ///     [[listener]]
    ///     mode = "proxy"
    ///     address = "127.0.0.1:1080"
    ///     "#,
    /// )?;
    /// assert_eq!(settings.listeners.len(), 2);
    /// # Ok::<(), mailport_relay::SettingsError>(())
    /// ```
    pub fn parse(text: &str) -> Result<Settings, SettingsError> {
        let mut settings = file::parse(text)?;
        settings.check()?;
        Ok(settings)
    }

    /// Refuses settings that no relay can work with, and gives the [`MARK`] to a relay with a
    /// transparent listener that has none.
    pub fn check(&mut self) -> Result<(), SettingsError> {
        let transparent = |listener: &Listener| matches!(listener.mode, Mode::Transparent(_));
        if self.listeners.iter().any(transparent) {
            self.mark.get_or_insert(MARK);
        }
        if self.listeners.is_empty() {
            return Err(SettingsError::NoListener);
        }
        for (index, listener) in self.listeners.iter().enumerate() {
            let address = &listener.address;
            if self.listeners[..index]
                .iter()
                .any(|other| other.address == *address && !address.has_system_port())
            {
                return Err(SettingsError::Twice { address: address.clone() });
            }
            let is_local = address.is_for_this_machine();
            if !is_local && (self.allow.is_empty() || transparent(listener)) {
                return Err(SettingsError::Open { address: address.clone() });
            }
            listener.check()?;
        }
        for listener in &mut self.listeners {
            // A command makes its own connections, which the relay cannot mark.
            let is_command = |via: &Via| via.to_string().starts_with("command:");
            let marks = !listener.via.as_ref().is_some_and(is_command);
            listener.dial.mark = self.mark.filter(|_| marks);
        }
        let Limits { max_sessions, max_sessions_per_client, drain_timeout } = self.limits;
        let counts =
            [("max_sessions", max_sessions), ("max_sessions_per_client", max_sessions_per_client)];
        if let Some((name, _)) = counts.into_iter().find(|(_, count)| *count == 0) {
            return Err(SettingsError::Zero { name });
        }
        if drain_timeout > MAX_DELAY {
            let error = ConfigError::TooLong { name: "drain_timeout", value: drain_timeout };
            return Err(error.into());
        }
        Ok(())
    }
}
