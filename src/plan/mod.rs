//! Services in order of preference, parsed once, when they come in.

mod service;

use std::fmt;
use std::str::FromStr;

pub use service::{Family, Service, Tls};

/// The most services a plan may hold: each may keep six descriptors open, and no server offers more.
pub const MAX_SERVICES: usize = 16;

/// Whether a plan may name a service without TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Cleartext {
    /// A service with [`Tls::Cleartext`] is refused when the plan is built.
    #[default]
    Refuse,
    /// A service with [`Tls::Cleartext`] is taken, and marked as cleartext in the result.
    Allow,
}

/// Services in order of preference, and whether they are tried sequentially.
///
/// ```
/// use mailport::{Plan, Tls};
///
/// let plan: Plan = "587:starttls,25:starttls".parse()?;
/// assert_eq!(plan, Plan::submission());
/// assert_eq!(plan.services()[0].tls(), Tls::StartTls);
/// assert!("587:cleartext".parse::<Plan>().is_err());
/// # Ok::<(), mailport::PlanError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Plan {
    services: Vec<Service>,
    sequential: bool,
}

/// The default: [`Plan::submission`].
impl Default for Plan {
    fn default() -> Plan {
        Plan::submission()
    }
}

impl Plan {
    /// The names that [`Plan::parse`] accepts in addition to lists of services.
    pub const NAMES: [&'static str; 5] =
        ["submission", "submissions", "rfc8314", "mew", "symmetric"];
    /// The word of a plan's text that makes it sequential.
    const SEQUENTIAL: &'static str = "sequential";

    /// A plan of these services, in this order.
    ///
    /// Fails when there is none, when there are more than [`MAX_SERVICES`], when two share a port
    /// and a family, and for [`Tls::Cleartext`] unless `cleartext` allows it.
    pub fn new(
        services: impl IntoIterator<Item = Service>,
        cleartext: Cleartext,
    ) -> Result<Plan, PlanError> {
        let services: Vec<Service> = services.into_iter().take(MAX_SERVICES + 1).collect();
        if services.is_empty() {
            return Err(PlanError::Empty);
        }
        if services.len() > MAX_SERVICES {
            return Err(PlanError::TooMany);
        }
        for (index, &service) in services.iter().enumerate() {
            if service.tls() == Tls::Cleartext && cleartext == Cleartext::Refuse {
                return Err(PlanError::Cleartext { service });
            }
            if let Some(&first) = services[..index].iter().find(|s| s.overlaps(service)) {
                return Err(PlanError::Duplicate { first, second: service });
            }
        }
        Ok(Plan { services, sequential: false })
    }

    /// Parses a plan: one of [`Plan::NAMES`], or services separated by commas, each `PORT:TLS` or
    /// `PORT/FAMILY:TLS`; `,sequential` at the end makes it [`sequential`](Plan::sequential).
    /// Spaces around a service are ignored. [`Plan`]'s `Display` writes what this parses.
    pub fn parse(text: &str, cleartext: Cleartext) -> Result<Plan, PlanError> {
        let text = text.trim();
        if let Some(at) = text.find(char::is_control) {
            return Err(PlanError::ControlCharacter { at });
        }
        if let Some(rest) = text.strip_suffix(Plan::SEQUENTIAL)
            && let Some(services) = rest.trim_end().strip_suffix(',')
        {
            return Plan::parse(services, cleartext).map(Plan::sequential);
        }
        if let Some(plan) = Plan::named(text) {
            return Ok(plan);
        }
        if text.is_empty() {
            return Err(PlanError::Empty);
        }
        if text.bytes().all(|b| b.is_ascii_alphabetic()) {
            return Err(PlanError::UnknownName { name: text.to_owned() });
        }
        let services: Vec<Service> =
            text.split(',').map(|part| part.trim().parse()).collect::<Result<_, _>>()?;
        Plan::new(services, cleartext)
    }

    /// The plan for a port that a user or a program has configured. The port that was asked for
    /// comes first.
    ///
    /// | port | plan |
    /// |---|---|
    /// | none, or 587 | [`Plan::submission`] |
    /// | 25 | `25:starttls,587:starttls` |
    /// | 465, 993, 995 | that port alone, implicit TLS |
    /// | any other | that port alone, STARTTLS |
    ///
    /// A client that was configured for 25 has a relay there, which often wants no login, and a
    /// server that answers "login required" on 587 would refuse its mail. For a program whose own
    /// default is 25 there is [`Plan::prefer_submission`]. Ports of implicit TLS never fall back: a
    /// client that asked for TLS from the first byte gets that or nothing.
    pub fn for_port(port: Option<u16>) -> Result<Plan, PlanError> {
        match port {
            None | Some(587) => Ok(Plan::submission()),
            Some(25) => {
                Ok(Plan::known(&[(25, Tls::StartTls, None), (587, Tls::StartTls, None)], false))
            }
            Some(port @ (465 | 993 | 995)) => {
                Ok(Plan::known(&[(port, Tls::Implicit, None)], false))
            }
            Some(other) => Plan::new([Service::new(other, Tls::StartTls)?], Cleartext::Refuse),
        }
    }

    /// The same plan with its services on 587 before those on 25; the others keep their places.
    ///
    /// ```
    /// let plan = mailport::Plan::for_port(Some(25))?.prefer_submission();
    /// assert_eq!(plan, mailport::Plan::submission());
    /// # Ok::<(), mailport::PlanError>(())
    /// ```
    #[must_use]
    pub fn prefer_submission(mut self) -> Plan {
        let is_mail = |service: &Service| matches!(service.port(), 587 | 25);
        let of_mail = self.services.iter().copied().filter(is_mail);
        let (submission, relay): (Vec<_>, Vec<_>) =
            of_mail.partition(|service| service.port() == 587);
        let places = self.services.iter_mut().filter(|service| is_mail(service));
        places.zip([submission, relay].concat()).for_each(|(place, service)| *place = service);
        self
    }

    /// `587:starttls,25:starttls`: the submission port, then the SMTP port.
    pub fn submission() -> Plan {
        Plan::known(&[(587, Tls::StartTls, None), (25, Tls::StartTls, None)], false)
    }

    /// `465:implicit`.
    pub fn submissions() -> Plan {
        Plan::known(&[(465, Tls::Implicit, None)], false)
    }

    /// `465:implicit,587:starttls`: the preference of RFC 8314 section 3.3.
    pub fn rfc8314() -> Plan {
        Plan::known(&[(465, Tls::Implicit, None), (587, Tls::StartTls, None)], false)
    }

    /// `587/ipv4:starttls,25:starttls`, sequential: what the mail client Mew did.
    pub fn mew() -> Plan {
        Plan::known(&[(587, Tls::StartTls, Some(Family::Ipv4)), (25, Tls::StartTls, None)], true)
    }

    /// 587 over IPv6, then over IPv4, then 25 over IPv6, then over IPv4, sequential.
    pub fn symmetric() -> Plan {
        let over = |port, family| (port, Tls::StartTls, Some(family));
        Plan::known(
            &[
                over(587, Family::Ipv6),
                over(587, Family::Ipv4),
                over(25, Family::Ipv6),
                over(25, Family::Ipv4),
            ],
            true,
        )
    }

    /// The same plan, tried sequentially: each service starts only when every attempt of the one
    /// before has failed or is overdue, so that no SYN goes to a later port any sooner.
    #[must_use]
    pub fn sequential(self) -> Plan {
        Plan { sequential: true, ..self }
    }

    /// The plan without the services of other ports; `None` where none is left.
    pub fn only_ports(&self, ports: &[u16]) -> Option<Plan> {
        self.narrowed(|service| ports.contains(&service.port()).then_some(service))
    }

    /// The plan over one family: each service that had both has only this one, and services of the
    /// other are left out. `None` where none is left.
    pub fn only_family(&self, family: Family) -> Option<Plan> {
        self.narrowed(|service| service.allows(family).then(|| service.over(family)))
    }

    /// Leaves services out, or takes a family from them: neither order nor TLS mode ever changes.
    fn narrowed(&self, keep: impl Fn(Service) -> Option<Service>) -> Option<Plan> {
        let services: Vec<Service> = self.services.iter().copied().filter_map(keep).collect();
        (!services.is_empty()).then_some(Plan { services, sequential: self.sequential })
    }

    /// The services, in order of preference; never empty.
    pub fn services(&self) -> &[Service] {
        &self.services
    }

    /// Whether the services are tried sequentially, as those of [`Plan::mew`], [`Plan::symmetric`]
    /// and a plan of [`Plan::sequential`] are.
    pub fn is_sequential(&self) -> bool {
        self.sequential
    }

    fn named(name: &str) -> Option<Plan> {
        match name {
            "submission" => Some(Plan::submission()),
            "submissions" => Some(Plan::submissions()),
            "rfc8314" => Some(Plan::rfc8314()),
            "mew" => Some(Plan::mew()),
            "symmetric" => Some(Plan::symmetric()),
            _ => None,
        }
    }

    fn known(services: &[(u16, Tls, Option<Family>)], sequential: bool) -> Plan {
        let services = services.iter().map(|&(port, tls, family)| {
            let service = Service::new(port, tls).expect("the named plans have no port 0");
            family.map_or(service, |family| service.over(family))
        });
        Plan { services: services.collect(), sequential }
    }
}

/// Reads a plan as [`Plan::parse`] does, cleartext refused.
impl FromStr for Plan {
    type Err = PlanError;

