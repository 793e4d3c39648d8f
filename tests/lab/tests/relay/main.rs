//! Mail gets through `mailport relay`, by every way in, from programs that are not changed to a
//! server that people use, for every fate of port 587; and clients that may not use it cannot.
//!
//! Needs root (or a user namespace with several users) and /dev/net/tun, and what `make setup`
//! installs and unpacks; fails without them. TLS is spoken end to end: msmtp and curl check the name
//! in the server's certificate, and the relay has no certificate.

#[cfg(feature = "desktop")]
mod desktop;
mod dual_stack;
mod emacs;
mod fairness;
mod listeners;
mod mailers;
mod names;
mod programs;
mod unix_sockets;

use std::fs::{self, File};
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use mailport_lab::command::mailport;
use mailport_lab::mta::{HOST, Server, Software};
use mailport_lab::real::Lab;
use mailport_lab::{Fate, Network};
use tempfile::TempDir;

use programs::{Entry, Letter, Program, deliver};

const V4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 1));
const ROUND_TRIP: Duration = Duration::from_millis(20);

/// What takes longer never happens.
const PATIENCE: Duration = Duration::from_secs(30);
/// What the relay's own connections carry.
const MARK: u32 = 0x6d70;
/// The server's name for the relay's fixed listener; the clients' name for the server is `HOST`.
const SERVER: &str = "server.example.test";
/// What most relays of these tests listen on: fixed, SOCKS5, transparent.
const LISTENERS: [&str; 11] = [
    "--listen",
    "127.0.0.1:2525=server.example.test",
    "--listen-proxy",
    "127.0.0.1:1080",
    "--listen-transparent",
    "127.0.0.1:2587",
    "--listen-transparent=[::1]:2587",
    "--names",
    HOST,
    "--user",
    "nobody",
];

/// The paper's cases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    On,
    Off,
    Hard,
    Soft,
    Silent,
}

impl Case {
    const ALL: [Case; 5] = [Case::On, Case::Off, Case::Hard, Case::Soft, Case::Silent];

    fn fates(self) -> [(IpAddr, Fate); 2] {
        let [v4, v6] = match self {
            Case::On => [Fate::Open; 2],
            Case::Off => [Fate::Reset; 2],
            Case::Hard => [(3, 13), (1, 1)].map(|(kind, code)| Fate::Icmp { kind, code }),
            Case::Soft => [(3, 1), (1, 3)].map(|(kind, code)| Fate::Icmp { kind, code }),
            Case::Silent => [Fate::Silent; 2],
        };
        [(V4, v4), (V6, v6)]
    }

    fn port(self) -> u16 {
        if self == Case::On { 587 } else { 25 }
    }
}

struct World {
    // Dropped in this order.
    relay: Relay,
    server: Server,
    lab: Lab,
}

impl World {
    /// A lab with Postfix, the rules of nftables, and a relay beside the mail programs.
    fn new() -> World {
        World::with(Software::Postfix, &LISTENERS)
    }

    fn with(software: Software, options: &[&str]) -> World {
        let lab = lab();
        let server = Server::start(&lab, software, &[V4, V6], &[587, 25, 465])
            .unwrap_or_else(|error| panic!("{error}"));
        redirect(&lab, &["--ipv6", "redirect"]);
        let relay = Relay::start(&lab, options);
        let world = World { relay, server, lab };
        world.name(Entry::Socks, &[V4, V6]);
        world
    }

    /// Sets the addresses of the server's names: of the one that the relay's fixed listener has, and
    /// of the one that a client at this entry has. A client whose connection is redirected sees all
    /// of them and chooses for itself.
    fn name(&self, entry: Entry, addresses: &[IpAddr]) {
        let mut names: Vec<(&str, IpAddr)> = addresses.iter().map(|to| (SERVER, *to)).collect();
        match entry {
            Entry::Fixed => names.push((HOST, Ipv4Addr::LOCALHOST.into())),
            Entry::Socks | Entry::Http => names.extend(addresses.iter().map(|to| (HOST, *to))),
            Entry::Transparent(to) => {
                names.push((HOST, to));
                names.extend([V4, V6].iter().filter(|other| **other != to).map(|to| (HOST, *to)));
            }
        }
        self.lab.hosts(&names).expect("the lab's own file");
    }

