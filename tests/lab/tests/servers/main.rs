//! Mail gets through `mailport connect --stdio`, from programs that people use to servers that
//! people use, for each fate of port 587.
//!
//! Needs root (or a user namespace with several users) and /dev/net/tun, and what `make setup`
//! installs and unpacks; fails without them. Who checks the name in the server's certificate
//! checks the one that the tunnel was given.
//!
//! - `clients`: the programs, and the option of each for a tunnel
//! - `tunnel`: the command

mod clients;
mod tunnel;

use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::thread;
use std::time::Duration;

use mailport_lab::mta::{HOST, Server, Software};
use mailport_lab::real::Lab;
use mailport_lab::{Fate, Network};

use clients::{Client, Letter, Run, Sent};
use tunnel::Tunnel;

const V4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 1));
const ROUND_TRIP: Duration = Duration::from_millis(20);

/// What becomes of the submission service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Submission {
    On,
    /// Nothing listens: the server's kernel refuses.
    Off,
    /// The router forbids it, by ICMP.
    Filtered,
    /// The router drops it.
    Silent,
}

impl Submission {
    const ALL: [Submission; 4] =
        [Submission::On, Submission::Off, Submission::Filtered, Submission::Silent];

    /// Where the server listens.
    fn ports(self) -> &'static [u16] {
        if self == Submission::Off { &[25] } else { &[587, 25] }
    }

    /// What the router does to port 587 of each address.
    fn fates(self) -> [(IpAddr, Fate); 2] {
        let [v4, v6] = match self {
            Submission::On | Submission::Off => [Fate::Open; 2],
            Submission::Filtered => [(3, 13), (1, 1)].map(|(kind, code)| Fate::Icmp { kind, code }),
            Submission::Silent => [Fate::Silent; 2],
        };
        [(V4, v4), (V6, v6)]
    }

    /// Where mail arrives.
    fn port(self) -> u16 {
        if self == Submission::On { 587 } else { 25 }
    }
}

/// A lab with a server of a name and two addresses.
fn world(software: Software, submission: Submission) -> (Lab, Server) {
    let network = Network::new(ROUND_TRIP).address(V4, Fate::Open).address(V6, Fate::Open);
    let lab = Lab::start(network).expect("a lab (needs root and /dev/net/tun)");
    let server = Server::start(&lab, software, &[V4, V6], submission.ports())
        .unwrap_or_else(|error| panic!("{software:?}, {submission:?}: {error}"));
    for (address, fate) in submission.fates() {
        lab.set(address, 587, fate);
    }
    lab.hosts(&[(HOST, V4), (HOST, V6)]).expect("the lab's own file");
    (lab, server)
}

/// Has a client send a letter, and gives what it did and what mailport said.
fn send(lab: &Lab, server: &Server, host: &str, client: Client, letter: &Letter) -> (Sent, String) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let tunnel = Tunnel::new(folder.path());
    let certificate = server.certificate();
    let run = Run { host, tunnel: &tunnel, certificate, folder: folder.path() };
    (lab.client(|| run.send(client, letter)), tunnel.words())
}

/// Lines that something on the way might change, and enough of others to fill some windows.
fn body(token: &str) -> Vec<u8> {
    let mut body = format!(
        "{token}\n.\n..\n. and a dot\nFrom here on\n>From there\nQUIT\n\n\nBlanks at the end  \n\
         \tGr\u{fc}\u{df}e, \u{4e16}\u{754c}\n=20=\n{}\n",
        "x".repeat(900)
    );
    for line in 0..1500 {
        writeln!(body, "{line:5} {token} the quick brown fox jumps over the lazy dog")
            .expect("a String takes everything");
    }
    body.into_bytes()
}

