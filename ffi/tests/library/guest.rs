//! The library in a program that it did not choose.

use std::process::Command;

use crate::c::{output_of, program};
use crate::common::{Port, open, silent};

const GUEST: &str = "ffi/tests/guest/guest.c";

#[test]
fn a_look_up_has_room_beside_thread_local_data_and_leaves_a_sandbox_its_signal() {
    let open = open();
    let plan = format!("{}:starttls", open.port());
    output_of(Command::new(program(GUEST, &["-ldl"])).args(["sandbox", &plan]));
}

#[test]
fn a_look_up_that_can_have_no_thread_names_the_limit() {
    output_of(Command::new(program(GUEST, &["-ldl"])).arg("address-space"));
}

#[test]
fn the_interrupt_key_of_a_terminal_does_not_reach_a_command() {
    output_of(&mut Command::new(program("ffi/tests/guest/terminal.c", &["-lutil"])));
}

/// What a program prints, which must say nothing on its standard error.
fn quiet(command: &mut Command) -> String {
    let output = command.output().expect("it runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{}: {errors}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_dial_whose_descriptors_were_closed_says_which_is_missing() {
    let silent = silent();
    let plan = format!("{}:starttls", silent.port());
    let closed = program("ffi/tests/guest/closed.c", &[]);
    for host in ["127.0.0.1", "localhost"] {
        for way in ["process", "wait"] {
            let said = quiet(Command::new(&closed).args([host, &plan, way]));
            let is_named =
                said.contains("epoll descriptor") && said.contains("Bad file descriptor");
            assert!(is_named, "{host}, {way}: {said}");
        }
    }
}

#[test]
fn a_dial_to_which_a_sandbox_refuses_a_call_names_it() {
    let silent = silent();
    let plan = format!("{}:starttls", silent.port());
    let refused = program("ffi/tests/guest/refused.c", &[]);
    for (call, name) in [
        (libc::SYS_timerfd_create, "timerfd_create"),
        (libc::SYS_timerfd_settime, "timerfd_settime"),
        (libc::SYS_epoll_create1, "epoll_create1"),
        (libc::SYS_epoll_ctl, "epoll_ctl"),
        (libc::SYS_eventfd2, "eventfd"),
        (libc::SYS_epoll_wait, "epoll_wait"),
    ] {
        let said = quiet(Command::new(&refused).arg(&plan).arg(call.to_string()));
        assert!(said.contains(name) && said.contains("not permitted"), "{name}: {said}");
    }
}

#[test]
fn a_command_is_started_by_processes_that_share_memory_as_strace_sees_it() {
    let program = program("ffi/tests/c/through.c", &[]);
    let folder = tempfile::tempdir().expect("a folder");
    let trace = folder.path().join("trace");
    let mut strace = Command::new("strace");
    strace.args(["--follow-forks", "--trace=fork,vfork,clone,clone3,execve", "--output"]);
    output_of(strace.arg(&trace).arg(program).arg("587:starttls"));
    let trace = std::fs::read_to_string(trace).expect("what strace has written");
    // From the start of the program to that of the command.
    let made = trace.lines().skip(1).take_while(|line| !line.contains("execve("));
    let made: Vec<&str> = made.filter(|line| !line.contains("CLONE_THREAD")).collect();
    let shares_memory = |line: &&str| line.contains("flags=CLONE_VM|CLONE_VFORK");
    assert!(made.len() == 2 && made.iter().all(shares_memory), "{trace}");
}
