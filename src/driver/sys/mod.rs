//! The system calls that no safe library offers: the only unsafe code of the crate, here and in the
//! folder of this name.
#![allow(unsafe_code, reason = "this file exists to hold it")]
#![allow(
    clippy::cast_possible_truncation,
    reason = "sizes of small structs, as the calls want them"
)]

mod fork;
mod process;
mod thread;

use std::ffi::{CStr, CString};
use std::io;
use std::mem::{self, MaybeUninit};
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags};
use rustix::net::RecvFlags;
use rustix::pipe::SpliceFlags;
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};

pub use fork::process_generation;
pub(super) use process::{Given, Process, Program, file_in_memory, is_executable, receive, start};
pub(super) use thread::too_many;
pub use thread::{LOOKUP_STACK, spawn};

use crate::outcome::{Errno, ErrorQueue, ip_of_sockaddr};
use crate::plan::Family;
use crate::report::LookupError;

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Has the C library call `run` when the process ends by `exit`, or by returning from `main`, or
/// when a shared library with this code in it is closed.
#[cfg(feature = "cache-file")]
pub(super) fn at_exit(run: extern "C" fn()) {
    // SAFETY: the function may be called as long as this code is loaded. It fails for lack of memory
    // only, and then nothing is called.
    unsafe { libc::atexit(run) };
}

// ---- descriptors -----------------------------------------------------------------------------

/// Makes a timer whose descriptor becomes readable when it runs out.
pub(super) fn timer() -> io::Result<OwnedFd> {
    let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
    Ok(rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags)?)
}

/// Lets the timer run out after `delay`, or never.
pub(super) fn set_timer(timer: BorrowedFd, delay: Option<Duration>) -> io::Result<()> {
    // A value of zero would disarm it.
    let delay = delay.map_or(Duration::ZERO, |delay| delay.max(Duration::from_nanos(1)));
    let it_value = Timespec {
        tv_sec: i64::try_from(delay.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: delay.subsec_nanos().into(),
    };
    let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 };
    let value = Itimerspec { it_interval, it_value };
    rustix::time::timerfd_settime(timer, TimerfdTimerFlags::empty(), &value)?;
    Ok(())
}

/// Makes a counter whose descriptor becomes readable by [`wake`].
pub(super) fn event() -> io::Result<OwnedFd> {
    Ok(rustix::event::eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?)
}

/// Makes an [`event`] readable. It cannot fail: the counter overflows only after 2^64 - 2 calls.
pub(super) fn wake(event: BorrowedFd) {
    let _ = rustix::io::write(event, &1u64.to_ne_bytes());
}

/// The descriptor of a [`mio::Poll`], which only gives its number.
pub(super) fn descriptor_of(poll: &mio::Poll) -> BorrowedFd<'_> {
    // SAFETY: it is open as long as the poll is, which the result borrows.
    unsafe { BorrowedFd::borrow_raw(poll.as_raw_fd()) }
}

/// Closes the descriptor of an owner that is never dropped: see the fork rule in
/// [`Dial`](super::Dial).
pub(super) fn close_leaked(descriptor: RawFd) {
    // SAFETY: the caller has leaked the owner, so nothing closes or uses this number after us.
    unsafe { libc::close(descriptor) };
}

/// Takes over a descriptor that the process was started with.
pub fn adopt(descriptor: RawFd) -> OwnedFd {
    // SAFETY: the parent process left it to this one, and each is adopted once.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}

/// Repeats a call that a signal has interrupted.
pub(crate) fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// Blocks until a descriptor can be read or written, or has failed.
pub(crate) fn wait_until_ready(descriptor: BorrowedFd, for_writing: bool) -> io::Result<()> {
    let events = if for_writing { PollFlags::OUT } else { PollFlags::IN };
    let mut watched = [PollFd::from_borrowed_fd(descriptor, events)];
    rustix::io::retry_on_intr(|| rustix::event::poll(&mut watched, None))?;
    Ok(())
}

/// Moves at most `length` bytes between a socket and a pipe without copying them; 0 is the end. It
/// never blocks on the pipe; a socket that must not block is non-blocking.
pub(crate) fn splice(from: BorrowedFd, to: BorrowedFd, length: usize) -> io::Result<usize> {
    let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
    Ok(rustix::pipe::splice(from, None, to, None, length, flags)?)
}

// ---- sockets ---------------------------------------------------------------------------------

/// Turns the queueing of ICMP errors on or off (`IP_RECVERR`, `IPV6_RECVERR`).
pub(super) fn queue_errors(socket: BorrowedFd, family: Family, on: bool) -> io::Result<()> {
    let (level, name) = match family {
        Family::Ipv4 => (libc::IPPROTO_IP, libc::IP_RECVERR),
        Family::Ipv6 => (libc::IPPROTO_IPV6, libc::IPV6_RECVERR),
    };
    let value = libc::c_int::from(on);
    let length = size_of_val(&value) as libc::socklen_t;
    let value = (&raw const value).cast();
    // SAFETY: pointer and length are those of an initialised int that outlives the call.
    check(unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, value, length) }).map(drop)
}

