//! A program without standard descriptors, as a service manager or a careless parent leaves it.
//!
//! One test to a process: what is opened meanwhile takes their numbers.
#![expect(clippy::unwrap_used, reason = "a test that cannot set its scene has failed")]

mod common;
#[path = "common/through.rs"]
mod through;

use std::os::fd::OwnedFd;

use common::{descriptors, hasty};
use mailport::outcome::ViaError;
use nix::fcntl::{FcntlArg, fcntl};
use nix::unistd::{close, dup2_stderr, dup2_stdin, dup2_stdout};
use through::{failed, note, outcomes, read_to_end, script, shell, through};

/// Closes 0, 1 and 2 until it is dropped.
struct Closed([OwnedFd; 3]);

impl Closed {
    fn now() -> Closed {
        #[expect(unsafe_code, reason = "a copy has no owner yet")]
        let kept = [0, 1, 2].map(|number: i32| {
            use std::os::fd::{BorrowedFd, FromRawFd};
            // SAFETY: they are open when a process begins; the copy has no owner yet.
            unsafe {
                let number = BorrowedFd::borrow_raw(number);
                OwnedFd::from_raw_fd(fcntl(number, FcntlArg::F_DUPFD_CLOEXEC(50)).unwrap())
            }
        });
        for number in [0, 1, 2] {
            close(number).unwrap();
        }
        Closed(kept)
    }
}

impl Drop for Closed {
    fn drop(&mut self) {
        dup2_stdin(&self.0[0]).unwrap();
        dup2_stdout(&self.0[1]).unwrap();
        dup2_stderr(&self.0[2]).unwrap();
    }
}

#[test]
fn a_program_without_standard_descriptors_goes_through_a_command() {
    let (_folder, greets) = shell("read line; echo \"220 $line\"; ls /proc/self/fd; echo why >&2");
    let (_folder, fails) = shell("echo why >&2; exit 1");
    let (_folder, path) = script("#!/nonexistent/interpreter\n");
    let mut config = hasty();
    config.greeting_wait = mailport::GreetingWait::Off;
    let closed = Closed::now();
    let before = descriptors();
    let connected = through(&greets, &[587], &config);
    let said = connected.map(|connected| {
        use std::io::Write;
        (&connected.stream).write_all(b"hello\n").unwrap();
        read_to_end(&connected.stream)
    });
    let ended = through(&fails, &[587], &hasty());
    let not_started = through(&format!("command:{}", path.display()), &[587], &hasty());
    let after = descriptors();
    drop(closed);
    assert_eq!(said.unwrap(), "220 hello\n0\n1\n2\n3\n");
    let (ended, not_started) = (failed(ended), failed(not_started));
    assert_eq!((outcomes(&ended), note(&ended, 0)), (vec![mailport::Outcome::Closed], "why"));
    assert_eq!(not_started.attempts[0].via_error, Some(ViaError::NotStarted));
    assert_eq!(before, after);
}
