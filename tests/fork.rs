//! A fork in the middle of a dial: the parent's goes on, the child's can only be dropped.
//!
//! One test to a process: a fork copies only the thread that calls it.
#![allow(unsafe_code, reason = "fork is unsafe, and is what is tested")]

mod common;

use std::os::fd::AsRawFd;
use std::time::Duration;

use common::{Port, descriptors, hasty, open, plan, refused, resolver, silent};
use mailport::{ConnectError, Dialer, Status, Target};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};

#[test]
fn a_forked_child_disturbs_no_dial_and_can_dial_by_itself() {
    let (silent, refused, open) = (silent(), refused(), open());
    let plan = plan(&[silent.port(), refused.port(), open.port()]);
    let target: Target = "mail.example".parse().expect("a host");
    let dialer = Dialer::default().with_resolver(resolver(Duration::from_millis(2)));
    let mut turns = 0;
    let mut forks = 0;
    let mut dial = dialer.start(&target, &plan, &hasty()).expect("a dial");
    loop {
        // SAFETY: the child calls only this crate, which is what is under test, and ends with
        // `_exit`; the threads it does not have hold no lock that it needs.
        if let ForkResult::Parent { child } = unsafe { fork() }.expect("a fork") {
            assert_eq!(waitpid(child, None), Ok(WaitStatus::Exited(child, 0)), "in turn {turns}");
            forks += 1;
        } else {
            let code = in_child(dial, &dialer, &target, &plan);
            // SAFETY: ends the child without running the parent's clean-up.
            unsafe { libc::_exit(code) };
        }
        if dial.process() != Status::Pending {
            break;
        }
        turns += 1;
        common::wait_readable(dial.as_raw_fd());
    }
    assert!(forks > 2, "a fork before, within and after the look-up, not {forks}");
    let connected = dial.take().expect("the parent's dial has gone on");
    assert_eq!(connected.service.port(), open.port());
}

/// What a child does with its copy; the number says which step went wrong.
fn in_child(
    mut dial: mailport::Dial,
    dialer: &Dialer,
    target: &Target,
    plan: &mailport::Plan,
) -> i32 {
    let before = descriptors();
    if dial.process() != Status::Forked || dial.wait(None) != Status::Forked {
        return 1;
    }
    if !matches!(dial.take(), Err(ConnectError::Forked)) {
        return 2;
    }
    drop(dial);
    // Poller, timer, and whatever the dial had open by then, closed in this process alone.
    if descriptors() > before - 2 {
        return 3;
    }
    let before = descriptors();
    match dialer.connect(target, plan, &hasty()) {
        Ok(connected) => drop(connected),
        Err(_) => return 4,
    }
    if descriptors() == before { 0 } else { 5 }
}
