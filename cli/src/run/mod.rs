//! `mailport run`.
//!
//! - `sys`: the system calls that no crate wraps
//! - `supervisor`: answers the `connect` calls of the program
//! - `learned`: the other addresses of the names that the program has looked up

mod learned;
mod supervisor;
mod sys;

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitCode, ExitStatus};
use std::thread;

use mailport::{Cache, Dialer};
use mailport_relay::{
    self as relay, Asked, Listener, Log, LogFormat, Mode, Prefer, Relay, Settings, Signals,
    TakenOver,
};

use rustix::process::{Pid, Signal, kill_process};

use self::supervisor::Supervisor;
use crate::options::CacheOption;

/// Runs a program whose connections to mail ports are dials of mailport
///
/// The program needs no configuration and no privilege: its connect calls to the mail ports are
/// taken over (seccomp user notification), all others are the kernel's. The program looks its server
/// up and checks its certificate as before. Its children are included. The other addresses of the
/// server are learned from its look-up (with glibc's getaddrinfo), and are tried too.
///
/// Not a sandbox: calls that are not taken over are read again by the kernel. The program cannot gain
/// privileges (NO_NEW_PRIVS), so sudo and other set-user-ID programs do not work in it. Sockets that
/// are bound to an address, an interface or a mark, TCP Fast Open, io_uring and 32-bit programs
/// connect as without mailport. getpeername shows an address of this machine.
///
/// Exit status: that of the program, or 128 and the number of the signal that ended it; 1 it could
/// not be started, 2 the command line is wrong.
#[derive(Debug, clap::Args)]
#[expect(clippy::doc_markdown, reason = "these are texts for a terminal")]
pub(crate) struct Args {
    /// The ports that are taken over
    ///
    /// As in mailport relay: only 25 and 587 have a fallback, to one another.
    #[arg(long, value_name = "PORTS", value_delimiter = ',')]
    #[arg(default_value = "25,465,587,110,143,993,995,4190")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    ports: Vec<u16>,

    /// Try 587 first where the program asks for 25 [default: off]
    #[arg(long)]
    prefer_submission: bool,

    #[command(flatten)]
    cache: CacheOption,

    /// Print each connection on standard error [default: off]
    #[arg(long)]
    verbose: bool,

    /// The program and its arguments
    #[arg(value_name = "PROGRAM", required = true, trailing_var_arg = true)]
    #[arg(allow_hyphen_values = true)]
    program: Vec<OsString>,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    match supervise(args) {
        Ok(status) => status_of(status),
        Err(error) => {
            crate::complain(error);
            ExitCode::from(crate::FAILURE)
        }
    }
}

/// As a shell gives it.
fn status_of(status: ExitStatus) -> ExitCode {
    let number = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    ExitCode::from(number.and_then(|number| u8::try_from(number).ok()).unwrap_or(crate::FAILURE))
}

fn supervise(args: &Args) -> io::Result<ExitStatus> {
    let refused = |message: &str| Err(io::Error::other(message));
    if !sys::IS_SUPPORTED {
        return refused("mailport run does not support this processor; use mailport relay");
    }
    if !may_look_into_programs() {
        return refused(
            "this system lets no process look into another one (kernel.yama.ptrace_scope is 2 or \
             3), which mailport run needs; use mailport relay",
        );
    }
    let expected = TakenOver::default();
    let (relay, settings) = start_relay(args, &expected)?;
    let relay_addresses = relay.addresses().to_vec();
    let program = &args.program[0];
    let mut command = Command::new(program);
    command.args(&args.program[1..]);
    // Before the program starts, which has none of these handlers: exec resets them. The keys of the
    // terminal are for the program, which decides what they mean.
    ignore_keys()?;
    let received = receive_signals()?;
    let (mut child, listener) =
        sys::spawn(&mut command).map_err(|error| explain(&error, program))?;
    pass_on(received, Pid::from_child(&child))?;
    let (stop, signals) = signals()?;
    let supervisor = Supervisor::new(listener, &args.ports, &relay_addresses, expected);
    let supervising = thread::Builder::new().name("supervisor".to_owned()).spawn(move || {
        // Until the last process of the program has ended.
        supervisor.run()?;
        let status = child.wait();
        // What the program has said last is still on its way: the relay stops when that is done.
        drop(stop);
        status
    })?;
    relay.run(signals, || Ok(settings.clone()))?;
    let failed = |_| Err(io::Error::other("the supervisor of mailport run has failed"));
    supervising.join().unwrap_or_else(failed)
}

