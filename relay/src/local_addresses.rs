//! Which addresses are this machine's own: those that the kernel's routes keep here.

use std::cell::Cell;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};

use netlink_packet_core::{
    Emitable, ErrorBuffer, NLM_F_REQUEST, NLMSG_ERROR, NetlinkBuffer, NetlinkHeader,
    NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::route::{RouteAttribute, RouteHeader, RouteMessage, RouteType};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use socket2::{Domain, Protocol, Socket, Type};

/// The type of a message that holds a route (linux/rtnetlink.h).
const RTM_NEWROUTE: u16 = 24;

/// The kernel, to be asked where packets would go. It is opened once, so that no lack of
/// descriptors comes between a connection and the answer.
#[derive(Debug)]
pub(super) struct Routes {
    kernel: Socket,
    /// Asked so far: an answer has the number of its question.
    asked: Cell<u32>,
}

impl Routes {
    /// Fails where the kernel cannot be asked at all.
    pub(super) fn open() -> io::Result<Routes> {
        let (family, protocol) =
            (Domain::from(libc::AF_NETLINK), Protocol::from(libc::NETLINK_ROUTE));
        let kernel = Socket::new(family, Type::RAW, Some(protocol))?;
        kernel.set_nonblocking(true)?;
        let routes = Routes { kernel, asked: Cell::new(0) };
        routes.keeps([127, 0, 0, 1].into(), 0, None)?;
        Ok(routes)
    }

    /// Whether a connection to this address, with this mark, stays on this machine: the address is
    /// one of an interface, of the loopback, or of a local route. Where the kernel gives no answer
    /// it is taken for one.
    pub(super) fn keep(&self, to: SocketAddr, mark: Option<u32>) -> bool {
        let ip = to.ip().to_canonical();
        let scope = if let SocketAddr::V6(v6) = to { v6.scope_id() } else { 0 };
        ip.is_loopback() || ip.is_unspecified() || self.keeps(ip, scope, mark).unwrap_or(true)
    }

    fn keeps(&self, ip: IpAddr, scope: u32, mark: Option<u32>) -> io::Result<bool> {
        let number = self.asked.get().wrapping_add(1);
        self.asked.set(number);
        self.kernel.send(&question(number, ip, scope, mark))?;
        let mut buffer = [0; 4096];
        loop {
            // The kernel has answered before `send` returns.
            let length = (&self.kernel).read(&mut buffer)?;
            let answer = NetlinkBuffer::new_checked(&buffer[..length]).map_err(io::Error::other)?;
            if answer.sequence_number() == number {
                return local(answer.message_type(), answer.payload());
            }
        }
    }
}

/// `ip route get`, as the kernel reads it.
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

/// Whether a route is local. Where there is none, nothing can be reached, here or elsewhere.
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
        None => Err(io::Error::other("the kernel's answer is no route")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_on_this_machine_is_told_by_the_kernel() {
        let routes = Routes::open().unwrap();
        let keep = |to: &str| routes.keep(to.parse().unwrap(), None);
        for own in ["127.0.0.1:25", "127.9.9.9:25", "[::1]:25", "[::ffff:127.0.0.2]:25"] {
            assert!(keep(own), "{own}");
        }
        assert!(keep("0.0.0.0:25") && keep("[::]:25"));
        // Documentation addresses (RFC 5737, RFC 3849), which are nobody's.
        assert!(!keep("192.0.2.1:25") && !keep("[2001:db8::1]:25"));
    }

    #[test]
    fn an_answer_that_is_none_is_an_error() {
        assert!(local(RTM_NEWROUTE, &[0; 4]).is_err());
        assert!(local(NLMSG_ERROR, &(-libc::EPERM).to_ne_bytes()).is_err());
        assert!(local(3, &[]).is_err());
    }
}
