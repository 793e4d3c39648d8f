//! A running relay, and the one loop that drives it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind, Read};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use super::access::{self, Refusal};
use super::caller::{Caller, Control};
use super::config::{Settings, Way};
use super::fd_budget::Room;
use super::listeners::{self, Open};
use super::local_addresses::Routes;
use super::log::Line;
use super::loop_detection::Loops;
use super::session::{COST, Session, Shared, Turn, near_token};
use super::signals::Orders;
use super::stats::Status;
use mailport::Dialer;
use mailport::join::Stock;
use mailport::outcome::Errno;

/// How many connections one door takes before the sessions have their turn.
const ACCEPTED: usize = 64;
/// How soon a door that could not accept is tried again, if no session ends before.
const RETRY: Duration = Duration::from_millis(100);
/// The most that ask on the control socket at once, and how long one may take.
const CALLERS: usize = 8;
const CALLING: Duration = Duration::from_secs(5);

const STOP: Token = Token(0);
const RELOAD: Token = Token(1);
const CONTROL: Token = Token(2);
/// The number of the first door or session; each has a number of its own, and none is used twice.
const FIRST: usize = 2;

/// A relay that listens.
pub struct Relay {
    poll: Poll,
    shared: Shared,
    doors: BTreeMap<usize, Open>,
    sessions: BTreeMap<usize, Session>,
    callers: BTreeMap<usize, (Caller, Instant)>,
    control: Option<Control>,
    next: usize,
    /// Sessions and doors that can go on at once.
    again: BTreeSet<usize>,
    due: BTreeSet<(Instant, usize)>,
    clients: BTreeMap<IpAddr, usize>,
    room: Room,
    /// Doors where connections wait for room.
    waiting: BTreeSet<usize>,
    /// When they are looked at, and whether sooner if sessions give back what they have.
    stalled: Option<(Instant, bool)>,
    /// When the sessions that are left are cut off.
    stopping: Option<Instant>,
    began: Instant,
}

impl Relay {
    /// Listens at every door, on listeners of `inherited` where they fit, and accepts nothing yet.
    pub fn start(
        mut settings: Settings,
        dialer: Dialer,
        inherited: Vec<TcpListener>,
        log: impl FnMut(&Line) + 'static,
    ) -> io::Result<Relay> {
        settings.check().map_err(|error| io::Error::new(ErrorKind::InvalidInput, error))?;
        let poll = Poll::new()?;
        let control = settings.control.clone().map(Control::bind).transpose()?;
        if let Some(control) = &control {
            let mut source = SourceFd(&control.as_raw_fd());
            poll.registry().register(&mut source, CONTROL, Interest::READABLE)?;
        }
        let routes = Routes::open().map_err(|error| {
            let words = format!("the kernel cannot be asked which addresses are its own: {error}");
            io::Error::new(error.kind(), words)
        })?;
        let room = Room::new();
        let shared = Shared {
            registry: poll.registry().try_clone()?,
            settings: settings.clone(),
            own: Vec::new(),
            routes,
            loops: Loops::default(),
            dialer,
            stock: Stock::new(room.pipes()),
            status: Status { version: 1, ..Status::default() },
            log: Box::new(log),
        };
        let mut relay = Relay {
            poll,
            shared,
            doors: BTreeMap::new(),
            sessions: BTreeMap::new(),
            callers: BTreeMap::new(),
            control,
            next: FIRST,
            again: BTreeSet::new(),
            due: BTreeSet::new(),
            clients: BTreeMap::new(),
            room,
            waiting: BTreeSet::new(),
            stalled: None,
            stopping: None,
            began: Instant::now(),
        };
        relay.open(settings, inherited)?;
        relay.room.measure();
        Ok(relay)
    }

    /// Where it listens: with the port that the system chose, where none was given.
    pub fn addresses(&self) -> &[std::net::SocketAddr] {
        &self.shared.own
    }

    /// Runs until it is told to stop and the sessions have ended, or the time for that has passed.
    ///
    /// `reread` gives new settings when they are asked for; while it cannot, the old ones stand.
    pub fn run(
        mut self,
        mut orders: Orders,
        mut reread: impl FnMut() -> Result<Settings, String>,
    ) -> io::Result<()> {
        for (socket, token) in [(&orders.stop, STOP), (&orders.reload, RELOAD)] {
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
                    STOP if has_rung(&mut orders.stop) => self.stop(now),
                    RELOAD if has_rung(&mut orders.reload) => self.reload(&mut reread),
                    STOP | RELOAD => {}
                    CONTROL => self.answer_calls(now),
                    Token(token) => drop(turns.insert(token / 2)),
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
            self.relieve(now);
        }
        for (_, session) in std::mem::take(&mut self.sessions) {
            session.end(&mut self.shared);
        }
        self.log(&Line::new("stopped"));
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.stopping.is_some_and(|at| self.sessions.is_empty() || at <= Instant::now())
    }

