//! A moment that outlives the process.

use std::time::Duration;

/// A moment by the system's clock: milliseconds since the beginning of 1970, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Stamp(pub u64);

impl Stamp {
    /// This long after it; the end of time at the latest.
    #[must_use]
    pub fn plus(self, time: Duration) -> Stamp {
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Stamp(self.0.saturating_add(millis))
    }

    /// The time since an earlier moment; zero since a later one.
    pub fn since(self, earlier: Stamp) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}
