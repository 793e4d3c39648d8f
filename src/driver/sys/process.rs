//! A command that is not a child of this process: a child that ends at once starts it.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::{mem, ptr};

use rustix::fs::{MemfdFlags, SealFlags};

use super::fork::process_generation;
use super::{check, with_signals_blocked};

/// A file in memory of this size, which cannot be made longer: what is written past its end fails
/// (`EPERM`). Only what has been written takes memory.
pub(in crate::driver) fn file_in_memory(size: u64) -> io::Result<File> {
    let create = |flags| {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING | flags;
        rustix::fs::memfd_create("mailport-stderr", flags)
    };
    // An administrator may allow only files that cannot be executed (vm.memfd_noexec); kernels
    // before 6.3 know no such flag.
    let file = create(MemfdFlags::NOEXEC_SEAL).or_else(|_| create(MemfdFlags::empty()))?;
    let file = File::from(file);
    file.set_len(size)?;
    rustix::fs::fcntl_add_seals(&file, SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
    Ok(file)
}

/// Whether this process may execute a file.
pub(in crate::driver) fn is_executable(path: &Path) -> bool {
    use std::os::unix::ffi::OsStrExt;
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else { return false };
    // SAFETY: a NUL-terminated string that outlives the call.
    unsafe { libc::faccessat(libc::AT_FDCWD, path.as_ptr(), libc::X_OK, libc::AT_EACCESS) == 0 }
}

/// What is executed, with its own name as the first argument.
pub(in crate::driver) struct Program<'a> {
    pub(in crate::driver) path: &'a CStr,
    pub(in crate::driver) arguments: &'a [CString],
    pub(in crate::driver) environment: &'a [CString],
}

/// The descriptors that a command is given by the program.
pub(in crate::driver) struct Given<'a> {
    /// Its standard error.
    pub(in crate::driver) errors: BorrowedFd<'a>,
    /// A socket by which it sends what it has made itself: see [`receive`].
    pub(in crate::driver) channel: BorrowedFd<'a>,
}

/// What a command makes for itself and shares, before it is executed.
///
/// The program itself must not make these: another thread that forks at that moment would leave a
/// copy of the command's ends in a child, which would hide their end for as long as it lives.
pub(in crate::driver) struct Ends {
    /// The other end of its standard input and output.
    pub(in crate::driver) line: OwnedFd,
    /// Ends when it is executed; the number of an error comes before that where it cannot be.
    pub(in crate::driver) status: OwnedFd,
    /// The command, where the kernel has descriptors for processes.
    pub(in crate::driver) process: Option<Process>,
}

/// A command, which ends when this is dropped, unless it was [left](Process::leave).
#[derive(Debug)]
pub(in crate::driver) struct Process {
    descriptor: OwnedFd,
    /// The process that started it; a forked child leaves it alone.
    owner: u64,
    is_left: bool,
}

impl Process {
    fn new(descriptor: OwnedFd) -> Process {
        if is_reaper() {
            reap(&descriptor);
        }
        Process { descriptor, owner: process_generation(), is_left: false }
    }

    /// Lets the command live: from now on it ends by itself, with its connection.
    pub(in crate::driver) fn leave(mut self) {
        self.is_left = true;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        /// The signal is for the whole process group (`PIDFD_SIGNAL_PROCESS_GROUP`, Linux 6.9).
        const GROUP: libc::c_uint = 1 << 2;
        if self.is_left || self.owner != process_generation() {
            return;
        }
        let send = |flags: libc::c_uint| {
            let (process, none) = (self.descriptor.as_raw_fd(), ptr::null::<libc::siginfo_t>());
            // SAFETY: no pointer but a null one.
            unsafe {
                libc::syscall(libc::SYS_pidfd_send_signal, process, libc::SIGTERM, none, flags)
            }
        };
        if send(GROUP) != 0 {
            // It fails where the command has ended, which is what we want.
            send(0);
        }
    }
}

/// Whether this process becomes the parent of commands, as the init process of a PID namespace or
/// as a subreaper.
fn is_reaper() -> bool {
    let mut subreaper: libc::c_int = 0;
    // SAFETY: the kernel writes one int.
    unsafe { libc::prctl(libc::PR_GET_CHILD_SUBREAPER, &raw mut subreaper) };
    std::process::id() == 1 || subreaper != 0
}

