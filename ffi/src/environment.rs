//! Environment variables by which a user narrows what a program tries, to find the cause of a failure.
//!
//! `MAILPORT_ONLY_PORTS=587` leaves out every service of another port, `MAILPORT_ONLY_FAMILY=ipv4`
//! every address of the other family. They never add a service or change a TLS mode, so they cannot
//! weaken what a program requires. A program with more rights than its user ignores them.

use std::env;
use std::ffi::OsString;

use mailport::{Family, Plan};

use crate::boundary;

const PORTS: &str = "MAILPORT_ONLY_PORTS";
const FAMILY: &str = "MAILPORT_ONLY_FAMILY";

/// The plan without the services that the environment leaves out.
pub(crate) fn narrow(plan: Plan) -> Result<Plan, String> {
    if boundary::is_privileged() { Ok(plan) } else { narrow_by(plan, |name| env::var_os(name)) }
}

/// An empty variable counts as not set.
fn narrow_by(plan: Plan, variable: impl Fn(&str) -> Option<OsString>) -> Result<Plan, String> {
    let text = |name| {
        let value = variable(name).filter(|value| !value.is_empty());
        value.map(|value| value.to_string_lossy().into_owned())
    };
    let nothing_left = |name: &str, value: &str| format!("{name}={value} leaves nothing to try");
    let mut plan = plan;
    if let Some(value) = text(PORTS) {
        let port = |port: &str| port.trim().parse().ok().filter(|&port: &u16| port > 0);
        let ports = value.split(',').map(port).collect::<Option<Vec<u16>>>();
        let ports = ports
            .ok_or_else(|| format!("{PORTS}={value}: expected port numbers separated by commas"))?;
        plan = plan.only_ports(&ports).ok_or_else(|| nothing_left(PORTS, &value))?;
    }
    if let Some(value) = text(FAMILY) {
        let family = Family::ALL.into_iter().find(|family| family.name() == value);
        let family = family.ok_or_else(|| format!("{FAMILY}={value}: expected ipv4 or ipv6"))?;
        plan = plan.only_family(family).ok_or_else(|| nothing_left(FAMILY, &value))?;
    }
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn narrowed(plan: Plan, variables: &[(&str, &str)]) -> Result<String, String> {
        let value = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).into())
        };
        narrow_by(plan, value).map(|plan| plan.to_string())
    }

    #[test]
    fn the_variables_narrow_a_plan_and_add_nothing() {
        let plan = || Plan::submission();
        let only = |name, value| narrowed(plan(), &[(name, value)]);
        assert_eq!(only("HOME", "/"), Ok("587:starttls,25:starttls".into()));
        assert_eq!(only(PORTS, ""), Ok("587:starttls,25:starttls".into()));
        assert_eq!(only(PORTS, "587"), Ok("587:starttls".into()));
        assert_eq!(only(PORTS, "465, 25,587"), Ok("587:starttls,25:starttls".into()));
        assert_eq!(only(FAMILY, "ipv4"), Ok("587/ipv4:starttls,25/ipv4:starttls".into()));
        let both = narrowed(Plan::symmetric(), &[(PORTS, "25"), (FAMILY, "ipv6")]);
        assert_eq!(both, Ok("25/ipv6:starttls,sequential".into()));
    }

    #[test]
    fn what_leaves_nothing_or_says_nothing_is_an_error_that_names_its_variable() {
        let only = |name, value| narrowed(Plan::submission(), &[(name, value)]).unwrap_err();
        assert_eq!(only(PORTS, "465"), "MAILPORT_ONLY_PORTS=465 leaves nothing to try");
        for value in ["smtp", "587,", "0", "-1", "70000"] {
            assert!(only(PORTS, value).starts_with("MAILPORT_ONLY_PORTS="), "{value}");
        }
        assert!(only(FAMILY, "ip4").starts_with("MAILPORT_ONLY_FAMILY=ip4"));
        let plan: Plan = "587/ipv4:starttls".parse().unwrap();
        let words = narrowed(plan, &[(FAMILY, "ipv6")]).unwrap_err();
        assert_eq!(words, "MAILPORT_ONLY_FAMILY=ipv6 leaves nothing to try");
    }
}
