//! The addresses of the servers of fixed listeners, for a second: sessions that begin soon after one
//! another share one look-up, also where it has ended.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mailport::report::Report;

use super::config::{ListenAddress, Listener, Mode};

/// For how long an answer is used again.
const RECENT: Duration = Duration::from_secs(1);

/// The last answer of each fixed listener.
#[derive(Debug, Default)]
pub(super) struct Answers {
    by_listener: BTreeMap<ListenAddress, Answer>,
}

#[derive(Debug)]
struct Answer {
    /// A reload makes another one.
    listener: Rc<Listener>,
    came: Instant,
    addresses: Arc<[SocketAddr]>,
}

impl Answers {
    /// Keeps the answer of a look-up that a dial has made, which began at this moment.
    pub(super) fn keep(
        &mut self,
        listener: &Rc<Listener>,
        began: Option<Instant>,
        report: &Report,
    ) {
        let (Mode::Fixed { .. }, None) = (&listener.mode, &listener.via) else { return };
        let answered = report.lookup.as_ref().and_then(|lookup| {
            Some((began? + lookup.ended?, Arc::from(lookup.result.as_deref().ok()?)))
        });
        if let Some((came, addresses)) = answered {
            let answer = Answer { listener: Rc::clone(listener), came, addresses };
            self.by_listener.insert(listener.address.clone(), answer);
        }
    }

    /// The addresses of a listener's server, if they were looked up within the last second.
    pub(super) fn recent(
        &self,
        listener: &Rc<Listener>,
        now: Instant,
    ) -> Option<Arc<[SocketAddr]>> {
        let answer = self.by_listener.get(&listener.address)?;
        let is_recent = Rc::ptr_eq(&answer.listener, listener) && now < answer.came + RECENT;
        is_recent.then(|| Arc::clone(&answer.addresses))
    }
}

#[cfg(test)]
mod tests {
    use mailport::{Dialer, Plan, Resolver};

    use super::*;

    #[test]
    fn an_answer_is_used_for_a_second_by_the_listener_that_it_was_for() {
        let address: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let listener = |mode| Rc::new(Listener::new(address, mode));
        let fixed = || Mode::fixed("mail.example".parse().unwrap(), Plan::submission()).unwrap();
        let (listener, reloaded) = (listener(fixed()), listener(fixed()));
        let resolver = Resolver::custom(move |_| Ok(vec![address]));
        let plan: Plan = "1:starttls".parse().unwrap();
        let dialer = Dialer::new().with_resolver(resolver).with_plan(plan);
        let (mut answers, began) = (Answers::default(), Instant::now());
        let failed = dialer.connect("mail.example").unwrap_err();
        answers.keep(&listener, Some(began), failed.report().unwrap());
        let came = began + failed.report().unwrap().lookup.as_ref().unwrap().ended.unwrap();
        let recent = |listener, at| answers.recent(listener, at).map(|all| all[0].ip());
        assert_eq!(recent(&listener, came), Some(address.ip()));
        assert_eq!(recent(&listener, came + RECENT), None);
        assert_eq!(recent(&reloaded, came), None, "its server may be another one");
    }
}
