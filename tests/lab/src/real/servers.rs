//! The listeners in the server's namespace, and the connections they accepted.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd as _};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Instant;

use nix::poll::{PollFd, PollFlags};
use nix::sys::socket::{Shutdown, shutdown};

use super::explain;
use super::ledger::Ledger;
use super::worker::{Worker, wait};
use crate::Fate;

/// The ports where the lab listens itself, on every address of the network.
pub const PORTS: [u16; 4] = [25, 465, 587, 2525];

/// A listener to close; it is closed when the sender is dropped.
type Release = (SocketAddr, Sender<()>);

#[derive(Debug)]
pub(super) struct Servers {
    releases: Sender<Release>,
    worker: Worker,
}

impl Servers {
    /// Listens in the calling thread's network namespace, whose addresses these are.
    pub(super) fn start(addresses: &[IpAddr], ledger: Arc<Ledger>) -> io::Result<Servers> {
        let mut listeners = BTreeMap::new();
        for address in addresses {
            for at in PORTS.map(|port| SocketAddr::new(*address, port)) {
                let listener = TcpListener::bind(at)
                    .map_err(explain(format_args!("the lab cannot listen on {at}")))?;
                listener.set_nonblocking(true)?;
                listeners.insert(at, listener);
            }
        }
        let (releases, orders) = mpsc::channel();
        let (open, closing) = (Vec::new(), BTreeMap::new());
        let desk = Desk { listeners, open, closing, order: 0, orders, ledger };
        let worker = Worker::start("lab-servers", |bell| desk.run(bell))?;
        Ok(Servers { releases, worker })
    }

    /// Closes a listener, if there is one.
    pub(super) fn release(&self, address: IpAddr, port: u16) {
        let (closed, wait) = mpsc::channel();
        let order = (SocketAddr::new(address, port), closed);
        self.releases.send(order).expect("the lab's servers run as long as the lab");
        self.worker.bell().write_all(b"!").expect("the lab's servers run as long as the lab");
        // Nothing is ever sent: it ends when the other side drops its end.
        let _ = wait.recv();
    }
}

struct Desk {
    listeners: BTreeMap<SocketAddr, TcpListener>,
    /// Connections that stay until the end.
    open: Vec<TcpStream>,
    /// Connections to close, by the time for it and the order in which they were accepted.
    closing: BTreeMap<(Instant, u64), TcpStream>,
    order: u64,
    orders: Receiver<Release>,
    ledger: Arc<Ledger>,
}

impl Desk {
    /// Works until the bell hangs up.
    fn run(mut self, mut bell: UnixStream) -> io::Result<()> {
        loop {
            self.close();
            let next = self.closing.first_key_value().map(|((due, _), _)| *due);
            let mut ready: Vec<PollFd> = [bell.as_fd()]
                .into_iter()
                .chain(self.listeners.values().map(AsFd::as_fd))
                .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
                .collect();
            wait(&mut ready, next)?;
            let mut ready = ready.iter().map(|fd| fd.any().unwrap_or(true));
            let rung = ready.next().expect("the bell is the first");
            let called: Vec<SocketAddr> =
                self.listeners.keys().zip(ready).filter(|(_, r)| *r).map(|(at, _)| *at).collect();
            for at in called {
                self.accept(at)?;
            }
            if rung {
                if bell.read(&mut [0; 64])? == 0 {
                    return Ok(());
                }
                for (at, _closed) in self.orders.try_iter() {
                    if let Some(listener) = self.listeners.remove(&at) {
                        // A process that another thread starts at this moment has a copy until it
                        // is executed, by which the port would still be in use.
                        let _ = shutdown(listener.as_raw_fd(), Shutdown::Both);
                    }
                }
            }
        }
    }

    /// Accepts the connections that wait at a listener.
    fn accept(&mut self, at: SocketAddr) -> io::Result<()> {
        loop {
            let stream = match self.listeners[&at].accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // The client has reset it already.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error),
            };
            if let Fate::AcceptThenClose(delay) = self.ledger.fate(at) {
                self.closing.insert((Instant::now() + delay, self.order), stream);
                self.order += 1;
            } else {
                self.open.push(stream);
            }
        }
    }

    /// Closes the connections whose time has come.
    fn close(&mut self) {
        let now = Instant::now();
        while let Some(entry) = self.closing.first_entry() {
            if entry.key().0 > now {
                break;
            }
            entry.remove();
        }
    }
}
