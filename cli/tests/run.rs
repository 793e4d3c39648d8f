//! `mailport run`: a program's connections to the ports are dials, and nothing else of it changes.
//!
//! Needs a kernel that lets a process answer the system calls of its children (Linux 5.9), has
//! `io_uring` and IPv6, and python3 and cc; fails without them. On other processors than these two
//! `mailport run` is an error, see command.rs.
#![cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#![expect(clippy::unwrap_used, reason = "a test that cannot set its scene has failed")]

mod common;
#[path = "common/seccomp.rs"]
mod seccomp;

use std::fs::Permissions;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use common::{Port, open, refused, silent};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use seccomp::{Refused, refusing};

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
    for (script, code, signal) in [
        ("exit 0", Some(0), None),
        ("exit 7", Some(7), None),
        ("kill -TERM $$", None, Some(15)),
        ("kill -KILL $$", None, Some(9)),
        ("ulimit -c 0; kill -SEGV $$", None, Some(11)),
    ] {
        let output = mailport(&[25], &["sh", "-c", script]).output().unwrap();
        let status = (output.status.code(), output.status.signal());
        assert_eq!(status, (code, signal), "{script}: {output:?}");
        assert_eq!((&*output.stdout, &*output.stderr), (&b""[..], &b""[..]), "{script}");
    }
    for (program, status, words) in [
        ("/does/not/exist", 127, "/does/not/exist: No such file"),
        ("/etc/passwd", 126, "/etc/passwd: Permission denied"),
    ] {
        let (code, _, stderr) = texts(&mailport(&[25], &[program]).output().unwrap());
        assert!(code == Some(status) && stderr.contains(words), "{code:?} {stderr}");
    }
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
print(e.poll(10) == [(s.fileno(), select.EPOLLOUT)], flush=True)
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

/// Starts a program that prints "ready" first.
fn start(command: &mut Command) -> (Child, ChildStdout) {
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut ready = [0; 6];
    stdout.read_exact(&mut ready).unwrap();
    assert_eq!(&ready, b"ready\n");
    (child, stdout)
}

fn rest_of(mut stdout: ChildStdout) -> String {
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    rest
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(child.id().cast_signed())
}

#[test]
fn signals_reach_the_program() {
    for (name, signal) in [
        ("TERM", Signal::SIGTERM),
        ("HUP", Signal::SIGHUP),
        ("INT", Signal::SIGINT),
        ("USR1", Signal::SIGUSR1),
        ("WINCH", Signal::SIGWINCH),
        ("ALRM", Signal::SIGALRM),
    ] {
        let lines =
            format!("trap 'echo {name}; exit 3' {name}; echo ready; while :; do sleep 0.1; done");
        let (mut child, stdout) = start(&mut mailport(&[25], &["sh", "-c", &lines]));
        kill(pid(&child), signal).unwrap();
        assert_eq!(rest_of(stdout), format!("{name}\n"));
        assert_eq!(child.wait().unwrap().code(), Some(3));
    }
}

#[test]
fn signals_that_are_ignored_stay_so_and_limits_are_kept() {
    // Of signals, those up to 31: the C library has uses for others.
    let show = "sed -n 's/^Sig\\(Blk\\|Ign\\):.*\\(........\\)$/\\1 \\2/p' /proc/self/status; \
                ulimit -n; umask; pwd";
    let script =
        |run: &str| format!("trap '' HUP INT USR2 PIPE; ulimit -n 700; {run} sh -c \"{show}\"");
    let run = format!("{} run --cache off", env!("CARGO_BIN_EXE_mailport"));
    let [alone, with] = ["", &run].map(|run| {
        texts(&Command::new("sh").args(["-c", &script(run)]).current_dir("/").output().unwrap())
    });
    assert!(alone.1.contains("700"), "{alone:?}");
    assert_eq!(with, alone);
}

#[test]
fn a_program_that_stops_stops_the_command_and_both_continue() {
    let lines = "echo ready; kill -STOP $$; exit 5";
    let (child, stdout) = start(&mut mailport(&[25], &["sh", "-c", lines]));
    let own = pid(&child);
    let status = waitpid(own, Some(WaitPidFlag::WUNTRACED)).unwrap();
    assert_eq!(status, WaitStatus::Stopped(own, Signal::SIGSTOP));
    kill(own, Signal::SIGCONT).unwrap();
    assert_eq!(waitpid(own, None).unwrap(), WaitStatus::Exited(own, 5));
    assert_eq!(rest_of(stdout), "");
}