/// The relay that dials, listening at addresses of this machine.
fn start_relay(args: &Args, expected: &TakenOver) -> io::Result<(Relay, Settings)> {
    let mut asked = Asked::with_ports(&args.ports[..]);
    if args.prefer_submission {
        asked.prefer = Prefer::Submission;
    }
    let listener = |ip: IpAddr| {
        let mode = Mode::TakenOver(asked.clone(), expected.clone());
        Listener::new(SocketAddr::new(ip, 0), mode)
    };
    let mut settings = Settings::default();
    settings.listeners.push(listener(Ipv4Addr::LOCALHOST.into()));
    // This machine may have no IPv6.
    if std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
        settings.listeners.push(listener(Ipv6Addr::LOCALHOST.into()));
    }
    settings.limits.max_sessions_per_client = settings.limits.max_sessions;
    let mut dialer = Dialer::new().without_cache();
    if args.cache.is_on() {
        dialer = dialer.with_cache(args.cache.path().map_or_else(Cache::new, Cache::open));
    }
    relay::raise_limit();
    let log = if args.verbose {
        Log::to_stderr(LogFormat::Text)
    } else {
        Log::new(LogFormat::Json, Failures)
    };
    let relay = Relay::start(settings.clone(), dialer, Vec::new(), log)?;
    Ok((relay, settings))
}

/// Prints the reasons of dials that failed, of a log in JSON.
struct Failures;

impl Write for Failures {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Ok(record) = serde_json::from_slice::<serde_json::Value>(line)
            && record["event"] == "failed"
            && let Some(reason) = record["reason"].as_str()
        {
            crate::complain(reason);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The streams by which the relay learns that it must stop: it stops when the first one is dropped.
fn signals() -> io::Result<((UnixStream, UnixStream), Signals)> {
    let (stopper, stop) = UnixStream::pair()?;
    let (reloader, reload) = UnixStream::pair()?;
    Ok(((stopper, reloader), Signals { stop, reload }))
}

/// Ignores the signals of the terminal's keys in this process; the program has started already.
fn ignore_keys() -> io::Result<()> {
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGQUIT] {
        signal_hook::flag::register(signal, std::sync::Arc::default())?;
    }
    Ok(())
}

/// The signals that would end this process, and a stream for each that has a byte when it comes.
fn receive_signals() -> io::Result<[(Signal, UnixStream); 2]> {
    let receive = |number, signal| {
        let (received, write) = UnixStream::pair()?;
        signal_hook::low_level::pipe::register(number, write)?;
        Ok::<_, io::Error>((signal, received))
    };
    Ok([
        receive(signal_hook::consts::SIGTERM, Signal::TERM)?,
        receive(signal_hook::consts::SIGHUP, Signal::HUP)?,
    ])
}

/// Passes these signals on to the program.
fn pass_on(signals: [(Signal, UnixStream); 2], program: Pid) -> io::Result<()> {
    for (signal, mut received) in signals {
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            while received.read(&mut [0; 1]).is_ok_and(|count| count > 0) {
                // It fails for a program that has ended.
                let _ = kill_process(program, signal);
            }
        })?;
    }
    Ok(())
}

/// Whether Yama lets a process look into those that it has started.
fn may_look_into_programs() -> bool {
    let scope = std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope");
    let is_root = rustix::process::geteuid().is_root();
    is_root || scope.map_or(true, |scope| matches!(scope.trim(), "0" | "1"))
}

/// Why the program was not started, and what to do instead.
fn explain(error: &io::Error, program: &OsString) -> io::Error {
    let program = program.display();
    let message = match error.raw_os_error() {
        Some(libc::EBUSY) => "another program already answers its connect calls: mailport run \
                              cannot be nested; use mailport relay"
            .to_owned(),
        Some(libc::EINVAL | libc::ENOSYS) => {
            "this kernel or container does not allow seccomp user notification; use mailport relay"
                .to_owned()
        }
        _ => format!("{program}: {error}"),
    };
    io::Error::new(error.kind(), message)
}
