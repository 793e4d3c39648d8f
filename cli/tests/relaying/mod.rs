//! A relay as its own process, servers to reach through it, and clients.

#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, reason = "what helps a test may fail like one")]
#![allow(clippy::print_stderr, reason = "a test that fails shows the relay's log")]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use mailport_relay::RelayStatus;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

pub(crate) const MAILPORT: &str = env!("CARGO_BIN_EXE_mailport");
const PROC: &str = "this test needs /proc";
/// What takes longer never happens.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A relay; it is killed when this is dropped.
pub(crate) struct Relay {
    child: Child,
    folder: TempDir,
    pub(crate) addresses: Vec<SocketAddr>,
}

impl Relay {
    /// Starts a relay with these options, and waits until it listens.
    pub(crate) fn start(options: &[&str]) -> Relay {
        Relay::by(Command::new(MAILPORT), options)
    }

    /// The same, by a command to which the arguments of mailport are added.
    pub(crate) fn by(command: Command, options: &[&str]) -> Relay {
        Relay::within(command, options, tempfile::tempdir().unwrap())
    }

    pub(crate) fn within(mut command: Command, options: &[&str], folder: TempDir) -> Relay {
        crate::common::loopback_is_up();
        let control = folder.path().join("control").join("relay.sock");
        let log = File::create(folder.path().join("log")).unwrap();
        command.args(["relay", "--log", "json", "--control"]).arg(control).args(options);
        command.arg("--cache").arg(folder.path().join("cache").join("cache.json"));
        let child = command.stderr(log).spawn().expect("cargo has built it");
        let mut relay = Relay { child, folder, addresses: Vec::new() };
        wait_for("the relay listens", || {
            relay.log().contains("\"confined\"") || relay.child.try_wait().unwrap().is_some()
        });
        let log = relay.log();
        let lines = log.lines().map(|line| serde_json::from_str(line).unwrap_or_default());
        let lines: Vec<serde_json::Value> = lines.collect();
        let addresses = lines.iter().filter(|line| line["event"] == "listening");
        let addresses = addresses.map(|line| line["listener"].as_str().unwrap().to_owned());
        // A UNIX socket has none.
        relay.addresses = addresses.filter_map(|address| address.parse().ok()).collect();
        assert!(log.contains("\"confined\""), "it has ended: {log}");
        relay
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    pub(crate) fn control(&self) -> PathBuf {
        self.folder.path().join("control").join("relay.sock")
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn status(&self) -> RelayStatus {
        let answer = mailport_relay::ask_status(&self.control()).expect("an answer");
        serde_json::from_str(&answer).expect("a status")
    }

    /// Waits until no session is left, and gives the status then.
    pub(crate) fn quiet(&self) -> RelayStatus {
        wait_for("all sessions end", || {
            let status = self.status();
            status.joined + status.dialling + status.handshaking == 0
        });
        self.status()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    /// Waits until it has ended.
    pub(crate) fn end(&mut self) -> ExitStatus {
        wait_for("the relay ends", || self.child.try_wait().unwrap().is_some());
        self.child.wait().unwrap()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// The status of each of its threads, as procfs has it.
    pub(crate) fn threads(&self) -> Vec<String> {
        let threads = fs::read_dir(format!("/proc/{}/task", self.child.id())).expect(PROC);
        let status = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("status"));
        // One that has ended meanwhile has none.
        threads.filter_map(|thread| status(thread.ok()?).ok()).collect()
    }

    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).expect(PROC).count()
    }

    pub(crate) fn resident_kib(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect(PROC);
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// A client at its first listener.
    pub(crate) fn connect(&self) -> TcpStream {
        client(self.addresses[0])
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            let log = self.log();
            let last = log.lines().count().saturating_sub(40);
            log.lines().skip(last).for_each(|line| eprintln!("{line}"));
        }
    }
}

pub(crate) fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < until, "it never happened: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// A connection whose reads and writes fail after a timeout.
pub(crate) fn client(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(to).expect("the relay accepts");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

pub(crate) fn line(mut from: impl Read) -> String {
    let mut line = Vec::new();
    let mut byte = [0];
    while from.read(&mut byte).expect("a line") == 1 {
        line.push(byte[0]);
        if byte[0] == b'\n' {
            break;
        }
    }
    String::from_utf8(line).unwrap()
}

pub(crate) fn rest(mut from: impl Read) -> Vec<u8> {
    let mut all = Vec::new();
    from.read_to_end(&mut all).expect("the rest");
    all
}

/// How a connection ends: with these bytes, or with this error.
pub(crate) fn ending(mut from: impl Read) -> Result<Vec<u8>, std::io::ErrorKind> {
    let mut all = Vec::new();
    from.read_to_end(&mut all).map(|_| all).map_err(|error| error.kind())
}

pub(crate) const GREETING: &str = "220 fake.example ESMTP\r\n";

/// A server that greets, and gives back what it gets until that ends.
pub(crate) fn echo() -> u16 {
    server(|mut stream| {
        let _ = stream.write_all(GREETING.as_bytes());
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(count) = stream.read(&mut buffer) {
            if count == 0 || stream.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
    })
}

/// A server that does this with every connection, on a thread each; its port.
pub(crate) fn server(serve: impl Fn(TcpStream) + Send + Clone + 'static) -> u16 {
    let (port, listener) = listener();
    thread::spawn(move || {
        // One that was reset before it was accepted is none.
        for stream in listener.incoming().flatten() {
            let serve = serve.clone();
            thread::spawn(move || serve(stream));
        }
    });
    port
}

/// A listener with room for a storm: where a queue is full, the kernel lets a client believe that it
/// is connected.
pub(crate) fn listener() -> (u16, TcpListener) {
    crate::common::loopback_is_up();
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    socket.listen(4096).unwrap();
    let listener = TcpListener::from(socket);
    (listener.local_addr().unwrap().port(), listener)
}

/// A port without a listener for now.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// The options of a fixed listener at a port of the system's choice.
pub(crate) fn fixed(plan: &str) -> [&str; 4] {
    ["--listen", "127.0.0.1:0=127.0.0.1", "--plan", plan]
}

/// A command that has ended, and what it printed.
pub(crate) fn run(args: &[&str]) -> (ExitStatus, String, String) {
    let output = Command::new(MAILPORT).args(args).stdin(Stdio::null()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status, text(output.stdout), text(output.stderr))
}

/// Bytes that do not repeat soon.
pub(crate) fn message(length: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; length];
    fastrand::Rng::with_seed(seed).fill(&mut bytes);
    bytes
}
