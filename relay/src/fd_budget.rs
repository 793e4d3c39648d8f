//! How many descriptors a relay may have, and how many it has.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What is set aside for a session until it is joined: its socket, the two descriptors of a dial by
/// name, and five attempts. A dial may have six attempts for each service of its plan open at the
/// same time; one that lacks a descriptor is tried again until its timeout.
pub(super) const DIALLING: usize = 8;
/// What a joined session has: its two sockets.
pub(super) const JOINED: usize = 2;
/// Descriptors that look-ups of names may need.
const RESERVE: usize = 8;
/// The limit where the system sets none.
const UNLIMITED: usize = 1 << 20;

/// The descriptors of a relay. Those of a session are set aside before it is accepted.
#[derive(Debug)]
pub(super) struct FdBudget {
    limit: usize,
    /// What is open in addition to sessions.
    base: usize,
    used: usize,
}

impl FdBudget {
    pub(super) fn new() -> FdBudget {
        let limit = getrlimit(Resource::Nofile).current;
        let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(UNLIMITED);
        FdBudget { limit: limit.min(UNLIMITED), base: 0, used: 0 }
    }

    /// Counts what is open, while there is no session.
    pub(super) fn measure(&mut self) {
        // Without /proc, a plausible number.
        let open = std::fs::read_dir("/proc/self/fd").map_or(16, Iterator::count);
        // A client of the control socket, and what a reload may add.
        self.base = open + RESERVE + 2 * self.pipes();
    }

    /// How many pipes, of two descriptors each, all sessions may have together.
    pub(super) fn pipes(&self) -> usize {
        (self.limit / 16).clamp(2, 256)
    }

    /// Whether so many descriptors are left. One session may always begin, or there would be none.
    pub(super) fn has(&self, count: usize) -> bool {
        self.used == 0 || self.base + self.used + count <= self.limit
    }

    /// A session that had `before` descriptors set aside now has `after`.
    pub(super) fn change(&mut self, before: usize, after: usize) {
        self.used = self.used.saturating_sub(before) + after;
    }

    /// How many descriptors are open or set aside.
    pub(super) fn used(&self) -> usize {
        self.base + self.used
    }

    /// The limit.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }
}

/// Raises the process's limit of descriptors to the highest that it may have, and returns it.
pub fn raise_limit() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let now = if raised.is_ok() { maximum } else { current };
    now.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_descriptors_of_a_session_are_set_aside_before_it_is_accepted() {
        let mut budget = FdBudget { limit: 64, base: 40, used: 0 };
        for _ in 0..3 {
            assert!(budget.has(DIALLING));
            budget.change(0, DIALLING);
        }
        assert!(!budget.has(DIALLING));
        budget.change(DIALLING, JOINED);
        assert!(!budget.has(DIALLING));
        budget.change(JOINED, 0);
        assert!(budget.has(DIALLING));
        assert!(
            FdBudget { limit: 8, base: 40, used: 0 }.has(DIALLING),
            "one at a time is the least"
        );
    }
}
