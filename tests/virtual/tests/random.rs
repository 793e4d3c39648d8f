//! What holds in every world, here in random ones: any number of addresses, slow and failing
//! look-ups, other plans and settings, other kernels, troubles of our own, and clocks that are late.

mod judge;
mod worlds;

use judge::Judge;
use mailport::{Cleartext, Plan};
use mailport_lab::world::{Clock, World};
use proptest::prelude::*;
use worlds::{PLANS, cases, config, plan, world};

proptest! {
    #![proptest_config(cases(1000))]

    #[test]
    fn in_random_worlds_the_rules_are_kept(world in world(), plan in plan(), config in config()) {
        let history = world.dial(&plan, &config);
        let punctual = !matches!(world.clock, Clock::Late { .. });
        Judge::new(&plan, &config, &history, world.network.round_trip, punctual).judge();
    }

    #[test]
    fn equal_inputs_give_equal_outputs(world in world(), plan in plan(), config in config()) {
        let once = world.dial(&plan, &config);
        prop_assert_eq!(format!("{:?}", &once), format!("{:?}", world.dial(&plan, &config)));
    }

    #[test]
    fn a_restless_loop_changes_nothing(
        world in world(),
        plan in plan(),
        config in config(),
        seed in any::<u64>(),
    ) {
        let exact = World { clock: Clock::Exact, ..world.clone() }.dial(&plan, &config);
        let restless = World { clock: Clock::Restless(seed), ..world }.dial(&plan, &config);
        prop_assert_eq!(&exact.report, &restless.report, "{}", exact.script());
    }
}

#[test]
fn no_plan_holds_a_cleartext_service_that_was_not_allowed() {
    for text in PLANS {
        let plan = Plan::parse(text, Cleartext::Refuse);
        assert_eq!(plan.is_err(), text.contains("cleartext"), "{text}");
    }
}