/// Waits for a command that has become a child of this process, on a thread that ends with the
/// command. Without that it would stay as a zombie; any other wait could take a child of the
/// program's.
fn reap(process: &OwnedFd) {
    let Ok(process) = process.try_clone() else { return };
    // Where no thread can be had, the zombie stays.
    let _ = super::thread::spawn("mailport-reap", super::thread::SMALL_STACK, move || {
        loop {
            // SAFETY: nothing is written.
            let waited = unsafe {
                libc::waitid(
                    libc::P_PIDFD,
                    process.as_raw_fd().cast_unsigned(),
                    ptr::null_mut(),
                    libc::WEXITED,
                )
            };
            if waited == 0 || io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
                return;
            }
        }
    });
}

/// The bytes of a message: the number of an error, or 0.
const NUMBER: usize = size_of::<libc::c_int>();

/// Room for the header and the descriptors of [`Ends`], aligned as a `cmsghdr` must be.
#[repr(C, align(8))]
struct DescriptorControl([u8; 64]);

/// The length of the descriptors in it, at most.
const DESCRIPTORS: libc::c_uint = 3 * size_of::<RawFd>() as libc::c_uint;

/// What has come by the other end of [`Given::channel`]: the [`Ends`], or why the command could not
/// come that far. An error of this call is `WouldBlock` where nothing has come yet.
pub(in crate::driver) fn receive(channel: BorrowedFd) -> io::Result<io::Result<Ends>> {
    let mut number = [0; NUMBER];
    let mut control = DescriptorControl([0; 64]);
    let mut data = libc::iovec { iov_base: number.as_mut_ptr().cast(), iov_len: NUMBER };
    let mut message = message(&mut data, &mut control);
    let flags = libc::MSG_CMSG_CLOEXEC | libc::MSG_DONTWAIT;
    // SAFETY: the message has the pointers and lengths of `number` and `control`, which outlive it.
    let count = unsafe { libc::recvmsg(channel.as_raw_fd(), &raw mut message, flags) };
    if count < 0 {
        return Err(io::Error::last_os_error());
    }
    let mut received = [None, None, None];
    // SAFETY: `message` is what the kernel has just filled in, so its header is in bounds.
    let header = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
    if !header.is_null() {
        // SAFETY: not null, so it points to a whole header within the control buffer.
        let cmsg = unsafe { ptr::read_unaligned(header) };
        // SAFETY: length of an empty message, no memory is touched.
        let head = unsafe { libc::CMSG_LEN(0) } as usize;
        let length = (cmsg.cmsg_len as usize).saturating_sub(head);
        // SAFETY: the kernel wrote `cmsg_len` bytes from `header` on, all in the buffer.
        let data = unsafe { std::slice::from_raw_parts(libc::CMSG_DATA(header), length) };
        for (place, raw) in received.iter_mut().zip(data.as_chunks().0) {
            // SAFETY: a descriptor that was received has no owner yet.
            *place = Some(unsafe { OwnedFd::from_raw_fd(RawFd::from_ne_bytes(*raw)) });
        }
    }
    let number = libc::c_int::from_ne_bytes(number);
    Ok(match received {
        [Some(line), Some(status), process] => {
            Ok(Ends { line, status, process: process.map(Process::new) })
        }
        // They were sent, and there was no room for them here.
        _ if number == 0 && count > 0 => Err(io::Error::from_raw_os_error(libc::EMFILE)),
        _ if count > 0 => Err(io::Error::from_raw_os_error(number)),
        _ => Err(io::Error::other("it was killed before it began")),
    })
}

/// A message of these bytes, with room for descriptors.
fn message(data: &mut libc::iovec, control: &mut DescriptorControl) -> libc::msghdr {
    // SAFETY: all-zero is a valid `msghdr`: no name, no data, no control buffer.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = data;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    // SAFETY: only a number is computed.
    message.msg_controllen = unsafe { libc::CMSG_SPACE(DESCRIPTORS) } as _;
    message
}

/// The stack of each of the two processes that share this one's memory until the command runs.
const STACK: usize = 64 * 1024;

/// What the two processes get.
struct Start<'a> {
    path: &'a CStr,
    arguments: &'a [*const libc::c_char],
    environment: &'a [*const libc::c_char],
    channel: RawFd,
    errors: RawFd,
    /// The end of the stack of the second one.
    stack: *mut libc::c_void,
}

