//! Dials that are awaited in tokio: no thread waits, the runtime watches one descriptor.

use std::io;
use std::os::fd::AsRawFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::{TcpStream, UnixStream};

use super::dial::{Connected, Dial, Status};
use super::dialer::Dialer;
use super::stream::Stream;
use crate::error::ConnectError;
use crate::target::Target;

impl Dialer {
    /// Dials `host` and waits, without blocking the thread, until it is connected or cannot be.
    ///
    /// The stream is non-blocking; tokio's `TcpStream::try_from(connected.stream)` takes it over.
    /// Dropping the future cancels the dial and closes its sockets. Many may run at once: each has
    /// up to three descriptors beside its sockets.
    ///
    /// [`Config::ask`](crate::Config::ask) is refused: [`Dialer::start`] a dial, and await
    /// [`Dial::wait_async`]. A cache with a file is saved in the background, after the future has
    /// ended.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with I/O enabled, as tokio's own sockets do.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let connected = mailport::Dialer::new().connect_async("mail.example.com").await?;
    /// println!("{}", connected.report.summary());
    /// let stream = tokio::net::TcpStream::try_from(connected.stream)?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn connect_async<H>(&self, host: H) -> Result<Connected, ConnectError>
    where
        H: TryInto<Target>,
        ConnectError: From<H::Error>,
    {
        self.refuse_to_ask()?;
        let mut dial = self.start(host)?;
        dial.wait_async().await?;
        dial.take()
    }
}

impl Dial {
    /// Waits, without blocking the thread, until the dial has ended or asks a new question, and
    /// returns its status, which is never [`Status::Pending`].
    ///
    /// While a question is open, it goes on waiting for an attempt that connects after all: select
    /// it with what gives the answer, then call [`Dial::answer`]. Dropping the future changes
    /// nothing: the next call goes on. Dropping the dial cancels it.
    ///
    /// Fails if a descriptor cannot be made or watched.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with I/O enabled, as tokio's own sockets do.
    pub async fn wait_async(&mut self) -> Result<Status, ConnectError> {
        let known = self.question().map(|question| question.number);
        let waits = |dial: &mut Dial| match dial.process() {
            Status::Asking if dial.question().map(|question| question.number) == known => None,
            Status::Pending => None,
            status => Some(status),
        };
        if let Some(status) = waits(self) {
            return Ok(status);
        }
        let descriptor = self.descriptor()?.as_raw_fd();
        let interest = Interest::READABLE;
        // SAFETY: the dial keeps this descriptor for its whole life, and this future borrows the
        // dial for longer than the registration lasts.
        #[allow(unsafe_code, reason = "tokio would own a descriptor that it watches")]
        let watched = unsafe { AsyncFd::register_with_interest(descriptor, interest) };
        let watched = watched.map_err(|error| cannot_watch(error.into()))?;
        loop {
            // Cleared before the dial looks, so that what happens from then on is readable again.
            watched.readable().await.map_err(cannot_watch)?.clear_ready();
            if let Some(status) = waits(self) {
                return Ok(status);
            }
        }
    }
}

fn cannot_watch(source: io::Error) -> ConnectError {
    ConnectError::Setup { what: "the runtime cannot watch the dial", source }
}

/// The connection as tokio's, non-blocking; fails if it is a UNIX socket (through a command), or if
/// the runtime cannot watch it.
impl TryFrom<Stream> for TcpStream {
    type Error = io::Error;

    fn try_from(stream: Stream) -> io::Result<TcpStream> {
        stream.set_nonblocking(true)?;
        let no_tcp = |_| {
            io::Error::new(
                io::ErrorKind::Unsupported,
                "a connection through a command is no TCP connection",
            )
        };
        TcpStream::from_std(stream.into_tcp().map_err(no_tcp)?)
    }
}

/// The connection through a command as tokio's, non-blocking; fails if it is a TCP connection, or if
/// the runtime cannot watch it.
impl TryFrom<Stream> for UnixStream {
    type Error = io::Error;

    fn try_from(stream: Stream) -> io::Result<UnixStream> {
        stream.set_nonblocking(true)?;
        match stream {
            Stream::Unix(stream) => UnixStream::from_std(stream),
            Stream::Tcp(_) => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "a TCP connection is no UNIX socket",
            )),
        }
    }
}
