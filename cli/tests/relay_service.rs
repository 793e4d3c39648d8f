//! A relay as a service: its log, its counters, its signals, its settings file.
#![allow(clippy::unwrap_used, reason = "what helps a test may fail like one")]

mod common;
mod relaying;

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use common::{Port, refused, silent};
use nix::sys::signal::Signal;
use relaying::{
    GREETING, MAILPORT, PATIENCE, Relay, client, echo, ending, fixed, free_port, line, rest, run,
    server, wait_for,
};

#[test]
fn a_log_that_nobody_reads_holds_up_neither_sessions_nor_the_end() {
    let (port, control) = (echo(), tempfile::tempdir().unwrap());
    let address = format!("127.0.0.1:{}", free_port());
    let mut child = Command::new(MAILPORT)
        .args(["relay", "--listen", &format!("{address}=127.0.0.1"), "--cache", "off"])
        .args(["--plan", &format!("{port}:starttls"), "--control"])
        .arg(control.path().join("control").join("relay.sock"))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The pipe stays open, and is not read.
    let unread = child.stderr.take().unwrap();
    wait_for("it listens", || TcpStream::connect(&address).is_ok());
    for _ in 0..1500 {
        assert_eq!(line(client(address.parse().unwrap())), GREETING);
    }
    let status = mailport_relay::ask_status(&control.path().join("control").join("relay.sock"));
    let status: mailport_relay::RelayStatus = serde_json::from_str(&status.unwrap()).unwrap();
    assert!(status.log_lost > 0, "{status}");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM)
        .unwrap();
    wait_for("it ends", || child.try_wait().unwrap().is_some());
    drop(unread);
}

#[test]
fn every_accepted_connection_has_one_end_and_one_line_with_a_reason() {
    let (off, port) = (refused(), echo());
    let plan = format!("{port}:starttls");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("relay.toml");
    let fixed = |port: u16| {
        format!(
            "[[listener]]\nmode = \"fixed\"\naddress = \"127.0.0.1:0\"\nserver = \"127.0.0.1\"\n\
             plan = \"{port}:starttls\"\n"
        )
    };
    let quiet = silent();
    let proxy = "[[listener]]\nmode = \"proxy\"\naddress = \"127.0.0.1:0\"\n";
    let text = fixed(port) + &fixed(off.port()) + &fixed(quiet.port()) + proxy;
    fs::write(&path, text).unwrap();
    let relay = Relay::start(&["--config", path.to_str().unwrap()]);
    let [on, off, silent, proxy] = relay.addresses[..] else { panic!("{}", relay.log()) };
    let mut stream = client(on);
    assert_eq!(line(&stream), GREETING);
    stream.write_all(b"QUIT\r\n").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    rest(&stream);
    rest(client(off));
    let leaves = client(silent);
    wait_for("it is dialled", || relay.status().dialling == 1);
    drop(leaves);
    let mut stream = client(proxy);
    stream.write_all(b"CONNECT 127.0.0.1:80 HTTP/1.1\r\n\r\n").unwrap();
    rest(&stream);
    let broken = client(on);
    assert_eq!(line(&broken), GREETING);
    socket2::SockRef::from(&broken).set_linger(Some(Duration::ZERO)).unwrap();
    drop(broken);
    let status = relay.quiet();
    assert_eq!((status.accepted, status.ends()), (5, 5), "{status:?}");
    assert_eq!((status.ended, status.failed, status.client_left, status.broken), (1, 1, 1, 1));
    assert_eq!(status.refused["port"], 1);
    let events = ["ended", "failed", "client_left", "refused", "broken"];
    let count = |event| relay.log().matches(&format!("\"event\":\"{event}\"")).count();
    wait_for("each is in the log", || events.iter().all(|event| count(event) == 1));
    let log = relay.log();
    let of = |event: &str| {
        let found = log.lines().find(|line| line.contains(&format!("\"event\":\"{event}\"")));
        serde_json::from_str::<serde_json::Value>(found.unwrap()).unwrap()
    };
    assert_eq!((&of("ended")["host"], &of("ended")["port"]), (&"127.0.0.1".into(), &port.into()));
    assert!(of("failed")["reason"].as_str().unwrap().contains("is refused"), "{log}");
    assert_eq!(of("refused")["port"], 80);
    assert!(of("broken")["reason"].as_str().unwrap().starts_with("the client: "), "{log}");
    drop(plan);
}

