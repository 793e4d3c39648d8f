//! Forks of a program, while another thread of it starts tunnel commands.
//!
//! One test to a process: what it forks lives on.
#![expect(unsafe_code, reason = "fork is unsafe, and is what is tested")]
#![expect(clippy::unwrap_used, reason = "a test that cannot set its scene has failed")]

mod common;
#[path = "common/through.rs"]
mod through;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use common::hasty;
use mailport::report::{End, Greeting};
use mailport::{GreetingWait, Outcome};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork};
use through::{failed, outcomes, shell, through};

/// How often a process is forked for each dial: more often than a dial takes to begin.
const FORKS: usize = 8;
const DIALS: usize = 30;

/// Children that do nothing and hold a copy of every descriptor of this process.
struct Forks(Vec<Pid>);

impl Forks {
    /// Forks while dials go on, of which `dial` is the number.
    fn beside(dial: &AtomicUsize) -> Forks {
        let mut forks = Forks(Vec::new());
        loop {
            let number = dial.load(Ordering::Relaxed);
            if number > DIALS {
                return forks;
            }
            if forks.0.len() >= FORKS * number {
                thread::yield_now();
                continue;
            }
            // SAFETY: the child makes system calls only, and never returns.
            match unsafe { fork() }.unwrap() {
                ForkResult::Parent { child } => forks.0.push(child),
                ForkResult::Child => loop {
                    // SAFETY: no pointers.
                    unsafe { libc::pause() };
                },
            }
        }
    }
}

impl Drop for Forks {
    fn drop(&mut self) {
        for &child in &self.0 {
            let _ = kill(child, Signal::SIGKILL);
            let _ = waitpid(child, None);
        }
    }
}

/// Tells the forking thread of the end, whichever way that comes.
struct Dials<'a>(&'a AtomicUsize);

impl Drop for Dials<'_> {
    fn drop(&mut self) {
        self.0.store(DIALS + 1, Ordering::Relaxed);
    }
}

#[test]
fn a_fork_by_another_thread_hides_neither_the_start_of_a_command_nor_its_end() {
    let (_folder, greets) = shell("echo 220; cat");
    let (_folder, ends) = shell("exit 1");
    let mut config = hasty();
    // What is hidden is waited for until this time, or the deadline.
    config.greeting_wait = GreetingWait::For(Duration::from_secs(10));
    let dial = AtomicUsize::new(0);
    thread::scope(|scope| {
        let forks = scope.spawn(|| Forks::beside(&dial));
        let dials = Dials(&dial);
        for number in 1..=DIALS / 2 {
            dials.0.store(2 * number - 1, Ordering::Relaxed);
            let connected = through(&greets, &[587], &config).unwrap();
            assert_eq!(connected.report.attempts[0].greeting, Some(Greeting::Received));
            dials.0.store(2 * number, Ordering::Relaxed);
            let report = failed(through(&ends, &[587], &config));
            assert_eq!(
                (report.end, outcomes(&report)),
                (Some(End::Exhausted), vec![Outcome::Closed])
            );
        }
        drop(dials);
        assert!(!forks.join().unwrap().0.is_empty(), "there were forks");
    });
}
