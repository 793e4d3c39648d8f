//! Commands as tunnels, and what dials through anything leave behind: nothing.
#![expect(clippy::unwrap_used, reason = "a test that cannot set its scene has failed")]

mod common;
#[path = "common/through.rs"]
mod through;

use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use common::{Port, descriptors, hasty, open, plan, resolver, wait_until};
use mailport::outcome::ViaError;
use mailport::report::{End, Greeting};
use mailport::{ConnectError, Dialer, GreetingWait, Outcome, Status, Stream};
use through::{
    children, dialer, failed, note, outcomes, read_to_end, runs, script, shell, target, through,
};

/// These tests count descriptors and processes, so they take turns.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn a_dial_through_a_proxy_dropped_at_any_step_leaves_nothing_open() {
    let _turn = alone();
    let listener = open();
    let dialer = Dialer::default()
        .with_via(format!("socks5://proxy.example:{}", listener.port()).parse().unwrap())
        .with_resolver(resolver(Duration::from_millis(1)));
    // Answers in four parts, so that a dial has many steps.
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || {
                let mut stream = stream.unwrap();
                for part in [&b"\x05"[..], b"\0", b"\x05\x05\0\x01"] {
                    thread::sleep(Duration::from_millis(2));
                    let _ = stream.write_all(part);
                }
                let _ = stream.read_to_end(&mut Vec::new());
            });
        }
    });
    let before = descriptors();
    for turns in 0.. {
        let mut dial =
            dialer.clone().with_plan(plan(&[587])).with_config(hasty()).start(target()).unwrap();
        let mut status = Status::Pending;
        for _ in 0..turns {
            status = dial.process();
            if status != Status::Pending {
                break;
            }
            common::wait_readable(dial.descriptor().unwrap().as_raw_fd());
        }
        drop(dial);
        wait_until(|| descriptors() == before && common::resolver_threads() == 0);
        // Under load parts arrive together, and a dial has fewer steps than another time.
        if status != Status::Pending && turns > 4 {
            return;
        }
    }
}

#[test]
fn a_dial_through_anything_that_lacks_a_descriptor_at_any_step_ends_and_leaves_nothing() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let _turn = alone();
    let listener = open();
    let (_folder, command) = shell("echo 220; cat");
    let mut config = hasty();
    config.timeout = Duration::from_millis(300);
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    for via in [command, format!("socks5://127.0.0.1:{}", listener.port())] {
        let before = descriptors();
        // The limit is one on numbers, and numbers that are free lie between others.
        let mut in_use: Vec<libc::rlim_t> = fs::read_dir("/proc/self/fd")
            .expect("this test needs /proc")
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .collect();
        // The one that was read is closed by now.
        in_use.retain(|number| fs::symlink_metadata(format!("/proc/self/fd/{number}")).is_ok());
        let free: Vec<libc::rlim_t> =
            (0..).filter(|number| !in_use.contains(number)).take(12).collect();
        let mut ends = Vec::new();
        for (more, limit) in free.into_iter().enumerate() {
            setrlimit(Resource::RLIMIT_NOFILE, limit, hard).unwrap();
            let result = through(&via, &[587, 25], &config);
            setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
            let end = match &result {
                Ok(_) => "connected",
                Err(ConnectError::Setup { source: _, .. }) => "setup",
                Err(ConnectError::Failed(report))
                    if report.end == Some(End::LocalResourceError) =>
                {
                    "trouble"
                }
                Err(ConnectError::Failed(report)) if report.end == Some(End::Timeout) => "deadline",
                Err(other) => panic!("{via}: {other}"),
            };
            drop(result);
            assert_eq!(descriptors(), before, "{via} with {more} more descriptors");
            if ends.last() != Some(&end) {
                ends.push(end);
            }
        }
        // This proxy accepts and never answers.
        let last = if via.starts_with("command") { "connected" } else { "deadline" };
        // Whether not even the dial's own one could be had depends on which numbers are free.
        ends.retain(|&end| end != "setup");
        assert_eq!(ends, ["trouble", last], "{via}");
    }
    wait_until(|| children() == 0);
}

#[test]
fn a_command_is_the_connection_and_ends_with_it() {
    let _turn = alone();
    let before = descriptors();
    let (folder, via) = shell("echo \"220 $1 $2\"; cat");
    let connected = through(&via, &[587], &hasty()).unwrap();
    (&connected.stream).write_all(b"EHLO here\r\n").unwrap();
    connected.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&connected.stream), "220 mail.example 587\nEHLO here\r\n");
    assert!(matches!(connected.stream, Stream::Unix(_)), "a socket pair");
    let shown = via.split(' ').next().unwrap();
    assert_eq!(connected.report.via.as_deref(), Some(shown));
    drop(connected);
    wait_until(|| !runs(folder.path().to_str().unwrap()));
    assert_eq!((descriptors(), children()), (before, 0));
}

