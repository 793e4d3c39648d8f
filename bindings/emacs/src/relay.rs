//! What joins Emacs' local connection to the mail server: one thread for each pair.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mailport::Stream;
use mailport::join::{Pair, Progress, Stock, Wants};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::watch;

/// How long the server may take for the last words of an Emacs that is gone.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// How many threads of this kind run.
static RUNNING: AtomicUsize = AtomicUsize::new(0);

pub(crate) fn running() -> usize {
    RUNNING.load(Ordering::Relaxed)
}

/// Joins both in the background, until both have ended, either is broken, or Emacs has closed its
/// side. The thread owns them.
pub(crate) fn start(socket: Stream, near: UnixStream) -> io::Result<()> {
    let pair = Pair::new(near, socket)?;
    watch::spawn("mailport-relay", &RUNNING, move || run(pair))
}

/// Whatever ends it, both sides are closed then, which says it to both.
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
            // Emacs reads nothing any more: what is left is what it said.
            Some(_) if !near.readable && !far.writable => break,
            Some(since) => Some(LAST_WORDS.saturating_sub(Instant::elapsed(&since))),
        };
        match wait(&pair, [near, far], left) {
            Ok(Waited::Ready) => {}
            Ok(Waited::Gone) => gone = gone.or_else(|| Some(Instant::now())),
            Ok(Waited::InVain) | Err(_) => break,
        }
    }
    pair.close(&mut stock);
}

enum Waited {
    Ready,
    /// Emacs has closed its side; what it sent before may be there still.
    Gone,
    InVain,
}

/// Waits until a side can go on. With a limit, Emacs is gone already.
fn wait(pair: &Pair, wants: [Wants; 2], left: Option<Duration>) -> nix::Result<Waited> {
    let flags = |wants: Wants| {
        let readable = if wants.readable { PollFlags::POLLIN } else { PollFlags::empty() };
        let writable = if wants.writable { PollFlags::POLLOUT } else { PollFlags::empty() };
        readable | writable
    };
    let mut fds = vec![PollFd::new(pair.far(), flags(wants[1]))];
    // Who is gone is always ready.
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
        let told = fd.revents().unwrap_or(PollFlags::empty());
        told.intersects(PollFlags::POLLHUP | PollFlags::POLLERR)
    };
    Ok(match fds.get(1) {
        _ if count == 0 => Waited::InVain,
        Some(near) if hung_up(near) => Waited::Gone,
        _ => Waited::Ready,
    })
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::thread;

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
    fn the_last_words_of_an_emacs_that_is_gone_arrive() {
        let (mut emacs, mut server) = joined();
        let words = vec![b'x'; 3_000_000];
        let expected = words.len();
        let sending = thread::spawn(move || emacs.write_all(&words).unwrap());
        let mut all = Vec::new();
        server.read_to_end(&mut all).unwrap();
        sending.join().unwrap();
        assert_eq!(all.len(), expected);
    }

    #[test]
    fn an_emacs_that_is_gone_ends_it_though_the_server_stays() {
        let (emacs, mut server) = joined();
        drop(emacs);
        assert_eq!(server.read(&mut [0]).unwrap(), 0);
        let gone = || server.write_all(b"still here").is_err();
        let mut server_is_told = gone;
        for _ in 0..1000 {
            if server_is_told() {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("the connection stays open");
    }

    #[test]
    fn the_end_of_one_side_is_the_end_of_that_direction_only() {
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
