//! A connected socket joined to what uses it: to another socket ([`Pair`]), driven by readiness and
//! without a thread; or to an input and an output that may block ([`join()`]), as a tunnel command
//! does.

mod pair;
mod pipes;

pub use pair::{Pair, Progress, Wants};
pub use pipes::Stock;

use std::error::Error;
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::sync::{Arc, mpsc};
use std::thread;

use crate::driver::{Stream, retry, wait_until_ready};

/// What is read at once: more is no faster.
const CHUNK: usize = 64 * 1024;

/// How much went each way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Joined {
    /// Bytes from the input to the socket; of a [`Pair`], from the near end to the far one.
    pub sent: u64,
    /// Bytes from the socket to the output; of a [`Pair`], from the far end to the near one.
    pub received: u64,
}

/// The end of a join that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The input, or the near end of a [`Pair`], could not be read.
    Input,
    /// The output, or the near end of a [`Pair`], could not be written: `BrokenPipe` where its
    /// reader has gone.
    Output,
    /// The connection, the far end of a [`Pair`], broke.
    Socket,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Side::Input => "the input",
            Side::Output => "the output",
            Side::Socket => "the connection",
        })
    }
}

/// Why a join ended before both of its ends had closed.
#[derive(Debug)]
pub struct JoinError {
    /// Where it broke.
    pub side: Side,
    /// The system's words.
    pub source: io::Error,
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.side, self.source)
    }
}

impl Error for JoinError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.source)
    }
}

/// Joins a connected socket to `input` and `output`, and blocks until both directions have ended.
/// Descriptors that do not block are waited for: a program that starts this one may share them.
///
/// Each direction ends by itself: the end of the input closes the socket for writing only, and the
/// end of what the socket sends drops `output`, which closes it where it owns its descriptor. What
/// one side does not take, the other is not asked for. An error in either direction ends both.
///
/// A read that blocks cannot be called off, so after an error a thread of this call may stay in a
/// read of `input` (or a write to `output`) until that returns; it does nothing afterwards. Give
/// sockets, and shut them down, where that matters.
pub fn join(
    stream: impl Into<Stream>,
    input: impl Read + AsFd + Send + 'static,
    output: impl Write + AsFd + Send + 'static,
) -> Result<Joined, JoinError> {
    let on_socket = |source| JoinError { side: Side::Socket, source };
    let socket = Arc::new(stream.into());
    let (ended, ends) = mpsc::channel();
    let (outgoing, upwards) = (Arc::clone(&socket), ended.clone());
    let sending = move || {
        let end = send(input, &outgoing);
        drop(outgoing);
        upwards.send(end)
    };
    let incoming = Arc::clone(&socket);
    let receiving = move || {
        let end = receive(&incoming, output);
        drop(incoming);
        ended.send(end)
    };
    let result = spawn("mailport-send", sending)
        .and_then(|()| spawn("mailport-receive", receiving))
        .map_err(on_socket)
        .and_then(|()| await_both(&ends));
    if result.is_err() {
        // Wakes the direction that waits for the socket. It may be broken already.
        let _ = socket.shutdown(Shutdown::Both);
    }
    result
}

/// What one direction says when it ends.
type DirectionEnd = Result<Joined, JoinError>;

fn await_both(ends: &mpsc::Receiver<DirectionEnd>) -> DirectionEnd {
    let mut total = Joined::default();
    for _ in ["up", "down"] {
        let part = ends.recv().expect("each direction ends with a word, unless a stream panics")?;
        total.sent += part.sent;
        total.received += part.received;
    }
    Ok(total)
}

/// The handle is dropped: a thread that waits for an input which never comes must not be waited
/// for. Whether anybody still listens when it ends does not matter to it.
fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<()> {
    let spawned = thread::Builder::new().name(name.to_owned()).spawn(work);
    spawned.map(drop).map_err(|e| io::Error::new(e.kind(), format!("cannot start a thread: {e}")))
}

fn send(mut input: impl Read + AsFd, mut socket: &Stream) -> DirectionEnd {
    let sent = pump(&mut input, Side::Input, &mut socket, Side::Socket)?;
    match socket.shutdown(Shutdown::Write) {
        // The peer may have reset the connection by now; the other direction will say so.
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::NotConnected => {}
        Err(source) => return Err(JoinError { side: Side::Socket, source }),
    }
    Ok(Joined { sent, received: 0 })
}

fn receive(mut socket: &Stream, mut output: impl Write + AsFd) -> DirectionEnd {
    let received = pump(&mut socket, Side::Socket, &mut output, Side::Output)?;
    Ok(Joined { sent: 0, received })
}

fn pump(
    from: &mut (impl Read + AsFd),
    read: Side,
    to: &mut (impl Write + AsFd),
    written: Side,
) -> Result<u64, JoinError> {
    let mut chunk = vec![0; CHUNK];
    let mut total = 0;
    loop {
        let count = insist(from, false, |from| from.read(&mut chunk));
        let count = count.map_err(|source| JoinError { side: read, source })?;
        if count == 0 {
            return Ok(total);
        }
        write_all(to, &chunk[..count]).map_err(|source| JoinError { side: written, source })?;
        total += count as u64;
    }
}

