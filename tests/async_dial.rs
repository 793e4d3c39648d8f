//! Dials awaited in tokio (feature `tokio`).
#![expect(clippy::unwrap_used, reason = "a test that cannot set its scene has failed")]

mod common;

use std::io;
use std::thread;
use std::time::Duration;

use common::{Port, first_outcomes, hasty, open, plan, refused, resolver, silent};
use mailport::{Answer, Config, ConnectError, Dialer, GreetingWait, Outcome, Status, Stream};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

const HOST: &str = "127.0.0.1";
/// Time enough for anything on loopback.
const LONG: Duration = Duration::from_secs(60);

/// A server that says its greeting to every client, and keeps the connections.
fn greeting_server(greeting: &'static [u8]) -> u16 {
    let listener = open();
    let port = listener.port();
    thread::spawn(move || {
        let mut kept = Vec::new();
        for stream in listener.incoming() {
            use std::io::Write as _;
            let mut stream = stream.unwrap();
            let _ = stream.write_all(greeting);
            kept.push(stream);
        }
    });
    port
}

fn dialer(ports: &[u16], config: Config) -> Dialer {
    Dialer::new().with_plan(plan(ports)).with_config(config)
}

#[tokio::test]
async fn a_dial_falls_back_and_gives_a_stream_that_tokio_reads() {
    let (silent, refused) = (silent(), refused());
    let port = greeting_server(b"220 ready\r\n");
    let dialer = dialer(&[silent.port(), refused.port(), port], hasty())
        .with_resolver(resolver(Duration::from_millis(3)));
    let connected = dialer.connect_async("mail.example").await.unwrap();
    assert_eq!(connected.service.port(), port);
    let outcomes = first_outcomes(&connected.report);
    assert_eq!(outcomes, [Outcome::Timeout, Outcome::Reset, Outcome::Connected]);
    let mut stream = TcpStream::try_from(connected.stream).unwrap();
    let mut greeting = [0; 11];
    timeout(LONG, stream.read_exact(&mut greeting)).await.unwrap().unwrap();
    assert_eq!(&greeting, b"220 ready\r\n");
}

#[tokio::test]
async fn what_fails_is_an_error_with_its_report() {
    let refused = refused();
    let error = dialer(&[refused.port()], hasty()).connect_async(HOST).await.unwrap_err();
    assert_eq!(error.report().unwrap().attempts[0].outcome, Some(Outcome::Reset));
    let error = Dialer::new().connect_async("no host").await.unwrap_err();
    assert!(matches!(error, ConnectError::Target(_)), "{error}");
}

#[tokio::test]
async fn a_dropped_future_leaves_the_dial_as_it_was() {
    let (silent, open) = (silent(), open());
    let mut config = hasty();
    config.port_delay = Duration::from_millis(100);
    let mut dial = dialer(&[silent.port(), open.port()], config).start(HOST).unwrap();
    let mut dropped = 0;
    let status = loop {
        match timeout(Duration::from_millis(1), dial.wait_async()).await {
            Ok(status) => break status.unwrap(),
            Err(_) => dropped += 1,
        }
    };
    assert!(dropped > 0, "the dial took 100 ms");
    assert_eq!(status, Status::Connected);
    assert_eq!(dial.take().unwrap().service.port(), open.port());
    assert_eq!(dial.wait_async().await.unwrap(), Status::Connected, "it stays so");
}

#[tokio::test]
async fn dropping_the_future_of_a_whole_dial_closes_its_connection() {
    let listener = open();
    let mut config = hasty();
    config.greeting_wait = GreetingWait::For(Duration::from_secs(20));
    let dialer = dialer(&[listener.port()], config);
    listener.set_nonblocking(true).unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    let mut server = tokio::select! {
        result = dialer.connect_async(HOST) => panic!("connected without a greeting: {result:?}"),
        accepted = listener.accept() => accepted.unwrap().0,
    };
    // The future is gone.
    let read = timeout(LONG, server.read(&mut [0])).await.expect("the client closes");
    assert!(matches!(read, Ok(0)) || read.is_err(), "{read:?}");
}

#[tokio::test]
async fn a_question_is_answered_between_two_waits() {
    let (refused, open) = (refused(), open());
    let mut config = hasty();
    config.ask = true;
    let asks = dialer(&[refused.port(), open.port()], config);
    let error = asks.connect_async(HOST).await.unwrap_err();
    assert!(error.to_string().contains("cannot ask"), "{error}");

    let mut dial = asks.start(HOST).unwrap();
    assert_eq!(dial.wait_async().await.unwrap(), Status::Asking);
    // The same question is not given again.
    timeout(Duration::from_millis(50), dial.wait_async()).await.expect_err("it waits");
    let question = dial.question().unwrap().number;
    dial.answer(question, Answer::FallBack).unwrap();
    assert_eq!(timeout(LONG, dial.wait_async()).await.unwrap().unwrap(), Status::Connected);
    assert_eq!(dial.take().unwrap().service.port(), open.port());
}

#[tokio::test]
async fn each_kind_of_stream_becomes_tokio_s() {
    let pair = || std::os::unix::net::UnixStream::pair().unwrap();
    let (ours, theirs) = pair();
    let mut theirs = UnixStream::try_from(Stream::from(theirs)).unwrap();
    io::Write::write_all(&mut &ours, b"x").unwrap();
    assert_eq!(timeout(LONG, theirs.read_u8()).await.unwrap().unwrap(), b'x');

    let error = TcpStream::try_from(Stream::from(pair().0)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::Unsupported);
    let listener = open();
    let tcp = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let error = UnixStream::try_from(Stream::from(tcp)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::Unsupported);
}

/// Twelve descriptors for each dial, which has less, and its server.
const DIALS: usize = 1000;
const NEEDED: libc::rlim_t = 12_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_dials_run_at_once_on_two_threads() {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    assert!(hard >= NEEDED, "this test needs a hard limit of {NEEDED} descriptors: ulimit -Hn");
    setrlimit(Resource::RLIMIT_NOFILE, soft.max(NEEDED), hard).unwrap();
    let (refused, listener) = (refused(), open());
    let port = listener.port();
    // Room for all: the kernel forgets connections that come while the backlog is full.
    SockRef::from(&listener).listen(2 * i32::try_from(DIALS).unwrap()).unwrap();
    listener.set_nonblocking(true).unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    // No greeting before every dial has connected: all of them are under way at the same time.
    let server = tokio::spawn(async move {
        let mut streams = Vec::new();
        while streams.len() < DIALS {
            streams.push(listener.accept().await.unwrap().0);
        }
        for stream in &mut streams {
            stream.write_all(b"220 ready\r\n").await?;
        }
        io::Result::Ok(streams)
    });
    let mut config = Config::default();
    config.greeting_wait = GreetingWait::For(LONG);
    config.timeout = LONG;
    let dialer = dialer(&[refused.port(), port], config).with_resolver(resolver(Duration::ZERO));
    let mut dials = JoinSet::new();
    for _ in 0..DIALS {
        let dialer = dialer.clone();
        dials.spawn(async move { dialer.connect_async("mail.example").await });
    }
    let mut connected = Vec::new();
    while let Some(result) = dials.join_next().await {
        let result = result.unwrap().unwrap();
        assert_eq!(result.service.port(), port);
        connected.push(result);
    }
    assert_eq!(connected.len(), DIALS);
    assert_eq!(server.await.unwrap().unwrap().len(), DIALS);
}
