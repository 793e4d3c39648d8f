//! Mail gets through from programs that are run by `mailport run`, unchanged and without any setting
//! of mailport, for each fate of port 587 and of IPv6.
//!
//! Needs root (or a user namespace with several users) and /dev/net/tun, and what `make setup`
//! installs and unpacks; fails without them.

mod clients;
#[cfg(feature = "desktop")]
mod desktop;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::{Command, Output};
use std::thread;
use std::time::Duration;

use clients::{Client, Letter, go};
use mailport_lab::command::mailport;
use mailport_lab::mta::{HOST, Message, Server, Software};
use mailport_lab::real::Lab;
use mailport_lab::{Fate, Network};

const V4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 1));
const ROUND_TRIP: Duration = Duration::from_millis(20);

/// What is wrong in the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    None,
    /// Nothing listens on 587.
    Refused,
    /// The router drops 587.
    Silent,
    /// The router drops IPv6.
    Ipv6Dead,
}

impl Trouble {
    const ALL: [Trouble; 4] = [Trouble::None, Trouble::Refused, Trouble::Silent, Trouble::Ipv6Dead];

    /// Where mail arrives.
    fn port(self) -> u16 {
        if matches!(self, Trouble::None | Trouble::Ipv6Dead) { 587 } else { 25 }
    }

    fn world(self) -> (Lab, Server) {
        let network = Network::new(ROUND_TRIP).address(V4, Fate::Open).address(V6, Fate::Open);
        let lab = Lab::start(network).expect("a lab (needs root and /dev/net/tun)");
        let ports = if self == Trouble::Refused { &[25][..] } else { &[587, 25] };
        let server = Server::start(&lab, Software::Postfix, &[V4, V6], ports)
            .unwrap_or_else(|error| panic!("{self:?}: {error}"));
        let set = |address, port| lab.set(address, port, Fate::Silent);
        match self {
            Trouble::Silent => [V4, V6].into_iter().for_each(|address| set(address, 587)),
            Trouble::Ipv6Dead => [25, 587].into_iter().for_each(|port| set(V6, port)),
            Trouble::None | Trouble::Refused => {}
        }
        lab.hosts(&[(HOST, V4), (HOST, V6)]).expect("the lab's own file");
        (lab, server)
    }
}

fn build() {
    mailport();
    go();
}

/// Sends a letter under `mailport run` with these options.
fn send(
    (lab, server): (&Lab, &Server),
    client: Client,
    (host, port): (&str, u16),
    subject: &str,
    options: &[&str],
) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = server.certificate().expect("a certificate");
    let mut command = Command::new(mailport());
    command.args(["run", "--cache", "off", "--verbose"]).args(options);
    client.add_to(&mut command, &Letter { host, port, authority, subject, folder: folder.path() });
    lab.client(|| command.output().expect("cargo has just built it"))
}

fn text(output: &Output) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    format!("{}\n{}\n{}", output.status, text(&output.stdout), text(&output.stderr))
}

/// Whether the program says that it has sent its letter.
fn has_sent(client: Client, output: &Output) -> bool {
    // Emacs ends well in any case.
    let says = client != Client::Emacs || text(output).contains("RESULT nil");
    output.status.success() && says
}

/// The port at which the letter with this subject has arrived.
fn arrived(server: &Server, subject: &str) -> Vec<Option<u16>> {
    let mailbox = server.mailbox().expect("a mailbox");
    let letters = mailbox.iter().filter(|letter| letter.field("Subject") == Some(subject));
    letters.map(Message::port).collect()
}

#[test]
fn every_program_sends_whatever_becomes_of_587_and_ipv6() {
    build();
    thread::scope(|scope| {
        for trouble in Trouble::ALL {
            scope.spawn(move || {
                let (lab, server) = trouble.world();
                let failures = Client::ALL.map(|client| check(&lab, &server, trouble, client));
                let failures: Vec<String> = failures.into_iter().flatten().collect();
                assert!(failures.is_empty(), "{}\n{}", failures.join("\n"), server.log());
            });
        }
    });
}