/// Has a bind leave the choice of a port to connect (`IP_BIND_ADDRESS_NO_PORT`).
pub(super) fn bind_without_port(socket: BorrowedFd) -> io::Result<()> {
    let value: libc::c_int = 1;
    let length = size_of_val(&value) as libc::socklen_t;
    let (level, name) = (libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT);
    let value = (&raw const value).cast();
    // SAFETY: pointer and length are those of an initialised int that outlives the call.
    check(unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, value, length) }).map(drop)
}

/// Takes everything out of the socket's error queue; the last ICMP error counts, for it is the one
/// that ended the connect.
pub(super) fn read_error_queue(socket: BorrowedFd) -> ErrorQueue {
    let mut found = ErrorQueue::Empty;
    // A connect that ICMP ends has one entry; the bound keeps a flood from holding us here.
    for _ in 0..16 {
        match next_error(socket) {
            Ok(Some(error)) => found = error,
            Ok(None) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            // A system without such a queue, or one that may not be read.
            Err(_) if found == ErrorQueue::Empty => return ErrorQueue::Unavailable,
            Err(_) => break,
        }
    }
    found
}

/// Room for one `sock_extended_err` with the offender's address, aligned as a `cmsghdr` must be.
#[repr(C, align(8))]
struct ErrorControl([MaybeUninit<u8>; 256]);

fn next_error(socket: BorrowedFd) -> io::Result<Option<ErrorQueue>> {
    let mut control = ErrorControl([MaybeUninit::uninit(); 256]);
    // SAFETY: all-zero is a valid `msghdr`: no name, no data, no control buffer.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = size_of::<ErrorControl>() as _;
    let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
    // SAFETY: the control buffer and its length are set above; the kernel writes no further.
    let received = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, flags) };
    if received < 0 {
        return Err(io::Error::last_os_error());
    }
    let mut found = None;
    // SAFETY: `message` is what the kernel has just filled in, so its headers are in bounds.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
    while !header.is_null() {
        // SAFETY: not null, so it points to a whole header within the control buffer.
        let cmsg = unsafe { ptr::read_unaligned(header) };
        let ours = matches!(
            (cmsg.cmsg_level, cmsg.cmsg_type),
            (libc::IPPROTO_IP, libc::IP_RECVERR) | (libc::IPPROTO_IPV6, libc::IPV6_RECVERR)
        );
        if ours {
            // SAFETY: length of an empty message, no memory is touched.
            let head = unsafe { libc::CMSG_LEN(0) } as usize;
            let length = (cmsg.cmsg_len as usize).saturating_sub(head);
            // SAFETY: the kernel wrote `cmsg_len` bytes from `header` on, all in the buffer.
            let data = unsafe { std::slice::from_raw_parts(libc::CMSG_DATA(header), length) };
            found = ErrorQueue::from_extended_error(data).or(found);
        }
        // SAFETY: `message` and `header` are those of this buffer.
        header = unsafe { libc::CMSG_NXTHDR(&raw const message, header) };
    }
    Ok(found)
}

/// Reads what has come without taking it and without blocking; 0 is the end.
pub(super) fn peek(socket: BorrowedFd, buffer: &mut [u8]) -> io::Result<usize> {
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    Ok(rustix::io::retry_on_intr(|| rustix::net::recv(socket, &mut *buffer, flags))?.0)
}

/// Whether the peer will send nothing more, though what it has sent may still be unread.
pub(super) fn has_hung_up(socket: BorrowedFd) -> bool {
    let mut watched = [PollFd::from_borrowed_fd(socket, PollFlags::RDHUP)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let _ = rustix::io::retry_on_intr(|| rustix::event::poll(&mut watched, Some(&now)));
    !watched[0].revents().is_empty()
}

/// What the kernel knows of a TCP connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct TcpInfo {
    /// Whether the handshake is done.
    pub(super) connected: bool,
    /// The smoothed round trip time; `None` where the answer is too short.
    pub(super) round_trip: Option<Duration>,
    /// SYNs sent for the handshake; `None` where the answer is too short.
    pub(super) syns: Option<u32>,
    /// Segments that came in; `None` before Linux 4.2.
    pub(super) segments_in: Option<u32>,
}

/// Reads `TCP_INFO`; `None` where the kernel refuses.
pub(super) fn tcp_info(socket: BorrowedFd) -> Option<TcpInfo> {
    let mut buffer = [0u8; 256];
    let mut length = buffer.len() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes and says how many it wrote.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            buffer.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result < 0 { None } else { parse_tcp_info(buffer.get(..length as usize)?) }
}

