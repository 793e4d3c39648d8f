//! What does not change during a dial.

use std::time::{Duration, Instant};

use super::hints::Hints;
use crate::config::{MAX_DELAY, Patience};
use crate::plan::Service;

/// What does not change during a dial.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a choice of the caller")]
pub(super) struct Settings {
    /// In the order in which they are tried; that is the plan's, unless the cache says to skip.
    pub(super) services: Vec<Service>,
    pub(super) sequential: bool,
    /// Whether a proxy or a command connects, so that there are no addresses.
    pub(super) through: bool,
    pub(super) greeting_wait: Option<Duration>,
    pub(super) ask: bool,
    pub(super) try_failed_last: bool,
    pub(super) attempt_delay: Duration,
    pub(super) port_delay: Duration,
    pub(super) patience: Patience,
    pub(super) began: Instant,
    pub(super) timeout: Duration,
    pub(super) hints: Hints,
}

impl Settings {
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
