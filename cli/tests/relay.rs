//! What `mailport relay` promises, on loopback.
#![allow(clippy::unwrap_used, reason = "what helps a test may fail like one")]

mod common;
mod relaying;

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use common::{Port, refused, silent};
use nix::sys::signal::Signal;
use relaying::{
    GREETING, MAILPORT, PATIENCE, Relay, client, echo, ending, fixed, free_port, line, message,
    rest, run, server, wait_for,
};

// ---- ways in -------------------------------------------------------------------------------------

#[test]
fn a_fixed_listener_falls_back_and_passes_every_byte() {
    let (off, on) = (refused(), echo());
    let relay = Relay::start(&fixed(&format!("{}:starttls,{on}:starttls", off.port())));
    let mut stream = relay.connect();
    assert_eq!(line(&stream), GREETING);
    stream.write_all(b"EHLO client\r\n\0\xff").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&stream), b"EHLO client\r\n\0\xff", "and the end is passed on");
    let status = relay.quiet();
    assert_eq!((status.ended, status.sent), (1, 15));
    assert_eq!(status.received, 15 + GREETING.len() as u64);
    assert_eq!(status.services[&format!("{on}:starttls")], 1);
    assert_eq!(status.outcomes["reset"], 1, "the first service was refused");
    assert!(!relay.log().contains("EHLO"), "nothing of the content is logged");
}

#[test]
fn a_silent_service_is_waited_for_as_in_any_dial() {
    let (off, on) = (silent(), echo());
    let relay = Relay::start(&fixed(&format!("{}:starttls,{on}:starttls", off.port())));
    assert_eq!(line(relay.connect()), GREETING);
    assert_eq!(relay.status().outcomes["timeout"], 1);
}

#[test]
fn what_a_dial_has_found_out_is_saved_although_the_file_system_is_given_up() {
    let (off, on) = (refused(), echo());
    let relay = Relay::start(&fixed(&format!("{}:starttls,{on}:starttls", off.port())));
    assert_eq!(line(relay.connect()), GREETING);
    let cache = relay.path().join("cache").join("cache.json");
    let named = format!("{}:starttls", off.port());
    wait_for("the refusal is in the file", || {
        let list = Command::new(MAILPORT).args(["cache", "list", "--cache"]).arg(&cache).output();
        String::from_utf8(list.unwrap().stdout).unwrap().contains(&named)
    });
}

#[test]
fn a_server_that_pauses_before_it_greets_is_left_to_pause() {
    let port = server(|mut stream| {
        thread::sleep(Duration::from_millis(700));
        let _ = stream.write_all(b"220 at last\r\n");
    });
    let relay = Relay::start(&fixed(&format!("{port}:starttls")));
    assert_eq!(line(relay.connect()), "220 at last\r\n");
}

/// What a SOCKS server answers to a request, and the connection.
fn socks(address: SocketAddr, request: &[u8]) -> (Vec<u8>, TcpStream) {
    let mut stream = client(address);
    stream.write_all(b"\x05\x01\0").unwrap();
    let mut method = [0; 2];
    stream.read_exact(&mut method).unwrap();
    assert_eq!(method, [5, 0]);
    stream.write_all(request).unwrap();
    let mut reply = vec![0; 10];
    stream.read_exact(&mut reply).unwrap();
    (reply, stream)
}

fn by_name(name: &str, port: u16) -> Vec<u8> {
    let length = u8::try_from(name.len()).unwrap();
    [b"\x05\x01\0\x03", &[length][..], name.as_bytes(), &port.to_be_bytes()].concat()
}

fn by_address(port: u16) -> Vec<u8> {
    [&b"\x05\x01\0\x01\x7f\0\0\x01"[..], &port.to_be_bytes()].concat()
}

fn socks_relay(ports: &[u16]) -> Relay {
    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
    Relay::start(&["--listen-proxy", "127.0.0.1:0", "--ports", &ports.join(",")])
}

