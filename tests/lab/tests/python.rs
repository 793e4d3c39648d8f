//! Python dials as the table of scenarios says, and sends mail to a real server, for each fate
//! of port 587.
//!
//! Needs root (or a user namespace with several users) and /dev/net/tun, and the environment of
//! Debian's Python (`make setup`) with the package in it, as `make python` has left it; fails
//! without them.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use mailport::Family;
use mailport_lab::mta::{HOST, Server, Software};
use mailport_lab::real::{Lab, Syn};
use mailport_lab::scenario::{ROUND_TRIP, Scenario, V4, V6, table};
use mailport_lab::{Fate, Network};
use serde_json::{Value, json};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
const DIAL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/dial.py");
const SEND: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/send.py");
/// How much later than the table says a dial may end and still say something: less than the least
/// time between two events of the table, which come in another order where one is late.
const HELD_UP: Duration = Duration::from_millis(8);
/// How long the look-ups may take, which are in a file here, for the dial to say something: an
/// address that comes late is tried late.
const LOOKED_UP: Duration = Duration::from_millis(10);
const TRIES: usize = 10;
/// How much later a dial may end that is right in all else: too little for a timer of 10 s, which
/// plain Python would need.
const MUCH_LATER: Duration = Duration::from_secs(5);
/// How much sooner the kernel's clocks may let it end.
const SOONER: Duration = Duration::from_millis(20);

/// The interpreter in whose environment the package is.
fn python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let output = Command::new("/usr/bin/python3")
            .args(["bindings/python/make.py", "environment"])
            .current_dir(ROOT)
            .output()
            .expect("/usr/bin/python3 (make setup)");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        assert!(output.status.success(), "{}", text(&output.stderr));
        let python = PathBuf::from(text(&output.stdout));
        let imports = Command::new(&python)
            .args(["-I", "-c", "import aiosmtplib, uvloop, mailport"])
            .current_dir("/")
            .output();
        let missing = match &imports {
            Ok(done) if done.status.success() => return python,
            Ok(done) => text(&done.stderr),
            Err(error) => error.to_string(),
        };
        panic!(
            "the Python package is not installed for {}: make setup, then make python\n{missing}",
            python.display()
        );
    })
}

/// A program of ours, which sees nothing of this machine's environments but the one it is for.
fn program(path: &str) -> Command {
    let mut command = Command::new(python());
    command.args(["-I", path]).stdin(Stdio::null()).stdout(Stdio::piped());
    command.env_remove("MAILPORT_VIA").env_remove("SSL_CERT_FILE").env_remove("SSL_CERT_DIR");
    command
}

/// The ways in which Python dials.
const WAYS: [&str; 4] = ["connect", "dial", "asyncio", "uvloop"];

/// A Python in a lab, for any number of dials, one after the other.
struct Dialler {
    way: &'static str,
    child: Child,
    orders: ChildStdin,
    words: BufReader<ChildStdout>,
    lab: Lab,
}

impl Dialler {
    fn start(way: &'static str) -> Dialler {
        let network = Network::new(ROUND_TRIP).address(V4, Fate::Open).address(V6, Fate::Open);
        let lab = Lab::start(network).expect("a lab (needs root and /dev/net/tun)");
        let mut command = program(DIAL);
        command.arg(way).stdin(Stdio::piped());
        let mut child = lab.client(|| command.spawn()).expect("an interpreter");
        let orders = child.stdin.take().expect("it was given a pipe");
        let words = BufReader::new(child.stdout.take().expect("it was given a pipe"));
        Dialler { way, child, orders, words, lab }
    }

    /// Makes the lab's network that of a scenario.
    fn enter(&self, scenario: &Scenario) {
        let addresses: Vec<_> = scenario.network.addresses().collect();
        for address in &addresses {
            for port in scenario.plan.services().iter().map(|service| service.port()) {
                self.lab.set(*address, port, scenario.network.fate(*address, port));
            }
        }
        let names: Vec<_> = addresses.iter().map(|address| (HOST, *address)).collect();
        self.lab.hosts(&names).expect("the lab's own file");
    }

