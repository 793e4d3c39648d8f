//! One connection of a mail reader, from its acceptance to its end.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, SocketAddrV6, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use socket2::SockRef;

use super::access::{self, Refusal};
use super::count::Status;
use super::lines::Line;
use super::settings::{Door, Settings, Way};
use super::told;
use crate::driver::{Connected, Dial, Dialer, Status as DialStatus, scope};
use crate::error::ConnectError;
use crate::join::{Joined, Pair, Progress, Stock};
use crate::outcome::Errno;
use crate::plan::{Plan, Tls};
use crate::report::End;
use crate::socks::{Mistake, Reply, Server};
use crate::target::{Host, Target};

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
    pub(super) dialer: Dialer,
    pub(super) stock: Stock,
    pub(super) status: Status,
    pub(super) log: Box<dyn FnMut(&Line)>,
}

impl Shared {
    fn log(&mut self, line: &Line) {
        (self.log)(line);
    }

    fn leads_back(&self, to: SocketAddr) -> bool {
        access::leads_to(self.own.iter().copied(), to, is_local)
    }
}

/// Whether an address is one of this machine's.
pub(super) fn is_local(address: IpAddr) -> bool {
    let address = address.to_canonical();
    address.is_loopback() || UdpSocket::bind((address, 0)).is_ok()
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

/// Where a session wants to go.
struct Goal {
    target: Target,
    plan: Plan,
    /// When the dial has taken too long, with all its tries.
    deadline: Instant,
}

enum Stage {
    Asking(Server),
    Dialling(Goal, Box<Dial>),
    /// The dial lacked descriptors, which others will give back.
    Wanting(Goal),
    Leaving,
    Joined(Joint),
}

/// A session whose sockets are joined.
struct Joint {
    pair: Pair,
    seen: Joined,
    /// When something was last said.
    active: Instant,
}

/// How a failure can be told to the client.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Voice {
    /// By a reply of SMTP.
    Smtp,
    /// By a reply of SOCKS5.
    Socks,
    /// Not at all: TLS comes first.
    Mute,
}

