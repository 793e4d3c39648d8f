//! Emacs sends mail to a real server without freezing, in every case of port 587.
//!
//! Needs root (or a user namespace with several users) and /dev/net/tun, Emacs and Mew (`make
//! setup`), and the module that `make emacs` builds; fails without them.

use std::env;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use mailport_lab::mta::{HOST, Server, Software};
use mailport_lab::real::Lab;
use mailport_lab::{Fate, Network};
use serde_json::Value;

const V4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 1));
const ROUND_TRIP: Duration = Duration::from_millis(20);
const BINDING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../bindings/emacs");
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/emacs/send.el");

/// The paper's cases of the Submission port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    Open,
    Refused,
    Filtered,
    Unreachable,
    Silent,
}

impl Case {
    const ALL: [Case; 5] =
        [Case::Open, Case::Refused, Case::Filtered, Case::Unreachable, Case::Silent];

    fn fate(self, address: IpAddr) -> Fate {
        let icmp = |v4, v6| {
            let (kind, code) = if address.is_ipv4() { v4 } else { v6 };
            Fate::Icmp { kind, code }
        };
        match self {
            Case::Open => Fate::Open,
            Case::Refused => Fate::Reset,
            Case::Filtered => icmp((3, 13), (1, 1)),
            Case::Unreachable => icmp((3, 1), (1, 3)),
            Case::Silent => Fate::Silent,
        }
    }

    fn port(self) -> u16 {
        if self == Case::Open { 587 } else { 25 }
    }
}

/// A lab with a server, whose port 587 has this fate.
fn world(case: Case) -> (Lab, Server) {
    let network = Network::new(ROUND_TRIP).address(V4, Fate::Open).address(V6, Fate::Open);
    let lab = Lab::start(network).expect("a lab (needs root and /dev/net/tun)");
    let server = Server::start(&lab, Software::Postfix, &[V4, V6], &[587, 465, 25])
        .unwrap_or_else(|error| panic!("{error}"));
    for address in [V4, V6] {
        lab.set(address, 587, case.fate(address));
    }
    (lab, server)
}

/// A letter for Emacs to send.
#[derive(Clone, Copy)]
struct Letter<'a> {
    subject: &'a str,
    host: &'a str,
    port: u16,
    /// `smtpmail-stream-type`; empty for nil.
    stream: &'a str,
    /// Whether `mailport-mode` is on.
    mailport: bool,
    mew: bool,
    /// When to quit once before it is sent, in seconds after the beginning; empty for never.
    quit: &'a str,
    /// Empty for `smtpmail-send-it`, "background" for `mailport-send-mode`, "method" for a server
    /// and a port that the letter itself names, "setq" for a port that is set without Customize, and
    /// "default" for a port that is not set.
    way: &'a str,
    /// Whether the user has a password.
    login: bool,
}

impl<'a> Letter<'a> {
    fn new(subject: &'a str) -> Letter<'a> {
        let (host, port, stream, mailport) = (HOST, 587, "", true);
        let (mew, quit, way, login) = (false, "", "", true);
        Letter { subject, host, port, stream, mailport, mew, quit, way, login }
    }
}

/// What Emacs says of a letter.
#[derive(Debug)]
struct Sent {
    result: Value,
    output: String,
}

impl Sent {
    fn text(&self, key: &str) -> &str {
        self.result[key].as_str().unwrap_or_default()
    }

