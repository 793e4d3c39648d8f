//! Values of options, read from text.

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use mailport::{Families, GreetingWait, Patience};

/// `--family`.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum FamilyChoice {
    /// Both, in the order of RFC 6724 section 6
    Any,
    /// IPv4 only
    Ipv4,
    /// IPv6 only
    Ipv6,
    /// Both, IPv4 first
    PreferIpv4,
    /// Both, IPv6 first
    PreferIpv6,
}

impl From<FamilyChoice> for Families {
    fn from(family: FamilyChoice) -> Families {
        match family {
            FamilyChoice::Any => Families::Any,
            FamilyChoice::Ipv4 => Families::Ipv4,
            FamilyChoice::Ipv6 => Families::Ipv6,
            FamilyChoice::PreferIpv4 => Families::PreferIpv4,
            FamilyChoice::PreferIpv6 => Families::PreferIpv6,
        }
    }
}

/// `--cache`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CacheChoice {
    Off,
    File(PathBuf),
}

/// A file, or `off`.
pub(crate) fn cache(text: &str) -> Result<CacheChoice, String> {
    match text {
        "off" => Ok(CacheChoice::Off),
        _ => cache_file(text).map(CacheChoice::File),
    }
}

/// The file of a cache.
pub(crate) fn cache_file(text: &str) -> Result<PathBuf, String> {
    match text {
        "" => Err("a file must have a name".to_owned()),
        "off" => Err("this needs a cache (write ./off for a file of that name)".to_owned()),
        _ => Ok(text.into()),
    }
}

/// `250ms`, `1.3s`, `2min`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(duration) => Ok(duration),
        Err(humantime::DurationError::UnknownUnit { unit, .. }) if unit.is_empty() => Err(format!(
            "`{text}` has no unit: write {text}s for seconds, {text}ms for milliseconds"
        )),
        Err(humantime::DurationError::UnknownUnit { unit, .. }) => {
            Err(format!("`{unit}` is not a unit: write ms, s, min or h"))
        }
        Err(_) => Err(format!("`{text}` is not a duration such as 250ms or 1.3s")),
    }
}

/// A duration, or `automatic`.
pub(crate) fn patience(text: &str) -> Result<Patience, String> {
    if text == "automatic" {
        return Ok(Patience::Automatic);
    }
    duration(text).map(Patience::Fixed)
}

/// A duration, `automatic` or `off`.
pub(crate) fn greeting_wait(text: &str) -> Result<GreetingWait, String> {
    match text {
        "automatic" => Ok(GreetingWait::Automatic),
        "off" => Ok(GreetingWait::Off),
        _ => duration(text).map(GreetingWait::For),
    }
}

/// A firewall mark, in decimal or as `0x...`.
pub(crate) fn mark(text: &str) -> Result<u32, String> {
    let number = match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    };
    number.map_err(|_| format!("`{text}` is not a number from 0 to 0xffffffff"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_decimals_and_units() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("1.3s"), Ok(Duration::from_millis(1300)));
        assert_eq!(duration("2min"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("0"), Ok(Duration::ZERO));
    }

    #[test]
    fn a_duration_that_cannot_be_read_says_what_to_write() {
        assert!(duration("30").unwrap_err().contains("write 30s"));
        assert!(duration("1.5").unwrap_err().contains("write 1.5s"));
        assert!(duration("3 apples").unwrap_err().contains("`apples` is not a unit"));
        for text in ["", "-1s", "s", "1,3s", "99999999999999999999s", "0.1ns"] {
            assert!(duration(text).unwrap_err().contains("250ms or 1.3s"), "{text}");
        }
    }

    #[test]
    fn patience_is_a_duration_or_automatic() {
        assert_eq!(patience("automatic"), Ok(Patience::Automatic));
        assert_eq!(patience("10s"), Ok(Patience::Fixed(Duration::from_secs(10))));
        assert!(patience("auto").is_err());
    }

    #[test]
    fn a_greeting_wait_is_a_duration_automatic_or_off() {
        assert_eq!(
            (greeting_wait("automatic"), greeting_wait("off")),
            (Ok(GreetingWait::Automatic), Ok(GreetingWait::Off))
        );
        assert_eq!(greeting_wait("3s"), Ok(GreetingWait::For(Duration::from_secs(3))));
        assert!(greeting_wait("on").is_err());
    }

    #[test]
    fn a_cache_is_a_file_or_off() {
        assert_eq!(cache("off"), Ok(CacheChoice::Off));
        assert_eq!(cache("./off"), Ok(CacheChoice::File("./off".into())));
        assert!(cache("").is_err() && cache_file("off").is_err());
    }

    #[test]
    fn a_mark_is_decimal_or_hexadecimal() {
        assert_eq!((mark("10"), mark("0x10")), (Ok(10), Ok(16)));
        for text in ["", "0x", "-1", "4294967296"] {
            assert!(mark(text).is_err(), "{text}");
        }
    }
}
