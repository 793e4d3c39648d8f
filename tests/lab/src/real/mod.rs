//! The network of real kernels: a client and a server in network separate namespaces, and
//! between them a router of ours that delays every packet and decides the fate of every SYN.
//!
//! It needs root, or `unshare -Urnm`; the command `ip`; and /dev/net/tun. What is missing,
//! [`Lab::start`] says so.
//!
//! - `ledger`: what the owner of a lab and its threads know together
//! - `namespaces`: network and mount namespaces, and threads inside of them
//! - `names`: the files from which names resolve
//! - `tun`: the device through which a namespace reaches the router
//! - `links`: addresses and routes
//! - `router`, `packet`: the router, and the packets it reads and writes
//! - `servers`: the listeners in the server's namespace
//! - `worker`: a thread that ends with its owner

mod ledger;
mod links;
mod names;
mod namespaces;
mod packet;
mod router;
mod servers;
mod tun;
mod worker;

pub use ledger::Syn;
pub use links::{CLIENT_V4, CLIENT_V6};
pub use servers::PORTS;

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use crate::{Fate, Network, explain};
use ledger::Ledger;
use names::Names;
use namespaces::Namespace;
use servers::Servers;
use worker::Worker;

/// A running network; dropping it leaves no thread, device, namespace, mount or descriptor.
///
/// Fates are the router's to carry out, for every port. What accepts a connection that the router
/// let through is a listener of the lab, on each of [`PORTS`] of each address; elsewhere, or after
/// [`Lab::release`], it is the program that the caller runs in [`Lab::server`]. The kernel answers for a
/// port without any listener, by a RST.
///
/// Fates bind SYNs only: changing one leaves the connections that exist alone.
#[derive(Debug)]
pub struct Lab {
    // Dropped in this order: the senders first, then the router, then the namespaces.
    servers: Servers,
    _router: Worker,
    client: Namespace,
    server: Namespace,
    names: Names,
    ledger: Arc<Ledger>,
}

impl Lab {
    /// Builds the network and starts it; fails, and says what is missing, where it cannot.
    pub fn start(network: Network) -> io::Result<Lab> {
        let names = Names::new()?;
        let client = Namespace::new(&names)?;
        let server = Namespace::new(&names)?;
        let addresses: Vec<IpAddr> = network.addresses().collect();

        let client_wire = client.run(tun::open)??;
        let server_wire = server.run(tun::open)??;
        client.run(links::set_up_client)??;
        server.run(|| links::set_up_server(&addresses))??;

        let ledger = Arc::new(Ledger::new(network));
        let servers = server.run(|| Servers::start(&addresses, Arc::clone(&ledger)))??;
        let router = router::start(client_wire, server_wire, Arc::clone(&ledger))?;
        Ok(Lab { servers, _router: router, client, server, names, ledger })
    }

    /// Changes the fate of a port, from the next SYN on.
    pub fn set(&self, address: IpAddr, port: u16, fate: Fate) {
        self.ledger.set(address, port, fate);
    }

    /// Every SYN of the client so far, as the router saw them, in order, retransmissions included.
    pub fn syns(&self) -> Vec<Syn> {
        self.ledger.syns()
    }

    /// Makes these the only names that resolve inside, apart from localhost; a name may stand in
    /// several pairs.
    ///
    /// They are for getaddrinfo. No name server can be reached.
    pub fn hosts(&self, hosts: &[(&str, IpAddr)]) -> io::Result<()> {
        self.names.set(hosts)
    }

    /// Closes the lab's own listener on a port, so that a server in [`Lab::server`] can take it;
    /// the connections it accepted stay.
    pub fn release(&self, address: IpAddr, port: u16) {
        self.servers.release(address, port);
    }

    /// Runs a closure where the client is, on its own thread, and gives what it returned.
    ///
    /// Threads and processes that the closure starts are inside as well. It starts in the current
    /// directory. A panic of the closure goes on in the caller.
    pub fn client<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        inside(&self.client, work)
    }

    /// Runs a closure where the servers are, in the same way as [`Lab::client`].
    pub fn server<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        inside(&self.server, work)
    }
}

/// Runs the closure in a namespace that was entered before.
fn inside<T: Send>(namespace: &Namespace, work: impl FnOnce() -> T + Send) -> T {
    match namespace.run(work) {
        Ok(result) => result,
        Err(error) => panic!("`Lab::start` entered this namespace, but now: {error}"),
    }
}