/// Starts a command as the child of a child that has ended when this returns, so that the init
/// process waits for it (or [`reap`]). Fails where not even the first child can be had; everything
/// later comes by [`Given::channel`].
///
/// Neither child copies the memory of this process, which would take as long as it is large
/// (`CLONE_VFORK`): this thread sleeps until the command is executed. The first child sends no
/// signal when it ends, and no call but the one here waits for it.
pub(in crate::driver) fn start(program: &Program, given: &Given) -> io::Result<()> {
    let pointers = |list: &[CString]| -> Vec<*const libc::c_char> {
        list.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect()
    };
    let (arguments, environment) = (pointers(program.arguments), pointers(program.environment));
    let mut stacks: Vec<mem::MaybeUninit<u128>> = Vec::new();
    let half = STACK / size_of::<u128>();
    stacks.resize(2 * half, mem::MaybeUninit::uninit());
    let (first, second) = stacks.split_at_mut(half);
    let start = Start {
        path: program.path,
        arguments: &arguments,
        environment: &environment,
        channel: given.channel.as_raw_fd(),
        errors: given.errors.as_raw_fd(),
        stack: second.as_mut_ptr_range().end.cast(),
    };
    // Blocked, so that no handler of the program runs in the children.
    let child = with_signals_blocked(|| {
        let stack = first.as_mut_ptr_range().end.cast();
        let argument = (&raw const start).cast_mut().cast();
        // SAFETY: the stack and what the argument points to outlive the child, for this thread
        // sleeps until the child has ended; it makes system calls only.
        check(unsafe { child(begin, stack, argument) })
    })?;
    loop {
        // SAFETY: the status is not asked for.
        let waited = unsafe { libc::waitpid(child, ptr::null_mut(), libc::__WALL) };
        // Another wait of the program, or the system, may have been first.
        if waited >= 0 || io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return Ok(());
        }
    }
}

/// A child that shares the memory of its parent, which sleeps meanwhile; 0 in place of the signal
/// that tells of its end.
const SHARED: libc::c_int = libc::CLONE_VM | libc::CLONE_VFORK;

/// Starts a child as [`SHARED`] says. qemu-user refuses one that sends no signal at its end, and
/// copies the memory.
///
/// # Safety
/// As `clone`; the child makes system calls only.
unsafe fn child(
    run: extern "C" fn(*mut libc::c_void) -> libc::c_int,
    stack: *mut libc::c_void,
    argument: *mut libc::c_void,
) -> libc::c_int {
    // SAFETY: that of the caller.
    unsafe {
        let started = libc::clone(run, stack, SHARED, argument);
        if started < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::EINVAL) {
            return libc::clone(run, stack, SHARED | libc::SIGCHLD, argument);
        }
        started
    }
}

/// The child: starts the command and ends.
extern "C" fn begin(argument: *mut libc::c_void) -> libc::c_int {
    // SAFETY: the pointer to a `Start` of the parent, which sleeps; nothing but system calls
    // follows.
    unsafe {
        let start = &*argument.cast::<Start>();
        if child(execute, start.stack, argument) < 0 {
            tell(start.channel);
        }
        libc::_exit(0)
    }
}

/// The child's child: becomes the command.
extern "C" fn execute(argument: *mut libc::c_void) -> libc::c_int {
    // SAFETY: as in `begin`: system calls with descriptors of ours and pointers that outlive them.
    unsafe {
        let start = &*argument.cast::<Start>();
        // A new session: keys of the program's terminal do not reach the command.
        libc::setsid();
        // Out of the way of 0, 1 and 2, where the program had those closed.
        let away = |from: RawFd| match from {
            0..=2 => libc::fcntl(from, libc::F_DUPFD_CLOEXEC, 3),
            _ => from,
        };
        let kept = away(start.channel);
        let channel = if kept < 0 { start.channel } else { kept };
        let errors = away(start.errors);
        let (mut line, mut status) = ([-1; 2], [-1; 2]);
        let shared = kept >= 0
            && errors >= 0
            && pair(&mut line)
            && pair(&mut status)
            && share(channel, line[0], status[0]);
        if !shared {
            tell(channel);
            libc::_exit(127)
        }
        let (line, status) = (away(line[1]), away(status[1]));
        let failed = line < 0
            || status < 0
            || libc::dup2(line, 0) < 0
            || libc::dup2(line, 1) < 0
            || libc::dup2(errors, 2) < 0;
        if !failed {
            // The program's own descriptors ought to be close-on-exec; before Linux 5.11 this does
            // nothing.
            let all = (3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC);
            libc::syscall(libc::SYS_close_range, all.0, all.1, all.2);
            reset_signals();
            let (arguments, environment) = (start.arguments.as_ptr(), start.environment.as_ptr());
            libc::execve(start.path.as_ptr(), arguments, environment);
        }
        tell(status);
        libc::_exit(127)
    }
}

