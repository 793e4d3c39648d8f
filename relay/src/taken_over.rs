//! Connections that this process has made on behalf of a program, and where each was going.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use mailport::Report;
use mailport::target::Target;

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

/// How the dial of a connection that was taken over ends.
pub type Dialled = Result<Report, NotConnected>;

/// Why a connection that was taken over has no server.
#[derive(Debug)]
#[non_exhaustive]
pub struct NotConnected {
    /// The error number for the program.
    pub errno: i32,
    /// What to say about it; `None` where nothing went wrong: the program has closed it.
    pub reason: Option<String>,
    /// What the dial did; `None` where there was no dial.
    pub report: Option<Report>,
}

/// Receives the end of a dial, once. If it is dropped before, there is no connection.
pub(super) struct DialResult(Option<Box<dyn FnOnce(Dialled) + Send>>);

impl DialResult {
    pub(super) fn send(mut self, dialled: Dialled) {
        if let Some(receive) = self.0.take() {
            receive(dialled);
        }
    }
}

impl Drop for DialResult {
    fn drop(&mut self) {
        if let Some(receive) = self.0.take() {
            receive(Err(NotConnected { errno: libc::ECONNREFUSED, reason: None, report: None }));
        }
    }
}

impl fmt::Debug for DialResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DialResult")
    }
}

impl Wanted {
    /// The target of its dial. Where other addresses are of the other family, it is a name, for an
    /// address allows one family alone; it is not looked up.
    pub(super) fn target(&self) -> Option<Target> {
        let is_mixed = self.addresses.iter().any(|other| other.is_ipv4() != self.to.is_ipv4());
        if is_mixed {
            reverse_name(self.to.ip()).parse().ok()
        } else {
            Target::try_from(self.to).ok()
        }
    }
}

/// The name of an address in the DNS (RFC 1035 section 3.5, RFC 3596 section 2.5).
fn reverse_name(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => {
            let labels = v4.octets().into_iter().rev().map(|byte| format!("{byte}."));
            labels.chain(["in-addr.arpa".to_owned()]).collect()
        }
        IpAddr::V6(v6) => {
            let bytes = v6.octets().into_iter().rev();
            let labels = bytes.map(|byte| format!("{:x}.{:x}.", byte & 15, byte >> 4));
            labels.chain(["ip6.arpa".to_owned()]).collect()
        }
    }
}

impl TakenOver {
    /// Expects a connection from this address, which was going to `to`; `others` are further
    /// addresses of the same server. `receive` is called once, on the thread of the relay, when its
    /// dial has ended. It must not block.
    pub fn expect(
        &self,
        from: SocketAddr,
        to: SocketAddr,
        others: &[SocketAddr],
        receive: impl FnOnce(Dialled) + Send + 'static,
    ) {
        let mut addresses = vec![to];
        addresses.extend(others.iter().filter(|other| other.ip() != to.ip()));
        let wanted = Wanted { to, addresses, result: DialResult(Some(Box::new(receive))) };
        let replaced = self.lock().insert(from, wanted);
        // Not under the lock: it is called when it is dropped.
        drop(replaced);
    }

    /// Expects it no more: it could not be made.
    pub fn forget(&self, from: SocketAddr) {
        drop(self.take(from));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn target(to: &str, others: &[&str]) -> String {
        let table = TakenOver::default();
        let from = "127.0.0.1:1".parse().unwrap();
        let others: Vec<SocketAddr> = others.iter().map(|other| other.parse().unwrap()).collect();
        table.expect(from, to.parse().unwrap(), &others, |_| ());
        let wanted = table.take(from).expect("it is expected");
        assert!(table.take(from).is_none(), "once");
        assert_eq!(wanted.addresses.len(), others.len() + 1);
        wanted.target().expect("a target").to_string()
    }

    #[test]
    fn the_end_of_a_dial_is_received_once_also_if_there_was_none() {
        let (table, (sender, ends)) = (TakenOver::default(), std::sync::mpsc::channel());
        let from = "127.0.0.1:1".parse().unwrap();
        table.expect(from, from, &[], move |dialled| sender.send(dialled.is_ok()).unwrap());
        table.forget(from);
        assert_eq!(ends.iter().collect::<Vec<_>>(), [false]);
    }

    #[test]
    fn addresses_of_both_families_have_a_name_as_their_target() {
        assert_eq!(target("192.0.2.1:25", &[]), "192.0.2.1");
        assert_eq!(target("192.0.2.1:25", &["192.0.2.9:25"]), "192.0.2.1");
        assert_eq!(target("192.0.2.1:25", &["[2001:db8::1]:25"]), "1.2.0.192.in-addr.arpa");
        let name = target("[2001:db8::1]:25", &["192.0.2.1:25"]);
        assert_eq!(name, format!("1.{}8.b.d.0.1.0.0.2.ip6.arpa", "0.".repeat(23)));
    }
}