    fn seconds(&self, key: &str) -> f64 {
        self.result[key].as_f64().unwrap_or_else(|| panic!("no {key}: {self:?}"))
    }
}

fn send(lab: &Lab, server: &Server, letter: Letter) -> Sent {
    send_trusting(lab, server.certificate().unwrap_or(Path::new("/dev/null")), letter)
}

fn send_trusting(lab: &Lab, certificate: &Path, letter: Letter) -> Sent {
    let home = tempfile::tempdir().expect("a temporary folder");
    // The password is under the port that the user knows, and under no other.
    let login =
        |port, password| format!("machine {HOST} port {port} login reader password {password}\n");
    let other = if letter.port == 25 { 587 } else { 25 };
    let logins = login(letter.port, "secret") + &login(other, "wrong");
    let logins = if letter.login { logins } else { String::new() };
    fs::write(home.path().join("authinfo"), logins).expect("a file");
    assert!(
        Path::new(BINDING).join("mailport-module.so").exists(),
        "the module is not built: make emacs"
    );
    let output = lab.client(|| {
        Command::new("emacs")
            .args(["--batch", "-Q", "--module-assertions", "-L", BINDING])
            .args(["--eval", "(setq backtrace-on-error-noninteractive nil)", "-l", SCRIPT])
            .envs([("HOME", home.path().as_os_str()), ("XDG_RUNTIME_DIR", home.path().as_os_str())])
            .env("LAB_CERTIFICATE", certificate)
            .env("LAB_HOST", letter.host)
            .env("LAB_PORT", letter.port.to_string())
            .env("LAB_TYPE", letter.stream)
            .env("LAB_SUBJECT", letter.subject)
            .env("LAB_MAILPORT", if letter.mailport { "yes" } else { "" })
            .env("LAB_QUIT", letter.quit)
            .env("LAB_WAY", letter.way)
            .env("LAB_MEW", if letter.mew { mew() } else { String::new() })
            .stdin(Stdio::null())
            .output()
            .expect("Emacs (make setup)")
    });
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let succeeded = output.status.success();
    let output = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert!(succeeded, "{output}");
    let line = output.lines().find_map(|line| line.strip_prefix("RESULT "));
    let line = line.unwrap_or_else(|| panic!("Emacs has no result: {output}"));
    let result = serde_json::from_str(line).expect("JSON");
    Sent { result, output }
}

/// The folder of Mew's Lisp: Debian's, or another one to try.
fn mew() -> String {
    env::var("MAILPORT_MEW").unwrap_or_else(|_| "/usr/share/emacs/site-lisp/mew".to_owned())
}

/// Sends, and finds the letter where it belongs, sent under TLS, and by a user who logged in if
/// there is a password.
fn deliver(lab: &Lab, server: &Server, letter: Letter, port: u16) -> Sent {
    let logins = server.logins().len();
    let sent = send(lab, server, letter);
    let story = || format!("{}\n{sent:#?}\n{}\n{}", letter.subject, sent.output, server.log());
    assert_eq!(sent.result["trouble"], Value::Null, "{}", story());
    let mailbox = server.mailbox().expect("a mailbox");
    let copies: Vec<_> =
        mailbox.iter().filter(|m| m.field("Subject") == Some(letter.subject)).collect();
    let [copy] = copies[..] else { panic!("{} copies\n{}", copies.len(), story()) };
    assert_eq!(copy.port(), Some(port), "{}", story());
    if !letter.mew {
        let received = copy.field("Received").unwrap_or_default();
        assert!(received.contains("ESMTPS"), "{received}\n{}", story());
        assert_eq!(received.contains("ESMTPSA"), letter.login, "{received}\n{}", story());
        assert_eq!(server.logins()[logins..], [true][..letter.login.into()], "{}", story());
    }
    sent
}

const FAMILIES: [(&str, &[IpAddr]); 3] =
    [("both families", &[V6, V4]), ("IPv4", &[V4]), ("IPv6", &[V6])];

fn name(lab: &Lab, host: &str, addresses: &[IpAddr]) {
    let pairs: Vec<_> = addresses.iter().map(|address| (host, *address)).collect();
    lab.hosts(&pairs).expect("the lab's own file");
}

/// A timer of 50 ms waits no longer than this while Emacs dials, even on a busy machine. An Emacs
/// that waits for a silent port waits longer.
const LONGEST_GAP: f64 = 1.0;

#[test]
fn smtpmail_sends_in_every_case_over_every_family_without_freezing() {
    // One after the other: this measures time.
    for case in Case::ALL {
        let (lab, server) = world(case);
        for (families, addresses) in FAMILIES {
            name(&lab, HOST, addresses);
            let subject = format!("587 {case:?}, {families}");
            let sent = deliver(&lab, &server, Letter::new(&subject), case.port());
            let (dial, took) = (sent.seconds("dial"), sent.seconds("took"));
            println!(
                "{subject}: {took:.2} s, longest gap {:.0} ms: {}",
                dial * 1000.0,
                sent.text("summary")
            );
            assert!(dial < LONGEST_GAP, "{sent:#?}");
            assert_eq!(sent.result["joined"], 0, "{sent:#?}");
        }
    }
}

#[test]
fn smtpmail_sends_with_every_kind_of_tls() {
    let (lab, server) = world(Case::Refused);
    name(&lab, HOST, &[V6, V4]);
    for (port, stream, reached) in [
        (587, "starttls", 25),
        (25, "", 25),
        (465, "", 465),
        (465, "ssl", 465),
        (25, "starttls", 25),
    ] {
        let subject = format!("type `{stream}`, port {port}");
        let letter = Letter { port, stream, ..Letter::new(&subject) };
        deliver(&lab, &server, letter, reached);
    }
}

#[test]
fn the_port_that_was_asked_for_comes_first() {
    let (lab, server) = world(Case::Open);
    name(&lab, HOST, &[V6, V4]);
    deliver(&lab, &server, Letter { port: 25, ..Letter::new("25 is open") }, 25);
    for address in [V4, V6] {
        lab.set(address, 25, Fate::Reset);
    }
    deliver(&lab, &server, Letter { port: 25, ..Letter::new("25 is refused") }, 587);
}

#[test]
fn an_open_relay_on_25_is_used_without_a_login_though_587_is_open() {
    let (lab, server) = world(Case::Open);
    name(&lab, HOST, &[V6, V4]);
    for way in ["", "background", "method", "setq"] {
        let subject = format!("Relayed by 25, `{way}`");
        let letter = Letter { port: 25, way, login: false, ..Letter::new(&subject) };
        deliver(&lab, &server, letter, 25);
    }
}

#[test]
fn an_open_relay_on_25_without_tls_is_used_with_the_mode_as_without() {
    let network = Network::new(ROUND_TRIP).address(V4, Fate::Open).address(V6, Fate::Open);
    let lab = Lab::start(network).expect("a lab (needs root and /dev/net/tun)");
    // Debian's OpenSMTPD has no TLS.
    let server = Server::start(&lab, Software::OpenSmtpd, &[V4, V6], &[25])
        .unwrap_or_else(|error| panic!("{error}"));
    name(&lab, HOST, &[V6, V4]);
    for fate in [Fate::Reset, Fate::Open] {
        for address in [V4, V6] {
            lab.set(address, 587, fate);
        }
        for (mailport, way) in
            [(false, ""), (true, ""), (true, "background"), (true, "method"), (true, "setq")]
        {
            let subject = format!("587 {fate:?}, mode {mailport}, `{way}`");
            let letter = Letter { port: 25, way, mailport, login: false, ..Letter::new(&subject) };
            let sent = send(&lab, &server, letter);
            let story = format!("{subject}\n{sent:#?}\n{}", server.log());
            assert_eq!(sent.result["trouble"], Value::Null, "{story}");
            let mailbox = server.mailbox().expect("a mailbox");
            let copies = mailbox.iter().filter(|m| m.field("Subject") == Some(&subject)).count();
            assert_eq!(copies, 1, "{story}");
        }
    }
}

/// A relay on port 25 that offers these extensions, and what it has received.
fn relay_that_offers(lab: &Lab, extensions: &'static str) -> Arc<Mutex<String>> {
    lab.release(V4, 25);
    let listener = lab.server(|| TcpListener::bind((V4, 25))).expect("a free port");
    let received = Arc::new(Mutex::new(String::new()));
    let kept = Arc::clone(&received);
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut lines = BufReader::new(stream.try_clone().expect("a socket")).lines();
            let mut say = move |text: &str| drop(stream.write_all(text.as_bytes()));
            let mut is_message = false;
            say("220 relay\r\n");
            while let Some(Ok(line)) = lines.next() {
                kept.lock().expect("no panic").extend([&line[..], "\n"]);
                match &line[..] {
                    "." => is_message = false,
                    "DATA" => is_message = true,
                    _ if is_message => continue,
                    _ => {}
                }
                match line.split(' ').next() {
                    Some("EHLO") => say(&format!("250-relay\r\n{extensions}250 8BITMIME\r\n")),
                    Some("DATA") => say("354 go on\r\n"),
                    Some("STARTTLS") => say("454 not now\r\n"),
                    Some("AUTH") => say("235 welcome\r\n"),
                    _ => say("250 fine\r\n"),
                }
            }
        }
    });
    received
}

