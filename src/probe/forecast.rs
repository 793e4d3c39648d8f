//! What a dial would do: the real machine, in virtual time, against what a probe measured.

use std::time::{Duration, Instant};

use super::Probed;
use crate::config::{Config, ConfigError};
use crate::machine::{Action, Event, Machine, Query};
use crate::outcome::{Failure, Outcome};
use crate::plan::Plan;
use crate::report::{Attempt, LookupError, Report};

/// More turns than this are a machine that spins: a plan has 16 services at most, and every turn
/// takes an event in or reaches a time that a rule named.
const MAX_TURNS: usize = 100_000;

impl Probed {
    /// What a dial by this plan would do if everything went as it did for the probe: look-ups are
    /// answered and attempts end after the time that was measured, and what was silent stays
    /// silent. It gets the hints of the cache, [`Probed::hints`].
    ///
    /// It takes no time; `start` is any moment, for the machine to count from. What was not probed
    /// is silent. SYNs are left out of the report, for they were not counted at these times.
    ///
    /// Fails where [`Machine::new`] does.
    pub fn forecast(
        &self,
        plan: &Plan,
        config: &Config,
        start: Instant,
    ) -> Result<Report, ConfigError> {
        // A forecast cannot ask; a dial that asks continues in this way when it is allowed to.
        let config = Config { ask: false, ..config.clone() };
        let machine = Machine::new(&self.target, plan, &config, start)?;
        let mut machine = machine.with_hints(self.hints.clone());
        let mut coming: Vec<(Duration, Event)> = Vec::new();
        let mut now = Duration::ZERO;
        for _ in 0..MAX_TURNS {
            for (_, event) in coming.extract_if(.., |(at, _)| *at <= now) {
                machine.handle(event, start + now);
            }
            machine.handle_timeout(start + now);
            while let Some(action) = machine.poll_action() {
                coming.extend(self.carry_out(action, now));
            }
            let Some(deadline) = machine.deadline() else { break };
            let next = coming.iter().map(|&(at, _)| at).chain([deadline - start]).min();
            now = next.unwrap_or(now).max(now);
        }
        Ok(machine.report())
    }

    /// The result of an action, and when it comes.
    fn carry_out(&self, action: Action, now: Duration) -> Vec<(Duration, Event)> {
        match action {
            Action::Resolve { query } => self.answer(query, now).into_iter().collect(),
            Action::Connect { attempt, address } => {
                let Some(measured) = self.attempt_at(address) else { return Vec::new() };
                let at = now + measured.lasted();
                match measured.outcome {
                    Some(Outcome::Connected) => {
                        let round_trip = round_trip(measured);
                        let connected = Event::Connected { attempt, round_trip, syns: None };
                        vec![(at, connected), (at, Event::Confirmed { attempt })]
                    }
                    // Ended by the probe's own deadline: nothing was heard.
                    Some(Outcome::Timeout) if measured.errno.is_none() => Vec::new(),
                    None => Vec::new(),
                    Some(outcome) => {
                        let (errno, icmp) = (measured.errno, measured.icmp);
                        let failure = Failure { errno, icmp, ..Failure::new(outcome) };
                        vec![(at, Event::Failed { attempt, failure, syns: None })]
                    }
                }
            }
            // A forecast is one of direct dials.
            Action::Through { .. } | Action::Close { .. } => Vec::new(),
        }
    }

    fn answer(&self, query: Query, now: Duration) -> Option<(Duration, Event)> {
        let Some(answer) = self.answers.iter().find(|answer| answer.query == query) else {
            // The probe had no need to ask this.
            let addresses = Err(LookupError::Unanswered);
            return Some((now, Event::Resolved { query, addresses, routes: Vec::new() }));
        };
        let (addresses, routes) = (answer.addresses.clone(), answer.routes.clone());
        Some((answer.ended?.max(now), Event::Resolved { query, addresses, routes }))
    }
}

/// The round trip of a connection, without the seconds that went by before the SYN that was
/// answered (one a SYN, of the first ones).
fn round_trip(connected: &Attempt) -> Duration {
    let unanswered = connected.syns.unwrap_or(1).saturating_sub(1);
    connected.lasted().saturating_sub(Duration::from_secs(unanswered.into()))
}