    /// Makes this case happen, over both families.
    fn meets(&self, case: Case) {
        for (address, fate) in case.fates() {
            self.lab.set(address, 587, fate);
        }
    }

    /// The end of the relay's log, and then what was said.
    fn story(&self, said: &str) -> String {
        format!("\n{}{said}", last(&self.relay.log()))
    }
}

/// The last lines of a log.
fn last(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    let from = lines.len().saturating_sub(12);
    lines[from..].join("\n") + "\n"
}

fn lab() -> Lab {
    let network = Network::new(ROUND_TRIP).address(V4, Fate::Open).address(V6, Fate::Open);
    Lab::start(network).expect("a lab (needs root and /dev/net/tun)")
}

/// Loads the rules for the transparent listeners.
fn redirect(lab: &Lab, options: &[&str]) {
    let mailport = mailport();
    lab.client(|| {
        let mut rules = Command::new(mailport);
        rules.args(["relay", "nft", "--port", "2587"]).args(options);
        load(&rules.output().expect("the command").stdout);
    });
}

/// Gives rules to nftables, in the calling thread's namespace.
fn load(rules: &[u8]) {
    let mut nft = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("the command nft (apt-get install nftables)");
    nft.stdin.take().expect("a pipe").write_all(rules).expect("nft reads");
    assert!(nft.wait().expect("nft ends").success(), "{}", String::from_utf8_lossy(rules));
}

struct Relay {
    child: Child,
    folder: TempDir,
}

impl Relay {
    fn start(lab: &Lab, options: &[&str]) -> Relay {
        Relay::start_by(Command::new(mailport()), lab, options)
    }

    /// Starts it by the command, or by one that executes it.
    fn start_by(mut command: Command, lab: &Lab, options: &[&str]) -> Relay {
        let folder = tempfile::tempdir().expect("a folder");
        let log = File::create(folder.path().join("log")).expect("a file");
        command.args(["relay", "--control"]).arg(folder.path().join("control/relay.sock"));
        // Each case is to find out for itself.
        command.args(["--cache", "off"]);
        let child = lab.client(|| command.args(options).stderr(log).spawn()).expect("mailport");
        let mut relay = Relay { child, folder };
        let until = Instant::now() + PATIENCE;
        while !relay.log().contains("confined") {
            let runs = relay.child.try_wait().expect("a child").is_none();
            assert!(runs && Instant::now() < until, "it does not start:\n{}", last(&relay.log()));
            thread::sleep(Duration::from_millis(5));
        }
        relay
    }

