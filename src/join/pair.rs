//! Two sockets joined by a state machine that never waits.

use std::io::{self, ErrorKind, Read};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use socket2::SockRef;

use super::pipes::{CHUNK, Pipe, Stock};
use super::{JoinError, Joined, Side};
use crate::driver::retry;

/// How often a direction moves something in one call, so that one pair does not keep the others
/// of its loop waiting.
const STEPS: usize = 16;
/// A splice that moves less than this is a dialogue again, which is copied.
const STREAM: usize = 4 * 1024;

/// Two connected stream sockets, joined: what one sends, the other gets, in both directions.
///
/// Bytes pass as they are. Each direction ends by itself: the end of what one socket sends closes
/// the other for writing only. What one side does not take, the other is not asked for: a direction
/// holds 64 KiB at most (or as much as a pipe of the system), and nothing while it is idle. A
/// dialogue is copied; a stream is spliced through a pipe, and so not copied at all, where both
/// sockets can do that.
///
/// It is driven by readiness. Watch both descriptors, edge-triggered for reading and writing, or
/// level-triggered for what [`Pair::wants`] says, and call [`Pair::process`] when one is ready:
///
/// ```no_run
/// use mailport::join::{Pair, Progress, Stock};
/// # fn wait_for(pair: &Pair) {}
/// # fn joined(near: std::net::TcpStream, far: std::net::TcpStream) -> Result<(), Box<dyn std::error::Error>> {
/// let mut pair = Pair::new(near, far)?;
/// let mut stock = Stock::default();
/// loop {
///     match pair.process(&mut stock)? {
///         Progress::More => {}
///         Progress::Waiting => wait_for(&pair),
///         Progress::Ended => break,
///     }
/// }
/// println!("{:?}", pair.carried());
/// # Ok(())
/// # }
/// ```
///
/// [`Pair::run`] does all of that for a thread that has nothing else to do. Splicing into a socket
/// that is closed raises SIGPIPE, which Rust programs ignore; in any other, block it in the thread.
#[derive(Debug)]
pub struct Pair {
    near: OwnedFd,
    far: OwnedFd,
    /// From the near end to the far one.
    up: Flow,
    /// From the far end to the near one.
    down: Flow,
}

/// The state of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// It can go on at once: call again, after everything else that is ready.
    More,
    /// It waits until a socket is ready.
    Waiting,
    /// Both directions have ended.
    Ended,
}

/// What a pair waits for, of one of its sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wants {
    /// That it can be read.
    pub readable: bool,
    /// That it can be written.
    pub writable: bool,
}

impl Pair {
    /// Joins two connected stream sockets, and makes both non-blocking.
    pub fn new(near: impl Into<OwnedFd>, far: impl Into<OwnedFd>) -> io::Result<Pair> {
        let (near, far) = (near.into(), far.into());
        for socket in [&near, &far] {
            SockRef::from(socket).set_nonblocking(true)?;
        }
        Ok(Pair::from_nonblocking(near, far))
    }

    /// Joins two connected stream sockets that are non-blocking already.
    pub fn from_nonblocking(near: impl Into<OwnedFd>, far: impl Into<OwnedFd>) -> Pair {
        let (near, far) = (near.into(), far.into());
        Pair { near, far, up: Flow::default(), down: Flow::default() }
    }

    /// Moves what can be moved now. Never blocks. After an error, which ends both directions, and
    /// after [`Progress::Ended`] there is nothing left to do but to drop it.
    pub fn process(&mut self, stock: &mut Stock) -> Result<Progress, JoinError> {
        self.process_ready(stock, [true; 2])
    }

    /// The same where the near or the far socket alone is ready, as the loop knows: the other one is
    /// not read for nothing.
    #[doc(hidden)]
    pub fn process_ready(
        &mut self,
        stock: &mut Stock,
        [near_is_ready, far_is_ready]: [bool; 2],
    ) -> Result<Progress, JoinError> {
        let near = self.near.as_fd();
        let far = self.far.as_fd();
        let at = |side| move |source| JoinError { side, source };
        let mut more = false;
        for (flow, from, read, from_is_ready, to, written, to_is_ready) in [
            (&mut self.up, near, Side::Input, near_is_ready, far, Side::Socket, far_is_ready),
            (&mut self.down, far, Side::Socket, far_is_ready, near, Side::Output, near_is_ready),
        ] {
            if !(from_is_ready || flow.goes_on || to_is_ready && flow.holds()) {
                continue;
            }
            more |= flow.advance(from, to, stock).map_err(|broken| match broken {
                Broken::Reading(error) => at(read)(error),
                Broken::Writing(error) => at(written)(error),
            })?;
        }
        if self.up.has_ended() && self.down.has_ended() {
            return Ok(Progress::Ended);
        }
        // A socket that is not read, at its end or because the other one takes nothing, reports a
        // reset by this alone.
        for (flow, socket, side, is_ready) in [
            (&self.up, near, Side::Output, near_is_ready),
            (&self.down, far, Side::Socket, far_is_ready),
        ] {
            if is_ready
                && !flow.reads()
                && let Some(error) = SockRef::from(&socket).take_error().map_err(at(side))?
            {
                return Err(at(side)(error));
            }
        }
        Ok(if more { Progress::More } else { Progress::Waiting })
    }