    fn from_str(text: &str) -> Result<Plan, PlanError> {
        Plan::parse(text, Cleartext::Refuse)
    }
}

/// The text that [`Plan::parse`] takes: the services, separated by commas, and `,sequential`.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, service) in self.services.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            write!(f, "{service}")?;
        }
        if self.sequential { write!(f, ",{}", Plan::SEQUENTIAL) } else { Ok(()) }
    }
}

/// Why a plan was refused; the caller's mistake, found before anything is sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// No service at all.
    #[error("the plan is empty: it needs at least one service such as 587:starttls")]
    Empty,
    /// A control character, which is not repeated in the message.
    #[error("the plan has a control character at byte {at}")]
    ControlCharacter {
        /// Where, counted in bytes from 0.
        at: usize,
    },
    /// Nothing between two commas, or at an end of the list.
    #[error("a service is missing: the plan has a comma too many")]
    EmptyService,
    /// More than [`MAX_SERVICES`].
    #[error("the plan has more than {MAX_SERVICES} services")]
    TooMany,
    /// A word that is not one of [`Plan::NAMES`].
    #[error(
        "no plan is named `{name}`: write services such as 587:starttls, or one of {}",
        Plan::NAMES.join(", ")
    )]
    UnknownName {
        /// The word.
        name: String,
    },
    /// Port 0.
    #[error("port 0 is not a port to connect to")]
    PortZero,
    /// Something else where a port number from 1 to 65535 should be.
    #[error("in `{service}`, `{port}` is not a port number from 1 to 65535")]
    NotAPort {
        /// The whole service.
        service: String,
        /// What stood in place of its port.
        port: String,
    },
    /// A service without a TLS mode.
    #[error(
        "in `{service}`, the TLS mode is missing: write {service}:starttls or {service}:implicit"
    )]
    NoTls {
        /// The whole service.
        service: String,
    },
    /// A TLS mode that does not exist.
    #[error("in `{service}`, `{mode}` is not a TLS mode: it is implicit, starttls or cleartext")]
    UnknownTls {
        /// The whole service.
        service: String,
        /// What stood in place of its TLS mode.
        mode: String,
    },
    /// A family that does not exist.
    #[error("in `{service}`, `{family}` is not a family: it is ipv4 or ipv6")]
    UnknownFamily {
        /// The whole service.
        service: String,
        /// What stood in place of its family.
        family: String,
    },
    /// A cleartext service in a plan that was not allowed one.
    #[error("`{service}` is cleartext, which must be allowed explicitly")]
    Cleartext {
        /// The service without TLS.
        service: Service,
    },
    /// Two services with the same port and a family in common.
    #[error("`{first}` and `{second}` overlap: each port can be used once for each family")]
    Duplicate {
        /// The one that came first.
        first: Service,
        /// The one that overlaps it.
        second: Service,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> String {
        text.parse::<Plan>().expect_err(text).to_string()
    }

    #[test]
    fn text_and_plan_are_one() {
        for text in
            ["587:starttls,25:starttls", "587/ipv4:starttls,587/ipv6:implicit", "465:implicit"]
        {
            assert_eq!(text.parse::<Plan>().unwrap().to_string(), text);
        }
        assert_eq!(" 587:starttls , 25:starttls ".parse::<Plan>().unwrap(), Plan::submission());
    }

    #[test]
    fn every_name_is_a_plan() {
        for name in Plan::NAMES {
            assert!(Plan::named(name).is_some(), "{name}");
        }
        let mew = "587/ipv4:starttls,25:starttls,sequential";
        assert_eq!("mew".parse::<Plan>().unwrap().to_string(), mew);
        assert_eq!(mew.parse::<Plan>().unwrap(), Plan::mew());
        assert_eq!("submission , sequential".parse(), Ok(Plan::submission().sequential()));
        assert_eq!(
            Plan::symmetric().to_string(),
            "587/ipv6:starttls,587/ipv4:starttls,25/ipv6:starttls,25/ipv4:starttls,sequential"
        );
        let sequential: Vec<&str> =
            Plan::NAMES.into_iter().filter(|n| Plan::named(n).unwrap().is_sequential()).collect();
        assert_eq!(sequential, ["mew", "symmetric"]);
    }

    #[test]
    fn a_port_alone_never_becomes_less_safe() {
        for port in [None, Some(587)] {
            assert_eq!(Plan::for_port(port).unwrap(), Plan::submission());
        }
        for port in [465, 993, 995] {
            let alone = format!("{port}:implicit");
            assert_eq!(Plan::for_port(Some(port)).unwrap().to_string(), alone);
        }
        for port in [143, 110, 4190] {
            let alone = format!("{port}:starttls");
            assert_eq!(Plan::for_port(Some(port)).unwrap().to_string(), alone);
        }
        assert_eq!(Plan::for_port(Some(2525)).unwrap().to_string(), "2525:starttls");
        assert_eq!(Plan::for_port(Some(0)), Err(PlanError::PortZero));
    }

    #[test]
    fn the_port_that_was_asked_for_comes_first_unless_submission_is_preferred() {
        let plan = Plan::for_port(Some(25)).unwrap();
        assert_eq!(plan.to_string(), "25:starttls,587:starttls");
        assert_eq!(plan.prefer_submission(), Plan::submission());
        let mixed: Plan = "465:implicit,25:starttls,2525:starttls,587:starttls".parse().unwrap();
        let sorted = "465:implicit,587:starttls,2525:starttls,25:starttls";
        assert_eq!(mixed.prefer_submission().to_string(), sorted);
    }

    #[test]
    fn errors_name_the_part_that_is_wrong() {
        assert!(message("587:starttls,25").contains("`25`"));
        assert!(message("587:ssl").contains("`ssl`"));
        assert!(message("587/ip5:starttls").contains("`ip5`"));
        for port in ["70000", "+25", "", "smtp", "-1", "2 5"] {
            assert!(message(&format!("{port}:starttls")).contains(&format!("`{port}`")), "{port}");
        }
        assert!(message("0:starttls").contains("port 0"));
        assert!(message("best").contains("`best`"));
        assert!(message("").contains("empty"));
        assert!(message("587:\u{1b}[31m").contains("control character at byte 4"));
        assert!(message("587:starttls,").contains("a comma too many"));
    }

    #[test]
    fn a_port_stands_once_for_each_family() {
        assert!(message("587:starttls,587:implicit").contains("overlap"));
        assert!(message("587/ipv4:starttls,587:starttls").contains("overlap"));
        assert!("587/ipv4:starttls,587/ipv6:starttls".parse::<Plan>().is_ok());
    }

    #[test]
    fn cleartext_is_refused_unless_allowed() {
        assert!(message("587:starttls,25:cleartext").contains("`25:cleartext`"));
        let plan = Plan::parse("25:cleartext", Cleartext::Allow).unwrap();
        assert_eq!(plan.services()[0].tls(), Tls::Cleartext);
    }

    #[test]
    fn a_plan_can_be_narrowed_and_keeps_order_tls_and_sequence() {
        let narrow = |plan: Option<Plan>| plan.map(|plan| plan.to_string());
        let plan = Plan::submission();
        assert_eq!(narrow(plan.only_ports(&[25, 465])), Some("25:starttls".into()));
        assert_eq!(plan.only_ports(&[25, 587]), Some(plan.clone()));
        assert_eq!((plan.only_ports(&[465]), plan.only_ports(&[])), (None, None));
        let both = "587/ipv4:starttls,25/ipv4:starttls";
        assert_eq!(narrow(plan.only_family(Family::Ipv4)), Some(both.into()));
        assert_eq!(
            narrow(Plan::mew().only_family(Family::Ipv6)),
            Some("25/ipv6:starttls,sequential".into())
        );
        assert!(Plan::mew().only_ports(&[25]).is_some_and(|plan| plan.is_sequential()));
        let over_ipv4: Plan = "587/ipv4:starttls".parse().unwrap();
        assert_eq!(over_ipv4.only_family(Family::Ipv6), None);
    }

    #[test]
    fn a_plan_has_an_end() {
        let many = (1..=17).map(|port| Service::new(port, Tls::StartTls).unwrap());
        assert_eq!(Plan::new(many, Cleartext::Refuse), Err(PlanError::TooMany));
    }
}
