//! The socket of a program: whether it is taken over, and its connection to the relay.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{OFlags, fcntl_getfl};
use rustix::io::Errno;
use rustix::net::{bind, connect_unspec, getpeername, getsockname, sockopt};

use super::sys;

/// The listeners of the relay, and where their sockets are.
#[derive(Debug)]
pub(super) struct RelayAddresses {
    v4: SocketAddr,
    /// `None` where this machine has no IPv6.
    v6: Option<SocketAddr>,
    /// The network namespace, where the kernel tells it.
    namespace: Option<u64>,
}

impl RelayAddresses {
    pub(super) fn new(listening: &[SocketAddr]) -> io::Result<RelayAddresses> {
        let find = |is_v6| listening.iter().copied().find(|address| address.is_ipv6() == is_v6);
        let v4 = find(false).ok_or(io::ErrorKind::AddrNotAvailable)?;
        let own = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
        let namespace = sys::network_namespace(own.as_fd()).ok();
        Ok(RelayAddresses { v4, v6: find(true), namespace })
    }

    /// Whether a socket of this process is in the relay's network namespace.
    fn has_namespace_of(&self, socket: &OwnedFd, process: i32) -> bool {
        let of_socket = sys::network_namespace(socket.as_fd()).ok();
        if let (Some(own), Some(other)) = (self.namespace, of_socket) {
            return own == other;
        }
        // Before Linux 5.14: that of the process, which may have changed since.
        let of = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/net"));
        matches!((of("self"), of(&process.to_string())), (Ok(own), Ok(other)) if own == other)
    }

    /// The listener that this socket can reach. `None` for a socket that is left alone: it is not
    /// TCP or not new, is bound to an address, uses TCP Fast Open, or is in another network namespace.
    pub(super) fn for_socket(
        &self,
        socket: &OwnedFd,
        process: i32,
    ) -> io::Result<Option<SocketAddr>> {
        let is_tcp = sockopt::socket_protocol(socket)? == Some(rustix::net::ipproto::TCP);
        let is_new = getpeername(socket).is_err() && !sockopt::socket_acceptconn(socket)?;
        let bound = SocketAddr::try_from(getsockname(socket)?).ok();
        // The port may be one that it has had before it was disconnected.
        let is_bound = bound.is_none_or(|own| !own.ip().is_unspecified());
        if !is_tcp
            || !is_new
            || is_bound
            || is_special(socket)
            || !self.has_namespace_of(socket, process)
        {
            return Ok(None);
        }
        if !bound.is_some_and(|own| own.is_ipv6()) {
            return Ok(Some(self.v4));
        }
        // A socket of IPv6 reaches the listener of IPv4 by its mapped address.
        let is_v6_only = socket2::SockRef::from(socket).only_v6().unwrap_or(true);
        let mapped = |v4: SocketAddr| match v4.ip() {
            IpAddr::V4(ip) => Some(SocketAddr::new(ip.to_ipv6_mapped().into(), v4.port())),
            IpAddr::V6(_) => None,
        };
        Ok(self.v6.or_else(|| mapped(self.v4).filter(|_| !is_v6_only)))
    }
}

/// Whether a socket has a device or a mark, or uses TCP Fast Open.
fn is_special(socket: &OwnedFd) -> bool {
    let options = socket2::SockRef::from(socket);
    let number = |level, name| sys::number_option(socket.as_fd(), level, name);
    options.device().is_ok_and(|device| device.is_some())
        || options.mark().is_ok_and(|mark| mark != 0)
        || number(libc::IPPROTO_IP, libc::IP_UNICAST_IF) != 0
        || number(libc::IPPROTO_IPV6, libc::IPV6_UNICAST_IF) != 0
        || number(libc::IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT) != 0
}

pub(super) fn does_block(socket: &OwnedFd) -> bool {
    fcntl_getfl(socket).is_ok_and(|flags| !flags.contains(OFlags::NONBLOCK))
}

/// Gives a socket the port from which it will connect to the relay, and returns that address; `None`
/// for a socket that the program has bound to a port.
///
/// It is bound to no address and to no port that was asked for, so that it is as new when it is
/// disconnected.
pub(super) fn choose_port(socket: &OwnedFd, relay: SocketAddr) -> io::Result<Option<SocketAddr>> {
    let any: IpAddr = match relay {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    match bind(socket, &SocketAddr::new(any, 0)) {
        Err(Errno::INVAL) => return Ok(None),
        bound => bound?,
    }
    let bound = SocketAddr::try_from(getsockname(socket)?)?;
    let own: IpAddr = match relay.ip().to_canonical() {
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    Ok(Some(SocketAddr::new(own, bound.port())))
}

/// Ends the connection of a socket without a trace, as if `connect` had failed.
pub(super) fn disconnect(socket: &OwnedFd) {
    // Neither fails for a socket of TCP.
    let _ = connect_unspec(socket);
    let _ = sockopt::socket_error(socket);
}

/// The address of IPv4 or IPv6 in these bytes, as the kernel reads it.
pub(super) fn address(bytes: &[u8]) -> Option<SocketAddr> {
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

/// Whether these bytes are an address of no family, by which a socket is disconnected.
pub(super) fn is_unspecified_family(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0, 0])
}

/// An IPv4 address that is written as one of IPv6 is one of IPv4.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        ip @ IpAddr::V4(_) => SocketAddr::new(ip, address.port()),
        IpAddr::V6(_) => address,
    }
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
