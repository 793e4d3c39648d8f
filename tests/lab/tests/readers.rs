//! Mail programs of other people send through the C library, for each fate of port 587: each is
//! built from Debian's source archive and a patch of examples/patches, without and with the build
//! flag of the patch.
//!
//! Needs what the servers need (tests/servers), and the programs (`make readers`); fails without
//! them. `readers_measured` waits for as long as the programs without the flag do, so only
//! `make readers-table` runs it.

use std::env;
use std::fmt;
use std::fs::{self, File, Permissions};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use mailport_lab::mta::{HOST, Message, READER, Server, Software};
use mailport_lab::real::Lab;
use mailport_lab::{Fate, Network};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tempfile::TempDir;

const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
const V4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 1));
const ROUND_TRIP: Duration = Duration::from_millis(20);
const SENDER: &str = "sender@example.test";

/// How long a program with the flag may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(45);
/// How long is enough to say that a program without the flag waits, and longer than any with it does
/// on a machine that is not busy.
const LONG: Duration = Duration::from_secs(10);
const STEP: Duration = Duration::from_millis(5);

/// What becomes of port 587, or of a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    Open,
    /// Nothing listens: the server's kernel refuses.
    Refused,
    /// The router forbids it, by ICMP.
    Filtered,
    /// The router drops it.
    Silent,
    /// The router drops everything over IPv6.
    Ipv6Dead,
}

impl Case {
    const ALL: [Case; 5] =
        [Case::Open, Case::Refused, Case::Filtered, Case::Silent, Case::Ipv6Dead];

    /// Where the mail of a program with the flag arrives.
    fn port(self) -> u16 {
        if matches!(self, Case::Open | Case::Ipv6Dead) { 587 } else { 25 }
    }

    /// Where the mail of a program without the flag arrives: nowhere, but where 587 can be reached.
    fn port_without(self) -> Option<u16> {
        matches!(self, Case::Open | Case::Ipv6Dead).then_some(587)
    }

    /// Whether a program without the flag waits for a server that says nothing.
    fn waits_without(self) -> bool {
        matches!(self, Case::Silent | Case::Ipv6Dead)
    }

    fn world(self) -> (Lab, Server) {
        let network = Network::new(ROUND_TRIP).address(V4, Fate::Open).address(V6, Fate::Open);
        let lab = Lab::start(network).expect("a lab (needs root and /dev/net/tun)");
        let ports: &[u16] = if self == Case::Refused { &[25] } else { &[587, 25] };
        let server = Server::start(&lab, Software::Postfix, &[V4, V6], ports)
            .unwrap_or_else(|error| panic!("{self:?}: {error}"));
        let [v4, v6] = match self {
            Case::Open | Case::Refused => [Fate::Open; 2],
            Case::Filtered => [(3, 13), (1, 1)].map(|(kind, code)| Fate::Icmp { kind, code }),
            Case::Silent => [Fate::Silent; 2],
            Case::Ipv6Dead => [Fate::Open, Fate::Silent],
        };
        lab.set(V4, 587, v4);
        lab.set(V6, 587, v6);
        if self == Case::Ipv6Dead {
            lab.set(V6, 25, Fate::Silent);
        }
        lab.hosts(&[(HOST, V4), (HOST, V6)]).expect("the lab's own file");
        (lab, server)
    }
}

/// A mail program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Program {
    /// The one of nullmailer's programs that speaks SMTP, as nullmailer-send starts it.
    Nullmailer,
    SNail,
    /// Debian's program, which is the same without and with the flag: only its library is another.
    Esmtp,
    /// The sender that comes with libEtPan!; it does not look at certificates.
    Smtpsend,
}

impl Program {
    const ALL: [Program; 4] =
        [Program::Nullmailer, Program::SNail, Program::Esmtp, Program::Smtpsend];

    /// Those that refuse a certificate for another name, and what they say then.
    const WITH_CERTIFICATES: [(Program, &str); 3] = [
        (Program::Nullmailer, "certificate does not match hostname"),
        (Program::SNail, "certificate does not match"),
        (Program::Esmtp, "Wrong peer certificate"),
    ];

    /// Its archive, and the file that is built of it.
    fn built(self) -> (&'static str, &'static str) {
        match self {
            Program::Nullmailer => ("nullmailer", "smtp"),
            Program::SNail => ("s-nail", "s-nail"),
            Program::Esmtp => ("libesmtp", "libesmtp.so.6"),
            Program::Smtpsend => ("libetpan", "smtpsend"),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flag {
    Without,
    With,
}

impl Flag {
    /// The folder of what was built so.
    fn folder(self) -> &'static str {
        match self {
            Flag::Without => "without",
            Flag::With => "with",
        }
    }
}

/// How a program is configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tls {
    /// STARTTLS is required, at port 587.
    Starttls,
    /// TLS from the first byte, at port 465.
    Implicit,
    /// No TLS, at port 587.
    None,
}

/// What a program did.
#[derive(Debug)]
struct Sent {
    /// None where it had not ended when patience had.
    status: Option<ExitStatus>,
    output: String,
    took: Duration,
}

impl fmt::Display for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} after {:?}\n{}", self.status, self.took, self.output)
    }
}

