//! Answers the `connect` calls of a program.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use mailport::Report;
use mailport_relay::{Dialled, TakenOver};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::{self, Timeout};
use rustix::net::{AddressFamily, SocketType, connect};

use super::learned::{Learned, UdpSocket};
use super::processes::{descriptor_of, process_of};
use super::socket::{self, RelayAddresses};
use super::sys::{self, Call, CallAnswer};
use super::waiting::Waiting;

/// Takes the connections of a program to mail ports over.
pub(super) struct Supervisor {
    listener: Arc<OwnedFd>,
    ports: Vec<u16>,
    relay: RelayAddresses,
    taken_over: TakenOver,
    /// Whether the relay may know other addresses of a server: --host.
    has_names: bool,
    waiting: Arc<Waiting>,
    reports: Reports,
}

/// What the dials have done, in the order in which the program has asked for them. Clones share one
/// list.
#[derive(Debug, Clone, Default)]
pub(super) struct Reports(Arc<Mutex<Vec<Asked>>>);

/// The address that the program has asked for, and what the dial has done, once it has ended.
type Asked = (SocketAddr, Option<Report>);

impl Reports {
    /// The place of a dial that begins.
    fn begin(&self, to: SocketAddr) -> usize {
        let mut reports = self.lock();
        reports.push((to, None));
        reports.len() - 1
    }

    fn end(&self, place: usize, report: Report) {
        if let Some(entry) = self.lock().get_mut(place) {
            entry.1 = Some(report);
        }
    }

