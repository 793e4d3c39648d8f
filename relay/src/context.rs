//! What all sessions of a relay use.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use mio::Registry;

use super::access::{self, Refusal};
use super::answers::Answers;
use super::clients::{ClientCounts, ClientId, SocketOwners};
use super::config::{ListenAddress, Listener, Settings};
use super::local_addresses::LocalAddresses;
use super::log::{Log, LogRecord};
use super::loop_detection::LoopDetection;
use super::names::Names;
use super::resolvers::Resolvers;
use super::status::RelayStatus;
use mailport::Dialer;
use mailport::join::Stock;

/// Look-ups at the same time of names that the clients of one listener ask for.
const LOOKUPS_OF_LISTENER: usize = 32;
/// The same for one client.
const LOOKUPS_OF_CLIENT: usize = 8;

/// What all sessions of a relay use.
pub(super) struct Context {
    pub(super) registry: Registry,
    pub(super) settings: Settings,
    /// The addresses that the relay itself listens on.
    pub(super) own: Vec<SocketAddr>,
    pub(super) local_addresses: Arc<LocalAddresses>,
    pub(super) socket_owners: SocketOwners,
    pub(super) clients: ClientCounts,
    pub(super) loops: LoopDetection,
    pub(super) names: Names,
    pub(super) answers: Answers,
    pub(super) lookups: Lookups,
    pub(super) resolvers: Resolvers,
    pub(super) dialer: Dialer,
    pub(super) stock: Stock,
    pub(super) status: RelayStatus,
    pub(super) log: Log,
}

/// How a connection that was accepted has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SessionEnd {
    /// Both sides have closed.
    Ended,
    /// One side has broken it, by a reset or a timeout.
    Broken(String),
    /// Nothing was passed for the idle timeout.
    IdleTimeout,
    /// The relay has ended.
    DrainTimeout,
    /// The client has left before there was a server.
    ClientLeft,
    /// The dial has failed.
    Failed(String),
    /// It was refused.
    Refused(Refusal),
}

impl Context {
    /// Counts the one end of a connection, and logs it.
    pub(super) fn end(&mut self, record: impl FnOnce(&'static str) -> LogRecord, end: &SessionEnd) {
        let status = &mut self.status;
        let (event, count, reason) = match end {
            SessionEnd::Ended => ("ended", &mut status.ended, None),
            SessionEnd::Broken(reason) => ("broken", &mut status.broken, Some(&**reason)),
            SessionEnd::IdleTimeout => ("idle_timeout", &mut status.idle_timeout, None),
            SessionEnd::DrainTimeout => ("drain_timeout", &mut status.drain_timeout, None),
            SessionEnd::ClientLeft => ("client_left", &mut status.client_left, None),
            SessionEnd::Failed(reason) => ("failed", &mut status.failed, Some(&**reason)),
            SessionEnd::Refused(refusal) => {
                let count = status.refused.entry(refusal.name().to_owned()).or_default();
                ("refused", count, Some(refusal.name()))
            }
        };
        *count += 1;
        let record = record(event);
        self.log.write(&match reason {
            Some(reason) => record.with("reason", reason),
            None => record,
        });
    }

    /// Whether a connection to this address may stay on this machine.
    pub(super) fn may_be_local(&self, to: SocketAddr) -> bool {
        self.local_addresses.may_contain(to, self.settings.mark)
    }

    /// Whether a client with this address is one of this machine.
    pub(super) fn is_local_client(&self, from: SocketAddr) -> bool {
        self.local_addresses.contain(from, self.settings.mark)
    }

    /// Whether a connection to this address would be accepted by the relay itself.
    pub(super) fn leads_back(&self, to: SocketAddr) -> bool {
        access::leads_to(self.own.iter().copied(), to, |to| self.may_be_local(to))
    }

    /// The dialer for a session of this listener whose client has named its server itself, or not;
    /// `is_remote` says whether that is a client of another machine.
    pub(super) fn dialer(&self, listener: &Listener, is_named: bool, is_remote: bool) -> Dialer {
        let mut dialer = self.dialer.clone();
        if let Some(via) = &listener.via {
            dialer = dialer.with_via(via.clone());
        } else if is_named {
            dialer = dialer.with_resolver(self.resolvers.for_client(is_remote));
        }
        dialer
    }
}

/// The look-ups under way of names that clients have asked for, and the sessions that wait for one
/// to end. Names of the settings are looked up apart, so that no client can delay them.
#[derive(Debug, Default)]
pub(super) struct Lookups {
    by_listener: BTreeMap<ListenAddress, usize>,
    by_client: BTreeMap<ClientId, usize>,
    queue: VecDeque<(usize, ListenAddress, ClientId)>,
    /// Sessions that left the queue before their turn.
    gone: BTreeSet<usize>,
    pub(super) under_way: usize,
}

impl Lookups {
    fn has_room(&self, listener: &ListenAddress, client: ClientId) -> bool {
        self.by_listener.get(listener).is_none_or(|count| *count < LOOKUPS_OF_LISTENER)
            && self.by_client.get(&client).is_none_or(|count| *count < LOOKUPS_OF_CLIENT)
    }

