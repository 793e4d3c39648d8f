//! What a relay does when clients, servers or the machine fail it: nothing is lost or mixed between
//! sessions, every session ends, and it is then as it was before.
#![allow(clippy::unwrap_used, reason = "what helps a test may fail like one")]

mod common;
mod relaying;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Mutex;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use common::{Port, silent};
use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};
use relaying::{
    GREETING, MAILPORT, PATIENCE, Relay, client, echo, fixed, line, listener, message, rest,
    server, wait_for,
};

/// Closes a connection, by a reset or as usual.
fn close(stream: TcpStream, by_reset: bool) {
    let linger = by_reset.then_some(Duration::ZERO);
    socket2::SockRef::from(&stream).set_linger(linger).unwrap();
    drop(stream);
}

/// A relay to a server that the test plays, and that server's connections.
fn played() -> (Relay, mpsc::Receiver<TcpStream>) {
    let (give, streams) = mpsc::channel();
    let give = Mutex::new(give);
    let give = std::sync::Arc::new(give);
    let port = server(move |stream| {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let _ = give.lock().unwrap().send(stream);
    });
    (Relay::start(&fixed(&format!("{port}:starttls"))), streams)
}

fn session(relay: &Relay, streams: &mpsc::Receiver<TcpStream>) -> (TcpStream, TcpStream) {
    let client = relay.connect();
    (client, streams.recv_timeout(PATIENCE).expect("the relay dials"))
}

/// How far a session comes before something happens to it.
const STEPS: [&str; 5] = ["connected", "greeted", "asked", "in the middle", "half closed"];

/// Brings a session to a step; how much the client has said and the server not yet read.
fn bring(to: usize, client: &mut TcpStream, server: &mut TcpStream) -> usize {
    let mut said = 0;
    if to >= 1 {
        server.write_all(b"220 x\r\n").unwrap();
        assert_eq!(line(&*client), "220 x\r\n");
    }
    if to >= 2 {
        client.write_all(b"DATA\r\n").unwrap();
        assert_eq!(line(&*server), "DATA\r\n");
    }
    if to >= 3 {
        // More than anybody takes: it is under way in both directions.
        for (stream, said) in [(&*client, &mut said), (&*server, &mut 0)] {
            stream.set_nonblocking(true).unwrap();
            let block = vec![7; 65536];
            while let Ok(count) = (&mut &*stream).write(&block) {
                *said += count;
            }
            stream.set_nonblocking(false).unwrap();
        }
    }
    if to >= 4 {
        client.shutdown(Shutdown::Write).unwrap();
    }
    said
}

#[test]
fn either_side_may_die_at_any_step() {
    let (relay, streams) = played();
    drop(session(&relay, &streams));
    relay.quiet();
    let before = relay.descriptors();
    for (step, name) in STEPS.iter().enumerate() {
        for (by_server, by_reset) in [(false, false), (false, true), (true, false), (true, true)] {
            let (mut client, mut server) = session(&relay, &streams);
            let said = bring(step, &mut client, &mut server);
            let (gone, stays) = if by_server { (server, client) } else { (client, server) };
            close(gone, by_reset);
            // The other side sees the end, after what was on its way.
            let (mut buffer, mut heard) = (vec![0; 65536], 0);
            let end = loop {
                match (&stays).read(&mut buffer) {
                    Ok(0) => break Ok(()),
                    Ok(count) => heard += count,
                    Err(error) => break Err(error.kind()),
                }
            };
            let story = format!("{name}, by the server: {by_server}, by reset: {by_reset}");
            assert!(matches!(end, Ok(()) | Err(ErrorKind::ConnectionReset)), "{story}: {end:?}");
            // Before they are joined, a client that goes only ends the dial.
            // A client that has said all, and all of it has arrived, has ended that direction itself.
            let all = name == &"half closed" && !by_server && heard == said;
            if by_reset && step > 0 && !(all && end.is_ok()) {
                assert_eq!(end, Err(ErrorKind::ConnectionReset), "a reset is passed on: {story}");
            }
            drop(stays);
            relay.quiet();
        }
    }
    // Pipes that are kept.
    let spare = 2 * 16;
    wait_for("its descriptors are closed", || relay.descriptors() <= before + spare);
    let (mut client, mut server) = session(&relay, &streams);
    bring(2, &mut client, &mut server);
}

