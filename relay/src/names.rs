//! The addresses of the names in a listener's settings, so that a literal address that a client
//! asks for can be recognised as one of a name.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mailport::internal;
use mailport::target::{Host, Target};
use mio::Waker;

/// For how long an answer is used without another look-up.
const FRESH: Duration = Duration::from_secs(60);
/// For how long an address that is in no answer is not looked for again.
const REPEAT: Duration = Duration::from_secs(5);

/// The names, and what is known of them.
#[derive(Debug)]
pub(super) struct Names {
    known: BTreeMap<String, KnownNames>,
    answers: Arc<Mutex<Vec<NameAnswer>>>,
    waker: Arc<Waker>,
}

#[derive(Debug, Default)]
struct KnownNames {
    /// In the order of the name service.
    addresses: Arc<[SocketAddr]>,
    asked: Option<Instant>,
    answered: Option<Instant>,
}

#[derive(Debug)]
struct NameAnswer {
    name: String,
    addresses: Option<Arc<[SocketAddr]>>,
}

/// What is known of an address.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NameOf {
    /// It is one of this name's, which has these addresses.
    Name(Target, Arc<[SocketAddr]>),
    /// It is no name's.
    None,
    /// A look-up is under way that may tell.
    Pending,
}

impl Names {
    /// Looks names up on threads that wake the loop by `waker`.
    pub(super) fn new(waker: Arc<Waker>) -> Names {
        Names { known: BTreeMap::new(), answers: Arc::default(), waker }
    }

    /// Which of these names has the address. Starts look-ups of those whose answer is old.
    pub(super) fn name_of(&mut self, address: IpAddr, names: &[Target], now: Instant) -> NameOf {
        let address = address.to_canonical();
        let mut found = None;
        let mut is_pending = false;
        for target in names {
            let Host::Name(name) = target.host() else { continue };
            let known = self.known.entry(name.clone()).or_default();
            let has = known.addresses.iter().any(|one| one.ip().to_canonical() == address);
            let age = known.answered.map(|at| now.saturating_duration_since(at));
            let is_under_way = known.asked.is_some();
            if !is_under_way && age.is_none_or(|age| age > if has { FRESH } else { REPEAT }) {
                known.asked = Some(now);
                self.look_up(name);
            }
            let known = &self.known[name];
            is_pending |= known.asked.is_some();
            if has && found.is_none() {
                found = Some((target.clone(), Arc::clone(&known.addresses)));
            }
        }
        match found {
            Some((target, addresses)) => NameOf::Name(target, addresses),
            None if is_pending => NameOf::Pending,
            None => NameOf::None,
        }
    }

    /// Takes in the answers that have come.
    pub(super) fn take_answers(&mut self, now: Instant) {
        let answers =
            std::mem::take(&mut *self.answers.lock().unwrap_or_else(PoisonError::into_inner));
        for answer in answers {
            let known = self.known.entry(answer.name).or_default();
            known.asked = None;
            known.answered = Some(now);
            // While the name service fails, the last answer is the best that there is.
            if let Some(addresses) = answer.addresses {
                known.addresses = addresses;
            }
        }
    }

    /// The system's look-up, which may block for as long as it likes, on a separate thread: at
    /// most one for each name.
    fn look_up(&mut self, name: &str) {
        let (answers, waker) = (Arc::clone(&self.answers), Arc::clone(&self.waker));
        let asked = name.to_owned();
        let started = internal::spawn("mailport-names", internal::LOOKUP_STACK, move || {
            let addresses = (asked.as_str(), 0).to_socket_addrs().ok();
            let addresses = addresses.map(Iterator::collect);
            let answer = NameAnswer { name: asked, addresses };
            answers.lock().unwrap_or_else(PoisonError::into_inner).push(answer);
            let _ = waker.wake();
        });
        if started.is_err()
            && let Some(known) = self.known.get_mut(name)
        {
            known.asked = None;
            known.answered = Some(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use mio::{Events, Poll, Token};

    use super::*;

    #[test]
    fn an_address_is_recognised_once_its_name_has_been_looked_up() {
        let mut poll = Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), Token(0)).unwrap());
        let mut names = Names::new(waker);
        let list = ["localhost".parse().unwrap()];
        let now = Instant::now();
        let own: IpAddr = "127.0.0.1".parse().unwrap();
        assert_eq!(names.name_of(own, &list, now), NameOf::Pending);
        let mut events = Events::with_capacity(1);
        while names.known["localhost"].answered.is_none() {
            poll.poll(&mut events, Some(Duration::from_secs(10))).unwrap();
            names.take_answers(now);
        }
        let NameOf::Name(name, all) = names.name_of(own, &list, now) else { panic!("{names:?}") };
        assert!(name == list[0] && all.iter().any(|one| one.ip() == own));
        let other = "192.0.2.1".parse().unwrap();
        assert_eq!(names.name_of(other, &list, now), NameOf::None);
        assert_eq!(names.name_of(other, &list, now + REPEAT * 2), NameOf::Pending, "asked again");
        assert_eq!(names.name_of(own, &[], now), NameOf::None);
    }
}
