//! A line through a SOCKS5 proxy: a dial of its own to the proxy, then the exchange.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::{Duration, Instant};

use super::super::dial::{Dial, Status};
use super::super::dialer::{self, Dialer};
use super::super::poller::Poller;
use super::super::resolver::Resolver;
use super::super::sys;
use super::Fact;
use crate::config::{Config, ConfigError, GreetingWait, MAX_DELAY, MIN_DELAY};
use crate::error::ConnectError;
use crate::outcome::{Errno, Failure, Outcome, ViaError};
use crate::plan::{Cleartext, Plan, Service, Tls};
use crate::report::End;
use crate::socks5::{Client, Login, SocksError};
use crate::target::{Host, Target};

/// What every line through the proxy shares.
#[derive(Debug)]
pub(in crate::driver) struct Passage {
    proxy: Target,
    /// The proxy's port alone; the exchange is in cleartext.
    plan: Plan,
    login: Option<Login>,
    host: Host,
    config: Config,
    resolver: Resolver,
}

impl Passage {
    pub(super) fn new(
        proxy: &Target,
        port: u16,
        login: Option<&Login>,
        target: &Target,
        config: &Config,
        resolver: &Resolver,
        now: Instant,
    ) -> Result<Passage, ConfigError> {
        let host = target.host().clone();
        if Client::new(&host, port, None).is_none() {
            return Err(ConfigError::Unusable {
                name: "host",
                value: target.to_string(),
                reason: "a zone of this machine means nothing to a proxy".to_owned(),
            });
        }
        let unusable = |error: &dyn std::fmt::Display| ConfigError::Unusable {
            name: "proxy",
            value: proxy.to_string(),
            reason: error.to_string(),
        };
        let service = Service::new(port, Tls::Cleartext).map_err(|error| unusable(&error))?;
        let plan = Plan::new([service], Cleartext::Allow).map_err(|error| unusable(&error))?;
        // The caller's settings, but for what is about the service behind the proxy.
        let config = Config {
            greeting_wait: GreetingWait::Off,
            ask: false,
            try_failed_last: false,
            ..config.clone()
        };
        dialer::check(proxy, &plan, &config, now).map_err(|error| unusable(&error))?;
        let resolver = resolver.clone();
        Ok(Passage { proxy: proxy.clone(), plan, login: login.cloned(), host, config, resolver })
    }

    pub(super) fn begin(&self, port: u16, left: Duration) -> Result<Proxied, Fact> {
        let client = Client::new(&self.host, port, self.login.clone());
        let client = client.expect("a host that was found to go through a proxy");
        let timeout = left.clamp(MIN_DELAY, MAX_DELAY);
        let attempt_delay = self.config.attempt_delay.min(timeout);
        let config = Config { attempt_delay, timeout, ..self.config.clone() };
        let dialer = Dialer::default().with_resolver(self.resolver.clone());
        let dial = dialer.prepare(&self.proxy, &self.plan, &config);
        let dial = dial.map_err(|error| unreachable(&error))?;
        Ok(Proxied { client, stage: Stage::Dialling(Box::new(dial)) })
    }
}

/// One connection to the proxy.
#[derive(Debug)]
pub(in crate::driver) struct Proxied {
    client: Client,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// Its descriptor is the dial's own epoll descriptor, which wakes the outer one.
    Dialling(Box<Dial>),
    Talking(TcpStream),
}

impl Proxied {
    pub(in crate::driver) fn look(&mut self, poller: &Poller, token: usize) -> Vec<Fact> {
        let mut facts = Vec::new();
        if let Stage::Dialling(dial) = &mut self.stage {
            if dial.process() == Status::Pending {
                return facts;
            }
            match dial.take() {
                Err(error) => facts.push(unreachable(&error)),
                Ok(connected) => {
                    let socket = connected.socket;
                    let info = sys::tcp_info(socket.as_fd());
                    let round_trip = info.map_or(Duration::ZERO, |info| info.round_trip);
                    // Before the dial goes, and its descriptor with it.
                    poller.deregister(&**dial);
                    let registered = poller.register(&socket, token);
                    self.stage = Stage::Talking(socket);
                    match registered {
                        Ok(()) => facts.push(Fact::Connected { round_trip, syns: None }),
                        Err(error) => return vec![Fact::local(&error)],
                    }
                }
            }
        }
        if let Stage::Talking(socket) = &mut self.stage {
            facts.extend(exchange(&mut self.client, socket));
        }
        facts
    }

    pub(in crate::driver) fn wake_at(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Dialling(dial) => dial.wake_at(),
            Stage::Talking(_) => None,
        }
    }

    pub(in crate::driver) fn missing(&self) -> String {
        match self.stage {
            Stage::Dialling(_) => "the proxy is silent",
            Stage::Talking(_) => "the proxy has accepted, and not replied",
        }
        .to_owned()
    }

    pub(in crate::driver) fn socket(&self) -> Option<BorrowedFd<'_>> {
        match &self.stage {
            Stage::Talking(socket) => Some(socket.as_fd()),
            Stage::Dialling(_) => None,
        }
    }

    pub(in crate::driver) fn into_stream(self) -> Option<TcpStream> {
        match self.stage {
            Stage::Talking(socket) => Some(socket),
            Stage::Dialling(_) => None,
        }
    }
}

/// What to watch.
impl AsRawFd for Proxied {
    fn as_raw_fd(&self) -> RawFd {
        match &self.stage {
            Stage::Dialling(dial) => dial.as_raw_fd(),
            Stage::Talking(socket) => socket.as_raw_fd(),
        }
    }
}

/// Goes on with the exchange as far as it goes now.
fn exchange(client: &mut Client, socket: &mut TcpStream) -> Option<Fact> {
    let mut buffer = [0; 64];
    loop {
        if let Some(end) = client.end() {
            return Some(end.map_or_else(|error| refused(error, None), |()| Fact::Reached));
        }
        let done = if client.to_send().is_empty() {
            // Never more than is wanted: what follows the reply is the server's.
            let wanted = client.wants().min(buffer.len());
            socket.read(&mut buffer[..wanted]).map(|count| client.take(&buffer[..count]))
        } else {
            socket.write(client.to_send()).inspect(|&count| client.sent(count))
        };
        match done {
            Ok(0) => return Some(refused(client.closed(), None)),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
            Err(error) => return Some(refused(client.closed(), error.raw_os_error())),
        }
    }
}

/// What the proxy said, or how the connection to it broke.
fn refused(error: SocksError, errno: Option<i32>) -> Fact {
    // A reply is told in words of its own.
    let note = (!matches!(error, SocksError::Reply(_))).then(|| error.to_string());
    Fact::Failed { failure: Failure { errno: errno.map(Errno), ..error.failure() }, note }
}

/// The proxy was not reached, which says nothing of the service; or this machine lacks something.
fn unreachable(error: &ConnectError) -> Fact {
    let failure = match error {
        ConnectError::Setup(error) => return Fact::local(error),
        ConnectError::Failed(report) if report.end == Some(End::LocalResourceError) => {
            Failure { errno: error.errno(), ..Failure::new(Outcome::Local) }
        }
        _ => Failure { errno: error.errno(), ..Failure::from_via_error(ViaError::Unreachable) },
    };
    Fact::Failed { failure, note: Some(error.to_string()) }
}
