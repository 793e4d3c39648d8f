//! Bytes as what a SOCKS5 client asks of a proxy.

use mailport::Target;
use mailport::socks5::{Mistake, Reply, Server};

use super::bytes::Bytes;

/// A server reads exactly the greeting and the request, however they are cut, and understands them
/// as a plain reading of all bytes does.
pub fn socks_server(data: &[u8]) {
    let mut bytes = Bytes(data);
    let step = usize::from(bytes.byte() & 15) + 1;
    let (said, mut server) = (bytes.0, Server::default());
    let (mut taken, mut sent) = (0, Vec::new());
    loop {
        let wants = server.wants();
        assert_eq!(wants == 0, server.end().is_some());
        assert!(wants <= 262);
        let next = &said[taken..said.len().min(taken + step)];
        let count = server.take(next);
        sent.extend(server.to_send());
        taken += count;
        if count == 0 {
            break;
        }
    }
    let end = server.end().cloned();
    assert!([0, 2].contains(&sent.len()));
    let Some(end) = end else { return assert_eq!(taken, said.len(), "it wants more") };
    assert_eq!(expected(said), Some((end.map(|request| (request.target, request.port)), taken)));
}

type End = Result<(Target, u16), Mistake>;

/// What is asked for, and in how many bytes: the frames of RFC 1928 in a row.
fn expected(said: &[u8]) -> Option<(End, usize)> {
    let methods = usize::from(*said.get(1)?);
    if said[0] != 5 {
        return Some((Err(Mistake::Protocol), 2));
    }
    let at = 2 + methods;
    if !said.get(2..at)?.contains(&0) {
        return Some((Err(Mistake::Login), at));
    }
    let head = said.get(at..at + 5)?;
    let reply = |reply| Some((Err(Mistake::Reply(reply)), at + 5));
    let length = match (head[0], head[1], head[3]) {
        (5, 1, 1) => 4,
        (5, 1, 4) => 16,
        (5, 1, 3) => 1 + usize::from(head[4]),
        (5, 1, _) => return reply(Reply::AddressKind),
        (5, ..) => return reply(Reply::Command),
        _ => return Some((Err(Mistake::Protocol), at + 5)),
    };
    let end = at + 4 + length + 2;
    let rest = said.get(at + 4..end)?;
    let (address, port) = rest.split_at(length);
    let port = u16::from_be_bytes(port.try_into().unwrap());
    let text = match address.len() {
        4 if head[3] == 1 => address.iter().map(u8::to_string).collect::<Vec<String>>().join("."),
        16 if head[3] == 4 => {
            let octets: [u8; 16] = address.try_into().unwrap();
            std::net::IpAddr::from(octets).to_canonical().to_string()
        }
        _ => String::from_utf8(address[1..].to_vec()).unwrap_or_default(),
    };
    let target = text.parse().ok().filter(|_| port != 0);
    let unknown = Err(Mistake::Reply(Reply::HostUnreachable));
    Some((target.map_or(unknown, |target| Ok((target, port))), end))
}
