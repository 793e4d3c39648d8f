//! Text as a plan.

use mailport::plan::MAX_SERVICES;
use mailport::{Cleartext, Family, Plan, PlanError, Tls};

/// A plan that is taken is the text that was given, holds no cleartext that was not allowed, and
/// no port twice; a refusal names a part of the text.
pub fn plan(data: &[u8]) {
    let text = &*String::from_utf8_lossy(data);
    let sequential = Plan::parse(text, Cleartext::Refuse);
    let lax = Plan::parse(text, Cleartext::Allow);
    assert_eq!(sequential, text.parse());
    for (parsed, cleartext) in [(&sequential, Cleartext::Refuse), (&lax, Cleartext::Allow)] {
        match parsed {
            Ok(plan) => taken(text, plan, cleartext),
            Err(error) => refused(text, error),
        }
    }
    let cleartext =
        lax.as_ref().is_ok_and(|p| p.services().iter().any(|s| s.tls() == Tls::Cleartext));
    match &sequential {
        Ok(_) => assert_eq!(sequential, lax, "to allow cleartext changes nothing else"),
        Err(PlanError::Cleartext { service }) => assert_eq!(service.tls(), Tls::Cleartext),
        // More than one thing is wrong with it, or it is not a plan at all.
        Err(_) => assert!(lax.is_err(), "cleartext is refused as such"),
    }
    assert!(!cleartext || matches!(sequential, Err(PlanError::Cleartext { .. })));
}

fn taken(text: &str, plan: &Plan, cleartext: Cleartext) {
    let services = plan.services();
    assert!((1..=MAX_SERVICES).contains(&services.len()));
    for (index, service) in services.iter().enumerate() {
        assert_ne!(service.port(), 0);
        assert!(service.tls() != Tls::Cleartext || cleartext == Cleartext::Allow, "{service}");
        let meets = |family: Family| {
            let mut before = services[..index].iter();
            service.allows(family) && before.any(|s| s.port() == service.port() && s.allows(family))
        };
        assert!(!Family::ALL.into_iter().any(meets), "{service} is in it twice");
    }
    let again = Plan::parse(&plan.to_string(), cleartext).unwrap();
    assert_eq!(again.services(), services);
    if !Plan::NAMES.contains(&text.trim()) {
        assert!(!plan.is_sequential(), "only a name makes a plan sequential");
        let parts = text.split(',').map(|part| part.trim().trim_start_matches('0'));
        assert_eq!(parts.collect::<Vec<_>>().join(","), plan.to_string());
    }
}

fn refused(text: &str, error: &PlanError) {
    let named: &[&str] = match error {
        PlanError::Empty => return assert!(text.trim().is_empty()),
        PlanError::ControlCharacter { at } => {
            return assert!(text.trim()[*at..].starts_with(char::is_control));
        }
        PlanError::EmptyService => {
            return assert!(text.split(',').any(|part| part.trim().is_empty()));
        }
        PlanError::TooMany => {
            return assert!(text.split(',').count() > MAX_SERVICES);
        }
        PlanError::PortZero => {
            let zero = |part: &str| part.trim().trim_start_matches('0').starts_with([':', '/']);
            return assert!(text.split(',').any(zero));
        }
        PlanError::UnknownName { name } => &[name],
        PlanError::NoTls { service } => &[service],
        PlanError::NotAPort { service, port } => &[service, port],
        PlanError::UnknownTls { service, mode } => &[service, mode],
        PlanError::UnknownFamily { service, family } => &[service, family],
        PlanError::Cleartext { service } => {
            return assert!(text.contains(&format!("{}", service.port())));
        }
        PlanError::Duplicate { first, second } => {
            assert_eq!(first.port(), second.port());
            return assert!(text.matches(&first.port().to_string()).count() > 1);
        }
        other => panic!("an error that is not known here: {other}"),
    };
    let message = error.to_string();
    for part in named {
        assert!(text.contains(part) && message.contains(&format!("`{part}`")), "{message}");
    }
}
