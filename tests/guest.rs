//! Tunnel commands in a process that did not choose them: a sandbox, a container, a terminal.
//!
//! One process, for a subreaper is a whole process.
#![expect(clippy::unwrap_used, reason = "a test that cannot set its scene has failed")]

mod common;
#[path = "common/seccomp.rs"]
mod seccomp;
#[path = "common/through.rs"]
mod through;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use common::{hasty, plan, wait_readable, wait_until};
use mailport::{GreetingWait, Status};
use seccomp::{Refused, refusing};
use through::{children, dialer, failed, note, read_to_end, runs, shell, target, through};

/// These tests count processes, so they take turns.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn a_command_has_its_own_session_so_that_no_key_of_the_terminal_reaches_it() {
    let _turn = alone();
    // Fields of proc(5): 1 the number, 5 the process group, 6 the session, 7 the terminal.
    let (_folder, via) = shell("echo 220; cut -d ' ' -f 1,5,6,7 /proc/$$/stat");
    let said = read_to_end(&through(&via, &[587], &hasty()).unwrap().stream);
    let numbers: Vec<&str> = said.lines().nth(1).unwrap().split(' ').collect();
    assert_eq!(numbers[0], numbers[1], "it leads a process group");
    assert_eq!(numbers[0], numbers[2], "it leads a session");
    assert_eq!(numbers[3], "0", "it has no terminal");
}

#[test]
fn a_command_ends_when_its_dial_is_dropped_before_it_has_connected() {
    let _turn = alone();
    // Without a greeting it has not connected; it never looks at its input.
    let mut config = hasty();
    config.greeting_wait = GreetingWait::For(Duration::from_secs(60));
    let mut dial = dialer("command:sleep 7531")
        .with_plan(plan(&[587]))
        .with_config(config)
        .start(target())
        .unwrap();
    while !runs("sleep\x007531") {
        assert_eq!(dial.process(), Status::Pending);
        wait_readable(std::os::fd::AsRawFd::as_raw_fd(&dial.descriptor().unwrap()));
    }
    for _ in 0..5 {
        assert_eq!(dial.wait(Some(Duration::from_millis(20))), Status::Pending);
    }
    drop(dial);
    wait_until(|| !runs("sleep\x007531"));
}

#[test]
fn a_subreaper_keeps_no_zombie_of_a_command() {
    let _turn = alone();
    let subreaper = |on: libc::c_ulong| {
        #[allow(unsafe_code, reason = "a process becomes one by this call alone")]
        // SAFETY: no pointers.
        unsafe {
            libc::prctl(libc::PR_SET_CHILD_SUBREAPER, on, 0, 0, 0)
        }
    };
    assert_eq!(subreaper(1), 0);
    let (_folder, via) = shell("echo 220; cat");
    for _ in 0..20 {
        drop(through(&via, &[587], &hasty()).unwrap());
    }
    wait_until(|| children() == 0);
    assert_eq!(subreaper(0), 0);
}

#[test]
fn a_command_starts_without_a_copy_of_the_memory_of_its_host() {
    let _turn = alone();
    let (_folder, via) = shell("echo 220");
    let vfork = u32::try_from(libc::CLONE_VFORK | libc::CLONE_THREAD).unwrap();
    let copies = [
        Refused { call: libc::SYS_clone, without: vfork, errno: libc::EPERM },
        // The C library does without it where there is none.
        Refused { call: libc::SYS_clone3, without: 0, errno: libc::ENOSYS },
        #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
        Refused { call: libc::SYS_fork, without: 0, errno: libc::EPERM },
    ];
    let result = refusing(&copies, || through(&via, &[587], &hasty()));
    assert!(result.is_ok(), "{result:?}");
}

#[test]
fn where_there_is_no_file_in_memory_the_tunnel_works_and_the_report_says_what_is_lost() {
    let _turn = alone();
    for errno in [libc::EACCES, libc::ENOSYS] {
        let none = [Refused { call: libc::SYS_memfd_create, without: 0, errno }];
        let (_folder, via) = shell("echo 220; echo more >&2; cat");
        let connected = refusing(&none, || through(&via, &[587], &hasty())).unwrap();
        let expected = "its standard error is lost: memfd_create: ";
        assert!(note(&connected.report, 0).starts_with(expected), "{:?}", connected.report);
        let (_folder, via) = shell("echo why >&2; exit 1");
        let report = failed(refusing(&none, || through(&via, &[587], &hasty())));
        assert!(note(&report, 0).starts_with(expected), "{report:?}");
    }
}
