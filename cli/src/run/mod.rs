//! `mailport run`.
//!
//! Two processes. The one that the caller has started (`front`) ends as the program does. The other
//! one is the parent of the program, and answers the calls of its descendants until the last of them
//! has ended.
//!
//! - `front`: ends, stops and receives signals as the program does
//! - `sys`: the system calls that no crate wraps
//! - `start`: starts the program, or says why this system does not allow it
//! - `supervisor`: answers the `connect` calls of the program
//! - `waiting`: calls that wait for the end of a dial
//! - `socket`: whether a socket is taken over, and its connection to the relay
//! - `processes`: the processes of the program, and their descriptors
//! - `learned`: the other addresses of the names that the program has looked up

mod front;
mod learned;
mod processes;
mod socket;
mod start;
mod supervisor;
mod sys;
mod waiting;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use mailport::target::Host;
use mailport::{Cache, Dialer, Target};
use mailport_relay::{
    self as relay, Asked, Listener, Log, LogFormat, Mode, Prefer, Relay, Settings, Signals,
    TakenOver,
};
use nix::sys::signal::SigSet;
use nix::unistd::Pid;
use rustix::process::{WaitOptions, wait};

use self::front::ProgramEvent;
use self::socket::RelayAddresses;
use self::start::{NOT_POSSIBLE, StartError};
use self::supervisor::{Reports, Supervisor};
use self::sys::Inherited;
use crate::connect::width_of;
use crate::options::CacheOption;
use crate::terminal;

/// How long the last processes of the program may take to end after the first one.
const LAST_PROCESSES: Duration = Duration::from_millis(100);
/// How long the end of the program waits for what it has sent last. It is sent on after that.
const LAST_BYTES: Duration = Duration::from_secs(2);

/// Runs a program whose connections to mail ports are dials of mailport
///
/// The program needs no configuration and no privilege: its connect calls to the mail ports are
/// taken over (seccomp user notification), all others are the kernel's. The program looks its server
/// up and checks its certificate as before. Its children are included. The other addresses of the
/// server are learned from its look-up (with glibc's getaddrinfo), and are tried too.
///
/// Not a sandbox: calls that are not taken over are read again by the kernel. Without root, the
/// program cannot gain privileges (NO_NEW_PRIVS), so sudo and other set-user-ID programs do not work
/// in it. Sockets that are bound to an address, an interface or a mark, TCP Fast Open, io_uring and
/// 32-bit programs connect as without mailport. getpeername shows an address of this machine.
/// docs/run.md has all limits.
///
/// Exit status: that of the program, or its signal. 125 the system does not allow it, 126 the
/// program could not be started, 127 there is no such program, 2 the command line is wrong.
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

    /// A server of the program: a connection to one of its addresses may use all of them
    ///
    /// For programs whose look-up shows nothing: those in Go, and those with their own resolver. It
    /// can be given several times.
    #[arg(long, value_name = "NAME", value_parser = host_name)]
    host: Vec<Target>,

    #[command(flatten)]
    cache: CacheOption,

    /// Print each connection on standard error [default: off]
    #[arg(long)]
    verbose: bool,

    /// When the program has ended, draw the attempts of each dial on a time scale [default: off]
    ///
    /// On standard error, as mailport connect --explain does.
    #[arg(long)]
    explain: bool,

    /// The program and its arguments
    #[arg(value_name = "PROGRAM", required = true, trailing_var_arg = true)]
    #[arg(allow_hyphen_values = true)]
    program: Vec<OsString>,
}

/// A name of a host: an address has no other addresses.
fn host_name(text: &str) -> Result<Target, String> {
    let target: Target = text.parse().map_err(|error| format!("{error}"))?;
    match target.host() {
        Host::Name(_) => Ok(target),
        _ => Err("not a name".to_owned()),
    }
}

