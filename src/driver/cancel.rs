//! Ending a dial from another thread.

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::sys;

/// Ends a dial from any thread; made by [`Dial::canceller`](super::Dial::canceller).
///
/// A clone is a handle to the same dial. It may outlive the dial, and then does nothing.
#[derive(Clone)]
pub struct Canceller(Arc<CancelShared>);

struct CancelShared {
    cancelled: AtomicBool,
    /// Makes the dial's descriptor readable.
    waker: Arc<OwnedFd>,
    /// The process that the dial belongs to.
    process: u64,
}

impl Canceller {
    pub(super) fn new(waker: Arc<OwnedFd>, process: u64) -> Canceller {
        Canceller(Arc::new(CancelShared { cancelled: AtomicBool::new(false), waker, process }))
    }

    /// Cancels the dial: [`Dial::wait`](super::Dial::wait) returns, and the dial ends with
    /// [`End::Cancelled`](crate::End::Cancelled) at its next turn, unless it has ended before.
    ///
    /// Never blocks. In a forked child it does nothing.
    pub fn cancel(&self) {
        if self.0.process == sys::process_generation() {
            self.0.cancelled.store(true, Ordering::Release);
            sys::wake(self.0.waker.as_fd());
        }
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::Acquire)
    }
}

impl fmt::Debug for Canceller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Canceller").field("cancelled", &self.is_cancelled()).finish_non_exhaustive()
    }
}