    /// What Python says of one dial, and where the SYNs went, in the order of the first to each.
    fn dial(&mut self) -> (Value, Vec<(u16, Family)>) {
        let before = self.lab.syns().len();
        writeln!(self.orders, "{HOST}").expect("Python reads");
        let mut line = String::new();
        self.words.read_line(&mut line).expect("Python writes");
        let said = serde_json::from_str(&line)
            .unwrap_or_else(|error| panic!("{}: {error}: {line:?}", self.way));
        (said, firsts(&self.lab.syns()[before..]))
    }

    /// Compares a dial with what the table expects. One that the machine held up says nothing, and
    /// is made again.
    fn check(&mut self, scenario: &Scenario) {
        self.enter(scenario);
        let expected = &scenario.expected;
        let winner = expected.end.expect("in the table each dial connects");
        let reached = json!([winner.0, winner.1.name()]);
        let attempts: Vec<_> = expected
            .attempts
            .iter()
            .map(|(port, family, outcome)| json!([port, family.name(), outcome.name()]))
            .collect();
        // A second attempt is at the same candidate.
        let mut wanted_syns: Vec<(u16, Family)> = Vec::new();
        for attempt in &expected.attempts {
            if !wanted_syns.contains(&(attempt.0, attempt.1)) {
                wanted_syns.push((attempt.0, attempt.1));
            }
        }
        let wanted_after = expected.after(ROUND_TRIP);
        let (soonest, latest) = (wanted_after.saturating_sub(SOONER), wanted_after + MUCH_LATER);
        for left in (0..TRIES).rev() {
            let (said, syns) = self.dial();
            let mut is_right = said["reached"] == reached && syns == wanted_syns;
            if self.way != "connect" {
                is_right &= said["winner"] == reached && said["attempts"] == json!(attempts);
            }
            let took = Duration::from_secs_f64(said["took"].as_f64().expect("a time"));
            if is_right && (soonest..latest).contains(&took) {
                return;
            }
            // A call that gives a socket alone does not tell how long it looked the name up.
            let looked_up = said["looked_up"].as_f64().map(Duration::from_secs_f64);
            let is_held_up = took > wanted_after + HELD_UP
                || looked_up.map_or(self.way == "connect", |looked_up| looked_up > LOOKED_UP);
            assert!(
                is_held_up && left > 0,
                "{} by {}: {said:#}\nSYNs {syns:?}\nwanted {reached} by {attempts:?} after \
                 {wanted_after:?}",
                scenario.name,
                self.way
            );
        }
    }
}