/// The programs of a terminal: Python is its first process, and runs the command in there.
#[test]
fn the_terminal_is_the_programs() {
    let inner = "import os, sys, termios, time\nprint(os.tcgetpgrp(0) == os.getpgrp(), \
                 os.ttyname(0) == os.ttyname(1) == os.ttyname(2), open('/dev/tty').fileno() > 2)\n\
                 print('ready', flush=True)\ntime.sleep(60)";
    let outer = format!(
        "import os, pty, signal, sys, termios
pid, fd = pty.fork()
if pid == 0:
    # A test that runs without a terminal may have inherited that the signal is ignored.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.execv({command:?}, ['mailport', 'run', '--cache', 'off', 'python3', '-c', {inner:?}])
before, text = termios.tcgetattr(fd), b''
while b'ready' not in text: text += os.read(fd, 1000)
print(text.split(), termios.tcgetattr(fd) == before)
os.write(fd, b'\\x03')
while True:
    try:
        if not os.read(fd, 1000): break
    except OSError: break
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))",
        command = env!("CARGO_BIN_EXE_mailport"),
    );
    let output = Command::new("python3").args(["-c", &outer]).output().unwrap();
    // Python ends by the signal of the key.
    let expected = "[b'True', b'True', b'True', b'ready'] True\n-2\n";
    assert_eq!(texts(&output), (Some(0), expected.into(), String::new()));
}

#[test]
fn daemons_of_the_program_go_on_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let (said, go) = (folder.path().join("said"), folder.path().join("go"));
    let lines = format!(
        "
if os.fork(): os._exit(3)
os.setsid()
for n in range(3): os.dup2(os.open('/dev/null', os.O_RDWR), n)
import time
while not os.path.exists({go:?}): time.sleep(0.01)
s = socket.create_connection(('127.0.0.1', PORT))
f = open({said:?} + '.new', 'w'); f.write(f'{{s.recv(3)}} {{s.getpeername()[1] == PORT}}'); f.close()
os.rename({said:?} + '.new', {said:?})"
    );
    let (code, stdout, stderr) = python(echo(), &lines);
    assert_eq!((code, &*stdout, &*stderr), (Some(3), "", ""));
    // The command has not waited for the daemon.
    std::fs::write(go, "").unwrap();
    common::wait_until(|| said.exists());
    assert_eq!(std::fs::read_to_string(said).unwrap(), "b'220' False");
}

#[test]
fn a_job_of_a_shell_stops_once_and_continues() {
    let jobs = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/running/jobs.py");
    for (case, lines) in [
        // By the terminal, as it reads in the background, or is not allowed to go on.
        ("background", "read line; exit 5"),
        ("key", "echo ready; read line; exit 5"),
        // By itself, as mutt does.
        ("group", "kill -STOP 0; read line; exit 5"),
    ] {
        for run in [&[][..], &[env!("CARGO_BIN_EXE_mailport"), "run", "--cache", "off"]] {
            let mut shell = Command::new("python3");
            shell.args([jobs, case]).args(run).args(["/bin/sh", "-c", lines]);
            let said = texts(&shell.output().unwrap());
            assert_eq!(said, (Some(0), "1 5\n".into(), String::new()), "{case} {run:?}");
        }
    }
}

