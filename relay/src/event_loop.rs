//! A running relay, and the one loop that drives it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind, Read};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};

use super::access::{self, Refusal};
use super::answers::Answers;
use super::clients::{ClientAddress, ClientCounts, ClientId, Counted, SocketOwners};
use super::config::Settings;
use super::context::{Context, Lookups, SessionEnd};
use super::control::{ControlClient, ControlSocket};
use super::fd_budget::{DIALLING, FdBudget};
use super::listeners::{self, Accepted, OpenListener, Source};
use super::local_addresses::LocalAddresses;
use super::log::{Log, LogRecord};
use super::loop_detection::{Endpoints, LoopDetection};
use super::names::Names;
use super::resolvers::Resolvers;
use super::service_manager;
use super::session::{Session, SessionStep, counted_first, near_token};
use super::signals::Signals;
use super::status::RelayStatus;
use mailport::join::Stock;
use mailport::outcome::Errno;
use mailport::{Cache, CacheError, Dialer};

/// How many connections one listener accepts before the sessions have their turn.
const ACCEPTED: usize = 64;
/// How soon a listener that could not accept is tried again, if no session ends before.
const RETRY: Duration = Duration::from_millis(100);
/// How many clients the control socket has at most, and how long one may take.
const CONTROL_CLIENTS: usize = 8;
const CONTROL_TIMEOUT: Duration = Duration::from_secs(5);

/// How often the loop looks at most whether the cache could be saved.
const CACHE_CHECK: Duration = Duration::from_secs(1);

const STOP: Token = Token(0);
const RELOAD: Token = Token(1);
const CONTROL: Token = Token(2);
const NAMES: Token = Token(3);
/// The first number of a listener, session or control client. Each has its own number, whose
/// double is its token, and no number is used twice.
const FIRST: usize = 2;

/// A relay that listens.
pub struct Relay {
    poll: Poll,
    context: Context,
    listeners: BTreeMap<usize, OpenListener>,
    sessions: BTreeMap<usize, Session>,
    control_clients: BTreeMap<usize, (ControlClient, Instant)>,
    control: Option<ControlSocket>,
    next: usize,
    /// Sessions and listeners that can continue at once.
    again: BTreeSet<usize>,
    due: BTreeSet<(Instant, usize)>,
    budget: FdBudget,
    /// Listeners whose connections wait in the kernel, for want of descriptors.
    paused: BTreeSet<usize>,
    /// When they are tried again, and whether sooner if sessions end.
    resume: Option<(Instant, bool)>,
    /// When the remaining sessions are cut off.
    stopping: Option<Instant>,
    began: Instant,
    cache_error: Option<CacheError>,
    cache_checked: Instant,
}

impl Relay {
    /// Listens at every listener of the settings, on a socket of `inherited` where one has its
    /// address, and accepts nothing yet.
    pub fn start(
        mut settings: Settings,
        dialer: Dialer,
        inherited: Vec<OwnedFd>,
        log: Log,
    ) -> io::Result<Relay> {
        settings.check().map_err(|error| io::Error::new(ErrorKind::InvalidInput, error))?;
        let poll = Poll::new()?;
        let control = settings.control.clone().map(ControlSocket::bind).transpose()?;
        if let Some(control) = &control {
            let mut source = SourceFd(&control.as_raw_fd());
            poll.registry().register(&mut source, CONTROL, Interest::READABLE)?;
        }
        let local_addresses = Arc::new(LocalAddresses::open().map_err(|error| {
            let message = format!("the kernel cannot be asked for its routes: {error}");
            io::Error::new(error.kind(), message)
        })?);
        let waker = Arc::new(Waker::new(poll.registry(), NAMES)?);
        let budget = FdBudget::new();
        let context = Context {
            registry: poll.registry().try_clone()?,
            own: Vec::new(),
            resolvers: Resolvers::new(Arc::clone(&local_addresses), settings.mark),
            local_addresses,
            socket_owners: SocketOwners::open(),
            clients: ClientCounts::default(),
            loops: LoopDetection::default(),
            names: Names::new(waker),
            answers: Answers::default(),
            lookups: Lookups::default(),
            dialer,
            stock: Stock::new(budget.pipes()),
            status: RelayStatus { version: 1, ..RelayStatus::default() },
            log,
            settings: settings.clone(),
        };
        let mut relay = Relay {
            poll,
            context,
            listeners: BTreeMap::new(),
            sessions: BTreeMap::new(),
            control_clients: BTreeMap::new(),
            control,
            next: FIRST,
            again: BTreeSet::new(),
            due: BTreeSet::new(),
            budget,
            paused: BTreeSet::new(),
            resume: None,
            stopping: None,
            began: Instant::now(),
            cache_error: None,
            cache_checked: Instant::now(),
        };
        relay.open(settings, inherited)?;
        relay.budget.measure();
        Ok(relay)
    }