    /// What the near and the far socket are waited for, after [`Progress::Waiting`]. One of which
    /// nothing is wanted need not be watched.
    pub fn wants(&self) -> [Wants; 2] {
        let of = |from: &Flow, to: &Flow| Wants { readable: from.reads(), writable: to.holds() };
        [of(&self.up, &self.down), of(&self.down, &self.up)]
    }

    /// The near socket, to watch.
    pub fn near(&self) -> BorrowedFd<'_> {
        self.near.as_fd()
    }

    /// The far socket, to watch.
    pub fn far(&self) -> BorrowedFd<'_> {
        self.far.as_fd()
    }

    /// How much has arrived each way so far.
    pub fn carried(&self) -> Joined {
        Joined { sent: self.up.carried, received: self.down.carried }
    }

    /// Whether the near and the far socket have ended their direction.
    pub fn ended(&self) -> [bool; 2] {
        [self.up.phase != Phase::Open, self.down.phase != Phase::Open]
    }

    /// Joins until both directions have ended. Shutting down either socket, from another thread
    /// that has a copy of it, ends this early.
    pub fn run(mut self) -> Result<Joined, JoinError> {
        let at_near = |source| JoinError { side: Side::Input, source };
        let mut poll = Poll::new().map_err(at_near)?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        for socket in [&self.near, &self.far] {
            let mut source = SourceFd(&socket.as_raw_fd());
            poll.registry().register(&mut source, Token(0), interest).map_err(at_near)?;
        }
        let (mut events, mut stock) = (Events::with_capacity(4), Stock::default());
        loop {
            let timeout = match self.process(&mut stock)? {
                Progress::More => Some(Duration::ZERO),
                Progress::Waiting => None,
                Progress::Ended => return Ok(self.carried()),
            };
            match poll.poll(&mut events, timeout) {
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(at_near(error)),
                _ => {}
            }
        }
    }

    /// Takes the pair apart as if both peers had reset their connection, which is what one of them
    /// has done to the other: what has not arrived is dropped, here and in the kernel.
    pub fn reset(self, stock: &mut Stock) {
        for socket in [&self.near, &self.far] {
            // It fails for sockets that know no reset, and those are just closed.
            let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
        }
        self.close(stock);
    }

    /// Closes both sockets, and gives back what was lent.
    pub fn close(self, stock: &mut Stock) {
        for flow in [self.up, self.down] {
            if let Held::Pipe(pipe) = flow.held {
                stock.give_back(pipe);
            }
        }
    }
}

/// One direction.
#[derive(Debug, Default)]
struct Flow {
    phase: Phase,
    held: Held,
    /// Whether so much comes that it is worth a pipe.
    streams: bool,
    /// Whether a socket was found that cannot be spliced.
    refused: bool,
    /// Whether it stopped although its sockets were still ready.
    goes_on: bool,
    /// Bytes that were written.
    carried: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Phase {
    #[default]
    Open,
    /// Everything has been read, and the end must be passed to the other socket.
    Ending,
    Ended,
}

/// What was read and is not written yet.
#[derive(Debug, Default)]
enum Held {
    #[default]
    Nothing,
    /// Bytes, from this one on.
    Bytes(Vec<u8>, usize),
    Pipe(Pipe),
}

/// Which end of a direction failed.
enum Broken {
    Reading(io::Error),
    Writing(io::Error),
}

impl Flow {
    /// Moves bytes until a socket is not ready; whether it stopped before that.
    fn advance(
        &mut self,
        from: BorrowedFd,
        to: BorrowedFd,
        stock: &mut Stock,
    ) -> Result<bool, Broken> {
        self.goes_on = false;
        for _ in 0..STEPS {
            if self.holds() {
                if !self.write(to, stock).map_err(Broken::Writing)? {
                    return Ok(false);
                }
                continue;
            }
            match self.phase {
                Phase::Open => {
                    if !self.read(from, to, stock)? {
                        return Ok(false);
                    }
                }
                Phase::Ending => {
                    end(to).map_err(Broken::Writing)?;
                    self.phase = Phase::Ended;
                }
                Phase::Ended => return Ok(false),
            }
        }
        self.goes_on = true;
        Ok(true)
    }

