//! The transport of one attempt, whatever it is made of, from its beginning to its hand-over.

use std::io;
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::{Duration, Instant};

mod command;
pub(super) mod direct;
mod greeting;
mod passage;
mod proxy;

use super::poller::Poller;
use crate::outcome::{Errno, Failure, Outcome};
use command::Command;
use direct::{Found, Socket};
use greeting::Heard;
pub(super) use passage::Passage;
use proxy::Proxied;

/// One attempt's descriptors, and how far it has come.
#[derive(Debug)]
pub(super) struct Transport {
    way: Way,
    /// Whether a greeting is waited for once the service is reached.
    waits_for_greeting: bool,
    reached: bool,
    greeted: bool,
}

#[derive(Debug)]
pub(super) enum Way {
    Direct(Socket),
    Proxy(Proxied),
    Command(Command),
}

/// Something that a look at a transport found, in the order in which it happened.
#[derive(Debug)]
pub(super) enum Fact {
    /// The first stage is over.
    Connected { round_trip: Duration, syns: Option<u32> },
    /// Nothing stands between us and the service any more.
    Reached,
    /// The first byte of a greeting is there.
    Greeted,
    /// People should know this of the attempt, which goes on.
    Noted { note: String },
    /// The attempt has failed, and this is what people should know of it.
    Failed { failure: Failure, note: Option<String> },
}

impl Fact {
    pub(super) fn failed(failure: Failure) -> Fact {
        Fact::Failed { failure, note: None }
    }

    /// This machine lacked something.
    pub(super) fn local(error: &io::Error) -> Fact {
        let errno = Some(Errno(error.raw_os_error().unwrap_or(libc::ENOMEM)));
        Fact::failed(Failure { errno, ..Failure::new(Outcome::Local) })
    }
}

impl Transport {
    pub(super) fn new(way: Way, waits_for_greeting: bool) -> Transport {
        Transport { way, waits_for_greeting, reached: false, greeted: false }
    }

    /// A direct connection that has begun, and what its first look found.
    pub(super) fn direct(
        socket: Socket,
        found: &Found,
        waits_for_greeting: bool,
    ) -> (Transport, Vec<Fact>) {
        let mut transport = Transport::new(Way::Direct(socket), waits_for_greeting);
        let facts = transport.follow(of_socket(found));
        (transport, facts)
    }

    /// Looks what has happened. The poller is for those lines that change their descriptor, under
    /// the token that they have.
    pub(super) fn look(&mut self, poller: &Poller, token: usize) -> Vec<Fact> {
        let facts = match &mut self.way {
            _ if self.reached => Vec::new(),
            Way::Direct(socket) => of_socket(&socket.look()),
            Way::Proxy(proxied) => proxied.look(poller, token),
            Way::Command(command) => command.look(poller, token),
        };
        self.follow(facts)
    }

    /// Adds what there is to hear once the service is reached.
    fn follow(&mut self, mut facts: Vec<Fact>) -> Vec<Fact> {
        self.reached |= facts.iter().any(|fact| matches!(fact, Fact::Reached));
        if self.reached && self.waits_for_greeting && !self.greeted {
            let heard = self.listen();
            self.greeted = matches!(heard, Some(Fact::Greeted));
            facts.extend(heard);
        }
        facts
    }

    fn listen(&self) -> Option<Fact> {
        let socket = match &self.way {
            Way::Direct(socket) => socket.as_fd(),
            Way::Proxy(proxied) => proxied.socket()?,
            Way::Command(command) => command.socket()?,
        };
        match (greeting::listen(socket), &self.way) {
            (Heard::Nothing, _) => None,
            // What begins otherwise was said by the command itself.
            (Heard::Byte(byte), Way::Command(command)) if !byte.is_ascii_digit() => {
                command.has_ended().then(|| command.end(None))
            }
            (Heard::Byte(_), _) => Some(Fact::Greeted),
            (Heard::End(errno), Way::Command(command)) => Some(command.end(errno)),
            (Heard::End(errno), _) => {
                Some(Fact::failed(Failure { errno, ..Failure::new(Outcome::Closed) }))
            }
        }
    }

    /// When to look without anything having happened.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        match &self.way {
            Way::Proxy(proxied) => proxied.wake_at(),
            Way::Direct(_) | Way::Command(_) => None,
        }
    }

    /// What is still waited for, in words, where it is not the service.
    pub(super) fn missing(&self) -> Option<String> {
        match &self.way {
            _ if self.reached => None,
            Way::Direct(_) => None,
            Way::Proxy(proxied) => Some(proxied.missing()),
            Way::Command(_) => Some("the command has not started yet".to_owned()),
        }
    }

    /// SYNs sent towards the service, as far as this machine sends them.
    pub(super) fn syns(&self) -> Option<u32> {
        match &self.way {
            Way::Direct(socket) => socket.syns(),
            Way::Proxy(_) | Way::Command(_) => None,
        }
    }

    /// The connection, for whoever uses it; `None` before it stands.
    pub(super) fn into_stream(self) -> Option<TcpStream> {
        match self.way {
            Way::Direct(socket) => Some(socket.into_inner().into()),
            Way::Proxy(proxied) => proxied.into_stream(),
            Way::Command(command) => command.into_stream(),
        }
    }
}

/// What to watch.
impl AsRawFd for Transport {
    fn as_raw_fd(&self) -> RawFd {
        match &self.way {
            Way::Direct(socket) => socket.as_fd().as_raw_fd(),
            Way::Proxy(proxied) => proxied.as_raw_fd(),
            Way::Command(command) => command.as_raw_fd(),
        }
    }
}

/// A direct connection has nothing to pass, so both stages end in one turn.
fn of_socket(found: &Found) -> Vec<Fact> {
    match *found {
        Found::Pending => Vec::new(),
        Found::Connected { round_trip, syns } => {
            vec![Fact::Connected { round_trip, syns }, Fact::Reached]
        }
        Found::Failed(failure) => vec![Fact::failed(failure)],
    }
}
