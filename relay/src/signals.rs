//! The signals that stop and reload a relay.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::flag;
use signal_hook::low_level::pipe;

/// Two streams on which the relay receives orders: a byte, or the end of the stream, is one.
#[derive(Debug)]
pub struct Signals {
    /// To stop; a second time, at once.
    pub stop: UnixStream,
    /// To read the settings again.
    pub reload: UnixStream,
}

impl Signals {
    /// The signals of this process: SIGTERM and SIGINT stop, SIGHUP reloads. SIGUSR1 and SIGUSR2,
    /// which would end the process, do nothing from now on.
    pub fn from_process() -> io::Result<Signals> {
        let (stop, write) = UnixStream::pair()?;
        pipe::register(SIGTERM, write.try_clone()?)?;
        pipe::register(SIGINT, write)?;
        let (reload, write) = UnixStream::pair()?;
        pipe::register(SIGHUP, write)?;
        for signal in [SIGUSR1, SIGUSR2] {
            flag::register(signal, Arc::new(AtomicBool::new(false)))?;
        }
        Ok(Signals { stop, reload })
    }
}