#[test]
fn a_client_that_leaves_during_the_dial_ends_it() {
    let off = silent();
    let relay = Relay::start(&fixed(&format!("{}:starttls", off.port())));
    for by_reset in [false, true] {
        let client = relay.connect();
        wait_for("it dials", || relay.status().dialling == 1);
        close(client, by_reset);
        relay.quiet();
    }
    assert_eq!(relay.status().failed, 0);
}

#[test]
fn what_a_half_open_peer_still_sends_arrives() {
    let (relay, streams) = played();
    let (mut client, mut server) = session(&relay, &streams);
    client.write_all(b"QUIT\r\n").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&server), b"QUIT\r\n");
    let long = message(3_000_000, 1);
    let sending = long.clone();
    let sent = thread::spawn(move || server.write_all(&sending).map(|()| drop(server)));
    assert!(rest(&client) == long);
    sent.join().unwrap().unwrap();
    assert_eq!(relay.quiet().ended, 1);
}

#[test]
fn what_is_said_before_the_greeting_is_kept_for_the_server() {
    let (relay, streams) = played();
    let mut client = relay.connect();
    client.write_all(b"EHLO early\r\n").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let server = streams.recv_timeout(PATIENCE).unwrap();
    assert_eq!(rest(server), b"EHLO early\r\n");
}

#[test]
fn a_slow_client_costs_no_memory() {
    let (relay, streams) = played();
    drop(session(&relay, &streams));
    relay.quiet();
    let before = relay.resident_kib();
    let mut slow = Vec::new();
    for number in 0..20 {
        let (client, server) = session(&relay, &streams);
        let long = message(8_000_000, number);
        let sending = thread::spawn(move || (&server).write_all(&long).map(|()| long));
        slow.push((client, sending));
    }
    wait_for("nothing moves any more", || {
        let one = relay.status().received;
        thread::sleep(Duration::from_millis(200));
        relay.status().received == one
    });
    let grown = relay.resident_kib().saturating_sub(before);
    assert!(grown < 4096, "{grown} KiB for twenty clients that do not read");
    for (mut client, sending) in slow {
        let mut got = vec![0; 8_000_000];
        client.read_exact(&mut got).unwrap();
        assert!(got == sending.join().unwrap().unwrap(), "bit for bit, in its own session");
    }
    relay.quiet();
}

/// Lets this process, and the relay that it starts, have so many descriptors.
fn raise_limit(to: rlim_t) {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    if soft < to {
        setrlimit(Resource::RLIMIT_NOFILE, to, hard).expect("so many descriptors (ulimit -Hn)");
    }
}

/// How many sessions are held: as many as are asked for, or as the hard limit of descriptors
/// allows, which is then printed.
fn sessions() -> usize {
    // Two a session, here as in the relay, which sets some aside for pipes and look-ups.
    const OTHERS: rlim_t = 600;
    let asked = std::env::var("MAILPORT_SOAK_SESSIONS");
    let asked: usize = asked.map_or(1_000, |text| text.parse().expect("a number of sessions"));
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let allowed = usize::try_from(hard.saturating_sub(OTHERS) / 2).unwrap_or(usize::MAX);
    let sessions = asked.min(allowed);
    assert!(sessions > 0, "this test needs a hard limit of {} descriptors", OTHERS + 2);
    if sessions < asked {
        // Not by a macro, whose output is shown for a failure only.
        let text = format!("{sessions} sessions are held, of {asked}: `ulimit -Hn` is {hard}\n");
        std::io::stderr().write_all(text.as_bytes()).unwrap();
    }
    raise_limit(rlim_t::try_from(2 * sessions).expect("at most the hard limit") + OTHERS);
    sessions
}

/// A server on one thread whose greeting is the number of the connection; the connections.
fn numbered() -> (u16, mpsc::Receiver<TcpStream>) {
    let (port, listener) = listener();
    let (give, streams) = mpsc::channel();
    thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let mut stream = stream.unwrap();
            stream.write_all(format!("{number}\n").as_bytes()).unwrap();
            if give.send(stream).is_err() {
                break;
            }
        }
    });
    (port, streams)
}

