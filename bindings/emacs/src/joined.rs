//! Emacs' local connection, joined to the mail server by one thread for each pair.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mailport::Stream;
use mailport::join::{Pair, Progress, Stock, Wants};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow};

/// How long to go on sending to the server after Emacs has closed its side.
const LINGER: Duration = Duration::from_secs(10);

/// How many threads of this kind run.
static RUNNING: AtomicUsize = AtomicUsize::new(0);

pub(crate) fn running() -> usize {
    RUNNING.load(Ordering::Relaxed)
}

/// Joins both in a thread, which owns them, until both have ended, one has failed, or Emacs has
/// closed its side.
pub(crate) fn start(socket: Stream, near: UnixStream) -> io::Result<()> {
    let pair = Pair::new(near, socket)?;
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
    RUNNING.fetch_add(1, Ordering::Relaxed);
    // The thread blocks every signal: signals are for Emacs' main thread.
    let spawned = thread::Builder::new().name("mailport-join".to_owned()).spawn(move || {
        let _running = Running;
        run(pair);
    });
    before.thread_set_mask()?;
    if spawned.is_err() {
        RUNNING.fetch_sub(1, Ordering::Relaxed);
    }
    spawned.map(drop)
}

/// Counts a thread until it ends.
struct Running;

impl Drop for Running {
    fn drop(&mut self) {
        RUNNING.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Copies until the end, then closes both sides.
fn run(mut pair: Pair) {
    let mut stock = Stock::default();
    let mut gone = None;
    loop {
        match pair.process(&mut stock) {
            Ok(Progress::More) => continue,
            Ok(Progress::Waiting) => {}
            Ok(Progress::Ended) | Err(_) => break,
        }
        let [near, far] = pair.wants();
        let left = match gone {
            None => None,
            // Emacs no longer reads: only what it sent is left to deliver.
            Some(_) if !near.readable && !far.writable => break,
            Some(since) => Some(LINGER.saturating_sub(Instant::elapsed(&since))),
        };
        match wait(&pair, [near, far], left) {
            Ok(Waited::Ready) => {}
            Ok(Waited::Gone) => gone = gone.or_else(|| Some(Instant::now())),
            Ok(Waited::TimedOut) | Err(_) => break,
        }
    }
    pair.close(&mut stock);
}

enum Waited {
    Ready,
    /// Emacs has closed its side; data that it sent may still be unread.
    Gone,
    TimedOut,
}

/// Waits until a side is ready. With a limit, Emacs has already closed its side.
fn wait(pair: &Pair, wants: [Wants; 2], left: Option<Duration>) -> nix::Result<Waited> {
    let flags = |wants: Wants| {
        let readable = if wants.readable { PollFlags::POLLIN } else { PollFlags::empty() };
        let writable = if wants.writable { PollFlags::POLLOUT } else { PollFlags::empty() };
        readable | writable
    };
    let mut fds = vec![PollFd::new(pair.far(), flags(wants[1]))];
    // A closed side is always ready.
    if left.is_none() || wants[0].readable {
        fds.push(PollFd::new(pair.near(), flags(wants[0])));
    }
    let timeout = left
        .map_or(PollTimeout::NONE, |left| PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX));
    let count = loop {
        match poll(&mut fds, timeout) {
            Err(Errno::EINTR) => {}
            count => break count?,
        }
    };
    let hung_up = |fd: &PollFd| {
        let events = fd.revents().unwrap_or(PollFlags::empty());
        events.intersects(PollFlags::POLLHUP | PollFlags::POLLERR)
    };
    Ok(match fds.get(1) {
        _ if count == 0 => Waited::TimedOut,
        Some(near) if hung_up(near) => Waited::Gone,
        _ => Waited::Ready,
    })
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    /// Emacs' end, ours, and the server's.
    fn joined() -> (UnixStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (emacs, near) = UnixStream::pair().unwrap();
        start(socket.into(), near).unwrap();
        (emacs, listener.accept().unwrap().0)
    }

    #[test]
    fn data_sent_before_emacs_closes_its_side_arrives() {
        let (mut emacs, mut server) = joined();
        let data = vec![b'x'; 3_000_000];
        let expected = data.len();
        let sending = thread::spawn(move || emacs.write_all(&data).unwrap());
        let mut all = Vec::new();
        server.read_to_end(&mut all).unwrap();
        sending.join().unwrap();
        assert_eq!(all.len(), expected);
    }

    #[test]
    fn closing_the_side_of_emacs_closes_the_connection_to_the_server() {
        let (emacs, mut server) = joined();
        drop(emacs);
        assert_eq!(server.read(&mut [0]).unwrap(), 0);
        let gone = || server.write_all(b"still here").is_err();
        let mut server_has_ended = gone;
        for _ in 0..1000 {
            if server_has_ended() {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("the connection stays open");
    }

    #[test]
    fn a_half_close_ends_one_direction_only() {
        let (mut emacs, mut server) = joined();
        emacs.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(server.read(&mut [0]).unwrap(), 0);
        server.write_all(b"221 bye").unwrap();
        drop(server);
        let mut all = String::new();
        emacs.read_to_string(&mut all).unwrap();
        assert_eq!(all, "221 bye");
    }
}
