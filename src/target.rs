//! The host that the user configured: a name or a literal, parsed once, when it comes in.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};

/// The longest host that is taken, in bytes (RFC 1035 section 2.3.4, without the final dot).
pub const MAX_LENGTH: usize = 253;
/// The longest label of a name, in bytes (RFC 1035 section 2.3.4).
const MAX_LABEL: usize = 63;

/// The host that the user configured: a name or an address.
///
/// TLS must verify [`Target::canonical`] and nothing else, whichever service is reached. A name
/// outside ASCII is replaced by its A-labels (IDNA 2008, as UTS #46 maps it): those are dialled and
/// verified.
///
/// ```
/// use mailport::Target;
///
/// let target: Target = "mail.example.com".parse()?;
/// assert_eq!(target.as_str(), "mail.example.com");
/// let target: Target = "Bücher.example".parse()?;
/// assert_eq!(target.canonical(), "xn--bcher-kva.example");
/// # Ok::<(), mailport::TargetError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    text: String,
    host: Host,
}

/// What a [`Target`] turned out to be.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// A name to look up, in ASCII (A-labels).
    Name(String),
    /// An address, which needs no look-up. An IPv4-mapped IPv6 address (RFC 4291 section 2.5.5.2)
    /// is the IPv4 address that it maps.
    Address(IpAddr),
    /// An IPv6 address with a zone (RFC 4007 section 11): an interface's name or its index.
    Scoped(Ipv6Addr, String),
}

impl Target {
    /// The host as the user wrote it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The host in its canonical spelling, which is the name that TLS verifies: a name in ASCII and
    /// lower case without its final dot, or an address as the standard library writes it.
    pub fn canonical(&self) -> String {
        match &self.host {
            Host::Name(name) => name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase(),
            Host::Address(address) => address.to_string(),
            Host::Scoped(address, zone) => format!("{address}%{zone}"),
        }
    }

