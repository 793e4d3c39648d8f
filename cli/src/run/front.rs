//! The process that the caller of `mailport run` sees: it ends as the program does, stops when the
//! program stops, and passes signals on to it.
//!
//! It is not the one that answers the program's calls (see `mod.rs`): daemons that the program has
//! started need that one for as long as they live.

use std::io::{self, Read as _};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitCode, ExitStatus};

use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Resource, Rlimit, WaitOptions, setrlimit, wait};

/// What becomes of the program, as the supervisor says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProgramEvent {
    Started(Pid),
    /// By a signal.
    Stopped,
    /// With a status of `wait`(2).
    Ended(i32),
    /// Not started; what this command ends with.
    Refused(u8),
}

/// The bytes of an event: what it is, and its number.
const EVENT: usize = 5;

impl ProgramEvent {
    pub(super) fn to_bytes(self) -> [u8; EVENT] {
        let (kind, number) = match self {
            ProgramEvent::Started(pid) => (b's', pid.as_raw()),
            ProgramEvent::Stopped => (b'z', 0),
            ProgramEvent::Ended(status) => (b'e', status),
            ProgramEvent::Refused(status) => (b'r', status.into()),
        };
        let [a, b, c, d] = number.to_ne_bytes();
        [kind, a, b, c, d]
    }

    fn from_bytes([kind, number @ ..]: [u8; EVENT]) -> Option<ProgramEvent> {
        let number = i32::from_ne_bytes(number);
        match kind {
            b's' => Some(ProgramEvent::Started(Pid::from_raw(number))),
            b'z' => Some(ProgramEvent::Stopped),
            b'e' => Some(ProgramEvent::Ended(number)),
            b'r' => Some(ProgramEvent::Refused(number.to_le_bytes()[0])),
            _ => None,
        }
    }
}

/// Blocks the signals that this process will read, and returns the mask before.
pub(super) fn block_signals() -> io::Result<SigSet> {
    let mut before = SigSet::empty();
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&signals()), Some(&mut before))?;
    Ok(before)
}

/// Those that a process may send to this one, and SIGCHLD. Of the signals that the terminal sends,
/// the program receives its own; that they are blocked keeps them from stopping this process.
fn signals() -> SigSet {
    let is_read = |signal: &Signal| {
        !matches!(
            signal,
            // They cannot be blocked, continue this process, or are its errors.
            Signal::SIGKILL
                | Signal::SIGSTOP
                | Signal::SIGCONT
                | Signal::SIGSEGV
                | Signal::SIGBUS
                | Signal::SIGFPE
                | Signal::SIGILL
                | Signal::SIGTRAP
                | Signal::SIGSYS
        )
    };
    Signal::iterator().filter(is_read).collect()
}

/// Waits for the end of the program, and ends as it does. `supervisor` sends its events.
pub(super) fn follow(mut supervisor: UnixStream) -> io::Result<ExitCode> {
    // Should the supervisor die, the program becomes a child of this process.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    let signals = SignalFd::with_flags(&signals(), SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    let mut program = None;
    // Signals that came before the program.
    let mut early = Vec::new();
    let mut is_supervised = true;
    loop {
        let mut watched = vec![PollFd::new(&signals, PollFlags::IN)];
        if is_supervised {
            watched.push(PollFd::new(&supervisor, PollFlags::IN));
        }
        match poll(&mut watched, None) {
            Err(rustix::io::Errno::INTR) => continue,
            done => done?,
        };
        let has_event = watched.get(1).is_some_and(|watched| !watched.revents().is_empty());
        drop(watched);
        while let Some(signal) = signals.read_signal()? {
            // Whole process groups receive what the kernel sends, so the program has it already.
            let is_sent_by_process = signal.ssi_code <= 0;
            match program {
                Some(program) if is_sent_by_process => pass_on(signal.ssi_signo, program),
                None if is_sent_by_process => early.push(signal.ssi_signo),
                _ => {}
            }
        }
        if has_event {
            let mut event = [0; EVENT];
            match supervisor.read_exact(&mut event).ok().and(ProgramEvent::from_bytes(event)) {
                Some(ProgramEvent::Started(pid)) => {
                    program = Some(pid);
                    early.drain(..).for_each(|signal| pass_on(signal, pid));
                }
                Some(ProgramEvent::Stopped) => stop(program),
                Some(ProgramEvent::Ended(status)) => return Ok(end_as(status)),
                Some(ProgramEvent::Refused(status)) => return Ok(ExitCode::from(status)),
                None => is_supervised = false,
            }
        }
        if !is_supervised {
            let Some(program) = program else {
                return Err(io::Error::other("the supervisor of mailport run has ended"));
            };
            if let Some(status) = ended(program)? {
                return Ok(end_as(status));
            }
        }
    }
}

fn pass_on(signal: u32, program: Pid) {
    let signal = i32::try_from(signal).ok().and_then(|number| Signal::try_from(number).ok());
    if let Some(signal) = signal.filter(|signal| *signal != Signal::SIGCHLD) {
        // It fails for a program that has ended.
        let _ = kill(program, signal);
    }
}

/// Stops as the program has, so that a shell sees it, and continues together with it.
fn stop(program: Option<Pid>) {
    let Some(program) = program else { return };
    // If all processes of the group were stopped, this one was too, and they have been continued.
    if is_stopped(program) {
        let _ = kill(Pid::this(), Signal::SIGSTOP);
        let _ = kill(program, Signal::SIGCONT);
    }
}

fn is_stopped(program: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{program}/stat")).unwrap_or_default();
    // The name of the program, in parentheses, may have any bytes.
    stat.rsplit_once(") ").is_some_and(|(_, fields)| fields.starts_with('T'))
}

/// The status of the program, where the supervisor has died before it.
fn ended(program: Pid) -> io::Result<Option<i32>> {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(None) => return Ok(None),
            Ok(Some((pid, status))) if pid.as_raw_nonzero().get() == program.as_raw() => {
                return Ok(Some(status.as_raw()));
            }
            Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Ends as a program with this status of `wait`(2), by its signal if it was one.
fn end_as(status: i32) -> ExitCode {
    let status = ExitStatus::from_raw(status);
    if let Some(signal) = status.signal() {
        // The memory that was dumped is the program's.
        let none = Rlimit { current: Some(0), maximum: Some(0) };
        let _ = setrlimit(Resource::Core, none);
        let _ = signal_hook::low_level::emulate_default_handler(signal);
        return ExitCode::from(u8::try_from(128 + signal).unwrap_or(u8::MAX));
    }
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    ExitCode::from(code.unwrap_or(crate::FAILURE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_what_was_sent() {
        let pid = Pid::from_raw(70_000);
        for event in [
            ProgramEvent::Started(pid),
            ProgramEvent::Stopped,
            ProgramEvent::Ended(0x0700),
            ProgramEvent::Refused(126),
        ] {
            assert_eq!(ProgramEvent::from_bytes(event.to_bytes()), Some(event));
        }
        assert_eq!(ProgramEvent::from_bytes([0; EVENT]), None);
    }
}
