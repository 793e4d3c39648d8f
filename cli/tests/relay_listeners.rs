//! The listeners of a relay: proxies, UNIX sockets, other mail ports, and what each may have of its
//! own.
#![allow(clippy::unwrap_used, reason = "what helps a test may fail like one")]

mod common;
mod relaying;

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use common::{Port, refused, silent};
use nix::sys::signal::Signal;
use relaying::{GREETING, PATIENCE, Relay, client, echo, fixed, line, rest, run, wait_for};

/// A relay whose proxy leads to this port.
fn proxy(port: u16) -> Relay {
    Relay::start(&["--listen-proxy", "127.0.0.1:0", "--ports", &port.to_string()])
}

/// The connection of a client after this request.
fn asked(relay: &Relay, request: &[u8]) -> TcpStream {
    let mut stream = relay.connect();
    stream.write_all(request).unwrap();
    stream
}

fn head(stream: &TcpStream) -> String {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        let line = line(stream);
        assert!(!line.is_empty(), "the response ends in its header: {head}");
        head.push_str(&line);
    }
    head
}

#[test]
fn http_connect_takes_names_and_addresses() {
    let port = echo();
    let relay = proxy(port);
    for host in ["localhost", "127.0.0.1"] {
        let request = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n");
        let mut stream = asked(&relay, request.as_bytes());
        assert_eq!(head(&stream), "HTTP/1.1 200 Connection established\r\n\r\n");
        assert_eq!(line(&stream), GREETING);
        stream.write_all(b"NOOP\r\n").unwrap();
        assert_eq!(line(&stream), "NOOP\r\n");
    }
}

#[test]
fn http_connect_names_the_error() {
    let off = refused();
    let relay = proxy(off.port());
    for (request, status, part) in [
        (format!("CONNECT 127.0.0.1:{} HTTP/1.1\r\n\r\n", off.port()), "502", "is refused"),
        ("CONNECT 127.0.0.1:80 HTTP/1.1\r\n\r\n".to_owned(), "403", "port is not allowed"),
        ("POST / HTTP/1.1\r\n\r\n".to_owned(), "405", "only CONNECT"),
        (format!("CONNECT x:25 HTTP/1.1\r\nX: {}", "y".repeat(9000)), "431", "8 KiB"),
    ] {
        let answer = String::from_utf8(rest(asked(&relay, request.as_bytes()))).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(body.starts_with("mailport: ") && body.contains(part), "{answer}");
    }
}

#[test]
fn a_greeting_follows_the_reply_of_a_proxy_in_a_segment_of_its_own() {
    let port = echo();
    let relay = proxy(port);
    let [high, low] = port.to_be_bytes();
    let socks = [5, 1, 0, 5, 1, 0, 1, 127, 0, 0, 1, high, low];
    let http = format!("CONNECT 127.0.0.1:{port} HTTP/1.1\r\n\r\n");
    for (request, reply) in [(&socks[..], 12), (http.as_bytes(), 39)] {
        // A machine may be so busy that the client runs late.
        for pause in [0, 300] {
            let mut stream = asked(&relay, request);
            thread::sleep(Duration::from_millis(pause));
            let (mut buffer, mut got) = ([0; 512], 0);
            while got < reply {
                got += stream.read(&mut buffer[got..]).unwrap();
            }
            assert_eq!(got, reply, "the greeting has come with the reply");
            assert_eq!(line(&stream), GREETING);
        }
    }
}

#[test]
fn what_a_client_sends_right_after_its_request_reaches_the_server() {
    let port = echo();
    let relay = proxy(port);
    let request = format!("CONNECT 127.0.0.1:{port} HTTP/1.1\r\n\r\nEHLO early\r\n");
    let stream = asked(&relay, request.as_bytes());
    head(&stream);
    assert_eq!((line(&stream), line(&stream)), (GREETING.into(), "EHLO early\r\n".into()));
}

