//! The socket of one attempt, from its making to its hand-over.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Type};

use super::super::sys;
use crate::config::{Config, ConfigError};
use crate::outcome::{Errno, ErrorQueue, Evidence, Failure};
use crate::plan::Family;

/// The socket of one attempt.
#[derive(Debug)]
pub(in super::super) struct Socket {
    inner: socket2::Socket,
    address: SocketAddr,
    /// Whether ICMP errors are queued, so that an empty queue means something.
    queues_errors: bool,
    started: Instant,
    /// Whether the handshake was seen to be done.
    connected: bool,
}

/// What a look at a socket found.
#[derive(Debug)]
pub(in super::super) enum SocketState {
    /// Nothing has changed.
    Pending,
    /// The handshake is done.
    Connected { round_trip: Duration, syns: Option<u32> },
    /// The connect failed.
    Failed {
        failure: Failure,
        /// Whether the error queue could not be read, so that the system's error alone tells it.
        by_errno: bool,
    },
}

impl Socket {
    /// Makes a socket with the caller's options and starts to connect it.
    ///
    /// A connect that fails at once leaves a socket all the same: why it failed is still in it.
    pub(in super::super) fn connect(
        address: SocketAddr,
        config: &Config,
    ) -> Result<(Socket, SocketState), Errno> {
        let family = Family::from(address.ip());
        let socket = prepare(family, Type::STREAM, config, address).map_err(|e| errno(&e.error))?;
        // Asked for before connect, for the error comes while it lasts. Not every kernel does it
        // for TCP; whether this one does is seen from the call, not from its version.
        let queues_errors = sys::queue_errors(socket.as_fd(), family, true).is_ok();
        let started = Instant::now();
        let mut socket =
            Socket { inner: socket, address, queues_errors, started, connected: false };
        let found = match socket.inner.connect(&address.into()) {
            Ok(()) => socket.look(),
            // On loopback the handshake is over before connect returns.
            Err(error) if is_under_way(&error) => socket.look_for_connection(),
            Err(error) => {
                let immediate = meaning_of(errno(&error), address, config);
                socket.failure(Some(immediate)).unwrap_or_else(|| {
                    let errno = Some(immediate);
                    let failure = Failure { errno, ..Failure::new(crate::Outcome::Local) };
                    SocketState::Failed { failure, by_errno: false }
                })
            }
        };
        Ok((socket, found))
    }

    /// Looks whether the connect has ended, and how.
    pub(in super::super) fn look(&mut self) -> SocketState {
        if self.connected {
            return SocketState::Pending;
        }
        self.failure(None).unwrap_or_else(|| self.look_for_connection())
    }

    fn look_for_connection(&mut self) -> SocketState {
        let info = sys::tcp_info(self.as_fd());
        let connected = match info {
            Some(info) => info.connected,
            // Without TCP_INFO: a socket has a peer once it is connected.
            None => self.inner.peer_addr().is_ok(),
        };
        if !connected {
            return SocketState::Pending;
        }
        // A socket that is connected to itself has received its SYN and its answer to that.
        let may_be_itself = info.and_then(|info| info.segments_in) != Some(1);
        if may_be_itself && self.is_connected_to_itself() {
            let errno = Some(Errno(libc::ECONNREFUSED));
            let failure = Failure { errno, ..Failure::new(crate::Outcome::Reset) };
            return SocketState::Failed { failure, by_errno: false };
        }
        self.connected = true;
        // Left on, a soft ICMP error would end the session that it is handed to.
        let family = Family::from(self.address.ip());
        let _ = sys::queue_errors(self.inner.as_fd(), family, false);
        let measured = info.and_then(|info| info.round_trip);
        let round_trip = measured.unwrap_or_else(|| self.started.elapsed());
        SocketState::Connected { round_trip, syns: info.and_then(|info| info.syns) }
    }

    /// Whether both ends are this socket: no program listens at that port of this machine, and the
    /// kernel chose it as the local one (simultaneous open, RFC 9293 section 3.5).
    fn is_connected_to_itself(&self) -> bool {
        let own = self.inner.local_addr().ok().and_then(|own| own.as_socket());
        own.is_some_and(|own| (own.ip(), own.port()) == (self.address.ip(), self.address.port()))
    }

    /// SYNs sent so far, while the handshake lasts.
    pub(in super::super) fn syns(&self) -> Option<u32> {
        sys::tcp_info(self.as_fd())?.syns
    }

    /// The socket, for the user of the connection.
    pub(in super::super) fn into_inner(self) -> socket2::Socket {
        self.inner
    }

    /// Tells why the connect failed; `immediate` is what `connect` itself returned.
    fn failure(&self, immediate: Option<Errno>) -> Option<SocketState> {
        // The queue first: reading it can clear the socket's error.
        let queue = if self.queues_errors {
            sys::read_error_queue(self.as_fd())
        } else {
            ErrorQueue::Unavailable
        };
        let pending = self.inner.take_error().ok().flatten().map(|error| errno(&error));
        let errno = immediate.or(pending);
        if errno.is_none() && matches!(queue, ErrorQueue::Empty | ErrorQueue::Unavailable) {
            return None;
        }
        let by_errno = queue == ErrorQueue::Unavailable;
        // Before any packet there is nothing to be queued.
        let queue = if by_errno && immediate.is_some() { ErrorQueue::Empty } else { queue };
        let own_addresses = match queue {
            ErrorQueue::Icmp(icmp, _) => icmp.sender.filter(|&from| is_ours(from)),
            _ => None,
        };
        let failure = Failure::from_evidence(&Evidence {
            errno,
            queue,
            segments_in: sys::tcp_info(self.as_fd()).and_then(|info| info.segments_in),
            own_addresses: own_addresses.as_slice(),
        })?;
        Some(SocketState::Failed { failure, by_errno: by_errno && immediate.is_none() })
    }
}