    /// What it answers on its control socket.
    fn status(&self) -> serde_json::Value {
        let output = Command::new(mailport())
            .args(["relay", "status", "--json", "--control"])
            .arg(self.folder.path().join("control/relay.sock"))
            .output()
            .expect("the command");
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)))
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// It logs `text` so many times: its own thread writes, a moment later.
    fn logs(&self, text: &str, times: usize) {
        let until = Instant::now() + PATIENCE;
        loop {
            let log = self.log();
            let found = log.matches(text).count();
            if found == times {
                return;
            }
            let early = found < times && Instant::now() < until;
            assert!(early, "{text:?} is there {found} times, not {times}:\n{}", last(&log));
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A letter of ordinary length.
fn body(subject: &str) -> String {
    format!("{subject}\r\n.\r\n..\r\n").repeat(1000)
}

#[test]
fn mail_gets_through_every_listener_for_every_fate_of_submission() {
    thread::scope(|scope| {
        for case in Case::ALL {
            scope.spawn(move || mail_gets_through(case));
        }
    });
}

fn mail_gets_through(case: Case) {
    let world = World::new();
    world.meets(case);
    let send = |program, entry, port, addresses: &[IpAddr]| {
        let subject = format!("{case:?} {program:?} {entry} {port} {addresses:?}");
        let body = body(&subject);
        let letter = Letter { program, entry, port, addresses, subject: &subject, body: &body };
        let reached = deliver(&world, letter);
        assert_eq!(reached, Some(case.port()), "{}", world.story(&subject));
    };
    let entries =
        [Entry::Fixed, Entry::Socks, Entry::Http, Entry::Transparent(V4), Entry::Transparent(V6)];
    for program in Program::ALL {
        for entry in entries {
            send(program, entry, 587, &[V6, V4]);
        }
    }
    // Each family alone; a connection that was redirected has one anyway.
    for entry in [Entry::Fixed, Entry::Socks] {
        for address in [V4, V6] {
            send(Program::Curl, entry, 587, &[address]);
        }
    }
    // A client that is configured for 25 has 25, which works.
    let subject = format!("{case:?} 25");
    let (program, entry, body) = (Program::Curl, Entry::Transparent(V4), body(&subject));
    let letter =
        Letter { program, entry, port: 25, addresses: &[], subject: &subject, body: &body };
    assert_eq!(deliver(&world, letter), Some(25), "{}", world.story(&subject));
    // It has another port only when that fails.
    if case == Case::On {
        for (address, fate) in [(V4, Fate::Reset), (V6, Fate::Silent)] {
            world.lab.set(address, 25, fate);
        }
        send(Program::Msmtp, Entry::Socks, 25, &[V6, V4]);
    }
}

#[test]
fn a_letter_of_fifty_megabytes_arrives_bit_for_bit() {
    let world = World::new();
    let mut random = fastrand::Rng::with_seed(50);
    let mut body = String::new();
    while body.len() < 50_000_000 {
        body.extend((0..70).map(|_| random.alphanumeric()));
        body.push_str("\r\n");
    }
    for (entry, addresses) in [
        (Entry::Fixed, &[V4][..]),
        (Entry::Socks, &[V6]),
        (Entry::Transparent(V4), &[]),
        (Entry::Transparent(V6), &[]),
    ] {
        let subject = format!("long {entry}");
        let program = Program::Msmtp;
        let letter =
            Letter { program, entry, port: 587, addresses, subject: &subject, body: &body };
        assert_eq!(deliver(&world, letter), Some(587), "{}", world.story(&subject));
    }
}

#[test]
fn implicit_tls_passes_through_and_is_never_exchanged_for_another() {
    let world = World::new();
    for entry in [Entry::Socks, Entry::Transparent(V4), Entry::Transparent(V6)] {
        for program in Program::ALL {
            let subject = format!("{program:?} {entry} implicit");
            let body = body(&subject);
            let addresses = &[V4, V6];
            let letter =
                Letter { program, entry, port: 465, addresses, subject: &subject, body: &body };
            assert_eq!(deliver(&world, letter), Some(465), "{}", world.story(&subject));
        }
    }
    for address in [V4, V6] {
        world.lab.set(address, 465, Fate::Reset);
    }
    world.name(Entry::Socks, &[V4, V6]);
    let before = world.lab.syns().len();
    let url = format!("smtps://{HOST}:465");
    let curl = world.lab.client(|| {
        Command::new("curl").args(["--socks5-hostname", "127.0.0.1:1080", &url]).output()
    });
    let curl = curl.expect("curl");
    assert!(!curl.status.success());
    let ports: Vec<u16> = world.lab.syns()[before..].iter().map(|syn| syn.port).collect();
    assert!(ports.iter().all(|port| *port == 465) && !ports.is_empty(), "{ports:?}");
}

#[test]
fn a_client_still_refuses_a_certificate_for_another_name() {
    let world = World::new();
    let other = "other.example.test";
    world.lab.hosts(&[(other, V4)]).expect("the lab's own file");
    let trust = world.server.certificate().expect("Postfix does TLS");
    let url = format!("smtp://{other}:587");
    for socks in [true, false] {
        let curl = world.lab.client(|| {
            let mut curl = Command::new("curl");
            curl.args(["--silent", "--show-error", "--ssl-reqd", "--cacert"]).arg(trust);
            if socks {
                curl.args(["--socks5-hostname", "127.0.0.1:1080"]);
            }
            curl.arg(&url).output()
        });
        let words = String::from_utf8_lossy(&curl.expect("curl").stderr).into_owned();
        assert!(words.contains(other), "{}", world.story(&words));
    }
    world.relay.logs("joined ", 2);
}
