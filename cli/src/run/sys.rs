//! The system calls of `mailport run` that no crate wraps: the only unsafe code of the command.
//!
//! - the filter and its notifications (seccomp(2), `SECCOMP_RET_USER_NOTIF`): seccompiler has no such
//!   action, and libseccomp is a library in C
//! - the memory of another process (`process_vm_readv`(2))
//! - what happens between fork and exec, and the fork of this process
//! - two options of sockets, and descriptors that were inherited as numbers
//! - what SIGPIPE did before Rust's start
#![allow(unsafe_code, reason = "these system calls take pointers, or numbers of descriptors")]

use std::ffi::c_void;
use std::io::{self, IoSlice};
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use rustix::process::Pid;

/// The architecture that the filter knows; calls of another one (32-bit programs) are let through.
#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const ARCHITECTURE: u32 = 0;

/// `_IOWR('!', 0, struct seccomp_notif)` and so on, of linux/seccomp.h. The call is
/// made without the C library's function, which wants another type in each C library.
const RECEIVE: libc::c_ulong = 0xc050_2100;
const SEND: libc::c_ulong = 0xc018_2101;
const IS_VALID: libc::c_ulong = 0x4008_2102;
const SET_FLAGS: libc::c_ulong = 0x4008_2104;

/// Whether this machine's architecture is supported.
pub(super) const IS_SUPPORTED: bool = ARCHITECTURE != 0;

/// A `connect` of a program, which waits for its answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    pub(super) id: u64,
    /// The thread.
    pub(super) thread: i32,
    /// The arguments: descriptor, pointer to the address, its length.
    pub(super) descriptor: RawFd,
    pub(super) address: u64,
    pub(super) length: usize,
}

/// The answer to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CallAnswer {
    /// The kernel carries it out.
    Continue,
    /// It has been carried out.
    Done,
    /// It fails with this error number.
    Fails(i32),
}

/// Splits this process in two, and returns the child's number in the parent and `None` in the child.
pub(super) fn fork() -> io::Result<Option<Pid>> {
    let threads = std::fs::read_dir("/proc/self/task")?.count();
    if threads != 1 {
        return Err(io::Error::other(format!("a process of {threads} threads cannot be split")));
    }
    // SAFETY: this thread is the only one, so no lock is held in the child by another.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        pid => Ok(Pid::from_raw(pid)),
    }
}

/// Whether this process was started with SIGPIPE ignored, as a service of systemd is. Rust ignores it
/// before `main`, and resets it in each process that it starts.
static IGNORES_SIGPIPE: AtomicBool = AtomicBool::new(false);

/// Called before Rust's start.
#[used]
#[unsafe(link_section = ".init_array")]
static READ_SIGPIPE: extern "C" fn() = read_sigpipe;

extern "C" fn read_sigpipe() {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: the call changes nothing, and writes the action where there is place for one; zeros are
    // one, too.
    let action = unsafe {
        libc::sigaction(libc::SIGPIPE, std::ptr::null(), action.as_mut_ptr());
        action.assume_init()
    };
    IGNORES_SIGPIPE.store(action.sa_sigaction == libc::SIG_IGN, Ordering::Relaxed);
}

/// A program that has its filter, and waits until it may start.
pub(super) struct Held {
    /// Its process.
    pub(super) process: i32,
    /// The notifications of its calls, and of those of all its descendants.
    pub(super) listener: OwnedFd,
    /// Whether the filter could only be had by giving up set-user-ID programs.
    pub(super) gave_up_privileges: bool,
    go: UnixStream,
    starting: JoinHandle<io::Result<Child>>,
}

/// Why a program is not held.
#[derive(Debug)]
pub(super) enum HoldError {
    /// No filter.
    Filter(io::Error),
    /// No process.
    Process(io::Error),
}

/// What a held process says: its number, and the error number of its filter or 0; and whether it has
/// given up privileges.
type Hello = [i32; 3];

