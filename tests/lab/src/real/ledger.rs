//! What the owner of a lab and its threads know together: the fates, and the SYNs seen.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::packet::Opening;
use crate::{Fate, Network};

/// A SYN from the client, as the router saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Syn {
    /// When it reached the router, which is when it left the client.
    pub at: Instant,
    /// Where it goes.
    pub address: IpAddr,
    /// The port where it goes.
    pub port: u16,
    /// The client's port; a retransmission has that of the first SYN.
    pub source_port: u16,
}

#[derive(Debug)]
pub(super) struct Ledger {
    network: Mutex<Network>,
    syns: Mutex<Vec<Syn>>,
    /// How many SYNs to a port were lost, where some are.
    lost: Mutex<BTreeMap<SocketAddr, u32>>,
}

impl Ledger {
    pub(super) fn new(network: Network) -> Ledger {
        Ledger { network: Mutex::new(network), syns: Mutex::default(), lost: Mutex::default() }
    }

    pub(super) fn round_trip(&self) -> Duration {
        lock(&self.network).round_trip
    }

    pub(super) fn fate(&self, to: SocketAddr) -> Fate {
        lock(&self.network).fate(to.ip(), to.port())
    }

    pub(super) fn set(&self, address: IpAddr, port: u16, fate: Fate) {
        lock(&self.network).set(address, port, fate);
        lock(&self.lost).remove(&SocketAddr::new(address, port));
    }

    /// Whether a SYN to this port is lost, of which the first `count` are since its fate was set.
    pub(super) fn loses(&self, to: SocketAddr, count: u32) -> bool {
        let mut lost = lock(&self.lost);
        let so_far = lost.entry(to).or_default();
        let is_lost = *so_far < count;
        *so_far += u32::from(is_lost);
        is_lost
    }

    pub(super) fn note(&self, opening: &Opening, at: Instant) {
        lock(&self.syns).push(Syn {
            at,
            address: opening.to.ip(),
            port: opening.to.port(),
            source_port: opening.from.port(),
        });
    }

    pub(super) fn syns(&self) -> Vec<Syn> {
        lock(&self.syns).clone()
    }
}

/// Locks, also after a panic: `set` panics for an unknown address, and has changed nothing then.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
