//! The sockets that a relay listens on, and the connections that they accept.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use rustix::net::{SocketAddrAny, SocketFlags, acceptfrom_with};
use socket2::{Domain, SockRef, Socket, TcpKeepalive, Type};

use super::access::Refusal;
use super::clients::ClientAddress;
use super::config::{ListenAddress, Listener, Mode, Settings};
use super::control;
use super::log::LogRecord;
use super::replies::ReplyStyle;

/// How many connections wait in the kernel while the relay cannot accept them.
const BACKLOG: i32 = 1024;
/// How long a connection may be idle before the kernel asks whether the peer is still there.
const KEEPALIVE: Duration = Duration::from_secs(120);
/// How long a peer may leave data, or that question, unacknowledged before the connection is dead.
const USER_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// A listener that listens.
pub(super) struct OpenListener {
    socket: Socket,
    /// Its settings, with the port that the system chose.
    pub(super) settings: Rc<Listener>,
    /// The file of a UNIX socket that the relay has made.
    file: Option<SocketFile>,
}

/// Removes the file of a UNIX socket when it is dropped.
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A connection that was accepted.
pub(super) struct Accepted {
    pub(super) socket: Socket,
    pub(super) client: ClientAddress,
    /// Where the client has connected to, or wanted to before it was redirected; `None` at a UNIX
    /// socket, or where the kernel does not say.
    pub(super) to: Option<SocketAddr>,
}

/// Where the socket of a listener comes from.
pub(super) enum Source {
    /// From a listener that listens already, by its number.
    Kept(usize),
    New(OpenListener),
}

impl AsRawFd for OpenListener {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl OpenListener {
    pub(super) fn set_settings(&mut self, settings: Rc<Listener>) {
        self.settings = settings;
    }

    /// The file of a UNIX socket that the relay has made.
    pub(super) fn file(&self) -> Option<&Path> {
        self.file.as_ref().map(|file| file.0.as_path())
    }

    /// Accepts a connection, non-blocking and close-on-exec.
    pub(super) fn accept(&self) -> io::Result<Accepted> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let (socket, from) = acceptfrom_with(&self.socket, flags)?;
        let from = from.and_then(|from: SocketAddrAny| SocketAddr::try_from(from).ok());
        let client = if let Some(address) = from {
            ClientAddress::Tcp(address)
        } else {
            let peer = rustix::net::sockopt::socket_peercred(&socket)?;
            ClientAddress::Unix(peer.uid.as_raw())
        };
        let socket = Socket::from(socket);
        let to = self.destination(&socket);
        Ok(Accepted { socket, client, to })
    }

    /// Where a client has connected to, or wanted to before a packet filter redirected it.
    fn destination(&self, socket: &Socket) -> Option<SocketAddr> {
        let own = self.settings.address.tcp()?;
        match &self.settings.mode {
            Mode::Transparent(_) => {
                let to =
                    if own.is_ipv4() { socket.original_dst_v4() } else { socket.original_dst_v6() };
                to.ok()?.as_socket()
            }
            _ if own.ip().is_unspecified() => socket.local_addr().ok()?.as_socket(),
            _ => Some(own),
        }
    }
}

/// Finds or makes a socket for each listener of the settings. If that fails, nothing has changed.
pub(super) fn open(
    settings: &Settings,
    open: &BTreeMap<usize, OpenListener>,
    inherited: Vec<OwnedFd>,
) -> io::Result<Vec<(Rc<Listener>, Source)>> {
    let mut inherited: Vec<(ListenAddress, Socket)> =
        inherited.into_iter().map(Socket::from).map(passed).collect::<io::Result<_>>()?;
    let mut found = Vec::new();
    for listener in &settings.listeners {
        let same = open.iter().find(|(_, open)| open.settings.address == listener.address);
        if let Some((&number, open)) = same {
            open.file().map_or(Ok(()), |path| set_mode(path, settings))?;
            found.push((Rc::new(listener.clone()), Source::Kept(number)));
            continue;
        }
        let (socket, file) =
            match inherited.iter().position(|(address, _)| *address == listener.address) {
                Some(index) => (inherited.swap_remove(index).1, None),
                None => listen(&listener.address, settings).map_err(|error| {
                    let message = format!("cannot listen on {}: {error}", listener.address);
                    io::Error::new(error.kind(), message)
                })?,
            };
        socket.set_nonblocking(true)?;
        let mut listener = listener.clone();
        if listener.address.tcp().is_some() {
            set_inherited_options(&socket)?;
            let address = socket.local_addr()?.as_socket();
            listener.address = address.map_or(listener.address, ListenAddress::Tcp);
        }
        let listener = Rc::new(listener);
        let open = OpenListener { socket, settings: Rc::clone(&listener), file };
        found.push((listener, Source::New(open)));
    }
    match inherited.first() {
        None => Ok(found),
        Some((address, _)) => Err(io::Error::other(format!(
            "the service manager has passed a socket that listens on {address}, for which there \
             is no listener in the settings"
        ))),
    }
}

