//! A connection with a time limit, which keeps the first bytes that came.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// How many of the first bytes are kept.
const FIRST: usize = 64;

pub(super) struct TlsStream {
    socket: TcpStream,
    deadline: Instant,
    first: Vec<u8>,
}

impl TlsStream {
    pub(super) fn new(socket: TcpStream, deadline: Instant) -> io::Result<TlsStream> {
        socket.set_nonblocking(false)?;
        Ok(TlsStream { socket, deadline, first: Vec::new() })
    }

    /// Moves the deadline to this time from now.
    pub(super) fn allow(&mut self, time: Duration) {
        self.deadline = Instant::now() + time;
    }

    /// Keeps the next bytes as the first ones.
    pub(super) fn forget(&mut self) {
        self.first.clear();
    }

    /// The first bytes that came.
    pub(super) fn first(&self) -> &[u8] {
        &self.first
    }

    fn left(&self) -> io::Result<Duration> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
    }
}

impl Read for TlsStream {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.socket.set_read_timeout(Some(self.left()?))?;
        let count = self.socket.read(bytes).map_err(timed_out)?;
        let wanted = FIRST.saturating_sub(self.first.len());
        self.first.extend_from_slice(&bytes[..count.min(wanted)]);
        Ok(count)
    }
}

impl Write for TlsStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.set_write_timeout(Some(self.left()?))?;
        self.socket.write(bytes).map_err(timed_out)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

/// The kernel reports the end of a socket's timeout as `EAGAIN`.
fn timed_out(error: io::Error) -> io::Error {
    if error.kind() == ErrorKind::WouldBlock { ErrorKind::TimedOut.into() } else { error }
}
