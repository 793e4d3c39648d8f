//! Answers the `connect` calls of a program.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;
use std::time::Instant;

use mailport_relay::TakenOver;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{OFlags, fcntl_getfl};
use rustix::net::sockopt;
use rustix::net::{SocketType, bind, connect, getpeername, getsockname};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use super::learned::Learned;
use super::sys::{self, Answer, Call};

/// Takes the connections of a program to mail ports over.
pub(super) struct Supervisor {
    listener: Arc<OwnedFd>,
    ports: Vec<u16>,
    /// The listeners of the relay: of IPv4, and of IPv6 where this machine has it.
    relay_addresses: Vec<SocketAddr>,
    expected: TakenOver,
    learned: RwLock<Learned>,
}

/// What becomes of a call.
enum Plan {
    /// It is none of a mail connection.
    LetThrough,
    /// The socket is connected to the relay instead, with this address in mind.
    TakeOver { socket: OwnedFd, to: SocketAddr, relay_address: SocketAddr, others: Vec<SocketAddr> },
}

impl Supervisor {
    pub(super) fn new(
        listener: OwnedFd,
        ports: &[u16],
        relay_addresses: &[SocketAddr],
        expected: TakenOver,
    ) -> Supervisor {
        Supervisor {
            listener: Arc::new(listener),
            ports: ports.to_vec(),
            relay_addresses: relay_addresses.to_vec(),
            expected,
            learned: RwLock::default(),
        }
    }

    /// Answers calls until no process of the program is left.
    pub(super) fn run(&self) -> io::Result<()> {
        loop {
            let mut watched = [PollFd::new(&self.listener, PollFlags::IN)];
            match poll(&mut watched, None) {
                Err(rustix::io::Errno::INTR) => continue,
                done => done?,
            };
            let events = watched[0].revents();
            if events.contains(PollFlags::IN) {
                if let Some(call) = sys::receive(self.listener.as_fd())? {
                    self.decide(call);
                }
            } else if events.intersects(PollFlags::HUP | PollFlags::ERR) {
                return Ok(());
            }
        }
    }

    fn decide(&self, call: Call) {
        match self.plan(&call) {
            Ok(Plan::TakeOver { socket, to, relay_address, others }) => {
                let (listener, expected) = (Arc::clone(&self.listener), self.expected.clone());
                let take = move || {
                    let answer = take_over(&socket, to, relay_address, &others, &expected);
                    sys::answer(listener.as_fd(), &call, answer);
                };
                // Without a thread the program connects as without mailport.
                if thread::Builder::new().name("connect".to_owned()).spawn(take).is_err() {
                    sys::answer(self.listener.as_fd(), &call, Answer::Continue);
                }
            }
            // What cannot be looked at is the kernel's: it has the right error for it.
            Ok(Plan::LetThrough) | Err(_) => {
                sys::answer(self.listener.as_fd(), &call, Answer::Continue);
            }
        }
    }

    fn plan(&self, call: &Call) -> io::Result<Plan> {
        let (bytes, length) = sys::read_address(call)?;
        let Some(to) = address(&bytes[..length]) else { return Ok(Plan::LetThrough) };
        let is_mail = self.ports.contains(&to.port());
        // getaddrinfo sorts with the port 0 where the program has named no service.
        if !is_mail && to.port() != 0 {
            return Ok(Plan::LetThrough);
        }
        let process = process_of(call.thread)?;
        let socket = descriptor_of(process, call)?;
        // The numbers and the memory were those of the program only if it still waits.
        if !sys::is_waiting(self.listener.as_fd(), call) {
            return Ok(Plan::LetThrough);
        }
        let now = Instant::now();
        match sockopt::socket_type(&socket)? {
            SocketType::DGRAM => {
                let mut learned = self.learned.write().unwrap_or_else(PoisonError::into_inner);
                learned.see((process, call.thread), call.descriptor, to.ip(), now);
                return Ok(Plan::LetThrough);
            }
            SocketType::STREAM if is_mail => {}
            _ => return Ok(Plan::LetThrough),
        }
        let Some(relay_address) = self.relay_address(&socket)? else { return Ok(Plan::LetThrough) };
        let learned = self.learned.read().unwrap_or_else(PoisonError::into_inner);
        let others = learned.others(process, to, now);
        Ok(Plan::TakeOver { socket, to: canonical(to), relay_address, others })
    }

    /// The listener that this socket can reach; `None` for a socket that is left alone: it is not
    /// TCP, not new, or bound to an address, a device or a mark.
    fn relay_address(&self, socket: &OwnedFd) -> io::Result<Option<SocketAddr>> {
        let is_tcp = sockopt::socket_protocol(socket)? == Some(rustix::net::ipproto::TCP);
        let is_new = getpeername(socket).is_err() && !sockopt::socket_acceptconn(socket)?;
        let bound = SocketAddr::try_from(getsockname(socket)?).ok();
        let is_bound = bound.is_none_or(|own| own.port() != 0 || !own.ip().is_unspecified());
        let socket = socket2::SockRef::from(socket);
        let is_special = socket.device().is_ok_and(|device| device.is_some())
            || socket.mark().is_ok_and(|mark| mark != 0);
        if !is_tcp || !is_new || is_bound || is_special {
            return Ok(None);
        }
        let is_v6_socket = bound.is_some_and(|own| own.is_ipv6());
        let found = self
            .relay_addresses
            .iter()
            .find(|relay_address| relay_address.is_ipv6() == is_v6_socket);
        // An IPv6 socket reaches the IPv4 listener by its mapped address.
        let mapped =
            self.relay_addresses.iter().find(|_| is_v6_socket && !socket.only_v6().unwrap_or(true));
        Ok(found.or(mapped).map(|relay_address| match (relay_address.ip(), is_v6_socket) {
            (IpAddr::V4(v4), true) => {
                SocketAddr::new(v4.to_ipv6_mapped().into(), relay_address.port())
            }
            _ => *relay_address,
        }))
    }
}

