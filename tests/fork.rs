//! A fork in the middle of a dial: the parent's goes on, the child's can only be dropped.
//!
//! One test to a process: a fork copies only the thread that calls it.
#![allow(unsafe_code, reason = "fork is unsafe, and is what is tested")]

mod common;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::thread;
use std::time::Duration;

use common::{Port, descriptors, hasty, open, plan, refused, resolver, silent};
use mailport::{ConnectError, Dialer, Plan, Status, Target};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};

#[test]
fn a_forked_child_disturbs_no_dial_and_can_dial_by_itself() {
    let (silent, refused, open) = (silent(), refused(), open());
    let direct = plan(&[silent.port(), refused.port(), open.port()]);
    let dialer = Dialer::default().with_resolver(resolver(Duration::from_millis(2)));
    let (port, forks) = forked_in_every_turn(&dialer, &direct);
    assert_eq!(port, open.port());
    assert!(forks > 2, "a fork before, within and after the look-up, not {forks}");
    // A dial within a dial, and a process that belongs to neither.
    let proxy = format!("socks5://proxy.example:{}", proxy().port());
    let through = dialer.clone().with_via(proxy.parse().expect("a proxy"));
    let (port, forks) = forked_in_every_turn(&through, &plan(&[587]));
    assert!(port == 587 && forks > 2, "{port} after {forks}");
    let command = "command:sh -c 'sleep 1; echo 220; cat'".parse().expect("a command");
    let (port, forks) = forked_in_every_turn(&dialer.with_via(command), &plan(&[587]));
    assert!(port == 587 && forks > 1, "{port} after {forks}");
}

/// A proxy that takes its time, on a thread of this process.
fn proxy() -> TcpListener {
    let listener = open();
    let ours = listener.try_clone().expect("a copy");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            thread::spawn(move || {
                for part in [&b"\x05"[..], b"\0", b"\x05\0\0\x01\x7f\0\0\x01\0\x19", b"220 "] {
                    thread::sleep(Duration::from_millis(2));
                    let _ = stream.write_all(part);
                }
                let _ = stream.read_to_end(&mut Vec::new());
            });
        }
    });
    ours
}

/// Dials, forking before every turn, and gives the port that was reached and the count of forks.
fn forked_in_every_turn(dialer: &Dialer, plan: &Plan) -> (u16, usize) {
    let target: Target = "mail.example".parse().expect("a host");
    let mut turns = 0;
    let mut forks = 0;
    let mut dial =
        dialer.clone().with_plan(plan.clone()).with_config(hasty()).start(&target).expect("a dial");
    loop {
        // SAFETY: the child calls only this crate, which is what is under test, and ends with
        // `_exit`; the threads it does not have hold no lock that it needs.
        if let ForkResult::Parent { child } = unsafe { fork() }.expect("a fork") {
            assert_eq!(waitpid(child, None), Ok(WaitStatus::Exited(child, 0)), "in turn {turns}");
            forks += 1;
        } else {
            // Poller and wake-up, once a turn has made them.
            let held = if turns == 0 { 0 } else { 2 };
            let code = in_child(dial, dialer, &target, plan, held);
            // SAFETY: ends the child without running the parent's clean-up.
            unsafe { libc::_exit(code) };
        }
        if dial.process() != Status::Pending {
            break;
        }
        turns += 1;
        common::wait_readable(dial.descriptor().expect("a descriptor").as_raw_fd());
    }
    let connected = dial.take().expect("the parent's dial has gone on");
    (connected.service.port(), forks)
}

/// What a child does with its copy; the number says which step went wrong.
fn in_child(
    mut dial: mailport::Dial,
    dialer: &Dialer,
    target: &Target,
    plan: &Plan,
    held: usize,
) -> i32 {
    let before = descriptors();
    if dial.process() != Status::Forked || dial.wait(None) != Status::Forked {
        return 1;
    }
    if !matches!(dial.take(), Err(ConnectError::Forked)) {
        return 2;
    }
    drop(dial);
    // What the dial had open by then is closed in this process alone.
    if descriptors() > before - held {
        return 3;
    }
    let before = descriptors();
    match dialer.clone().with_plan(plan.clone()).with_config(hasty()).connect(target) {
        Ok(connected) => drop(connected),
        Err(_) => return 4,
    }
    if descriptors() == before { 0 } else { 5 }
}
