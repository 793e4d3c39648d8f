//! How a machine is made: what there is to try, and by which settings.

use std::time::Instant;

use super::Machine;
use super::addresses::Addresses;
use super::ask::Asking;
use super::event::{Action, Query};
use super::hints::Hints;
use super::parameters::Parameters;
use super::race::Race;
use crate::config::{Config, ConfigError};
use crate::plan::{Family, Plan, Service};
use crate::target::{Host, Target};

impl Machine {
    /// Begins a dial at the time `now`.
    ///
    /// Fails for a [`Config`] that no dial can work with, and where plan, target and families
    /// together leave nothing to try.
    pub fn new(
        target: &Target,
        plan: &Plan,
        config: &Config,
        now: Instant,
    ) -> Result<Machine, ConfigError> {
        config.check()?;
        let families = families(target, plan, config)?;
        Ok(Machine::begin(target, plan, config, families, None, now))
    }

    /// Begins a dial through a proxy or a command that is given the target's name: nothing is
    /// looked up, and services are tried one after the other. `via` names it in the report.
    ///
    /// Fails for a [`Config`] that no dial can work with, and for a plan with a service of one
    /// family only: the far end that looks the name up also chooses the family.
    pub fn through(
        via: &str,
        target: &Target,
        plan: &Plan,
        config: &Config,
        now: Instant,
    ) -> Result<Machine, ConfigError> {
        config.check()?;
        if let Some(service) = plan.services().iter().find(|service| service.family().is_some()) {
            return Err(ConfigError::Unusable {
                name: "service",
                value: service.to_string(),
                reason: format!("the family cannot be chosen through {via}"),
                errno: None,
            });
        }
        Ok(Machine::begin(target, plan, config, Vec::new(), Some(via.to_owned()), now))
    }

    /// The same machine with what is remembered of the target; to be given before the first turn.
    #[must_use]
    pub fn with_hints(mut self, hints: Hints) -> Machine {
        if let Some(family) = hints.family {
            self.addresses.prefer(family);
        }
        self.settings.hints = hints;
        self
    }

    /// Turns second attempts off, for a caller that measures each attempt; to be called before the
    /// first turn.
    #[cfg(feature = "driver")]
    pub(crate) fn without_second_attempts(&mut self) {
        self.settings.single = true;
    }

    fn begin(
        target: &Target,
        plan: &Plan,
        config: &Config,
        families: Vec<Family>,
        via: Option<String>,
        now: Instant,
    ) -> Machine {
        let services: Vec<Service> = plan.services().to_vec();
        let resolve = via.is_none().then_some(Action::Resolve { query: Query::Authority });
        let resolve = resolve.into_iter();
        Machine {
            host: target.as_str().to_owned(),
            looks_up: via.is_none() && matches!(target.host(), Host::Name(_)),
            settings: Parameters {
                services,
                sequential: plan.is_sequential(),
                through: via.is_some(),
                greeting_wait: config.greeting_wait.wait(via.is_some()),
                ask: config.ask,
                try_failed_last: config.try_failed_last,
                single: config.source_port != 0,
                attempt_delay: config.attempt_delay,
                port_delay: config.port_delay,
                patience: config.patience,
                began: now,
                timeout: config.timeout,
                hints: Hints::default(),
            },
            via,
            began: now,
            now,
            addresses: Addresses::new(&families, config.families.first()),
            race: Race::default(),
            asking: Asking::default(),
            actions: resolve.collect(),
            ended: None,
            families,
        }
    }
}

/// The families that this dial can use, IPv6 first.
fn families(target: &Target, plan: &Plan, config: &Config) -> Result<Vec<Family>, ConfigError> {
    let of_target = |family| match target.host() {
        Host::Name(_) => true,
        Host::Address(address) => Family::from(*address) == family,
        Host::Scoped(..) => family == Family::Ipv6,
    };
    let of_plan = |family| plan.services().iter().any(|service| service.allows(family));
    let all = Family::ALL.into_iter();
    let families: Vec<Family> =
        all.filter(|&f| of_target(f) && of_plan(f) && config.allows(f)).collect();
    if families.is_empty() {
        let left_out = |by: &'static str, allows: &dyn Fn(Family) -> bool| {
            let families = Family::ALL.into_iter().filter(|&family| !allows(family));
            families.map(|family| format!("{by} leaves out {family}")).collect::<Vec<_>>()
        };
        let reasons = [
            left_out("the host", &of_target),
            left_out("the plan", &of_plan),
            left_out("the choice of families", &|family| config.families.allow(family)),
            left_out("the source address", &|f| config.source.is_none_or(|s| Family::from(s) == f)),
        ];
        return Err(ConfigError::NothingToTry { reasons: reasons.concat().join(", ") });
    }
    Ok(families)
}
