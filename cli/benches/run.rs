//! What `mailport run` costs a program: a `connect` to another port than those of mail, beside a bare
//! notification of the kernel (a supervisor that only continues); every other system call; and a
//! session with a mail port. `make bench-run`, half a minute.
#![allow(unsafe_code, reason = "the filter of the bare supervisor, and its notifications")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench fails and prints like a test"
)]
#![allow(clippy::cast_precision_loss, reason = "figures, not sums")]

use std::env;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Instant;

use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

const ROUNDS: usize = 31;
const CALLS: u32 = 300_000;
const CONNECTS: u32 = 3_000;
const SESSIONS: u32 = 60;
/// In the environment of the program that is measured: the mail port.
const PORT: &str = "MAILPORT_BENCH_PORT";
/// Where the program has the notifications of its filter.
const LISTENER: RawFd = 100;

/// Nanoseconds for a system call, a connect to another port, and a session with the mail port.
type Costs = [f64; 3];

fn main() {
    if let Ok(port) = env::var(PORT) {
        return measure(port.parse().unwrap());
    }
    let port = greeter();
    let own = env::current_exe().unwrap();
    let program = || {
        let mut command = Command::new(&own);
        command.env(PORT, port.to_string()).stdout(Stdio::piped());
        command
    };
    let mut rounds: Vec<[Costs; 3]> = Vec::new();
    for _ in 0..ROUNDS {
        let alone = program().output().unwrap();
        let bare = under_bare_supervisor(program());
        let mut run = Command::new(env!("CARGO_BIN_EXE_mailport"));
        run.args(["run", "--cache", "off", "--ports", &port.to_string()]).arg(&own);
        let run = run.env(PORT, port.to_string()).output().unwrap();
        rounds.push([alone, bare, run].map(costs));
    }
    let median = |of: &dyn Fn(&[Costs; 3]) -> f64| {
        let mut values: Vec<f64> = rounds.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[ROUNDS / 2]
    };
    println!(
        "| nanoseconds, median of {ROUNDS} | alone | bare notification | mailport run |\n\
         |---|---:|---:|---:|"
    );
    let names = ["getppid", "connect of a UDP socket to another port", "session with a mail port"];
    for (number, name) in names.into_iter().enumerate() {
        let [alone, bare, run] = [0, 1, 2].map(|who| median(&|round| round[who][number]));
        println!("| {name} | {alone:.0} | {bare:.0} | {run:.0} |");
    }
    let ratio = median(&|[_, bare, run]| run[1] / bare[1]);
    let more = median(&|[alone, _, run]| run[0] - alone[0]);
    let session = median(&|[alone, _, run]| run[2] / alone[2]);
    println!("\nconnect to another port: {ratio:.2} times a bare notification (2 at most)");
    println!("other system calls: {more:.0} ns more (50 at most)");
    println!("session with a mail port: {session:.2} times");
}

/// A server that greets.
fn greeter() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let _ = client.write_all(b"220 ready\r\n");
        }
    });
    port
}

fn costs(output: Output) -> Costs {
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let numbers: Vec<f64> = text.split_whitespace().map(|word| word.parse().unwrap()).collect();
    numbers.try_into().unwrap()
}

/// In the program: prints its costs.
fn measure(port: u16) {
    let each = |count: u32, call: &dyn Fn()| {
        let began = Instant::now();
        (0..count).for_each(|_| call());
        began.elapsed().as_nanos() as f64 / f64::from(count)
    };
    // Of a call that waits for no other process, the processor time.
    let alone = |count: u32, call: &dyn Fn()| {
        let began = processor_time();
        (0..count).for_each(|_| call());
        (processor_time() - began) / f64::from(count)
    };
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let other = alone(CALLS, &|| _ = rustix::process::getppid());
    let connect = each(CONNECTS, &|| socket.connect((Ipv4Addr::LOCALHOST, 9)).unwrap());
    let session = each(SESSIONS, &|| {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        stream.read_exact(&mut [0; 11]).unwrap();
    });
    println!("{other} {connect} {session}");
}

/// The processor time of this thread, in nanoseconds.
fn processor_time() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes a `timespec` to the pointer.
    let done = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(done, 0, "{}", io::Error::last_os_error());
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

/// Runs a program whose `connect` calls are all continued, at once.
fn under_bare_supervisor(mut program: Command) -> Output {
    // SAFETY: between fork and exec the function makes system calls only.
    unsafe { program.pre_exec(install) };
    let child = program.spawn().unwrap();
    let process = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).unwrap();
    let listener = pidfd_getfd(process, LISTENER, PidfdGetfdFlags::empty()).unwrap();
    thread::spawn(move || while answer(&listener).is_ok() {});
    child.wait_with_output().unwrap()
}

/// Receives a call, and has the kernel carry it out.
fn answer(listener: &OwnedFd) -> io::Result<()> {
    const RECEIVE: libc::c_ulong = 0xc050_2100;
    const SEND: libc::c_ulong = 0xc018_2101;
    // SAFETY: all fields are numbers; the kernel writes one `seccomp_notif`, and reads one
    // `seccomp_notif_resp`.
    let done = unsafe {
        let mut call: libc::seccomp_notif = std::mem::zeroed();
        let mut answer: libc::seccomp_notif_resp = std::mem::zeroed();
        answer.flags = u32::try_from(libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE).unwrap();
        let received = libc::ioctl(listener.as_raw_fd(), RECEIVE, &raw mut call);
        answer.id = call.id;
        received == 0 && libc::ioctl(listener.as_raw_fd(), SEND, &raw const answer) == 0
    };
    if done { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Installs a filter that notifies of `connect`, as that of `mailport run` does.
fn install() -> io::Result<()> {
    let statement = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter {
        code: u16::try_from(code).unwrap_or_default(),
        jt,
        jf,
        k,
    };
    let mut filter = [
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        statement(
            libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
            0,
            1,
            u32::try_from(libc::SYS_connect).unwrap_or_default(),
        ),
        statement(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_USER_NOTIF),
        statement(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: 4, filter: filter.as_mut_ptr() };
    nix::sys::prctl::set_no_new_privs()?;
    // SAFETY: `program` points to `filter`, and both live until the call has returned; the numbers
    // are of descriptors of this process.
    let done = unsafe {
        let listener = libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
            &raw const program,
        );
        listener >= 0
            && libc::dup2(RawFd::try_from(listener).unwrap_or_default(), LISTENER) == LISTENER
    };
    if done { Ok(()) } else { Err(io::Error::last_os_error()) }
}
