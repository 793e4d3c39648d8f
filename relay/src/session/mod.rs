//! One connection of a client, from its acceptance to its end.

mod destination;
mod dial;
mod handshake;
mod joined;
mod passing;

use std::io::{ErrorKind, Read};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::Token;
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use socket2::Socket;

use self::destination::Destination;
use self::joined::{Established, HeldGreeting, JoinedPair};
use super::access::Refusal;
use super::clients::{ClientAddress, ClientId, Counted};
use super::config::{Listener, Mode};
use super::context::{Context, SessionEnd};
use super::fd_budget::{DIALLING, JOINED};
use super::handshake::Handshake;
use super::listeners::Accepted;
use super::log::LogRecord;
use super::loop_detection::Endpoints;
use super::replies::ReplyStyle;
use super::taken_over::{DialResult, NotConnected};
use mailport::Dial;
use mailport::Target;

/// How long a client of a proxy may take to say where it wants to go.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client that was refused is waited for, so that it can read why.
const CLOSING_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a session waits for the addresses of its listener's names.
const NAMES_TIMEOUT: Duration = Duration::from_secs(1);

/// What a session waits for.
pub(super) enum SessionStep {
    /// An event of its sockets, or this time.
    Until(Instant),
    /// Its next turn, after all others have had theirs.
    Again,
    /// Nothing: it is over.
    Done,
}

enum SessionState {
    /// The client says where it wants to go.
    Handshake(Handshake),
    /// The addresses of the listener's names are looked up, until this time at most.
    Naming {
        address: IpAddr,
        port: u16,
        /// Where it goes if no name has the address.
        known: (Target, Option<Arc<[SocketAddr]>>),
        until: Instant,
    },
    /// It waits until the client has fewer look-ups under way, until this time at most.
    Queued {
        destination: Destination,
        until: Instant,
    },
    /// The dial, and whether the loop watches it.
    Dialling(Destination, Box<Dial>, bool),
    /// The dial lacked descriptors, which other sessions will give back.
    LackingDescriptors(Destination),
    /// A proxy's client has been sent the reply; the server's greeting follows.
    Replied(Established, HeldGreeting),
    Joined(JoinedPair),
    /// The client has received the reason why there is no connection.
    Closing,
}

/// One connection of a client.
pub(super) struct Session {
    number: usize,
    client: ClientAddress,
    owner: ClientId,
    counted: Counted,
    listener: Rc<Listener>,
    /// Where the client has connected to, or wanted to before it was redirected.
    to: Option<SocketAddr>,
    style: ReplyStyle,
    began: Instant,
    /// Where it goes, for the log.
    host: Option<String>,
    port: Option<u16>,
    /// The client's socket, until the pair has it.
    near: Option<Socket>,
    state: SessionState,
    /// Where the end of the dial is sent, of a connection that was taken over.
    result: Option<DialResult>,
    /// Whether a look-up of it counts against quotas.
    has_lookup: bool,
    has_ended: bool,
    /// Whether the client's socket and the server's have had an event since they were looked at.
    ready: [bool; 2],
    /// The earliest time at which the loop will look at this session.
    pub(super) timer: Option<Instant>,
}

/// The token of the client's socket.
pub(super) fn near_token(number: usize) -> Token {
    Token(number * 2)
}

/// The token of the dial, and then of the server's socket.
fn far_token(number: usize) -> Token {
    Token(number * 2 + 1)
}

/// As what a new connection of this mode is counted.
pub(super) fn counted_first(mode: &Mode) -> Counted {
    if matches!(mode, Mode::Proxy(_)) { Counted::Handshake } else { Counted::Session }
}

impl Session {
    pub(super) fn new(
        number: usize,
        accepted: Accepted,
        owner: ClientId,
        listener: Rc<Listener>,
        now: Instant,
    ) -> Session {
        let Accepted { socket, client, to } = accepted;
        Session {
            number,
            client,
            owner,
            counted: counted_first(&listener.mode),
            to,
            style: ReplyStyle::new(&listener.mode, to),
            listener,
            began: now,
            host: None,
            port: None,
            near: Some(socket),
            state: SessionState::Closing,
            result: None,
            has_lookup: false,
            has_ended: false,
            ready: [false; 2],
            timer: None,
        }
    }

