//! What a dial does when the machine or the caller fails it: it ends, and leaves nothing behind.
//!
//! These tests count what the whole process holds, so they take turns.

mod common;

use std::io::Read;
use std::os::fd::AsRawFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use common::{
    Port, descriptors, first_outcomes, hasty, open, plan, refused, resident_kib, resolver,
    resolver_threads, silent, wait_until,
};
use mailport::{Config, ConnectError, Dial, Dialer, Outcome, Plan, Status, Target};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn target(host: &str) -> Target {
    host.parse().expect("a host")
}

/// Waits for the dial's descriptor, as a caller's loop does.
fn watch(dial: &mut Dial) {
    common::wait_readable(dial.descriptor().expect("a descriptor").as_raw_fd());
}

/// A dial through every kind of step: two look-ups, a silent port, a refused one, an open one.
struct Course {
    dialer: Dialer,
    plan: Plan,
    config: Config,
    target: Target,
    _ports: (common::Silent, socket2::Socket, std::net::TcpListener),
}

fn course() -> Course {
    let ports = (silent(), refused(), open());
    Course {
        dialer: Dialer::default().with_resolver(resolver(Duration::from_millis(1))),
        plan: plan(&[ports.0.port(), ports.1.port(), ports.2.port()]),
        config: hasty(),
        target: target("mail.example"),
        _ports: ports,
    }
}

impl Course {
    fn start(&self) -> Result<Dial, ConnectError> {
        self.dialer
            .clone()
            .with_plan(self.plan.clone())
            .with_config(self.config.clone())
            .start(&self.target)
    }
}

#[test]
fn the_whole_course_ends_on_the_open_port() {
    let _turn = alone();
    let course = course();
    let mut dial = course.start().expect("a dial");
    while dial.process() == Status::Pending {
        watch(&mut dial);
    }
    let connected = dial.take().expect("connected");
    let outcomes = first_outcomes(&connected.report);
    assert_eq!(outcomes, [Outcome::Timeout, Outcome::Reset, Outcome::Connected]);
    assert!(matches!(dial.take(), Err(ConnectError::NotConnected)), "given once");
    assert_eq!(dial.process(), Status::Connected, "and the status stays");
}

#[test]
fn a_dial_dropped_at_any_step_leaves_nothing_open() {
    let _turn = alone();
    let course = course();
    let before = descriptors();
    let mut finished = false;
    for turns in 0.. {
        let mut dial = course.start().expect("a dial");
        for _ in 0..turns {
            finished = dial.process() != Status::Pending;
            if finished {
                break;
            }
            watch(&mut dial);
        }
        drop(dial);
        assert_eq!(descriptors(), before, "after {turns} turns");
        wait_until(|| resolver_threads() == 0);
        if finished {
            assert!(turns > 4, "the course has more steps than {turns}");
            return;
        }
    }
}

#[test]
fn a_dial_that_lacks_a_descriptor_at_any_step_ends_with_an_error_or_without_it() {
    let _turn = alone();
    let mut course = course();
    // A silent attempt may be all that a want of descriptors leaves, until the deadline.
    course.config.timeout = Duration::from_millis(500);
    let before = descriptors();
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    // The limit is one on numbers, and numbers that are free lie between others.
    let in_use = std::fs::read_dir("/proc/self/fd").expect("this test needs /proc");
    let in_use: Vec<libc::rlim_t> =
        in_use.filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok()).collect();
    let free: Vec<libc::rlim_t> =
        (0..).filter(|number| !in_use.contains(number)).take(12).collect();
    let mut ends = Vec::new();
    for (more, limit) in free.into_iter().enumerate() {
        setrlimit(Resource::RLIMIT_NOFILE, limit, hard).expect("a lower limit");
        let result = course.start().and_then(|mut dial| {
            while dial.process() == Status::Pending {
                common::wait_readable(dial.descriptor()?.as_raw_fd());
            }
            dial.take()
        });
        setrlimit(Resource::RLIMIT_NOFILE, soft, hard).expect("the limit it was");
        let end = match &result {
            Ok(_) => "connected",
            Err(ConnectError::Setup { source: _, .. }) => "setup",
            Err(ConnectError::Failed(report)) => {
                assert!(report.summary().contains("mail.example"), "{}", report.summary());
                "failed"
            }
            Err(other) => panic!("{other}"),
        };
        drop(result);
        assert_eq!(descriptors(), before, "with {more} more descriptors");
        if ends.last() != Some(&end) {
            ends.push(end);
        }
    }
    assert_eq!(ends, ["setup", "failed", "connected"], "no descriptor is a fault by itself");
}

