//! The greeting wait on real sockets: a connection counts when its server speaks, or pauses.
#![expect(clippy::unwrap_used, reason = "a test that cannot set its scene has failed")]

mod common;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::thread;
use std::time::Duration;

use common::{Port, hasty, open, plan, refused};
use mailport::report::Greeting;
use mailport::{
    Cleartext, Config, Connected, Dialer, GreetingWait, Outcome, Plan, Service, Status, Target, Tls,
};

fn here() -> Target {
    "127.0.0.1".parse().unwrap()
}

fn waits_for_greeting(time: Duration) -> Config {
    let mut config = hasty();
    config.greeting_wait = GreetingWait::For(time);
    config
}

/// Time enough for anything on loopback.
const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(50);

/// A server that says this to everybody, keeps the connection if so wished, and counts nothing.
fn server(words: &'static [u8], keeps: bool) -> (u16, thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.port();
    let serve = move || {
        let mut kept = Vec::new();
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let _ = connection.write_all(words);
            if keeps {
                kept.push(connection);
            }
        }
    };
    (port, thread::spawn(serve))
}

fn dial(ports: &[u16], config: &Config) -> Connected {
    Dialer::default().with_plan(plan(ports)).with_config(config.clone()).connect(here()).unwrap()
}

fn outcomes(connected: &Connected) -> Vec<Outcome> {
    connected.report.attempts.iter().filter_map(|attempt| attempt.outcome).collect()
}

#[test]
fn the_first_byte_opens_the_greeting_wait_and_stays_in_the_socket() {
    let (port, _) = server(b"220 ready\r\n", true);
    let connected = dial(&[port], &waits_for_greeting(LONG));
    assert_eq!(connected.report.attempts[0].greeting, Some(Greeting::Received));
    let mut greeting = [0; 11];
    (&connected.stream).read_exact(&mut greeting).unwrap();
    assert_eq!(&greeting, b"220 ready\r\n");
}

#[test]
fn a_close_before_the_first_byte_leads_to_the_next_service() {
    let (closing, _) = server(b"", false);
    let (open, _) = server(b"220 ", true);
    let connected = dial(&[closing, open], &waits_for_greeting(LONG));
    assert_eq!(outcomes(&connected), [Outcome::Closed, Outcome::Connected]);
    let reported = format!("{closing} closed the connection; connected to {open} over IPv4 in ");
    assert!(connected.report.summary().starts_with(&reported), "{}", connected.report.summary());
}

#[test]
fn a_close_long_after_the_connect_is_one_too() {
    let listener = open();
    let closing = listener.port();
    let (open, _) = server(b"220 ", true);
    let mut dial = Dialer::default()
        .with_plan(plan(&[closing, open]))
        .with_config(waits_for_greeting(LONG))
        .start(here())
        .unwrap();
    assert_eq!(dial.process(), Status::Pending);
    let accepted = listener.accept().unwrap().0;
    while dial.report().attempts[0].stage == mailport::report::Stage::Connect {
        common::wait_readable(dial.descriptor().unwrap().as_raw_fd());
        assert_eq!(dial.process(), Status::Pending);
    }
    assert_eq!(dial.report().attempts.len(), 1, "one after the other");
    socket2::SockRef::from(&accepted).set_linger(Some(Duration::ZERO)).unwrap();
    drop(accepted);
    while dial.process() == Status::Pending {
        common::wait_readable(dial.descriptor().unwrap().as_raw_fd());
    }
    assert_eq!(outcomes(&dial.take().unwrap()), [Outcome::Closed, Outcome::Connected]);
}

#[test]
fn a_server_that_greets_and_closes_has_greeted() {
    let (port, _) = server(b"421 busy\r\n", false);
    let connected = dial(&[port], &waits_for_greeting(LONG));
    let mut all = String::new();
    (&connected.stream).read_to_string(&mut all).unwrap();
    assert_eq!(all, "421 busy\r\n");
}

#[test]
fn silence_for_the_greeting_waits_time_is_a_success_and_marked() {
    let (silent, next) = (open(), open());
    let connected = dial(&[silent.port(), next.port()], &waits_for_greeting(SHORT));
    assert_eq!(connected.service.port(), silent.port());
    assert_eq!(connected.report.attempts[0].greeting, Some(Greeting::Absent));
    assert!(connected.report.elapsed >= SHORT);
    next.set_nonblocking(true).unwrap();
    assert!(next.accept().is_err(), "nothing went to the next service");
}

#[test]
fn a_greeting_after_a_pause_is_waited_for_on_one_connection() {
    let listener = open();
    let port = listener.port();
    let served = thread::spawn(move || {
        let mut connection = listener.accept().unwrap().0;
        thread::sleep(Duration::from_millis(100));
        connection.write_all(b"220 ").unwrap();
        listener.set_nonblocking(true).unwrap();
        (connection, listener.accept().is_err())
    });
    let connected = dial(&[port], &waits_for_greeting(LONG));
    assert_eq!(connected.report.attempts[0].greeting, Some(Greeting::Received));
    assert!(served.join().unwrap().1, "one connection only");
}

#[test]
fn without_a_greeting_wait_nobody_waits_for_a_greeting() {
    let silent = open();
    for greeting_wait in [GreetingWait::Automatic, GreetingWait::Off] {
        let mut config = hasty();
        config.greeting_wait = greeting_wait;
        assert_eq!(dial(&[silent.port()], &config).report.attempts[0].greeting, None);
    }
}

#[test]
fn implicit_tls_has_no_greeting_to_wait_for() {
    let silent = open();
    let service = Service::new(silent.port(), Tls::Implicit).unwrap();
    let plan = Plan::new([service], Cleartext::Refuse).unwrap();
    let connected = Dialer::default()
        .with_plan(plan.clone())
        .with_config(waits_for_greeting(LONG))
        .connect(here())
        .unwrap();
    assert_eq!(connected.report.attempts[0].greeting, None);
}

#[test]
fn a_refusal_is_no_matter_of_the_greeting_wait() {
    let closed = refused();
    let (open, _) = server(b"220 ", true);
    let connected = dial(&[closed.port(), open], &waits_for_greeting(LONG));
    assert_eq!(outcomes(&connected), [Outcome::Reset, Outcome::Connected]);
    let stream = connected.stream.into_tcp().unwrap();
    assert_eq!(stream.peer_addr().unwrap().port(), open);
}