/// One connection of a mail reader.
pub(super) struct Session {
    number: usize,
    client: SocketAddr,
    door: Rc<Door>,
    began: Instant,
    voice: Voice,
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
        let (voice, timer) = (Voice::Mute, None);
        let (near, stage) = (Some(near), Stage::Leaving);
        Session { number, client, door, began: now, voice, near, stage, timer }
    }

    /// Where a session's way begins.
    pub(super) fn begin(&mut self, shared: &mut Shared, now: Instant) -> Turn {
        let door = Rc::clone(&self.door);
        self.voice = voice_of(&door.way);
        let deadline = now + shared.settings.dial.deadline;
        match &door.way {
            Way::Fixed { target, plan } => {
                let (target, plan) = (target.clone(), plan.clone());
                self.dial(Goal { target, plan, deadline }, shared, now)
            }
            Way::Socks { .. } => {
                self.stage = Stage::Asking(Server::default());
                self.ask(shared, now)
            }
            Way::Transparent { ports } => match self.original_destination() {
                Some(to) if ports.contains(&to.port()) => {
                    self.go(literal(to), to.port(), shared, now)
                }
                Some(to) if shared.own.contains(&to) => {
                    self.refuse(Refusal::NotRedirected, shared, now)
                }
                Some(_) => self.refuse(Refusal::Port, shared, now),
                None => self.refuse(Refusal::NotRedirected, shared, now),
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
                    Ok(request) => self.asked(request.target, request.port, shared, now),
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

    fn asked(&mut self, target: Target, port: u16, shared: &mut Shared, now: Instant) -> Turn {
        if !self.door.way.ports().contains(&port) {
            return self.refuse(Refusal::Port, shared, now);
        }
        self.go(Some(target), port, shared, now)
    }

    /// Dials a host that the client named, by the plan of the port that it named.
    fn go(&mut self, target: Option<Target>, port: u16, shared: &mut Shared, now: Instant) -> Turn {
        let (Some(target), Ok(plan)) = (target, Plan::for_port(Some(port))) else {
            return self.refuse(Refusal::Port, shared, now);
        };
        if self.voice != Voice::Socks && plan.services()[0].tls() != Tls::Implicit {
            self.voice = Voice::Smtp;
        }
        let deadline = now + shared.settings.dial.deadline;
        self.dial(Goal { target, plan, deadline }, shared, now)
    }

    /// Where a redirected connection was going.
    fn original_destination(&self) -> Option<SocketAddr> {
        let socket = SockRef::from(self.near());
        let found = match self.near().local_addr().ok()? {
            SocketAddr::V4(_) => socket.original_dst_v4(),
            SocketAddr::V6(_) => socket.original_dst_v6(),
        };
        found.ok()?.as_socket()
    }

    // ---- the dial ----------------------------------------------------------------------------

    fn dial(&mut self, goal: Goal, shared: &mut Shared, now: Instant) -> Turn {
        let to = known(&goal.target, &goal.plan);
        if let Some(refusal) = to.into_iter().find_map(|to| self.forbidden(to, shared)) {
            return self.refuse(refusal, shared, now);
        }
        let mut config = shared.settings.dial.clone();
        config.deadline = goal.deadline.saturating_duration_since(now).max(config.attempt_delay);
        let dial = shared.dialer.prepare(&goal.target, &goal.plan, &config).and_then(|dial| {
            let mut source = SourceFd(&dial.as_raw_fd());
            let token = far_token(self.number);
            let registered = shared.registry.register(&mut source, token, Interest::READABLE);
            registered.map(|()| dial).map_err(ConnectError::Setup)
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
        (asked && !is_local(self.client.ip()) && is_local(to.ip())).then_some(Refusal::Inward)
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
        let wait = dial.timeout();
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
        let _ = shared.registry.deregister(&mut SourceFd(&dial.as_raw_fd()));
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
            ConnectError::Failed(report) => report.end == End::OwnTrouble,
            error => error.errno().is_some_and(Errno::is_own_trouble),
        };
        if lacks_something && now + RETRY < goal.deadline {
            self.stage = Stage::Wanting(goal);
            return Turn::Until(now + RETRY);
        }
        let reply = error.report().map_or(Reply::Failure, told::reply);
        match error.report() {
            Some(report) => shared.status.dialled(report, &goal.plan),
            None => shared.status.failed += 1,
        }
        shared.log(&self.line("failed").with("why", error));
        match self.voice {
            Voice::Smtp => self.say(told::line("4.4.1", &error.to_string()).as_bytes()),
            Voice::Socks => self.say(&reply.frame()),
            Voice::Mute => {}
        }
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
        let Connected { socket: far, report, .. } = connected;
        shared.status.dialled(&report, &goal.plan);
        if self.voice == Voice::Socks {
            self.say(&Reply::Succeeded.frame());
        }
        let line = self.line("joined").with("host", &goal.target);
        shared.log(&line.with("how", report.summary()));
        let Some(near) = self.near.take() else { return Turn::Over };
        match self.joint(near, far, shared, now) {
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

    fn joint(
        &self,
        near: TcpStream,
        far: TcpStream,
        shared: &Shared,
        now: Instant,
    ) -> io::Result<Joint> {
        // What was held back to be sent with more was so by whoever wrote it.
        near.set_nodelay(true)?;
        far.set_nodelay(true)?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        let token = far_token(self.number);
        shared.registry.register(&mut SourceFd(&far.as_raw_fd()), token, interest)?;
        let pair = Pair::new(near, far)?;
        Ok(Joint { pair, seen: Joined::default(), active: now })
    }

    fn carry(&mut self, shared: &mut Shared, now: Instant) -> Turn {
        let Stage::Joined(joint) = &mut self.stage else { return Turn::Over };
        let result = joint.pair.process(&mut shared.stock);
        let carried = joint.pair.carried();
        if carried != joint.seen {
            shared.status.sent += carried.sent - joint.seen.sent;
            shared.status.received += carried.received - joint.seen.received;
            (joint.seen, joint.active) = (carried, now);
        }
        let until = joint.active + shared.settings.limits.idle;
        match result {
            Ok(Progress::More) => Turn::Again,
            Ok(Progress::Waiting) if now < until => Turn::Until(until),
            Ok(Progress::Waiting) => {
                shared.status.idle += 1;
                self.finish("idle", None, shared)
            }
            Ok(Progress::Ended) => {
                shared.status.ended += 1;
                self.finish("ended", None, shared)
            }
            Err(error) => {
                shared.status.broken += 1;
                let side = match error.side {
                    crate::join::Side::Socket => "the server",
                    _ => "the mail reader",
                };
                self.finish("broken", Some(&format!("{side}: {}", error.source)), shared)
            }
        }
    }

    /// Takes the pair apart, and says what it was.
    fn finish(&mut self, event: &'static str, broken: Option<&str>, shared: &mut Shared) -> Turn {
        let Stage::Joined(Joint { pair, seen, .. }) =
            std::mem::replace(&mut self.stage, Stage::Leaving)
        else {
            return Turn::Over;
        };
        for socket in [pair.near(), pair.far()] {
            let _ = shared.registry.deregister(&mut SourceFd(&socket.as_raw_fd()));
        }
        let lasted = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut line = self.line(event).count("sent", seen.sent).count("received", seen.received);
        line = line.count("lasted_ms", lasted);
        if let Some(why) = broken {
            line = line.with("why", why);
        }
        shared.log(&line);
        if broken.is_some() {
            pair.reset(&mut shared.stock);
        } else {
            pair.close(&mut shared.stock);
        }
        Turn::Over
    }

    // ---- refusals ----------------------------------------------------------------------------

    fn refuse(&mut self, refusal: Refusal, shared: &mut Shared, now: Instant) -> Turn {
        match (self.voice, refusal) {
            (Voice::Smtp, _) => self.say(refusal.line().as_bytes()),
            (Voice::Socks, Refusal::Protocol) => self.say(&Reply::Failure.frame()),
            (Voice::Socks, _) => self.say(&Reply::NotAllowed.frame()),
            (Voice::Mute, _) => {}
        }
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
        let _ = (&mut self.near()).write(words);
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

fn voice_of(way: &Way) -> Voice {
    match way {
        Way::Socks { .. } => Voice::Socks,
        Way::Fixed { plan, .. } if plan.services()[0].tls() != Tls::Implicit => Voice::Smtp,
        Way::Fixed { .. } | Way::Transparent { .. } => Voice::Mute,
    }
}

/// Where a dial leads, as far as that is known without a look-up.
fn known(target: &Target, plan: &Plan) -> Vec<SocketAddr> {
    let at = |port| match target.host() {
        Host::Name(_) => None,
        Host::Address(address) => Some(SocketAddr::new(*address, port)),
        // Without such a link, the dial itself says so.
        Host::Scoped(address, zone) => {
            scope(zone).ok().map(|scope| SocketAddrV6::new(*address, port, 0, scope).into())
        }
    };
    plan.services().iter().filter_map(|service| at(service.port())).collect()
}

/// Turns a connection away that never becomes a session.
pub(super) fn turn_away(near: &TcpStream, way: &Way, refusal: Refusal) {
    let _ = near.set_nonblocking(true);
    if voice_of(way) == Voice::Smtp && refusal != Refusal::Client {
        let _ = (&mut &*near).read(&mut [0; 4096]);
        let _ = (&mut &*near).write(refusal.line().as_bytes());
    }
    let _ = near.shutdown(Shutdown::Write);
}

/// An address as a target; `None` where it cannot be one.
fn literal(address: SocketAddr) -> Option<Target> {
    address.ip().to_string().parse().ok()
}

/// Whether a new connection was left again by whoever made it: a look at the port, or the relay's
/// own dial that has led back here.
pub(super) fn is_left(near: &TcpStream) -> bool {
    SockRef::from(&near.as_fd()).set_nonblocking(true).is_err()
        || matches!(near.peek(&mut [0]), Ok(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_known_before_the_dial_with_its_link_too() {
        let known = |host: &str| known(&host.parse().unwrap(), &Plan::submission());
        let of = |text: &str| text.parse::<SocketAddr>().unwrap();
        assert_eq!(known("192.0.2.1"), [of("192.0.2.1:587"), of("192.0.2.1:25")]);
        assert_eq!(known("fe80::1%7"), [of("[fe80::1%7]:587"), of("[fe80::1%7]:25")]);
        assert!(known("mail.example").is_empty() && known("fe80::1%no-such-link").is_empty());
    }
}
