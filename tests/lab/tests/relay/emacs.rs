//! Emacs sends through the relay, by smtpmail and by Mew, neither of which knows of mailport.

use std::process::{Command, Stdio};
use std::thread;

use mailport_lab::mta::{HOST, Software};

use crate::programs::{Entry, arrived};
use crate::{Case, LISTENERS, V4, V6, World};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/relay/send.el");
const STUNNEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/servers/stunnel4/usr/bin");
/// What send.el sends, as it arrives.
const BODY: &[u8] = b".\n..\nFrom here\nthe last line";

/// What sends inside Emacs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Program {
    Smtpmail,
    Mew,
}

/// Sends a letter from Emacs; what it has to say.
fn send(
    world: &World,
    program: Program,
    entry: Entry,
    server: (&str, u16),
    subject: &str,
) -> String {
    let (host, port) = server;
    let home = tempfile::tempdir().expect("a temporary folder");
    let trust = world.server.certificate().expect("Postfix does TLS");
    let said = |yes| if yes { "yes" } else { "" };
    let output = world.lab.client(|| {
        Command::new("emacs")
            .args(["--batch", "-Q", "--eval", "(setq backtrace-on-error-noninteractive nil)"])
            .args(["-l", SCRIPT])
            .envs([("HOME", home.path()), ("LAB_CERTIFICATE", trust)])
            .envs([("LAB_HOST", host), ("LAB_PORT", &port.to_string()), ("LAB_SUBJECT", subject)])
            .envs([("LAB_SOCKS", said(entry == Entry::Socks)), ("LAB_STUNNEL", STUNNEL)])
            .env("LAB_MEW", said(program == Program::Mew))
            .stdin(Stdio::null())
            .output()
            .expect("Emacs (make setup)")
    });
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}{}{subject}", text(&output.stderr), text(&output.stdout))
}

/// Sends a letter and finds it where it belongs.
fn deliver(world: &World, program: Program, entry: Entry, port: u16, case: Case) {
    let addresses = [V6, V4];
    world.name(entry, &addresses);
    let subject = format!("{program:?} {entry} {case:?} {port}");
    let set_to = if entry == Entry::Fixed { 2525 } else { port };
    let said = send(world, program, entry, (HOST, set_to), &subject);
    assert!(said.contains("RESULT nil"), "{}", world.story(&said));
    let message = arrived(world, &subject, &said);
    let received = message.field("Received").unwrap_or_default();
    let tls = program == Program::Smtpmail || entry != Entry::Socks;
    assert_eq!(received.contains("ESMTPS"), tls, "{received}: {}", world.story(&said));
    assert_eq!(message.body.trim_ascii_end(), BODY, "{}", world.story(&said));
    let reached = if port == 465 { 465 } else { case.port() };
    assert_eq!(message.port(), Some(reached), "{}", world.story(&said));
}

#[test]
fn smtpmail_and_mew_get_through_every_way_in_whatever_becomes_of_submission() {
    let listeners = [Entry::Fixed, Entry::Socks, Entry::Transparent(V4), Entry::Transparent(V6)];
    thread::scope(|scope| {
        for case in Case::ALL {
            scope.spawn(move || {
                let world = World::with(Software::LaxPostfix, &LISTENERS);
                world.meets(case);
                for program in [Program::Smtpmail, Program::Mew] {
                    for entry in listeners {
                        deliver(&world, program, entry, 587, case);
                    }
                }
                if case == Case::On {
                    for entry in [Entry::Socks, Entry::Transparent(V4), Entry::Transparent(V6)] {
                        deliver(&world, Program::Smtpmail, entry, 465, case);
                    }
                }
            });
        }
    });
}

#[test]
fn emacs_still_refuses_a_certificate_for_another_name() {
    let world = World::with(Software::LaxPostfix, &LISTENERS);
    let other = "other.example.test";
    world.lab.hosts(&[(other, V4)]).expect("the lab's own file");
    for (program, entry, words) in [
        (Program::Smtpmail, Entry::Socks, "RESULT \""),
        (Program::Smtpmail, Entry::Transparent(V4), "RESULT \""),
        (Program::Mew, Entry::Transparent(V4), "cert verify failure"),
    ] {
        let said = send(&world, program, entry, (other, 587), "Never sent");
        assert!(said.contains(words), "{}", world.story(&said));
    }
    world.relay.logs("joined ", 3);
    assert_eq!(world.server.mailbox().expect("a mailbox"), []);
}
