//! A port with its TLS mode and its families.

use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;

use super::PlanError;

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv6.
    Ipv6,
    /// IPv4.
    Ipv4,
}

impl Family {
    /// Both families, IPv6 first.
    pub const ALL: [Family; 2] = [Family::Ipv6, Family::Ipv4];

    /// The other family.
    #[must_use]
    pub fn other(self) -> Family {
        match self {
            Family::Ipv6 => Family::Ipv4,
            Family::Ipv4 => Family::Ipv6,
        }
    }

    /// The word used in plans and in JSON: `ipv6` or `ipv4`.
    pub fn name(self) -> &'static str {
        match self {
            Family::Ipv6 => "ipv6",
            Family::Ipv4 => "ipv4",
        }
    }
}

/// The name as people write it: `IPv6` or `IPv4`.
impl From<std::net::IpAddr> for Family {
    fn from(address: std::net::IpAddr) -> Family {
        if address.is_ipv4() { Family::Ipv4 } else { Family::Ipv6 }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::Ipv6 => "IPv6",
            Family::Ipv4 => "IPv4",
        })
    }
}

/// How TLS is used on a service. The dial itself does no TLS: the mode is a demand on the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tls {
    /// TLS from the first byte (RFC 8314 section 3.3), as on port 465.
    Implicit,
    /// TLS after the STARTTLS command (RFC 3207), which the caller must insist on.
    StartTls,
    /// Cleartext. Only in a plan that was built with [`Cleartext::Allow`](super::Cleartext::Allow).
    Cleartext,
}

impl Tls {
    /// Whether this mode protects less than another: `implicit` and `starttls` are equal, `none` is
    /// weaker.
    pub fn is_weaker_than(self, other: Tls) -> bool {
        self == Tls::Cleartext && other != Tls::Cleartext
    }

    /// The word used in plans and in JSON: `implicit`, `starttls` or `none`.
    pub fn name(self) -> &'static str {
        match self {
            Tls::Implicit => "implicit",
            Tls::StartTls => "starttls",
            Tls::Cleartext => "cleartext",
        }
    }
}

impl fmt::Display for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A port, its TLS mode and, where given, one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Service {
    port: NonZeroU16,
    tls: Tls,
    family: Option<Family>,
}

impl Service {
    /// A service over both families. Fails with [`PlanError::PortZero`] only.
    pub fn new(port: u16, tls: Tls) -> Result<Service, PlanError> {
        let port = NonZeroU16::new(port).ok_or(PlanError::PortZero)?;
        Ok(Service { port, tls, family: None })
    }

    /// The same service over one family only.
    #[must_use]
    pub fn over(self, family: Family) -> Service {
        Service { family: Some(family), ..self }
    }

    /// The same service over both families.
    #[must_use]
    pub fn over_both(self) -> Service {
        Service { family: None, ..self }
    }

    /// The TCP port, never 0.
    pub fn port(self) -> u16 {
        self.port.get()
    }

    /// The TLS mode that the user of the connection must require.
    pub fn tls(self) -> Tls {
        self.tls
    }

    /// The only family of this service; `None` for both.
    pub fn family(self) -> Option<Family> {
        self.family
    }

    /// Whether this service is offered over `family`.
    pub fn allows(self, family: Family) -> bool {
        self.family.is_none_or(|only| only == family)
    }

    pub(super) fn overlaps(self, other: Service) -> bool {
        self.port == other.port && Family::ALL.iter().any(|&f| self.allows(f) && other.allows(f))
    }
}

/// The form that plans are parsed from: `587:starttls`, `587/ipv4:starttls`.
impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.port)?;
        if let Some(family) = self.family {
            write!(f, "/{}", family.name())?;
        }
        write!(f, ":{}", self.tls)
    }
}

impl FromStr for Service {
    type Err = PlanError;

    fn from_str(text: &str) -> Result<Service, PlanError> {
        if text.is_empty() {
            return Err(PlanError::EmptyService);
        }
        let whole = || text.to_owned();
        let (place, tls) =
            text.split_once(':').ok_or_else(|| PlanError::NoTls { service: whole() })?;
        let (port, family) = match place.split_once('/') {
            Some((port, family)) => (port, Some(family)),
            None => (place, None),
        };
        let tls = match tls {
            "implicit" => Tls::Implicit,
            "starttls" => Tls::StartTls,
            "cleartext" => Tls::Cleartext,
            _ => return Err(PlanError::UnknownTls { service: whole(), mode: tls.to_owned() }),
        };
        // `u16::from_str` would take a sign, which no port has.
        if port.is_empty() || !port.bytes().all(|b| b.is_ascii_digit()) {
            return Err(PlanError::NotAPort { service: whole(), port: port.to_owned() });
        }
        let number = port
            .parse::<u16>()
            .map_err(|_| PlanError::NotAPort { service: whole(), port: port.to_owned() })?;
        let service = Service::new(number, tls)?;
        match family {
            None => Ok(service),
            Some("ipv4") => Ok(service.over(Family::Ipv4)),
            Some("ipv6") => Ok(service.over(Family::Ipv6)),
            Some(other) => {
                Err(PlanError::UnknownFamily { service: whole(), family: other.to_owned() })
            }
        }
    }
}
