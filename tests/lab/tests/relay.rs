//! Mail gets through `mailport relay`, by every way in, from programs that are not changed to a
//! server that people use, whatever becomes of port 587; and those who may not use it cannot.
//!
//! Needs root (or a user namespace with several users) and /dev/net/tun, and what `make setup`
//! installs and unpacks; fails without them. TLS is spoken end to end: msmtp and curl check the name
//! in the server's certificate, and the relay has no certificate of its own.

#[path = "servers/tunnel.rs"]
#[allow(dead_code, reason = "only the building of the command is used here")]
mod tunnel;

use std::fmt;
use std::fs::{self, File, Permissions};
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use mailport_lab::mta::{HOST, READER, Server, Software};
use mailport_lab::real::{CLIENT_V4, CLIENT_V6, Lab};
use mailport_lab::{Fate, Network};
use socket2::{Domain, SockRef, Socket, Type};
use tempfile::TempDir;

const V4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 1));
const ROUND_TRIP: Duration = Duration::from_millis(20);
/// What the relay's own connections carry.
const MARK: u32 = 0x6d70;
/// How long a letter is.
const LINES: usize = 3000;
const PATIENCE: Duration = Duration::from_secs(30);
/// What every relay of these tests listens on: fixed, SOCKS5, transparent.
const DOORS: [&str; 9] = [
    "--listen",
    "127.0.0.1:2525",
    "--to",
    HOST,
    "--socks",
    "127.0.0.1:1080",
    "--transparent",
    "127.0.0.1:2587",
    "--transparent=[::1]:2587",
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

fn mailport() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(tunnel::build)
}

struct World {
    // Dropped in this order.
    relay: Relay,
    server: Server,
    lab: Lab,
}