    fn timeout(&self) -> Option<Duration> {
        if !self.again.is_empty() {
            return Some(Duration::ZERO);
        }
        let due = self.due.first().map(|(at, _)| *at);
        let stalled = self.stalled.map(|(at, _)| at);
        let at = [due, stalled, self.stopping].into_iter().flatten().min()?;
        Some(at.saturating_duration_since(Instant::now()))
    }

    fn turn(&mut self, number: usize, now: Instant) {
        if let Some(session) = self.sessions.get_mut(&number) {
            let before = session.cost();
            let turn = session.turn(&mut self.shared, now);
            self.room.change(before, session.cost());
            self.after(number, &turn);
        } else if self.doors.contains_key(&number) {
            self.accept(number, now);
        } else if let Some((caller, _)) = self.callers.get_mut(&number) {
            let status = caller.wants_an_answer().then(|| self.status(now));
            let Some((caller, until)) = self.callers.get_mut(&number) else { return };
            if now >= *until || caller.turn(status.as_ref()) {
                self.callers.remove(&number);
            }
        }
    }

    fn after(&mut self, number: usize, turn: &Turn) {
        match turn {
            Turn::Again => drop(self.again.insert(number)),
            Turn::Over => self.remove(number),
            Turn::Until(at) => {
                let Some(session) = self.sessions.get_mut(&number) else { return };
                // A timer that runs out too early only finds that there is time left.
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
        self.room.change(session.cost(), 0);
        self.shared.loops.over(Some(session.ends()), session.far_ends());
        if let Some(timer) = session.timer {
            self.due.remove(&(timer, number));
        }
        if let Some(count) = self.clients.get_mut(&session.client()) {
            *count -= 1;
            if *count == 0 {
                self.clients.remove(&session.client());
            }
        }
    }

    // ---- doors -------------------------------------------------------------------------------

    /// Listens as these settings want it, and no more where they do not; nothing changes where
    /// that cannot be.
    fn open(&mut self, settings: Settings, inherited: Vec<TcpListener>) -> io::Result<()> {
        settings.dial.mark.map_or(Ok(()), listeners::can_mark)?;
        let opened = listeners::open(&settings, &self.doors, inherited)?;
        let (mut kept, mut new) = (BTreeMap::new(), Vec::new());
        for (door, listener) in opened {
            match listener {
                listeners::Listener::Same(number) => {
                    let Some(mut open) = self.doors.remove(&number) else { continue };
                    open.door = door;
                    kept.insert(number, open);
                }
                listeners::Listener::New(listener) => new.push(Open { listener, door }),
            }
        }
        for open in new {
            let number = self.number();
            let mut source = SourceFd(&open.listener.as_raw_fd());
            self.poll.registry().register(&mut source, near_token(number), Interest::READABLE)?;
            self.log(&listeners::line(&open.door));
            kept.insert(number, open);
        }
        for (number, open) in std::mem::replace(&mut self.doors, kept) {
            self.close(number, &open);
        }
        self.shared.own = self.doors.values().map(|open| open.door.address).collect();
        self.shared.settings = settings;
        Ok(())
    }

    fn close(&mut self, number: usize, open: &Open) {
        self.waiting.remove(&number);
        let _ = self.poll.registry().deregister(&mut SourceFd(&open.listener.as_raw_fd()));
        self.log(&Line::new("closed").with("door", open.door.address));
    }

    fn number(&mut self) -> usize {
        self.next += 1;
        self.next - 1
    }

    /// Takes the connections that wait at a door, as long as there is room.
    fn accept(&mut self, number: usize, now: Instant) {
        for _ in 0..ACCEPTED {
            if !self.room.has(COST) {
                return self.stall(number, now);
            }
            let Some(open) = self.doors.get(&number) else { return };
            match open.listener.accept() {
                Ok((near, client)) => self.admit(number, near, client, now),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return self.served(number),
                Err(error)
                    if error.raw_os_error().is_some_and(|e| Errno(e).is_local_resource_error()) =>
                {
                    return self.stall(number, now);
                }
                // The client has left already, or the network has: accept(2) wants this ignored.
                Err(_) => {}
            }
        }
        self.again.insert(number);
    }

    /// Accepts no more for a while: connections wait in the kernel, and nobody is dropped.
    fn stall(&mut self, number: usize, now: Instant) {
        // Where there should be room, it is others who have taken it.
        self.stalled = Some((now + RETRY, !self.room.has(COST)));
        if self.waiting.is_empty() {
            self.log(&Line::new("waiting").with("for", "descriptors"));
        }
        self.waiting.insert(number);
    }

    /// Nobody waits at this door any more.
    fn served(&mut self, number: usize) {
        if self.waiting.remove(&number) && self.waiting.is_empty() {
            self.log(&Line::new("accepting"));
        }
    }

    /// Looks after doors that wait for room.
    fn relieve(&mut self, now: Instant) {
        if self.stalled.is_some_and(|(at, ours)| at <= now || ours && self.room.has(COST)) {
            self.stalled = None;
            self.again.extend(&self.waiting);
        }
    }

    fn admit(
        &mut self,
        number: usize,
        near: TcpStream,
        client: std::net::SocketAddr,
        now: Instant,
    ) {
        let Some(open) = self.doors.get(&number) else { return };
        let door = Rc::clone(&open.door);
        self.shared.status.accepted += 1;
        let limits = self.shared.settings.limits;
        let of_client = self.clients.get(&client.ip()).copied().unwrap_or(0);
        let is_allowed = access::allows(&self.shared.settings.allow, client.ip());
        let refusal = if !is_allowed && !self.shared.is_local(client) {
            Some(Refusal::Client)
        } else if self.sessions.len() >= limits.connections {
            Some(Refusal::Full)
        } else if of_client >= limits.per_client {
            Some(Refusal::PerClient)
        } else {
            None
        };
        if let Some(refusal) = refusal {
            self.shared.status.refuse(refusal);
            let line = Line::new("refused").with("client", client).with("door", door.address);
            self.log(&line.with("why", refusal.name()));
            return listeners::turn_away(&near, &door.way, refusal);
        }
        if listeners::is_left(&near) {
            return;
        }
        let number = self.number();
        let interest = Interest::READABLE | Interest::WRITABLE;
        let mut source = SourceFd(&near.as_raw_fd());
        if self.poll.registry().register(&mut source, near_token(number), interest).is_err() {
            self.shared.status.refuse(Refusal::Full);
            return listeners::turn_away(&near, &door.way, Refusal::Full);
        }
        let mut session = Session::new(number, near, client, door, now);
        if let Some(maker) = self.shared.loops.accepted(session.ends()) {
            return self.came_back(maker);
        }
        let turn = session.begin(&mut self.shared, now);
        self.room.change(0, session.cost());
        *self.clients.entry(client.ip()).or_default() += 1;
        self.sessions.insert(number, session);
        self.after(number, &turn);
    }

    /// A connection that a session has made was accepted by the relay itself.
    fn came_back(&mut self, maker: usize) {
        let Some(session) = self.sessions.get_mut(&maker) else { return };
        let before = session.cost();
        let turn = session.came_back(&mut self.shared);
        self.room.change(before, session.cost());
        self.after(maker, &turn);
    }

    // ---- orders ------------------------------------------------------------------------------

    fn stop(&mut self, now: Instant) {
        if self.stopping.is_some() {
            // Told twice: now.
            self.stopping = Some(now);
            return;
        }
        self.stopping = Some(now + self.shared.settings.limits.grace);
        for (number, open) in std::mem::take(&mut self.doors) {
            self.close(number, &open);
        }
        self.log(&Line::new("stopping").count("sessions", self.sessions.len() as u64));
    }

    fn reload(&mut self, reread: &mut impl FnMut() -> Result<Settings, String>) {
        if self.stopping.is_some() {
            return;
        }
        let result = reread().and_then(|mut settings| {
            settings.check().map_err(|error| error.to_string())?;
            self.open(settings, Vec::new()).map_err(|error| error.to_string())
        });
        match result {
            Ok(()) => self.log(&Line::new("reloaded").count("doors", self.doors.len() as u64)),
            Err(why) => self.log(&Line::new("kept").with("why", why)),
        }
    }

    fn log(&mut self, line: &Line) {
        (self.shared.log)(line);
    }

    // ---- the control socket ------------------------------------------------------------------

    fn answer_calls(&mut self, now: Instant) {
        while let Some(caller) = self.control.as_ref().and_then(Control::accept) {
            let number = self.number();
            let mut source = SourceFd(&caller.as_raw_fd());
            let token = near_token(number);
            let registered = self.poll.registry().register(&mut source, token, Interest::READABLE);
            if registered.is_ok() && self.callers.len() < CALLERS {
                self.callers.insert(number, (caller, now + CALLING));
                self.due.insert((now + CALLING, number));
                self.again.insert(number);
            }
        }
    }

    fn status(&self, now: Instant) -> Status {
        let joined = self.sessions.values().filter(|session| session.is_joined()).count();
        Status {
            uptime_s: (now - self.began).as_secs(),
            joined: joined as u64,
            dialling: (self.sessions.len() - joined) as u64,
            ..self.shared.status.clone()
        }
    }
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let own = &self.shared.own;
        f.debug_struct("Relay").field("addresses", own).finish_non_exhaustive()
    }
}

/// Whether anything came, or nobody is left to send it; what came is taken out.
fn has_rung(bell: &mut UnixStream) -> bool {
    let mut rung = false;
    loop {
        match bell.read(&mut [0; 64]) {
            Ok(0) => return true,
            Ok(_) => rung = true,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return rung,
        }
    }
}

/// What a door's way is in a log.
pub(super) fn way_in_words(way: &Way) -> String {
    match way {
        Way::Fixed { target, plan } => format!("to {target} by {plan}"),
        Way::Socks { .. } => "SOCKS5".to_owned(),
        Way::Transparent { .. } => "transparent".to_owned(),
    }
}