#[test]
fn want_of_descriptors_never_leads_to_the_next_service() {
    let _turn = alone();
    let (first, second) = (open(), open());
    let plan = plan(&[first.port(), second.port()]);
    let mut dial = Dialer::default()
        .with_plan(plan.clone())
        .with_config(hasty())
        .start(target("127.0.0.1"))
        .expect("a dial");
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, 3, hard).expect("a lower limit");
    let status = dial.process();
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).expect("the limit it was");
    assert_eq!(status, Status::Failed);
    let report = dial.report();
    assert_eq!(report.attempts.len(), 1, "{report:?}");
    assert_eq!(report.attempts[0].errno.and_then(mailport::outcome::Errno::name), Some("EMFILE"));
    assert_eq!(report.end, Some(mailport::report::End::LocalResourceError));
}

#[test]
fn a_resolver_that_never_returns_delays_only_its_own_dials_and_ends_with_their_deadline() {
    let _turn = alone();
    let (never, wait) = std::sync::mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let stuck = mailport::Resolver::custom(move |name| {
        if name == "stuck.example" {
            let _ = wait.lock().map(|wait| wait.recv());
        }
        Ok(vec!["127.0.0.1:0".parse().expect("an address")])
    });
    let dialer = Dialer::default().with_resolver(stuck);
    let open = open();
    let plan = plan(&[open.port()]);
    let mut config = hasty();
    config.timeout = Duration::from_millis(100);
    let mut held_up = dialer
        .clone()
        .with_plan(plan.clone())
        .with_config(config.clone())
        .start(target("stuck.example"))
        .expect("a dial");
    assert_eq!(held_up.process(), Status::Pending);
    assert!(
        dialer
            .clone()
            .with_plan(plan.clone())
            .with_config(hasty())
            .connect(target("mail.example"))
            .is_ok()
    );
    while held_up.process() == Status::Pending {
        watch(&mut held_up);
    }
    let error = held_up.take().expect_err("no address").to_string();
    assert!(error.contains("stuck.example: no address found before the timeout"), "{error}");
    // The dial is gone before its look-up ends.
    drop(held_up);
    drop(never);
    wait_until(|| resolver_threads() == 0);
}

#[test]
fn a_descriptor_that_has_ended_stays_open_and_silent() {
    let _turn = alone();
    let open = open();
    let mut dial = Dialer::default()
        .with_resolver(resolver(Duration::ZERO))
        .with_plan(plan(&[open.port()]))
        .with_config(hasty())
        .start(target("mail.example"))
        .expect("a dial");
    while dial.process() == Status::Pending {
        watch(&mut dial);
    }
    #[allow(unsafe_code, reason = "poll wants a borrowed descriptor")]
    // SAFETY: the dial keeps its descriptor open as long as it lives.
    let descriptor = unsafe {
        std::os::fd::BorrowedFd::borrow_raw(dial.descriptor().expect("a descriptor").as_raw_fd())
    };
    let mut watched = [PollFd::new(descriptor, PollFlags::POLLIN)];
    assert_eq!(poll(&mut watched, PollTimeout::from(200u8)), Ok(0));
    assert_eq!(dial.poll_timeout(), None);
    // The winner is out of it as well: closing it, or reading it, is the caller's alone.
    drop(dial.take().expect("connected"));
    assert_eq!(poll(&mut watched, PollTimeout::from(50u8)), Ok(0));
}

