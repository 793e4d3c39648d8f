//! The settings file (TOML).

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use serde::Deserialize;

use mailport::config::{Families, Patience};
use mailport::plan::{Cleartext, Plan};
use mailport::{Config, Via};

use super::error::SettingsError;
use super::listener::{Asked, Listener, Mode, Prefer};
use super::{Limits, Settings};

/// The keys outside `[[listener]]`. Those of [`Dialling`] are the default of every listener.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct File {
    allow: Vec<IpNet>,
    allow_uids: Vec<u32>,
    control: Option<PathBuf>,
    max_sessions: Option<usize>,
    max_sessions_per_client: Option<usize>,
    drain_timeout: Option<String>,
    mark: Option<u32>,
    dial_timeout: Option<String>,
    idle_timeout: Option<String>,
    mailbox_idle_timeout: Option<String>,
    listener: Vec<RawListener>,
}

/// A `[[listener]]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawListener {
    mode: RawMode,
    address: String,
    server: Option<String>,
    plan: Option<String>,
    #[serde(default)]
    allow_cleartext: bool,
    ports: Option<Vec<u16>>,
    names: Option<Vec<String>>,
    prefer: Option<RawPrefer>,
    via: Option<String>,
    families: Option<RawFamilies>,
    source: Option<IpAddr>,
    device: Option<String>,
    attempt_delay: Option<String>,
    port_delay: Option<String>,
    patience: Option<String>,
    dial_timeout: Option<String>,
    idle_timeout: Option<String>,
    mailbox_idle_timeout: Option<String>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum RawMode {
    Fixed,
    Proxy,
    Transparent,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum RawPrefer {
    Asked,
    Submission,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "kebab-case")]
enum RawFamilies {
    Any,
    Ipv4,
    Ipv6,
    PreferIpv4,
    PreferIpv6,
}

pub(super) fn parse(text: &str) -> Result<Settings, SettingsError> {
    let file: File = toml::from_str(text)
        .map_err(|error| SettingsError::Syntax(error.to_string().trim_end().to_owned()))?;
    let usual = Limits::default();
    let limits = Limits {
        max_sessions: file.max_sessions.unwrap_or(usual.max_sessions),
        max_sessions_per_client: file
            .max_sessions_per_client
            .unwrap_or(usual.max_sessions_per_client),
        drain_timeout: time("drain_timeout", file.drain_timeout.as_ref(), usual.drain_timeout)?,
    };
    let listeners =
        file.listener.iter().map(|raw| raw.listener(&file)).collect::<Result<_, _>>()?;
    let File { allow, allow_uids, mark, control, .. } = file;
    Ok(Settings { listeners, allow, allow_uids, limits, mark, control })
}

fn time(
    name: &'static str,
    text: Option<&String>,
    usual: Duration,
) -> Result<Duration, SettingsError> {
    match text {
        None => Ok(usual),
        Some(text) => humantime::parse_duration(text)
            .map_err(|_| SettingsError::Time { name, text: text.clone() }),
    }
}

impl RawListener {
    fn listener(&self, file: &File) -> Result<Listener, SettingsError> {
        let address: super::ListenAddress = self.address.parse()?;
        let unfit = |key| SettingsError::Key {
            address: address.clone(),
            key,
            mode: match self.mode {
                RawMode::Fixed => "fixed",
                RawMode::Proxy => "proxy",
                RawMode::Transparent => "transparent",
            },
        };
        let of_fixed = [
            ("server", self.server.is_some()),
            ("plan", self.plan.is_some()),
            ("allow_cleartext", self.allow_cleartext),
        ];
        let of_asked = [
            ("ports", self.ports.is_some()),
            ("names", self.names.is_some()),
            ("prefer", self.prefer.is_some()),
        ];
        let others = if self.mode == RawMode::Fixed { of_asked } else { of_fixed };
        if let Some((key, _)) = others.into_iter().find(|(_, is_given)| *is_given) {
            return Err(unfit(key));
        }
        let mode = match self.mode {
            RawMode::Fixed => self.fixed(&address)?,
            RawMode::Proxy => Mode::Proxy(self.asked()?),
            RawMode::Transparent => Mode::Transparent(self.asked()?),
        };
        let mut listener = Listener::new(address.clone(), mode);
        listener.dial = self.dial(file)?;
        let via = self.via.as_ref().map(|text| text.parse::<Via>()).transpose();
        listener.via =
            via.map_err(|error| SettingsError::Via { address, reason: error.to_string() })?;
        let own_or = |own: &Option<String>, all: &Option<String>| own.clone().or(all.clone());
        let idle = own_or(&self.idle_timeout, &file.idle_timeout);
        listener.idle_timeout = time("idle_timeout", idle.as_ref(), listener.idle_timeout)?;
        let idle = own_or(&self.mailbox_idle_timeout, &file.mailbox_idle_timeout);
        listener.mailbox_idle_timeout =
            time("mailbox_idle_timeout", idle.as_ref(), listener.mailbox_idle_timeout)?;
        Ok(listener)
    }

