//! Who a client is, as far as limits count it: a user of this machine, or another machine.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};

use netlink_packet_core::{NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP};
use netlink_packet_sock_diag::inet::{
    ExtensionFlags, InetRequest, InetResponseHeader, SocketId, StateFlags,
};
use socket2::{Domain, Protocol, Socket, Type};

use super::access::Refusal;
use super::config::Limits;

/// Whose sessions are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ClientId {
    /// A user of this machine.
    User(u32),
    /// An address of another machine, or of this one where the kernel does not name the user.
    Address(IpAddr),
}

/// Where a connection comes from, for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClientAddress {
    /// An address and a port.
    Tcp(SocketAddr),
    /// A process of this user, at a UNIX socket.
    Unix(u32),
}

impl ClientAddress {
    pub(super) fn tcp(self) -> Option<SocketAddr> {
        match self {
            ClientAddress::Tcp(address) => Some(address),
            ClientAddress::Unix(_) => None,
        }
    }
}

impl fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientAddress::Tcp(address) => address.fmt(f),
            ClientAddress::Unix(user) => write!(f, "uid:{user}"),
        }
    }
}

/// Asks the kernel to which user a connection of this machine belongs (`sock_diag`).
#[derive(Debug)]
pub(super) struct SocketOwners {
    /// `None` where the kernel cannot be asked.
    kernel: Option<Mutex<DiagSocket>>,
}

#[derive(Debug)]
struct DiagSocket {
    socket: Socket,
    asked: u32,
}

impl SocketOwners {
    pub(super) fn open() -> SocketOwners {
        let protocol = Protocol::from(libc::NETLINK_SOCK_DIAG);
        let socket = Socket::new(Domain::from(libc::AF_NETLINK), Type::RAW, Some(protocol));
        let socket = socket.and_then(|socket| socket.set_nonblocking(true).map(|()| socket));
        SocketOwners {
            kernel: socket.ok().map(|socket| Mutex::new(DiagSocket { socket, asked: 0 })),
        }
    }

    /// The user whose socket is connected from `from` to `to`; `None` where that is not a socket of
    /// this machine, or the kernel does not say.
    pub(super) fn user(&self, from: SocketAddr, to: SocketAddr) -> Option<u32> {
        Some(self.ask(from, to)?.uid)
    }

    /// How many bytes of that connection the client has not yet read; `None` likewise.
    pub(super) fn unread(&self, from: SocketAddr, to: SocketAddr) -> Option<u32> {
        Some(self.ask(from, to)?.recv_queue)
    }

    fn ask(&self, from: SocketAddr, to: SocketAddr) -> Option<InetResponseHeader> {
        let mut kernel = self.kernel.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
        kernel.ask(from, to).ok().flatten()
    }
}

impl DiagSocket {
    fn ask(&mut self, from: SocketAddr, to: SocketAddr) -> io::Result<Option<InetResponseHeader>> {
        self.asked = self.asked.wrapping_add(1);
        self.socket.send(&question(self.asked, from, to))?;
        let mut buffer = [0; 4096];
        loop {
            // The kernel has answered before `send` returns.
            let length = (&self.socket).read(&mut buffer)?;
            let answer = NetlinkMessage::<SockDiagMessage>::deserialize(&buffer[..length]);
            let answer = answer.map_err(io::Error::other)?;
            if answer.header.sequence_number != self.asked {
                continue;
            }
            return Ok(match answer.payload {
                NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) => {
                    Some(response.header)
                }
                _ => None,
            });
        }
    }
}