    /// Begins a look-up, or has the session wait in the queue. Whether it begins.
    pub(super) fn begin(
        &mut self,
        session: usize,
        listener: &Rc<Listener>,
        client: ClientId,
    ) -> bool {
        let address = &listener.address;
        if !self.has_room(address, client) {
            self.queue.push_back((session, address.clone(), client));
            return false;
        }
        *self.by_listener.entry(address.clone()).or_default() += 1;
        *self.by_client.entry(client).or_default() += 1;
        self.under_way += 1;
        true
    }

    /// A look-up has ended.
    pub(super) fn end(&mut self, listener: &Rc<Listener>, client: ClientId) {
        fn less<K: Ord>(counts: &mut BTreeMap<K, usize>, key: &K) {
            if let Some(count) = counts.get_mut(key) {
                *count -= 1;
                if *count == 0 {
                    counts.remove(key);
                }
            }
        }
        less(&mut self.by_listener, &listener.address);
        less(&mut self.by_client, &client);
        self.under_way -= 1;
    }

    /// A session that waits in the queue has ended.
    pub(super) fn leave(&mut self, session: usize) {
        self.gone.insert(session);
    }

    /// Takes the sessions out of the queue that can begin now, in their order. Each then begins
    /// its look-up by [`Lookups::begin`].
    pub(super) fn next(&mut self) -> Vec<usize> {
        if self.queue.is_empty() {
            return Vec::new();
        }
        let gone = std::mem::take(&mut self.gone);
        self.queue.retain(|(session, ..)| !gone.contains(session));
        let mut next = Vec::new();
        let mut index = 0;
        // One at a time of a client or listener: those that begin are not counted yet.
        let (mut listeners, mut clients) = (BTreeSet::new(), BTreeSet::new());
        while index < self.queue.len() {
            let (_, listener, client) = &self.queue[index];
            let is_first = !listeners.contains(listener) && !clients.contains(client);
            if is_first && self.has_room(listener, *client) {
                let Some((session, listener, client)) = self.queue.remove(index) else { break };
                listeners.insert(listener);
                clients.insert(client);
                next.push(session);
            } else {
                index += 1;
            }
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::{Asked, Mode};
    use super::*;

    fn listener(port: u16) -> Rc<Listener> {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        Rc::new(Listener::new(address, Mode::Proxy(Asked::default())))
    }

    #[test]
    fn one_client_cannot_use_up_the_look_ups_of_others() {
        let (first, mut lookups) = (listener(1), Lookups::default());
        let [many, few] = [ClientId::User(1), ClientId::User(2)];
        for session in 0..LOOKUPS_OF_CLIENT {
            assert!(lookups.begin(session, &first, many));
        }
        assert!(!lookups.begin(100, &first, many) && !lookups.begin(101, &first, many));
        assert!(lookups.begin(102, &first, few));
        assert_eq!(lookups.next(), [0; 0], "nothing has ended");
        lookups.end(&first, many);
        lookups.leave(100);
        assert_eq!(lookups.next(), [101]);
        assert!(lookups.begin(101, &first, many) && lookups.next().is_empty());
    }

    #[test]
    fn one_listener_cannot_use_up_the_look_ups_of_another() {
        let (first, second, mut lookups) = (listener(1), listener(2), Lookups::default());
        for session in 0..LOOKUPS_OF_LISTENER {
            let client = ClientId::User(u32::try_from(session).unwrap());
            assert!(lookups.begin(session, &first, client));
        }
        assert!(!lookups.begin(100, &first, ClientId::User(100)));
        assert!(lookups.begin(101, &second, ClientId::User(101)));
    }
}