#[test]
fn the_winner_is_handed_over_as_it_would_be_by_connect() {
    let _turn = alone();
    let open = open();
    let connected = Dialer::new()
        .with_plan(plan(&[open.port()]))
        .with_config(Config::default())
        .connect(target("127.0.0.1"));
    let connected = connected.expect("connected");
    let flags = nix::fcntl::fcntl(&connected.stream, nix::fcntl::FcntlArg::F_GETFD);
    assert_eq!(flags, Ok(nix::fcntl::FdFlag::FD_CLOEXEC.bits()));
    let recverr =
        nix::sys::socket::getsockopt(&connected.stream, nix::sys::socket::sockopt::Ipv4RecvErr);
    assert_eq!(recverr, Ok(false));
    let (mut accepted, _) = open.accept().expect("the connection");
    std::io::Write::write_all(&mut accepted, b"220 ").expect("a write");
    let mut greeting = [0; 4];
    (&connected.stream).read_exact(&mut greeting).expect("a blocking read");
    assert_eq!(&greeting, b"220 ");
    let mut dial = Dialer::default()
        .with_plan(plan(&[open.port()]))
        .with_config(Config::default())
        .start(target("127.0.0.1"))
        .expect("a dial");
    while dial.process() == Status::Pending {
        watch(&mut dial);
    }
    let socket = dial.take().expect("connected").stream;
    let read = (&socket).read(&mut greeting).map_err(|e| e.kind());
    assert_eq!(read, Err(std::io::ErrorKind::WouldBlock), "taken from a dial, it does not block");
}

#[test]
fn thousands_of_dials_leave_no_descriptor_thread_or_memory() {
    let _turn = alone();
    let dials: usize = std::env::var("MAILPORT_SOAK_DIALS")
        .map_or(1_000, |text| text.parse().expect("MAILPORT_SOAK_DIALS is a number"));
    let (silent, refused, open) = (silent(), refused(), open());
    open.set_nonblocking(true).expect("a listener");
    let names = Dialer::default().with_resolver(resolver(Duration::ZERO));
    let fates = [
        ("127.0.0.1", plan(&[open.port()]), true),
        ("mail.example", plan(&[refused.port(), open.port()]), true),
        ("127.0.0.1", plan(&[refused.port()]), false),
        ("mail.example", plan(&[open.port(), refused.port()]), true),
        ("127.0.0.1", plan(&[silent.port(), open.port()]), true),
    ];
    let before = descriptors();
    let mut resident = 0;
    for round in 0..dials {
        let (host, plan, connects) = &fates[round % fates.len()];
        let result =
            names.clone().with_plan(plan.clone()).with_config(hasty()).connect(target(host));
        assert_eq!(result.is_ok(), *connects, "dial {round}: {result:?}");
        while open.accept().is_ok() {}
        if round == dials / 5 {
            resident = resident_kib();
        }
    }
    assert_eq!(descriptors(), before);
    wait_until(|| resolver_threads() == 0);
    let grown = resident_kib().saturating_sub(resident);
    assert!(grown < 2_048, "{grown} KiB more after {dials} dials than after a fifth of them");
}

#[test]
fn a_question_can_be_left_alone_and_dropped() {
    let _turn = alone();
    let (first, second) = (silent(), open());
    let mut config = hasty();
    config.ask = true;
    let before = descriptors();
    let plan = plan(&[first.port(), second.port()]);
    let mut dial = Dialer::default()
        .with_plan(plan.clone())
        .with_config(config.clone())
        .start(target("127.0.0.1"))
        .expect("a dial");
    while dial.process() == Status::Pending {
        watch(&mut dial);
    }
    assert_eq!(dial.process(), Status::Asking);
    drop(dial);
    assert_eq!(descriptors(), before);
}
