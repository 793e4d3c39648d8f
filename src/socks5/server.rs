//! The proxy's side of SOCKS5 (RFC 1928), without I/O: what a client asks for, and the reply.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{CONNECT, IPV4, IPV6, NAME, NO_LOGIN, NO_METHOD, VERSION};
use crate::target::Target;

/// The replies of RFC 1928 section 6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Reply {
    /// Connected.
    Succeeded = 0,
    /// Any other error.
    Failure = 1,
    /// Not to that port, or not from there.
    NotAllowed = 2,
    /// No way to the network.
    NetworkUnreachable = 3,
    /// No way to the host, or no such name.
    HostUnreachable = 4,
    /// No program listens.
    Refused = 5,
    /// It expired on the way.
    TtlExpired = 6,
    /// Something else than CONNECT.
    Command = 7,
    /// A kind of address that RFC 1928 does not have.
    AddressKind = 8,
}

impl Reply {
    /// The frame. It has no bound address, because CONNECT has no use for one.
    pub fn frame(self) -> [u8; 10] {
        [VERSION, self as u8, 0, IPV4, 0, 0, 0, 0, 0, 0]
    }
}

/// A client that was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Where it wants to go.
    pub target: Target,
    /// The port.
    pub port: u16,
}

/// Why a client is sent away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mistake {
    /// It does not speak SOCKS5, so it cannot be answered.
    Protocol,
    /// It requires a login, which is not offered; the reply has been sent.
    Login,
    /// Send this reply.
    Reply(Reply),
}

/// The proxy's side of one exchange, up to the request.
///
/// It wants exact counts of bytes and never one behind the request: what follows there is for the
/// server. Read as much as it [`wants`](Server::wants), send [`to_send`](Server::to_send), until
/// there is an [`end`](Server::end).
#[derive(Debug)]
pub struct Server {
    greeted: bool,
    taken: Vec<u8>,
    length: usize,
    to_send: Vec<u8>,
    end: Option<Result<Request, Mistake>>,
}

impl Default for Server {
    fn default() -> Server {
        Server { greeted: false, taken: Vec::new(), length: 2, to_send: Vec::new(), end: None }
    }
}

impl Server {
    /// How many bytes to read next, at most 262; 0 at the end.
    pub fn wants(&self) -> usize {
        if self.end.is_some() { 0 } else { self.length - self.taken.len() }
    }

    /// Takes in what was read, and says how much of it: no more than was wanted.
    pub fn take(&mut self, bytes: &[u8]) -> usize {
        let mut rest = bytes;
        while !rest.is_empty() && self.wants() > 0 {
            let (now, later) = rest.split_at(self.wants().min(rest.len()));
            self.taken.extend(now);
            rest = later;
            if self.taken.len() == self.length {
                self.read();
            }
        }
        bytes.len() - rest.len()
    }

