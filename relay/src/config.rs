//! What a relay is told: where it listens, where each door leads, and its limits.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use serde::Deserialize;

use mailport::config::{Config, ConfigError, MAX_DELAY};
use mailport::plan::{Cleartext, Plan, PlanError, Tls};
use mailport::target::{Target, TargetError};

/// The ports of mail readers: SMTP, submissions, submission.
pub const MAIL_PORTS: [u16; 3] = [25, 465, 587];
/// The mark of a relay's own connections, where it must have one and none is given.
pub const MARK: u32 = 0x6d70;

/// The settings of a relay.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Settings {
    /// Where it listens.
    pub doors: Vec<Door>,
    /// Clients that may use it besides this machine's own.
    pub allow: Vec<IpNet>,
    /// How much of everything there may be.
    pub limits: Limits,
    /// The settings of every dial, its deadline among them.
    pub dial: Config,
    /// The control socket; without one, nobody can ask for the status.
    pub control: Option<PathBuf>,
}

/// A place to listen, and what is behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Door {
    /// Address and port.
    pub address: SocketAddr,
    /// Where a connection goes.
    pub way: Way,
}

/// How a connection's destination is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// Always this host, by this plan.
    Fixed {
        /// The host.
        target: Target,
        /// The services, all of one TLS mode.
        plan: Plan,
    },
    /// The client says it, by SOCKS5; to these ports only.
    Socks {
        /// The ports.
        ports: Vec<u16>,
    },
    /// It was redirected by a packet filter, and goes where it was going; to these ports only.
    Transparent {
        /// The ports.
        ports: Vec<u16>,
    },
}

impl Way {
    /// A fixed way. Fails for a plan of several TLS modes: the reader speaks one, and is not told
    /// which service was reached.
    pub fn fixed(target: Target, plan: Plan) -> Result<Way, SettingsError> {
        tls_of(&plan).map(|_| Way::Fixed { target, plan })
    }

    /// The ports that a client may ask for; none where it cannot ask.
    pub fn ports(&self) -> &[u16] {
        match self {
            Way::Fixed { .. } => &[],
            Way::Socks { ports } | Way::Transparent { ports } => ports,
        }
    }

