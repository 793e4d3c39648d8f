//! The service manager that has started the relay (systemd): its sockets, and notifications to it.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};

use mailport::internal::adopt;
use rustix::time::{ClockId, clock_gettime};
use sd_notify::NotifyState;

/// The listening sockets that the service manager has passed (`LISTEN_FDS`); none the second time.
pub fn inherited() -> io::Result<Vec<OwnedFd>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Ok(Vec::new());
    }
    Ok(sd_notify::listen_fds()?.map(adopt).collect())
}

/// Notifies the service manager, if there is one, that the relay listens.
pub fn notify_ready() {
    notify(&[NotifyState::Ready]);
}

/// Notifies it that the settings are being read again; [`notify_ready`] follows.
pub(super) fn notify_reloading() {
    // Not by the crate's function, which overflows where seconds have 32 bits.
    let now = clock_gettime(ClockId::Monotonic);
    let now = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1_000;
    notify(&[NotifyState::Reloading, NotifyState::MonotonicUsec(now)]);
}

/// Notifies it that the relay stops.
pub(super) fn notify_stopping() {
    notify(&[NotifyState::Stopping]);
}

fn notify(states: &[NotifyState]) {
    // Without a service manager, or with one that has ended, there is nothing to notify.
    let _ = sd_notify::notify(states);
}