/// The error of a connect that failed at once. `EADDRNOTAVAIL` is a lack of ports, except where
/// this machine has no address of the family at all (IPv6 switched off), and so no route.
fn meaning_of(errno: Errno, address: SocketAddr, config: &Config) -> Errno {
    let has_no_route = || source_towards(address, config).is_none();
    if errno.0 == libc::EADDRNOTAVAIL && config.source.is_none() && has_no_route() {
        Errno(libc::ENETUNREACH)
    } else {
        errno
    }
}

/// Whether an address is one of this machine's: the kernel's source towards those is themselves.
fn is_ours(address: IpAddr) -> bool {
    source_towards(SocketAddr::new(address, 0), &Config::default()) == Some(address)
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

fn errno(error: &io::Error) -> Errno {
    Errno(error.raw_os_error().unwrap_or(libc::EIO))
}

/// A connect that a signal interrupted goes on by itself, as one that does not block does.
fn is_under_way(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINPROGRESS | libc::EINTR | libc::EALREADY))
}

/// Which option could not be set, and why.
struct OptionRefusal {
    option: &'static str,
    error: io::Error,
}

/// Makes a socket with the caller's options: mark, device, source address and, for a connection,
/// its port.
fn prepare(
    family: Family,
    kind: Type,
    config: &Config,
    towards: SocketAddr,
) -> Result<socket2::Socket, OptionRefusal> {
    let refused = |option| move |error| OptionRefusal { option, error };
    let domain = match family {
        Family::Ipv4 => Domain::IPV4,
        Family::Ipv6 => Domain::IPV6,
    };
    let protocol = (kind == Type::STREAM).then_some(Protocol::TCP);
    let socket =
        socket2::Socket::new(domain, kind.nonblocking(), protocol).map_err(refused("socket"))?;
    if let Some(mark) = config.mark {
        socket.set_mark(mark).map_err(refused("mark"))?;
    }
    if let Some(device) = &config.device {
        socket.bind_device(Some(device.as_bytes())).map_err(refused("device"))?;
    }
    let port = if kind == Type::STREAM { config.source_port } else { 0 };
    if let Some(source) = source_address(family, config, port, towards) {
        if port == 0 {
            // Left to connect, which may use a port that is in use towards other places.
            let _ = sys::bind_without_port(socket.as_fd());
        } else {
            // The attempts to other addresses have the same port.
            let _ = socket.set_reuse_address(true);
        }
        socket.bind(&source.into()).map_err(refused("source address"))?;
    }
    Ok(socket)
}

/// The address to bind to, if any; a link-local one is of the same link as the destination.
fn source_address(
    family: Family,
    config: &Config,
    port: u16,
    towards: SocketAddr,
) -> Option<SocketAddr> {
    let unspecified = || match family {
        Family::Ipv4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        Family::Ipv6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let source = config.source.or_else(|| (port != 0).then(unspecified))?;
    Some(match (source, towards) {
        (IpAddr::V6(v6), SocketAddr::V6(to)) if v6.is_unicast_link_local() => {
            SocketAddrV6::new(v6, port, 0, to.scope_id()).into()
        }
        _ => SocketAddr::new(source, port),
    })
}

/// Tries the caller's socket options on a socket that goes nowhere, so that a mistake is found
/// before any packet is sent. `scope` is the target's zone, if it has one.
pub(in super::super) fn check_options(
    config: &Config,
    families: &[Family],
    scope: u32,
) -> Result<(), ConfigError> {
    let has_source = config.source.is_some() || config.source_port != 0;
    if config.mark.is_none() && config.device.is_none() && !has_source {
        return Ok(());
    }
    let Some(&family) = families.first() else { return Ok(()) };
    let towards = SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, 0, 0, scope).into();
    let Err(OptionRefusal { option, error }) = prepare(family, Type::STREAM, config, towards)
    else {
        return Ok(());
    };
    let value = match option {
        "mark" => config.mark.map(|mark| mark.to_string()),
        "device" => config.device.clone(),
        "source address" => {
            let bound = source_address(family, config, config.source_port, towards);
            bound.map(|bound| match bound.port() {
                0 => bound.ip().to_string(),
                _ => bound.to_string(),
            })
        }
        // No socket at all is not the option's fault; the attempts will tell.
        _ => return Ok(()),
    };
    let (reason, errno) = (error.to_string(), error.raw_os_error());
    Err(ConfigError::Unusable { name: option, value: value.unwrap_or_default(), reason, errno })
}

/// The families of these addresses that this machine has a route to, by the first one of each.
pub(in super::super) fn routes(list: &[SocketAddr], config: &Config) -> Vec<Family> {
    let first = |family| list.iter().find(|address| Family::from(address.ip()) == family);
    let has_route = |address: &SocketAddr| source_towards(*address, config).is_some();
    Family::ALL.into_iter().filter(|&family| first(family).is_some_and(has_route)).collect()
}

/// The source address that the kernel would use towards an address: a connected UDP socket has it,
/// and sends nothing (RFC 6724 section 2).
pub(in super::super) fn source_towards(mut address: SocketAddr, config: &Config) -> Option<IpAddr> {
    // Any port but 0, which cannot be connected to; nothing is sent there.
    address.set_port(9);
    let socket = prepare(Family::from(address.ip()), Type::DGRAM, config, address).ok()?;
    socket.connect(&address.into()).ok()?;
    Some(socket.local_addr().ok()?.as_socket()?.ip())
}
