//! What a dial did: every attempt in order, and one line for people.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::outcome::{Errno, Icmp, Outcome, ViaError};
use crate::plan::{Family, Service, Tls};
pub use crate::target::format_host;

#[cfg(feature = "json")]
mod json;
#[cfg(feature = "json")]
#[doc(hidden)]
pub use json::millis;
mod summary;
#[cfg(feature = "svg")]
pub mod svg;
mod timeline;

pub use timeline::{MIN_WIDTH, Row, Timeline};

/// What a dial did, from its call to its result.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Report {
    /// The host that was dialled, as the user wrote it.
    pub host: String,
    /// The proxy or the command that the dial went through, without its password.
    pub via: Option<String>,
    /// Every attempt, in the order in which they were started.
    pub attempts: Vec<Attempt>,
    /// The look-up of the name; `None` for an address, and through a proxy or a command.
    pub lookup: Option<Lookup>,
    /// How the dial ended; `None` while it has not.
    pub end: Option<End>,
    /// From the call to the result.
    pub elapsed: Duration,
}

/// How a dial ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum End {
    /// Connected, by the attempt at this index of [`Report::attempts`].
    Connected(usize),
    /// Every service was tried, and none is left.
    Exhausted,
    /// The deadline passed with nothing connected.
    Timeout,
    /// The name has no address that could be tried.
    Unresolved,
    /// A local resource error (descriptors, memory, ports), and nothing was live.
    LocalResourceError,
    /// The proxy or the command itself failed, which says nothing of any service.
    Via,
    /// The user was asked, now or earlier, and does not want the next service.
    Declined,
    /// The caller gave up.
    Cancelled,
}

/// One try of one candidate: a service at an address.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Attempt {
    /// The service.
    pub service: Service,
    /// The family; `None` where a proxy or a command was given the name.
    pub family: Option<Family>,
    /// Address and port; `None` where a proxy or a command was given the name.
    pub address: Option<SocketAddr>,
    /// How far it came.
    pub stage: Stage,
    /// When it was started, from the beginning of the dial.
    pub started: Duration,
    /// When its connection could be used, from the beginning of the dial; `None` if it never came
    /// so far. Until it ended it was held back by an earlier service.
    pub connected: Option<Duration>,
    /// When it ended, from the beginning of the dial; while it is open, when this report was made.
    pub ended: Duration,
    /// How it ended; `None` while it is open.
    pub outcome: Option<Outcome>,
    /// The system's error, where there was one.
    pub errno: Option<Errno>,
    /// The ICMP error, where there was one.
    pub icmp: Option<Icmp>,
    /// What the proxy or the command did, where the outcome is [`Outcome::Via`].
    pub via_error: Option<ViaError>,
    /// Further details for people: a command's standard error, an error of the proxy itself.
    pub note: Option<String>,
    /// Whether a greeting came; `None` without a greeting wait.
    pub greeting: Option<Greeting>,
    /// SYNs sent; `None` where the kernel does not tell.
    pub syns: Option<u32>,
    /// Why it was started.
    pub reason: Reason,
}

/// How far an attempt came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// The TCP handshake.
    Connect,
    /// What follows it before the connection counts: a proxy's reply, the greeting. Empty for a
    /// direct dial.
    Confirm,
}

/// What the greeting wait saw of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Greeting {
    /// The first byte of a greeting.
    Received,
    /// Nothing in the greeting wait's time: a server that pauses before it greets or, behind a tunnel that
    /// accepts first, a port that is filtered. The two look alike from here.
    Absent,
}

impl Greeting {
    /// The word used in JSON: `received` or `absent`.
    pub fn name(self) -> &'static str {
        match self {
            Greeting::Received => "received",
            Greeting::Absent => "absent",
        }
    }
}