#[test]
fn socks_takes_names_and_addresses() {
    let port = echo();
    let relay = socks_relay(&[port]);
    for request in [by_name("localhost", port), by_address(port)] {
        let (reply, mut stream) = socks(relay.addresses[0], &request);
        assert_eq!(reply[..2], [5, 0]);
        assert_eq!(line(&stream), GREETING);
        stream.write_all(b"NOOP\r\n").unwrap();
        assert_eq!(line(&stream), "NOOP\r\n");
    }
}

#[test]
fn socks_says_why_not() {
    let off = refused();
    let relay = socks_relay(&[off.port()]);
    let code = |request: &[u8]| socks(relay.addresses[0], request).0[1];
    assert_eq!(code(&by_address(off.port())), 5, "refused");
    assert_eq!(code(&by_name("no-such-name.invalid", off.port())), 4, "no such name");
    assert_eq!(code(b"\x05\x02\0\x01\x7f\0\0\x01\0\x19"), 7, "BIND");
    assert_eq!(code(b"\x05\x03\0\x01\x7f\0\0\x01\0\x19"), 7, "UDP ASSOCIATE");
    assert_eq!(code(b"\x05\x01\0\x02\x7f\0\0\x01\0\x19"), 8, "no kind of address");
}

// ---- what it refuses -----------------------------------------------------------------------------

#[test]
fn a_failed_dial_gives_a_client_one_line_to_show() {
    let off = refused();
    let relay = Relay::start(&fixed(&format!("{}:starttls", off.port())));
    let words = String::from_utf8(rest(relay.connect())).unwrap();
    assert!(
        words.starts_with("421 4.4.1 mailport: 127.0.0.1: ") && words.contains("is refused"),
        "{words}"
    );
    assert!(words.ends_with("\r\n") && words.lines().count() == 1 && words.len() < 512, "{words}");
    wait_for("it is logged", || relay.log().contains("\"event\":\"failed\""));
}

#[test]
fn where_tls_comes_first_a_failed_dial_is_a_plain_close() {
    let off = refused();
    let relay = Relay::start(&fixed(&format!("{}:implicit", off.port())));
    assert_eq!(rest(relay.connect()), b"");
}

#[test]
fn socks_leads_to_ports_of_mail_only() {
    let port = echo();
    let relay = Relay::start(&["--listen-proxy", "127.0.0.1:0"]);
    assert_eq!(socks(relay.addresses[0], &by_address(port)).0[1], 2);
    assert_eq!(socks(relay.addresses[0], &by_name("localhost", 80)).0[1], 2);
    let status = relay.quiet();
    assert_eq!((status.refused["port"], status.services.len()), (2, 0));
}

#[test]
fn a_client_that_does_not_speak_a_proxys_protocol_is_refused() {
    let relay = Relay::start(&["--listen-proxy", "127.0.0.1:0"]);
    let mut stream = relay.connect();
    stream.write_all(b"\x04\x01\0\x19\x7f\0\0\x01\0").unwrap();
    assert!(rest(&stream).starts_with(b"HTTP/1.1 400 "), "SOCKS4");
    for words in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"EHLO x\r\n"] {
        let mut stream = relay.connect();
        stream.write_all(words).unwrap();
        let answer = String::from_utf8(rest(&stream)).unwrap();
        assert!(answer.starts_with("HTTP/1.1 405 ") && answer.contains("\r\n\r\nmailport: "));
    }
    let mut stream = relay.connect();
    stream.write_all(b"\x05\x01\x02").unwrap();
    assert_eq!(rest(&stream), [5, 0xff], "a login is not offered");
    assert_eq!(relay.quiet().refused["protocol"], 4);
}