    /// The addresses that it listens on, with the ports that the system chose.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.context.own
    }

    /// The files of the UNIX sockets that it has made.
    pub fn socket_files(&self) -> Vec<PathBuf> {
        self.listeners.values().filter_map(OpenListener::file).map(Path::to_owned).collect()
    }

    /// Writes a record to the relay's log.
    pub fn log(&mut self, record: &LogRecord) {
        self.context.log.write(record);
    }

    /// Runs until it is stopped and the sessions have ended, or the time for that has passed.
    ///
    /// `reread` returns new settings when a reload is requested; if it fails, the old ones stay.
    /// Starts the log's thread, so drop privileges before.
    pub fn run(
        mut self,
        mut signals: Signals,
        mut reread: impl FnMut() -> Result<Settings, String>,
    ) -> io::Result<()> {
        self.context.log.start()?;
        for (socket, token) in [(&signals.stop, STOP), (&signals.reload, RELOAD)] {
            socket.set_nonblocking(true)?;
            let mut source = SourceFd(&socket.as_raw_fd());
            self.poll.registry().register(&mut source, token, Interest::READABLE)?;
        }
        let mut events = Events::with_capacity(1024);
        while !self.is_over() {
            if let Err(error) = self.poll.poll(&mut events, self.timeout())
                && error.kind() != ErrorKind::Interrupted
            {
                return Err(error);
            }
            let now = Instant::now();
            let mut turns = std::mem::take(&mut self.again);
            for event in &events {
                match event.token() {
                    STOP if has_signal(&mut signals.stop) => self.stop(now),
                    RELOAD if has_signal(&mut signals.reload) => self.reload(&mut reread),
                    STOP | RELOAD => {}
                    CONTROL => self.accept_control_clients(now),
                    NAMES => {
                        self.context.names.take_answers(now);
                        turns.extend(self.sessions.keys());
                    }
                    token => {
                        let number = token.0 / 2;
                        if let Some(session) = self.sessions.get_mut(&number) {
                            session.has_event(token);
                        }
                        turns.insert(number);
                    }
                }
            }
            while let Some(&(at, number)) = self.due.first()
                && at <= now
            {
                self.due.pop_first();
                if let Some(session) = self.sessions.get_mut(&number) {
                    session.timer = None;
                }
                turns.insert(number);
            }
            for number in turns {
                self.turn(number, now);
            }
            self.start_queued(now);
            self.resume_accepting(now);
            if now >= self.cache_checked + CACHE_CHECK {
                self.cache_checked = now;
                self.log_cache_error();
            }
        }
        for (_, session) in std::mem::take(&mut self.sessions) {
            session.cut_off(&mut self.context);
        }
        if let Some(cache) = self.context.dialer.cache() {
            cache.flush(Cache::FLUSH);
        }
        self.log_cache_error();
        self.log(&LogRecord::new("stopped"));
        self.context.log.finish();
        Ok(())
    }

    /// Logs that the cache cannot be saved: once, and again when the reason changes.
    fn log_cache_error(&mut self) {
        let error = self.context.dialer.cache().and_then(Cache::error);
        if error != self.cache_error {
            let record = match &error {
                Some(error) => LogRecord::new("cache_not_saved").with("reason", error),
                None => LogRecord::new("cache_saved"),
            };
            self.cache_error = error;
            self.log(&record);
        }
    }

    fn is_over(&self) -> bool {
        self.stopping.is_some_and(|at| self.sessions.is_empty() || at <= Instant::now())
    }

    fn timeout(&self) -> Option<Duration> {
        if !self.again.is_empty() {
            return Some(Duration::ZERO);
        }
        let due = self.due.first().map(|(at, _)| *at);
        let resume = self.resume.map(|(at, _)| at);
        let at = [due, resume, self.stopping].into_iter().flatten().min()?;
        Some(at.saturating_duration_since(Instant::now()))
    }

    fn turn(&mut self, number: usize, now: Instant) {
        if self.sessions.contains_key(&number) {
            self.session_turn(number, |session, context| session.turn(context, now));
        } else if self.listeners.contains_key(&number) {
            self.accept(number, now);
        } else if let Some((client, _)) = self.control_clients.get_mut(&number) {
            let status = client.asks_status().then(|| self.status(now));
            let Some((client, until)) = self.control_clients.get_mut(&number) else { return };
            if now >= *until || client.answer(status.as_ref()) {
                self.control_clients.remove(&number);
            }
        }
    }

    /// Has a session do something, and keeps what depends on it.
    fn session_turn(
        &mut self,
        number: usize,
        act: impl FnOnce(&mut Session, &mut Context) -> SessionStep,
    ) {
        let Some(session) = self.sessions.get_mut(&number) else { return };
        let before = session.descriptors();
        let step = act(session, &mut self.context);
        self.budget.change(before, session.descriptors());
        self.after(number, &step);
    }

    fn after(&mut self, number: usize, step: &SessionStep) {
        match step {
            SessionStep::Again => drop(self.again.insert(number)),
            SessionStep::Done => self.remove(number),
            SessionStep::Until(at) => {
                let Some(session) = self.sessions.get_mut(&number) else { return };
                // A timer that is too early finds that there is time left, and is set again.
                if session.timer.is_none_or(|timer| *at < timer) {
                    if let Some(timer) = session.timer.replace(*at) {
                        self.due.remove(&(timer, number));
                    }
                    self.due.insert((*at, number));
                }
            }
        }
    }

    fn remove(&mut self, number: usize) {
        let Some(session) = self.sessions.remove(&number) else { return };
        debug_assert!(session.has_ended(), "each connection has an end");
        self.budget.change(session.descriptors(), 0);
        self.context.loops.remove(session.endpoints(), session.far_endpoints());
        if let Some(timer) = session.timer {
            self.due.remove(&(timer, number));
        }
        self.context.clients.remove(session.counted(), session.owner());
    }

    /// Starts the dials that have waited for others' look-ups to end.
    fn start_queued(&mut self, now: Instant) {
        loop {
            let next = self.context.lookups.next();
            if next.is_empty() {
                return;
            }
            for number in next {
                self.session_turn(number, |session, context| session.leave_queue(context, now));
            }
        }
    }

    // ---- listeners ---------------------------------------------------------------------------

    /// Listens as these settings say, and no longer where they do not. If that fails, nothing has
    /// changed.
    fn open(&mut self, settings: Settings, inherited: Vec<OwnedFd>) -> io::Result<()> {
        settings.mark.map_or(Ok(()), listeners::can_mark)?;
        let opened = listeners::open(&settings, &self.listeners, inherited)?;
        let (mut open, mut new) = (BTreeMap::new(), Vec::new());
        for (listener, source) in opened {
            match source {
                Source::Kept(number) => {
                    let Some(mut kept) = self.listeners.remove(&number) else { continue };
                    kept.set_settings(listener);
                    open.insert(number, kept);
                }
                Source::New(listener) => new.push(listener),
            }
        }
        for listener in new {
            let number = self.number();
            let mut source = SourceFd(&listener.as_raw_fd());
            self.poll.registry().register(&mut source, near_token(number), Interest::READABLE)?;
            self.log(&listeners::record(&listener.settings));
            if listeners::lacks_names(&listener.settings) {
                let record = LogRecord::new("ipv6_not_relayed");
                let record = record.with("listener", &listener.settings.address);
                self.log(&record.with("reason", "the listener has no `names`: reset IPv6"));
            }
            open.insert(number, listener);
        }
        for (number, listener) in std::mem::replace(&mut self.listeners, open) {
            self.close(number, &listener);
        }
        let tcp = |listener: &OpenListener| listener.settings.address.tcp();
        self.context.own = self.listeners.values().filter_map(tcp).collect();
        self.context.settings = settings;
        Ok(())
    }

    fn close(&mut self, number: usize, listener: &OpenListener) {
        self.paused.remove(&number);
        let _ = self.poll.registry().deregister(&mut SourceFd(&listener.as_raw_fd()));
        self.log(&LogRecord::new("closed").with("listener", &listener.settings.address));
    }

    fn number(&mut self) -> usize {
        self.next += 1;
        self.next - 1
    }

    /// Accepts the connections that wait at a listener, as long as there are descriptors.
    fn accept(&mut self, number: usize, now: Instant) {
        for _ in 0..ACCEPTED {
            if !self.budget.has(DIALLING) {
                return self.pause(number, now);
            }
            let Some(listener) = self.listeners.get(&number) else { return };
            match listener.accept() {
                Ok(accepted) => self.admit(number, accepted, now),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return self.drained(number),
                Err(error)
                    if error.raw_os_error().is_some_and(|e| Errno(e).is_local_resource_error()) =>
                {
                    return self.pause(number, now);
                }
                // The client or the network has gone already: accept(2) says to ignore this.
                Err(_) => {}
            }
        }
        self.again.insert(number);
    }

    /// Accepts no more for a while: connections wait in the kernel, and none is dropped.
    fn pause(&mut self, number: usize, now: Instant) {
        // If the budget has some left, other processes have taken the system's descriptors.
        self.resume = Some((now + RETRY, !self.budget.has(DIALLING)));
        if self.paused.is_empty() {
            self.log(&LogRecord::new("accept_paused").with("reason", "descriptors"));
        }
        self.paused.insert(number);
    }

    /// No connection waits at this listener any more.
    fn drained(&mut self, number: usize) {
        if self.paused.remove(&number) && self.paused.is_empty() {
            self.log(&LogRecord::new("accept_resumed"));
        }
    }

    /// Tries the paused listeners again.
    fn resume_accepting(&mut self, now: Instant) {
        if self.resume.is_some_and(|(at, ours)| at <= now || ours && self.budget.has(DIALLING)) {
            self.resume = None;
            self.again.extend(&self.paused);
        }
    }

    fn admit(&mut self, listener: usize, accepted: Accepted, now: Instant) {
        let Some(open) = self.listeners.get(&listener) else { return };
        let settings = Rc::clone(&open.settings);
        self.context.status.accepted += 1;
        let record = |event, accepted: &Accepted| {
            let record = LogRecord::new(event).with("client", accepted.client);
            record.with("listener", &settings.address)
        };
        let (owner, is_allowed) = self.identify(&accepted);
        let counted = counted_first(&settings.mode);
        let limits = self.context.settings.limits;
        let admitted = if is_allowed {
            self.context.clients.add(counted, owner, &limits)
        } else {
            Err(Refusal::Client)
        };
        if let Err(refusal) = admitted {
            let record = |event| record(event, &accepted);
            self.context.end(record, &SessionEnd::Refused(refusal));
            return listeners::turn_away(&accepted, &settings.mode, refusal);
        }
        let number = self.number();
        let mut source = SourceFd(&accepted.socket.as_raw_fd());
        let token = near_token(number);
        if self.poll.registry().register(&mut source, token, Interest::READABLE).is_err() {
            self.context.clients.remove(counted, owner);
            let record = |event| record(event, &accepted);
            self.context.end(record, &SessionEnd::Refused(Refusal::Full));
            return listeners::turn_away(&accepted, &settings.mode, Refusal::Full);
        }
        let endpoints = accepted.client.tcp().zip(accepted.to);
        let endpoints = endpoints.map(|(from, to)| Endpoints::new(from, to));
        if let Some(maker) = endpoints.and_then(|ends| self.context.loops.accepted(ends)) {
            self.context.clients.remove(counted, owner);
            let record = |event| record(event, &accepted);
            self.context.end(record, &SessionEnd::Refused(Refusal::Loop));
            return self.session_turn(maker, Session::came_back);
        }
        let session = Session::new(number, accepted, owner, settings, now);
        self.budget.change(0, session.descriptors());
        self.sessions.insert(number, session);
        self.session_turn(number, |session, context| session.begin(context, now));
    }

    /// Whose connection this is, and whether that client may use the relay.
    fn identify(&self, accepted: &Accepted) -> (ClientId, bool) {
        let context = &self.context;
        match accepted.client {
            // For any mode of the socket's file.
            ClientAddress::Unix(user) => {
                let own = rustix::process::geteuid().as_raw();
                let allow = &context.settings.allow_uids;
                (ClientId::User(user), access::allows_user(allow, own, user))
            }
            ClientAddress::Tcp(client) => {
                let is_local = context.is_local_client(client);
                let user = accepted.to.filter(|_| is_local);
                let user = user.and_then(|to| context.socket_owners.user(client, to));
                let owner = user.map_or(ClientId::Address(client.ip()), ClientId::User);
                let is_allowed = access::allows(&context.settings.allow, client.ip());
                (owner, is_allowed || is_local)
            }
        }
    }

    // ---- signals -----------------------------------------------------------------------------

    fn stop(&mut self, now: Instant) {
        if self.stopping.is_some() {
            // The second signal ends it at once.
            self.stopping = Some(now);
            return;
        }
        service_manager::notify_stopping();
        self.stopping = Some(now + self.context.settings.limits.drain_timeout);
        for (number, listener) in std::mem::take(&mut self.listeners) {
            self.close(number, &listener);
        }
        self.log(&LogRecord::new("stopping").with_number("sessions", self.sessions.len() as u64));
    }

    fn reload(&mut self, reread: &mut impl FnMut() -> Result<Settings, String>) {
        if self.stopping.is_some() {
            return;
        }
        service_manager::notify_reloading();
        let result = reread().and_then(|mut settings| {
            settings.check().map_err(|error| error.to_string())?;
            self.open(settings, Vec::new()).map_err(|error| error.to_string())
        });
        let record = match result {
            Ok(()) => {
                let count = self.listeners.len() as u64;
                LogRecord::new("reloaded").with_number("listeners", count)
            }
            Err(reason) => LogRecord::new("reload_failed").with("reason", reason),
        };
        self.log(&record);
        service_manager::notify_ready();
    }

    // ---- the control socket ------------------------------------------------------------------

    fn accept_control_clients(&mut self, now: Instant) {
        while let Some(client) = self.control.as_ref().and_then(ControlSocket::accept) {
            let number = self.number();
            let mut source = SourceFd(&client.as_raw_fd());
            let token = near_token(number);
            let registered = self.poll.registry().register(&mut source, token, Interest::READABLE);
            if registered.is_ok() && self.control_clients.len() < CONTROL_CLIENTS {
                self.control_clients.insert(number, (client, now + CONTROL_TIMEOUT));
                self.due.insert((now + CONTROL_TIMEOUT, number));
                self.again.insert(number);
            }
        }
    }

    fn status(&self, now: Instant) -> RelayStatus {
        let under_way = self.sessions.values().filter(|session| !session.has_ended());
        let (mut joined, mut handshaking, mut dialling) = (0, 0, 0);
        for session in under_way {
            let count = match session.counted() {
                _ if session.is_joined() => &mut joined,
                Counted::Handshake => &mut handshaking,
                Counted::Session => &mut dialling,
            };
            *count += 1;
        }
        RelayStatus {
            uptime_s: (now - self.began).as_secs(),
            joined,
            handshaking,
            dialling,
            descriptors: self.budget.used() as u64,
            max_descriptors: self.budget.limit() as u64,
            lookups: self.context.lookups.under_way as u64,
            log_lost: self.context.log.lost(),
            ..self.context.status.clone()
        }
    }
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let own = &self.context.own;
        f.debug_struct("Relay").field("addresses", own).finish_non_exhaustive()
    }
}

/// Whether a byte has come, or the end of the stream; takes all bytes out.
fn has_signal(stream: &mut UnixStream) -> bool {
    let mut came = false;
    loop {
        match stream.read(&mut [0; 64]) {
            Ok(0) => return true,
            Ok(_) => came = true,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return came,
        }
    }
}
