//! The system calls of `mailport run` that no crate wraps: the only unsafe code of the command.
//!
//! - the filter and its notifications (seccomp(2), `SECCOMP_RET_USER_NOTIF`)
//! - the memory of another process (`process_vm_readv`(2))
#![allow(unsafe_code, reason = "these system calls take pointers")]

use std::ffi::c_void;
use std::io::{self, IoSlice};
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// The architecture that the filter knows; calls of another one (32-bit programs) are let through.
#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const ARCHITECTURE: u32 = 0;

/// `_IOWR('!', 0, struct seccomp_notif)` and so on, of linux/seccomp.h.
const RECEIVE: libc::c_ulong = 0xc050_2100;
const SEND: libc::c_ulong = 0xc018_2101;
const IS_VALID: libc::c_ulong = 0x4008_2102;

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
#[derive(Debug, Clone, Copy)]
pub(super) enum Answer {
    /// The kernel carries it out.
    Continue,
    /// It has been carried out.
    Done,
    /// It fails with this error number.
    Fails(i32),
}

/// Starts a program whose `connect` calls, and those of all its descendants, are answered by the
/// holder of the descriptor that is returned.
pub(super) fn spawn(command: &mut Command) -> io::Result<(Child, OwnedFd)> {
    let (ours, theirs) = UnixStream::pair()?;
    // SAFETY: between fork and exec the closure makes system calls only; it allocates nothing and
    // takes no lock.
    unsafe {
        command.pre_exec(move || {
            let listener = install()?;
            pass(theirs.as_fd(), listener.as_fd())
        });
    }
    let child = command.spawn()?;
    Ok((child, receive_descriptor(&ours)?))
}

/// Installs the filter in this thread, and returns its notifications.
fn install() -> io::Result<OwnedFd> {
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
    // SAFETY: without privileges a filter needs this flag; the call takes no pointer.
    if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `program` points to `filter`, and both live until the call has returned.
    let listener = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
            &raw const program,
        )
    };
    let listener = RawFd::try_from(listener).unwrap_or(-1);
    if listener < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor, and no other owner has it.
    Ok(unsafe { OwnedFd::from_raw_fd(listener) })
}

/// Passes a descriptor through a socket, without a heap.
fn pass(socket: BorrowedFd<'_>, descriptor: BorrowedFd<'_>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors = [descriptor];
    ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    sendmsg(socket, &[IoSlice::new(b"x")], &mut ancillary, SendFlags::empty())?;
    Ok(())
}

fn receive_descriptor(socket: &UnixStream) -> io::Result<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0; 1];
    let parts = &mut [io::IoSliceMut::new(&mut byte)];
    recvmsg(socket, parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let mut messages = ancillary.drain();
    let descriptor = messages.find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    descriptor.ok_or_else(|| io::Error::other("the program has not passed its notifications on"))
}

/// Receives the next call; `None` where it has ended meanwhile, and after a signal.
pub(super) fn receive(listener: BorrowedFd<'_>) -> io::Result<Option<Call>> {
    // SAFETY: all fields are numbers, for which zero is a value; the kernel wants zeros.
    let mut notification: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes one `seccomp_notif` to the pointer.
    let done = unsafe { libc::ioctl(listener.as_raw_fd(), RECEIVE, &raw mut notification) };
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
    unsafe { libc::ioctl(listener.as_raw_fd(), IS_VALID, &raw const call.id) == 0 }
}

/// Answers a call. One that has ended meanwhile needs no answer.
pub(super) fn answer(listener: BorrowedFd<'_>, call: &Call, answer: Answer) {
    let (error, flags) = match answer {
        Answer::Continue => (0, libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE),
        Answer::Done => (0, 0),
        Answer::Fails(number) => (-number, 0),
    };
    let response = libc::seccomp_notif_resp {
        id: call.id,
        val: 0,
        error,
        flags: u32::try_from(flags).unwrap_or_default(),
    };
    // SAFETY: the kernel reads one `seccomp_notif_resp` from the pointer.
    let _ = unsafe { libc::ioctl(listener.as_raw_fd(), SEND, &raw const response) };
}

/// The most bytes of an address that are read: `sockaddr_in6` has 28.
pub(super) const ADDRESS: usize = 28;

/// Reads the address of a call from the memory of its program; fewer bytes where it is shorter.
pub(super) fn read_address(call: &Call) -> io::Result<([u8; ADDRESS], usize)> {
    let mut bytes = [0_u8; ADDRESS];
    let length = call.length.min(ADDRESS);
    let local = libc::iovec { iov_base: bytes.as_mut_ptr().cast::<c_void>(), iov_len: length };
    let base = usize::try_from(call.address).map_err(|_| io::ErrorKind::InvalidInput)?;
    let remote = libc::iovec { iov_base: std::ptr::without_provenance_mut(base), iov_len: length };
    // SAFETY: `local` points to `bytes`, which has at least `length` bytes; the kernel checks
    // `remote`, which is in another process.
    let read = unsafe {
        libc::process_vm_readv(call.thread, &raw const local, 1, &raw const remote, 1, 0)
    };
    match usize::try_from(read) {
        Ok(count) => Ok((bytes, count)),
        Err(_) => Err(io::Error::last_os_error()),
    }
}

const _: () = assert!(size_of::<libc::seccomp_notif>() == 80);
const _: () = assert!(size_of::<libc::seccomp_notif_resp>() == 24);