#[test]
fn a_relay_never_connects_to_itself() {
    let port = free_port();
    let (plan, address) = (format!("{port}:starttls"), format!("127.0.0.1:{port}"));
    let wide = format!("0.0.0.0:{port}");
    for (address, to) in [
        (&*address, "127.0.0.1"),
        (&address, "localhost"),
        (&wide, "127.0.0.1"),
        (&wide, "127.0.0.7"),
        (&wide, "localhost"),
    ] {
        let options =
            ["--listen", &format!("{address}={to}"), "--plan", &plan, "--allow", "192.0.2.0/24"];
        let relay = Relay::start(&options);
        let words = rest(client(SocketAddr::from(([127, 0, 0, 1], port))));
        let words = String::from_utf8(words).unwrap();
        assert!(words.starts_with("421 4.4.6 "), "{address} to {to}: {words}");
        let status = relay.quiet();
        assert!(status.accepted <= 2, "{address} to {to}: {status:?}");
        assert_eq!((status.refused["loop"], status.services.len()), (1, 0), "{status:?}");
    }
}

#[test]
fn a_loop_behind_a_silent_service_ends_as_well() {
    let (off, port) = (silent(), free_port());
    let plan = format!("{}:starttls,{port}:starttls", off.port());
    let address = format!("127.0.0.1:{port}");
    let relay = Relay::start(&["--listen", &format!("{address}=localhost"), "--plan", &plan]);
    let words = String::from_utf8(rest(relay.connect())).unwrap();
    assert!(words.starts_with("421 4.4.6 "), "{words}");
    assert!(relay.quiet().accepted <= 2, "{:?}", relay.status());
}

#[test]
fn socks_does_not_lead_back_to_the_relay() {
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let relay = Relay::start(&["--listen-proxy", &address, "--ports", &port.to_string()]);
    for request in [by_address(port), by_name("localhost", port), by_name("127.0.0.1", port)] {
        assert_eq!(socks(relay.addresses[0], &request).0[1], 2);
    }
    assert_eq!(relay.quiet().refused["loop"], 3);
}

#[test]
fn unsafe_settings_are_refused_before_it_listens() {
    for (options, part) in [
        (&["--listen-proxy", "0.0.0.0:0"][..], "can be reached from other machines"),
        (&["--listen-transparent", "0.0.0.0:0", "--allow", "192.0.2.0/24"], "this machine only"),
        (&["--listen", "127.0.0.1:0=x", "--plan", "rfc8314"], "several TLS modes"),
        (&["--listen", "127.0.0.1:0=x", "--plan", "25:cleartext"], "cleartext"),
        (&[], "there is no listener"),
        (&["--listen-proxy", "127.0.0.1:0", "--max-sessions", "0"], "could serve no client"),
        (&["--config", "/no/such/file"], "/no/such/file"),
        (&["--config", "/etc/passwd", "--listen-proxy", "127.0.0.1:0"], "cannot be used with"),
    ] {
        let (status, _, words) = run(&[&["relay"], options].concat());
        assert_eq!(status.code(), Some(2), "{words}");
        assert!(words.contains(part), "{options:?}: {words}");
    }
}

// ---- limits --------------------------------------------------------------------------------------

#[test]
fn one_connection_too_many_is_refused_and_the_others_go_on() {
    let plan = format!("{}:starttls", echo());
    for (limit, code) in
        [("--max-sessions", "421 4.3.2 "), ("--max-sessions-per-client", "421 4.7.0 ")]
    {
        let relay = Relay::start(&[&fixed(&plan)[..], &[limit, "2"]].concat());
        let (first, mut second) = (relay.connect(), relay.connect());
        assert_eq!((line(&first), line(&second)), (GREETING.into(), GREETING.into()));
        let words = String::from_utf8(rest(relay.connect())).unwrap();
        assert!(words.starts_with(code) && words.ends_with("\r\n"), "{words}");
        second.write_all(b"still here").unwrap();
        second.shutdown(Shutdown::Write).unwrap();
        assert_eq!(rest(&second), b"still here");
        wait_for("there is room again", || relay.status().joined == 1);
        assert_eq!(line(relay.connect()), GREETING);
    }
}