    /// Begins with what its listener's mode begins with.
    pub(super) fn begin(&mut self, context: &mut Context, now: Instant) -> SessionStep {
        let listener = Rc::clone(&self.listener);
        match &listener.mode {
            Mode::Fixed { target, plan } => {
                let destination = Destination {
                    target: target.clone(),
                    plan: plan.clone(),
                    timeout: listener.dial.timeout,
                    began: None,
                    addresses: None,
                    is_named: false,
                };
                self.dial(destination, context, now)
            }
            Mode::TakenOver(_, expected) => {
                let wanted = self.client.tcp().and_then(|from| expected.take(from));
                match wanted {
                    Some(wanted) => self.dial_for_program(wanted, context, now),
                    None => self.refuse(Refusal::NotRedirected, context, now),
                }
            }
            Mode::Proxy(_) => {
                self.state = SessionState::Handshake(Handshake::New);
                self.shake_hands(context, now)
            }
            Mode::Transparent(_) => match self.to {
                Some(to) if !context.own.contains(&to) => {
                    let target = Target::try_from(to).ok();
                    self.connect_to(target, to.port(), context, now)
                }
                _ => self.refuse(Refusal::NotRedirected, context, now),
            },
        }
    }

    /// There was an event with this token.
    pub(super) fn has_event(&mut self, token: Token) {
        self.ready[usize::from(token != near_token(self.number))] = true;
    }

    /// Continues after an event or at its time.
    pub(super) fn turn(&mut self, context: &mut Context, now: Instant) -> SessionStep {
        match &self.state {
            SessionState::Handshake(_) => self.shake_hands(context, now),
            SessionState::Naming { .. } => self.await_names(context, now),
            SessionState::Queued { .. } => self.await_queue(context, now),
            SessionState::Dialling(..) => self.await_dial(context, now),
            SessionState::LackingDescriptors(_) => self.dial_again(context, now),
            SessionState::Replied(..) => self.await_greeting(context, now),
            SessionState::Joined(_) => self.pass(context, now),
            SessionState::Closing => self.close(now),
        }
    }

    /// It is its turn in the queue of look-ups.
    pub(super) fn leave_queue(&mut self, context: &mut Context, now: Instant) -> SessionStep {
        match std::mem::replace(&mut self.state, SessionState::Closing) {
            SessionState::Queued { destination, .. } => self.dial(destination, context, now),
            state => {
                self.state = state;
                SessionStep::Again
            }
        }
    }

    /// How many descriptors it has or is set aside.
    pub(super) fn descriptors(&self) -> usize {
        match &self.state {
            SessionState::Closing => 1,
            SessionState::Joined(_) | SessionState::Replied(..) => JOINED,
            _ => DIALLING,
        }
    }

    pub(super) fn owner(&self) -> ClientId {
        self.owner
    }

    pub(super) fn counted(&self) -> Counted {
        self.counted
    }

    /// The ends of the client's connection.
    pub(super) fn endpoints(&self) -> Option<Endpoints> {
        Some(Endpoints::new(self.client.tcp()?, self.to?))
    }

    /// The ends of the connection to the server, once there is one.
    pub(super) fn far_endpoints(&self) -> Option<Endpoints> {
        match &self.state {
            SessionState::Joined(pair) => pair.endpoints,
            SessionState::Replied(established, _) => established.endpoints,
            _ => None,
        }
    }

    /// Whether it is joined; while it closes, it is neither.
    pub(super) fn is_joined(&self) -> bool {
        matches!(self.state, SessionState::Joined(_) | SessionState::Replied(..))
    }

    pub(super) fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Cuts it off at the end of the relay.
    pub(super) fn cut_off(mut self, context: &mut Context) {
        if self.has_ended {
            return;
        }
        if self.is_joined() {
            self.finish(&SessionEnd::DrainTimeout, context);
        } else {
            self.end(&SessionEnd::DrainTimeout, context);
        }
    }