impl Held {
    /// Makes the process of a program, which does not start yet. Its signal mask will be `mask`.
    pub(super) fn new(mut command: Command, mask: SigSet) -> Result<Held, HoldError> {
        let (ours, theirs) = UnixStream::pair().map_err(HoldError::Process)?;
        let raw = ours.as_raw_fd();
        // SAFETY: between fork and exec the closure makes system calls only; it allocates nothing and
        // takes no lock. `raw` is the child's copy of `ours`, which it does not use.
        unsafe {
            command.pre_exec(move || {
                libc::close(raw);
                if IGNORES_SIGPIPE.load(Ordering::Relaxed) {
                    libc::signal(libc::SIGPIPE, libc::SIG_IGN);
                }
                sigprocmask(SigmaskHow::SIG_SETMASK, Some(&mask), None)?;
                await_start(&theirs)
            });
        }
        // It returns when the program has started.
        let starting = thread::Builder::new().name("start".to_owned());
        let starting = starting.spawn(move || command.spawn()).map_err(HoldError::Process)?;
        let error = match receive_hello(&ours) {
            Ok(([process, 0, gave_up], Some(listener))) => {
                let gave_up_privileges = gave_up != 0;
                return Ok(Held { process, listener, gave_up_privileges, go: ours, starting });
            }
            Ok(([_, errno, _], _)) => HoldError::Filter(io::Error::from_raw_os_error(errno)),
            Err(error) => HoldError::Process(error),
        };
        drop(ours);
        match (starting.join(), error) {
            (Ok(Err(error)), HoldError::Process(_)) => Err(HoldError::Process(error)),
            (_, error) => Err(error),
        }
    }

    /// Starts the program.
    pub(super) fn start(self) -> io::Result<(Child, OwnedFd)> {
        rustix::io::write(&self.go, b"x")?;
        let failed = |_| Err(io::Error::other("the program could not be started"));
        Ok((self.starting.join().unwrap_or_else(failed)?, self.listener))
    }

    /// Ends the process, which has not started.
    pub(super) fn give_up(self) {
        drop((self.go, self.listener));
        let _ = self.starting.join();
    }
}

/// In the process of the program: installs the filter, passes its notifications on, and waits.
fn await_start(socket: &UnixStream) -> io::Result<()> {
    let process = rustix::process::getpid().as_raw_nonzero().get();
    match install() {
        Ok((listener, gave_up)) => {
            send_hello(socket, [process, 0, gave_up.into()], Some(listener.as_fd()))?;
        }
        Err(error) => {
            send_hello(socket, [process, error.raw_os_error().unwrap_or(libc::EIO), 0], None)?;
            return Err(error);
        }
    }
    match rustix::io::read(socket, &mut [0; 1])? {
        1 => Ok(()),
        _ => Err(io::Error::from_raw_os_error(libc::ECANCELED)),
    }
}

/// Installs the filter in this thread, and returns its notifications, and whether privileges had to
/// be given up for it.
fn install() -> io::Result<(OwnedFd, bool)> {
    let op = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter {
        code: u16::try_from(code).unwrap_or_default(),
        jt,
        jf,
        k,
    };
    let load = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    let equal = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    let ret = libc::BPF_RET | libc::BPF_K;
    // Offsets in struct seccomp_data: the number of the call is at 0, the architecture at 4.
    let number = u32::try_from(libc::SYS_connect).unwrap_or_default();
    let mut filter = [
        op(load, 0, 0, 4),
        op(equal, 0, 3, ARCHITECTURE),
        op(load, 0, 0, 0),
        op(equal, 0, 1, number),
        op(ret, 0, 0, libc::SECCOMP_RET_USER_NOTIF),
        op(ret, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).unwrap_or_default(),
        filter: filter.as_mut_ptr(),
    };
    let seccomp = || {
        // SAFETY: `program` points to `filter`, and both live until the call has returned.
        let listener = unsafe {
            libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
                &raw const program,
            )
        };
        match RawFd::try_from(listener) {
            // SAFETY: the kernel has just made this descriptor, and no other owner has it.
            Ok(listener) if listener >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(listener) }),
            _ => Err(io::Error::last_os_error()),
        }
    };
    match seccomp() {
        // Without CAP_SYS_ADMIN a filter needs this flag.
        Err(error) if error.raw_os_error() == Some(libc::EACCES) => {
            nix::sys::prctl::set_no_new_privs()?;
            Ok((seccomp()?, true))
        }
        listener => Ok((listener?, false)),
    }
}