#[test]
fn a_session_that_says_nothing_ends_and_one_that_talks_does_not() {
    let plan = format!("{}:starttls", echo());
    let relay = Relay::start(&[&fixed(&plan)[..], &["--idle-timeout", "600ms"]].concat());
    let (quiet, mut talks) = (relay.connect(), relay.connect());
    assert_eq!((line(&quiet), line(&talks)), (GREETING.into(), GREETING.into()));
    let began = Instant::now();
    let talking = thread::spawn(move || {
        for _ in 0..12 {
            talks.write_all(b"NOOP\r\n").unwrap();
            assert_eq!(line(&talks), "NOOP\r\n");
            thread::sleep(Duration::from_millis(100));
        }
    });
    assert_eq!(ending(&quiet), Err(ErrorKind::ConnectionReset), "never like a complete message");
    assert!(began.elapsed() >= Duration::from_millis(500), "{:?}", began.elapsed());
    talking.join().unwrap();
    assert_eq!(relay.status().idle_timeout, 1);
}

#[test]
fn a_dial_has_a_timeout() {
    let off = silent();
    let plan = format!("{}:starttls", off.port());
    let relay = Relay::start(&[&fixed(&plan)[..], &["--dial-timeout", "400ms"]].concat());
    let words = String::from_utf8(rest(relay.connect())).unwrap();
    assert!(words.contains("gave up at the timeout"), "{words}");
}

// ---- a service -----------------------------------------------------------------------------------

#[test]
fn sigterm_closes_the_listeners_and_lets_sessions_end() {
    let plan = format!("{}:starttls", echo());
    let mut relay = Relay::start(&fixed(&plan));
    let mut stream = relay.connect();
    assert_eq!(line(&stream), GREETING);
    relay.signal(Signal::SIGTERM);
    wait_for("the listener is closed", || TcpStream::connect(relay.addresses[0]).is_err());
    stream.write_all(b"DATA goes on").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&stream), b"DATA goes on");
    assert_eq!(relay.end().code(), Some(0));
    assert!(!relay.control().exists(), "the control socket is gone");
}

#[test]
fn sessions_that_do_not_end_are_cut_off_after_the_drain_timeout_or_by_a_second_signal() {
    let plan = format!("{}:starttls", echo());
    for (timeout, twice) in [("300ms", false), ("10min", true)] {
        let mut relay = Relay::start(&[&fixed(&plan)[..], &["--drain-timeout", timeout]].concat());
        let stream = relay.connect();
        assert_eq!(line(&stream), GREETING);
        relay.signal(Signal::SIGINT);
        wait_for("it stops", || relay.log().contains("\"stopping\""));
        assert!(relay.is_running());
        if twice {
            relay.signal(Signal::SIGTERM);
        }
        assert_eq!(relay.end().code(), Some(0));
        assert_eq!(ending(&stream), Err(ErrorKind::ConnectionReset));
    }
}

#[test]
fn sighup_reads_the_file_again_and_a_bad_one_changes_nothing() {
    let (port, folder) = (echo(), tempfile::tempdir().unwrap());
    let [first, second] = [free_port(), free_port()].map(|port| format!("127.0.0.1:{port}"));
    let path = folder.path().join("relay.toml");
    let listener = |address: &str| {
        format!(
            "[[listener]]\nmode = \"fixed\"\naddress = \"{address}\"\nserver = \"127.0.0.1\"\nplan = \"{port}:starttls\"\n"
        )
    };
    fs::write(&path, listener(&first)).unwrap();
    let relay = Relay::start(&["--config", path.to_str().unwrap()]);
    let mut stream = relay.connect();
    assert_eq!(line(&stream), GREETING);

    fs::write(&path, listener(&first) + "colour = \"red\"\n").unwrap();
    relay.signal(Signal::SIGHUP);
    wait_for("it says why not", || relay.log().contains("\"reload_failed\""));
    assert!(relay.log().contains("colour"), "{}", relay.log());
    assert_eq!(line(relay.connect()), GREETING);

    fs::write(&path, listener(&second)).unwrap();
    relay.signal(Signal::SIGHUP);
    wait_for("it has the new file", || relay.log().contains("\"reloaded\""));
    assert_eq!(line(client(second.parse().unwrap())), GREETING);
    let error = TcpStream::connect(relay.addresses[0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    stream.write_all(b"x").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&stream), b"x", "sessions are not touched");

    // So does a mark, without the capability that it takes.
    let before = relay.log().matches("\"reload_failed\"").count();
    fs::write(&path, "mark = 7\n".to_owned() + &listener(&second)).unwrap();
    relay.signal(Signal::SIGHUP);
    wait_for("it says why not", || relay.log().matches("\"reload_failed\"").count() > before);
    assert!(relay.log().contains("cannot be marked (this needs CAP_NET_ADMIN)"), "{}", relay.log());
    assert_eq!(line(client(second.parse().unwrap())), GREETING);

    // A listener that cannot be had leaves everything as it was.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let before = relay.log().matches("\"reload_failed\"").count();
    fs::write(&path, listener(&taken) + &listener(&first)).unwrap();
    relay.signal(Signal::SIGHUP);
    wait_for("it says why not", || relay.log().matches("\"reload_failed\"").count() > before);
    assert_eq!(line(client(second.parse().unwrap())), GREETING);
}