    fn holds(&self) -> bool {
        !matches!(self.held, Held::Nothing)
    }

    fn reads(&self) -> bool {
        self.phase == Phase::Open && !self.holds()
    }

    fn has_ended(&self) -> bool {
        self.phase == Phase::Ended
    }

    /// Reads what there is; whether there was anything, if only the end.
    fn read(
        &mut self,
        from: BorrowedFd,
        to: BorrowedFd,
        stock: &mut Stock,
    ) -> Result<bool, Broken> {
        if self.streams && !self.refused && self.splice(from, stock).map_err(Broken::Reading)? {
            return Ok(true);
        }
        let count = insist(|| (&*SockRef::from(&from)).read(&mut stock.scratch));
        let Some(count) = count.map_err(Broken::Reading)? else { return Ok(false) };
        self.streams = count == CHUNK;
        if count == 0 {
            self.phase = Phase::Ending;
            return Ok(true);
        }
        let taken = send(to, &stock.scratch[..count]).map_err(Broken::Writing)?.unwrap_or(0);
        self.carried += taken as u64;
        if taken < count {
            self.held = Held::Bytes(stock.scratch[taken..count].to_vec(), 0);
        }
        Ok(true)
    }

    /// Moves what there is into a pipe; false where it must be copied instead.
    fn splice(&mut self, from: BorrowedFd, stock: &mut Stock) -> io::Result<bool> {
        let Some(mut pipe) = stock.take() else { return Ok(false) };
        let moved = insist(|| pipe.fill(from));
        match moved {
            Ok(Some(moved)) if moved > 0 => {
                self.streams = moved >= STREAM;
                self.held = Held::Pipe(pipe);
                return Ok(true);
            }
            // At the mark of urgent data splice moves nothing, as at the end and where nothing has
            // come: a read tells these apart.
            Ok(_) => self.streams = false,
            Err(ref error) if error.kind() == ErrorKind::InvalidInput => self.refused = true,
            Err(_) => {}
        }
        stock.give_back(pipe);
        match moved {
            Err(error) if error.kind() != ErrorKind::InvalidInput => Err(error),
            _ => Ok(false),
        }
    }

    /// Writes what is held; whether anything was taken.
    fn write(&mut self, to: BorrowedFd, stock: &mut Stock) -> io::Result<bool> {
        let taken = match &mut self.held {
            Held::Nothing => return Ok(true),
            Held::Bytes(bytes, start) => send(to, &bytes[*start..])?.inspect(|n| *start += n),
            Held::Pipe(pipe) => match insist(|| pipe.drain(to)) {
                Err(error) if error.kind() == ErrorKind::InvalidInput => {
                    self.refused = true;
                    let bytes = pipe.empty()?;
                    self.hold(Held::Bytes(bytes, 0), stock);
                    return Ok(true);
                }
                taken => taken?,
            },
        };
        let Some(taken) = taken else { return Ok(false) };
        self.carried += taken as u64;
        let is_empty = match &self.held {
            Held::Nothing => true,
            Held::Bytes(bytes, start) => *start == bytes.len(),
            Held::Pipe(pipe) => pipe.filled == 0,
        };
        if is_empty {
            self.hold(Held::Nothing, stock);
        }
        Ok(true)
    }

    fn hold(&mut self, held: Held, stock: &mut Stock) {
        if let Held::Pipe(pipe) = std::mem::replace(&mut self.held, held) {
            stock.give_back(pipe);
        }
    }
}

/// Does it again after a signal; `None` where the socket is not ready.
fn insist<T>(act: impl FnMut() -> io::Result<T>) -> io::Result<Option<T>> {
    match retry(act) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        done => done.map(Some),
    }
}

fn send(to: BorrowedFd, bytes: &[u8]) -> io::Result<Option<usize>> {
    insist(|| SockRef::from(&to).send_with_flags(bytes, libc::MSG_NOSIGNAL))
}