/// Sends a few numbers and a descriptor through a socket, without a heap.
fn send_hello(
    socket: &UnixStream,
    hello: Hello,
    descriptor: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors = descriptor.as_slice();
    if !descriptors.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    let bytes = hello.map(i32::to_ne_bytes);
    sendmsg(socket, &[IoSlice::new(bytes.as_flattened())], &mut ancillary, SendFlags::empty())?;
    Ok(())
}

fn receive_hello(socket: &UnixStream) -> io::Result<(Hello, Option<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [[0; 4]; 3];
    let parts = &mut [io::IoSliceMut::new(bytes.as_flattened_mut())];
    let received = recvmsg(socket, parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    if received.bytes != size_of::<Hello>() {
        return Err(io::Error::other("the process of the program has ended"));
    }
    let mut messages = ancillary.drain();
    let descriptor = messages.find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    Ok((bytes.map(i32::from_ne_bytes), descriptor))
}

/// Has the kernel wake this process where a program calls, and the program where it is answered, on
/// the same processor: one of them waits for the other. Linux 6.6; before, nothing changes.
pub(super) fn wake_in_turn(listener: BorrowedFd<'_>) {
    const SYNC_WAKE_UP: libc::c_ulong = 1;
    // SAFETY: the argument is a number; a kernel that does not know the call refuses it.
    unsafe { libc::syscall(libc::SYS_ioctl, listener.as_raw_fd(), SET_FLAGS, SYNC_WAKE_UP) };
}

/// Receives the next call; `None` where it has ended meanwhile, and after a signal.
pub(super) fn receive(listener: BorrowedFd<'_>) -> io::Result<Option<Call>> {
    // SAFETY: all fields are numbers, for which zero is a value; the kernel wants zeros.
    let mut notification: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes one `seccomp_notif` to the pointer.
    let done = unsafe {
        libc::syscall(libc::SYS_ioctl, listener.as_raw_fd(), RECEIVE, &raw mut notification)
    };
    if done != 0 {
        return match io::Error::last_os_error() {
            error if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINTR)) => Ok(None),
            error => Err(error),
        };
    }
    let arguments = notification.data.args;
    Ok(Some(Call {
        id: notification.id,
        thread: i32::try_from(notification.pid).unwrap_or_default(),
        // As the kernel does: the upper half of the register is nothing.
        #[expect(clippy::cast_possible_truncation, reason = "descriptors are 32 bits wide")]
        descriptor: arguments[0] as RawFd,
        address: arguments[1],
        length: usize::try_from(arguments[2] & 0xffff_ffff).unwrap_or_default(),
    }))
}

/// Whether the call still waits, so that its thread number has not been given to another one.
pub(super) fn is_waiting(listener: BorrowedFd<'_>, call: &Call) -> bool {
    // SAFETY: the kernel reads one u64 from the pointer.
    unsafe {
        libc::syscall(libc::SYS_ioctl, listener.as_raw_fd(), IS_VALID, &raw const call.id) == 0
    }
}

/// Answers a call, and returns whether it was still waiting.
pub(super) fn answer(listener: BorrowedFd<'_>, call: &Call, answer: CallAnswer) -> bool {
    let (error, flags) = match answer {
        CallAnswer::Continue => (0, libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE),
        CallAnswer::Done => (0, 0),
        CallAnswer::Fails(number) => (-number, 0),
    };
    let response = libc::seccomp_notif_resp {
        id: call.id,
        val: 0,
        error,
        flags: u32::try_from(flags).unwrap_or_default(),
    };
    // SAFETY: the kernel reads one `seccomp_notif_resp` from the pointer.
    unsafe { libc::syscall(libc::SYS_ioctl, listener.as_raw_fd(), SEND, &raw const response) == 0 }
}

/// The most bytes of an address that are read: `sockaddr_in6` has 28.
pub(super) const ADDRESS: usize = 28;

/// Reads the address of a call from the memory of its program; fewer bytes where it is shorter.
pub(super) fn read_address(call: &Call) -> io::Result<([u8; ADDRESS], usize)> {
    let mut bytes = [0_u8; ADDRESS];
    let length = call.length.min(ADDRESS);
    let count = read_memory(call.thread, call.address, &mut bytes[..length])?;
    Ok((bytes, count))
}

