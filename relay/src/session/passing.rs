//! A session that passes bytes.

use std::time::Instant;

use super::joined::Established;
use super::joined::{JoinState, JoinedPair};
use super::{Session, SessionState, SessionStep, far_token, near_token};
use crate::access::Refusal;
use crate::config::Mode;
use crate::context::{Context, SessionEnd};

impl Session {
    /// Joins the client's socket and the server's.
    pub(super) fn join(
        &mut self,
        established: Established,
        context: &mut Context,
        now: Instant,
    ) -> SessionStep {
        let Established { far, endpoints, plan } = established;
        let Some(near) = self.near.take() else { return SessionStep::Done };
        let idle_timeout = self.listener.idle_timeout_of(&plan);
        let watch = (&context.registry, [near_token(self.number), far_token(self.number)]);
        match JoinedPair::new(near, far, endpoints, watch, (idle_timeout, now)) {
            Ok(pair) => {
                self.state = SessionState::Joined(pair);
                // The server's socket is watched from now on, which reports what it has already. What
                // a proxy's client has sent after its request was reported with that.
                self.ready = [self.ready[0] || matches!(self.listener.mode, Mode::Proxy(_)), false];
                self.pass(context, now)
            }
            Err(error) => {
                context.loops.remove(None, endpoints);
                self.end(&SessionEnd::Broken(error.to_string()), context);
                SessionStep::Done
            }
        }
    }

    /// Passes on what has come.
    pub(super) fn pass(&mut self, context: &mut Context, now: Instant) -> SessionStep {
        let SessionState::Joined(pair) = &mut self.state else { return SessionStep::Done };
        let ready = std::mem::take(&mut self.ready);
        let (passed, state) = pair.pass(ready, (&context.registry, &mut context.stock), now);
        context.status.sent += passed.sent;
        context.status.received += passed.received;
        match state {
            JoinState::More => SessionStep::Again,
            JoinState::Until(at) => SessionStep::Until(at),
            JoinState::Idle => self.finish(&SessionEnd::IdleTimeout, context),
            JoinState::Ended => self.finish(&SessionEnd::Ended, context),
            JoinState::ClientClosed => self.finish_by_reset(&SessionEnd::Ended, context),
            JoinState::Broken(reason) => self.finish(&SessionEnd::Broken(reason), context),
        }
    }

    /// The relay has accepted this session's own connection to its server, which no check has
    /// foreseen. Nothing that the client has sent was read by anybody.
    pub(crate) fn came_back(&mut self, context: &mut Context) -> SessionStep {
        if let SessionState::Joined(pair) = &self.state
            && pair.passed.received == 0
            && self.is_smtp()
        {
            pair.send_to_client(&self.style.refusal(Refusal::Loop));
        }
        self.finish(&SessionEnd::Refused(Refusal::Loop), context)
    }

    /// Ends a joined session. Only one that both sides have ended does not end by a reset.
    pub(super) fn finish(&mut self, end: &SessionEnd, context: &mut Context) -> SessionStep {
        // The reply of a loop would be lost by a reset.
        let is_clean = matches!(end, SessionEnd::Ended | SessionEnd::Refused(_));
        self.finish_with(end, !is_clean, context)
    }

    fn finish_by_reset(&mut self, end: &SessionEnd, context: &mut Context) -> SessionStep {
        self.finish_with(end, true, context)
    }

    fn finish_with(
        &mut self,
        end: &SessionEnd,
        by_reset: bool,
        context: &mut Context,
    ) -> SessionStep {
        let lasted = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        match std::mem::replace(&mut self.state, SessionState::Closing) {
            SessionState::Joined(pair) => {
                let passed = pair.passed;
                context.loops.remove(None, pair.endpoints);
                pair.close(by_reset, &mut context.stock);
                self.has_ended = true;
                let record = |event| {
                    let record = self.record(event).with_number("sent", passed.sent);
                    let record = record.with_number("received", passed.received);
                    record.with_number("lasted_ms", lasted)
                };
                context.end(record, end);
            }
            SessionState::Replied(Established { endpoints, .. }, _) => {
                context.loops.remove(None, endpoints);
                self.end(end, context);
            }
            state => self.state = state,
        }
        SessionStep::Done
    }
}