#[test]
fn descriptors_are_inherited_by_the_program_alone() {
    let list = "import os; print(sorted(int(n) for n in os.listdir('/proc/self/fd')))";
    let run = format!("{} run --cache off", env!("CARGO_BIN_EXE_mailport"));
    let [alone, with] = ["", &run].map(|run| {
        let script = format!("exec 5</dev/null 9>&1; exec {run} python3 -c \"{list}\"");
        texts(&Command::new("sh").args(["-c", &script]).stdin(Stdio::null()).output().unwrap())
    });
    assert_eq!(with, alone);
    // A reader sees the end when the program has closed it, though mailport goes on.
    let script = format!("exec {run} sh -c 'exec 9>&-; read line' 9>&1 >/dev/null");
    let mut shell = Command::new("sh");
    shell.args(["-c", &script]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = shell.stderr(Stdio::null()).spawn().unwrap();
    let stdin = child.stdin.take();
    assert_eq!(rest_of(child.stdout.take().unwrap()), "");
    assert_eq!(child.try_wait().unwrap(), None, "it waits for its line");
    drop(stdin);
    assert_eq!(child.wait().unwrap().code(), Some(1));
}

/// The process that answers the calls: the only child of the command.
fn supervisor_of(command: &Child) -> Pid {
    let id = command.id();
    let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
    Pid::from_raw(children.trim().parse().unwrap())
}

/// Whether a connection of this machine to this port of loopback is being made.
fn is_dialled(port: u16) -> bool {
    let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap();
    // In the state SYN_SENT.
    sockets.contains(&format!(" 0100007F:{port:04X} 02 "))
}

#[test]
fn a_supervisor_that_dies_ends_the_waits_of_the_program() {
    let server = silent();
    let lines = format!(
        "
import socket
print('ready', flush=True)
for _ in range(2):
  try: socket.create_connection(('127.0.0.1', {}))
  except OSError as error: print(error.errno)
exit(4)",
        server.port()
    );
    let (mut child, stdout) = start(&mut mailport(&[server.port()], &["python3", "-c", &lines]));
    common::wait_until(|| is_dialled(server.port()));
    let start = Instant::now();
    kill(supervisor_of(&child), Signal::SIGKILL).unwrap();
    // ENOSYS: of the call that was waiting, and of a later one.
    assert_eq!(rest_of(stdout), "38\n38\n");
    assert!(start.elapsed() < Duration::from_secs(25), "the dial would take 30 s");
    assert_eq!(child.wait().unwrap().code(), Some(4), "the program's");
}

#[test]
fn a_command_that_is_killed_leaves_the_program_its_connections() {
    let server = echo();
    let lines = format!(
        "
import os, socket, time
print('ready', flush=True)
while os.getppid() and os.path.exists('/proc/{{}}'.format(COMMAND)): time.sleep(0.01)
s = socket.create_connection(('127.0.0.1', {server}))
print(s.recv(3), s.getpeername()[1] == {server})"
    );
    let lines = format!(
        "import os\nCOMMAND = int(open(f'/proc/{{os.getppid()}}/stat').read().split()[3])\n{lines}"
    );
    let (mut child, stdout) = start(&mut mailport(&[server], &["python3", "-c", &lines]));
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(rest_of(stdout), "b'220' False\n");
}

// ---- what a program may do with its sockets -----------------------------------------------------

/// The program of running/edges.c, compiled once.
fn edges() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("edges");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/running/edges.c");
        let mut compiler = Command::new("cc");
        compiler.args(["-O1", "-Wall", "-Wextra", "-Werror", "-pthread", "-o"]);
        let output = compiler.arg(&program).arg(source).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        program
    })
}

fn edge(name: &str, port: u16) -> String {
    let program = [edges().to_str().unwrap(), name, &port.to_string()];
    let (code, stdout, stderr) = texts(&mailport(&[port], &program).output().unwrap());
    assert_eq!((code, &*stderr), (Some(0), ""), "{name}: {stdout}");
    stdout
}

#[test]
fn other_ways_to_connect_lead_to_the_server_itself() {
    assert_eq!(edge("fast_open", echo()), "itself 220\n".repeat(2));
    assert_eq!(edge("32_bits", echo()), "itself 220\n");
    assert_eq!(edge("io_uring", echo()), "itself 220\n");
}

#[test]
fn a_child_of_vfork_is_followed() {
    assert_eq!(edge("vfork", echo()), "0 mailport 220\n");
}

#[test]
fn disconnecting_and_wrong_addresses_are_as_without_mailport() {
    let expected = "0 mailport 220\n0 not connected\n-1 1 -1 1 -1 1 -1 1\n";
    assert_eq!(edge("unspecified", echo()), expected);
}

#[test]
fn a_thousand_calls_that_block_at_the_same_time_are_all_served() {
    assert_eq!(edge("thousand", echo()), "1000\n");
}

#[test]
fn a_call_that_blocks_ends_when_its_socket_says() {
    let server = silent();
    assert_eq!(edge("timed", server.port()), "-1 1 -1 1\n");
}

/// Starts a case with a server that accepts nothing, and reads what it says until this.
fn start_edge(name: &str, port: u16, until: &str) -> (Child, ChildStdout, String) {
    let program = [edges().to_str().unwrap(), name, &port.to_string()];
    let (child, mut stdout) = start(&mut mailport(&[port], &program));
    let mut said = Vec::new();
    while !said.ends_with(until.as_bytes()) {
        let mut byte = [0];
        stdout.read_exact(&mut byte).unwrap_or_else(|error| panic!("{said:?}: {error}"));
        said.push(byte[0]);
    }
    (child, stdout, String::from_utf8(said).unwrap())
}