/// Both peers wait for answers: no byte may stay in a buffer.
fn write_all(to: &mut (impl Write + AsFd), mut rest: &[u8]) -> io::Result<()> {
    while !rest.is_empty() {
        match insist(to, true, |to| to.write(rest))? {
            0 => return Err(ErrorKind::WriteZero.into()),
            count => rest = &rest[count..],
        }
    }
    insist(to, true, Write::flush)
}

/// Does it again after a signal, and when the descriptor is ready where it does not block.
fn insist<S: AsFd, T>(
    stream: &mut S,
    writes: bool,
    mut act: impl FnMut(&mut S) -> io::Result<T>,
) -> io::Result<T> {
    loop {
        match retry(|| act(stream)) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                wait_until_ready(stream.as_fd(), writes)?;
            }
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Seek;
    use std::net::TcpListener;
    use std::net::TcpStream;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use super::*;

    /// A connected pair: ours, and the peer's.
    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let theirs = listener.accept().unwrap().0;
        (ours, theirs)
    }

    fn file(content: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        file.rewind().unwrap();
        file
    }

    fn nowhere() -> File {
        File::options().write(true).open("/dev/null").unwrap()
    }

    fn read_all(mut from: impl Read) -> Vec<u8> {
        let mut all = Vec::new();
        from.read_to_end(&mut all).unwrap();
        all
    }

    #[test]
    fn the_end_of_the_input_closes_one_direction_only() {
        let (ours, mut theirs) = pair();
        let (output_reader, output) = UnixStream::pair().unwrap();
        let peer = thread::spawn(move || {
            let question = read_all(&theirs);
            theirs.write_all(b"answer after the end").unwrap();
            question
        });
        let joined = join(ours, file(b"question"), output).unwrap();
        assert_eq!(peer.join().unwrap(), b"question");
        assert_eq!(read_all(output_reader), b"answer after the end");
        assert_eq!(joined, Joined { sent: 8, received: 20 });
    }

    #[test]
    fn the_end_of_the_socket_closes_the_output_and_leaves_the_input() {
        let (ours, mut theirs) = pair();
        let (input, mut input_writer) = UnixStream::pair().unwrap();
        let (output_reader, output) = UnixStream::pair().unwrap();
        let joining = thread::spawn(move || join(ours, input, output));
        theirs.write_all(b"bye").unwrap();
        theirs.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_all(output_reader), b"bye", "the output ends though the input is open");
        input_writer.write_all(b"still here").unwrap();
        drop(input_writer);
        assert_eq!(read_all(theirs), b"still here");
        assert_eq!(joining.join().unwrap().unwrap(), Joined { sent: 10, received: 3 });
    }

    #[test]
    fn a_reset_does_not_wait_for_the_input() {
        let (ours, theirs) = pair();
        let (input, _never_written) = UnixStream::pair().unwrap();
        socket2::SockRef::from(&theirs).set_linger(Some(Duration::ZERO)).unwrap();
        drop(theirs);
        let error = join(ours, input, nowhere()).unwrap_err();
        assert_eq!((error.side, error.source.kind()), (Side::Socket, ErrorKind::ConnectionReset));
    }

    #[test]
    fn an_output_without_a_reader_is_named() {
        let (ours, mut theirs) = pair();
        let (input, _never_written) = UnixStream::pair().unwrap();
        let (output_reader, output) = UnixStream::pair().unwrap();
        drop(output_reader);
        theirs.write_all(b"lost").unwrap();
        let error = join(ours, input, output).unwrap_err();
        assert_eq!((error.side, error.source.kind()), (Side::Output, ErrorKind::BrokenPipe));
        assert_eq!(read_all(theirs), b"", "the connection is closed with it");
    }

    #[test]
    fn an_input_that_cannot_be_read_is_named() {
        let (ours, _theirs) = pair();
        let error = join(ours, File::open("/").unwrap(), nowhere()).unwrap_err();
        assert_eq!(error.side, Side::Input);
        assert!(error.to_string().starts_with("the input: "), "{error}");
    }

    #[test]
    fn more_than_any_buffer_holds_arrives_whole_through_what_does_not_block() {
        let (ours, theirs) = pair();
        let message: Vec<u8> = (0..3_000_000_u32).map(|i| i.to_le_bytes()[0] ^ 7).collect();
        let (output_reader, output) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        output.set_nonblocking(true).unwrap();
        let (input, mut input_writer) = UnixStream::pair().unwrap();
        input.set_nonblocking(true).unwrap();
        let writing = message.clone();
        thread::spawn(move || input_writer.write_all(&writing).unwrap());
        let echo = thread::spawn(move || io::copy(&mut &theirs, &mut &theirs).unwrap());
        let expected = message.clone();
        let reading = thread::spawn(move || read_all(output_reader) == expected);
        let joined = join(ours, input, output).unwrap();
        assert_eq!(joined, Joined { sent: 3_000_000, received: 3_000_000 });
        assert_eq!(echo.join().unwrap(), 3_000_000);
        assert!(reading.join().unwrap());
    }
}
