//! The device through which a namespace reaches the router.
#![allow(unsafe_code, reason = "no crate we use makes a TUN device: one ioctl")]

use std::ffi::{CStr, c_char};
use std::fs::{File, OpenOptions};
use std::io;
use std::mem;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;

use super::explain;

/// The name of the device, in either namespace.
pub(super) const DEVICE: &str = "lab0";
const DEVICE_NAME: &CStr = c"lab0";

/// Makes the device in the calling thread's network namespace; it lasts as long as the descriptor.
///
/// A read takes one packet that left the namespace, a write puts one in, neither waits, and
/// neither has anything before the IP header.
pub(super) fn open() -> io::Result<File> {
    let device = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open("/dev/net/tun")
        .map_err(explain(
            "the lab needs /dev/net/tun, readable and writable: load the kernel's module `tun`, \
             or give the container that device",
        ))?;
    // SAFETY: `ifreq` is plain old data, for which zeroes are valid.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(DEVICE_NAME.to_bytes()) {
        *to = c_char::from_ne_bytes([*from]);
    }
    request.ifr_ifru.ifru_flags = FLAGS;
    // SAFETY: the descriptor is open, and TUNSETIFF reads and writes one `ifreq`, which `request`
    // is and which nothing else uses meanwhile.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    if result < 0 {
        let error = io::Error::last_os_error();
        return Err(explain("the lab makes a TUN device, which takes CAP_NET_ADMIN")(error));
    }
    Ok(device)
}

#[expect(clippy::cast_possible_truncation, reason = "flags of 16 bits, declared as int")]
const FLAGS: libc::c_short = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