    /// Takes those of the dials that have ended, and the address that the program has asked for.
    pub(super) fn take(&self) -> Vec<(SocketAddr, Report)> {
        let reports = std::mem::take(&mut *self.lock()).into_iter();
        reports.filter_map(|(to, report)| Some((to, report?))).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Asked>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that is taken over.
struct Taken {
    call: Call,
    socket: OwnedFd,
    /// The kernel's number of the socket (`SO_COOKIE`).
    cookie: u64,
    to: SocketAddr,
    /// Where its socket connects from.
    own: SocketAddr,
    /// Where its socket connects to instead.
    relay: SocketAddr,
    others: Vec<SocketAddr>,
}

/// What becomes of a call.
enum CallPlan {
    /// It is none of a mail connection.
    LetThrough,
    TakeOver(Taken),
    /// It has its answer, or waits for a dial that an earlier call has begun.
    Repeats,
}

impl Supervisor {
    pub(super) fn new(
        listener: OwnedFd,
        ports: &[u16],
        relay: RelayAddresses,
        taken_over: TakenOver,
        has_names: bool,
        reports: Reports,
    ) -> Supervisor {
        let listener = Arc::new(listener);
        let waiting = Arc::new(Waiting::new(Arc::clone(&listener)));
        let ports = ports.to_vec();
        Supervisor { listener, ports, relay, taken_over, has_names, waiting, reports }
    }

    /// Answers calls until no process of the program is left.
    pub(super) fn run(&self) -> io::Result<()> {
        let mut learned = Learned::default();
        sys::wake_in_turn(self.listener.as_fd());
        loop {
            let next = self.waiting.end_overdue(Instant::now());
            let timeout = next.map(|next| timespec(next.saturating_duration_since(Instant::now())));
            let mut watched = [PollFd::new(&self.listener, PollFlags::IN)];
            match poll(&mut watched, timeout.as_ref()) {
                Err(Errno::INTR) => continue,
                done => done?,
            };
            let events = watched[0].revents();
            if events.contains(PollFlags::IN) {
                if let Some(call) = sys::receive(self.listener.as_fd())? {
                    self.decide(call, &mut learned);
                }
            } else if events.intersects(PollFlags::HUP | PollFlags::ERR) {
                return Ok(());
            }
        }
    }

    fn decide(&self, call: Call, learned: &mut Learned) {
        match self.plan(call, learned) {
            Ok(CallPlan::TakeOver(taken)) => self.take_over(taken),
            Ok(CallPlan::Repeats) => {}
            // What cannot be looked at is the kernel's: it has the right error for it.
            Ok(CallPlan::LetThrough) | Err(_) => self.answer(&call, CallAnswer::Continue),
        }
    }

    fn answer(&self, call: &Call, answer: CallAnswer) {
        // One that has ended meanwhile needs no answer.
        let _ = sys::answer(self.listener.as_fd(), call, answer);
    }

    fn plan(&self, call: Call, learned: &mut Learned) -> io::Result<CallPlan> {
        let (bytes, length) = sys::read_address(&call)?;
        let bytes = &bytes[..length];
        let is_mail = |to: &SocketAddr| self.ports.contains(&to.port());
        // getaddrinfo sorts with the port 0 where the program has named no service.
        let to = socket::address(bytes).filter(|to| is_mail(to) || to.port() == 0);
        let Some(to) = to else {
            if socket::is_unspecified_family(bytes) {
                self.disconnects(&call)?;
            } else {
                learned.end(call.thread);
            }
            return Ok(CallPlan::LetThrough);
        };
        let process = process_of(call.thread)?;
        let socket = descriptor_of(process, call.thread, call.descriptor)?;
        // The numbers and the memory were those of the program only if it still waits.
        if !sys::is_waiting(self.listener.as_fd(), &call) {
            return Ok(CallPlan::LetThrough);
        }
        let now = Instant::now();
        let kind = sockopt::socket_type(&socket)?;
        if kind == SocketType::DGRAM {
            let (thread, descriptor) = (call.thread, call.descriptor);
            let cookie = sockopt::socket_cookie(&socket)?;
            let is_ipv6 = sockopt::socket_domain(&socket)? == AddressFamily::INET6;
            learned.see(UdpSocket { process, thread, descriptor, cookie, is_ipv6 }, to, now);
            return Ok(CallPlan::LetThrough);
        }
        learned.end(call.thread);
        if kind != SocketType::STREAM || !is_mail(&to) {
            return Ok(CallPlan::LetThrough);
        }
        self.plan_stream(call, process, socket, socket::canonical(to), learned)
    }

    fn plan_stream(
        &self,
        call: Call,
        process: i32,
        socket: OwnedFd,
        to: SocketAddr,
        learned: &Learned,
    ) -> io::Result<CallPlan> {
        let cookie = sockopt::socket_cookie(&socket)?;
        if self.waiting.repeat(cookie, &socket, call, until(&socket)) {
            return Ok(CallPlan::Repeats);
        }
        let Some(relay) = self.relay.for_socket(&socket, process)? else {
            return Ok(CallPlan::LetThrough);
        };
        let others = learned.others(process, to, Instant::now());
        // A call that does not block succeeds before its dial: the program would not try its other
        // addresses, of which nothing is known here, and IPv6 is what fails alone most often.
        let does_block = socket::does_block(&socket);
        if !does_block && to.is_ipv6() && others.is_empty() && !self.has_names {
            return Ok(CallPlan::LetThrough);
        }
        let Some(own) = socket::choose_port(&socket, relay)? else {
            return Ok(CallPlan::LetThrough);
        };
        Ok(CallPlan::TakeOver(Taken { call, socket, cookie, to, own, relay, others }))
    }

    /// The program disconnects a socket, which may have a dial under way.
    fn disconnects(&self, call: &Call) -> io::Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let process = process_of(call.thread)?;
        let socket = descriptor_of(process, call.thread, call.descriptor)?;
        if !sys::is_waiting(self.listener.as_fd(), call) {
            return Ok(());
        }
        if let Some(own) = self.waiting.abandon(sockopt::socket_cookie(&socket)?) {
            self.taken_over.forget(own);
        }
        Ok(())
    }

    /// Connects the socket to the relay. A call that blocks waits for the end of the dial; of one
    /// that does not, a dial that fails ends as a reset.
    fn take_over(&self, taken: Taken) {
        let Taken { call, socket, cookie, to, own, relay, others } = taken;
        let does_block = socket::does_block(&socket);
        let dial = does_block.then(|| self.waiting.begin(cookie, own, call, until(&socket)));
        let (reports, place) = (self.reports.clone(), self.reports.begin(to));
        let waiting = Arc::clone(&self.waiting);
        self.taken_over.expect(own, to, &others, move |dialled| {
            let (errno, report) = result_of(dialled, to);
            if let Some(report) = report {
                reports.end(place, report);
            }
            if let Some(dial) = dial {
                waiting.end(dial, errno);
            }
        });
        let Some(dial) = dial else {
            let answer = match connect(&socket, &relay) {
                Ok(()) => CallAnswer::Done,
                Err(error) => {
                    // In progress: a handshake on loopback is over before the program looks.
                    if error != Errno::INPROGRESS {
                        self.taken_over.forget(own);
                    }
                    CallAnswer::Fails(error.raw_os_error())
                }
            };
            return self.answer(&call, answer);
        };
        // It waits while the relay has more connections than it can accept.
        let (taken_over, waiting) = (self.taken_over.clone(), Arc::clone(&self.waiting));
        let connecting = thread::Builder::new().name("connect".to_owned()).spawn(move || {
            // If the time of the socket is over (SO_SNDTIMEO), the handshake goes on.
            if let Err(error) = connect(&socket, &relay)
                && error != Errno::INPROGRESS
            {
                waiting.end(dial, Some(error.raw_os_error()));
                taken_over.forget(own);
            }
        });
        if let Err(error) = connecting {
            self.waiting.end(dial, Some(error.raw_os_error().unwrap_or(libc::EAGAIN)));
            self.taken_over.forget(own);
        }
    }
}

/// Prints why a dial has failed. Returns its error number, and its report.
fn result_of(dialled: Dialled, to: SocketAddr) -> (Option<i32>, Option<Report>) {
    match dialled {
        Ok(report) => (None, Some(report)),
        Err(failed) => {
            if let Some(reason) = failed.reason {
                crate::complain(match &failed.report {
                    Some(report) => sentence(report, to),
                    None => format!("{}: {reason}", to.ip()),
                });
            }
            (Some(failed.errno), failed.report)
        }
    }
}

/// What a dial has done, of the address that the program has asked for. The host of a dial to several
/// addresses is the reverse name of this one.
pub(super) fn sentence(report: &Report, to: SocketAddr) -> String {
    let summary = report.summary();
    let summary = summary.strip_prefix(&format!("{}: ", report.host)).unwrap_or(&summary);
    let is_address =
        report.host.strip_suffix(".arpa").is_some() || report.host.parse::<IpAddr>().is_ok();
    if is_address {
        format!("{}: {summary}", to.ip())
    } else {
        format!("{}: {summary}", report.host)
    }
}

/// When a call that blocks has waited for as long as the program allows (`SO_SNDTIMEO`).
fn until(socket: &OwnedFd) -> Option<Instant> {
    let timeout = sockopt::socket_timeout(socket, Timeout::Send).ok().flatten()?;
    Instant::now().checked_add(timeout)
}

fn timespec(time: Duration) -> Timespec {
    // Not less than it is, or the loop would run until then.
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    Timespec { tv_sec: seconds, tv_nsec: time.subsec_nanos().into() }
}
