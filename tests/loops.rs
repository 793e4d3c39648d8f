//! A dial in every kind of loop that can watch a descriptor.
#![allow(unsafe_code, reason = "nix's epoll wants a borrowed descriptor")]

mod common;

use std::net::{Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

use common::{Port, first_outcomes, hasty, open, plan, refused, resolver, silent};
use mailport::{Config, Dial, Dialer, Outcome, Plan, Resolver, Status, Target};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

struct Course {
    dialer: Dialer,
    plan: Plan,
    target: Target,
    open: TcpListener,
    _others: (common::Silent, socket2::Socket),
}

/// A name that is answered late; then a silent port, a refused one, an open one.
fn course() -> Course {
    let (silent, refused, open) = (silent(), refused(), open());
    Course {
        dialer: Dialer::default().with_resolver(resolver(Duration::from_millis(3))),
        plan: plan(&[silent.port(), refused.port(), open.port()]),
        target: "mail.example".parse().expect("a host"),
        open,
        _others: (silent, refused),
    }
}

impl Course {
    fn start(&self) -> Dial {
        self.dialer
            .clone()
            .with_plan(self.plan.clone())
            .with_config(hasty())
            .start(&self.target)
            .expect("a dial")
    }

    fn check(&self, dial: &mut Dial) {
        let connected = dial.take().expect("connected");
        assert_eq!(connected.service.port(), self.open.port());
        let outcomes = first_outcomes(&connected.report);
        assert_eq!(outcomes, [Outcome::Timeout, Outcome::Reset, Outcome::Connected]);
    }
}

fn descriptor(dial: &mut Dial) -> BorrowedFd<'_> {
    dial.descriptor().expect("a descriptor")
}

/// Drives dials in one epoll loop and says how many wake-ups that took.
fn epoll(dials: &mut [Dial], flags: EpollFlags) -> usize {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).expect("an epoll");
    for (number, dial) in dials.iter_mut().enumerate() {
        let event = EpollEvent::new(EpollFlags::EPOLLIN | flags, number as u64);
        epoll.add(descriptor(dial), event).expect("a watch");
    }
    let mut pending = dials.len();
    let mut wakes = 0;
    let mut events = [EpollEvent::empty(); 64];
    while pending > 0 {
        let count = epoll.wait(&mut events, EpollTimeout::from(20_000u16)).expect("events");
        assert!(count > 0, "{pending} dials fell asleep");
        wakes += count;
        for event in &events[..count] {
            let number = usize::try_from(event.data()).expect("a number of ours");
            if dials[number].process() != Status::Pending {
                epoll.delete(descriptor(&mut dials[number])).expect("a watch to end");
                pending -= 1;
            }
        }
    }
    wakes
}

#[test]
fn an_edge_triggered_loop_loses_nothing() {
    let course = course();
    for _ in 0..20 {
        let mut dials = [course.start()];
        let wakes = epoll(&mut dials, EpollFlags::EPOLLET);
        course.check(&mut dials[0]);
        assert!(wakes < 40, "{wakes} wake-ups for one dial");
    }
}

#[test]
fn a_level_triggered_loop_does_not_spin() {
    let course = course();
    let mut dials = [course.start()];
    let wakes = epoll(&mut dials, EpollFlags::empty());
    course.check(&mut dials[0]);
    assert!(wakes < 40, "{wakes} wake-ups for one dial");
}

#[test]
fn a_dial_whose_descriptor_is_made_late_can_be_watched_from_then_on() {
    let course = course();
    let mut dial = course
        .dialer
        .clone()
        .with_plan(course.plan.clone())
        .with_config(hasty())
        .start(&course.target)
        .expect("a dial");
    assert_eq!(dial.process(), Status::Pending);
    let mut dials = [dial];
    epoll(&mut dials, EpollFlags::EPOLLET);
    course.check(&mut dials[0]);
}

#[test]
fn a_loop_that_knows_only_timers_comes_late_but_ends() {
    let course = course();
    let mut dial = course.start();
    while dial.process() == Status::Pending {
        let nap = dial.poll_timeout().expect("a time").min(Duration::from_millis(20));
        std::thread::sleep(nap);
    }
    course.check(&mut dial);
}

#[test]
fn a_hundred_dials_by_name_share_one_thread_and_one_loop() {
    let course = course();
    let mut dials: Vec<Dial> = (0..100).map(|_| course.start()).collect();
    epoll(&mut dials, EpollFlags::EPOLLET);
    for dial in &mut dials {
        course.check(dial);
    }
}

#[test]
fn a_dial_may_move_between_threads() {
    let course = course();
    let mut dial = course.start();
    while dial.process() == Status::Pending {
        common::wait_readable(dial.descriptor().unwrap().as_raw_fd());
        dial = std::thread::spawn(move || {
            dial.process();
            dial
        })
        .join()
        .expect("a thread that does not panic");
    }
    course.check(&mut dial);
}

#[test]
fn a_sinkhole_and_a_thousand_addresses_cost_no_time() {
    let refused = refused();
    let many = Resolver::custom(|_| {
        let v4 = (0..1000u16).map(|n| SocketAddr::from(([127, 0, 1, (n % 250) as u8], 0)));
        Ok([(Ipv6Addr::UNSPECIFIED, 0).into()].into_iter().chain(v4).collect())
    });
    let sinkhole = Resolver::custom(|_| Ok(vec![(Ipv6Addr::UNSPECIFIED, 0).into()]));
    let start = Instant::now();
    let plan = plan(&[refused.port()]);
    let dial = |resolver| {
        let dialer = Dialer::default().with_resolver(resolver).with_plan(plan.clone());
        dialer.connect("mail.example").expect_err("nothing answers")
    };
    let error = dial(many);
    let report = error.report().expect("a report");
    assert_eq!(report.attempts.len(), 32, "the best addresses of a family");
    assert!(dial(sinkhole).to_string().contains("no address of a host, only ::"));
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[test]
fn the_winner_over_ipv6_carries_no_option_of_ours() {
    let listener =
        TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).expect("this test needs ::1 on loopback");
    let connected = Dialer::new()
        .with_plan(plan(&[listener.port()]))
        .with_config(Config::default())
        .connect("::1");
    let socket = connected.expect("connected").stream;
    let queues = nix::sys::socket::getsockopt(&socket, nix::sys::socket::sockopt::Ipv6RecvErr);
    assert_eq!(queues, Ok(false));
}
