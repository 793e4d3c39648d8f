//! The only unsafe code: what Emacs and the kernel give as bare numbers.
#![allow(unsafe_code, reason = "descriptors that Emacs owns or gives away are plain integers")]

use std::any::Any;
use std::fs;
use std::io::{self, PipeWriter};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, RawFd};
use std::path::Path;

use emacs::{Env, Result, Value};
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::sys::socket::{UnixAddr, getpeername};
use nix::unistd::dup3_raw;

// Read by Emacs when it loads the module. MIT and Apache-2.0 are both compatible with the GPL.
emacs::plugin_is_GPL_compatible!();

/// The write end of a pipe process, which is ours to close. It does not block, and no program that
/// Emacs starts inherits it: Emacs gives it with neither set.
pub(crate) fn open_channel<'e>(env: &'e Env, pipe: Value<'e>) -> Result<PipeWriter> {
    let channel: Box<dyn Any> = Box::new(env.open_channel(pipe)?);
    let channel = channel.downcast::<PipeWriter>().map_err(|_| io::Error::other("not a pipe"))?;
    let flags = OFlag::from_bits_retain(fcntl(&*channel, FcntlArg::F_GETFL)?);
    fcntl(&*channel, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    fcntl(&*channel, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    Ok(*channel)
}

/// Puts `socket` in the place of this process' own end of the connection to the local socket at
/// `path`, whoever holds it. Emacs does not notice: it waits on descriptors by their number, and
/// has sent and received nothing yet.
pub(crate) fn replace_peer(path: &Path, socket: &impl AsFd) -> io::Result<()> {
    let ours = descriptors()?.into_iter().find(|&fd| {
        // SAFETY: it is only looked at, and Emacs, which has one thread, closes nothing meanwhile.
        // Another thread of ours may close its own; the look then fails, or finds another peer.
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        getpeername::<UnixAddr>(fd.as_raw_fd()).is_ok_and(|peer| peer.path() == Some(path))
    });
    let ours = ours.ok_or_else(|| io::Error::other("Emacs' end of the connection is not found"))?;
    // SAFETY: `ours` is Emacs' end, for its peer is a path that was made for this connection and
    // given to nobody else. Emacs goes on owning the number, and closes it once.
    let theirs = unsafe { dup3_raw(socket.as_fd(), ours, OFlag::O_CLOEXEC)? };
    // The number is Emacs', so the owner that nix makes of it must not close it.
    let _ = theirs.into_raw_fd();
    Ok(())
}

/// Every descriptor that this process has.
fn descriptors() -> io::Result<Vec<RawFd>> {
    let entries = fs::read_dir("/proc/self/fd")?;
    Ok(entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect())
}