/// One run of a program.
struct Run<'a> {
    program: Program,
    flag: Flag,
    tls: Tls,
    host: &'a str,
    certificate: &'a Path,
    subject: &'a str,
    patience: Duration,
}

impl Run<'_> {
    /// Sends a letter, in the calling thread's namespaces.
    fn send(&self) -> Sent {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (name, file) = self.program.built();
        let flag = self.flag.folder();
        let place = Path::new(REPOSITORY).join("target/readers").join(name).join(flag);
        let built = place.join(file).canonicalize();
        let built =
            built.unwrap_or_else(|e| panic!("no {name} {flag} its flag (make readers): {e}"));
        let mut libraries = library().as_os_str().to_owned();
        libraries.push(":");
        libraries.push(built.parent().expect("it is in a folder"));

        let (host, certificate) = (self.host, self.certificate.display());
        let subject = self.subject;
        let body = format!("{subject}\n");
        let letter = format!("From: {SENDER}\nTo: {READER}\nSubject: {subject}\n\n{body}");
        let input = write(&folder, "input", &letter);
        let mut command = Command::new(&built);
        match self.program {
            Program::Nullmailer => {
                // Its options are its input, and descriptor 3 is the envelope and the letter.
                let letter = format!("{SENDER}\n{READER}\n\n{letter}");
                let letter = write(&folder, "letter", &letter);
                let tls = match self.tls {
                    Tls::Starttls => "port=587\nstarttls",
                    Tls::Implicit => "port=465\ntls",
                    Tls::None => "port=587",
                };
                let options = format!("host={host}\n{tls}\nx509cafile={certificate}\n");
                write(&folder, "input", &options);
                command = Command::new("sh");
                command.args(["-c", "exec \"$0\" 3<\"$1\""]).arg(&built).arg(letter);
                command.env("HELOHOST", "client.example.test");
            }
            Program::SNail => {
                write(&folder, "input", &body);
                command.args(["-:/", "-S", "v15-compat=yes", "-S", "sendwait"]);
                let scheme = if self.tls == Tls::Implicit { "smtps" } else { "submission" };
                command.args(["-S", &format!("mta={scheme}://{host}"), "-S", "smtp-auth=none"]);
                if self.tls == Tls::Starttls {
                    command.args(["-S", "smtp-use-starttls"]);
                }
                command.args(["-S", "tls-verify=strict"]);
                command.args(["-S", "tls-ca-no-defaults", "-S", "nosave"]);
                command.args(["-S", &format!("tls-ca-file={certificate}")]);
                command.args(["-S", "hostname=client.example.test"]);
                command.args(["-S", &format!("from={SENDER}"), "-s", subject, READER]);
            }
            Program::Esmtp => {
                command = Command::new("/usr/bin/esmtp");
                let starttls = if self.tls == Tls::Starttls { "required" } else { "disabled" };
                let options = format!(
                    "hostname = {host}:587\nstarttls = {starttls}\nhelo = client.example.test\n"
                );
                command.arg("-C").arg(write(&folder, "esmtprc", &options));
                command.args(["-f", SENDER, READER]);
                let trusted = folder.path().join(".config/libesmtp");
                fs::create_dir_all(&trusted).expect("a folder in one of ours");
                let trusted = trusted.join("ca.pem");
                fs::copy(self.certificate, &trusted).expect("a file of ours");
                let only_mine = Permissions::from_mode(0o600);
                fs::set_permissions(trusted, only_mine).expect("a file of ours");
            }
            Program::Smtpsend => {
                command.args(["-f", SENDER, "-s", host]);
                command.args(match self.tls {
                    Tls::Starttls => ["-p", "587", "-S"].as_slice(),
                    Tls::Implicit => &["-p", "465", "-L"],
                    Tls::None => &["-p", "587"],
                });
                command.arg(READER);
            }
        }
        command.env_clear().env("LD_LIBRARY_PATH", libraries).env("HOME", folder.path());
        command.env("PATH", env::var_os("PATH").unwrap_or_default()).env("LC_ALL", "C.UTF-8");
        command.env("HELOHOST", "client.example.test").current_dir(folder.path());
        self.finish(command, &input, &folder.path().join("output"))
    }

    fn finish(&self, mut command: Command, input: &Path, output: &Path) -> Sent {
        let printed = File::create(output).expect("a file in a folder of ours");
        command
            .stdin(File::open(input).expect("it was just written"))
            .stdout(printed.try_clone().expect("an open file can be duplicated"))
            .stderr(printed)
            .process_group(0);
        let began = Instant::now();
        let child = command.spawn().unwrap_or_else(|e| panic!("{:?}: {e}", self.program));
        let status = wait(child, began + self.patience);
        let took = began.elapsed();
        let output = fs::read(output).expect("a file in a folder of ours");
        Sent { status, output: String::from_utf8_lossy(&output).into_owned(), took }
    }
}