/// Connects the socket to the relay. A socket that blocks waits for the end of the dial; for one
/// that does not, a dial that fails ends as a reset.
fn take_over(
    socket: &OwnedFd,
    to: SocketAddr,
    relay_address: SocketAddr,
    others: &[SocketAddr],
    expected: &TakenOver,
) -> Answer {
    let failed = |error: rustix::io::Errno| Answer::Fails(error.raw_os_error());
    let does_block = fcntl_getfl(socket).is_ok_and(|flags| !flags.contains(OFlags::NONBLOCK));
    // The relay must know its address before it comes.
    let any = match relay_address.ip().to_canonical() {
        IpAddr::V4(_) if relay_address.is_ipv6() => Ipv4Addr::LOCALHOST.to_ipv6_mapped().into(),
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
    };
    if let Err(error) = bind(socket, &SocketAddr::new(any, 0)) {
        return failed(error);
    }
    let from = match getsockname(socket).map(SocketAddr::try_from) {
        Ok(Ok(from)) => canonical(from),
        Ok(Err(_)) => return Answer::Fails(libc::EADDRNOTAVAIL),
        Err(error) => return failed(error),
    };
    let dialled = expected.expect(from, to, others);
    match connect(socket, &relay_address) {
        Ok(()) => {}
        // A handshake on loopback is over before the call is; a program that does not block then
        // waits for it as for any other.
        Err(error @ rustix::io::Errno::INPROGRESS) if !does_block => return failed(error),
        Err(error) => {
            expected.forget(from);
            return failed(error);
        }
    }
    if !does_block {
        return Answer::Done;
    }
    match dialled.recv() {
        Ok(Ok(())) => Answer::Done,
        Ok(Err(number)) => Answer::Fails(number),
        Err(_) => Answer::Fails(libc::ECONNREFUSED),
    }
}

/// The address of IPv4 or IPv6 in these bytes, as the kernel reads it.
fn address(bytes: &[u8]) -> Option<SocketAddr> {
    let (family, rest) = bytes.split_at_checked(2)?;
    let (port, rest) = rest.split_at_checked(2)?;
    let family = libc::c_int::from(u16::from_ne_bytes([family[0], family[1]]));
    let port = u16::from_be_bytes([port[0], port[1]]);
    if family == libc::AF_INET {
        let ip: [u8; 4] = rest.get(..4)?.try_into().ok()?;
        return Some(SocketAddr::new(ip.into(), port));
    }
    if family == libc::AF_INET6 {
        let ip: [u8; 16] = rest.get(4..20)?.try_into().ok()?;
        let scope = rest.get(20..24).and_then(|bytes| bytes.try_into().ok());
        let scope = scope.map_or(0, u32::from_ne_bytes);
        return Some(SocketAddrV6::new(ip.into(), port, 0, scope).into());
    }
    None
}

/// An IPv4 address that is written as one of IPv6 is one of IPv4.
fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        ip @ IpAddr::V4(_) => SocketAddr::new(ip, address.port()),
        IpAddr::V6(_) => address,
    }
}

/// The process of a thread.
fn process_of(thread: i32) -> io::Result<i32> {
    let status = fs::read_to_string(format!("/proc/{thread}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("Tgid:"));
    let number = line.and_then(|text| text.trim().parse().ok());
    number.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
}

/// A copy of the descriptor of a call.
fn descriptor_of(process: i32, call: &Call) -> io::Result<OwnedFd> {
    let process = Pid::from_raw(process).ok_or(io::ErrorKind::NotFound)?;
    let process = pidfd_open(process, PidfdFlags::empty())?;
    Ok(pidfd_getfd(process, call.descriptor, PidfdGetfdFlags::empty())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_the_kernel_reads_it() {
        let v4 = [&2_u16.to_ne_bytes()[..], &[2, 75, 192, 0, 2, 1], &[0; 8]].concat();
        assert_eq!(address(&v4), Some("192.0.2.1:587".parse().unwrap()));
        let ip: [u8; 16] = "fe80::1".parse::<Ipv6Addr>().unwrap().octets();
        let v6 = [&10_u16.to_ne_bytes()[..], &[2, 75], &[0; 4], &ip, &7_u32.to_ne_bytes()].concat();
        assert_eq!(address(&v6), Some("[fe80::1%7]:587".parse().unwrap()));
        // Unspecified, local, cut off.
        for bytes in [&[0; 16][..], &[1, 0, b'/'], &v4[..7], &v6[..23], &[]] {
            assert_eq!(address(bytes), None, "{bytes:?}");
        }
    }
}
