//! The descriptors of one attempt, of any kind of transport.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use super::command::Command;
use super::direct::{Socket, SocketState};
use super::fact::Fact;
use super::greeting::{self, Heard};
use super::proxy::Proxied;
use crate::driver::poller::Poller;
use crate::driver::stream::Stream;
use crate::error::ConnectError;
use crate::outcome::{Failure, Outcome};

/// One attempt's descriptors, and how far it has come.
#[derive(Debug)]
pub(in crate::driver) struct Transport {
    way: Way,
    stage: TransportStage,
    /// Whether a greeting is waited for once the service is reached.
    waits_for_greeting: bool,
    /// Whether its descriptor is in the poller.
    is_watched: bool,
}

/// What a transport waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TransportStage {
    /// Its way to the service.
    Way,
    /// The first byte of a greeting.
    Greeting,
    /// Nothing.
    Done,
}

#[derive(Debug)]
pub(in crate::driver) enum Way {
    Direct(Socket),
    Proxy(Proxied),
    Command(Command),
}

impl Transport {
    pub(in crate::driver) fn new(way: Way, waits_for_greeting: bool) -> Transport {
        Transport { way, stage: TransportStage::Way, waits_for_greeting, is_watched: false }
    }

    /// A direct connection that has begun, and what its first look found.
    pub(in crate::driver) fn direct(
        socket: Socket,
        found: &SocketState,
        waits_for_greeting: bool,
    ) -> (Transport, Vec<Fact>) {
        let mut transport = Transport::new(Way::Direct(socket), waits_for_greeting);
        let facts = transport.follow(of_socket(found));
        (transport, facts)
    }

    /// Looks what has happened. A way that changes its descriptor takes the old one out of the
    /// poller, and [`Transport::watch`] has to be called again.
    pub(in crate::driver) fn look(&mut self, poller: Option<&Poller>) -> Vec<Fact> {
        let watched = poller.filter(|_| self.is_watched);
        let (facts, changed) = match &mut self.way {
            _ if self.stage != TransportStage::Way => (Vec::new(), false),
            Way::Direct(socket) => (of_socket(&socket.look()), false),
            Way::Proxy(proxied) => proxied.look(watched),
            Way::Command(command) => command.look(watched),
        };
        self.is_watched &= !changed;
        self.follow(facts)
    }

    /// Puts the descriptor into the poller, if it is not there yet.
    pub(in crate::driver) fn watch(
        &mut self,
        poller: &Poller,
        token: usize,
    ) -> Result<(), ConnectError> {
        if !self.is_watched {
            poller.register(&self.descriptor()?, token)?;
            self.is_watched = true;
        }
        Ok(())
    }

    /// Takes the descriptor out of the poller, before it is closed or handed over.
    pub(in crate::driver) fn unwatch(&mut self, poller: Option<&Poller>) {
        if self.is_watched
            && let Some(poller) = poller
            && let Ok(descriptor) = self.descriptor()
        {
            poller.deregister(&descriptor);
        }
        self.is_watched = false;
    }

    fn descriptor(&mut self) -> Result<BorrowedFd<'_>, ConnectError> {
        match &mut self.way {
            Way::Direct(socket) => Ok(AsFd::as_fd(&*socket)),
            Way::Proxy(proxied) => proxied.descriptor(),
            Way::Command(command) => Ok(command.descriptor()),
        }
    }

    /// Adds what there is to hear once the service is reached.
    fn follow(&mut self, mut facts: Vec<Fact>) -> Vec<Fact> {
        if facts.iter().any(|fact| matches!(fact, Fact::Reached)) {
            self.stage = if self.waits_for_greeting {
                TransportStage::Greeting
            } else {
                TransportStage::Done
            };
        }
        if self.stage == TransportStage::Greeting {
            let heard = self.listen();
            if matches!(heard, Some(Fact::Greeted)) {
                self.stage = TransportStage::Done;
            }
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
    pub(in crate::driver) fn wake_at(&self) -> Option<Instant> {
        match &self.way {
            Way::Proxy(proxied) => proxied.wake_at(),
            Way::Direct(_) | Way::Command(_) => None,
        }
    }

    /// What is still waited for, in words, where it is not the service.
    pub(in crate::driver) fn missing(&self) -> Option<String> {
        match &self.way {
            _ if self.stage != TransportStage::Way => None,
            Way::Direct(_) => None,
            Way::Proxy(proxied) => Some(proxied.missing()),
            Way::Command(_) => Some("the command has not started yet".to_owned()),
        }
    }

    /// SYNs sent towards the service, as far as this machine sends them.
    pub(in crate::driver) fn syns(&self) -> Option<u32> {
        match &self.way {
            Way::Direct(socket) => socket.syns(),
            Way::Proxy(_) | Way::Command(_) => None,
        }
    }

    /// The connection, `None` before it is established.
    pub(in crate::driver) fn into_stream(self) -> Option<Stream> {
        match self.way {
            Way::Direct(socket) => Some(Stream::Tcp(socket.into_inner().into())),
            Way::Proxy(proxied) => proxied.into_stream(),
            Way::Command(command) => command.into_stream(),
        }
    }
}

/// A direct connection has nothing to pass, so both stages end in one turn.
fn of_socket(found: &SocketState) -> Vec<Fact> {
    match *found {
        SocketState::Pending => Vec::new(),
        SocketState::Connected { round_trip, syns } => {
            vec![Fact::Connected { round_trip, syns }, Fact::Reached]
        }
        SocketState::Failed { failure, by_errno } => {
            let note = by_errno.then(|| "decided by errno alone: no error queue".to_owned());
            vec![Fact::Failed { failure, note }]
        }
    }
}