#[test]
fn closing_a_connection_does_not_wait_for_a_command_that_ignores_it() {
    let _turn = alone();
    let before = descriptors();
    let (folder, via) = shell("trap '' HUP PIPE TERM; echo 220; sleep 3 <&- >&-; exit");
    drop(through(&via, &[587], &hasty()).unwrap());
    assert_eq!((descriptors(), children()), (before, 0));
    assert!(runs(folder.path().to_str().unwrap()), "closed, and not waited for");
}

#[test]
fn a_command_that_ends_at_once_is_reported_with_its_last_words() {
    let _turn = alone();
    let (_folder, via) = shell(
        "if [ $2 = 587 ]; then printf 'a\\nchannel 0: \\033[1mopen failed\\n' >&2; exit 1; fi
         echo 220; cat",
    );
    let connected = through(&via, &[587, 25], &hasty()).unwrap();
    assert_eq!(outcomes(&connected.report), [Outcome::Closed, Outcome::Connected]);
    assert_eq!(note(&connected.report, 0), "a channel 0: [1mopen failed");
    let (_folder, via) = shell("exit 1");
    let report = failed(through(&via, &[587, 25], &hasty()));
    assert_eq!((report.end, outcomes(&report)), (Some(End::Exhausted), vec![Outcome::Closed; 2]));
}

#[test]
fn what_a_command_prints_before_it_dies_is_no_greeting() {
    let _turn = alone();
    let (_folder, via) = shell(
        "if [ $2 = 587 ]; then echo 'usage: tunnel'; sleep 0.05; echo why >&2; exit 1; fi
         echo '220 ready'; cat",
    );
    let connected = through(&via, &[587, 25], &hasty()).unwrap();
    assert_eq!(outcomes(&connected.report), [Outcome::Closed, Outcome::Connected]);
    assert_eq!(note(&connected.report, 0), "it printed \"usage: tunnel\"; why");
    // Of one that lives on, the greeting wait's end decides.
    let (_folder, via) = shell("echo hello; cat");
    let mut config = hasty();
    config.greeting_wait = GreetingWait::For(Duration::from_millis(100));
    let connected = through(&via, &[587, 25], &config).unwrap();
    assert_eq!(connected.report.attempts[0].greeting, Some(Greeting::Absent));
}

#[test]
fn a_command_that_cannot_be_started_ends_the_dial() {
    let _turn = alone();
    let before = descriptors();
    let (_folder, path) = script("#!/nonexistent/interpreter\n");
    let report = failed(through(&format!("command:{}", path.display()), &[587, 25], &hasty()));
    assert_eq!((report.end, report.attempts.len()), (Some(End::Via), 1));
    assert_eq!(report.attempts[0].via_error, Some(ViaError::NotStarted));
    assert!(report.summary().contains("cannot be started"), "{}", report.summary());
    assert!(report.summary().contains("No such file or directory"), "{}", report.summary());
    // It vanishes between the check and the start.
    let (_folder, path) = script("#!/bin/sh\n");
    let dialer = dialer(&format!("command:{}", path.display()));
    let mut dial =
        dialer.clone().with_plan(plan(&[587])).with_config(hasty()).start(target()).unwrap();
    fs::remove_file(path).unwrap();
    while dial.process() == Status::Pending {
        common::wait_readable(dial.descriptor().unwrap().as_raw_fd());
    }
    assert_eq!(dial.report().end, Some(End::Via));
    drop(dial);
    assert_eq!((descriptors(), children()), (before, 0));
}

#[test]
fn a_command_that_says_very_much_neither_hangs_nor_fills_the_memory() {
    let _turn = alone();
    let (_folder, via) =
        shell("head -c 3000000 /dev/zero | tr '\\0' x >&2; echo the end >&2; exit 1");
    let report = failed(through(&via, &[587], &hasty()));
    assert!(note(&report, 0).starts_with("…xxx"), "{}", note(&report, 0));
    assert_eq!(note(&report, 0).chars().count(), 300);
    let (_folder, via) = shell("echo 220; head -c 3000000 /dev/zero | tr '\\0' x >&2; echo after");
    let connected = through(&via, &[587], &hasty()).unwrap();
    assert_eq!(read_to_end(&connected.stream), "220\nafter\n");
}