/// Why an attempt was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// The first address of the first service.
    First,
    /// A probe, which tries every candidate.
    Probe,
    /// Another attempt of the service failed.
    Failed,
    /// The attempt before it was silent for the attempt delay.
    AttemptDelay,
    /// An address that arrived after the service had begun.
    LateAddress,
    /// The same candidate again, for its first attempt is silent: a packet may have been lost.
    SecondAttempt,
    /// The same candidate again, for this later service has connected: a SYN that is not answered
    /// now was not lost on a bad path.
    Proof(Service),
    /// The next service: an attempt of this one was refused.
    Refused(Service),
    /// The next service: every attempt of this one failed.
    AllFailed(Service),
    /// The next service: every live attempt of this one was silent for the port delay.
    PortDelay(Service),
    /// The next service: every attempt of this one had failed or was overdue (sequential).
    Overdue(Service),
    /// The next service: this one has no address of its family.
    NoAddress(Service),
    /// The next service: this one is remembered as bad.
    Remembered(Service),
    /// The same candidate again: it was closed while another was being confirmed, and that failed.
    Again,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::First => f.write_str("first address of the first service"),
            Reason::Probe => f.write_str("every candidate is tried"),
            Reason::Failed => f.write_str("an attempt of this service failed"),
            Reason::AttemptDelay => f.write_str("silent for the attempt delay"),
            Reason::LateAddress => f.write_str("address that arrived late"),
            Reason::SecondAttempt => f.write_str("the first attempt here is silent"),
            Reason::Proof(service) => {
                write!(f, "{} has connected, so the path is good", Spoken(*service))
            }
            Reason::Refused(service) => write!(f, "{} was refused", Spoken(*service)),
            Reason::AllFailed(service) => write!(f, "every attempt of {} failed", Spoken(*service)),
            Reason::PortDelay(service) => {
                write!(f, "{} was silent for the port delay", Spoken(*service))
            }
            Reason::Overdue(service) => {
                write!(f, "every attempt of {} had failed or was overdue", Spoken(*service))
            }
            Reason::NoAddress(service) => write!(f, "{} has no address", Spoken(*service)),
            Reason::Remembered(service) => {
                write!(f, "{} is remembered as bad", Spoken(*service))
            }
            Reason::Again => f.write_str("closed for one that failed, tried again"),
        }
    }
}

/// The look-up of the host's name.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Lookup {
    /// Whether it was slow or failed temporarily, so that one look-up a family was started beside
    /// it.
    pub hedged: bool,
    /// When the system's answer came, from the beginning of the dial; `None` while it is pending.
    pub ended: Option<Duration>,
    /// The addresses of both families in the order of the system, with port 0, or why there are
    /// none. Until the system has answered, those that the look-ups of one family have given.
    pub result: Result<Vec<SocketAddr>, LookupError>,
}

/// Why a look-up gave no address.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum LookupError {
    /// The name does not exist.
    #[error("no such name")]
    NoSuchName,
    /// The name exists and has no address, or none of the families that the dial uses.
    #[error("the name has no address")]
    NoAddress,
    /// The name service failed temporarily or did not answer; trying again later may help.
    #[error("temporary failure of the name service")]
    TryAgain,
    /// This machine lacked memory, threads or descriptors for the look-up, or its system failed
    /// with this error; this says nothing about the name.
    #[error("this machine cannot look names up: {0}")]
    LocalResourceError(Errno),
    /// No thread could be started for the look-up, because of the limit that this names.
    #[error("this machine cannot look names up: {0}")]
    NoThread(String),
    /// As many look-ups as this process may have at once are under way, and none ended in time.
    #[error("not looked up: too many look-ups of this process are unanswered")]
    Busy,
    /// Only addresses that no host can have, such as 0.0.0.0, which a filtering name service gives.
    #[error("no address of a host, only {0}")]
    Unusable(IpAddr),
    /// Not answered by the end of the dial.
    #[error("not answered")]
    Unanswered,
    /// Any other failure, in the system's words.
    #[error("{}", .0.replace(char::is_control, " "))]
    Failed(String),
}