/// Waits for a process until a time, and then ends its whole group.
fn wait(mut child: Child, deadline: Instant) -> Option<ExitStatus> {
    let status = loop {
        match child.try_wait().expect("a child of ours") {
            Some(status) => break Some(status),
            None if Instant::now() < deadline => thread::sleep(STEP),
            None => break None,
        }
    };
    let group = i32::try_from(child.id()).expect("a process has a small number");
    // It fails where the group has ended.
    let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
    let _ = child.wait();
    status
}

fn write(folder: &TempDir, name: &str, text: &str) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, text).expect("a file in a folder of ours");
    path
}

/// The folder of the C library, which is first brought up to date; so not for the inside of a lab.
fn library() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = Path::new(REPOSITORY).join("target/readers/library");
        let mut link = Command::new(Path::new(REPOSITORY).join("ffi/link.sh"));
        let status = link.arg(&folder).env("CARGO", env!("CARGO")).status().expect("sh");
        assert!(status.success(), "ffi/link.sh: {status}");
        folder.canonicalize().expect("it was just made")
    })
}

/// The only letter of a subject, where there is one.
fn letter<'a>(mailbox: &'a [Message], subject: &str) -> Option<&'a Message> {
    let mut found = mailbox.iter().filter(|letter| letter.field("Subject") == Some(subject));
    let first = found.next();
    assert!(found.next().is_none(), "two letters: {subject}");
    first
}

/// Has programs send at once, and gives what each did and its letter's subject.
fn send_all(
    programs: &[Program],
    (lab, server): (&Lab, &Server),
    flag: Flag,
    tls: Tls,
    patience: Duration,
) -> Vec<(Program, Sent, String)> {
    library();
    let certificate = server.certificate().expect("Postfix has one");
    thread::scope(|scope| {
        let runs = programs.iter().map(|&program| {
            let subject = format!("{program:?}, {flag:?}, {tls:?}");
            scope.spawn(move || {
                let (host, subject_of) = (HOST, &subject);
                let run =
                    Run { program, flag, tls, host, certificate, subject: subject_of, patience };
                let sent = lab.client(|| run.send());
                (program, sent, subject)
            })
        });
        // All begin before the first is waited for.
        let runs: Vec<_> = runs.collect();
        runs.into_iter().map(|run| run.join().expect("a run only asserts")).collect()
    })
}

#[test]
fn every_program_with_the_flag_gets_its_mail_through_whatever_becomes_of_submission() {
    thread::scope(|scope| {
        for case in Case::ALL {
            scope.spawn(move || {
                let (lab, server) = case.world();
                let all =
                    send_all(&Program::ALL, (&lab, &server), Flag::With, Tls::Starttls, PATIENCE);
                let mailbox = server.mailbox().expect("a mailbox");
                for (program, sent, subject) in &all {
                    let story = || format!("{subject}: {sent}\n{}", server.log());
                    assert!(sent.status.is_some_and(|s| s.success()), "{}", story());
                    let Some(letter) = letter(&mailbox, subject) else { panic!("{}", story()) };
                    assert_eq!(letter.port(), Some(case.port()), "{}", story());
                    // smtpsend adds an empty line.
                    assert_eq!(letter.body.trim_ascii_end(), subject.as_bytes(), "{program:?}");
                    let received = letter.field("Received").unwrap_or_default();
                    assert!(received.contains("ESMTPS"), "{received}");
                }
                assert_eq!(mailbox.len(), all.len(), "{case:?}");
            });
        }
    });
}

#[test]
fn the_same_programs_without_the_flag_do_not() {
    thread::scope(|scope| {
        for case in Case::ALL {
            scope.spawn(move || {
                let (lab, server) = case.world();
                let patience = if case.waits_without() { LONG } else { PATIENCE };
                let servers = (&lab, &server);
                let all = send_all(&Program::ALL, servers, Flag::Without, Tls::Starttls, patience);
                let mailbox = server.mailbox().expect("a mailbox");
                for (_, sent, subject) in &all {
                    let story = || format!("{subject}: {sent}\n{}", server.log());
                    assert_eq!(sent.status.is_none(), case.waits_without(), "{}", story());
                    let port = letter(&mailbox, subject).and_then(Message::port);
                    let expected = if case.waits_without() { None } else { case.port_without() };
                    assert_eq!(port, expected, "{}", story());
                }
            });
        }
    });
}