#[test]
fn a_service_manager_hands_over_its_sockets_and_hears_that_it_is_ready() {
    let (port, folder) = (echo(), tempfile::tempdir().unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let notify = folder.path().join("notify");
    let manager = UnixDatagram::bind(&notify).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    // A client that came before the relay did.
    let early = client(address);
    let mut command = Command::new("sh");
    let script = "export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$@\" 3<&0 </dev/null";
    command.args(["-c", script, "sh", MAILPORT]).env("NOTIFY_SOCKET", &notify);
    command.stdin(Stdio::from(std::os::fd::OwnedFd::from(listener)));
    let (address, plan) = (address.to_string(), format!("{port}:starttls"));
    let options = ["--listen", &format!("{address}=127.0.0.1"), "--plan", &plan];
    let _relay = Relay::by(command, &options);
    let mut words = [0; 64];
    let count = manager.recv(&mut words).unwrap();
    assert_eq!(words[..count].trim_ascii_end(), b"READY=1");
    assert_eq!(line(early), GREETING);
}

#[test]
fn after_startup_it_has_no_capabilities() {
    let plan = format!("{}:starttls,{}:starttls", refused().port(), echo());
    let relay = Relay::start(&["--listen", "127.0.0.1:0=localhost", "--plan", &plan]);
    let stream = relay.connect();
    assert_eq!(line(&stream), GREETING);
    for status in relay.threads() {
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert!(status.contains(&format!("{set}:\t0000000000000000\n")), "{status}");
        }
    }
    assert_eq!(relay.status().joined, 1, "and still answers on its socket");
}

#[test]
fn the_status_is_for_people_and_for_programs() {
    let plan = format!("{}:starttls", echo());
    let relay = Relay::start(&fixed(&plan));
    let stream = relay.connect();
    assert_eq!(line(&stream), GREETING);
    let control = relay.control();
    let control = control.to_str().unwrap();
    let (status, words, _) = run(&["relay", "status", "--control", control]);
    assert!(status.success() && words.starts_with("sessions now: 1 joined"), "{words}");
    let (status, words, _) = run(&["relay", "status", "--control", control, "--json"]);
    let json: serde_json::Value = serde_json::from_str(&words).unwrap();
    assert!(status.success());
    assert_eq!((&json["version"], &json["joined"]), (&1.into(), &1.into()));
    let socket = fs::metadata(control).unwrap().mode() & 0o777;
    let folder = fs::metadata(relay.control().parent().unwrap()).unwrap().mode() & 0o777;
    assert_eq!((socket, folder), (0o600, 0o700));
    let (status, _, words) = run(&["relay", "status", "--control", "/no/such/socket"]);
    assert!(status.code() == Some(1) && words.contains("no relay answers"), "{words}");
}

