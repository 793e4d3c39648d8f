//! What a dial costs on loopback, beside a bare non-blocking connect: time, memory and descriptors.
//!
//! Everything connects to the same listener, turn about in the same run, so that a machine that is
//! busy is busy for all. Run it with `cargo bench --bench loopback`; an argument is a name of the
//! hosts file for this machine, in place of localhost.
#![allow(unsafe_code, reason = "an allocator that counts is unsafe by its trait")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::error::Error;
use std::io::{self, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicIsize, Ordering};
use std::time::{Duration, Instant};

use mailport::{Cleartext, Dialer, Plan, Service, Status, Target, Tls};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use socket2::{Domain, Protocol, Socket, Type};

const ROUNDS: usize = 41;
const CONNECTS: u32 = 200;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// The bytes of the heap that are in use, from the time on when they are counted: counting is not
/// what a dial costs.
struct Counting;

static IS_ON: AtomicBool = AtomicBool::new(false);
static IN_USE: AtomicIsize = AtomicIsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if IS_ON.load(Ordering::Relaxed) {
            IN_USE.fetch_add(layout.size().cast_signed(), Ordering::Relaxed);
        }
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        if IS_ON.load(Ordering::Relaxed) {
            IN_USE.fetch_sub(layout.size().cast_signed(), Ordering::Relaxed);
        }
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }
}

/// socket, non-blocking connect, poll, the socket's error, close: the least a client can do.
fn bare(address: SocketAddr) -> io::Result<()> {
    let kind = Type::STREAM.nonblocking();
    let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::TCP))?;
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(nix::errno::Errno::EINPROGRESS as i32) => {
            return Err(error);
        }
        _ => {}
    }
    poll(&mut [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)], PollTimeout::NONE)?;
    socket.take_error()?.map_or(Ok(()), Err)
}

/// A dial in an event loop: its descriptor is watched only if the first turn has not ended it.
fn in_a_loop(dialer: &Dialer, target: &Target, epoll: &Epoll) -> Outcome<()> {
    let mut dial = dialer.start(target)?;
    if dial.process() == Status::Pending {
        epoll.add(dial.descriptor()?, EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
        while dial.process() == Status::Pending {
            epoll.wait(&mut [EpollEvent::empty()], EpollTimeout::NONE)?;
        }
        epoll.delete(dial.descriptor()?)?;
    }
    dial.take()?;
    Ok(())
}

/// A port that answers nothing: the queue of its listener is full.
fn silent() -> io::Result<(SocketAddr, Vec<Socket>)> {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    listener.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    listener.listen(0)?;
    let address = listener.local_addr()?;
    let mut kept = vec![listener];
    loop {
        let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None)?;
        let _ = socket.connect(&address);
        let is_silent = socket.peer_addr().is_err();
        kept.push(socket);
        if is_silent {
            return Ok((address.as_socket().expect("an address of IPv4"), kept));
        }
    }
}

fn descriptors() -> io::Result<usize> {
    Ok(std::fs::read_dir("/proc/self/fd")?.count())
}

fn dialer_to(port: u16) -> Outcome<Dialer> {
    let service = Service::new(port, Tls::StartTls)?;
    Ok(Dialer::new().with_plan(Plan::new([service], Cleartext::Refuse)?))
}

fn main() -> Outcome<()> {
    // Over both families, as `localhost` may be.
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0))?;
    let port = listener.local_addr()?.port();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    std::thread::spawn(move || while listener.accept().is_ok() {});

    let target: Target = address.ip().to_string().parse()?;
    let name = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let name = name.unwrap_or_else(|| "localhost".to_owned());
    let name_target: Target = name.parse()?;
    let dialer = dialer_to(port)?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let time = |work: &dyn Fn() -> Outcome<()>| {
        let start = Instant::now();
        (0..CONNECTS).try_for_each(|_| work())?;
        Outcome::Ok(start.elapsed() / CONNECTS)
    };
    let mut rounds: Vec<[Duration; 5]> = Vec::new();
    for round in 0..=ROUNDS {
        let times = [
            time(&|| Ok(bare(address)?))?,
            time(&|| dialer.connect(&target).map(drop).map_err(Into::into))?,
            time(&|| in_a_loop(&dialer, &target, &epoll))?,
            time(&|| {
                let found = (&*name, port).to_socket_addrs()?.next();
                Ok(bare(found.ok_or("the name has no address")?)?)
            })?,
            time(&|| dialer.connect(&name_target).map(drop).map_err(Into::into))?,
        ];
        // The first round warms up.
        if round > 0 {
            rounds.push(times);
        }
    }
    let median = |of: &dyn Fn(&[Duration; 5]) -> f64| {
        let mut values: Vec<f64> = rounds.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let mut out = io::stdout().lock();
    writeln!(out, "loopback, {ROUNDS} rounds of {CONNECTS}, medians; ratios to the bare connect")?;
    for (index, name) in [
        "bare connect",
        "connect, a literal",
        "a dial in an event loop, a literal",
        "getaddrinfo and bare connect",
        "connect, a name of the hosts file",
    ]
    .into_iter()
    .enumerate()
    {
        let micros = median(&|times| times[index].as_secs_f64() * 1e6);
        let ratio = median(&|times| times[index].as_secs_f64() / times[0].as_secs_f64());
        writeln!(out, "{name:48} {micros:8.1} us {ratio:6.2}")?;
    }

    let (nowhere, _kept) = silent()?;
    let (pending, before) = (dialer_to(nowhere.port())?, descriptors()?);
    IS_ON.store(true, Ordering::Relaxed);
    let mut dial = pending.start(&target)?;
    dial.process();
    let heap = IN_USE.load(Ordering::Relaxed);
    let without_timer = descriptors()? - before;
    dial.descriptor()?;
    let with_timer = descriptors()? - before;
    writeln!(out, "a pending dial with one attempt open: {heap} bytes of heap")?;
    writeln!(out, "its descriptors: {without_timer}, with the timer {with_timer}")?;
    Ok(())
}