#[test]
fn without_tls_no_password_is_sent_and_an_offer_of_tls_that_fails_ends_the_session() {
    for (extensions, login, trouble) in [
        ("250-AUTH PLAIN LOGIN\r\n", false, ""),
        ("250-AUTH PLAIN LOGIN\r\n", true, "no password is sent in cleartext"),
        ("250-STARTTLS\r\n", false, "STARTTLS is offered, and has failed"),
    ] {
        let network = Network::new(ROUND_TRIP).address(V4, Fate::Open);
        let lab = Lab::start(network).expect("a lab (needs root and /dev/net/tun)");
        name(&lab, HOST, &[V4]);
        let received = relay_that_offers(&lab, extensions);
        for way in ["", "background"] {
            let letter = Letter { port: 25, way, login, ..Letter::new("By a relay") };
            let sent = send_trusting(&lab, Path::new("/dev/null"), letter);
            let received = std::mem::take(&mut *received.lock().expect("no panic"));
            let story = format!("{extensions:?} {login} `{way}`: {sent:#?}\n{received}");
            assert_eq!(received.contains("Subject: By a relay"), trouble.is_empty(), "{story}");
            assert!(!received.contains("AUTH"), "{story}");
            assert_eq!(sent.result["trouble"].is_null(), trouble.is_empty(), "{story}");
            assert!(sent.text("trouble").contains(trouble), "{story}");
        }
    }
}

#[test]
fn the_default_port_of_smtpmail_means_that_587_comes_first() {
    let (lab, server) = world(Case::Open);
    name(&lab, HOST, &[V6, V4]);
    let letter = Letter { port: 25, way: "default", ..Letter::new("No port was set") };
    deliver(&lab, &server, letter, 587);
}