    fn fixed(&self, address: &super::ListenAddress) -> Result<Mode, SettingsError> {
        let no_server = || SettingsError::NoServer { address: address.clone() };
        let target = self.server.as_ref().ok_or_else(no_server)?.parse()?;
        let cleartext = if self.allow_cleartext { Cleartext::Allow } else { Cleartext::Refuse };
        let plan = match &self.plan {
            None => Plan::default(),
            Some(text) => Plan::parse(text, cleartext)?,
        };
        Mode::fixed(target, plan)
    }

    fn asked(&self) -> Result<Asked, SettingsError> {
        let mut asked = Asked::default();
        if let Some(ports) = &self.ports {
            asked.ports.clone_from(ports);
        }
        for name in self.names.iter().flatten() {
            asked.names.push(name.parse()?);
        }
        if let Some(RawPrefer::Submission) = self.prefer {
            asked.prefer = Prefer::Submission;
        }
        Ok(asked)
    }

    fn dial(&self, file: &File) -> Result<Config, SettingsError> {
        let mut dial = Config::default();
        let timeout = self.dial_timeout.as_ref().or(file.dial_timeout.as_ref());
        dial.timeout = time("dial_timeout", timeout, dial.timeout)?;
        dial.attempt_delay =
            time("attempt_delay", self.attempt_delay.as_ref(), dial.attempt_delay)?;
        dial.port_delay = time("port_delay", self.port_delay.as_ref(), dial.port_delay)?;
        if let Some(text) = self.patience.as_ref().filter(|text| *text != "automatic") {
            dial.patience = Patience::Fixed(time("patience", Some(text), Duration::ZERO)?);
        }
        dial.families = match self.families.unwrap_or(RawFamilies::Any) {
            RawFamilies::Any => Families::Any,
            RawFamilies::Ipv4 => Families::Ipv4,
            RawFamilies::Ipv6 => Families::Ipv6,
            RawFamilies::PreferIpv4 => Families::PreferIpv4,
            RawFamilies::PreferIpv6 => Families::PreferIpv6,
        };
        dial.source = self.source;
        dial.device.clone_from(&self.device);
        Ok(dial)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{MARK, all_ports};
    use super::*;

    fn message(text: &str) -> String {
        Settings::parse(text).expect_err(text).to_string()
    }

    #[test]
    fn a_file_can_set_everything() {
        let settings = Settings::parse(
            r#"
            allow = ["192.0.2.0/24", "2001:db8::/32"]
            allow_uids = [1000]
            control = "/run/mailport/relay.sock"
            max_sessions = 10
            max_sessions_per_client = 5
            drain_timeout = "1s"
            dial_timeout = "20s"
            idle_timeout = "5min"
            mark = 7

            [[listener]]
            mode = "fixed"
            address = "0.0.0.0:2525"
            server = "mail.example.com"
            plan = "587:starttls,25:starttls"
            via = "socks5://127.0.0.1:9050"
            dial_timeout = "40s"

            [[listener]]
            mode = "proxy"
            address = "/run/mailport/proxy.sock"
            names = ["mail.example.com"]
            prefer = "submission"
            families = "prefer-ipv4"
            patience = "2s"
            port_delay = "700ms"
            idle_timeout = "1min"
            mailbox_idle_timeout = "1h"

            [[listener]]
            mode = "transparent"
            address = "[::1]:2587"
            ports = [587]
            source = "2001:db8::1"
            device = "eth0"
            "#,
        )
        .unwrap();
        let [fixed, proxy, transparent] = &settings.listeners[..] else { panic!("{settings:?}") };
        assert_eq!(fixed.via.as_ref().unwrap().to_string(), "socks5://127.0.0.1:9050");
        assert_eq!(fixed.dial.timeout, Duration::from_secs(40), "its own");
        assert_eq!(fixed.idle_timeout, Duration::from_secs(300), "the file's");
        let asked = proxy.mode.asked().unwrap();
        assert_eq!((asked.prefer, asked.names.len()), (Prefer::Submission, 1));
        assert_eq!(asked.ports, all_ports());
        assert_eq!(proxy.dial.families, Families::PreferIpv4);
        assert_eq!(proxy.dial.patience, Patience::Fixed(Duration::from_secs(2)));
        assert_eq!(proxy.dial.port_delay, Duration::from_millis(700));
        assert_eq!(proxy.dial.timeout, Duration::from_secs(20), "the file's");
        assert_eq!(proxy.mailbox_idle_timeout, Duration::from_secs(3600));
        assert_eq!(transparent.mode, Mode::Transparent(Asked::with_ports([587])));
        assert_eq!(transparent.dial.source, "2001:db8::1".parse().ok());
        assert_eq!(transparent.dial.device.as_deref(), Some("eth0"));
        let limits = settings.limits;
        assert_eq!((limits.max_sessions, limits.max_sessions_per_client), (10, 5));
        assert_eq!(limits.drain_timeout, Duration::from_secs(1));
        assert_eq!((settings.mark, settings.allow.len()), (Some(7), 2));
        assert_eq!(settings.allow_uids, [1000]);
        assert!(settings.listeners.iter().all(|listener| listener.dial.mark == Some(7)));
    }

    const PROXY: &str = "[[listener]]\nmode = \"proxy\"\naddress = \"127.0.0.1:1080\"\n";
    const TRANSPARENT: &str =
        "[[listener]]\nmode = \"transparent\"\naddress = \"127.0.0.1:2587\"\n";

    #[test]
    fn a_key_that_is_missing_has_its_default() {
        let settings = Settings::parse(PROXY).unwrap();
        assert_eq!(settings.limits, Limits::default());
        let address: std::net::SocketAddr = "127.0.0.1:1080".parse().unwrap();
        let listener = Listener::new(address, Mode::Proxy(Asked::default()));
        assert_eq!(settings.listeners, [listener]);
    }

    #[test]
    fn a_relay_with_a_transparent_listener_marks_its_connections() {
        assert_eq!(Settings::parse(TRANSPARENT).unwrap().mark, Some(MARK));
    }

    #[test]
    fn a_plan_with_two_tls_modes_is_refused() {
        let text = "[[listener]]\nmode = \"fixed\"\naddress = \"127.0.0.1:2525\"\n\
                    server = \"mail.example\"\nplan = \"rfc8314\"\n";
        assert!(message(text).contains("several TLS modes"), "{}", message(text));
    }

    #[test]
    fn a_listener_that_other_machines_can_reach_needs_allow() {
        let text = PROXY.replace("127.0.0.1", "0.0.0.0");
        assert!(message(&text).contains("0.0.0.0:1080 can be reached"), "{}", message(&text));
        let allow = "allow = [\"192.0.2.0/24\"]\n";
        assert!(Settings::parse(&format!("{allow}{text}")).is_ok());
        let text = allow.to_owned() + &TRANSPARENT.replace("127.0.0.1", "0.0.0.0");
        assert!(message(&text).contains("this machine only"));
    }

    #[test]
    fn an_error_names_the_key() {
        let fixed = |rest: &str| {
            format!("[[listener]]\nmode = \"fixed\"\naddress = \"127.0.0.1:2525\"\n{rest}")
        };
        for (text, part) in [
            ("", "there is no listener"),
            ("nonsense", "expected"),
            ("colour = \"red\"", "colour"),
            (&format!("idle_timeout = \"soon\"\n{PROXY}"), "`soon` is not a duration"),
            (&format!("max_sessions = 0\n{PROXY}"), "`max_sessions` is 0"),
            (&format!("dial_timeout = \"1ms\"\n{PROXY}"), "timeout"),
            (&format!("{PROXY}{PROXY}"), "two listeners"),
            (&format!("{PROXY}ports = []\n"), "no valid `ports`"),
            (&format!("{PROXY}server = \"x\"\n"), "`server` has no meaning with mode = \"proxy\""),
            (&format!("{PROXY}via = \"ssh\"\n"), "`via`: "),
            (&fixed(""), "needs `server`"),
            (&fixed("server = \"a b\"\n"), "only letters"),
            (&fixed("server = \"x\"\nnames = []\n"), "`names` has no meaning"),
            (&fixed("server = \"mail.example\"\nplan = \"25:cleartext\"\n"), "cleartext"),
            (&TRANSPARENT.replace("127.0.0.1:2587", "/run/x"), "UNIX socket"),
            (&PROXY.replace("127.0.0.1:1080", "here"), "`here` is not an address"),
        ] {
            assert!(message(text).contains(part), "{text:?}: {}", message(text));
        }
        let text =
            fixed("server = \"mail.example\"\nplan = \"25:cleartext\"\nallow_cleartext = true\n");
        assert!(Settings::parse(&text).is_ok());
    }
}
