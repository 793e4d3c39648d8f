//! What a probe finds in a virtual world.

use std::net::SocketAddr;
use std::time::Duration;

use mailport::probe::{Answer, Probed};
use mailport::report::LookupError;
use mailport::{Cleartext, Config, Family, Plan, Target};
use mailport_lab::world::{self, Names, World};

/// What a probe that gives every candidate five seconds finds in a virtual world.
pub(crate) fn probed_in(world: &World, plan: &Plan, config: &Config) -> Probed {
    let target: Target = world.host.parse().unwrap();
    let families = Family::ALL.into_iter().filter(|&family| config.allows(family));
    let answers = families.zip(world.sources).map(|(family, source)| {
        let (ended, addresses) = match world.names.of(family) {
            world::Answer::Addresses { after, list } => {
                (Some(*after), Ok(list.iter().map(|&ip| SocketAddr::new(ip, 0)).collect()))
            }
            world::Answer::Fails { after, error } => (Some(*after), Err(error.clone())),
            world::Answer::Never => (None, Err(LookupError::Unanswered)),
        };
        Answer::new(family, ended, addresses, source)
    });
    let mut probed = Probed::new(target, answers.collect(), Vec::new());
    let mut of_one = Config::default();
    of_one.timeout = Duration::from_secs(5);
    for (service, address) in probed.candidates(plan) {
        let mut alone = world.clone();
        alone.host = address.ip().to_string();
        alone.names = Names::at_once(&[address.ip()]);
        let plan = Plan::new([service], Cleartext::Allow).unwrap();
        // A probe makes no second attempts, and they change nothing of the first one.
        probed.attempts.extend(alone.dial(&plan, &of_one).report.attempts.into_iter().take(1));
    }
    probed
}
