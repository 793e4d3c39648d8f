//! An attempt through a SOCKS5 proxy: a separate dial to the proxy, then the exchange.

use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::fact::Fact;
use crate::config::{Config, ConfigError, GreetingWait, MAX_DELAY, MIN_DELAY};
use crate::driver::poller::Poller;
use crate::driver::stream::Stream;
use crate::driver::sys;
use crate::error::ConnectError;
use crate::outcome::{Errno, Failure, Outcome, ViaError};
use crate::plan::{Cleartext, Plan, Service, Tls};
use crate::report::End;
use crate::socks5::{Client, Login, SocksError};
use crate::target::{Host, Target};

/// A dial to the proxy.
pub(in crate::driver) trait ProxyDial: Send + Sync {
    /// Does what can be done now; `None` while it is pending.
    fn turn(&mut self) -> Option<Result<Stream, ConnectError>>;

    /// When to call [`ProxyDial::turn`] without anything having happened.
    fn wake_at(&self) -> Option<Instant>;

    /// The descriptor that is readable when it is to be called.
    fn watched(&mut self) -> Result<BorrowedFd<'_>, ConnectError>;
}

impl fmt::Debug for dyn ProxyDial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyDial").finish_non_exhaustive()
    }
}

type StartFunction =
    dyn Fn(&Target, &Plan, &Config) -> Result<Box<dyn ProxyDial>, ConnectError> + Send + Sync;

/// Starts dials to a proxy, which are dials as any other.
#[derive(Clone)]
pub(in crate::driver) struct StartDial(Arc<StartFunction>);

impl StartDial {
    pub(in crate::driver) fn new(
        start: impl Fn(&Target, &Plan, &Config) -> Result<Box<dyn ProxyDial>, ConnectError>
        + Send
        + Sync
        + 'static,
    ) -> StartDial {
        StartDial(Arc::new(start))
    }
}

impl fmt::Debug for StartDial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StartDial").finish_non_exhaustive()
    }
}

/// What every attempt through the proxy shares.
#[derive(Debug)]
pub(in crate::driver) struct ProxyPassage {
    proxy: Target,
    /// The proxy's port alone; the exchange is in cleartext.
    plan: Plan,
    login: Option<Login>,
    host: Host,
    config: Config,
    start: StartDial,
}

impl ProxyPassage {
    pub(super) fn new(
        proxy: &Target,
        port: u16,
        login: Option<&Login>,
        target: &Target,
        config: &Config,
        start: &StartDial,
    ) -> Result<ProxyPassage, ConfigError> {
        let host = target.host().clone();
        if Client::new(&host, port, None).is_none() {
            return Err(ConfigError::Unusable {
                name: "host",
                value: target.to_string(),
                reason: "a zone of this machine means nothing to a proxy".to_owned(),
                errno: None,
            });
        }
        let unusable = |error: &dyn fmt::Display| ConfigError::Unusable {
            name: "proxy",
            value: proxy.to_string(),
            reason: error.to_string(),
            errno: None,
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
        // Starting sends nothing: it finds what no dial can use.
        (start.0)(proxy, &plan, &config).map_err(|error| unusable(&error))?;
        let (proxy, login, start) = (proxy.clone(), login.cloned(), start.clone());
        Ok(ProxyPassage { proxy, plan, login, host, config, start })
    }

    pub(super) fn begin(&self, port: u16, left: Duration) -> Result<Proxied, Fact> {
        let client = Client::new(&self.host, port, self.login.clone());
        let client = client.expect("a host that was found to go through a proxy");
        let timeout = left.clamp(MIN_DELAY, MAX_DELAY);
        let attempt_delay = self.config.attempt_delay.min(timeout);
        let config = Config { attempt_delay, timeout, ..self.config.clone() };
        let dial = (self.start.0)(&self.proxy, &self.plan, &config);
        let dial = dial.map_err(|error| unreachable(&error))?;
        Ok(Proxied { client, stage: ProxyStage::Dialling(dial) })
    }
}

/// One connection to the proxy.
#[derive(Debug)]
pub(in crate::driver) struct Proxied {
    client: Client,
    stage: ProxyStage,
}

#[derive(Debug)]
enum ProxyStage {
    /// Its descriptor is the dial's own epoll descriptor, which wakes the outer one.
    Dialling(Box<dyn ProxyDial>),
    Talking(Stream),
}

impl Proxied {
    /// What has happened, and whether the descriptor is another one now.
    pub(super) fn look(&mut self, poller: Option<&Poller>) -> (Vec<Fact>, bool) {
        let mut facts = Vec::new();
        let mut changed = false;
        if let ProxyStage::Dialling(dial) = &mut self.stage {
            match dial.turn() {
                None => return (facts, changed),
                Some(Err(error)) => facts.push(unreachable(&error)),
                Some(Ok(stream)) => {
                    let info = sys::tcp_info(stream.as_fd());
                    let round_trip = info.and_then(|info| info.round_trip).unwrap_or_default();
                    // Before the dial goes, and its descriptor with it.
                    if let (Some(poller), Ok(watched)) = (poller, dial.watched()) {
                        poller.deregister(&watched);
                    }
                    self.stage = ProxyStage::Talking(stream);
                    changed = true;
                    facts.push(Fact::Connected { round_trip, syns: None });
                }
            }
        }
        if let ProxyStage::Talking(stream) = &mut self.stage {
            facts.extend(exchange(&mut self.client, stream));
        }
        (facts, changed)
    }