fn question(number: u32, from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    let canonical =
        |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
    // A client may be an IPv6 socket that is connected to an IPv4 address: the kernel finds it too.
    let (from, to) = (canonical(from), canonical(to));
    let mut id = if from.is_ipv4() { SocketId::new_v4() } else { SocketId::new_v6() };
    (id.source_address, id.source_port) = (from.ip(), from.port());
    (id.destination_address, id.destination_port) = (to.ip(), to.port());
    // Any socket: the cookie is not known.
    id.cookie = [0xff; 8];
    let request = InetRequest {
        family: if from.is_ipv4() { AF_INET } else { AF_INET6 },
        protocol: IPPROTO_TCP,
        extensions: ExtensionFlags::empty(),
        states: StateFlags::all(),
        socket_id: id,
    };
    let mut header = NetlinkHeader::default();
    (header.flags, header.sequence_number) = (NLM_F_REQUEST, number);
    let mut message = NetlinkMessage::new(header, SockDiagMessage::InetRequest(request).into());
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

/// How many connections each client has, and all of them together. Those that have not yet said
/// where they want to go are counted apart.
#[derive(Debug, Default)]
pub(super) struct ClientCounts {
    handshakes: Count,
    sessions: Count,
}

#[derive(Debug, Default)]
struct Count {
    all: usize,
    by_client: BTreeMap<ClientId, usize>,
}

/// As what a connection is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counted {
    Handshake,
    Session,
}

impl ClientCounts {
    /// Counts one more, or says which limit forbids it.
    pub(super) fn add(
        &mut self,
        counted: Counted,
        client: ClientId,
        limits: &Limits,
    ) -> Result<(), Refusal> {
        let count = self.of(counted);
        let of_client = count.by_client.get(&client).copied().unwrap_or(0);
        if count.all >= limits.max_sessions {
            return Err(Refusal::Full);
        }
        if of_client >= limits.max_sessions_per_client {
            return Err(Refusal::PerClient);
        }
        count.all += 1;
        count.by_client.insert(client, of_client + 1);
        Ok(())
    }

    /// Counts one less.
    pub(super) fn remove(&mut self, counted: Counted, client: ClientId) {
        let count = self.of(counted);
        count.all = count.all.saturating_sub(1);
        if let Some(of_client) = count.by_client.get_mut(&client) {
            *of_client -= 1;
            if *of_client == 0 {
                count.by_client.remove(&client);
            }
        }
    }

    fn of(&mut self, counted: Counted) -> &mut Count {
        match counted {
            Counted::Handshake => &mut self.handshakes,
            Counted::Session => &mut self.sessions,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn the_kernel_names_the_user_of_a_connection_and_what_that_has_not_read() {
        let owners = SocketOwners::open();
        let own = rustix::process::geteuid().as_raw();
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (mut accepted, from) = listener.accept().unwrap();
            let to = client.peer_addr().unwrap();
            assert_eq!(owners.unread(from, to), Some(0));
            accepted.write_all(b"reply").unwrap();
            assert_eq!(owners.unread(from, to), Some(5));
            (&client).read_exact(&mut [0; 5]).unwrap();
            assert_eq!(owners.unread(from, to), Some(0));
            assert_eq!(owners.user(from, to), Some(own), "{address}");
            assert_eq!(owners.user(SocketAddr::new(from.ip(), 1), to), None, "no such socket");
        }
    }

    #[test]
    fn clients_that_still_ask_are_counted_apart() {
        let limits = Limits { max_sessions: 2, max_sessions_per_client: 1, ..Limits::default() };
        let mut counts = ClientCounts::default();
        let [one, two, three] = [1, 2, 3].map(ClientId::User);
        let add = |counts: &mut ClientCounts, counted, client| counts.add(counted, client, &limits);
        assert_eq!(add(&mut counts, Counted::Handshake, one), Ok(()));
        assert_eq!(add(&mut counts, Counted::Handshake, one), Err(Refusal::PerClient));
        assert_eq!(add(&mut counts, Counted::Session, one), Ok(()), "counted apart");
        assert_eq!(add(&mut counts, Counted::Session, two), Ok(()));
        assert_eq!(add(&mut counts, Counted::Session, three), Err(Refusal::Full));
        counts.remove(Counted::Session, one);
        assert_eq!(add(&mut counts, Counted::Session, three), Ok(()));
        assert_eq!(counts.handshakes.all, 1);
    }
}