/// What is wrong with how a program has sent a letter.
fn check(lab: &Lab, server: &Server, trouble: Trouble, client: Client) -> Option<String> {
    let subject = format!("{client:?} {trouble:?}");
    let output = send((lab, server), client, (HOST, 587), &subject, &[]);
    let said = text(&output);
    let ports = if has_sent(client, &output) { arrived(server, &subject) } else { Vec::new() };
    // A dial fails only where it has not raced the addresses that the program's look-up has shown.
    let has_failed = said.contains(" failed ") || ports != [Some(trouble.port())];
    has_failed.then(|| format!("{subject}: arrived at {ports:?}\n{said}"))
}

#[test]
fn a_name_that_was_given_has_all_its_addresses_raced() {
    build();
    for trouble in [Trouble::Ipv6Dead, Trouble::Silent] {
        let (lab, server) = trouble.world();
        let subject = format!("{trouble:?}");
        let output = send((&lab, &server), Client::Go, (HOST, 587), &subject, &["--host", HOST]);
        let story = || format!("{}\n{}", text(&output), server.log());
        assert!(output.status.success(), "{}", story());
        assert_eq!(arrived(&server, &subject), [Some(trouble.port())], "{}", story());
        let joined = text(&output).lines().filter(|line| line.contains("joined")).count();
        let by_name = text(&output).contains(&format!("host={HOST}"));
        assert!(joined == 1 && by_name, "{}", story());
    }
}

#[test]
fn a_program_that_asks_for_25_reaches_587_where_submission_is_preferred() {
    const CLIENTS: [Client; 5] =
        [Client::Mutt, Client::Curl, Client::Nodemailer, Client::Smtplib, Client::Emacs];
    build();
    for trouble in [Trouble::None, Trouble::Silent] {
        let (lab, server) = trouble.world();
        for client in CLIENTS {
            // Without the option the port that was asked for comes first.
            for (first, options, port) in
                [("587", &["--prefer-submission"][..], trouble.port()), ("25", &[], 25)]
            {
                let subject = format!("{client:?} {trouble:?} {first}");
                let output = send((&lab, &server), client, (HOST, 25), &subject, options);
                let story = || format!("{subject}\n{}\n{}", text(&output), server.log());
                assert!(has_sent(client, &output), "{}", story());
                assert_eq!(arrived(&server, &subject), [Some(port)], "{}", story());
            }
        }
    }
}

#[test]
fn a_program_refuses_a_certificate_for_another_name_than_it_was_given() {
    build();
    let (lab, server) = Trouble::None.world();
    let other = "other.example.test";
    lab.hosts(&[(other, V4)]).expect("the lab's own file");
    let checks = Client::ALL.into_iter().filter(|client| *client != Client::Swaks).map(|client| {
        let output = send((&lab, &server), client, (other, 587), "never sent", &[]);
        let said = text(&output);
        let is_right = !has_sent(client, &output) && said.contains(" joined ");
        if is_right { None } else { Some(format!("{client:?}: {said}")) }
    });
    let failures: Vec<String> = checks.flatten().collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert_eq!(server.mailbox().expect("a mailbox"), []);
}

/// A server in another network namespace at the same address.
const ELSEWHERE: &str = "
import ctypes, socket, subprocess
assert ctypes.CDLL(None, use_errno=True).unshare(0x40000000) == 0
subprocess.run(['ip', 'link', 'set', 'lo', 'up'], check=True)
server = socket.create_server(('127.0.0.1', 587))
for wait in (True, False):
  s = socket.socket(); s.setblocking(wait); s.connect_ex(('127.0.0.1', 587))
  print(server.accept()[1] == s.getsockname(), s.getpeername()[1])";

#[test]
fn a_socket_in_another_network_namespace_is_left_alone() {
    let mut command = Command::new(mailport());
    command.args(["run", "--cache", "off", "/usr/bin/python3", "-c", ELSEWHERE]);
    let lab = Lab::start(Network::new(ROUND_TRIP)).expect("a lab (needs root and /dev/net/tun)");
    let output = lab.client(|| command.output().expect("cargo has just built it"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(said, "True 587\nTrue 587\n", "{}", text(&output));
}
