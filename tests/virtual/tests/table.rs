//! The table of scenarios in virtual time: every end, every time and every attempt, exactly.

use std::collections::BTreeSet;
use std::time::Duration;

use mailport::report::End;
use mailport::{Family, Outcome, Report};
use mailport_lab::scenario::{Expected, Scenario, scenarios};
use mailport_lab::world::{Clock, World};

fn world(scenario: &Scenario) -> World {
    World { names: scenario.names.clone(), ..World::new(scenario.network.clone()) }
}

/// What came of a dial, in the words of the table.
#[derive(Debug, PartialEq)]
struct Seen {
    end: Result<(u16, Family), End>,
    after: Duration,
    attempts: Vec<(u16, Family, Outcome)>,
}

impl Seen {
    fn expected(expected: &Expected, round_trip: Duration) -> Seen {
        Seen {
            end: expected.end,
            after: expected.after(round_trip),
            attempts: expected.attempts.clone(),
        }
    }

    fn new(report: &Report) -> Seen {
        let winner = report
            .winner()
            .map(|winner| (winner.service.port(), winner.family.expect("a direct dial")));
        let attempts = report.attempts.iter().map(|a| {
            (
                a.service.port(),
                a.family.expect("a direct dial"),
                a.outcome.expect("an ended attempt"),
            )
        });
        Seen {
            end: winner.ok_or_else(|| report.end.expect("an ended dial")),
            after: report.elapsed,
            attempts: attempts.collect(),
        }
    }
}

#[test]
fn every_scenario_ends_as_the_table_says_to_the_microsecond() {
    for scenario in scenarios() {
        let history = world(&scenario).dial(&scenario.plan, &scenario.config);
        let expected = Seen::expected(&scenario.expected, scenario.network.round_trip);
        let seen = Seen::new(&history.report);
        assert_eq!(seen, expected, "{}\n{}", scenario.name, history.script());
    }
}

#[test]
fn a_loop_that_turns_too_often_and_mixes_up_one_instant_changes_nothing() {
    for scenario in scenarios() {
        let punctual = world(&scenario).dial(&scenario.plan, &scenario.config);
        for seed in 1..20 {
            let restless = World { clock: Clock::Restless(seed), ..world(&scenario) };
            let report = restless.dial(&scenario.plan, &scenario.config).report;
            assert_eq!(report, punctual.report, "{} with seed {seed}", scenario.name);
        }
    }
}

#[test]
fn every_scenario_has_a_name_of_its_own() {
    let scenarios = scenarios();
    let names: BTreeSet<&str> = scenarios.iter().map(|scenario| scenario.name).collect();
    assert_eq!(names.len(), scenarios.len());
}