    /// The plan for a port that a client asks for: the usual one, without services at ports that
    /// may not be asked for. `None` for such a port itself.
    pub fn plan(&self, port: u16) -> Option<Plan> {
        let may = self.ports().contains(&port);
        let plan = Plan::for_port(Some(port)).ok().filter(|_| may)?;
        plan.only_ports(self.ports())
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

/// How much of everything there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Connections at once. Default 1,000.
    pub connections: usize,
    /// Connections at once of one client address. Default 200.
    pub per_client: usize,
    /// How long a session may be silent in both directions. Default 10 min, the longest time that
    /// RFC 5321 section 4.5.3.2 lets a client wait.
    pub idle: Duration,
    /// How long sessions may go on after the relay was told to stop. Default 30 s.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 1000,
            per_client: 200,
            idle: Duration::from_secs(10 * 60),
            grace: Duration::from_secs(30),
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
    ///     idle = "10min"
    ///
    ///     [[listen]]
    ///     address = "127.0.0.1:2525"
    ///     to = "mail.example.com"
    ///
    ///     [[socks]]
    ///     address = "127.0.0.1:1080"
    ///     "#,
    /// )?;
    /// assert_eq!(settings.doors.len(), 2);
    /// # Ok::<(), mailport_relay::SettingsError>(())
    /// ```
    pub fn parse(text: &str) -> Result<Settings, SettingsError> {
        let file: File = toml::from_str(text)
            .map_err(|error| SettingsError::Syntax(error.to_string().trim_end().to_owned()))?;
        let mut settings = file.limits()?;
        (settings.allow, settings.control) = (file.allow, file.control);
        for fixed in file.listen {
            let target = fixed.to.parse()?;
            let cleartext =
                if fixed.allow_cleartext { Cleartext::Allow } else { Cleartext::Refuse };
            let plan = match fixed.plan {
                None => Plan::default(),
                Some(text) => Plan::parse(&text, cleartext)?,
            };
            settings.doors.push(Door { address: fixed.address, way: Way::fixed(target, plan)? });
        }
        for Asked { address, ports } in file.socks {
            settings.doors.push(Door { address, way: Way::Socks { ports } });
        }
        for Asked { address, ports } in file.transparent {
            settings.doors.push(Door { address, way: Way::Transparent { ports } });
        }
        settings.check()?;
        Ok(settings)
    }

    /// Finds what no relay can work with. A transparent relay gets its [`MARK`] here.
    pub fn check(&mut self) -> Result<(), SettingsError> {
        let transparent = |door: &Door| matches!(door.way, Way::Transparent { .. });
        if self.doors.iter().any(transparent) {
            self.dial.mark.get_or_insert(MARK);
        }
        if self.doors.is_empty() {
            return Err(SettingsError::NoDoor);
        }
        for (index, door) in self.doors.iter().enumerate() {
            let address = door.address;
            if self.doors[..index]
                .iter()
                .any(|other| other.address == address && address.port() != 0)
            {
                return Err(SettingsError::Twice { address });
            }
            if let Way::Fixed { plan, .. } = &door.way {
                tls_of(plan)?;
            } else if door.way.ports().is_empty() || door.way.ports().contains(&0) {
                return Err(SettingsError::Ports { address });
            }
            if !address.ip().is_loopback() && (self.allow.is_empty() || transparent(door)) {
                return Err(SettingsError::Open { address });
            }
        }
        let Limits { connections, per_client, idle, .. } = self.limits;
        for (name, zero) in [
            ("connections", connections == 0),
            ("per_client", per_client == 0),
            ("idle", idle.is_zero()),
        ] {
            if zero {
                return Err(SettingsError::Zero { name });
            }
        }
        for (name, value) in [("idle", idle), ("grace", self.limits.grace)] {
            if value > MAX_DELAY {
                return Err(ConfigError::TooLong { name, value }.into());
            }
        }
        Ok(self.dial.check()?)
    }
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    allow: Vec<IpNet>,
    control: Option<PathBuf>,
    connections: usize,
    per_client: usize,
    idle: Option<String>,
    grace: Option<String>,
    deadline: Option<String>,
    mark: Option<u32>,
    listen: Vec<Fixed>,
    socks: Vec<Asked>,
    transparent: Vec<Asked>,
}

impl Default for File {
    fn default() -> File {
        let Limits { connections, per_client, .. } = Limits::default();
        File {
            allow: Vec::new(),
            control: None,
            connections,
            per_client,
            idle: None,
            grace: None,
            deadline: None,
            mark: None,
            listen: Vec::new(),
            socks: Vec::new(),
            transparent: Vec::new(),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fixed {
    address: SocketAddr,
    to: String,
    plan: Option<String>,
    #[serde(default)]
    allow_cleartext: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    address: SocketAddr,
    #[serde(default = "mail_ports")]
    ports: Vec<u16>,
}

fn mail_ports() -> Vec<u16> {
    MAIL_PORTS.to_vec()
}

impl File {
    fn limits(&self) -> Result<Settings, SettingsError> {
        let mut settings = Settings::default();
        let time = |name, text: &Option<String>, usual| match text {
            None => Ok(usual),
            Some(text) => humantime::parse_duration(text)
                .map_err(|_| SettingsError::Time { name, text: text.clone() }),
        };
        let limits = &mut settings.limits;
        limits.connections = self.connections;
        limits.per_client = self.per_client;
        limits.idle = time("idle", &self.idle, limits.idle)?;
        limits.grace = time("grace", &self.grace, limits.grace)?;
        settings.dial.timeout = time("deadline", &self.deadline, settings.dial.timeout)?;
        settings.dial.mark = self.mark;
        Ok(settings)
    }
}

/// Why settings were refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// The file is not what it should be; in the words of the TOML reader.
    #[error("{0}")]
    Syntax(String),
    /// A host that is none.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// A plan that is none.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A setting that no dial can work with.
    #[error(transparent)]
    Dial(#[from] ConfigError),
    /// A plan of several TLS modes.
    #[error(
        "the plan `{plan}` has several TLS modes: the mail reader speaks one, so a fallback could \
         only break it"
    )]
    Modes {
        /// The plan.
        plan: String,
    },
    /// Nowhere to listen.
    #[error("there is nowhere to listen: give --listen with --to, --socks or --transparent")]
    NoDoor,
    /// Two doors at one address.
    #[error("{address} is listened on twice")]
    Twice {
        /// The address.
        address: SocketAddr,
    },
    /// A door that leads nowhere.
    #[error("the ports of {address} are none: name ports from 1 to 65535")]
    Ports {
        /// Where it listens.
        address: SocketAddr,
    },
    /// A door that is open to the world.
    #[error(
        "{address} can be reached from other machines: listen on 127.0.0.1 or [::1], or say by \
         `allow` who may use it (a transparent door is for this machine only)"
    )]
    Open {
        /// Where it listens.
        address: SocketAddr,
    },
    /// A limit that lets nothing happen.
    #[error("`{name}` is 0, which lets nothing happen")]
    Zero {
        /// The setting.
        name: &'static str,
    },
    /// A time that is none.
    #[error("`{name}`: `{text}` is not a duration such as 30s or 10min")]
    Time {
        /// The setting.
        name: &'static str,
        /// What it was set to.
        text: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> String {
        Settings::parse(text).expect_err(text).to_string()
    }

    #[test]
    fn a_file_says_everything() {
        let settings = Settings::parse(
            r#"
            allow = ["192.0.2.0/24", "2001:db8::/32"]
            control = "/run/mailport/relay.sock"
            connections = 10
            per_client = 5
            idle = "5min"
            grace = "1s"
            deadline = "20s"
            mark = 7

            [[listen]]
            address = "0.0.0.0:2525"
            to = "mail.example.com"
            plan = "587:starttls,25:starttls"

            [[listen]]
            address = "127.0.0.1:4650"
            to = "mail.example.com"
            plan = "submissions"

            [[socks]]
            address = "127.0.0.1:1080"

            [[transparent]]
            address = "[::1]:2587"
            ports = [587]
            "#,
        )
        .unwrap();
        assert_eq!(settings.doors.len(), 4);
        assert_eq!(settings.doors[2].way, Way::Socks { ports: MAIL_PORTS.to_vec() });
        assert_eq!(settings.doors[3].way, Way::Transparent { ports: vec![587] });
        assert_eq!((settings.limits.connections, settings.limits.per_client), (10, 5));
        assert_eq!(settings.limits.idle, Duration::from_secs(300));
        assert_eq!(settings.dial.timeout, Duration::from_secs(20));
        assert_eq!((settings.dial.mark, settings.allow.len()), (Some(7), 2));
    }

    #[test]
    fn a_port_that_may_not_be_asked_for_is_not_fallen_back_to_either() {
        let plan = |ports: &[u16], port| {
            let way = Way::Socks { ports: ports.to_vec() };
            way.plan(port).map(|plan| plan.to_string())
        };
        let both = Some("587:starttls,25:starttls".to_owned());
        assert_eq!((plan(&MAIL_PORTS, 587), plan(&MAIL_PORTS, 25)), (both.clone(), both));
        assert_eq!(plan(&[587], 587), Some("587:starttls".to_owned()));
        assert_eq!(plan(&[25, 465], 25), Some("25:starttls".to_owned()));
        assert_eq!(plan(&[25, 465], 465), Some("465:implicit".to_owned()));
        assert_eq!((plan(&[25, 465], 587), plan(&[], 587)), (None, None));
    }

    const DOOR: &str = "[[socks]]\naddress = \"127.0.0.1:1080\"\n";

    #[test]
    fn what_is_left_out_has_the_default() {
        let settings = Settings::parse(DOOR).unwrap();
        assert_eq!(settings.limits, Limits::default());
        assert_eq!(settings.dial, Config::default());
    }

    #[test]
    fn a_transparent_door_marks_what_the_relay_sends() {
        let text = "[[transparent]]\naddress = \"127.0.0.1:2587\"\n";
        assert_eq!(Settings::parse(text).unwrap().dial.mark, Some(MARK));
    }

    #[test]
    fn a_plan_of_two_tls_modes_is_refused() {
        let words = message(
            "[[listen]]\naddress = \"127.0.0.1:2525\"\nto = \"mail.example\"\nplan = \"rfc8314\"\n",
        );
        assert!(words.contains("several TLS modes"), "{words}");
    }

    #[test]
    fn what_is_open_to_the_world_needs_a_word() {
        let text = "[[socks]]\naddress = \"0.0.0.0:1080\"\n";
        assert!(message(text).contains("0.0.0.0:1080 can be reached"), "{}", message(text));
        assert!(Settings::parse(&format!("allow = [\"192.0.2.0/24\"]\n{text}")).is_ok());
        let text = "allow = [\"192.0.2.0/24\"]\n[[transparent]]\naddress = \"0.0.0.0:2587\"\n";
        assert!(message(text).contains("this machine only"));
    }

    #[test]
    fn mistakes_are_named() {
        let fixed = |rest: &str| format!("[[listen]]\naddress = \"127.0.0.1:2525\"\n{rest}");
        for (text, part) in [
            ("", "nowhere to listen"),
            ("nonsense", "expected"),
            ("colour = \"red\"", "colour"),
            ("idle = \"soon\"\n", "`soon` is not a duration"),
            (&format!("connections = 0\n{DOOR}"), "`connections` is 0"),
            (&format!("deadline = \"1ms\"\n{DOOR}"), "deadline"),
            (&format!("{DOOR}{DOOR}"), "listened on twice"),
            (&format!("{DOOR}ports = []\n"), "are none"),
            (&fixed(""), "to"),
            (&fixed("to = \"a b\"\n"), "only letters"),
            (&fixed("to = \"mail.example\"\nplan = \"25:cleartext\"\n"), "cleartext"),
        ] {
            assert!(message(text).contains(part), "{text:?}: {}", message(text));
        }
        let text =
            fixed("to = \"mail.example\"\nplan = \"25:cleartext\"\nallow_cleartext = true\n");
        assert!(Settings::parse(&text).is_ok());
    }
}
