//! The thread that wakes Emacs when a dial can go on. It touches neither the dial nor Emacs: it
//! watches a copy of the dial's descriptor, and writes one byte to a pipe.

use std::io::{self, ErrorKind, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use mailport::ConnectError;
use mailport::Dial;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow};

/// How many threads of this kind run.
static RUNNING: AtomicUsize = AtomicUsize::new(0);

pub(crate) fn running() -> usize {
    RUNNING.load(Ordering::Relaxed)
}

/// The owner's end of a waker; dropping it ends the thread.
#[derive(Debug)]
pub(crate) struct Waker {
    bell: PipeWriter,
}

impl Waker {
    /// Starts the thread for a dial. It writes to `channel`, which does not block.
    pub(crate) fn start(dial: &mut Dial, channel: PipeWriter) -> Result<Waker, ConnectError> {
        let lacking = |source| ConnectError::Setup { what: "nothing to wake Emacs", source };
        let watched = dial.descriptor()?.try_clone_to_owned().map_err(lacking)?;
        let (rung, bell) = io::pipe().map_err(lacking)?;
        let spawned = spawn("mailport-wake", &RUNNING, move || wake(&watched, rung, channel));
        spawned.map_err(lacking)?;
        Ok(Waker { bell })
    }

    /// The dial was processed: the next thing that happens is news.
    pub(crate) fn rearm(&mut self) {
        // It fails only when the thread has ended, for Emacs has deleted the pipe.
        let _ = self.bell.write_all(b"!");
    }
}

/// One byte for each time that the descriptor becomes readable after it was processed, so that the
/// pipe never fills. It ends when the bell hangs up, or when nobody reads the pipe any more.
fn wake(watched: &OwnedFd, mut bell: PipeReader, mut channel: PipeWriter) {
    loop {
        match is_rung(watched, &bell) {
            Ok(true) => {}
            Ok(false) => match channel.write(b"!") {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return,
            },
            Err(_) => return,
        }
        // Asleep until the dial was processed.
        match bell.read(&mut [0; 64]) {
            Ok(0) => return,
            Err(error) if error.kind() != ErrorKind::Interrupted => return,
            _ => {}
        }
    }
}

/// Waits for the dial or the bell; whether it was the bell.
fn is_rung(watched: &OwnedFd, bell: &PipeReader) -> nix::Result<bool> {
    let both = [bell.as_fd(), watched.as_fd()];
    let mut both = both.map(|fd| PollFd::new(fd, PollFlags::POLLIN));
    loop {
        match poll(&mut both, PollTimeout::NONE) {
            Ok(_) => return Ok(both[0].any().unwrap_or(true)),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Starts a thread that leaves every signal to Emacs' own, and is counted while it runs.
pub(crate) fn spawn(
    name: &str,
    count: &'static AtomicUsize,
    work: impl FnOnce() + Send + 'static,
) -> io::Result<()> {
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
    count.fetch_add(1, Ordering::Relaxed);
    let spawned = thread::Builder::new().name(name.to_owned()).spawn(move || {
        let _running = Running(count);
        work();
    });
    before.thread_set_mask()?;
    if spawned.is_err() {
        count.fetch_sub(1, Ordering::Relaxed);
    }
    spawned.map(drop)
}

struct Running(&'static AtomicUsize);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
