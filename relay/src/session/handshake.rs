//! A session's way to its destination: what the client asks for, and which name that is.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mailport::target::{Host, Target};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use socket2::Socket;

use super::destination::Destination;
use super::{HANDSHAKE_TIMEOUT, NAMES_TIMEOUT, Session, SessionState, SessionStep};
use crate::access::Refusal;
use crate::clients::Counted;
use crate::config::Mode;
use crate::context::Context;
use crate::handshake::{Handshake, ProxyRequest};
use crate::names::NameOf;

/// How long the dial of an IPv6 address may take whose name is not known: the client's own fallback
/// to its other addresses waits for it.
const IPV6_TIMEOUT: Duration = Duration::from_secs(2);

impl Session {
    /// Reads what a client of a proxy asks for.
    pub(super) fn shake_hands(&mut self, context: &mut Context, now: Instant) -> SessionStep {
        loop {
            let SessionState::Handshake(handshake) = &mut self.state else {
                return SessionStep::Done;
            };
            self.style = handshake.style();
            if let Some(request) = handshake.request() {
                return self.asked(request, context, now);
            }
            match read_request(self.near.as_ref(), handshake) {
                Ok(Some(reply)) => self.send(&reply),
                Err(ErrorKind::Interrupted) => {}
                Err(ErrorKind::WouldBlock) => break,
                Ok(None) | Err(_) => return self.leave(context),
            }
        }
        let until = self.began + HANDSHAKE_TIMEOUT;
        if now < until {
            return SessionStep::Until(until);
        }
        self.refuse(Refusal::Handshake, context, now)
    }

    fn asked(&mut self, request: ProxyRequest, context: &mut Context, now: Instant) -> SessionStep {
        match request {
            ProxyRequest::Connect { target, port, style } => {
                self.style = style;
                let limits = context.settings.limits;
                match context.clients.add(Counted::Session, self.owner, &limits) {
                    Ok(()) => {
                        context.clients.remove(self.counted, self.owner);
                        self.counted = Counted::Session;
                        self.connect_to(Some(target), port, context, now)
                    }
                    Err(refusal) => self.refuse(refusal, context, now),
                }
            }
            ProxyRequest::Refused { reply, refusal } => {
                self.refuse_with(&reply, refusal, context, now)
            }
        }
    }

    /// Goes to a host that the client has named, by the plan of the port that it has named.
    pub(super) fn connect_to(
        &mut self,
        target: Option<Target>,
        port: u16,
        context: &mut Context,
        now: Instant,
    ) -> SessionStep {
        (self.host, self.port) = (target.as_ref().map(Target::to_string), Some(port));
        let (Some(target), Some(_)) = (target, self.listener.mode.plan(port)) else {
            return self.refuse(Refusal::Port, context, now);
        };
        match target.host() {
            Host::Address(address) => {
                let address = *address;
                self.find_name(address, port, (target, None), context, now)
            }
            _ => self.dial_asked(target, port, None, context, now),
        }
    }

    /// Goes to the listener's name that has this address, or to what is known without a name.
    pub(super) fn find_name(
        &mut self,
        address: IpAddr,
        port: u16,
        known: (Target, Option<Arc<[SocketAddr]>>),
        context: &mut Context,
        now: Instant,
    ) -> SessionStep {
        let until = now + NAMES_TIMEOUT;
        self.state = SessionState::Naming { address, port, known, until };
        self.await_names(context, now)
    }

    /// Finds out whether a literal address is one of the listener's names.
    pub(super) fn await_names(&mut self, context: &mut Context, now: Instant) -> SessionStep {
        let SessionState::Naming { address, port, until, .. } = self.state else {
            return SessionStep::Done;
        };
        if self.client_has_left() {
            return self.leave(context);
        }
        let listener = Rc::clone(&self.listener);
        let names = listener.mode.asked().map_or(&[][..], |asked| &asked.names);
        match context.names.name_of(address, names, now) {
            NameOf::Pending if now < until => SessionStep::Until(until),
            NameOf::Name(name, addresses) => {
                self.dial_asked(name, port, Some(addresses), context, now)
            }
            NameOf::Pending | NameOf::None => {
                match std::mem::replace(&mut self.state, SessionState::Closing) {
                    SessionState::Naming { known: (target, addresses), .. } => {
                        self.dial_asked(target, port, addresses, context, now)
                    }
                    _ => SessionStep::Done,
                }
            }
        }
    }

    /// Dials the host that the client has asked for, or the name of the address that it has.
    fn dial_asked(
        &mut self,
        target: Target,
        port: u16,
        addresses: Option<Arc<[SocketAddr]>>,
        context: &mut Context,
        now: Instant,
    ) -> SessionStep {
        let Some(plan) = self.listener.mode.plan(port) else {
            return self.refuse(Refusal::Port, context, now);
        };
        let mut timeout = self.listener.dial.timeout;
        if let (Host::Address(IpAddr::V6(address)), None) = (target.host(), &addresses)
            && address.to_ipv4_mapped().is_none()
        {
            timeout = timeout.min(IPV6_TIMEOUT);
        }
        let is_named = matches!(self.listener.mode, Mode::Proxy(_));
        let destination = Destination { target, plan, timeout, began: None, addresses, is_named };
        self.dial(destination, context, now)
    }
}

/// Reads as much as belongs to the request, and returns what is to be sent for it; `None` at the
/// end of the client's side.
fn read_request(
    near: Option<&Socket>,
    handshake: &mut Handshake,
) -> Result<Option<Vec<u8>>, ErrorKind> {
    let near = near.ok_or(ErrorKind::NotConnected)?;
    let mut buffer = [0; 1024];
    // What follows the request is for the server, so it is looked at before it is taken.
    let kind = |error: Errno| std::io::Error::from(error).kind();
    let (count, _) = recv(near, &mut buffer, RecvFlags::PEEK).map_err(kind)?;
    if count == 0 {
        return Ok(None);
    }
    let (taken, reply) = handshake.take(&buffer[..count]);
    recv(near, &mut buffer[..taken], RecvFlags::empty()).map_err(kind)?;
    Ok(Some(reply))
}