#[test]
fn a_client_that_closes_after_its_last_reply_has_ended() {
    let port = server(|mut stream| {
        let _ = stream.write_all(b"220 x\r\n");
        let _ = stream.read(&mut [0; 64]);
        thread::sleep(Duration::from_millis(100));
        // The client is not there any more.
        for _ in 0..20 {
            let _ = stream.write_all(b"221 bye\r\n");
            thread::sleep(Duration::from_millis(5));
        }
    });
    let relay = Relay::start(&fixed(&format!("{port}:starttls")));
    let mut stream = relay.connect();
    assert_eq!(line(&stream), "220 x\r\n");
    stream.write_all(b"QUIT\r\n").unwrap();
    drop(stream);
    let status = relay.quiet();
    assert_eq!((status.ended, status.broken), (1, 0), "{}", relay.log());
}

#[test]
fn a_reset_is_acted_on_at_once_while_the_other_side_takes_nothing() {
    // The server never reads.
    let port = server(|stream| {
        thread::sleep(PATIENCE * 4);
        drop(stream);
    });
    let relay = Relay::start(&fixed(&format!("{port}:starttls")));
    let stream = relay.connect();
    stream.set_nonblocking(true).unwrap();
    let block = vec![7; 65536];
    let mut full = 0;
    while full < 50 {
        let written = (&stream).write(&block).unwrap_or(0);
        full = if written > 0 { 0 } else { full + 1 };
        if written == 0 {
            thread::sleep(Duration::from_millis(2));
        }
    }
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
    assert_eq!(relay.quiet().broken, 1, "{}", relay.log());
}

#[test]
fn urgent_data_hides_nothing_that_comes_beside_it() {
    let port = server(|mut stream| {
        let _ = stream.write_all(b"220 x\r\n");
        let mut all = Vec::new();
        let _ = stream.read_to_end(&mut all);
        let _ = stream.write_all(format!("{}\r\n", all.len()).as_bytes());
    });
    let relay = Relay::start(&fixed(&format!("{port}:starttls")));
    let half = vec![7; 1 << 20];
    for _ in 0..6 {
        let mut stream = relay.connect();
        assert_eq!(line(&stream), "220 x\r\n");
        stream.write_all(&half).unwrap();
        socket2::SockRef::from(&stream).send_out_of_band(b"!").unwrap();
        stream.write_all(&half).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(line(&stream), format!("{}\r\n", 2 << 20), "all but the urgent byte");
    }
}