#[test]
fn nonsense_on_the_control_socket_is_answered_and_silence_is_not_waited_for() {
    let plan = format!("{}:starttls", echo());
    let relay = Relay::start(&fixed(&plan));
    let call = |words: &[u8]| {
        let mut stream = std::os::unix::net::UnixStream::connect(relay.control()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let _ = stream.write_all(words);
        String::from_utf8_lossy(&rest(stream)).into_owned()
    };
    assert!(call(b"stop\n").contains("unknown"));
    assert!(call(&[b'x'; 64]).contains("too long"));
    let _silent: Vec<_> =
        (0..8).map(|_| std::os::unix::net::UnixStream::connect(relay.control()).unwrap()).collect();
    assert_eq!(line(relay.connect()), GREETING);
}

#[test]
fn a_control_socket_that_others_could_reach_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let path = folder.path().join("relay.sock");
    let (status, _, words) =
        run(&["relay", "--listen-proxy", "127.0.0.1:0", "--control", path.to_str().unwrap()]);
    assert!(status.code() == Some(1) && words.contains("open to others"), "{words}");
}

#[test]
fn a_socket_left_behind_is_replaced_and_one_in_use_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let options = ["--listen-proxy", "127.0.0.1:0"];
    let relay = Relay::start(&options);
    let control = relay.control();
    let control = control.to_str().unwrap();
    let (status, _, words) = run(&["relay", "--listen-proxy", "127.0.0.1:0", "--control", control]);
    assert!(status.code() == Some(1) && words.contains("listens there already"), "{words}");
    assert_eq!(relay.status().version, 1, "and the first one is still there");
    fs::create_dir(folder.path().join("control")).unwrap();
    let mode = fs::Permissions::from_mode(0o700);
    fs::set_permissions(folder.path().join("control"), mode).unwrap();
    let left = folder.path().join("control").join("relay.sock");
    drop(std::os::unix::net::UnixListener::bind(&left).unwrap());
    assert!(left.exists());
    assert_eq!(Relay::within(Command::new(MAILPORT), &options, folder).status().version, 1);
}

#[test]
fn rules_for_nft_name_the_port_the_mark_and_the_user() {
    let (status, words, _) = run(&["relay", "nft", "--port", "2587", "--uid", "1000"]);
    assert!(status.success());
    let rule = "meta nfproto ipv4 meta skuid 1000 tcp dport { 25, 465, 587 } redirect to :2587";
    assert!(words.contains(rule) && words.contains("meta mark 0x6d70 accept"), "{words}");
    assert!(words.contains("nft delete table inet mailport_relay"), "how to undo it: {words}");
}

// ---- bytes ---------------------------------------------------------------------------------------

#[test]
fn fifty_megabytes_pass_bit_for_bit() {
    let plan = format!("{}:starttls", echo());
    let relay = Relay::start(&fixed(&plan));
    let mut stream = relay.connect();
    assert_eq!(line(&stream), GREETING);
    let message = message(50_000_000, 587);
    let (sending, mut writer) = (message.clone(), stream.try_clone().unwrap());
    let sent = thread::spawn(move || {
        writer.write_all(&sending).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let mut back = Vec::with_capacity(message.len());
    stream.read_to_end(&mut back).unwrap();
    sent.join().unwrap();
    assert!(back == message, "{} of {} bytes", back.len(), message.len());
    assert_eq!(relay.quiet().sent, 50_000_000);
}

#[test]
fn a_file_that_is_no_socket_is_not_taken_for_one_that_was_left_behind() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let file = folder.path().join("letter");
    fs::write(&file, "mine").unwrap();
    let output = Command::new(MAILPORT)
        .args(["relay", "--listen", "127.0.0.1:0=localhost", "--cache", "off"])
        .arg("--control")
        .arg(&file)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("not a socket is there"));
    assert_eq!(fs::read(&file).unwrap(), b"mine");
}

#[test]
fn a_time_that_no_clock_can_tell_is_refused() {
    for option in ["--drain-timeout", "--idle-timeout"] {
        let output = Command::new(MAILPORT)
            .args(["relay", "--listen", "127.0.0.1:0=localhost", option])
            .arg("500000000000years")
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