/// The address of a socket that a service manager has passed.
fn passed(socket: Socket) -> io::Result<(ListenAddress, Socket)> {
    let address = socket.local_addr()?;
    let path = address.as_pathname().map(|path| ListenAddress::Unix(path.to_owned()));
    match address.as_socket().map(ListenAddress::Tcp).or(path) {
        Some(address) if socket.r#type()? == Type::STREAM => Ok((address, socket)),
        _ => Err(io::Error::other("the service manager has passed a socket that is not a stream")),
    }
}

fn listen(
    address: &ListenAddress,
    settings: &Settings,
) -> io::Result<(Socket, Option<SocketFile>)> {
    match address {
        ListenAddress::Tcp(address) => {
            let socket = Socket::new(Domain::for_address(*address), Type::STREAM, None)?;
            socket.set_reuse_address(true)?;
            if address.is_ipv6() {
                socket.set_only_v6(true)?;
            }
            socket.bind(&(*address).into())?;
            socket.listen(BACKLOG)?;
            Ok((socket, None))
        }
        ListenAddress::Unix(path) => {
            let listener = control::bind_private(path)?;
            let file = SocketFile(path.clone());
            set_mode(path, settings)?;
            Ok((OwnedFd::from(listener).into(), Some(file)))
        }
    }
}

/// Lets other users connect where the settings name some. The relay refuses those that are not
/// named.
fn set_mode(path: &Path, settings: &Settings) -> io::Result<()> {
    let mode = if settings.allow_uids.is_empty() { 0o600 } else { 0o666 };
    fs::set_permissions(path, Permissions::from_mode(mode))
}

/// Sets what each accepted connection inherits from its listener, so that it costs nothing there.
fn set_inherited_options(socket: &Socket) -> io::Result<()> {
    // The sender has already combined small writes; the relay must not do it again.
    socket.set_tcp_nodelay(true)?;
    end_with_a_dead_peer(socket)
}

/// Has the kernel end a connection whose peer no longer answers.
fn end_with_a_dead_peer(socket: &Socket) -> io::Result<()> {
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))?;
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))
}

/// Sets the same for the connection to a server. A command's UNIX socket has no such options, and
/// needs none.
pub(super) fn prepare_server(socket: &impl AsFd) -> io::Result<()> {
    let socket = SockRef::from(socket);
    match socket.set_tcp_nodelay(true) {
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(()),
        result => {
            result?;
            end_with_a_dead_peer(&socket)
        }
    }
}

/// Fails where this process may not mark its connections.
pub(super) fn can_mark(mark: u32) -> io::Result<()> {
    let marked = Socket::new(Domain::IPV4, Type::STREAM, None)?.set_mark(mark);
    marked.map_err(|error| {
        let message = format!("connections cannot be marked (this needs CAP_NET_ADMIN): {error}");
        io::Error::new(error.kind(), message)
    })
}

/// The record of a listener that has begun to listen.
pub(super) fn record(listener: &Listener) -> LogRecord {
    let record = LogRecord::new("listening").with("listener", &listener.address);
    let record = record.with("mode", listener.mode.name());
    match &listener.mode {
        Mode::Fixed { target, plan } => record.with("host", target).with("plan", plan),
        Mode::Proxy(_) | Mode::Transparent(_) | Mode::TakenOver(..) => record,
    }
}

/// Whether a transparent listener serves IPv6, of which it only knows literal addresses.
pub(super) fn lacks_names(listener: &Listener) -> bool {
    matches!(&listener.mode, Mode::Transparent(asked) if asked.names.is_empty())
}

/// Turns a connection away before it becomes a session.
pub(super) fn turn_away(accepted: &Accepted, mode: &Mode, refusal: Refusal) {
    let style = ReplyStyle::new(mode, accepted.to);
    // A stranger of another machine learns nothing.
    let is_stranger = refusal == Refusal::Client && accepted.client.tcp().is_some();
    if style == ReplyStyle::Smtp && !is_stranger {
        // Unread data would turn the close into a reset, which could remove the reply.
        let _ = io::Read::read(&mut &accepted.socket, &mut [0; 4096]);
        let _ = accepted.socket.send_with_flags(&style.refusal(refusal), libc::MSG_NOSIGNAL);
    }
    let _ = accepted.socket.shutdown(Shutdown::Write);
}

#[cfg(test)]
mod tests {
    use super::super::config::Asked;
    use super::*;

    #[test]
    fn the_kernel_ends_both_connections_of_a_session_if_a_peer_no_longer_answers() {
        let address = ListenAddress::Tcp(([127, 0, 0, 1], 0).into());
        let mut settings = Settings::default();
        settings.listeners.push(Listener::new(address, Mode::Proxy(Asked::default())));
        let mut opened = open(&settings, &BTreeMap::new(), Vec::new()).unwrap();
        let (settings, Source::New(listener)) = opened.remove(0) else { panic!("it is new") };
        let client = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        client.connect(&settings.address.tcp().unwrap().into()).unwrap();
        prepare_server(&client).unwrap();
        for socket in [&listener.accept().unwrap().socket, &client] {
            assert!(socket.keepalive().unwrap() && socket.tcp_nodelay().unwrap());
            assert_eq!(socket.tcp_keepalive_time().unwrap(), KEEPALIVE);
            assert_eq!(socket.tcp_user_timeout().unwrap(), Some(USER_TIMEOUT));
        }
    }
}