/// A lab with Postfix, the rules of nftables, and a relay beside the mail programs.
fn world() -> World {
    let mailport = mailport();
    let network = Network::new(ROUND_TRIP).address(V4, Fate::Open).address(V6, Fate::Open);
    let lab = Lab::start(network).expect("a lab (needs root and /dev/net/tun)");
    let server = Server::start(&lab, Software::Postfix, &[V4, V6], &[587, 25, 465])
        .unwrap_or_else(|error| panic!("{error}"));
    lab.hosts(&[(HOST, V4), (HOST, V6)]).expect("the lab's own file");
    lab.client(|| {
        let rules = Command::new(mailport).args(["relay", "nft", "--port", "2587"]).output();
        load(&rules.expect("the command").stdout);
    });
    let relay = Relay::start(&lab, &[&DOORS[..], &["--user", "nobody"]].concat());
    World { relay, server, lab }
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
        let (mailport, folder) = (mailport(), tempfile::tempdir().expect("a folder"));
        let log = File::create(folder.path().join("log")).expect("a file");
        let mut command = Command::new(mailport);
        command.args(["relay", "--control"]).arg(folder.path().join("control/relay.sock"));
        // Each case is to find out for itself.
        command.args(["--memory", "off"]);
        let child = lab.client(|| command.args(options).stderr(log).spawn()).expect("mailport");
        let mut relay = Relay { child, folder };
        let until = Instant::now() + PATIENCE;
        while !relay.log().contains("confined") {
            let runs = relay.child.try_wait().expect("a child").is_none();
            assert!(runs && Instant::now() < until, "{}", relay.log());
            thread::sleep(Duration::from_millis(5));
        }
        relay
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A mail program, and how it is told where to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Program {
    Msmtp,
    /// Has no option for a proxy, needs a library that Debian does not pull in for IPv6, and checks
    /// who signed a certificate, not for which name.
    Swaks,
    Curl,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    Fixed,
    Socks,
    /// Over the family of this address.
    Transparent(IpAddr),
}

impl fmt::Display for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl Program {
    fn send(self, door: Door, port: u16, letter: &Path, folder: &Path, trust: &Path) -> Output {
        let mut command = match self {
            Program::Msmtp => msmtp(door, port, folder, trust),
            Program::Swaks => swaks(door, port, trust),
            Program::Curl => curl(door, port, letter, trust),
        };
        command.stdin(File::open(letter).expect("the letter"));
        command.output().unwrap_or_else(|error| panic!("{self:?}: {error}"))
    }
}

fn msmtp(door: Door, port: u16, folder: &Path, trust: &Path) -> Command {
    let way = match door {
        Door::Fixed => format!("host 127.0.0.1\nport 2525\ntls_host_override {HOST}\n"),
        Door::Socks => {
            format!("host {HOST}\nport {port}\nproxy_host 127.0.0.1\nproxy_port 1080\n")
        }
        Door::Transparent(_) => format!("host {HOST}\nport {port}\n"),
    };
    let starttls = if port == 465 { "off" } else { "on" };
    let text = format!(
        "account default\n{way}from sender@example.test\ntls on\ntls_starttls {starttls}\n\
         tls_trust_file {}\ntimeout 40\n",
        trust.display()
    );
    let path = folder.join("msmtprc");
    fs::write(&path, text).expect("a file");
    fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("a file of ours");
    let mut command = Command::new("msmtp");
    command.arg("-C").arg(path).args(["--", READER]);
    command
}

fn swaks(door: Door, port: u16, trust: &Path) -> Command {
    let mut command = Command::new("swaks");
    command.args(["--from", "sender@example.test", "--to", READER, "--suppress-data"]);
    command.args(["--data", "-", "--tls", "--tls-verify", "--tls-ca-path"]).arg(trust);
    match door {
        Door::Fixed => command.args(["--server", "127.0.0.1", "--port", "2525"]),
        _ => command.args(["--server", HOST, "--port", &port.to_string()]),
    };
    command
}

fn curl(door: Door, port: u16, letter: &Path, trust: &Path) -> Command {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--ssl-reqd", "--max-time", "40", "--cacert"]);
    command.arg(trust).args(["--mail-from", "sender@example.test", "--mail-rcpt", READER]);
    command.arg("--upload-file").arg(letter);
    let scheme = if port == 465 { "smtps" } else { "smtp" };
    match door {
        Door::Fixed => {
            command.args(["--connect-to", &format!("{HOST}:{port}:127.0.0.1:2525")]);
        }
        Door::Socks => drop(command.args(["--socks5-hostname", "127.0.0.1:1080"])),
        Door::Transparent(address) => {
            command.arg(if address.is_ipv4() { "-4" } else { "-6" });
        }
    }
    command.arg(format!("{scheme}://{HOST}:{port}"));
    command
}

/// Sends a letter, and reads it back: on which port it has arrived.
fn deliver(world: &World, program: Program, door: Door, port: u16, subject: &str) -> Option<u16> {
    let folder = tempfile::tempdir().expect("a folder");
    let letter = folder.path().join("letter");
    let head = format!("From: sender@example.test\r\nTo: {READER}\r\nSubject: {subject}\r\n\r\n");
    fs::write(&letter, head + &format!("{subject}\r\n").repeat(LINES)).expect("a file");
    let trust = world.server.certificate().expect("Postfix does TLS");
    let output = world.lab.client(|| program.send(door, port, &letter, folder.path(), trust));
    let said = format!(
        "{subject}: {}\n{}{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
        world.relay.log()
    );
    assert!(output.status.success(), "{said}");
    let mailbox = world.server.mailbox().expect("a mailbox");
    let found: Vec<_> = mailbox.iter().filter(|m| m.field("Subject") == Some(subject)).collect();
    let [message] = found[..] else { panic!("{} copies of {said}", found.len()) };
    assert!(message.field("Received").unwrap_or_default().contains("ESMTPS"), "{said}");
    let lines = message.body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    assert_eq!(lines.count(), LINES, "{said}");
    message.port()
}

#[test]
fn mail_gets_through_every_way_in_whatever_becomes_of_submission() {
    let world = world();
    let doors = [Door::Fixed, Door::Socks, Door::Transparent(V4), Door::Transparent(V6)];
    // A reader that is set to 25 gets the better port as well.
    let door = Door::Transparent(V4);
    assert_eq!(deliver(&world, Program::Curl, door, 25, "Set to 25"), Some(587));
    for case in Case::ALL {
        for (address, fate) in case.fates() {
            world.lab.set(address, 587, fate);
        }
        for program in [Program::Msmtp, Program::Swaks, Program::Curl] {
            for door in doors {
                if program == Program::Swaks && !matches!(door, Door::Fixed | Door::Transparent(V4))
                {
                    continue;
                }
                let subject = format!("{program:?} {door} {case:?}");
                let port = deliver(&world, program, door, 587, &subject);
                assert_eq!(port, Some(case.port()), "{subject}\n{}", world.relay.log());
            }
        }
    }
}

#[test]
fn implicit_tls_passes_through_and_is_never_exchanged_for_another() {
    let world = world();
    for door in [Door::Socks, Door::Transparent(V4), Door::Transparent(V6)] {
        for program in [Program::Msmtp, Program::Curl] {
            let subject = format!("{program:?} {door} implicit");
            assert_eq!(deliver(&world, program, door, 465, &subject), Some(465), "{subject}");
        }
    }
    for address in [V4, V6] {
        world.lab.set(address, 465, Fate::Reset);
    }
    let before = world.lab.syns().len();
    let url = format!("smtps://{HOST}:465");
    let curl = world.lab.client(|| {
        Command::new("curl").args(["--socks5-hostname", "127.0.0.1:1080", &url]).output()
    });
    let curl = curl.expect("curl");
    assert!(!curl.status.success());
    let ports: Vec<u16> = world.lab.syns()[before..].iter().map(|syn| syn.port).collect();
    assert!(ports.iter().all(|port| *port == 465), "{ports:?}");
}

#[test]
fn a_reader_still_refuses_a_certificate_for_another_name() {
    let world = world();
    let other = "other.example.test";
    world.lab.hosts(&[(other, V4)]).expect("the lab's own file");
    let trust = world.server.certificate().expect("Postfix does TLS");
    let url = format!("smtp://{other}:587");
    let curl = world.lab.client(|| {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--ssl-reqd", "--cacert"]).arg(trust);
        curl.args(["--socks5-hostname", "127.0.0.1:1080", &url]).output()
    });
    let words = String::from_utf8_lossy(&curl.expect("curl").stderr).into_owned();
    assert!(words.contains(other), "{words}");
}

#[test]
fn what_the_relay_sends_is_not_caught_again_and_what_was_not_redirected_is_refused() {
    let world = world();
    assert_eq!(deliver(&world, Program::Curl, Door::Transparent(V4), 587, "Once"), Some(587));
    let log = world.relay.log();
    assert_eq!(log.matches("joined ").count(), 1, "{log}");
    for door in ["127.0.0.1:2587", "[::1]:2587"] {
        let mut stream = world.lab.client(|| TcpStream::connect(door)).expect("it listens");
        let mut said = Vec::new();
        let _ = stream.read_to_end(&mut said);
    }
    assert_eq!(world.relay.log().matches("not-redirected").count(), 2, "{}", world.relay.log());
}

/// Connects in the lab from this port, as the relay does itself where there is a mark.
fn connect_from(lab: &Lab, port: u16, to: IpAddr, mark: Option<u32>) -> io::Result<TcpStream> {
    let to = SocketAddr::new(to, 587);
    let from = SocketAddr::new(if to.is_ipv4() { CLIENT_V4 } else { CLIENT_V6 }, port);
    lab.client(|| {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        if let Some(mark) = mark {
            socket.set_mark(mark)?;
        }
        socket.bind(&from.into())?;
        socket.connect_timeout(&to.into(), PATIENCE)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(socket.into())
    })
}

/// A packet filter remembers connections by addresses and ports for minutes after their end, and a
/// port is used again sooner than that.
#[test]
fn one_port_is_redirected_for_a_reader_and_not_for_the_relay_whoever_had_it_before() {
    let world = world();
    // A firewall that lets answers in, as many machines have it, knows them all the same.
    world.lab.client(|| {
        load(
            b"table inet firewall {\n\tchain input {\n\t\ttype filter hook input priority 0; \
            policy drop;\n\t\tiifname \"lo\" accept\n\t\tct state established,related accept\n\t}\n}\n",
        );
    });
    for (address, fate) in Case::Soft.fates() {
        world.lab.set(address, 587, fate);
        let port = 40_000;
        for round in 0..2 {
            let own = connect_from(&world.lab, port, address, Some(MARK)).map(drop);
            let own = own.expect_err("what carries the mark is not redirected");
            assert_eq!(own.raw_os_error(), Some(libc::EHOSTUNREACH), "{round}: {own}");
            let mut reader = connect_from(&world.lab, port, address, None)
                .unwrap_or_else(|error| panic!("{address}, {round}: {error}"));
            let mut greeting = [0; 4];
            reader.read_exact(&mut greeting).expect("a greeting, from port 25");
            assert_eq!(&greeting, b"220 ");
            // A reset, so that its end keeps nobody from using the port at once.
            SockRef::from(&reader).set_linger(Some(Duration::ZERO)).expect("a socket");
        }
    }
}

#[test]
fn it_runs_as_another_user_with_one_capability() {
    let world = world();
    let path = format!("/proc/{}/status", world.relay.child.id());
    let status = fs::read_to_string(path).expect("procfs");
    let line = |name: &str| {
        let found = status.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        found.split_whitespace().skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(line("Uid:"), ["65534"; 4], "{status}");
    // CAP_NET_ADMIN is number 12.
    for set in ["CapPrm:", "CapEff:"] {
        assert_eq!(line(set), ["0000000000001000"], "{set}");
    }
    assert_eq!(line("Groups:"), ["65534"], "{status}");
}

/// What a SOCKS proxy replies to somebody on the servers' side of the lab.
fn from_outside(lab: &Lab, to: [u8; 4], port: u16) -> Option<u8> {
    lab.server(|| {
        let mut stream = TcpStream::connect(SocketAddr::new(CLIENT_V4, 1080)).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        stream.write_all(b"\x05\x01\0").ok()?;
        stream.read_exact(&mut [0; 2]).ok()?;
        let request = [&b"\x05\x01\0\x01"[..], &to, &port.to_be_bytes()].concat();
        stream.write_all(&request).ok()?;
        let mut reply = [0; 10];
        stream.read_exact(&mut reply).ok()?;
        Some(reply[1])
    })
}

#[test]
fn a_client_of_another_machine_is_refused_unless_it_is_allowed_and_never_let_in() {
    let network = Network::new(ROUND_TRIP).address(V4, Fate::Open).address(V6, Fate::Open);
    let lab = Lab::start(network).expect("a lab (needs root and /dev/net/tun)");
    let server = [192, 0, 2, 1];
    let stranger = Relay::start(&lab, &["--socks", "0.0.0.0:1080", "--allow", "203.0.113.0/24"]);
    assert_eq!(from_outside(&lab, server, 587), None, "not a byte");
    assert!(stranger.log().contains("why=client"), "{}", stranger.log());
    drop(stranger);
    let known = Relay::start(&lab, &["--socks", "0.0.0.0:1080", "--allow", "192.0.2.0/24"]);
    assert_eq!(from_outside(&lab, server, 587), Some(0));
    assert_eq!(from_outside(&lab, server, 80), Some(2), "ports of mail only");
    assert_eq!(from_outside(&lab, [127, 0, 0, 1], 25), Some(2), "nothing on the relay's machine");
    assert_eq!(from_outside(&lab, [198, 51, 100, 2], 25), Some(2), "by no address of it");
    assert!(known.log().contains("why=inward"), "{}", known.log());
}