impl LookupError {
    /// Whether another look-up may succeed now: nothing was said about the name.
    pub(crate) fn is_temporary(&self) -> bool {
        matches!(self, LookupError::TryAgain | LookupError::Failed(_) | LookupError::Unanswered)
    }

    /// Whether it says for certain that there is no address.
    pub(crate) fn says_there_is_none(&self) -> bool {
        matches!(self, LookupError::NoSuchName | LookupError::NoAddress | LookupError::Unusable(_))
    }
}

impl Report {
    /// The attempt that won.
    pub fn winner(&self) -> Option<&Attempt> {
        match self.end {
            Some(End::Connected(index)) => self.attempts.get(index),
            _ => None,
        }
    }

    /// The attempt that says most of a failed dial: the first of the attempts in the order of
    /// [`Report::summary`].
    pub fn telling(&self) -> Option<&Attempt> {
        self.attempts.iter().min_by_key(|attempt| weight(attempt.outcome))
    }

    /// The attempt of one service that says most of it, by the same rule; the winner if it is one.
    pub fn telling_of(&self, service: Service) -> Option<&Attempt> {
        let won = self.winner().filter(|winner| winner.service == service);
        let of_it = self.attempts.iter().filter(|attempt| attempt.service == service);
        won.or_else(|| of_it.min_by_key(|attempt| weight(attempt.outcome)))
    }

    /// The error number of a dial without a connection: that of the attempt that
    /// [`Report::summary`] names first, or `ETIMEDOUT` where this was silent, or where the deadline
    /// came before any attempt. `None` for a dial that connected, and where no number fits.
    pub fn errno(&self) -> Option<Errno> {
        let silence = Some(Errno(libc::ETIMEDOUT));
        match (self.lookup_error(), self.attempts.is_empty()) {
            (Some(LookupError::LocalResourceError(errno)), true) => return Some(*errno),
            (Some(LookupError::NoThread(_)), true) => return Some(Errno(libc::EAGAIN)),
            _ => {}
        }
        match (self.end, self.telling()) {
            (None | Some(End::Connected(_)), _) => None,
            (Some(End::Timeout), None) => silence,
            (_, Some(first)) if first.outcome == Some(Outcome::Timeout) => first.errno.or(silence),
            (_, first) => first.and_then(|attempt| attempt.errno),
        }
    }

    /// One line for people: what became of each service, in order, and what the dial ended with.
    ///
    /// A service is described by the attempt that explains most, which is the first of these in this
    /// order: ICMP hard error, reset, closed, proxy, ICMP soft error, silence, local. One that was
    /// not waited for, because it is remembered as bad, is described as that.
    pub fn summary(&self) -> String {
        match self.winner() {
            Some(winner) => self.success(winner),
            None => self.failure(),
        }
    }

    fn success(&self, winner: &Attempt) -> String {
        let mut parts = clauses(&self.attempts, |s| s != winner.service, false);
        let cleartext = if winner.service.tls() == Tls::Cleartext { " in cleartext" } else { "" };
        let way = match (winner.family, &self.via) {
            (Some(family), _) => format!("over {family}"),
            (None, Some(via)) => format!("through {via}"),
            (None, None) => "somehow".to_owned(),
        };
        let (port, after) = (winner.service.port(), Millis(self.elapsed));
        parts.push(format!("connected to {port} {way}{cleartext} in {after}"));
        if winner.greeting == Some(Greeting::Absent) {
            let pause = "no greeting so far: the server pauses, or a tunnel hides a filtered port";
            parts.push(pause.to_owned());
        }
        parts.join("; ")
    }