#[test]
fn a_command_has_only_its_three_descriptors_and_no_signal_blocked_or_ignored() {
    let _turn = alone();
    // Not close-on-exec, as a careless host may have it.
    let file = fs::File::open("/dev/null").unwrap();
    let kept = nix::fcntl::fcntl(&file, nix::fcntl::FcntlArg::F_DUPFD(100)).unwrap();
    let mut config = hasty();
    config.greeting_wait = GreetingWait::Off;
    let said = |via: &str| read_to_end(&through(via, &[587], &config).unwrap().stream);
    // The fourth is the folder that is being read.
    assert_eq!(said("command:ls /proc/self/fd"), "0\n1\n2\n3\n");
    nix::unistd::close(kept).unwrap();
    let signals = |name: &str| {
        let line = said(&format!("command:grep {name} /proc/self/status"));
        u64::from_str_radix(line.trim_end().rsplit('\t').next().unwrap(), 16).unwrap()
    };
    assert_eq!(signals("SigBlk"), 0);
    assert_eq!(signals("SigIgn") & (1 << 12 | 1 << 16), 0, "neither SIGPIPE nor SIGCHLD");
}

#[test]
fn a_command_has_its_words_as_they_are() {
    let _turn = alone();
    let (_folder, path) = script("#!/bin/sh\necho \"220 $1.$2\"\n");
    let via = format!("command:{} 'a  b' \"\\$HOME %% %p\"", path.display());
    let connected = through(&via, &[587], &hasty()).unwrap();
    assert_eq!(read_to_end(&connected.stream), "220 a  b.$HOME % 587\n");
}

#[test]
fn a_host_that_ignores_its_children_can_start_commands() {
    use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
    let _turn = alone();
    let (_folder, via) = shell("echo 220");
    let action = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
    #[allow(unsafe_code, reason = "what a host may do")]
    // SAFETY: the signal is ignored, so nothing runs.
    let before = unsafe { sigaction(Signal::SIGCHLD, &action) }.unwrap();
    let result = through(&via, &[587], &hasty());
    #[allow(unsafe_code, reason = "what a host may do")]
    // SAFETY: it was so before.
    unsafe { sigaction(Signal::SIGCHLD, &before) }.unwrap();
    assert!(result.is_ok(), "{result:?}");
    assert_eq!(children(), 0);
}

#[test]
fn a_handler_of_sigchld_is_not_called_for_a_command() {
    use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    extern "C" fn count(_: libc::c_int) {
        CALLS.fetch_add(1, Ordering::Relaxed);
    }
    let _turn = alone();
    let (folder, via) = shell("(echo 220; sleep 0.01) & wait");
    let action = SigAction::new(SigHandler::Handler(count), SaFlags::SA_RESTART, SigSet::empty());
    #[allow(unsafe_code, reason = "what a host may do")]
    // SAFETY: the handler adds to a number, and nothing else.
    let before = unsafe { sigaction(Signal::SIGCHLD, &action) }.unwrap();
    let result = through(&via, &[587], &hasty());
    let ended = result.map(|connected| read_to_end(&connected.stream));
    wait_until(|| !runs(folder.path().to_str().unwrap()));
    #[allow(unsafe_code, reason = "what a host may do")]
    // SAFETY: it was so before.
    unsafe { sigaction(Signal::SIGCHLD, &before) }.unwrap();
    assert_eq!(ended.unwrap(), "220\n");
    assert_eq!(CALLS.load(Ordering::Relaxed), 0);
}

#[test]
fn a_host_that_waits_for_whatever_child_ends_may_be_the_first() {
    use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
    let _turn = alone();
    let (_folder, via) = shell("echo 220");
    let done = AtomicBool::new(false);
    let waited = thread::scope(|scope| {
        let host = scope.spawn(|| {
            let mut waited = 0;
            while !done.load(Ordering::Relaxed) {
                match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                    Ok(WaitStatus::Exited(..)) => waited += 1,
                    _ => thread::yield_now(),
                }
            }
            waited
        });
        // A panic must end the host's thread, too.
        let results: Vec<_> = (0..50).map(|_| through(&via, &[587], &hasty())).collect();
        done.store(true, Ordering::Relaxed);
        assert!(results.iter().all(Result::is_ok), "{results:?}");
        host.join().unwrap()
    });
    println!("the host was first {waited} times of 50");
    assert_eq!(children(), 0);
}

#[test]
fn a_dial_through_a_command_dropped_at_any_step_leaves_nothing_behind() {
    let _turn = alone();
    let (folder, via) = shell("sleep 0.5; echo 220; cat");
    let before = descriptors();
    for turns in 0.. {
        let mut dial =
            dialer(&via).with_plan(plan(&[587])).with_config(hasty()).start(target()).unwrap();
        let mut status = Status::Pending;
        for _ in 0..turns {
            status = dial.process();
            if status != Status::Pending {
                break;
            }
            common::wait_readable(dial.descriptor().unwrap().as_raw_fd());
        }
        drop(dial);
        assert_eq!((descriptors(), children()), (before, 0), "after {turns} turns");
        if status != Status::Pending {
            assert!(turns > 1, "the course has more steps than {turns}");
            break;
        }
    }
    wait_until(|| !runs(folder.path().to_str().unwrap()));
}