pub(crate) fn run(args: &Args) -> ExitCode {
    let inherited = Inherited::new();
    let front = || -> io::Result<ExitCode> {
        let mask = front::block_signals()?;
        let (events, supervisor) = UnixStream::pair()?;
        if sys::fork()?.is_none() {
            drop(events);
            supervise(args, mask, inherited, &supervisor);
            return Ok(ExitCode::SUCCESS);
        }
        drop(supervisor);
        let null = File::options().read(true).write(true).open("/dev/null")?;
        rustix::stdio::dup2_stdin(&null)?;
        rustix::stdio::dup2_stdout(&null)?;
        inherited.close();
        front::follow(events)
    };
    front().unwrap_or_else(|error| {
        crate::complain(error);
        ExitCode::from(NOT_POSSIBLE)
    })
}

/// In the process of the supervisor: starts the program and answers its calls to the end.
fn supervise(args: &Args, mask: SigSet, inherited: Inherited, front: &UnixStream) {
    // A thread that fails must not leave the program waiting.
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        std::process::abort();
    }));
    if let Err(error) = start_and_answer(args, mask, inherited, front) {
        crate::complain(&error);
        let status = error.exit_status();
        // It fails where the caller has ended the process in front.
        let _ = (&*front).write_all(&ProgramEvent::Refused(status).to_bytes());
    }
}