    /// What is to be sent, once.
    pub fn to_send(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.to_send)
    }

    /// What the client wants; `None` before it has said it.
    pub fn end(&self) -> Option<&Result<Request, Mistake>> {
        self.end.as_ref()
    }

    /// Reads a frame that is complete, as far as it tells how long it is.
    fn read(&mut self) {
        let next = if self.greeted { self.request() } else { self.greeting() };
        match next {
            Ok(Some(length)) => self.length = length,
            Ok(None) => {}
            Err(mistake) => self.end = Some(Err(mistake)),
        }
    }

    /// Version, and the methods that the client can do; the length of the frame until it is known.
    fn greeting(&mut self) -> Result<Option<usize>, Mistake> {
        if self.taken[0] != VERSION {
            return Err(Mistake::Protocol);
        }
        let length = 2 + usize::from(self.taken[1]);
        if self.taken.len() < length {
            return Ok(Some(length));
        }
        if !self.taken[2..].contains(&NO_LOGIN) {
            self.to_send = vec![VERSION, NO_METHOD];
            return Err(Mistake::Login);
        }
        self.to_send = vec![VERSION, NO_LOGIN];
        self.greeted = true;
        self.taken.clear();
        // The first five bytes tell how long any request is.
        Ok(Some(5))
    }

    fn request(&mut self) -> Result<Option<usize>, Mistake> {
        let (head, rest) = self.taken.split_at(4);
        let [version, command, _, kind] = head else { return Err(Mistake::Protocol) };
        if *version != VERSION {
            return Err(Mistake::Protocol);
        }
        if *command != CONNECT {
            return Err(Mistake::Reply(Reply::Command));
        }
        let address = match *kind {
            IPV4 => 4,
            IPV6 => 16,
            NAME => 1 + usize::from(rest[0]),
            _ => return Err(Mistake::Reply(Reply::AddressKind)),
        };
        if rest.len() < address + 2 {
            return Ok(Some(4 + address + 2));
        }
        let (address, port) = rest.split_at(address);
        let host = match *kind {
            NAME => String::from_utf8(address[1..].to_vec()).ok(),
            IPV4 => <[u8; 4]>::try_from(address).ok().map(|a| Ipv4Addr::from(a).to_string()),
            _ => <[u8; 16]>::try_from(address)
                .ok()
                .map(|a| IpAddr::V6(Ipv6Addr::from(a)).to_canonical().to_string()),
        };
        let port = port.try_into().map_or(0, u16::from_be_bytes);
        // A name that cannot be one, or an address that no host has: nothing can be reached there.
        let target = host.and_then(|host| host.parse().ok()).filter(|_| port != 0);
        let target = target.ok_or(Mistake::Reply(Reply::HostUnreachable))?;
        self.end = Some(Ok(Request { target, port }));
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(bytes: &[u8]) -> (Option<Result<Request, Mistake>>, Vec<u8>, usize) {
        let mut server = Server::default();
        let taken = server.take(bytes);
        (server.end().cloned(), server.to_send(), taken)
    }

    fn request(tail: &[u8]) -> Option<Result<Request, Mistake>> {
        ask(&[b"\x05\x01\0\x05", tail].concat()).0
    }

    fn to(host: &str, port: u16) -> Request {
        Request { target: host.parse().unwrap(), port }
    }

    #[test]
    fn a_client_asks_by_name_or_by_address() {
        assert_eq!(request(b"\x01\0\x03\x04mail\x02\x4b"), Some(Ok(to("mail", 587))));
        assert_eq!(request(b"\x01\0\x01\xc0\0\x02\x01\0\x19"), Some(Ok(to("192.0.2.1", 25))));
        let v6 = b"\x01\0\x04\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x01\xd1";
        assert_eq!(request(v6), Some(Ok(to("2001:db8::1", 465))));
        // Some clients write an address as a name.
        assert_eq!(request(b"\x01\0\x03\x09192.0.2.1\0\x19"), Some(Ok(to("192.0.2.1", 25))));
    }

    #[test]
    fn nothing_behind_the_request_is_taken_and_every_cut_waits() {
        let whole = b"\x05\x02\x02\0\x05\x01\0\x03\x04mail\x02\x4bEHLO";
        let (end, sent, taken) = ask(whole);
        assert_eq!((end, sent, taken), (Some(Ok(to("mail", 587))), vec![5, 0], whole.len() - 4));
        for cut in 0..whole.len() - 4 {
            assert_eq!(ask(&whole[..cut]).0, None, "{cut}");
        }
    }

    #[test]
    fn mistakes_are_answered_as_the_rfc_has_them() {
        assert_eq!(ask(b"\x04\x01\0\x19").0, Some(Err(Mistake::Protocol)), "SOCKS4");
        assert_eq!(ask(b"GET / HTTP/1.1").0, Some(Err(Mistake::Protocol)));
        let (end, sent, _) = ask(b"\x05\x01\x02");
        assert_eq!((end, sent), (Some(Err(Mistake::Login)), vec![5, 0xff]));
        let reply = |tail: &[u8]| match request(tail) {
            Some(Err(Mistake::Reply(reply))) => reply,
            other => panic!("{other:?}"),
        };
        assert_eq!(reply(b"\x02\0\x01\0"), Reply::Command, "BIND");
        assert_eq!(reply(b"\x01\0\x09\0"), Reply::AddressKind);
        assert_eq!(reply(b"\x01\0\x03\x03a b\0\x19"), Reply::HostUnreachable);
        assert_eq!(reply(b"\x01\0\x03\0\0\x19"), Reply::HostUnreachable);
        assert_eq!(reply(b"\x01\0\x01\0\0\0\0\0\x19"), Reply::HostUnreachable, "0.0.0.0");
        assert_eq!(reply(b"\x01\0\x01\xc0\0\x02\x01\0\0"), Reply::HostUnreachable, "port 0");
    }

    #[test]
    fn a_reply_has_an_address_though_it_says_nothing() {
        assert_eq!(Reply::Refused.frame(), [5, 5, 0, 1, 0, 0, 0, 0, 0, 0]);
    }
}