#[test]
fn a_cache_that_cannot_be_saved_is_logged_once() {
    let folder = tempfile::tempdir().unwrap();
    let occupied = folder.path().join("cache");
    fs::write(&occupied, "a file, where the directory of the cache would be").unwrap();
    let plan = format!("{}:starttls", echo());
    let relay = Relay::within(Command::new(MAILPORT), &fixed(&plan), folder);
    let count = || relay.log().matches("\"cache_not_saved\"").count();
    wait_for("it is logged", || {
        assert_eq!(line(relay.connect()), GREETING);
        count() > 0
    });
    // Twice as long as between two attempts to save, and between two looks at how that went.
    let until = Instant::now() + Duration::from_secs(4);
    while Instant::now() < until {
        assert_eq!(line(relay.connect()), GREETING);
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(count(), 1, "{}", relay.log());
}

#[test]
fn signals_that_mean_nothing_do_nothing() {
    let mut relay = Relay::start(&fixed(&format!("{}:starttls", echo())));
    for signal in [Signal::SIGUSR1, Signal::SIGUSR2] {
        relay.signal(signal);
        assert_eq!(line(relay.connect()), GREETING);
    }
    assert!(relay.is_running());
}

#[test]
fn a_reload_finds_the_file_behind_a_link_that_has_changed() {
    let (port, folder) = (echo(), tempfile::tempdir().unwrap());
    let at = |name: &str| folder.path().join("releases").join(name);
    let second = format!("127.0.0.1:{}", free_port());
    for (name, address) in [("one", "127.0.0.1:0"), ("two", &second)] {
        fs::create_dir_all(at(name)).unwrap();
        let text = format!(
            "[[listener]]\nmode = \"fixed\"\naddress = \"{address}\"\nserver = \"127.0.0.1\"\n\
             plan = \"{port}:starttls\"\n"
        );
        fs::write(at(name).join("relay.toml"), text).unwrap();
    }
    let current = folder.path().join("current");
    symlink(at("one"), &current).unwrap();
    let path = current.join("relay.toml");
    let relay = Relay::start(&["--config", path.to_str().unwrap()]);
    let next = folder.path().join("next");
    symlink(at("two"), &next).unwrap();
    fs::rename(&next, &current).unwrap();
    relay.signal(Signal::SIGHUP);
    wait_for("it has read the file", || relay.log().contains("\"reload"));
    assert!(relay.log().contains("\"reloaded\""), "{}", relay.log());
    assert_eq!(line(client(second.parse().unwrap())), GREETING);
}

#[test]
fn a_reload_opens_the_file_of_a_unix_socket_to_users_that_are_named_and_closes_it_again() {
    let folder = tempfile::tempdir().unwrap();
    let (path, socket) = (folder.path().join("relay.toml"), folder.path().join("smtp"));
    let write = |uids: &str| {
        let listener = format!(
            "[[listener]]\nmode = \"fixed\"\naddress = \"{}\"\nserver = \"127.0.0.1\"\n",
            socket.display()
        );
        fs::write(&path, format!("allow_uids = [{uids}]\n{listener}")).unwrap();
    };
    let mode = || fs::metadata(&socket).unwrap().mode() & 0o777;
    write("");
    let relay = Relay::start(&["--config", path.to_str().unwrap()]);
    assert_eq!(mode(), 0o600);
    for (uids, expected) in [("1000", 0o666), ("", 0o600)] {
        write(uids);
        relay.signal(Signal::SIGHUP);
        wait_for("the mode has changed", || mode() == expected);
    }
    assert!(!relay.log().contains("\"reload_failed\""), "{}", relay.log());
}

#[test]
fn a_reload_cannot_use_a_port_that_was_given_up() {
    let (port, folder) = (echo(), tempfile::tempdir().unwrap());
    let path = folder.path().join("relay.toml");
    let text = |port: u16| {
        format!(
            "[[listener]]\nmode = \"fixed\"\naddress = \"127.0.0.1:0\"\nserver = \"127.0.0.1\"\n\
             plan = \"{port}:starttls\"\n"
        )
    };
    fs::write(&path, text(port)).unwrap();
    let relay = Relay::start(&["--config", path.to_str().unwrap()]);
    fs::write(&path, text(1)).unwrap();
    relay.signal(Signal::SIGHUP);
    wait_for("it says why not", || relay.log().contains("\"reload_failed\""));
    assert!(relay.log().contains("port 1 needs a restart"), "{}", relay.log());
    assert_eq!(line(relay.connect()), GREETING);
}

#[test]
fn a_service_manager_is_notified_of_a_reload_and_of_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("relay.toml");
    fs::write(&path, "[[listener]]\nmode = \"proxy\"\naddress = \"127.0.0.1:0\"\n").unwrap();
    let notify = folder.path().join("notify");
    let manager = UnixDatagram::bind(&notify).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let next = || {
        let mut buffer = [0; 128];
        let count = manager.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..count]).trim().to_owned()
    };
    let mut command = Command::new(MAILPORT);
    command.env("NOTIFY_SOCKET", &notify);
    let mut relay = Relay::by(command, &["--config", path.to_str().unwrap()]);
    assert_eq!(next(), "READY=1");
    relay.signal(Signal::SIGHUP);
    let reloading = next();
    assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
    assert_eq!(next(), "READY=1");
    relay.signal(Signal::SIGTERM);
    assert_eq!(next(), "STOPPING=1");
    assert!(relay.end().success());
}

#[test]
fn metrics_are_in_the_format_of_openmetrics() {
    let relay = Relay::start(&fixed(&format!("{}:starttls", echo())));
    let stream = relay.connect();
    assert_eq!(line(&stream), GREETING);
    let control = relay.control();
    let (status, words, _) =
        run(&["relay", "status", "--openmetrics", "--control", control.to_str().unwrap()]);
    assert!(status.success() && words.ends_with("# EOF\n"), "{words}");
    for part in ["mailport_relay_accepted_total 1\n", "mailport_relay_dial_seconds_count 1\n"] {
        assert!(words.contains(part), "{part}: {words}");
    }
}

#[test]
fn a_session_that_is_idle_is_reset_on_both_sides() {
    let (give, ends) = std::sync::mpsc::channel();
    let port = server(move |mut stream| {
        let _ = stream.write_all(b"220 x\r\n");
        let _ = give.send(ending(&stream));
    });
    let relay = Relay::start(
        &[&fixed(&format!("{port}:starttls"))[..], &["--idle-timeout", "300ms"]].concat(),
    );
    let mut stream = relay.connect();
    assert_eq!(line(&stream), "220 x\r\n");
    stream.write_all(b"DATA\r\nhalf a mess").unwrap();
    assert_eq!(ending(&stream), Err(ErrorKind::ConnectionReset));
    let at_server = ends.recv_timeout(PATIENCE).unwrap();
    assert_eq!(at_server, Err(ErrorKind::ConnectionReset), "not like the end of a message");
}