#[test]
fn on_the_port_that_was_fallen_back_to_a_certificate_for_another_name_is_refused() {
    let (lab, server) = Case::Refused.world();
    let other = "other.example.test";
    lab.hosts(&[(other, V4), (other, V6)]).expect("the lab's own file");
    let certificate = server.certificate().expect("Postfix has one");
    library();
    for (program, complaint) in Program::WITH_CERTIFICATES {
        let (flag, tls, subject) = (Flag::With, Tls::Starttls, "Never sent");
        let patience = PATIENCE;
        let run = Run { program, flag, tls, host: other, certificate, subject, patience };
        let sent = lab.client(|| run.send());
        assert!(sent.status.is_some_and(|s| !s.success()), "{program:?}: {sent}");
        assert!(sent.output.contains(complaint), "{program:?}: {sent}");
    }
    assert_eq!(server.mailbox().expect("a mailbox"), []);
}

#[test]
fn with_tls_from_the_first_byte_the_configured_port_alone_is_tried() {
    // The other two have no such setting, or connect for it as before.
    let programs = [Program::Nullmailer, Program::SNail];
    for ports in [[587, 465, 25].as_slice(), &[587, 25]] {
        let network = Network::new(ROUND_TRIP).address(V4, Fate::Open).address(V6, Fate::Open);
        let lab = Lab::start(network).expect("a lab (needs root and /dev/net/tun)");
        let server = Server::start(&lab, Software::Postfix, &[V4, V6], ports);
        let server = server.unwrap_or_else(|error| panic!("{ports:?}: {error}"));
        lab.hosts(&[(HOST, V4), (HOST, V6)]).expect("the lab's own file");
        let is_open = ports.contains(&465);
        let all = send_all(&programs, (&lab, &server), Flag::With, Tls::Implicit, PATIENCE);
        let mailbox = server.mailbox().expect("a mailbox");
        for (_, sent, subject) in &all {
            let story = || format!("{subject}: {sent}\n{}", server.log());
            assert_eq!(sent.status.map(|status| status.success()), Some(is_open), "{}", story());
            let port = letter(&mailbox, subject).and_then(Message::port);
            assert_eq!(port, is_open.then_some(465), "{}", story());
        }
    }
}

#[test]
fn without_tls_no_other_port_is_tried() {
    let network = Network::new(ROUND_TRIP).address(V4, Fate::Open).address(V6, Fate::Open);
    let lab = Lab::start(network).expect("a lab (needs root and /dev/net/tun)");
    let server = Server::start(&lab, Software::LaxPostfix, &[V4, V6], &[25]).expect("a server");
    lab.hosts(&[(HOST, V4), (HOST, V6)]).expect("the lab's own file");
    let all = send_all(&Program::ALL, (&lab, &server), Flag::With, Tls::None, PATIENCE);
    for (program, sent, _) in &all {
        assert!(sent.status.is_some(), "{program:?}: {sent}");
    }
    assert_eq!(server.mailbox().expect("a mailbox"), []);
}

/// Prints what the table of programs in docs/c.md is made from.
#[test]
#[ignore = "waits for minutes, as the programs without the flag do"]
fn readers_measured() {
    let patience = LONG * 60;
    let rows = thread::scope(|scope| {
        let cases = Case::ALL.map(|case| {
            scope.spawn(move || {
                [Flag::Without, Flag::With].map(|flag| {
                    let (lab, server) = case.world();
                    let servers = (&lab, &server);
                    let all = send_all(&Program::ALL, servers, flag, Tls::Starttls, patience);
                    let mailbox = server.mailbox().expect("a mailbox");
                    let row = all.into_iter().map(|(program, sent, subject)| {
                        let port = letter(&mailbox, &subject).and_then(Message::port);
                        let port = port.map_or_else(|| "no mail".to_owned(), |p| p.to_string());
                        let ended = if sent.status.is_none() { "over " } else { "" };
                        let took = sent.took.as_secs_f64();
                        format!("{case:?} | {program:?} | {flag:?} | {port}, {ended}{took:.1} s")
                    });
                    row.collect::<Vec<_>>()
                })
            })
        });
        cases.map(|case| case.join().expect("a case only measures"))
    });
    for row in rows.iter().flatten().flatten() {
        println!("{row}");
    }
}
