//! Connections that this process has made on behalf of a program, and where each was going.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};

/// The connections to a listener of the mode [`Mode::TakenOver`](super::Mode::TakenOver) that will
/// be accepted. All others are refused. Clones share one table.
#[derive(Debug, Clone, Default)]
pub struct TakenOver(Arc<Mutex<HashMap<SocketAddr, Wanted>>>);

/// Where a connection was going.
#[derive(Debug)]
pub(super) struct Wanted {
    /// The address and port that the program has asked for.
    pub(super) to: SocketAddr,
    /// The addresses that are tried, the first one first; the same one, and others of the name.
    pub(super) addresses: Vec<SocketAddr>,
    /// Receives how the dial ends.
    pub(super) result: DialResult,
}

/// How the dial of a connection that was taken over ends: it connects, or with an error number.
pub type Dialled = Result<(), i32>;

/// Where the end of a dial is sent; dropping it tells that there is no connection.
#[derive(Debug)]
pub(super) struct DialResult(Sender<Dialled>);

impl DialResult {
    pub(super) fn send(&self, dialled: Dialled) {
        // A program that does not wait for it needs nothing.
        let _ = self.0.send(dialled);
    }
}

impl TakenOver {
    /// Expects a connection from this address, which was going to `to`; `others` are further
    /// addresses of the same server. Returns where the end of its dial is received; it is closed
    /// without one where the connection was refused.
    pub fn expect(
        &self,
        from: SocketAddr,
        to: SocketAddr,
        others: &[SocketAddr],
    ) -> Receiver<Dialled> {
        let (sender, receiver) = mpsc::channel();
        let mut addresses = vec![to];
        addresses.extend(others.iter().filter(|other| other.ip() != to.ip()));
        let wanted = Wanted { to, addresses, result: DialResult(sender) };
        self.lock().insert(from, wanted);
        receiver
    }

    /// Expects it no more: it could not be made.
    pub fn forget(&self, from: SocketAddr) {
        self.lock().remove(&from);
    }

    pub(super) fn take(&self, from: SocketAddr) -> Option<Wanted> {
        self.lock().remove(&from)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<SocketAddr, Wanted>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Two are equal if they share one table.
impl PartialEq for TakenOver {
    fn eq(&self, other: &TakenOver) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for TakenOver {}