/// Fails where this process may not read the memory of another one, which is a copy of it.
pub(super) fn can_read_memory(copy: i32) -> io::Result<()> {
    static WORD: u64 = 0x6d61_696c_706f_7274;
    let mut bytes = [0; 8];
    let place = (&raw const WORD).addr();
    let count = read_memory(copy, u64::try_from(place).unwrap_or_default(), &mut bytes)?;
    if count == bytes.len() && u64::from_ne_bytes(bytes) == WORD {
        Ok(())
    } else {
        Err(io::Error::other("another word than was written"))
    }
}

fn read_memory(thread: i32, place: u64, bytes: &mut [u8]) -> io::Result<usize> {
    let local = libc::iovec { iov_base: bytes.as_mut_ptr().cast::<c_void>(), iov_len: bytes.len() };
    let base = usize::try_from(place).map_err(|_| io::ErrorKind::InvalidInput)?;
    let remote =
        libc::iovec { iov_base: std::ptr::without_provenance_mut(base), iov_len: bytes.len() };
    // SAFETY: `local` is `bytes`; the kernel checks `remote`, which is in another process.
    let read =
        unsafe { libc::process_vm_readv(thread, &raw const local, 1, &raw const remote, 1, 0) };
    usize::try_from(read).map_err(|_| io::Error::last_os_error())
}

/// The number of the network namespace of a socket (Linux 5.14).
pub(super) fn network_namespace(socket: BorrowedFd<'_>) -> io::Result<u64> {
    let mut value = 0_u64;
    let length = socket_option(socket, libc::SOL_SOCKET, SO_NETNS_COOKIE, &mut value)?;
    if length == size_of::<u64>() { Ok(value) } else { Err(io::ErrorKind::Unsupported.into()) }
}

/// Of asm-generic/socket.h.
const SO_NETNS_COOKIE: libc::c_int = 71;

/// An option of a socket that is a number; 0 where the socket does not have it.
pub(super) fn number_option(socket: BorrowedFd<'_>, level: libc::c_int, name: libc::c_int) -> u32 {
    let mut value = 0_u32;
    match socket_option(socket, level, name, &mut value) {
        Ok(_) => value,
        Err(_) => 0,
    }
}

/// A type of which every pattern of bits is a value.
trait Number: Copy {}
impl Number for u32 {}
impl Number for u64 {}

/// Reads an option, and returns how many bytes it has.
fn socket_option<T: Number>(
    socket: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
    value: &mut T,
) -> io::Result<usize> {
    let mut length = libc::socklen_t::try_from(size_of::<T>()).unwrap_or_default();
    // SAFETY: the kernel writes at most `length` bytes to `value`, for which any bits are a number.
    let done = unsafe {
        let value = std::ptr::from_mut(value).cast::<c_void>();
        libc::getsockopt(socket.as_raw_fd(), level, name, value, &raw mut length)
    };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(usize::try_from(length).unwrap_or_default())
}

/// Descriptors that this process was started with, above standard error.
pub(super) struct Inherited(Vec<RawFd>);

impl Inherited {
    /// To be called before this process opens any.
    pub(super) fn new() -> Inherited {
        let numbers = std::fs::read_dir("/proc/self/fd").into_iter().flatten();
        let numbers = numbers.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        // One is that of the directory, which is closed by now.
        let is_open = |number: &RawFd| {
            // SAFETY: the call reads the flags of a number, which may be closed.
            *number > 2 && unsafe { libc::fcntl(*number, libc::F_GETFD) } >= 0
        };
        let numbers: Vec<RawFd> = numbers.collect();
        Inherited(numbers.into_iter().filter(is_open).collect())
    }

    /// Closes them: they are the program's.
    pub(super) fn close(self) {
        for number in self.0 {
            // SAFETY: it was open before this process had opened any, so nothing here owns it.
            drop(unsafe { OwnedFd::from_raw_fd(number) });
        }
    }
}

const _: () = assert!(size_of::<libc::seccomp_notif>() == 80);
const _: () = assert!(size_of::<libc::seccomp_notif_resp>() == 24);
