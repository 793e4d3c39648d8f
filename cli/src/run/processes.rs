//! The processes of a program, and their descriptors.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;

use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

/// The process of a thread.
pub(super) fn process_of(thread: i32) -> io::Result<i32> {
    let status = fs::read_to_string(format!("/proc/{thread}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("Tgid:"));
    let number = line.and_then(|text| text.trim().parse().ok());
    number.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
}

/// A copy of a descriptor of a thread of this process. Fails for a thread with separate descriptors
/// (`unshare`(2), `CLONE_FILES`): what is copied is that of the first thread.
pub(super) fn descriptor_of(process: i32, thread: i32, descriptor: i32) -> io::Result<OwnedFd> {
    let first = Pid::from_raw(process).ok_or(io::ErrorKind::NotFound)?;
    let first = pidfd_open(first, PidfdFlags::empty())?;
    let copy = pidfd_getfd(first, descriptor, PidfdGetfdFlags::empty())?;
    if thread != process {
        let own = fs::metadata(format!("/proc/{thread}/fd/{descriptor}"))?;
        let stat = rustix::fs::fstat(&copy)?;
        if (own.ino(), own.dev()) != (stat.st_ino, stat.st_dev) {
            return Err(io::ErrorKind::NotFound.into());
        }
    }
    Ok(copy)
}
