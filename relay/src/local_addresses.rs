//! Which addresses belong to this machine: those that the kernel's routes deliver here.

use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};

use netlink_packet_core::{
    Emitable, ErrorBuffer, NLM_F_REQUEST, NLMSG_ERROR, NetlinkBuffer, NetlinkHeader,
    NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::route::{RouteAttribute, RouteHeader, RouteMessage, RouteType};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use socket2::{Domain, Protocol, Socket, Type};

/// The type of a message that holds a route (linux/rtnetlink.h).
const RTM_NEWROUTE: u16 = 24;

/// Asks the kernel where packets to an address would go. Its socket is opened once, so that a lack
/// of descriptors never comes between a connection and the answer.
#[derive(Debug)]
pub(super) struct LocalAddresses {
    kernel: Mutex<RouteSocket>,
}

#[derive(Debug)]
struct RouteSocket {
    socket: Socket,
    /// The number of the last question: an answer has the number of its question.
    asked: u32,
}

impl LocalAddresses {
    /// Fails where the kernel cannot be asked at all.
    pub(super) fn open() -> io::Result<LocalAddresses> {
        let (family, protocol) =
            (Domain::from(libc::AF_NETLINK), Protocol::from(libc::NETLINK_ROUTE));
        let socket = Socket::new(family, Type::RAW, Some(protocol))?;
        socket.set_nonblocking(true)?;
        let addresses = LocalAddresses { kernel: Mutex::new(RouteSocket { socket, asked: 0 }) };
        addresses.ask([127, 0, 0, 1].into(), 0, None)?;
        Ok(addresses)
    }

    /// Whether a connection to this address, with this mark, may stay on this machine. An address
    /// of which the kernel does not say where it leads may be this machine's.
    pub(super) fn may_contain(&self, to: SocketAddr, mark: Option<u32>) -> bool {
        self.is_local(to, mark).unwrap_or(true)
    }

    /// Whether this address belongs to this machine: to an interface, to the loopback, or to a
    /// local route. An address of which the kernel does not say where it leads does not.
    pub(super) fn contain(&self, from: SocketAddr, mark: Option<u32>) -> bool {
        self.is_local(from, mark).unwrap_or(false)
    }

    fn is_local(&self, address: SocketAddr, mark: Option<u32>) -> io::Result<bool> {
        let ip = address.ip().to_canonical();
        let scope = if let SocketAddr::V6(v6) = address { v6.scope_id() } else { 0 };
        if ip.is_loopback() || ip.is_unspecified() {
            return Ok(true);
        }
        self.ask(ip, scope, mark)
    }

    fn ask(&self, ip: IpAddr, scope: u32, mark: Option<u32>) -> io::Result<bool> {
        let mut kernel = self.kernel.lock().unwrap_or_else(PoisonError::into_inner);
        kernel.asked = kernel.asked.wrapping_add(1);
        kernel.socket.send(&question(kernel.asked, ip, scope, mark))?;
        let mut buffer = [0; 4096];
        loop {
            // The kernel has answered before `send` returns.
            let length = (&kernel.socket).read(&mut buffer)?;
            let answer = NetlinkBuffer::new_checked(&buffer[..length]).map_err(io::Error::other)?;
            if answer.sequence_number() == kernel.asked {
                return local(answer.message_type(), answer.payload());
            }
        }
    }
}

/// The message of `ip route get`.
fn question(number: u32, ip: IpAddr, scope: u32, mark: Option<u32>) -> Vec<u8> {
    let mut message = RouteMessage::default();
    let (family, length) =
        if ip.is_ipv4() { (AddressFamily::Inet, 32) } else { (AddressFamily::Inet6, 128) };
    (message.header.address_family, message.header.destination_prefix_length) = (family, length);
    message.attributes.push(RouteAttribute::Destination(ip.into()));
    message.attributes.extend((scope != 0).then_some(RouteAttribute::Oif(scope)));
    message.attributes.extend(mark.map(RouteAttribute::Mark));
    let mut header = NetlinkHeader::default();
    (header.flags, header.sequence_number) = (NLM_F_REQUEST, number);
    let payload = NetlinkPayload::from(RouteNetlinkMessage::GetRoute(message));
    let mut message = NetlinkMessage::new(header, payload);
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.emit(&mut bytes);
    bytes
}

/// Whether a route is local. Without a route, nothing can be reached, here or elsewhere. Any other
/// error (`EINVAL` for a blackhole) says nothing.
fn local(kind: u16, payload: &[u8]) -> io::Result<bool> {
    if kind == RTM_NEWROUTE {
        let route = RouteHeader::parse(payload).map_err(io::Error::other)?;
        return Ok(route.kind == RouteType::Local);
    }
    let refused = (kind == NLMSG_ERROR)
        .then(|| ErrorBuffer::new_checked(payload).ok().and_then(|error| error.code()));
    match refused.flatten().map(|code| -code.get()) {
        Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EACCES) => Ok(false),
        Some(code) => Err(io::Error::from_raw_os_error(code)),
        None => Err(io::Error::other("the kernel's answer is not a route")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_says_which_addresses_belong_to_this_machine() {
        let addresses = LocalAddresses::open().unwrap();
        let contain = |to: &str| {
            let to = to.parse().unwrap();
            assert_eq!(addresses.contain(to, None), addresses.may_contain(to, None), "{to}");
            addresses.contain(to, None)
        };
        for own in ["127.0.0.1:25", "127.9.9.9:25", "[::1]:25", "[::ffff:127.0.0.2]:25"] {
            assert!(contain(own), "{own}");
        }
        assert!(contain("0.0.0.0:25") && contain("[::]:25"));
        // Documentation addresses (RFC 5737, RFC 3849), which no host has.
        assert!(!contain("192.0.2.1:25") && !contain("[2001:db8::1]:25"));
    }

    #[test]
    fn an_answer_that_is_not_understood_is_an_error() {
        assert!(local(RTM_NEWROUTE, &[0; 4]).is_err());
        assert!(local(NLMSG_ERROR, &(-libc::EPERM).to_ne_bytes()).is_err());
        assert!(local(NLMSG_ERROR, &(-libc::EINVAL).to_ne_bytes()).is_err(), "a blackhole");
        assert!(local(3, &[]).is_err());
    }
}