/// Passes an end on.
fn end(to: BorrowedFd) -> io::Result<()> {
    match SockRef::from(&to).shutdown(Shutdown::Write) {
        // The peer may have reset the connection by now; the other direction will say so.
        Err(error) if error.kind() == ErrorKind::NotConnected => Ok(()),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::UnixStream;
    use std::thread;
    use std::time::Instant;

    /// A connected pair of sockets: one to join, and its peer.
    fn tcp() -> (OwnedFd, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (ours.into(), listener.accept().unwrap().0)
    }

    fn unix() -> (OwnedFd, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (ours.into(), theirs)
    }

    fn joined() -> (Pair, TcpStream, TcpStream) {
        let ((near, reader), (far, server)) = (tcp(), tcp());
        (Pair::new(near, far).unwrap(), reader, server)
    }

    fn message(length: usize) -> Vec<u8> {
        let mut state = 1u32;
        let next = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        };
        (0..length).map(next).collect()
    }

    fn read_all(mut from: impl Read) -> Vec<u8> {
        let mut all = Vec::new();
        from.read_to_end(&mut all).unwrap();
        all
    }

    /// Processes until it waits; what it ended with, if it did.
    fn settle(pair: &mut Pair, stock: &mut Stock) -> Result<Progress, JoinError> {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            match pair.process(stock)? {
                Progress::More => assert!(Instant::now() < until, "it never waits"),
                progress => return Ok(progress),
            }
        }
    }

    #[test]
    fn what_one_sends_the_other_gets_and_each_direction_ends_by_itself() {
        let (mut pair, mut reader, mut server) = joined();
        let mut stock = Stock::default();
        server.write_all(b"220 ready\r\n").unwrap();
        assert_eq!(settle(&mut pair, &mut stock).unwrap(), Progress::Waiting);
        let mut greeting = [0; 11];
        reader.read_exact(&mut greeting).unwrap();
        assert_eq!(&greeting, b"220 ready\r\n");
        reader.write_all(b"QUIT\r\n").unwrap();
        reader.shutdown(Shutdown::Write).unwrap();
        assert_eq!(settle(&mut pair, &mut stock).unwrap(), Progress::Waiting);
        assert_eq!(read_all(&server), b"QUIT\r\n");
        let [near, far] = pair.wants();
        assert_eq!((near.readable, far.readable), (false, true), "the other direction is open");
        server.write_all(b"221 bye\r\n").unwrap();
        drop(server);
        assert_eq!(settle(&mut pair, &mut stock).unwrap(), Progress::Ended);
        assert_eq!(read_all(&reader), b"221 bye\r\n", "and its end");
        assert_eq!(pair.carried(), Joined { sent: 6, received: 20 });
    }

    /// Sends a message through and back, by every kind of socket.
    fn there_and_back(
        (near, reader): (OwnedFd, impl Read + Write + Send + AsFd + 'static),
        (far, server): (OwnedFd, impl Read + Write + Send + AsFd + 'static),
    ) {
        let message = message(5_000_000);
        let pair = Pair::new(near, far).unwrap();
        let joining = thread::spawn(move || pair.run());
        let echo = thread::spawn(move || {
            let mut server = server;
            let all = read_all(&mut server);
            server.write_all(&all).unwrap();
        });
        let mut reader = reader;
        reader.write_all(&message).unwrap();
        SockRef::from(&reader).shutdown(Shutdown::Write).unwrap();
        assert!(read_all(reader) == message, "bit for bit");
        echo.join().unwrap();
        let carried = joining.join().unwrap().unwrap();
        assert_eq!(carried, Joined { sent: 5_000_000, received: 5_000_000 });
    }

    #[test]
    fn a_stream_passes_bit_for_bit_between_all_kinds_of_sockets() {
        there_and_back(tcp(), tcp());
        there_and_back(unix(), tcp());
        there_and_back(tcp(), unix());
        there_and_back(unix(), unix());
    }

    #[test]
    fn a_stream_is_spliced_and_one_without_a_pipe_is_copied() {
        for pipes in [2, 0] {
            let (mut pair, mut reader, server) = joined();
            let mut stock = Stock::new(pipes);
            let message = message(3_000_000);
            let sending = message.clone();
            let sent = thread::spawn(move || reader.write_all(&sending).map(|()| reader));
            let reading = thread::spawn(move || read_all(&server));
            let mut spliced = false;
            while pair.carried().sent < 3_000_000 {
                pair.process(&mut stock).unwrap();
                spliced |= !stock.spare.is_empty() || matches!(pair.up.held, Held::Pipe(_));
            }
            drop(sent.join().unwrap().unwrap());
            while !pair.up.has_ended() {
                pair.process(&mut stock).unwrap();
            }
            assert!(reading.join().unwrap() == message, "bit for bit");
            assert_eq!(spliced, pipes > 0);
        }
    }

    #[test]
    fn what_the_other_side_does_not_take_is_not_asked_for() {
        let (mut pair, mut reader, mut server) = joined();
        let mut stock = Stock::default();
        let message = message(30_000_000);
        reader.set_nonblocking(true).unwrap();
        let mut sent = 0;
        for _ in 0..10_000 {
            while let Ok(count) = reader.write(&message[sent..]) {
                sent += count;
            }
            pair.process(&mut stock).unwrap();
        }
        assert!(sent < message.len(), "the kernel's buffers hold less than this message");
        let [near, far] = pair.wants();
        assert!(!near.readable && far.writable, "{near:?} {far:?}");
        let reading = thread::spawn(move || {
            let mut got = vec![0; sent];
            server.read_exact(&mut got).unwrap();
            got
        });
        while pair.carried().sent < sent as u64 {
            pair.process(&mut stock).unwrap();
        }
        assert!(reading.join().unwrap() == message[..sent], "and what was held arrives");
    }

    #[test]
    fn a_socket_without_an_event_is_not_read() {
        let (mut pair, mut reader, mut server) = joined();
        let mut stock = Stock::default();
        server.write_all(b"220 ready\r\n").unwrap();
        reader.write_all(b"EHLO x\r\n").unwrap();
        let mut carried = |ready| {
            assert_eq!(pair.process_ready(&mut stock, ready).unwrap(), Progress::Waiting);
            pair.carried()
        };
        assert_eq!(carried([false, false]), Joined::default());
        assert_eq!(carried([true, false]), Joined { sent: 8, received: 0 });
        assert_eq!(carried([false, true]), Joined { sent: 8, received: 11 });
    }

    #[test]
    fn an_idle_pair_holds_nothing_of_the_stock() {
        let (mut pair, mut reader, mut server) = joined();
        let mut stock = Stock::default();
        let writing = thread::spawn(move || reader.write_all(&message(1_000_000)).map(|()| reader));
        let reading =
            thread::spawn(move || server.read_exact(&mut vec![0; 1_000_000]).map(|()| server));
        while pair.carried().sent < 1_000_000 {
            pair.process(&mut stock).unwrap();
        }
        let _open = (writing.join().unwrap().unwrap(), reading.join().unwrap().unwrap());
        assert_eq!(settle(&mut pair, &mut stock).unwrap(), Progress::Waiting);
        assert!(!pair.up.holds() && !pair.down.holds());
        assert_eq!(stock.spare.len() + stock.left, 2, "every pipe is back");
    }

    fn reset(socket: TcpStream) {
        SockRef::from(&socket).set_linger(Some(Duration::ZERO)).unwrap();
        drop(socket);
    }

    #[test]
    fn a_reset_is_named_by_its_side() {
        for (at_server, side) in [(false, Side::Input), (true, Side::Socket)] {
            let (mut pair, reader, server) = joined();
            let (gone, stays) = if at_server { (server, reader) } else { (reader, server) };
            reset(gone);
            let error = settle(&mut pair, &mut Stock::default()).unwrap_err();
            assert_eq!((error.side, error.source.kind()), (side, ErrorKind::ConnectionReset));
            drop(stays);
        }
    }

    #[test]
    fn a_reset_after_the_end_is_noticed_all_the_same() {
        let (mut pair, reader, _server) = joined();
        let mut stock = Stock::default();
        reader.shutdown(Shutdown::Write).unwrap();
        assert_eq!(settle(&mut pair, &mut stock).unwrap(), Progress::Waiting);
        reset(reader);
        assert_eq!(settle(&mut pair, &mut stock).unwrap_err().side, Side::Output);
    }

    #[test]
    fn a_pair_that_is_reset_resets_both() {
        let (pair, reader, server) = joined();
        pair.reset(&mut Stock::default());
        for mut socket in [reader, server] {
            let error = socket.read(&mut [0]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        }
    }

    #[test]
    fn a_run_ends_when_its_sockets_are_shut_down() {
        let (pair, reader, server) = joined();
        let ours = [pair.near.try_clone().unwrap(), pair.far.try_clone().unwrap()];
        let joining = thread::spawn(move || pair.run());
        for socket in &ours {
            SockRef::from(socket).shutdown(Shutdown::Both).unwrap();
        }
        joining.join().unwrap().unwrap();
        drop((reader, server));
    }
}