/// Reads a `tcp_info` as long as this kernel's is; older ones are shorter.
fn parse_tcp_info(data: &[u8]) -> Option<TcpInfo> {
    // Offsets in `struct tcp_info` of linux/tcp.h, where fields are only ever added at the end.
    const RTT: usize = 68;
    const TOTAL_RETRANS: usize = 100;
    const SEGS_OUT: usize = 136;
    const SEGS_IN: usize = 140;
    // States of linux/tcp_states.h: in these two the handshake lasts, and 7 is closed.
    const SYN_SENT: u8 = 2;
    const SYN_RECV: u8 = 3;
    const CLOSE: u8 = 7;
    let word = |at: usize| Some(u32::from_ne_bytes(data.get(at..at + 4)?.try_into().ok()?));
    let connected = ![SYN_SENT, SYN_RECV, CLOSE].contains(data.first()?);
    // Until it connects, a client sends SYNs only; a connect that was refused here, none.
    let segments_out = word(SEGS_OUT).filter(|_| !connected);
    let retransmissions = word(TOTAL_RETRANS);
    Some(TcpInfo {
        connected,
        round_trip: word(RTT).map(|us| Duration::from_micros(us.into())),
        syns: segments_out.or(retransmissions.map(|again| again.saturating_add(1))),
        segments_in: word(SEGS_IN),
    })
}

/// The index of the network interface with this name.
pub(super) fn interface_index(name: &str) -> io::Result<u32> {
    let name = CString::new(name)?;
    // SAFETY: a NUL-terminated string that outlives the call.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        index => Ok(index),
    }
}

// ---- names and threads -----------------------------------------------------------------------

/// The network and the mount namespace of a thread: what a name means may differ between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Namespaces {
    network: u64,
    mounts: u64,
}

/// The namespaces of this thread; `None` where the system does not tell.
pub(super) fn namespaces() -> Option<Namespaces> {
    let network = network_namespace()?;
    Some(Namespaces { network, mounts: inode(c"/proc/thread-self/ns/mnt")? })
}

/// The network namespace of this thread; `None` where the system does not tell.
pub(super) fn network_namespace() -> Option<u64> {
    inode(c"/proc/thread-self/ns/net")
}

/// The number of a file. Namespaces are all files of one file system.
fn inode(path: &CStr) -> Option<u64> {
    rustix::fs::stat(path).ok().map(|status| status.st_ino)
}

/// Looks a name up in one family or both, as long as the system takes.
pub(super) fn get_addr_info(
    name: &str,
    family: Option<Family>,
) -> Result<Vec<SocketAddr>, LookupError> {
    let name = CString::new(name).map_err(|_| LookupError::NoSuchName)?;
    // SAFETY: all-zero hints are valid: no flags, no pointers.
    let mut hints: libc::addrinfo = unsafe { mem::zeroed() };
    hints.ai_family = match family {
        Some(Family::Ipv4) => libc::AF_INET,
        Some(Family::Ipv6) => libc::AF_INET6,
        None => libc::AF_UNSPEC,
    };
    hints.ai_socktype = libc::SOCK_STREAM;
    let mut list: *mut libc::addrinfo = ptr::null_mut();
    // SAFETY: the pointer is this thread's own, and valid.
    unsafe { *libc::__errno_location() = 0 };
    // SAFETY: the strings and hints outlive the call; `list` is written on success only.
    let result =
        unsafe { libc::getaddrinfo(name.as_ptr(), ptr::null(), &raw const hints, &raw mut list) };
    if result != 0 {
        return Err(lookup_error(result, &io::Error::last_os_error()));
    }
    let mut addresses = Vec::new();
    let mut entry = list;
    while !entry.is_null() {
        // SAFETY: an entry of the list that getaddrinfo made, not freed yet.
        let info = unsafe { &*entry };
        // SAFETY: `ai_addr` and `ai_addrlen` describe one address within that list.
        addresses.extend(unsafe { socket_address(info.ai_addr, info.ai_addrlen) });
        entry = info.ai_next;
    }
    // SAFETY: made by getaddrinfo, freed once, not used after.
    unsafe { libc::freeaddrinfo(list) };
    Ok(addresses)
}

