//! What a relay is told from outside while it runs, and by whom it was started.

use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::low_level::pipe;

use mailport::internal::adopt;

/// Two bells: a byte, or the end of the stream, rings one.
#[derive(Debug)]
pub struct Orders {
    /// To stop; a second time, at once.
    pub stop: UnixStream,
    /// To read the settings again.
    pub reload: UnixStream,
}

impl Orders {
    /// Bells that the process's signals ring: SIGTERM and SIGINT to stop, SIGHUP to reload.
    pub fn from_signals() -> io::Result<Orders> {
        let (stop, ring) = UnixStream::pair()?;
        pipe::register(SIGTERM, ring.try_clone()?)?;
        pipe::register(SIGINT, ring)?;
        let (reload, ring) = UnixStream::pair()?;
        pipe::register(SIGHUP, ring)?;
        Ok(Orders { stop, reload })
    }
}

/// The listeners that a service manager has handed over (`LISTEN_FDS`); none where there is none,
/// and none the second time.
pub fn inherited() -> io::Result<Vec<TcpListener>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Ok(Vec::new());
    }
    let listeners = sd_notify::listen_fds()?.map(|number| TcpListener::from(adopt(number)));
    let listeners: Vec<TcpListener> = listeners.collect();
    for listener in &listeners {
        // A socket of another kind has no such address.
        listener.local_addr().map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("a socket was handed over that is not TCP: {error}"),
            )
        })?;
    }
    Ok(listeners)
}

/// Tells the service manager, if there is one, that the relay listens.
pub fn tell_ready() {
    // Whoever started it without a manager, or with one that has gone, does not wait for this.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
}
