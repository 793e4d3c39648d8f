//! A command that is never our child: begun by a child of ours that ends at once.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::{mem, ptr};

use super::{check, with_signals_blocked};

/// A file in memory of this size, which nobody can make longer: what is written past its end fails
/// (`EPERM`). Only what has been written takes memory.
pub(in crate::driver) fn memory(size: u64) -> io::Result<File> {
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // SAFETY: a NUL-terminated name; a descriptor that is returned belongs to nobody yet.
    let descriptor = unsafe {
        OwnedFd::from_raw_fd(check(libc::memfd_create(c"mailport-stderr".as_ptr(), flags))?)
    };
    let file = File::from(descriptor);
    file.set_len(size)?;
    let seals = libc::F_SEAL_GROW | libc::F_SEAL_SHRINK | libc::F_SEAL_SEAL;
    // SAFETY: no pointers.
    check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) })?;
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

/// The descriptors that a command is given.
pub(in crate::driver) struct Given<'a> {
    /// Its standard input and output.
    pub(in crate::driver) line: BorrowedFd<'a>,
    /// Its standard error.
    pub(in crate::driver) errors: BorrowedFd<'a>,
    /// Where the number of an error goes if it cannot be executed; closed when it is.
    pub(in crate::driver) status: BorrowedFd<'a>,
}

/// Starts a command as the child of a child that has ended when this returns, so that it is the
/// init process that waits for it. Fails where not even the first child can be had; everything
/// later comes by [`Given::status`].
///
/// The first child is waited for by its number. Where the program has a handler for SIGCHLD, it is
/// called once; where it ignores the signal or waits for every child, nothing is lost.
pub(in crate::driver) fn start(program: &Program, given: &Given) -> io::Result<()> {
    // Made before the fork: memory must not be asked for after it.
    let pointers = |list: &[CString]| -> Vec<*const libc::c_char> {
        list.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect()
    };
    let (arguments, environment) = (pointers(program.arguments), pointers(program.environment));
    // Blocked, so that no handler of the program runs in the children.
    let child = with_signals_blocked(|| {
        // SAFETY: the child calls only functions that are safe after a fork, and never returns.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // SAFETY: this is the child, and both lists end with a null pointer.
            unsafe { begin(program.path, &arguments, &environment, given) }
        }
        check(child)
    })?;
    loop {
        // SAFETY: the status is not asked for.
        let waited = unsafe { libc::waitpid(child, ptr::null_mut(), 0) };
        // Somebody else has waited for it, or the system has: gone it is all the same.
        if waited >= 0 || io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return Ok(());
        }
    }
}

/// The child: begins the command and ends.
///
/// # Safety
/// Only for a process that was just forked; both lists end with a null pointer.
unsafe fn begin(
    path: &CStr,
    arguments: &[*const libc::c_char],
    environment: &[*const libc::c_char],
    given: &Given,
) -> ! {
    // SAFETY: one thread, and nothing but system calls follows.
    unsafe {
        match libc::fork() {
            0 => execute(path, arguments, environment, given),
            child if child < 0 => tell(given.status.as_raw_fd()),
            _ => {}
        }
        libc::_exit(0)
    }
}

/// The child's child: becomes the command.
///
/// # Safety
/// As [`begin`].
unsafe fn execute(
    path: &CStr,
    arguments: &[*const libc::c_char],
    environment: &[*const libc::c_char],
    given: &Given,
) -> ! {
    let status = given.status.as_raw_fd();
    // SAFETY: system calls with descriptors of ours and pointers that outlive them.
    unsafe {
        // Out of the way of 0, 1 and 2, where the program had those closed.
        let away = |from: RawFd| match from {
            0..=2 => libc::fcntl(from, libc::F_DUPFD_CLOEXEC, 3),
            _ => from,
        };
        let kept = away(status);
        let (line, errors) = (away(given.line.as_raw_fd()), away(given.errors.as_raw_fd()));
        let failed = kept < 0
            || line < 0
            || errors < 0
            || libc::dup2(line, 0) < 0
            || libc::dup2(line, 1) < 0
            || libc::dup2(errors, 2) < 0;
        if !failed {
            // The program's own descriptors ought to be close-on-exec; before Linux 5.11 this does
            // nothing.
            let all = (3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC);
            libc::syscall(libc::SYS_close_range, all.0, all.1, all.2);
            reset_signals();
            libc::execve(path.as_ptr(), arguments.as_ptr(), environment.as_ptr());
        }
        tell(if kept < 0 { status } else { kept });
        libc::_exit(127)
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
unsafe fn tell(status: RawFd) {
    let number = io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO).to_ne_bytes();
    // SAFETY: the pointer and the length are those of `number`.
    unsafe { libc::write(status, number.as_ptr().cast(), number.len()) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Seek, Write};

    #[test]
    fn a_file_in_memory_takes_no_more_than_its_size() {
        let mut file = memory(100_000).unwrap();
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
    fn an_executable_is_told_from_a_file() {
        assert!(is_executable(Path::new("/bin/sh")));
        assert!(!is_executable(Path::new("/etc/passwd")) && !is_executable(Path::new("/none")));
    }
}