/// What a look-up failed with; `errno` is what it left behind, 0 at its beginning.
fn lookup_error(code: libc::c_int, errno: &io::Error) -> LookupError {
    // Not in the libc crate: the name exists, but has no address of this family.
    const EAI_NODATA: libc::c_int = -5;
    const EAI_ADDRFAMILY: libc::c_int = -9;
    let errno = Errno(errno.raw_os_error().unwrap_or_default());
    // Where it cannot open its files or a socket, the C library may say that there is no such name.
    let lacked = [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::ENOBUFS].contains(&errno.0);
    match code {
        libc::EAI_SYSTEM => LookupError::LocalResourceError(errno),
        libc::EAI_MEMORY => LookupError::LocalResourceError(Errno(libc::ENOMEM)),
        _ if lacked => LookupError::LocalResourceError(errno),
        libc::EAI_NONAME => LookupError::NoSuchName,
        EAI_NODATA | EAI_ADDRFAMILY => LookupError::NoAddress,
        libc::EAI_AGAIN => LookupError::TryAgain,
        _ => {
            // SAFETY: gai_strerror returns a static NUL-terminated string.
            let words = unsafe { CStr::from_ptr(libc::gai_strerror(code)) };
            LookupError::Failed(words.to_string_lossy().into_owned())
        }
    }
}

/// Reads a `sockaddr_in` or `sockaddr_in6`.
///
/// # Safety
/// `address` is null or points to `length` readable bytes.
unsafe fn socket_address(
    address: *const libc::sockaddr,
    length: libc::socklen_t,
) -> Option<SocketAddr> {
    if address.is_null() {
        return None;
    }
    // SAFETY: by this function's contract.
    let data = unsafe { std::slice::from_raw_parts(address.cast::<u8>(), length as usize) };
    let ip = ip_of_sockaddr(data)?;
    match ip {
        IpAddr::V4(_) => Some(SocketAddr::new(ip, 0)),
        IpAddr::V6(v6) => {
            let scope = u32::from_ne_bytes(data.get(24..28)?.try_into().ok()?);
            Some(SocketAddrV6::new(v6, 0, 0, scope).into())
        }
    }
}

/// Signals that a thread raises by what it does itself.
const SYNCHRONOUS: [libc::c_int; 6] =
    [libc::SIGSYS, libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGTRAP];

/// Runs `start` with every signal blocked, so that a thread started in it has them blocked too and
/// the program's signals stay with the program's threads. Signals that a thread raises by what it
/// does itself are not blocked: where one is, the kernel ends the process instead of calling the
/// program's handler, which may be a sandbox that handles a system call in it (SIGSYS).
pub(super) fn with_signals_blocked<T>(start: impl FnOnce() -> T) -> T {
    // SAFETY: an all-zero set is only memory for the calls below to fill.
    let mut all: libc::sigset_t = unsafe { mem::zeroed() };
    // SAFETY: as above.
    let mut before: libc::sigset_t = unsafe { mem::zeroed() };
    // SAFETY: both sets are valid for writing; `before` is what was in force.
    unsafe {
        libc::sigfillset(&raw mut all);
        for own in SYNCHRONOUS {
            libc::sigdelset(&raw mut all, own);
        }
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
    }
    let result = start();
    // SAFETY: `before` was filled in by the call above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, ptr::null_mut()) };
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_kernel_tells_less_of_a_connection() {
        let mut data = [0u8; 144];
        data[0] = 1;
        data[100] = 2;
        assert_eq!(parse_tcp_info(&data).unwrap().segments_in, Some(0));
        let old = parse_tcp_info(&data[..104]).unwrap();
        assert!(old.connected && old.segments_in.is_none());
        assert_eq!(old.syns, Some(3));
        let short = parse_tcp_info(&data[..4]).unwrap();
        assert!(short.connected && short.round_trip.is_none() && short.syns.is_none());
        assert!(parse_tcp_info(&[]).is_none());
    }

    #[test]
    fn a_lack_of_resources_is_distinguished_from_a_name_that_does_not_exist() {
        let error = |code, errno| lookup_error(code, &io::Error::from_raw_os_error(errno));
        let lack = |errno| LookupError::LocalResourceError(Errno(errno));
        assert_eq!(error(libc::EAI_MEMORY, 0), lack(libc::ENOMEM));
        assert_eq!(error(libc::EAI_SYSTEM, libc::EIO), lack(libc::EIO));
        for errno in [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::ENOBUFS] {
            for code in [libc::EAI_NONAME, libc::EAI_AGAIN, libc::EAI_FAIL] {
                assert_eq!(error(code, errno), lack(errno));
            }
        }
        // What a look-up leaves behind that found no file or no answer is no lack.
        for errno in [0, libc::ENOENT, libc::ETIMEDOUT, libc::ECONNREFUSED] {
            assert_eq!(error(libc::EAI_NONAME, errno), LookupError::NoSuchName);
            assert_eq!(error(libc::EAI_AGAIN, errno), LookupError::TryAgain);
            assert_eq!(error(-5, errno), LookupError::NoAddress);
        }
    }

    #[test]
    fn an_interface_has_an_index() {
        assert_eq!(interface_index("lo").unwrap(), 1);
        assert!(interface_index("no-such-one").is_err());
    }
}