    pub(in crate::driver) fn wake_at(&self) -> Option<Instant> {
        match &self.stage {
            ProxyStage::Dialling(dial) => dial.wake_at(),
            ProxyStage::Talking(_) => None,
        }
    }

    pub(in crate::driver) fn missing(&self) -> String {
        match self.stage {
            ProxyStage::Dialling(_) => "the proxy is silent",
            ProxyStage::Talking(_) => "the proxy has accepted, and not replied",
        }
        .to_owned()
    }

    pub(in crate::driver) fn socket(&self) -> Option<BorrowedFd<'_>> {
        match &self.stage {
            ProxyStage::Talking(socket) => Some(socket.as_fd()),
            ProxyStage::Dialling(_) => None,
        }
    }

    /// What to watch.
    pub(super) fn descriptor(&mut self) -> Result<BorrowedFd<'_>, ConnectError> {
        match &mut self.stage {
            ProxyStage::Dialling(dial) => dial.watched(),
            ProxyStage::Talking(stream) => Ok(AsFd::as_fd(&*stream)),
        }
    }

    pub(in crate::driver) fn into_stream(self) -> Option<Stream> {
        match self.stage {
            ProxyStage::Talking(socket) => Some(socket),
            ProxyStage::Dialling(_) => None,
        }
    }
}

/// Goes on with the exchange as far as it goes now.
fn exchange(client: &mut Client, mut stream: &Stream) -> Option<Fact> {
    let mut buffer = [0; 64];
    loop {
        if let Some(end) = client.end() {
            return Some(end.map_or_else(|error| refused(error, None), |()| Fact::Reached));
        }
        let done = if client.to_send().is_empty() {
            // Never more than is wanted: what follows the reply is the server's.
            let wanted = client.wants().min(buffer.len());
            let read = sys::retry(|| stream.read(&mut buffer[..wanted]));
            read.map(|count| client.take(&buffer[..count]))
        } else {
            sys::retry(|| stream.write(client.to_send())).inspect(|&count| client.sent(count))
        };
        match done {
            Ok(0) => return Some(refused(client.closed(), None)),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
            Err(error) => return Some(refused(client.closed(), error.raw_os_error())),
        }
    }
}

/// What the proxy said, or how the connection to it broke.
fn refused(error: SocksError, errno: Option<i32>) -> Fact {
    // A reply has its own sentence.
    let note = (!matches!(error, SocksError::Reply(_))).then(|| error.to_string());
    Fact::Failed { failure: Failure { errno: errno.map(Errno), ..error.failure() }, note }
}

/// The proxy was not reached, which says nothing of the service; or this machine lacks something.
fn unreachable(error: &ConnectError) -> Fact {
    let failure = match error {
        ConnectError::Setup { source, .. } => return Fact::local(source),
        ConnectError::Failed(report) if report.end == Some(End::LocalResourceError) => {
            Failure { errno: error.errno(), ..Failure::new(Outcome::Local) }
        }
        _ => Failure { errno: error.errno(), ..Failure::from_via_error(ViaError::Unreachable) },
    };
    let note = match error {
        ConnectError::Failed(report) => report.cause(),
        other => other.to_string(),
    };
    Fact::Failed { failure, note: Some(note) }
}
