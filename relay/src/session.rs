//! One connection of a mail reader, from its acceptance to its end.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

use super::access::{self, Refusal};
use super::config::{Door, Settings, Way};
use super::destination::{Goal, literal};
use super::joined::{Joint, Stand};
use super::listeners::destination;
use super::local_addresses::Routes;
use super::log::Line;
use super::loop_detection::{Ends, Loops};
use super::replies::Voice;
use super::stats::Status;
use mailport::ConnectError;
use mailport::join::Stock;
use mailport::outcome::Errno;
use mailport::report::End;
use mailport::socks5::{Mistake, Reply, Server};
use mailport::target::Target;
use mailport::{Connected, Dial, Dialer, Status as DialStatus};

/// How long a client may take to say where it wants to go.
const ASKING: Duration = Duration::from_secs(10);
/// How long a client that was refused is waited for, so that it can read why.
const LEAVING: Duration = Duration::from_secs(1);
/// How soon a dial that lacked descriptors is tried again.
const RETRY: Duration = Duration::from_millis(250);

/// What every session of a relay uses.
pub(super) struct Shared {
    pub(super) registry: Registry,
    pub(super) settings: Settings,
    /// Where the relay itself listens.
    pub(super) own: Vec<SocketAddr>,
    pub(super) routes: Routes,
    pub(super) loops: Loops,
    pub(super) dialer: Dialer,
    pub(super) stock: Stock,
    pub(super) status: Status,
    pub(super) log: Box<dyn FnMut(&Line)>,
}

impl Shared {
    fn log(&mut self, line: &Line) {
        (self.log)(line);
    }

    /// Whether an address is one of this machine's, as the relay's own connections see it.
    pub(super) fn is_local(&self, address: SocketAddr) -> bool {
        self.routes.keep(address, self.settings.dial.mark)
    }

    fn leads_back(&self, to: SocketAddr) -> bool {
        access::leads_to(self.own.iter().copied(), to, |to| self.is_local(to))
    }
}

/// What a session waits for.
pub(super) enum Turn {
    /// Something on its sockets, or this time.
    Until(Instant),
    /// Its next turn, after the others have had theirs.
    Again,
    /// Nothing: it is over.
    Over,
}

enum Stage {
    Asking(Server),
    Dialling(Goal, Box<Dial>),
    /// The dial lacked descriptors, which others will give back.
    Wanting(Goal),
    Leaving,
    Joined(Joint),
}

/// One connection of a mail reader.
pub(super) struct Session {
    number: usize,
    client: SocketAddr,
    door: Rc<Door>,
    /// Where the client wanted to go: to this door, or from where it was redirected here.
    to: Option<SocketAddr>,
    began: Instant,
    /// The client's socket, until the pair has it.
    near: Option<TcpStream>,
    stage: Stage,
    /// The earliest time at which the loop will look at this session.
    pub(super) timer: Option<Instant>,
}

/// The tokens of a session's sockets.
pub(super) fn near_token(number: usize) -> Token {
    Token(number * 2)
}

fn far_token(number: usize) -> Token {
    Token(number * 2 + 1)
}

impl Session {
    pub(super) fn new(
        number: usize,
        near: TcpStream,
        client: SocketAddr,
        door: Rc<Door>,
        now: Instant,
    ) -> Session {
        let to = destination(&near, &door.way);
        let (near, stage, timer) = (Some(near), Stage::Leaving, None);
        Session { number, client, door, to, began: now, near, stage, timer }
    }

    /// Where a session's way begins.
    pub(super) fn begin(&mut self, shared: &mut Shared, now: Instant) -> Turn {
        let door = Rc::clone(&self.door);
        let deadline = now + shared.settings.dial.timeout;
        match &door.way {
            Way::Fixed { target, plan } => {
                let (target, plan) = (target.clone(), plan.clone());
                self.dial(Goal { target, plan, deadline }, shared, now)
            }
            Way::Socks { .. } => {
                self.stage = Stage::Asking(Server::default());
                self.ask(shared, now)
            }
            Way::Transparent { .. } => match self.to {
                Some(to) if !shared.own.contains(&to) => {
                    self.go(literal(to), to.port(), shared, now)
                }
                _ => self.refuse(Refusal::NotRedirected, shared, now),
            },
        }
    }