    fn near(&self) -> &Socket {
        self.near.as_ref().expect("the pair has the client's socket only when they are joined")
    }

    fn record(&self, event: &'static str) -> LogRecord {
        let record = LogRecord::new(event).with_number("session", self.number as u64);
        let record = record.with("client", self.client).with("listener", &self.listener.address);
        let record = match &self.host {
            Some(host) => record.with("host", host),
            None => record,
        };
        match self.port {
            Some(port) => record.with_number("port", port.into()),
            None => record,
        }
    }

    // ---- ends --------------------------------------------------------------------------------

    /// The one end of this connection: counts it and logs it.
    fn end(&mut self, end: &SessionEnd, context: &mut Context) {
        debug_assert!(!self.has_ended, "a session ends once");
        self.has_ended = true;
        context.end(|event| self.record(event), end);
    }

    /// Refuses the client, and tells it why.
    fn refuse(&mut self, refusal: Refusal, context: &mut Context, now: Instant) -> SessionStep {
        let reply = self.style.refusal(refusal);
        self.refuse_with(&reply, refusal, context, now)
    }

    fn refuse_with(
        &mut self,
        reply: &[u8],
        refusal: Refusal,
        context: &mut Context,
        now: Instant,
    ) -> SessionStep {
        self.send(reply);
        self.end(&SessionEnd::Refused(refusal), context);
        if matches!(self.listener.mode, Mode::TakenOver(..)) {
            return self.reset();
        }
        self.begin_closing(now)
    }

    /// Sends something short to the client: it fits into an empty send buffer, or the client has
    /// gone.
    fn send(&self, bytes: &[u8]) {
        if !bytes.is_empty() {
            let _ = self.near().send_with_flags(bytes, libc::MSG_NOSIGNAL);
        }
    }

    /// Whether the client has closed its side without having sent anything. One that has only shut
    /// down its side after a request is still there.
    fn client_has_left(&self) -> bool {
        matches!(self.peek(), Peeked::End | Peeked::Broken)
    }

    fn peek(&self) -> Peeked {
        match recv(self.near(), &mut [0; 1], RecvFlags::PEEK) {
            Ok((0, _)) => Peeked::End,
            Ok(_) => Peeked::Bytes,
            Err(Errno::AGAIN | Errno::INTR) => Peeked::Nothing,
            Err(_) => Peeked::Broken,
        }
    }

    /// Ends the client's connection by a reset, as one that has failed.
    fn reset(&mut self) -> SessionStep {
        self.result = None;
        // It fails for a client that has gone already.
        let _ = self.near().set_linger(Some(Duration::ZERO));
        SessionStep::Done
    }

    fn leave(&mut self, context: &mut Context) -> SessionStep {
        if let Some(result) = self.result.take() {
            let errno = libc::ECONNABORTED;
            result.send(Err(NotConnected { errno, reason: None, report: None }));
        }
        self.end(&SessionEnd::ClientLeft, context);
        SessionStep::Done
    }

    /// Ends what is sent to the client, and waits until it has read that: a close before would
    /// reset the connection if the client has sent something, and remove what it has not yet read.
    fn begin_closing(&mut self, now: Instant) -> SessionStep {
        self.state = SessionState::Closing;
        self.began = now;
        let _ = self.near().shutdown(Shutdown::Write);
        self.close(now)
    }

    fn close(&mut self, now: Instant) -> SessionStep {
        let until = self.began + CLOSING_TIMEOUT;
        let mut buffer = [0; 4096];
        for _ in 0..16 {
            match Read::read(&mut self.near(), &mut buffer) {
                Ok(0) => return SessionStep::Done,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock && now < until => {
                    return SessionStep::Until(until);
                }
                Err(_) => return SessionStep::Done,
            }
        }
        if now < until { SessionStep::Again } else { SessionStep::Done }
    }
}

/// What waits at the client's socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Peeked {
    Bytes,
    Nothing,
    End,
    Broken,
}

impl AsRawFd for Session {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.near().as_raw_fd()
    }
}
