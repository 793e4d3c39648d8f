//! Text as a host.

use std::net::IpAddr;

use mailport::target::{Host, MAX_LENGTH};
use mailport::{Target, TargetError};

/// A host that is taken stays as it was written, and is what it looks like to the C library too; a
/// refusal names it.
pub fn target(data: &[u8]) {
    let text = &*String::from_utf8_lossy(data);
    match text.parse::<Target>() {
        Ok(target) => {
            assert_eq!((target.as_str(), &*target.to_string()), (text, text));
            taken(text, target.host());
        }
        Err(error) => refused(text, &error),
    }
}

fn taken(text: &str, host: &Host) {
    assert!(text.bytes().all(|b| b.is_ascii_graphic()) || !text.is_ascii(), "{text:?}");
    match host {
        Host::Name(name) => {
            // A name outside ASCII is its A-labels, which map to themselves.
            assert!(name == text || !text.is_ascii());
            assert!(name.is_ascii() && name.len() <= MAX_LENGTH + 1);
            assert_eq!(host_of(name), *host);
            let labels: Vec<&str> = name.strip_suffix('.').unwrap_or(name).split('.').collect();
            for label in &labels {
                let legal = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
                assert!(label.bytes().all(legal) && (1..=63).contains(&label.len()));
                assert!(!label.starts_with('-') && !label.ends_with('-'));
            }
            assert!(name.parse::<IpAddr>().is_err());
            assert!(!labels.iter().all(|label| is_number(label)), "an address in disguise: {text}");
        }
        Host::Address(address) => {
            assert_eq!(*address, address.to_canonical(), "a mapped address is the IPv4 address");
            assert!(!address.is_unspecified() && !address.is_multicast(), "not a host's: {text}");
            assert_eq!(text.parse::<IpAddr>().map(|ip| ip.to_canonical()), Ok(*address));
            assert_eq!(host_of(&address.to_string()), *host);
        }
        Host::Scoped(address, zone) => {
            assert!(address.is_unicast_link_local());
            assert!((1..=15).contains(&zone.len()) && !zone.contains(['/', '%']));
            assert!(text.ends_with(&format!("%{zone}")));
            assert_eq!(host_of(&format!("{address}%{zone}")), *host);
        }
    }
}

fn host_of(text: &str) -> Host {
    text.parse::<Target>().unwrap().host().clone()
}

/// What `inet_aton` takes for a part of an address: `127.1` is one, and `0x7f000001`.
fn is_number(label: &str) -> bool {
    match label.strip_prefix("0x").or_else(|| label.strip_prefix("0X")) {
        Some(digits) => !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit()),
        None => label.bytes().all(|b| b.is_ascii_digit()),
    }
}

fn refused(text: &str, error: &TargetError) {
    let named = match error {
        TargetError::Empty => return assert!(text.is_empty()),
        TargetError::ControlCharacter { at } => {
            return assert!(text[*at..].starts_with(char::is_control));
        }
        TargetError::TooLong { length } => {
            return assert!(*length > MAX_LENGTH && *length == text.len());
        }
        TargetError::NotIdna { text: named } => {
            assert!(!text.is_ascii());
            named
        }
        TargetError::BadName { text: named, .. }
        | TargetError::NotAHost { text: named }
        | TargetError::WithPort { text: named }
        | TargetError::NoZone { text: named }
        | TargetError::NotAnAddress { text: named }
        | TargetError::Bracketed { text: named }
        | TargetError::BadZone { text: named }
        | TargetError::UselessZone { text: named } => named,
        other => panic!("an error that is not known here: {other}"),
    };
    assert_eq!(named, text);
    assert!(error.to_string().contains(&format!("`{text}`")));
}
