//! Servers that are slow, endless, silent in the middle of a session, or attack.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use mailport_lab::mta::Certificate;

use crate::middlebox::Middlebox;
use crate::{Probe, SUBMISSION, V4, lab};

/// Long after the probe has given up.
const LONG: Duration = Duration::from_mins(2);
/// A session has 30 s, and the machine may be busy.
const AT_MOST: Duration = Duration::from_secs(90);

/// Greets, offers STARTTLS and accepts it; `more` follows in the same segment.
fn accept_starttls(client: &mut TcpStream, more: &str) {
    say(client, "220 ready\r\n");
    hear(client);
    say(client, "250-mail.example\r\n250-AUTH PLAIN\r\n250 STARTTLS\r\n");
    hear(client);
    say(client, &format!("220 go ahead\r\n{more}"));
}

fn say(client: &mut TcpStream, text: &str) {
    let _ = client.write_all(text.as_bytes());
}

fn hear(client: &mut TcpStream) {
    let _ = client.read(&mut [0; 1024]);
}

/// Says a text as often as the client listens.
fn repeat(client: &mut TcpStream, text: &str, pause: Duration) {
    let end = Instant::now() + LONG;
    while Instant::now() < end && client.write_all(text.as_bytes()).is_ok() {
        thread::sleep(pause);
    }
}

/// What a server does, the plan, and where and how the session ends.
type Case<'a> = (fn(TcpStream), &'a str, &'a str, &'a str, &'a str);

fn each(cases: &[Case<'_>]) {
    thread::scope(|scope| {
        for &(answer, plan, stage, fault, words) in cases {
            scope.spawn(move || {
                let lab = lab();
                lab.release(V4, 587);
                let at = SocketAddr::new(V4, 587);
                let _server = lab.server(|| Middlebox::answer(at, answer));
                let folder = tempfile::tempdir().expect("a folder");
                let authority = Certificate::new(folder.path()).expect("an authority");
                let start = Instant::now();
                let probe = Probe::run(&lab, authority.authority(), plan);
                let took = start.elapsed();
                assert!(took < AT_MOST, "{took:?}: {probe}");
                probe.stops(stage, fault, words);
                probe.is_clean();
            });
        }
    });
}

#[test]
fn a_slow_or_endless_server_ends_at_the_limits_of_a_session() {
    each(&[
        // A byte a second, without an end.
        (
            |mut client| repeat(&mut client, "2", Duration::from_secs(1)),
            SUBMISSION,
            "connect",
            "silent",
            "the server sent no greeting within 30s: ",
        ),
        (
            |mut client| {
                say(&mut client, "220 ready\r\n");
                repeat(&mut client, "250-\u{1b}[2J\r\n", Duration::from_secs(1));
            },
            SUBMISSION,
            "greeting",
            "stalled",
            "the server stopped answering in the session: ",
        ),
        // Text without an end, at once.
        (
            |mut client| repeat(&mut client, &"220 x\u{1b}]0;".repeat(1000), Duration::ZERO),
            SUBMISSION,
            "connect",
            "not-smtp",
            "what answers is not SMTP (\"220 x\u{fffd}]0;220 x",
        ),
        // A greeting of a megabyte.
        (
            |mut client| {
                say(&mut client, &"220-\u{1b}[31mred\u{202e}\r\n".repeat(60_000));
                say(&mut client, "220 end\r\n");
                hear(&mut client);
            },
            SUBMISSION,
            "connect",
            "not-smtp",
            "(\"a reply of more than 100 lines\")",
        ),
        // 90 lines of the longest text, which are SMTP.
        (
            |mut client| {
                let line = format!("554-{}\u{202e}\u{1b}[2J\r\n", "x".repeat(150));
                say(&mut client, &(line.repeat(90) + "554 end\r\n"));
                hear(&mut client);
            },
            SUBMISSION,
            "connect",
            "rejected",
            "the server rejects this client (\"554 xxx",
        ),
    ]);
}

#[test]
fn a_handshake_that_hangs_or_meets_another_protocol_is_named() {
    each(&[
        // Nothing where the handshake should be, and after implicit TLS began.
        (
            |mut client| {
                accept_starttls(&mut client, "");
                thread::sleep(LONG);
            },
            SUBMISSION,
            "starttls",
            "handshake",
            "the TLS handshake fails (no answer within 30s): ",
        ),
        (
            |mut client| {
                hear(&mut client);
                thread::sleep(LONG);
            },
            "587:implicit",
            "connect",
            "handshake",
            "the TLS handshake fails (no answer within 30s): ",
        ),
        // A web server where TLS comes first.
        (
            |mut client| {
                hear(&mut client);
                say(&mut client, "HTTP/1.1 400 Bad Request\r\n\r\n");
                hear(&mut client);
            },
            "587:implicit",
            "connect",
            "handshake",
            "the TLS handshake fails (what the server sent is not TLS): ",
        ),
    ]);
}

#[test]
fn cleartext_after_the_reply_to_starttls_is_an_attack() {
    each(&[
        // Cleartext after the reply to STARTTLS: in the same segment, and later.
        (
            |mut client| {
                accept_starttls(&mut client, "250-mail.example\r\n250 AUTH LOGIN\r\n");
                hear(&mut client);
            },
            SUBMISSION,
            "starttls",
            "injected",
            "cleartext follows the reply to STARTTLS: ",
        ),
        (
            |mut client| {
                accept_starttls(&mut client, "");
                thread::sleep(Duration::from_millis(300));
                say(&mut client, "250-mail.example\r\n250 AUTH LOGIN\r\n");
                hear(&mut client);
                hear(&mut client);
            },
            SUBMISSION,
            "starttls",
            "injected",
            "cleartext follows the reply to STARTTLS: ",
        ),
    ]);
}

#[test]
fn a_server_may_shut_down_at_any_reply() {
    each(&[
        // 421 may be the reply to anything.
        (
            |mut client| {
                say(&mut client, "220 ready\r\n");
                hear(&mut client);
                say(&mut client, "421 4.3.2 shutting down\r\n");
                hear(&mut client);
            },
            SUBMISSION,
            "greeting",
            "rejected",
            "the server is not available now (\"421 4.3.2 shutting down\")",
        ),
    ]);
}