fn start_and_answer(
    args: &Args,
    mask: SigSet,
    inherited: Inherited,
    front: &UnixStream,
) -> Result<(), StartError> {
    // Daemons of the program stay under this process, so that it may look into them (Yama).
    let own = rustix::process::getpid();
    rustix::process::set_child_subreaper(Some(own)).map_err(io::Error::from)?;
    let held = start::hold(&args.program, mask)?;
    let taken_over = TakenOver::default();
    // The program keeps its own limit of descriptors: its process is there already.
    relay::raise_limit();
    let ready = start_relay(args, &taken_over).and_then(|(relay, settings)| {
        let addresses = RelayAddresses::new(relay.addresses())?;
        Ok((relay, settings, addresses, signals()?))
    });
    let (relay, settings, addresses, (stop, signals)) = match ready {
        Ok(ready) => ready,
        Err(error) => {
            held.give_up();
            return Err(error.into());
        }
    };
    // The program has the terminal, its keys and the standard streams for itself.
    let null = File::options().read(true).write(true).open("/dev/null")?;
    rustix::process::setsid().map_err(io::Error::from)?;
    rustix::stdio::dup2_stdin(&null).map_err(io::Error::from)?;
    rustix::stdio::dup2_stdout(&null).map_err(io::Error::from)?;
    inherited.close();
    let (child, listener) = start::start(held, &args.program[0])?;
    let program = Pid::from_raw(child.id().cast_signed());
    let mut events = front.try_clone()?;
    let _ = events.write_all(&ProgramEvent::Started(program).to_bytes());

    let reports = Reports::default();
    let supervisor = Supervisor::new(
        listener,
        &args.ports,
        addresses,
        taken_over,
        !args.host.is_empty(),
        reports.clone(),
    );
    let (alive, processes) = mpsc::channel::<()>();
    let (relaying, relayed) = mpsc::channel::<()>();
    let explain = args.explain.then_some(reports);
    let end = ProgramEnd { program, events, processes, relayed, stop, explain, null };
    let program = spawn("program", move || end.await_it())?;
    spawn("supervisor", move || {
        let answered = supervisor.run();
        drop(alive);
        if let Err(error) = answered {
            // The program must not wait for answers: the kernel gives them when this process ends.
            crate::complain(format_args!("the calls of the program are not answered: {error}"));
            std::process::abort();
        }
    })?;
    if let Err(error) = relay.run(signals, || Ok(settings.clone())) {
        // The calls of the program fail from now on.
        crate::complain(error);
        return Ok(());
    }
    drop(relaying);
    let _ = program.join();
    Ok(())
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<thread::JoinHandle<()>> {
    thread::Builder::new().name(name.to_owned()).spawn(work)
}

/// What is done when the program ends.
struct ProgramEnd {
    program: Pid,
    events: UnixStream,
    /// Closed when the last process of the program has ended.
    processes: Receiver<()>,
    /// Closed when the relay has ended.
    relayed: Receiver<()>,
    /// The relay ends when this is dropped.
    stop: (UnixStream, UnixStream),
    explain: Option<Reports>,
    null: File,
}

impl ProgramEnd {
    fn await_it(self) {
        let status = self.await_program();
        let has_processes = self.reap_last();
        let ProgramEnd { mut events, processes, relayed, stop, explain, null, .. } = self;
        if !has_processes {
            // What the program has sent last is still on its way; the relay ends when it is there.
            drop(stop);
            let _ = relayed.recv_timeout(LAST_BYTES);
            return tell(&mut events, status, explain.as_ref(), &null);
        }
        tell(&mut events, status, explain.as_ref(), &null);
        while !matches!(wait(WaitOptions::empty()), Err(rustix::io::Errno::CHILD)) {}
        let _ = processes.recv();
        drop(stop);
    }

    /// Waits for the end of the program, and returns its status of `wait`(2).
    fn await_program(&self) -> i32 {
        loop {
            match wait(WaitOptions::UNTRACED) {
                Ok(Some((pid, status))) if pid.as_raw_nonzero().get() == self.program.as_raw() => {
                    if !status.stopped() {
                        return status.as_raw();
                    }
                    let _ = (&self.events).write_all(&ProgramEvent::Stopped.to_bytes());
                }
                // Another process that the program has left behind.
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                // Its status is lost: this happens only where something else takes it.
                Err(_) => return i32::from(crate::FAILURE) << 8,
            }
        }
    }

    /// Whether processes of the program go on after it.
    fn reap_last(&self) -> bool {
        let until = Instant::now() + LAST_PROCESSES;
        loop {
            while matches!(wait(WaitOptions::NOHANG), Ok(Some(_))) {}
            match self.processes.recv_timeout(LAST_PROCESSES / 20) {
                Err(RecvTimeoutError::Disconnected) => return false,
                _ if Instant::now() >= until => return true,
                _ => {}
            }
        }
    }
}

/// Tells the process in front how the program has ended, after what is to be printed.
fn tell(events: &mut UnixStream, status: i32, explain: Option<&Reports>, null: &File) {
    let mut stderr = anstream::stderr();
    for (to, report) in explain.into_iter().flat_map(Reports::take) {
        let timeline = report.timeline(width_of(io::stderr()));
        let _ = writeln!(stderr, "{}", supervisor::sentence(&report, to));
        let _ = stderr.write_all(terminal::timeline(&timeline).as_bytes());
    }
    // What the caller reads to its end must end, though daemons and last bytes go on.
    let _ = rustix::stdio::dup2_stderr(null);
    let _ = events.write_all(&ProgramEvent::Ended(status).to_bytes());
}

/// The relay that dials, listening at addresses of this machine.
fn start_relay(args: &Args, taken_over: &TakenOver) -> io::Result<(Relay, Settings)> {
    let mut asked = Asked::with_ports(&args.ports[..]);
    asked.names.clone_from(&args.host);
    if args.prefer_submission {
        asked.prefer = Prefer::Submission;
    }
    let listener = |ip: IpAddr| {
        let mode = Mode::TakenOver(asked.clone(), taken_over.clone());
        Listener::new(SocketAddr::new(ip, 0), mode)
    };
    let mut settings = Settings::default();
    settings.listeners.push(listener(Ipv4Addr::LOCALHOST.into()));
    // This machine may have no IPv6.
    if std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
        settings.listeners.push(listener(Ipv6Addr::LOCALHOST.into()));
    }
    // As many as the program makes: the descriptors are the limit.
    settings.limits.max_sessions = usize::MAX;
    settings.limits.max_sessions_per_client = usize::MAX;
    let mut dialer = Dialer::new().without_cache();
    if args.cache.is_on() {
        dialer = dialer.with_cache(args.cache.path().map_or_else(Cache::new, Cache::open));
    }
    let log = if args.verbose {
        Log::to_stderr(LogFormat::Text)
    } else {
        Log::new(LogFormat::Text, io::sink())
    };
    let relay = Relay::start(settings.clone(), dialer, Vec::new(), log)?;
    Ok((relay, settings))
}

/// The streams by which the relay learns that it must stop: it stops when the first one is dropped.
fn signals() -> io::Result<((UnixStream, UnixStream), Signals)> {
    let (stopper, stop) = UnixStream::pair()?;
    let (reloader, reload) = UnixStream::pair()?;
    Ok(((stopper, reloader), Signals { stop, reload }))
}
