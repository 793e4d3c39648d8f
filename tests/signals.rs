//! Signals that interrupt every call of a dial.
//!
//! One test to a process, for a signal goes to any thread of it.
#![allow(unsafe_code, reason = "setitimer and sigaction are C's")]

mod common;

use std::time::Duration;

use common::{Port, hasty, open, plan, refused, resolver, silent};
use mailport::Dialer;

#[test]
fn a_storm_of_signals_only_wakes_it() {
    extern "C" fn ignore(_: libc::c_int) {}
    let every = |micros| libc::itimerval {
        it_interval: libc::timeval { tv_sec: 0, tv_usec: micros },
        it_value: libc::timeval { tv_sec: 0, tv_usec: micros },
    };
    let set = |value: libc::itimerval| {
        // SAFETY: a valid value that outlives the call; the old one is not asked for.
        unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const value, std::ptr::null_mut()) };
    };
    // SAFETY: the handler does nothing, which is safe in a signal; without SA_RESTART.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = ignore as extern "C" fn(libc::c_int) as usize;
        libc::sigaction(libc::SIGALRM, &raw const action, std::ptr::null_mut());
    }
    let (silent, refused, open) = (silent(), refused(), open());
    let plan = plan(&[silent.port(), refused.port(), open.port()]);
    let target = "mail.example";
    let dialer = Dialer::default().with_resolver(resolver(Duration::from_millis(3)));
    set(every(500));
    let result = dialer.clone().with_plan(plan.clone()).with_config(hasty()).connect(target);
    set(every(0));
    assert_eq!(result.expect("connected").service.port(), open.port());
}