    fn failure(&self) -> String {
        let host = &self.host;
        let clauses = clauses(&self.attempts, |_| true, true).join("; ");
        let after = Millis(self.elapsed);
        let Some(end) = self.end else { return format!("{host}: not ended yet, after {after}") };
        match end {
            End::Unresolved => format!("{host}: {} (after {after})", self.unresolved()),
            End::LocalResourceError if clauses.is_empty() => {
                format!("{host}: {} (after {after})", self.unresolved())
            }
            End::Via => format!("{host}: {} (after {after})", self.way_down()),
            End::Declined if clauses.is_empty() => {
                format!("{host}: nothing answered; the fallback was declined (after {after})")
            }
            End::Declined => {
                format!("{host}: {clauses}; the fallback was declined (after {after})")
            }
            End::Timeout if clauses.is_empty() => match self.lookup_error() {
                Some(error @ LookupError::Busy) => format!("{host}: {error} (after {after})"),
                _ => format!("{host}: no address found before the timeout ({after})"),
            },
            End::Timeout => format!("{host}: {clauses}; gave up at the timeout ({after})"),
            End::Cancelled => format!("{host}: cancelled after {after}"),
            _ => format!("{host}: {clauses}; nothing is left to try (after {after})"),
        }
    }

    /// Why there is no connection, without the host and the time: for a dial within another one.
    #[cfg(feature = "driver")]
    pub(crate) fn cause(&self) -> String {
        let clauses = clauses(&self.attempts, |_| true, true).join("; ");
        if clauses.is_empty() { self.unresolved() } else { clauses }
    }

    /// What is wrong with the proxy or the command.
    fn way_down(&self) -> String {
        let of_the_way = |a: &&Attempt| a.via_error.is_some_and(ViaError::is_of_the_way);
        let reason = self.attempts.iter().find(of_the_way).and_then(|attempt| {
            let note = attempt.note.as_ref().map_or_else(String::new, |note| format!(": {note}"));
            Some(format!("{} {}{note}", self.via.as_ref()?, attempt.via_error?))
        });
        reason.unwrap_or_else(|| "the proxy or the command failed".to_owned())
    }

    /// Why there was no address.
    fn unresolved(&self) -> String {
        match self.lookup_error() {
            Some(error @ (LookupError::Failed(_) | LookupError::Unanswered)) => {
                format!("the look-up of its addresses failed: {error}")
            }
            error => error.unwrap_or(&LookupError::NoAddress).to_string(),
        }
    }

    fn lookup_error(&self) -> Option<&LookupError> {
        self.lookup.as_ref()?.result.as_ref().err()
    }
}

/// A clause for each service that something can be said of, in the order of the attempts.
pub(crate) fn clauses(
    attempts: &[Attempt],
    wanted: impl Fn(Service) -> bool,
    in_full: bool,
) -> Vec<String> {
    let mut services: Vec<Service> = Vec::new();
    for attempt in attempts {
        if wanted(attempt.service) && !services.contains(&attempt.service) {
            services.push(attempt.service);
        }
    }
    services
        .into_iter()
        .filter_map(|service| {
            let of_it = || attempts.iter().filter(|a| a.service == service);
            // A second attempt that this machine could not make says nothing of the service.
            let is_ignored = |a: &&Attempt| a.is_repeated() && a.outcome == Some(Outcome::Local);
            let telling = of_it().filter(|a| !is_ignored(a)).min_by_key(|a| weight(a.outcome))?;
            if telling.outcome.is_some_and(|outcome| outcome != Outcome::Cancelled) {
                let same = of_it()
                    .filter(|a| (a.address, a.outcome) == (telling.address, telling.outcome));
                let syns = same.filter_map(|attempt| attempt.syns).fold(0, u32::saturating_add);
                return Some(telling.clause(in_full, syns));
            }
            // What was not waited for says nothing, but why it was not.
            let remembered = Reason::Remembered(service);
            attempts.iter().any(|a| a.reason == remembered).then(|| remembered.to_string())
        })
        .collect()
}

/// The written rule of [`Report::summary`]: the lowest describes its service.
fn weight(outcome: Option<Outcome>) -> u8 {
    match outcome {
        Some(Outcome::IcmpHard) => 0,
        Some(Outcome::Reset) => 1,
        Some(Outcome::Closed) => 2,
        Some(Outcome::Via) => 3,
        Some(Outcome::IcmpSoft) => 4,
        Some(Outcome::Timeout) => 5,
        Some(Outcome::Local) => 6,
        None | Some(Outcome::Cancelled | Outcome::Connected) => 7,
    }
}

