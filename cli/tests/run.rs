//! `mailport run`: a program's connections to the ports are dials, and nothing else of it changes.
//!
//! Needs a kernel that lets a process answer the system calls of its children (Linux 5.9), and
//! python3; fails without them.
#![expect(clippy::unwrap_used, reason = "a test that cannot set its scene has failed")]

mod common;

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use common::{Port, open, refused, silent};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn mailport(ports: &[u16], program: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mailport"));
    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
    command.args(["run", "--cache", "off", "--ports", &ports.join(",")]).args(program);
    command.stdin(Stdio::null());
    command
}

fn texts(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// Runs lines of Python with this port taken over: PORT.
fn python(port: u16, lines: &str) -> (Option<i32>, String, String) {
    let lines = format!("import os, select, socket, threading\nPORT = {port}\n{lines}");
    texts(&mailport(&[port], &["python3", "-c", &lines]).output().unwrap())
}

/// A server that greets every client, and repeats what it says.
fn echo() -> u16 {
    let listener = open();
    let port = listener.port();
    thread::spawn(move || serve(&listener));
    port
}

fn serve(listener: &TcpListener) {
    for client in listener.incoming() {
        thread::spawn(move || {
            let mut client = client.unwrap();
            let mut from = client.try_clone().unwrap();
            let _ = client.write_all(b"220 ready\r\n");
            let _ = std::io::copy(&mut from, &mut client);
        });
    }
}

#[test]
fn the_exit_status_and_the_signal_are_those_of_the_program() {
    for (script, code) in [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 128 + 15)] {
        let output = mailport(&[25], &["sh", "-c", script]).output().unwrap();
        assert_eq!(texts(&output), (Some(code), String::new(), String::new()), "{script}");
    }
    let output = mailport(&[25], &["/does/not/exist"]).output().unwrap();
    let (code, _, stderr) = texts(&output);
    assert!(code == Some(1) && stderr.contains("/does/not/exist: No such file"), "{stderr}");
}