    /// The name or the address.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Whether it is this machine by its name, or by its address.
    #[cfg(feature = "driver")]
    pub(crate) fn is_here(&self) -> bool {
        match &self.host {
            // RFC 6761 section 6.3.
            Host::Name(_) => {
                let name = self.canonical();
                name == "localhost" || name.ends_with(".localhost")
            }
            Host::Address(address) => address.is_loopback(),
            Host::Scoped(..) => false,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Formats the host of a socket address: without the port, and with the zone of a link-local
/// address as the number of its interface, `fe80::1%2`.
pub fn format_host(address: SocketAddr) -> String {
    match address {
        SocketAddr::V6(v6) if v6.scope_id() > 0 => format!("{}%{}", v6.ip(), v6.scope_id()),
        _ => address.ip().to_string(),
    }
}

/// Parses as [`FromStr`] does.
impl TryFrom<&str> for Target {
    type Error = TargetError;

    fn try_from(text: &str) -> Result<Target, TargetError> {
        text.parse()
    }
}

/// Parses as [`FromStr`] does.
impl TryFrom<&String> for Target {
    type Error = TargetError;

    fn try_from(text: &String) -> Result<Target, TargetError> {
        text.parse()
    }
}

/// The host of an address; its port is ignored, and its zone only matters where it is link-local.
impl TryFrom<SocketAddr> for Target {
    type Error = TargetError;

    fn try_from(mut address: SocketAddr) -> Result<Target, TargetError> {
        if let SocketAddr::V6(v6) = &mut address
            && !v6.ip().is_unicast_link_local()
        {
            v6.set_scope_id(0);
        }
        format_host(address).parse()
    }
}

impl From<&Target> for Target {
    fn from(target: &Target) -> Target {
        target.clone()
    }
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Target, TargetError> {
        let host = parse_host(text)?;
        Ok(Target { text: text.to_owned(), host })
    }
}

fn parse_host(text: &str) -> Result<Host, TargetError> {
    if text.is_empty() {
        return Err(TargetError::Empty);
    }
    if let Some(at) = text.find(char::is_control) {
        return Err(TargetError::ControlCharacter { at });
    }
    // One more byte for the dot that ends a fully qualified name.
    if text.strip_suffix('.').unwrap_or(text).len() > MAX_LENGTH {
        return Err(TargetError::TooLong { length: text.len() });
    }
    if text.contains(':') {
        return parse_ipv6(text);
    }
    if let Ok(address) = text.parse::<Ipv4Addr>() {
        return of_a_host(text, IpAddr::V4(address)).map(Host::Address);
    }
    parse_name(text)
}

/// Whether a host can have this address: connecting to 0.0.0.0 or :: would reach this machine, and
/// the others none.
pub(crate) fn is_of_a_host(address: IpAddr) -> bool {
    let broadcast = address == IpAddr::V4(Ipv4Addr::BROADCAST);
    !address.is_unspecified() && !address.is_multicast() && !broadcast
}

fn of_a_host(text: &str, address: IpAddr) -> Result<IpAddr, TargetError> {
    if is_of_a_host(address) {
        Ok(address)
    } else {
        Err(TargetError::NotAHost { text: text.to_owned() })
    }
}

fn parse_ipv6(text: &str) -> Result<Host, TargetError> {
    let bad = || {
        let text = text.to_owned();
        match text.matches(':').count() {
            1 => TargetError::WithPort { text },
            _ if text.contains("://") => TargetError::WithPort { text },
            _ => TargetError::NotAnAddress { text },
        }
    };
    if text.starts_with('[') {
        return Err(TargetError::Bracketed { text: text.to_owned() });
    }
    let Some((address, zone)) = text.split_once('%') else {
        let address = text.parse::<Ipv6Addr>().map_err(|_| bad())?;
        if address.is_unicast_link_local() {
            return Err(TargetError::NoZone { text: text.to_owned() });
        }
        return of_a_host(text, IpAddr::V6(address).to_canonical()).map(Host::Address);
    };
    let address = address.parse::<Ipv6Addr>().map_err(|_| bad())?;
    // The kernel's limit for an interface's name is IFNAMSIZ, 16 bytes with the final NUL.
    let named = |b: u8| b.is_ascii_graphic() && b != b'%' && b != b'/';
    if zone.is_empty() || zone.len() > 15 || !zone.bytes().all(named) {
        return Err(TargetError::BadZone { text: text.to_owned() });
    }
    if !address.is_unicast_link_local() {
        return Err(TargetError::UselessZone { text: text.to_owned() });
    }
    Ok(Host::Scoped(address, zone.to_owned()))
}

fn parse_name(text: &str) -> Result<Host, TargetError> {
    if !text.is_ascii() {
        return Uts46::new()
            .to_ascii(text.as_bytes(), AsciiDenyList::URL, Hyphens::Check, DnsLength::Ignore)
            .ok()
            .filter(|name| {
                name.is_ascii() && name.strip_suffix('.').unwrap_or(name).len() <= MAX_LENGTH
            })
            .and_then(|name| parse_name(&name).ok())
            .ok_or_else(|| TargetError::NotIdna { text: text.to_owned() });
    }
    let labels = text.strip_suffix('.').unwrap_or(text);
    for label in labels.split('.') {
        let reason = if label.is_empty() {
            "a label is empty"
        } else if label.len() > MAX_LABEL {
            "a label is longer than 63 bytes"
        } else if label.starts_with('-') || label.ends_with('-') {
            "a label begins or ends with a hyphen"
        } else if !label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
            "only letters, digits, hyphens, underscores and dots can be in a name"
        } else {
            continue;
        };
        return Err(TargetError::BadName { text: text.to_owned(), reason });
    }
    // RFC 1123 section 2.1: the last label of a name is alphabetic, so this is meant as an
    // address, and the C library would read `127.1` or `0x7f.1` as an address that is not obvious.
    let last = labels.rsplit('.').next().unwrap_or(labels);
    if last.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("0x"))
        || last.bytes().all(|b| b.is_ascii_digit())
    {
        return Err(TargetError::NotAnAddress { text: text.to_owned() });
    }
    Ok(Host::Name(text.to_owned()))
}

/// Why a host was refused; the caller's mistake, found before anything is sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// No host at all.
    #[error("the host is empty")]
    Empty,
    /// A control character, which is not repeated in the message.
    #[error("the host has a control character at byte {at}")]
    ControlCharacter {
        /// Where, counted in bytes from 0.
        at: usize,
    },
    /// More than [`MAX_LENGTH`] bytes.
    #[error("the host is {length} bytes long; a name has at most {MAX_LENGTH}")]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// A name outside ASCII that IDNA 2008 does not allow (RFC 5891).
    #[error("`{text}` is not an internationalized domain name (IDNA 2008)")]
    NotIdna {
        /// The host.
        text: String,
    },
    /// A name that cannot exist.
    #[error("`{text}` is not a host name: {reason}")]
    BadName {
        /// The host.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An address that no host can have.
    #[error("`{text}` is not the address of a host")]
    NotAHost {
        /// The host.
        text: String,
    },
    /// A host with a port, or a whole URL.
    #[error("`{text}`: write the host alone, without a port or a scheme")]
    WithPort {
        /// The host.
        text: String,
    },
    /// A link-local address that does not say of which link.
    #[error("`{text}`: a link-local address needs its interface, as in {text}%eth0")]
    NoZone {
        /// The host.
        text: String,
    },
    /// Looks like an address and is none.
    #[error("`{text}` is not an IPv4 or IPv6 address")]
    NotAnAddress {
        /// The host.
        text: String,
    },
    /// An address in brackets.
    #[error("`{text}`: write an IPv6 address without brackets and without a port")]
    Bracketed {
        /// The host.
        text: String,
    },
    /// A zone that no interface can have.
    #[error("`{text}`: after % write the name or the index of an interface")]
    BadZone {
        /// The host.
        text: String,
    },
    /// A zone on an address that has no use for one.
    #[error("`{text}`: only a link-local address takes a zone")]
    UselessZone {
        /// The host.
        text: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> Host {
        text.parse::<Target>().unwrap_or_else(|e| panic!("{text}: {e}")).host
    }

    fn message(text: &str) -> String {
        text.parse::<Target>().expect_err(text).to_string()
    }

    #[test]
    fn names_and_literals_are_distinguished() {
        assert_eq!(host("mail.example.com"), Host::Name("mail.example.com".into()));
        assert_eq!(host("mail.example.com."), Host::Name("mail.example.com.".into()));
        assert_eq!(host("localhost"), Host::Name("localhost".into()));
        assert_eq!(host("_x.example"), Host::Name("_x.example".into()));
        assert_eq!(host("192.0.2.1"), Host::Address("192.0.2.1".parse().unwrap()));
        assert_eq!(host("2001:db8::1"), Host::Address("2001:db8::1".parse().unwrap()));
        assert_eq!(host("fe80::1%eth0"), Host::Scoped("fe80::1".parse().unwrap(), "eth0".into()));
        assert_eq!(host("fe80::1%2"), Host::Scoped("fe80::1".parse().unwrap(), "2".into()));
    }

    #[test]
    fn a_mapped_address_is_the_address_it_stands_for() {
        assert_eq!(host("::ffff:192.0.2.1"), Host::Address("192.0.2.1".parse().unwrap()));
    }

    #[test]
    fn a_name_outside_ascii_is_its_a_labels() {
        for (text, name) in [
            ("Bücher.example", "xn--bcher-kva.example"),
            ("bu\u{308}cher.example", "xn--bcher-kva.example"),
            ("straße.example", "xn--strae-oqa.example"),
            ("例え.jp", "xn--r8jz45g.jp"),
            ("почта.рф", "xn--80a1acny.xn--p1ai"),
            ("ｍａｉｌ.example", "mail.example"),
            ("bücher。example.", "xn--bcher-kva.example."),
        ] {
            assert_eq!(host(text), Host::Name(name.into()), "{text}");
            assert_eq!(text.parse::<Target>().unwrap().as_str(), text);
        }
        let long = format!("{}ü.example", "ü.".repeat(60));
        for text in ["-ü.example", "ü\u{200d}.example", "ü b.example", &long] {
            let refused = message(text);
            assert!(refused.contains(text) || refused.contains("253"), "{text}: {refused}");
        }
    }

    #[test]
    fn an_address_is_a_host_with_the_zone_of_its_link() {
        let of = |address: &str| Target::try_from(address.parse::<SocketAddr>().unwrap());
        assert_eq!(of("192.0.2.1:25").unwrap().as_str(), "192.0.2.1");
        assert_eq!(of("[fe80::1%2]:25").unwrap().as_str(), "fe80::1%2");
        assert_eq!(of("[2001:db8::1%2]:25").unwrap().as_str(), "2001:db8::1");
        assert!(of("0.0.0.0:25").is_err());
    }

    #[test]
    fn what_cannot_be_a_host_is_refused_with_a_reason() {
        for (text, part) in [
            ("", "empty"),
            ("a b.example", "only letters"),
            ("a..example", "empty"),
            (".example", "empty"),
            (".", "empty"),
            ("-a.example", "hyphen"),
            ("mail.example.com:587", "without a port"),
            ("smtp://mail.example.com", "without a port"),
            ("smtp://mail.example.com:587", "without a port"),
            ("2001:db8::1::", "not an IPv4 or IPv6 address"),
            ("0X7F000001", "not an IPv4 or IPv6 address"),
            ("127.0.0.0X1", "not an IPv4 or IPv6 address"),
            ("0.0.0.0", "not the address of a host"),
            ("::", "not the address of a host"),
            ("224.0.0.1", "not the address of a host"),
            ("255.255.255.255", "not the address of a host"),
            ("ff02::1", "not the address of a host"),
            ("fe80::1", "needs its interface, as in fe80::1%eth0"),
            ("127.1", "not an IPv4 or IPv6 address"),
            ("256.1.1.1", "not an IPv4 or IPv6 address"),
            ("2130706433", "not an IPv4 or IPv6 address"),
            ("0x7f000001", "not an IPv4 or IPv6 address"),
            ("[::1]", "without brackets"),
            ("fe80::1%", "interface"),
            ("fe80::1%a-name-that-is-too-long", "interface"),
            ("2001:db8::1%eth0", "link-local"),
            ("a\0b", "control character at byte 1"),
        ] {
            assert!(message(text).contains(part), "{text:?}: {}", message(text));
        }
    }

    #[test]
    fn length_is_bounded() {
        let label = "a".repeat(63);
        let longest = format!("{label}.{label}.{label}.{}", "a".repeat(61));
        assert_eq!(longest.len(), MAX_LENGTH);
        assert!(longest.parse::<Target>().is_ok());
        assert!(format!("{longest}.").parse::<Target>().is_ok());
        assert!(message(&format!("{longest}a")).contains("254 bytes"));
        assert!(message(&format!("{label}a.example")).contains("63 bytes"));
    }
}