impl Attempt {
    /// The address that was tried, without its port and with its zone (`fe80::1%2`); `None` where
    /// a proxy or a command was given the name.
    pub fn host(&self) -> Option<String> {
        self.address.map(format_host)
    }

    /// How long it lasted.
    pub fn lasted(&self) -> Duration {
        self.ended.saturating_sub(self.started)
    }

    /// How long its connection was held back by an earlier service.
    pub fn held(&self) -> Duration {
        self.connected.map_or(Duration::ZERO, |connected| self.ended.saturating_sub(connected))
    }

    /// Whether its candidate had been tried before, and was silent.
    pub fn is_repeated(&self) -> bool {
        matches!(self.reason, Reason::SecondAttempt | Reason::Proof(_))
    }

    fn in_brackets(&self) -> String {
        self.note.as_ref().map_or_else(String::new, |note| format!(" ({note})"))
    }

    /// `587 is filtered by 203.0.113.1 (communication administratively prohibited)`.
    /// The SYNs are those of every attempt of its candidate.
    fn clause(&self, in_full: bool, syns: u32) -> String {
        let port = Spoken(self.service);
        let icmp = || {
            let from = self.icmp.and_then(|icmp| icmp.sender);
            let by = from.map_or_else(|| "a router".to_owned(), |from| from.to_string());
            let why = self.icmp.map_or_else(String::new, |icmp| format!(" ({icmp})"));
            (by, why)
        };
        let errno = self.errno.map_or_else(String::new, |errno| format!(" ({errno})"));
        let Some(outcome) = self.outcome else { return format!("{port} has not answered yet") };
        let what = match outcome {
            Outcome::Reset => format!("{port} is refused"),
            Outcome::IcmpHard => {
                let (by, why) = icmp();
                format!("{port} is filtered by {by}{why}")
            }
            Outcome::IcmpSoft => {
                let (by, why) = icmp();
                format!("{port} is unreachable, says {by}{why}")
            }
            Outcome::Timeout => match syns {
                2.. => format!("{port} is silent ({syns} SYNs unanswered)"),
                _ => format!("{port} is silent{}", self.in_brackets()),
            },
            Outcome::Local => format!("{port} cannot be tried from this machine{errno}"),
            Outcome::Closed => format!("{port} closed the connection{}", self.in_brackets()),
            Outcome::Via => match self.via_error {
                Some(error) => format!("{port}: the proxy {error}{}", self.in_brackets()),
                None => format!("{port} is refused by the proxy"),
            },
            Outcome::Cancelled => format!("{port} was given up"),
            Outcome::Connected => format!("{port} is connected"),
        };
        match self.address {
            Some(address) if in_full => {
                format!("{what} at {} after {}", format_host(address), Millis(self.lasted()))
            }
            _ => what,
        }
    }
}

/// A service as people name it: by its port and, where it has only one, its family.
pub(crate) struct Spoken(pub(crate) Service);

impl fmt::Display for Spoken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.port())?;
        self.0.family().map_or(Ok(()), |family| write!(f, " over {family}"))
    }
}

/// A time as people read it: `84 ms`, `1.3 s`.
#[doc(hidden)]
#[derive(Debug, Clone, Copy)]
pub struct Millis(pub Duration);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Whole numbers: the code that writes floating-point numbers would be a hundredth of the C
        // library.
        // Half up, in nanoseconds: u128 holds those of any duration.
        let of = |unit: u128| (self.0.as_nanos() + unit * 500) / (unit * 1000);
        let (tenths, ms, hundredths) = (of(100), of(1000), of(10_000));
        if tenths < 100 {
            write!(f, "{}.{} ms", tenths / 10, tenths % 10)
        } else if ms < 1000 {
            write!(f, "{ms} ms")
        } else {
            write!(f, "{}.{:02} s", hundredths / 100, hundredths % 100)
        }
    }
}