impl Drop for Dialler {
    fn drop(&mut self) {
        // Both fail only for a process that was waited for, which only this code does.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where SYNs went, without retransmissions.
fn firsts(syns: &[Syn]) -> Vec<(u16, Family)> {
    let mut found = Vec::new();
    for to in syns.iter().map(|syn| (syn.port, Family::from(syn.address))) {
        if !found.contains(&to) {
            found.push(to);
        }
    }
    found
}

#[test]
fn every_case_of_the_table_ends_in_python_as_the_table_says() {
    let (table, begun) = (table(), Instant::now());
    python();
    thread::scope(|scope| {
        for way in WAYS {
            let table = &table;
            scope.spawn(move || {
                let mut dialler = Dialler::start(way);
                for scenario in table {
                    dialler.check(scenario);
                }
            });
        }
    });
    println!("{} scenarios in {} ways in {:?}", table.len(), WAYS.len(), begun.elapsed());
}

/// A lab with Postfix, to which every name here leads.
fn world() -> (Lab, Server) {
    let round_trip = Duration::from_millis(20);
    let network = Network::new(round_trip).address(V4, Fate::Open).address(V6, Fate::Open);
    let lab = Lab::start(network).expect("a lab (needs root and /dev/net/tun)");
    let server = Server::start(&lab, Software::Postfix, &[V4, V6], &[587, 465, 25])
        .unwrap_or_else(|error| panic!("{error}"));
    let names = [HOST, OTHER].map(|name| [(name, V6), (name, V4)]).concat();
    lab.hosts(&names).expect("the lab's own file");
    (lab, server)
}

/// A name of the server's that is not in its certificate.
const OTHER: &str = "other.example.test";

/// Sends in every way, with Python's own default TLS context, for which the system trusts this
/// authority and no other; what Python says of each.
fn send(lab: &Lab, authority: &Path, host: &str, port: u16, subject: &str) -> Vec<Value> {
    let output = lab.client(|| {
        program(SEND)
            .args([host, &port.to_string(), subject])
            .env("SSL_CERT_FILE", authority)
            .output()
            .expect("an interpreter")
    });
    let words = String::from_utf8_lossy(&output.stdout);
    let said: Vec<Value> =
        words.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(said.len(), 4, "{words}\n{errors}");
    assert_eq!(errors, "", "{words}");
    said
}

#[test]
fn mail_is_sent_in_every_way_by_the_port_that_is_left() {
    let (lab, server) = world();
    let authority = server.certificate().expect("Postfix has one");
    for (fate, port, wanted) in [
        (Fate::Open, 587, "587:starttls"),
        (Fate::Reset, 587, "25:starttls"),
        (Fate::Silent, 587, "25:starttls"),
        (Fate::Open, 25, "25:starttls"),
        (Fate::Open, 465, "465:implicit"),
    ] {
        for address in [V4, V6] {
            lab.set(address, 587, fate);
        }
        let logins = server.logins().len();
        let subject = format!("587 is {fate:?}, port {port}");
        let all = send(&lab, authority, HOST, port, &subject);
        let mailbox = server.mailbox().expect("a mailbox");
        for said in all {
            let story = || format!("{said:#}\n{}", server.log());
            assert_eq!(said["service"], wanted, "{}", story());
            assert!(said["cipher"].is_string(), "{}", story());
            let copies: Vec<_> =
                mailbox.iter().filter(|m| m.field("Subject") == said["subject"].as_str()).collect();
            let [copy] = copies[..] else { panic!("{} copies\n{}", copies.len(), story()) };
            let number = wanted.split(':').next().and_then(|number| number.parse().ok());
            assert_eq!(copy.port(), number, "{}", story());
            let received = copy.field("Received").unwrap_or_default();
            assert!(received.contains("ESMTPSA"), "{received}\n{}", story());
            let body = String::from_utf8_lossy(&copy.body);
            assert_eq!(body.trim_end(), ".\n..\nthe last line", "{}", story());
        }
        assert_eq!(server.logins()[logins..], [true; 4], "{subject}\n{}", server.log());
    }
}

/// Fails unless every way connects, is refused by the certificate, and tries nothing else.
fn is_refused(lab: &Lab, server: &Server, authority: &Path, host: &str, why: &str) {
    for address in [V4, V6] {
        lab.set(address, 587, Fate::Open);
    }
    for port in [587, 465] {
        let before = lab.syns().len();
        for said in send(lab, authority, host, port, "Never sent") {
            let trouble = said["trouble"].as_str().unwrap_or_default();
            assert!(trouble.contains("CERTIFICATE_VERIFY_FAILED"), "{said:#}");
            assert!(trouble.contains(why), "{said:#}");
        }
        let syns = lab.syns();
        assert!(syns[before..].iter().all(|syn| syn.port == port), "{:?}", &syns[before..]);
    }
    assert!(server.logins().is_empty(), "{}", server.log());
    assert_eq!(server.mailbox().expect("a mailbox"), []);
}

#[test]
fn a_certificate_for_another_name_is_refused_and_no_other_port_is_tried() {
    let (lab, server) = world();
    let authority = server.certificate().expect("Postfix has one");
    is_refused(&lab, &server, authority, OTHER, "Hostname mismatch");
}

#[test]
fn an_authority_that_nobody_trusts_is_refused_and_no_other_port_is_tried() {
    let (lab, server) = world();
    is_refused(&lab, &server, Path::new("/dev/null"), HOST, "unable to get");
}