/// The first line in which two bodies differ, of each.
fn difference(one: &[u8], other: &[u8]) -> Option<(Option<String>, Option<String>)> {
    let mut lines = [one, other].map(|body| body.split(|byte| *byte == b'\n'));
    loop {
        let [one, other] = lines.each_mut().map(Iterator::next);
        if one != other {
            let reported =
                |line: Option<&[u8]>| line.map(|l| String::from_utf8_lossy(l).into_owned());
            return Some((reported(one), reported(other)));
        }
        one?;
    }
}

/// Sends by every client, and reads the mailbox back.
fn deliver(software: Software, submission: Submission) {
    let (lab, server) = world(software, submission);
    let (port, starttls) = (submission.port(), server.certificate().is_some());
    for client in Client::all(starttls) {
        let subject = format!("{client:?} to {software:?}, submission {submission:?}");
        let body = body(&subject);
        let (sent, words) =
            send(&lab, &server, HOST, client, &Letter { subject: &subject, body: &body });
        let story =
            || format!("{subject}\n{words}\n{}\n{}\n{}", sent.status, sent.output, server.log());
        assert!(sent.status.success(), "{}", story());
        assert!(words.contains(&format!("connected to {port} over")), "{}", story());

        let mailbox = server.mailbox().expect("a mailbox");
        let copies: Vec<_> =
            mailbox.iter().filter(|m| m.field("Subject") == Some(&subject)).collect();
        let [letter] = copies[..] else { panic!("{} copies\n{}", copies.len(), story()) };
        assert_eq!(letter.port(), Some(port), "{:#?}\n{}", letter.header, story());
        let received = letter.field("Received").unwrap_or_default();
        assert_eq!(received.contains("ESMTPS"), starttls, "{received}");
        assert_eq!(difference(&letter.body, &body), None, "{}", story());
    }
    let total = server.mailbox().expect("a mailbox").len();
    assert_eq!(total, Client::all(starttls).count(), "letters at {software:?}, {submission:?}");
}

fn deliver_whatever_becomes_of_submission(software: Software) {
    thread::scope(|scope| {
        for submission in Submission::ALL {
            scope.spawn(move || deliver(software, submission));
        }
    });
}

#[test]
fn postfix_receives_from_every_client_whatever_becomes_of_submission() {
    deliver_whatever_becomes_of_submission(Software::Postfix);
}

#[test]
fn opensmtpd_receives_from_every_client_whatever_becomes_of_submission() {
    deliver_whatever_becomes_of_submission(Software::OpenSmtpd);
}

#[test]
fn a_client_refuses_a_certificate_for_another_name_than_the_tunnels() {
    let (lab, server) = world(Software::Postfix, Submission::On);
    let other = "other.example.test";
    lab.hosts(&[(other, V6)]).expect("the lab's own file");
    let letter = Letter { subject: "Never sent", body: b"Never sent.\n" };
    for client in [Client::Msmtp, Client::Git] {
        let (sent, words) = send(&lab, &server, other, client, &letter);
        assert!(words.contains("connected to 587 over"), "{client:?}: {words}\n{}", sent.output);
        assert!(!sent.status.success(), "{client:?}: {}", sent.output);
    }
    assert_eq!(server.mailbox().expect("a mailbox"), []);
}

#[test]
fn a_server_leaves_no_process_and_no_file() {
    for software in [Software::Postfix, Software::OpenSmtpd] {
        let (lab, server) = world(software, Submission::On);
        let folder = server.folder().to_owned();
        assert!(folder.exists() && !users_of(&folder).is_empty(), "{software:?}");
        drop(server);
        assert!(!folder.exists(), "{software:?}");
        assert_eq!(users_of(&folder), Vec::<String>::new(), "{software:?}");
        drop(lab);
    }
}

/// The command lines of processes that name a folder.
fn users_of(folder: &Path) -> Vec<String> {
    let folder = folder.to_str().expect("a temporary folder has a plain name");
    let processes = fs::read_dir("/proc").expect("/proc");
    processes
        .filter_map(|entry| fs::read(entry.ok()?.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(folder))
        .collect()
}