/// What a case says without the line that the signals write to.
fn rest_of_edge((mut child, stdout, mut said): (Child, ChildStdout, String)) -> String {
    said += &rest_of(stdout);
    assert!(child.wait().unwrap().success(), "{said}");
    said.trim_start_matches(['x', '\n']).to_owned()
}

/// What a case says whose server begins to accept when it has said this.
fn slow_edge(name: &str, until: &str) -> String {
    let server = silent();
    let case = start_edge(name, server.port(), until);
    // From the next SYN on there is room.
    let listener = TcpListener::from(std::os::fd::OwnedFd::from(server.listener));
    thread::spawn(move || serve(&listener));
    rest_of_edge(case)
}

#[test]
fn a_call_that_a_signal_interrupts_goes_on() {
    assert_eq!(slow_edge("restarted", "xx"), "0 1\nmailport 220\n");
}

#[test]
fn a_call_that_a_signal_interrupts_fails_as_its_dial() {
    let server = silent();
    let case = start_edge("restarted", server.port(), "xx");
    // Nothing listens from now on: ECONNREFUSED.
    drop(server);
    assert_eq!(rest_of_edge(case), "111 1\n");
}

#[test]
fn a_call_that_a_signal_ends_leaves_its_connection() {
    assert_eq!(slow_edge("interrupted", "-1 1\n"), "-1 1\n0 mailport 220\n");
}

#[test]
fn a_socket_whose_call_was_interrupted_can_be_connected_again() {
    let expected = "-1 1\nmailport 220\n0 0\nmailport 220\n";
    assert_eq!(slow_edge("connected_again", "-1 1\n"), expected);
}

#[test]
fn other_calls_of_a_socket_whose_dial_is_under_way_say_so() {
    let [already, in_progress] = ["-1 1\n".repeat(3), "0 -1 1\n".repeat(3)];
    let expected = format!("-1 1\n{already}{in_progress}waits\n0 mailport 220\n");
    assert_eq!(slow_edge("under_way", "waits\n"), expected);
}

#[test]
fn a_socket_that_does_not_block_is_not_dialled_again() {
    let (silent, open) = (silent(), echo());
    for port in [silent.port(), open] {
        assert_eq!(edge("again", port), "1 0 1\n");
    }
}

#[test]
fn a_thread_with_separate_descriptors_is_left_alone() {
    assert_eq!(edge("own_files", echo()), "0 itself 220\nnot connected\n");
}

#[test]
fn a_socket_whose_call_has_failed_can_be_used_again() {
    let (port, other) = (refused(), open());
    let lines = format!(
        "
s = socket.socket()
try: s.connect(('127.0.0.1', PORT))
except ConnectionRefusedError: print('refused')
print(s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
s.connect(('127.0.0.1', {0})); print(s.getpeername()[1] == {0})",
        other.port()
    );
    let (code, stdout, stderr) = python(port.port(), &lines);
    assert_eq!((code, &*stdout), (Some(0), "refused\n0\nTrue\n"), "{stderr}");
}

#[test]
fn sockets_with_a_source_or_a_device_are_left_alone() {
    let lines = "
def show(s): s.connect(('127.0.0.1', PORT)); print(s.getpeername()[1] == PORT)
s = socket.socket(); s.bind(('127.0.0.1', 0)); show(s)
s = socket.socket(); s.bind(('', 0)); show(s)
s = socket.socket(); s.setsockopt(0, 24, 1); s.bind(('127.0.0.1', 0)); show(s)
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, 25, b'lo'); show(s)
s = socket.socket(); s.setsockopt(0, 50, socket.htonl(socket.if_nametoindex('lo'))); show(s)";
    let (code, stdout, stderr) = python(echo(), lines);
    assert_eq!((code, &*stdout, &*stderr), (Some(0), "True\n".repeat(5).as_str(), ""));
}

#[test]
fn ipv6_alone_is_left_alone_where_the_program_does_not_block() {
    let server = TcpListener::bind("[::1]:0").unwrap();
    let lines = "
for wait in (True, False):
  s = socket.socket(socket.AF_INET6); s.setblocking(wait); s.connect_ex(('::1', PORT))
  select.select([], [s], [], 10); print(s.getpeername()[1] == PORT)";
    let (code, stdout, stderr) = python(server.local_addr().unwrap().port(), lines);
    assert_eq!((code, &*stdout, &*stderr), (Some(0), "False\nTrue\n", ""));
}

// ---- what is printed ----------------------------------------------------------------------------

