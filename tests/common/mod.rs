//! Ports of this machine's loopback with a fate each, and a look at what a process holds.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::time::{Duration, Instant};

use mailport::{
    Cleartext, Config, Outcome, Patience, Plan, Reason, Report, Resolver, Service, Tls,
};
use socket2::{Domain, Socket, Type};

/// Fails where loopback is down: nothing on it could be reached, and a server would wait.
pub(crate) fn loopback_is_up() {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    // Only the route is looked up.
    let routed = socket.connect((Ipv4Addr::LOCALHOST, 9));
    routed.expect("this test needs the loopback interface: ip link set lo up");
}

/// A port that accepts: the kernel does, without anybody calling accept.
pub(crate) fn open() -> TcpListener {
    loopback_is_up();
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port")
}

/// A port that answers with RST: no program listens on it while the socket holds its number.
pub(crate) fn refused() -> Socket {
    loopback_is_up();
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("a free port");
    socket
}

/// A port that drops SYNs: a listener whose queue is full.
pub(crate) struct Silent {
    pub(crate) listener: Socket,
    _queued: Vec<Socket>,
}

pub(crate) fn silent() -> Silent {
    let listener = refused();
    listener.listen(0).expect("a listener");
    let address = listener.local_addr().expect("an address");
    let mut queued = Vec::new();
    loop {
        let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None).expect("a socket");
        let _ = socket.connect(&address);
        // Loopback answers while connect runs, unless the SYN was dropped.
        let connected = socket.peer_addr().is_ok();
        queued.push(socket);
        if !connected {
            return Silent { listener, _queued: queued };
        }
    }
}

pub(crate) trait Port {
    fn port(&self) -> u16;
}

impl Port for TcpListener {
    fn port(&self) -> u16 {
        self.local_addr().expect("a bound socket").port()
    }
}

impl Port for Socket {
    fn port(&self) -> u16 {
        self.local_addr().ok().and_then(|a| a.as_socket()).expect("a bound socket").port()
    }
}

impl Port for Silent {
    fn port(&self) -> u16 {
        self.listener.port()
    }
}

/// A plan of these ports, all with STARTTLS.
pub(crate) fn plan(ports: &[u16]) -> Plan {
    let services = ports.iter().map(|&port| Service::new(port, Tls::StartTls).expect("not 0"));
    Plan::new(services, Cleartext::Refuse).expect("distinct ports")
}

/// Settings short enough that a silent port is given up while a test runs, and before its second
/// attempt.
pub(crate) fn hasty() -> Config {
    let mut config = Config::default();
    config.attempt_delay = Duration::from_millis(100);
    config.port_delay = Duration::from_millis(10);
    config.patience = Patience::Fixed(Duration::from_millis(20));
    config.timeout = Duration::from_secs(20);
    config
}

/// A resolver that knows every name as 127.0.0.1, after `delay`.
pub(crate) fn resolver(delay: Duration) -> Resolver {
    Resolver::custom(move |_| {
        std::thread::sleep(delay);
        Ok(vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))])
    })
}

/// How the first attempt at each port ended. A slow machine has second attempts at a silent one.
pub(crate) fn first_outcomes(report: &Report) -> Vec<Outcome> {
    let first = report.attempts.iter().filter(|attempt| attempt.reason != Reason::SecondAttempt);
    first.filter_map(|attempt| attempt.outcome).collect()
}

/// How many descriptors this process has open.
pub(crate) fn descriptors() -> usize {
    // The folder that is being read is open itself.
    fs::read_dir("/proc/self/fd").expect("this test needs /proc").count() - 1
}

/// How many threads this process has that look names up; the test harness has its own.
pub(crate) fn resolver_threads() -> usize {
    let tasks = fs::read_dir("/proc/self/task").expect("this test needs /proc");
    let names = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
    // The kernel keeps 15 bytes of a thread's name.
    names.filter(|name| name.starts_with("mailport-resolv")).count()
}

/// Resident cache of this process, in KiB.
pub(crate) fn resident_kib() -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("this test needs /proc");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
}

/// Waits until `what` holds; what takes 30 s never happens.
pub(crate) fn wait_until(what: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(30);
    while !what() {
        assert!(Instant::now() < until, "it never happened");
        std::thread::yield_now();
    }
}

/// Waits until a descriptor is readable, as a caller's own loop does.
pub(crate) fn wait_readable(descriptor: std::os::fd::RawFd) {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::BorrowedFd;

    #[allow(unsafe_code, reason = "poll wants a borrowed descriptor")]
    // SAFETY: the caller's dial keeps its descriptor open as long as it lives.
    let descriptor = unsafe { BorrowedFd::borrow_raw(descriptor) };
    let timeout = PollTimeout::from(20_000u16);
    let ready = poll(&mut [PollFd::new(descriptor, PollFlags::POLLIN)], timeout);
    assert!(
        matches!(ready, Ok(1) | Err(nix::errno::Errno::EINTR)),
        "a dial fell asleep: {ready:?}"
    );
}