    /// Something has happened, or is due.
    pub(super) fn turn(&mut self, shared: &mut Shared, now: Instant) -> Turn {
        match &self.stage {
            Stage::Asking(_) => self.ask(shared, now),
            Stage::Dialling(..) => self.dialling(shared, now),
            Stage::Wanting(_) => self.again(shared, now),
            Stage::Leaving => self.leave(now),
            Stage::Joined(_) => self.carry(shared, now),
        }
    }

    /// How many descriptors it has or will have, at most.
    pub(super) fn cost(&self) -> usize {
        match &self.stage {
            Stage::Leaving => 1,
            Stage::Joined(_) => 2,
            // Its own, and a dial's two with some attempts.
            Stage::Asking(_) | Stage::Dialling(..) | Stage::Wanting(_) => COST,
        }
    }

    pub(super) fn client(&self) -> IpAddr {
        self.client.ip()
    }

    /// The ends of the client's connection.
    pub(super) fn ends(&self) -> Ends {
        Ends::new(self.client, self.to.unwrap_or(self.door.address))
    }

    /// The ends of the connection to the server, once they are joined.
    pub(super) fn far_ends(&self) -> Option<Ends> {
        let Stage::Joined(joint) = &self.stage else { return None };
        Some(joint.ends)
    }

    fn voice(&self) -> Voice {
        Voice::new(&self.door.way, self.to)
    }

    pub(super) fn is_joined(&self) -> bool {
        matches!(self.stage, Stage::Joined(_))
    }

    /// Ends what is left of it, when the relay ends.
    pub(super) fn end(mut self, shared: &mut Shared) {
        if let Stage::Joined(_) = self.stage {
            self.finish("cut", None, shared);
        }
    }

    fn near(&self) -> &TcpStream {
        self.near.as_ref().expect("the pair has the client's socket only when they are joined")
    }

    fn line(&self, event: &'static str) -> Line {
        let line = Line::new(event).count("session", self.number as u64);
        line.with("client", self.client).with("door", self.door.address)
    }

    // ---- where to ----------------------------------------------------------------------------