#[test]
fn a_unix_socket_is_for_its_owner_and_passes_like_any_listener() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("smtp");
    let listen = format!("{}=127.0.0.1", path.display());
    let mut relay = Relay::start(&["--listen", &listen, "--plan", &format!("{}:starttls", echo())]);
    let metadata = fs::metadata(&path).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.mode() & 0o777, 0o600);
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(line(&stream), GREETING);
    stream.write_all(b"DATA").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&stream), b"DATA");
    assert_eq!(relay.quiet().ended, 1);
    let user = format!("\"client\":\"uid:{}\"", nix::unistd::geteuid());
    wait_for("the user is in the log", || relay.log().contains(&user));
    relay.signal(Signal::SIGTERM);
    assert!(relay.end().success() && !path.exists(), "the socket is removed at the end");
}

#[test]
fn a_client_that_reads_mail_never_receives_smtp() {
    // No server listens at that address.
    for plan in ["143:starttls", "110:starttls", "993:implicit", "4190:starttls"] {
        let relay = Relay::start(&["--listen", "127.0.0.1:0=127.0.0.99", "--plan", plan]);
        assert_eq!(rest(relay.connect()), b"", "{plan}");
        assert_eq!(relay.quiet().failed, 1, "{plan}");
    }
}

#[test]
fn a_listener_may_dial_through_a_proxy() {
    let port = echo();
    let (outer, plan) = (proxy(port), format!("{port}:starttls"));
    let via = format!("socks5://{}", outer.addresses[0]);
    let relay = Relay::start(&[&fixed(&plan)[..], &["--via", &via]].concat());
    let stream = relay.connect();
    assert_eq!(line(&stream), GREETING);
    assert_eq!((relay.status().joined, outer.status().joined), (1, 1));
}

#[test]
fn each_listener_has_the_settings_that_the_file_gives_it() {
    let (off, on, folder) = (silent(), echo(), tempfile::tempdir().unwrap());
    let path = folder.path().join("relay.toml");
    let listener = |more: &str| {
        format!(
            "[[listener]]\nmode = \"fixed\"\naddress = \"127.0.0.1:0\"\nserver = \"127.0.0.1\"\n\
             plan = \"{}:starttls,{on}:starttls\"\n{more}\n",
            off.port()
        )
    };
    let slow = listener("patience = \"20s\"\nport_delay = \"20s\"");
    let fast = listener("patience = \"50ms\"\nport_delay = \"50ms\"\nattempt_delay = \"20ms\"");
    fs::write(&path, slow + &fast).unwrap();
    let relay = Relay::start(&["--config", path.to_str().unwrap(), "--drain-timeout", "1s"][..2]);
    let slow = client(relay.addresses[0]);
    assert_eq!(line(client(relay.addresses[1])), GREETING);
    slow.set_nonblocking(true).unwrap();
    assert!((&slow).read(&mut [0]).is_err(), "it still waits for the first service");
}

#[test]
fn the_settings_can_be_checked_without_a_relay() {
    let (folder, port) = (tempfile::tempdir().unwrap(), echo());
    let path = folder.path().join("relay.toml");
    let text = format!(
        "[[listener]]\nmode = \"fixed\"\naddress = \"127.0.0.1:{port}\"\nserver = \"x.example\"\n"
    );
    fs::write(&path, &text).unwrap();
    let check = || run(&["relay", "--check", "--config", path.to_str().unwrap()]);
    let (status, words, _) = check();
    assert!(status.success() && words == "ok\n", "{words}");
    fs::write(&path, text + "colour = \"red\"\n").unwrap();
    let (status, _, words) = check();
    assert!(status.code() == Some(2) && words.contains("colour"), "{words}");
}

#[test]
fn a_pac_file_names_the_proxy() {
    let (status, words, _) = run(&["relay", "pac", "--proxy", "[::1]:1081"]);
    assert!(status.success() && words.contains("SOCKS5 [::1]:1081; DIRECT"), "{words}");
}