#[test]
fn arguments_and_standard_streams_are_those_of_the_program() {
    let mut command = mailport(&[25], &["sh", "-c", "cat; echo $0 >&2", "--json"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"a letter").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(texts(&output), (Some(0), "a letter".into(), "--json\n".into()));
}

#[test]
fn a_connection_that_blocks_is_a_dial_and_passes_bytes() {
    let lines = "
s = socket.create_connection(('127.0.0.1', PORT))
at = s.getpeername()[1]
assert s.recv(100) == b'220 ready\\r\\n'
threading.Thread(target=lambda: (s.sendall(b'x' * 3000000), s.shutdown(socket.SHUT_WR))).start()
n = 0
while d := s.recv(65536): n += len(d)
print(n, at == PORT)";
    // The peer is the relay inside mailport.
    assert_eq!(python(echo(), lines), (Some(0), "3000000 False\n".into(), String::new()));
}

#[test]
fn a_dial_that_fails_gives_its_errno_and_a_sentence() {
    let port = refused();
    let lines = "
try: socket.create_connection(('127.0.0.1', PORT))
except ConnectionRefusedError as error: print(error.errno)";
    let (code, stdout, stderr) = python(port.port(), lines);
    assert_eq!((code, &*stdout), (Some(0), "111\n"), "{stderr}");
    let sentence = format!("mailport: 127.0.0.1: {} is refused", port.port());
    assert!(stderr.starts_with(&sentence), "{stderr}");
}

#[test]
fn a_connection_that_does_not_block_succeeds_at_once_and_keeps_its_registration() {
    let server = silent();
    let lines = "
s = socket.socket(); s.setblocking(False)
e = select.epoll(); e.register(s, select.EPOLLOUT)
print(s.connect_ex(('127.0.0.1', PORT)) in (0, 115))
print(e.poll(10) == [(s.fileno(), select.EPOLLOUT)])
os._exit(0)";
    let (code, stdout, stderr) = python(server.port(), lines);
    assert_eq!((code, &*stdout), (Some(0), "True\nTrue\n"), "{stderr}");
}

#[test]
fn a_connection_that_does_not_block_is_reset_when_its_dial_fails() {
    let port = refused();
    let lines = "
s = socket.socket(); s.setblocking(False)
s.connect_ex(('127.0.0.1', PORT)); select.select([s], [], [], 10)
try: print(s.recv(1))
except ConnectionResetError: print('reset')";
    let (code, stdout, stderr) = python(port.port(), lines);
    assert_eq!((code, &*stdout), (Some(0), "reset\n"), "{stderr}");
}

#[test]
fn everything_else_is_left_alone() {
    let (server, other) = (echo(), open());
    let lines = format!(
        "
OTHER = {}
s = socket.create_connection(('127.0.0.1', OTHER)); print(s.getpeername()[1] == OTHER)
s = socket.socket(); s.bind(('127.0.0.1', 0)); s.connect(('127.0.0.1', PORT))
print(s.getpeername()[1] == PORT)
try: s.connect(('127.0.0.1', PORT))
except OSError as error: print(error.errno)
u = socket.socket(type=socket.SOCK_DGRAM); u.connect(('127.0.0.1', PORT))
print(u.getpeername()[1] == PORT)
s = socket.socket(socket.AF_UNIX)
try: s.connect('/does/not/exist')
except FileNotFoundError: print('no file')
s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen()
try: s.connect(('127.0.0.1', PORT))
except OSError as error: print(error.errno)",
        other.port()
    );
    let (code, stdout, stderr) = python(server, &lines);
    // EISCONN, of a listener too.
    let expected = "True\nTrue\n106\nTrue\nno file\n106\n";
    assert_eq!((code, &*stdout, &*stderr), (Some(0), expected, ""));
}

#[test]
fn children_and_threads_are_followed() {
    let lines = "
def show():
  s = socket.create_connection(('127.0.0.1', PORT))
  print(s.recv(3), s.getpeername()[1] == PORT, flush=True)
t = threading.Thread(target=show); t.start(); t.join()
if os.fork() == 0: show(); os._exit(0)
os.wait()
os.execvp('python3', ['python3', '-c', f'''import socket
s = socket.create_connection((\"127.0.0.1\", {PORT}))
print(s.recv(3), s.getpeername()[1] == {PORT})'''])";
    let (code, stdout, stderr) = python(echo(), lines);
    assert_eq!((code, &*stdout, &*stderr), (Some(0), "b'220' False\n".repeat(3).as_str(), ""));
}

#[test]
fn many_connections_at_once_are_all_served() {
    let lines = "
import resource
most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 4096), most))
ss = [socket.socket() for _ in range(300)]
for s in ss: s.setblocking(False); s.connect_ex(('127.0.0.1', PORT))
for s in ss: s.setblocking(True); s.settimeout(20)
print(sum(s.recv(3) == b'220' for s in ss))";
    let (code, stdout, stderr) = python(echo(), lines);
    assert_eq!((code, &*stdout, &*stderr), (Some(0), "300\n", ""));
}

#[test]
fn a_connection_that_was_not_taken_over_is_refused_by_the_listener() {
    let lines = "
s = socket.create_connection(('127.0.0.1', PORT)); s.recv(3)
t = socket.create_connection(s.getpeername())
try: print(t.recv(1))
except ConnectionResetError: print('reset')";
    let (code, stdout, stderr) = python(echo(), lines);
    assert_eq!((code, &*stdout), (Some(0), "reset\n"), "{stderr}");
}

#[test]
fn a_termination_reaches_the_program() {
    let lines = "trap 'echo ended; exit 3' TERM; echo ready; while :; do sleep 0.1; done";
    let mut command = mailport(&[25], &["sh", "-c", lines]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 6]).unwrap();
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM).unwrap();
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert_eq!((&*rest, child.wait().unwrap().code()), ("ended\n", Some(3)));
}

#[test]
fn a_supervisor_that_dies_ends_the_waits_of_the_program() {
    let server = silent();
    let lines = format!(
        "
import socket
print('ready', flush=True)
try: socket.create_connection(('127.0.0.1', {}))
except OSError as error: print('failed')",
        server.port()
    );
    let mut command = mailport(&[server.port()], &["python3", "-c", &lines]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 6]).unwrap();
    // Until the program has asked for its connection.
    thread::sleep(Duration::from_millis(500));
    let start = Instant::now();
    child.kill().unwrap();
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "failed\n");
    assert!(start.elapsed() < Duration::from_secs(25), "the dial would take 30 s");
    assert_eq!(child.wait().unwrap().signal(), Some(9));
}

#[test]
fn it_is_not_nested() {
    let inner = [env!("CARGO_BIN_EXE_mailport"), "run", "true"];
    let (code, _, stderr) = texts(&mailport(&[25], &inner).output().unwrap());
    assert!(code == Some(1) && stderr.contains("cannot be nested; use mailport relay"), "{stderr}");
}
