//! The plan and the settings of a dial, parsed from the strings that Lisp passes.

use std::time::Duration;

use mailport::{Cleartext, Config, Families, GreetingWait, Patience, Plan, Target, Via};

/// The arguments of a dial.
#[derive(Debug)]
pub(crate) struct DialSettings {
    pub(crate) target: Target,
    pub(crate) plan: Plan,
    pub(crate) config: Config,
    pub(crate) via: Option<Via>,
    pub(crate) cache: CacheKind,
}

/// Where the cache is stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum CacheKind {
    /// In the memory of this process, by the defaults of the library.
    #[default]
    Shared,
    /// Nowhere.
    Off,
    /// In the memory of this Emacs.
    Session,
    /// In the user's file.
    File,
}

/// Parses the arguments of a dial. The error names the part that is wrong.
pub(crate) fn parse(
    host: &str,
    plan: &str,
    cleartext: bool,
    settings: &[(String, String)],
) -> Result<DialSettings, String> {
    let target = host.parse::<Target>().map_err(|error| error.to_string())?;
    let allowed = if cleartext { Cleartext::Allow } else { Cleartext::Refuse };
    let plan = Plan::parse(plan, allowed).map_err(|error| error.to_string())?;
    let config = Config::default();
    let mut parsed = DialSettings { target, plan, config, via: None, cache: CacheKind::default() };
    for (name, value) in settings {
        if name == "via" {
            // The error message never contains a password.
            parsed.via = Some(value.parse::<Via>().map_err(|error| error.to_string())?);
            continue;
        }
        set(&mut parsed, name, value)
            .ok_or_else(|| format!("`{value}` is not a value of the setting `{name}`"))?;
    }
    Ok(parsed)
}

fn set(parsed: &mut DialSettings, name: &str, value: &str) -> Option<()> {
    let config = &mut parsed.config;
    match name {
        "cache" => {
            parsed.cache = match value {
                "off" => CacheKind::Off,
                "session" => CacheKind::Session,
                "file" => CacheKind::File,
                _ => return None,
            };
        }
        "attempt-delay" => config.attempt_delay = seconds(value)?,
        "port-delay" => config.port_delay = seconds(value)?,
        "patience" => config.patience = Patience::Fixed(seconds(value)?),
        "timeout" => config.timeout = seconds(value)?,
        "greeting-wait" => {
            config.greeting_wait = match value {
                "off" => GreetingWait::Off,
                _ => GreetingWait::For(seconds(value)?),
            };
        }
        "ask" => config.ask = boolean(value)?,
        "sequential" => {
            if boolean(value)? {
                parsed.plan = parsed.plan.clone().sequential();
            }
        }
        "try-failed-last" => config.try_failed_last = boolean(value)?,
        "families" => {
            config.families = match value {
                "any" => Families::Any,
                "ipv4" => Families::Ipv4,
                "ipv6" => Families::Ipv6,
                "prefer-ipv4" => Families::PreferIpv4,
                "prefer-ipv6" => Families::PreferIpv6,
                _ => return None,
            };
        }
        _ => return None,
    }
    Some(())
}

fn boolean(value: &str) -> Option<bool> {
    match value {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}

fn seconds(value: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(value.parse().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(name: &str, value: &str) -> Result<Config, String> {
        let settings = [(name.to_owned(), value.to_owned())];
        parse("mail.example", "submission", false, &settings).map(|parsed| parsed.config)
    }

    #[test]
    fn seconds_may_have_fractions() {
        assert_eq!(settings("port-delay", "0.5").unwrap().port_delay, Duration::from_millis(500));
        let config = settings("timeout", "10").unwrap();
        assert_eq!(config.timeout, Duration::from_secs(10));
    }

    #[test]
    fn the_greeting_wait_can_be_turned_off() {
        assert_eq!(settings("greeting-wait", "off").unwrap().greeting_wait, GreetingWait::Off);
        let wait = GreetingWait::For(Duration::from_secs(2));
        assert_eq!(settings("greeting-wait", "2").unwrap().greeting_wait, wait);
    }

    #[test]
    fn an_error_names_the_setting_and_its_value() {
        for (name, value) in [
            ("timeout", "-1"),
            ("timeout", "soon"),
            ("families", "ipv5"),
            ("sequential", "maybe"),
            ("colour", "blue"),
        ] {
            let message = settings(name, value).unwrap_err();
            assert!(message.contains(name) && message.contains(value), "{message}");
        }
    }

    #[test]
    fn cleartext_must_be_allowed() {
        assert!(parse("mail.example", "25:cleartext", true, &[]).is_ok());
        assert!(
            parse("mail.example", "25:cleartext", false, &[]).unwrap_err().contains("cleartext")
        );
    }
}