    /// Reads what a SOCKS client says.
    fn ask(&mut self, shared: &mut Shared, now: Instant) -> Turn {
        loop {
            let Stage::Asking(server) = &mut self.stage else { return Turn::Over };
            if let Some(end) = server.end().cloned() {
                return match end {
                    Ok(request) => self.go(Some(request.target), request.port, shared, now),
                    Err(Mistake::Reply(reply)) => {
                        self.say(&reply.frame());
                        self.refuse_silently(Refusal::Protocol, shared, now)
                    }
                    Err(Mistake::Protocol | Mistake::Login) => {
                        self.refuse_silently(Refusal::Protocol, shared, now)
                    }
                };
            }
            let mut buffer = [0; 512];
            let wants = server.wants().min(buffer.len());
            let near = self.near.as_ref().expect("it has not been joined");
            match (&mut &*near).read(&mut buffer[..wants]) {
                Ok(0) => return Turn::Over,
                Ok(count) => {
                    server.take(&buffer[..count]);
                    let answer = server.to_send();
                    self.say(&answer);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return Turn::Over,
            }
        }
        let until = self.began + ASKING;
        if now < until { Turn::Until(until) } else { Turn::Over }
    }

    /// Dials a host that the client named, by the plan of the port that it named.
    fn go(&mut self, target: Option<Target>, port: u16, shared: &mut Shared, now: Instant) -> Turn {
        let (Some(target), Some(plan)) = (target, self.door.way.plan(port)) else {
            return self.refuse(Refusal::Port, shared, now);
        };
        let deadline = now + shared.settings.dial.timeout;
        self.dial(Goal { target, plan, deadline }, shared, now)
    }

    // ---- the dial ----------------------------------------------------------------------------

    fn dial(&mut self, goal: Goal, shared: &mut Shared, now: Instant) -> Turn {
        let to = goal.known();
        if let Some(refusal) = to.into_iter().find_map(|to| self.forbidden(to, shared)) {
            return self.refuse(refusal, shared, now);
        }
        let mut config = shared.settings.dial.clone();
        config.timeout = goal.deadline.saturating_duration_since(now).max(config.attempt_delay);
        let dialer = shared.dialer.clone().with_plan(goal.plan.clone()).with_config(config);
        let dial = dialer.start(&goal.target).and_then(|mut dial| {
            let raw = dial.descriptor_without_timer()?.as_raw_fd();
            let token = far_token(self.number);
            let registered =
                shared.registry.register(&mut SourceFd(&raw), token, Interest::READABLE);
            let what = "no place for a dial in epoll";
            registered.map_err(|source| ConnectError::Setup { what, source })?;
            Ok(dial)
        });
        match dial {
            Ok(dial) => {
                self.stage = Stage::Dialling(goal, Box::new(dial));
                self.dialling(shared, now)
            }
            Err(error) => self.failed(goal, &error, shared, now),
        }
    }

    /// Why a destination may not be connected to.
    fn forbidden(&self, to: SocketAddr, shared: &Shared) -> Option<Refusal> {
        if shared.leads_back(to) {
            return Some(Refusal::Loop);
        }
        let asked = matches!(self.door.way, Way::Socks { .. });
        (asked && !shared.is_local(self.client) && shared.is_local(to)).then_some(Refusal::Inward)
    }

    fn dialling(&mut self, shared: &mut Shared, now: Instant) -> Turn {
        if self.client_is_gone() {
            shared.log(&self.line("gone"));
            return Turn::Over;
        }
        let Stage::Dialling(_, dial) = &mut self.stage else { return Turn::Over };
        let status = dial.process();
        let tried: Vec<SocketAddr> =
            dial.report().attempts.iter().filter_map(|attempt| attempt.address).collect();
        let wait = dial.poll_timeout();
        if let Some(refusal) = tried.into_iter().find_map(|to| self.forbidden(to, shared)) {
            // The dial is dropped, and with it the connection before a byte has passed.
            return self.refuse(refusal, shared, now);
        }
        if status == DialStatus::Pending {
            return Turn::Until(now + wait.unwrap_or(RETRY));
        }
        let Stage::Dialling(goal, mut dial) = std::mem::replace(&mut self.stage, Stage::Leaving)
        else {
            return Turn::Over;
        };
        if let Ok(watched) = dial.descriptor_without_timer() {
            let _ = shared.registry.deregister(&mut SourceFd(&watched.as_raw_fd()));
        }
        let result = dial.take();
        drop(dial);
        match result {
            Ok(connected) => self.join(connected, &goal, shared, now),
            Err(error) => self.failed(goal, &error, shared, now),
        }
    }

    /// Whether the client has left, having said nothing: one that has only finished what it has to
    /// say is still there.
    fn client_is_gone(&self) -> bool {
        match self.near().peek(&mut [0]) {
            Ok(count) => count == 0,
            Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
        }
    }

    fn again(&mut self, shared: &mut Shared, now: Instant) -> Turn {
        match std::mem::replace(&mut self.stage, Stage::Leaving) {
            Stage::Wanting(goal) => self.dial(goal, shared, now),
            _ => Turn::Over,
        }
    }

    fn failed(
        &mut self,
        goal: Goal,
        error: &ConnectError,
        shared: &mut Shared,
        now: Instant,
    ) -> Turn {
        let lacks_something = match error {
            ConnectError::Failed(report) => report.end == Some(End::LocalResourceError),
            error => error.errno().is_some_and(Errno::is_local_resource_error),
        };
        if lacks_something && now + RETRY < goal.deadline {
            self.stage = Stage::Wanting(goal);
            return Turn::Until(now + RETRY);
        }
        match error.report() {
            Some(report) => shared.status.dialled(report, &goal.plan),
            None => shared.status.failed += 1,
        }
        shared.log(&self.line("failed").with("why", error));
        self.say(&self.voice().failure(error));
        self.close(now)
    }

    // ---- the joint ---------------------------------------------------------------------------

    fn join(
        &mut self,
        connected: Connected,
        goal: &Goal,
        shared: &mut Shared,
        now: Instant,
    ) -> Turn {
        let Connected { stream, report, .. } = connected;
        // It has no ends where the server has gone again; then there is nothing to join.
        let ends = stream.local_addr().and_then(|from| Ok(Ends::new(from, stream.peer_addr()?)));
        if ends.as_ref().is_ok_and(|ends| shared.loops.made(*ends, self.number)) {
            return self.refuse(Refusal::Loop, shared, now);
        }
        shared.status.dialled(&report, &goal.plan);
        if self.voice() == Voice::Socks {
            self.say(&Reply::Succeeded.frame());
        }
        let line = self.line("joined").with("host", &goal.target);
        shared.log(&line.with("how", report.summary()));
        let Some(near) = self.near.take() else { return Turn::Over };
        let token = far_token(self.number);
        let joint =
            ends.and_then(|ends| Joint::new(near, stream, ends, (&shared.registry, token), now));
        match joint {
            Ok(joint) => {
                self.stage = Stage::Joined(joint);
                self.carry(shared, now)
            }
            Err(error) => {
                shared.status.broken += 1;
                shared.log(&self.line("broken").with("why", error));
                Turn::Over
            }
        }
    }

    fn carry(&mut self, shared: &mut Shared, now: Instant) -> Turn {
        let Stage::Joined(joint) = &mut self.stage else { return Turn::Over };
        let (passed, stand) = joint.carry(&mut shared.stock, shared.settings.limits.idle, now);
        shared.status.sent += passed.sent;
        shared.status.received += passed.received;
        match stand {
            Stand::More => Turn::Again,
            Stand::Until(at) => Turn::Until(at),
            Stand::Idle => {
                shared.status.idle += 1;
                self.finish("idle", None, shared)
            }
            Stand::Ended => {
                shared.status.ended += 1;
                self.finish("ended", None, shared)
            }
            Stand::Broken(why) => {
                shared.status.broken += 1;
                self.finish("broken", Some(&why), shared)
            }
        }
    }

    /// Its connection to the server has come back to the relay, which nothing foretold. Nobody has
    /// read what the client has said.
    pub(super) fn came_back(&mut self, shared: &mut Shared) -> Turn {
        if let Stage::Joined(joint) = &self.stage
            && joint.seen.received == 0
            && self.voice() == Voice::Smtp
        {
            joint.say(Refusal::Loop.line().as_bytes());
        }
        shared.status.refuse(Refusal::Loop);
        shared.log(&self.line("refused").with("why", Refusal::Loop.name()));
        self.finish("ended", None, shared)
    }

    /// Takes the pair apart, and says what it was.
    fn finish(&mut self, event: &'static str, broken: Option<&str>, shared: &mut Shared) -> Turn {
        let Stage::Joined(joint) = std::mem::replace(&mut self.stage, Stage::Leaving) else {
            return Turn::Over;
        };
        shared.loops.over(None, Some(joint.ends));
        let (seen, lasted) = (joint.seen, self.began.elapsed().as_millis());
        let mut line = self.line(event).count("sent", seen.sent).count("received", seen.received);
        line = line.count("lasted_ms", u64::try_from(lasted).unwrap_or(u64::MAX));
        if let Some(why) = broken {
            line = line.with("why", why);
        }
        shared.log(&line);
        joint.close(broken.is_some(), &shared.registry, &mut shared.stock);
        Turn::Over
    }

    // ---- refusals ----------------------------------------------------------------------------

    fn refuse(&mut self, refusal: Refusal, shared: &mut Shared, now: Instant) -> Turn {
        self.say(&self.voice().refusal(refusal));
        self.refuse_silently(refusal, shared, now)
    }

    fn refuse_silently(&mut self, refusal: Refusal, shared: &mut Shared, now: Instant) -> Turn {
        shared.status.refuse(refusal);
        shared.log(&self.line("refused").with("why", refusal.name()));
        self.close(now)
    }

    /// Says something short to the client: it fits into a send buffer that is empty, or nobody is
    /// there to hear it.
    fn say(&self, words: &[u8]) {
        if !words.is_empty() {
            let _ = (&mut self.near()).write(words);
        }
    }

    /// Ends what is said to the client, and waits until it has read that: closing at once would
    /// reset the connection if the client has said something, and take the words from it.
    fn close(&mut self, now: Instant) -> Turn {
        self.stage = Stage::Leaving;
        self.began = now;
        let _ = self.near().shutdown(Shutdown::Write);
        self.leave(now)
    }

    fn leave(&mut self, now: Instant) -> Turn {
        let until = self.began + LEAVING;
        let mut buffer = [0; 4096];
        for _ in 0..16 {
            match self.near().read(&mut buffer) {
                Ok(0) => return Turn::Over,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock && now < until => {
                    return Turn::Until(until);
                }
                Err(_) => return Turn::Over,
            }
        }
        if now < until { Turn::Again } else { Turn::Over }
    }
}

/// What a session costs in descriptors before it is joined.
pub(super) const COST: usize = 8;