#[test]
fn the_timeline_of_each_dial_is_printed_at_the_end() {
    let (server, port) = (echo(), refused());
    let lines = format!(
        "import socket, sys
for port in ({server}, {}):
  try: socket.create_connection(('127.0.0.1', port))
  except OSError: pass
sys.stderr.write('the end\\n')",
        port.port()
    );
    let mut command = mailport(&[server, port.port()], &["--explain", "python3", "-c", &lines]);
    let (code, stdout, stderr) = texts(&command.output().unwrap());
    assert_eq!((code, &*stdout), (Some(0), ""), "{stderr}");
    let (_, timelines) = stderr.split_once("the end\n").unwrap();
    let rows: Vec<&str> = timelines.lines().filter(|line| line.contains(" IPv4 127")).collect();
    let [first, .., last] = &rows[..] else { panic!("{stderr}") };
    assert!(first.contains('●') && last.contains('×'), "{stderr}");
    let sentences = timelines.lines().filter(|line| line.starts_with("127.0.0.1: "));
    assert_eq!(sentences.count(), 2, "{stderr}");
}

// ---- what is refused at the start ---------------------------------------------------------------

#[test]
fn it_is_not_nested() {
    let inner = [env!("CARGO_BIN_EXE_mailport"), "run", "true"];
    let (code, _, stderr) = texts(&mailport(&[25], &inner).output().unwrap());
    let sentence = "mailport run cannot be nested; use mailport relay";
    assert!(code == Some(125) && stderr.contains(sentence), "{stderr}");
}

#[test]
fn a_container_that_refuses_a_system_call_is_named() {
    let cases = [
        (libc::SYS_seccomp, libc::EPERM, "does not allow a seccomp filter"),
        (libc::SYS_seccomp, libc::ENOSYS, "this kernel has no seccomp user notification"),
        (libc::SYS_process_vm_readv, libc::EPERM, "(process_vm_readv: Operation not permitted"),
        (libc::SYS_pidfd_getfd, libc::ENOSYS, "(pidfd_getfd: Function not implemented"),
        (libc::SYS_pidfd_open, libc::EPERM, "(pidfd_getfd: Operation not permitted"),
    ];
    for (call, errno, words) in cases {
        let refused = Refused { call, without: 0, errno };
        let output = refusing(&[refused], || {
            mailport(&[25], &["sh", "-c", "echo started"]).output().unwrap()
        });
        let (code, stdout, stderr) = texts(&output);
        assert_eq!((code, &*stdout), (Some(125), ""), "{stderr}");
        assert!(stderr.contains(words) && stderr.contains("use mailport relay"), "{stderr}");
    }
}

/// As an ordinary user: the user nobody, where the test runs as root.
#[test]
fn without_root_a_program_runs_and_a_set_user_id_program_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let command = folder.path().join("mailport");
    std::fs::copy(env!("CARGO_BIN_EXE_mailport"), &command).unwrap();
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let server = echo();
    let run = |program: &[&str]| {
        let mut command = Command::new(&command);
        command.args(["run", "--cache", "off", "--ports", &server.to_string()]).args(program);
        if nix::unistd::geteuid().is_root() {
            command.uid(65534).gid(65534);
        }
        texts(&command.current_dir("/").stdin(Stdio::null()).output().unwrap())
    };
    let lines = format!(
        "import socket; s = socket.create_connection(('127.0.0.1', {server})); \
         print(s.recv(3), s.getpeername()[1] == {server})"
    );
    let connected = run(&["/usr/bin/python3", "-c", &lines]);
    // A program that no other may look into connects as without mailport.
    let program = folder.path().join("edges");
    std::fs::copy(edges(), &program).unwrap();
    let program = program.to_str().unwrap();
    let itself = (Some(0), "0 itself 220\n".to_owned(), String::new());
    let port = server.to_string();
    assert_eq!(run(&[program, "undumpable", &port]), itself);
    assert_eq!(run(&[program, "vfork", &port]).1, "0 mailport 220\n");
    std::fs::set_permissions(program, Permissions::from_mode(0o711)).unwrap();
    assert_eq!(run(&[program, "vfork", &port]), itself);
    assert_eq!(connected, (Some(0), "b'220' False\n".into(), String::new()));
    let (code, _, stderr) = run(&["su", "-c", "true"]);
    let sentence = "su is a set-user-ID program";
    assert!(code == Some(125) && stderr.contains(sentence), "{stderr}");
    assert!(stderr.contains("NO_NEW_PRIVS"), "{stderr}");
}
