//! A system that cannot start another thread: the look-up fails with that reason, and at once.
//!
//! One test to a process, for it takes the process's cache away.

mod common;

use common::{Port, hasty, open, plan, resolver};
use mailport::{Dialer, Target};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::time::Duration;

#[test]
fn a_thread_that_cannot_be_started_is_an_error_that_says_so() {
    let open = open();
    let plan = plan(&[open.port()]);
    let target: Target = "mail.example".parse().expect("a host");
    let dialer = Dialer::default().with_resolver(resolver(Duration::ZERO));
    let (soft, hard) = getrlimit(Resource::RLIMIT_AS).expect("a limit");
    let status = std::fs::read_to_string("/proc/self/status").expect("this test needs /proc");
    let line = status.lines().find(|line| line.starts_with("VmSize:")).expect("VmSize");
    let size: libc::rlim_t =
        line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("KiB");
    // Room for what a dial allocates, but not for a stack.
    setrlimit(Resource::RLIMIT_AS, (size + 100) * 1024, hard).expect("a lower limit");
    let result = dialer.clone().with_plan(plan.clone()).with_config(hasty()).connect(&target);
    setrlimit(Resource::RLIMIT_AS, soft, hard).expect("the limit it was");
    let error = result.expect_err("no thread, no address");
    assert!(error.to_string().contains("this machine cannot look names up: "), "{error}");
    let errno = error.errno().and_then(mailport::outcome::Errno::name);
    assert!(matches!(errno, Some("EAGAIN" | "ENOMEM")), "{error:?}");
    assert!(
        dialer.clone().with_plan(plan.clone()).with_config(hasty()).connect(&target).is_ok(),
        "and the resolver works on"
    );
}