#[test]
fn thousands_of_idle_sessions_stay_apart_and_leave_nothing() {
    let sessions = sessions();
    let (port, streams) = numbered();
    let plan = format!("{port}:starttls");
    let most = (sessions + 10).to_string();
    let limits = ["--max-sessions", &most, "--max-sessions-per-client", &most];
    let relay = Relay::start(&[&fixed(&plan)[..], &limits].concat());
    let round = |first: usize| {
        let mut clients = Vec::new();
        for _ in 0..sessions {
            clients.push(relay.connect());
        }
        let servers: Vec<TcpStream> =
            (0..sessions).map(|_| streams.recv_timeout(PATIENCE).unwrap()).collect();
        for client in &mut clients {
            let number: usize = line(&*client).trim().parse().unwrap();
            let mut server = &servers[number - first];
            client.write_all(&number.to_le_bytes()).unwrap();
            let mut got = [0; size_of::<usize>()];
            server.read_exact(&mut got).unwrap();
            assert_eq!(usize::from_le_bytes(got), number);
            server.write_all(&got).unwrap();
            client.read_exact(&mut got).unwrap();
            assert_eq!(usize::from_le_bytes(got), number);
        }
        assert_eq!(relay.status().joined, sessions as u64);
        let used = (relay.resident_kib(), relay.descriptors());
        drop((clients, servers));
        relay.quiet();
        used
    };
    let idle = relay.descriptors();
    let (full, open) = round(0);
    assert!(open <= idle + 2 * sessions + 8, "two descriptors each: {open}");
    let after = relay.resident_kib();
    wait_for("its descriptors are closed", || relay.descriptors() == idle);
    let (again, _) = round(sessions);
    wait_for("its descriptors are closed", || relay.descriptors() == idle);
    assert!(again < full + full / 4 + 1024, "{again} KiB in the second round, {full} in the first");
    assert!(relay.resident_kib() < after + after / 4 + 1024);
}

/// Sends its own text in its own session, and hears it back.
fn talk(address: SocketAddr, number: u64) {
    let mut stream = client(address);
    assert_eq!(line(&stream), GREETING, "session {number}");
    let words = message(20_000, number);
    stream.write_all(&words).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert!(rest(&stream) == words, "session {number}");
}

#[test]
fn a_storm_of_connections_is_served() {
    let plan = format!("{}:starttls", echo());
    let limits = ["--max-sessions", "1000", "--max-sessions-per-client", "1000"];
    let relay = Relay::start(&[&fixed(&plan)[..], &limits].concat());
    let before = relay.descriptors();
    thread::scope(|scope| {
        for number in 0..300 {
            let address = relay.addresses[0];
            scope.spawn(move || talk(address, number));
        }
    });
    let status = relay.quiet();
    assert_eq!((status.accepted, status.ended), (300, 300));
    wait_for("all but pipes that are kept is closed", || relay.descriptors() <= before + 32);
}

#[test]
fn with_few_descriptors_everybody_is_served_in_turn() {
    let plan = format!("{}:starttls,{}:starttls", common::refused().port(), echo());
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 64; exec \"$@\"", "sh", MAILPORT]);
    let relay = Relay::by(command, &fixed(&plan));
    // These stay while the others come and go.
    let mut stays: Vec<TcpStream> = (0..5).map(|_| relay.connect()).collect();
    for stream in &stays {
        assert_eq!(line(stream), GREETING);
    }
    thread::scope(|scope| {
        for number in 0..60 {
            let address = relay.addresses[0];
            scope.spawn(move || talk(address, number));
        }
    });
    for stream in &mut stays {
        stream.write_all(b"still here").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(rest(&*stream), b"still here");
    }
    let status = relay.quiet();
    assert_eq!((status.ended, status.failed, status.broken), (65, 0, 0));
    assert!(relay.descriptors() <= 64);
}

#[test]
fn idle_clients_that_fill_the_descriptors_keep_others_waiting_not_out() {
    let plan = format!("{}:starttls", echo());
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 64; exec \"$@\"", "sh", MAILPORT]);
    let relay = Relay::by(command, &fixed(&plan));
    let streams: Vec<TcpStream> = (0..40).map(|_| relay.connect()).collect();
    wait_for("it is full", || relay.log().contains("\"accept_paused\""));
    let mut served = 0;
    for stream in streams {
        assert_eq!(line(&stream), GREETING, "client {served}");
        served += 1;
    }
    assert_eq!(served, 40);
    relay.quiet();
    wait_for("it accepts again", || relay.log().contains("\"accept_resumed\""));
    let count = |event| relay.log().matches(event).count();
    assert_eq!(
        (count("\"accept_paused\""), count("\"accept_resumed\"")),
        (1, 1),
        "one word a stall"
    );
}