#[test]
fn letters_are_sent_in_the_background() {
    for case in [Case::Open, Case::Refused, Case::Silent] {
        let (lab, server) = world(case);
        name(&lab, HOST, &[V6, V4]);
        let subject = format!("In the background, 587 {case:?}");
        let letter = Letter { way: "background", ..Letter::new(&subject) };
        deliver(&lab, &server, letter, case.port());
    }
}

#[test]
fn a_letter_in_the_background_waits_where_a_certificate_is_for_another_name() {
    let (lab, server) = world(Case::Refused);
    let host = "other.example.test";
    name(&lab, host, &[V6, V4]);
    let letter = Letter { host, way: "background", ..Letter::new("Never sent") };
    let sent = send(&lab, &server, letter);
    let trouble = sent.text("trouble");
    assert!(trouble.starts_with("waiting: other.example.test:587: "), "{sent:#?}");
    assert!(trouble.contains("certificate") && trouble.ends_with("press s"), "{sent:#?}");
    assert!(server.logins().is_empty());
    assert_eq!(server.mailbox().expect("a mailbox"), []);
}

#[test]
fn a_certificate_for_another_name_is_refused() {
    let (lab, server) = world(Case::Refused);
    let host = "other.example.test";
    name(&lab, host, &[V6, V4]);
    for (port, stream) in [(587, ""), (587, "starttls"), (465, "tls")] {
        let letter = Letter { host, port, stream, ..Letter::new("Never sent") };
        let sent = send(&lab, &server, letter);
        assert!(sent.text("summary").contains("connected to"), "{sent:#?}");
        assert!(!sent.text("trouble").is_empty(), "{sent:#?}");
        assert_eq!(sent.result["joined"], 0, "{sent:#?}");
    }
    assert!(server.logins().is_empty());
    assert_eq!(server.mailbox().expect("a mailbox"), []);
}

#[test]
fn a_quit_while_587_is_silent_leaves_nothing_and_the_next_letter_goes() {
    let (lab, server) = world(Case::Silent);
    name(&lab, HOST, &[V6, V4]);
    // Before 25 is tried, and while its connection is held.
    for quit in ["0.5", "2"] {
        let subject = format!("After a quit at {quit} s");
        let sent = deliver(&lab, &server, Letter { quit, ..Letter::new(&subject) }, 25);
        let reported = |part: usize| sent.result["quit"][part].clone();
        assert!(reported(0).as_str().is_some_and(|words| words.starts_with("quit")), "{sent:#?}");
        assert_eq!(reported(1), true, "something is left open: {sent:#?}");
        assert!(reported(2).as_str().is_some_and(|words| words.contains("cancelled")), "{sent:#?}");
    }
}

#[test]
fn mew_falls_back_without_freezing_though_ipv6_drops_both_ports() {
    let (lab, server) = world(Case::Silent);
    lab.set(V6, 25, Fate::Silent);
    name(&lab, HOST, &[V6, V4]);
    let letter = Letter { mew: true, ..Letter::new("By Mew") };
    let sent = deliver(&lab, &server, letter, 25);
    assert!(sent.text("summary").contains("connected to 25 over IPv4"), "{sent:#?}");
    assert!(sent.seconds("dial") < LONGEST_GAP, "{sent:#?}");
    println!(
        "Mew: longest gap {:.0} ms, {:.2} s",
        sent.seconds("dial") * 1e3,
        sent.seconds("took")
    );
}

#[test]
#[ignore = "minutes long, for the figures: what Mew does alone"]
fn mew_alone() {
    let (lab, server) = world(Case::Silent);
    lab.set(V6, 25, Fate::Silent);
    name(&lab, HOST, &[V6, V4]);
    let letter = Letter { mew: true, mailport: false, ..Letter::new("By Mew alone") };
    let sent = send(&lab, &server, letter);
    println!("Mew alone: {:.1} s, frozen {:.1} s", sent.seconds("took"), sent.seconds("gap"));
}

#[test]
#[ignore = "minutes long, for the figures: what Emacs does alone"]
fn smtpmail_alone() {
    thread::scope(|scope| {
        for case in Case::ALL {
            scope.spawn(move || {
                let (lab, server) = world(case);
                for (families, addresses) in FAMILIES {
                    name(&lab, HOST, addresses);
                    let subject = format!("587 {case:?}, {families}");
                    let sent =
                        send(&lab, &server, Letter { mailport: false, ..Letter::new(&subject) });
                    let (gap, took) = (sent.seconds("gap"), sent.seconds("took"));
                    println!("{subject}: {took:.1} s, frozen {gap:.1} s: {}", sent.text("trouble"));
                }
            });
        }
    });
}
