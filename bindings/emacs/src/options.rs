//! Plan and settings, as Lisp says them: words, checked here.

use std::time::Duration;

use mailport::{Cleartext, Config, Families, Patience, Plan, Target, Via};

/// What a dial is asked to do.
#[derive(Debug)]
pub(crate) struct Wish {
    pub(crate) target: Target,
    pub(crate) plan: Plan,
    pub(crate) config: Config,
    pub(crate) via: Option<Via>,
    pub(crate) cache: Option<Kept>,
}

/// Where a cache is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    /// In this Emacs.
    Session,
    /// In the user's file.
    File,
}

/// Reads all of it; the error says which part is wrong.
pub(crate) fn read(
    host: &str,
    plan: &str,
    cleartext: bool,
    settings: &[(String, String)],
) -> Result<Wish, String> {
    let target = host.parse::<Target>().map_err(|error| error.to_string())?;
    let allowed = if cleartext { Cleartext::Allow } else { Cleartext::Refuse };
    let plan = Plan::parse(plan, allowed).map_err(|error| error.to_string())?;
    let config = Config::default();
    let mut wish = Wish { target, plan, config, via: None, cache: None };
    for (name, value) in settings {
        if name == "via" {
            // Its error keeps a password to itself.
            wish.via = Some(value.parse::<Via>().map_err(|error| error.to_string())?);
            continue;
        }
        set(&mut wish, name, value)
            .ok_or_else(|| format!("`{value}` is no value of the setting `{name}`"))?;
    }
    Ok(wish)
}

fn set(wish: &mut Wish, name: &str, value: &str) -> Option<()> {
    let config = &mut wish.config;
    match name {
        "cache" => {
            wish.cache = match value {
                "session" => Some(Kept::Session),
                "file" => Some(Kept::File),
                _ => return None,
            };
        }
        "attempt-delay" => config.attempt_delay = seconds(value)?,
        "port-delay" => config.port_delay = seconds(value)?,
        "patience" => config.patience = Patience::Fixed(seconds(value)?),
        "deadline" => config.timeout = seconds(value)?,
        "ask" => config.ask = value == "yes",
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

fn seconds(value: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(value.parse().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(name: &str, value: &str) -> Result<Config, String> {
        let settings = [(name.to_owned(), value.to_owned())];
        read("mail.example", "submission", false, &settings).map(|wish| wish.config)
    }

    #[test]
    fn seconds_may_have_fractions() {
        assert_eq!(settings("port-delay", "0.5").unwrap().port_delay, Duration::from_millis(500));
        let config = settings("deadline", "10").unwrap();
        assert_eq!(config.timeout, Duration::from_secs(10));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (name, value) in
            [("deadline", "-1"), ("deadline", "soon"), ("families", "ipv5"), ("colour", "blue")]
        {
            let words = settings(name, value).unwrap_err();
            assert!(words.contains(name) && words.contains(value), "{words}");
        }
    }

    #[test]
    fn cleartext_must_be_allowed() {
        assert!(read("mail.example", "25:cleartext", true, &[]).is_ok());
        assert!(
            read("mail.example", "25:cleartext", false, &[]).unwrap_err().contains("cleartext")
        );
    }
}