/// Makes two sockets that are joined, and says whether it could.
///
/// # Safety
/// As [`begin`].
unsafe fn pair(ends: &mut [RawFd; 2]) -> bool {
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
    // SAFETY: there is room for two descriptors.
    unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, ends.as_mut_ptr()) == 0 }
}

/// Sends two descriptors and one of this process, and says whether it could.
///
/// # Safety
/// As [`begin`].
unsafe fn share(channel: RawFd, line: RawFd, status: RawFd) -> bool {
    // SAFETY: no pointers.
    let own = unsafe { libc::syscall(libc::SYS_pidfd_open, libc::getpid(), 0) };
    // Before Linux 5.3 there is none: the command is then neither ended nor waited for.
    let own = RawFd::try_from(own).ok().filter(|&own| own >= 0);
    let ends = [line, status, own.unwrap_or(-1)];
    let count = if own.is_some() { ends.len() } else { ends.len() - 1 };
    let length = (count * size_of::<RawFd>()) as libc::c_uint;
    let mut number = [0; NUMBER];
    let mut control = DescriptorControl([0; 64]);
    let mut data = libc::iovec { iov_base: number.as_mut_ptr().cast(), iov_len: NUMBER };
    let mut message = message(&mut data, &mut control);
    // SAFETY: the control buffer is aligned and has room for a header and three descriptors.
    unsafe {
        message.msg_controllen = libc::CMSG_SPACE(length) as _;
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(length) as _;
        ptr::copy_nonoverlapping(ends.as_ptr().cast(), libc::CMSG_DATA(header), length as usize);
        libc::sendmsg(channel, &raw const message, libc::MSG_NOSIGNAL) >= 0
    }
}

/// Gives the command the signals as a shell would: none blocked, none with a handler, and neither
/// SIGPIPE nor SIGCHLD ignored. Others that are ignored stay so, as under nohup.
///
/// # Safety
/// As [`begin`].
unsafe fn reset_signals() {
    // SAFETY: all-zero structures are valid, and both pointers are to such; numbers that are no
    // signals are refused.
    unsafe {
        let mut default: libc::sigaction = mem::zeroed();
        default.sa_sigaction = libc::SIG_DFL;
        for signal in 1..=64 {
            let mut now: libc::sigaction = mem::zeroed();
            let known = libc::sigaction(signal, ptr::null(), &raw mut now) == 0;
            let ours = matches!(signal, libc::SIGPIPE | libc::SIGCHLD);
            if known && (now.sa_sigaction != libc::SIG_IGN || ours) {
                libc::sigaction(signal, &raw const default, ptr::null_mut());
            }
        }
        let mut none: libc::sigset_t = mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
    }
}

/// Sends the number of the last error.
///
/// # Safety
/// As [`begin`].
unsafe fn tell(to: RawFd) {
    let number = io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO).to_ne_bytes();
    // SAFETY: the pointer and the length are those of `number`.
    unsafe { libc::send(to, number.as_ptr().cast(), number.len(), libc::MSG_NOSIGNAL) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Seek, Write};

    #[test]
    fn a_file_in_memory_takes_no_more_than_its_size() {
        let mut file = file_in_memory(100_000).unwrap();
        let written = std::iter::repeat_with(|| file.write(&[b'x'; 999])).take(200);
        let (ok, failed): (Vec<_>, Vec<_>) = written.partition(Result::is_ok);
        let sum: usize = ok.into_iter().map(Result::unwrap).sum();
        // What would end beyond it may fail altogether.
        assert!((99_002..=100_000).contains(&sum), "{sum}");
        assert!(failed.iter().all(|e| e.as_ref().unwrap_err().raw_os_error() == Some(libc::EPERM)));
        assert!(file.set_len(100_001).is_err() && file.set_len(0).is_err());
        assert_eq!(file.stream_position().unwrap(), sum as u64);
    }

    #[test]
    fn an_executable_is_distinguished_from_a_file() {
        assert!(is_executable(Path::new("/bin/sh")));
        assert!(!is_executable(Path::new("/etc/passwd")) && !is_executable(Path::new("/none")));
    }
}
