//! How many descriptors a relay may have, and how many it has.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that look-ups of names may need meanwhile.
const RESERVE: usize = 8;
/// Where the system sets no limit.
const UNLIMITED: usize = 1 << 20;

/// The descriptors of a relay. What a session may come to need is counted before it is accepted,
/// so that one which is under way never lacks any.
#[derive(Debug)]
pub(super) struct Room {
    limit: usize,
    /// What is open besides sessions.
    base: usize,
    used: usize,
}

impl Room {
    pub(super) fn new() -> Room {
        let limit = getrlimit(Resource::Nofile).current;
        let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(UNLIMITED);
        Room { limit: limit.min(UNLIMITED), base: 0, used: 0 }
    }

    /// Counts what is open, while there is no session.
    pub(super) fn measure(&mut self) {
        // Without /proc, a plausible number.
        let open = std::fs::read_dir("/proc/self/fd").map_or(16, Iterator::count);
        // A reader on the control socket, and what a reload may add.
        self.base = open + RESERVE + 2 * self.pipes();
    }

    /// How many pipes, of two descriptors each, the sessions may have among themselves.
    pub(super) fn pipes(&self) -> usize {
        (self.limit / 16).clamp(2, 256)
    }

    /// Whether something of this size has room. One session always has, or there would be none.
    pub(super) fn has(&self, cost: usize) -> bool {
        self.used == 0 || self.base + self.used + cost <= self.limit
    }

    /// What cost so much costs so much now.
    pub(super) fn change(&mut self, before: usize, after: usize) {
        self.used = self.used.saturating_sub(before) + after;
    }
}

/// Raises the process's limit of descriptors as far as it may be, and says what it is.
pub fn raise_limit() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let now = if raised.is_ok() { maximum } else { current };
    now.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::session::COST;
    use super::*;

    #[test]
    fn a_session_is_counted_before_it_is_accepted() {
        let mut room = Room { limit: 64, base: 40, used: 0 };
        for _ in 0..3 {
            assert!(room.has(COST));
            room.change(0, COST);
        }
        assert!(!room.has(COST));
        room.change(COST, 2);
        assert!(!room.has(COST));
        room.change(2, 0);
        assert!(room.has(COST));
        assert!(Room { limit: 8, base: 40, used: 0 }.has(COST), "one at a time is the least");
    }
}
