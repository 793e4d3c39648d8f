//! A thread that ends with its owner.

use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, ppoll};
use nix::sys::time::TimeSpec;

/// A thread that works until its bell hangs up; dropping this hangs up, and waits for it.
#[derive(Debug)]
pub(super) struct Worker {
    bell: UnixStream,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Worker {
    /// Starts the thread, and gives it the other end of its bell.
    pub(super) fn start(
        name: &str,
        work: impl FnOnce(UnixStream) -> io::Result<()> + Send + 'static,
    ) -> io::Result<Worker> {
        let (bell, theirs) = UnixStream::pair()?;
        let thread = thread::Builder::new().name(name.to_owned());
        let thread = thread.spawn(move || work(theirs))?;
        Ok(Worker { bell, thread: Some(thread) })
    }

    /// Our end of the bell: what is written here makes the thread look up.
    pub(super) fn bell(&self) -> &UnixStream {
        &self.bell
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It fails only when the thread has left before, of which `join` tells more.
        let _ = self.bell.shutdown(Shutdown::Both);
        let Some(ended) = self.thread.take().map(JoinHandle::join) else { return };
        // A lab that broke down must not let its test pass; a second panic would abort.
        if !thread::panicking() {
            ended.expect("a thread of the lab panicked").expect("a thread of the lab failed");
        }
    }
}

/// Waits until one of these is ready, or until the deadline, or for no reason at all.
pub(super) fn wait(ready: &mut [PollFd], deadline: Option<Instant>) -> io::Result<()> {
    let timeout = deadline.map(|at| TimeSpec::from(at.saturating_duration_since(Instant::now())));
    match ppoll(ready, timeout, None) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
