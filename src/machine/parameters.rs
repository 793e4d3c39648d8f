//! What does not change during a dial.

use std::time::{Duration, Instant};

use super::hints::Hints;
use crate::config::{Config, MAX_DELAY, Patience};
use crate::plan::{Family, Service};

/// What does not change during a dial.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a choice of the caller")]
pub(super) struct Parameters {
    /// In the order in which they are tried; that is the plan's, unless the cache says to skip.
    pub(super) services: Vec<Service>,
    pub(super) sequential: bool,
    /// Whether a proxy or a command connects, so that there are no addresses.
    pub(super) through: bool,
    pub(super) greeting_wait: Option<Duration>,
    pub(super) ask: bool,
    pub(super) try_failed_last: bool,
    /// Whether every candidate is tried once only.
    pub(super) single: bool,
    pub(super) attempt_delay: Duration,
    pub(super) port_delay: Duration,
    pub(super) patience: Patience,
    pub(super) began: Instant,
    pub(super) timeout: Duration,
    pub(super) hints: Hints,
}

/// The port delay where the patience alone decides: the first retransmission timeout of TCP (RFC
/// 6298 section 2).
const FULL_PORT_DELAY: Duration = Duration::from_secs(1);
/// The shortest attempt delay where the round trip is known (RFC 8305 section 5 recommends at
/// least 100 ms).
const LEAST_ATTEMPT_DELAY: Duration = Duration::from_millis(100);

impl Parameters {
    /// Whether a candidate that is silent is tried a second time (rule 3).
    pub(super) fn has_second_attempts(&self) -> bool {
        !self.is_serial() && !self.single
    }

    /// Whether the proof decides (rule 6), and not the patience alone: not for a caller who has set
    /// the times, or wants to see every service fail before the next.
    pub(super) fn has_proof(&self) -> bool {
        let careful = self.sequential || self.ask;
        let own_times =
            self.patience != Patience::Automatic || self.port_delay != Config::DEFAULT_PORT_DELAY;
        self.has_second_attempts() && !careful && !own_times
    }

    /// How long a service may be silent before the next one begins (rule 4).
    pub(super) fn port_delay(&self, service: Service) -> Duration {
        let is_default = self.port_delay == Config::DEFAULT_PORT_DELAY;
        let is_full = !self.has_proof() || self.hints.knows(service);
        if is_default && is_full { FULL_PORT_DELAY } else { self.port_delay }
    }

    /// How long an attempt over a family may be silent before another one of its service is
    /// started (rule 3).
    pub(super) fn attempt_delay_over(&self, family: Option<Family>) -> Duration {
        match self.hints.round_trip_over(family) {
            Some(round_trip) if self.attempt_delay == Config::DEFAULT_ATTEMPT_DELAY => {
                (2 * round_trip.min(MAX_DELAY)).clamp(LEAST_ATTEMPT_DELAY, self.attempt_delay)
            }
            _ => self.attempt_delay,
        }
    }

    /// How long a silent attempt may hold back a connection with this round trip.
    pub(super) fn patience(&self, round_trip: Duration) -> Duration {
        match self.patience {
            // No round trip is longer than a dial can be.
            Patience::Automatic => {
                Patience::LEAST.max(Patience::RETRANSMISSION + 2 * round_trip.min(MAX_DELAY))
            }
            Patience::Fixed(patience) => patience,
        }
    }

    /// Whether services are tried one after the other, the next only when this one has failed.
    pub(super) fn is_serial(&self) -> bool {
        self.through || self.greeting_wait.is_some()
    }
}
