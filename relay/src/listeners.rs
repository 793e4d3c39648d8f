//! The sockets that a relay listens on, and the connections that come to them.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;

use socket2::{Domain, SockRef, Socket, Type};

use super::access::Refusal;
use super::config::{Door, Settings, Way};
use super::log::Line;
use super::replies::Voice;
use super::serve::way_in_words;

/// How many connections wait in the kernel while the relay is busy, or has no room.
const BACKLOG: i32 = 1024;

/// A door that is open.
pub(super) struct Open {
    pub(super) listener: TcpListener,
    /// With the port that the system chose, where none was given.
    pub(super) door: Rc<Door>,
}

/// Where a door's listener comes from.
pub(super) enum Listener {
    /// It is one that listens already, by its number.
    Same(usize),
    New(TcpListener),
}

/// Finds or makes a listener for every door, or fails and leaves everything as it was.
pub(super) fn open(
    settings: &Settings,
    open: &BTreeMap<usize, Open>,
    mut inherited: Vec<TcpListener>,
) -> io::Result<Vec<(Rc<Door>, Listener)>> {
    let mut found = Vec::new();
    for door in &settings.doors {
        let same = open.iter().find(|(_, open)| open.door.address == door.address);
        if let Some((&number, _)) = same {
            found.push((Rc::new(door.clone()), Listener::Same(number)));
            continue;
        }
        let is_it = |listener: &TcpListener| listener.local_addr().ok() == Some(door.address);
        let listener = match inherited.iter().position(is_it) {
            Some(index) => inherited.swap_remove(index),
            None => listen(door.address).map_err(|error| {
                let words = format!("cannot listen on {}: {error}", door.address);
                io::Error::new(error.kind(), words)
            })?,
        };
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        found.push((Rc::new(Door { address, ..door.clone() }), Listener::New(listener)));
    }
    match inherited.first().map(TcpListener::local_addr) {
        None => Ok(found),
        Some(address) => Err(io::Error::other(format!(
            "a socket was handed over that listens on {}, for which no way is given",
            address?
        ))),
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Fails where this process cannot mark its connections so.
pub(super) fn can_mark(mark: u32) -> io::Result<()> {
    let marked = Socket::new(Domain::IPV4, Type::STREAM, None)?.set_mark(mark);
    marked.map_err(|error| {
        let words = format!("connections cannot be marked (it takes CAP_NET_ADMIN): {error}");
        io::Error::new(error.kind(), words)
    })
}

pub(super) fn line(door: &Door) -> Line {
    Line::new("listening").with("door", door.address).with("way", way_in_words(&door.way))
}

/// Where a client wanted to go: to the address that it has reached, or from where a packet filter
/// redirected it here.
pub(super) fn destination(near: &TcpStream, way: &Way) -> Option<SocketAddr> {
    let local = near.local_addr().ok()?;
    let Way::Transparent { .. } = way else { return Some(local) };
    let socket = SockRef::from(near);
    let found = if local.is_ipv4() { socket.original_dst_v4() } else { socket.original_dst_v6() };
    found.ok()?.as_socket()
}

/// Turns a connection away that never becomes a session.
pub(super) fn turn_away(near: &TcpStream, way: &Way, refusal: Refusal) {
    let _ = near.set_nonblocking(true);
    if Voice::new(way, destination(near, way)) == Voice::Smtp && refusal != Refusal::Client {
        let _ = (&mut &*near).read(&mut [0; 4096]);
        let _ = (&mut &*near).write(refusal.line().as_bytes());
    }
    let _ = near.shutdown(Shutdown::Write);
}

/// Whether a new connection was left again by whoever made it: a look at the port, or the relay's
/// own dial that has led back here.
pub(super) fn is_left(near: &TcpStream) -> bool {
    SockRef::from(near).set_nonblocking(true).is_err() || matches!(near.peek(&mut [0]), Ok(0))
}
