//! `mailport probe --tls` on Debian's Postfix, `OpenSMTPD`, Exim and Dovecot, with each fault made
//! for real: the session stops at its stage, names the fault, and says what to do.
//!
//! Needs root (or a user namespace with several users) and /dev/net/tun, and what `make setup`
//! installs and unpacks; fails without them.
//!
//! - `middlebox`: a device on the way that changes what the server says
//! - `hostile`: servers that are slow or endless, or attack

mod hostile;
mod middlebox;

use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use mailport_lab::command::mailport;
use mailport_lab::mta::{Certificate, HOST, Server, Settings, Signer, Software, Validity};
use mailport_lab::real::Lab;
use mailport_lab::{Fate, Network};
use serde_json::Value;

use middlebox::Middlebox;

const V4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const ROUND_TRIP: Duration = Duration::from_millis(10);
const SUBMISSION: &str = "587:starttls";

/// A lab in which the server's name leads to its address.
fn lab() -> Lab {
    mailport();
    let lab = Lab::start(Network::new(ROUND_TRIP).address(V4, Fate::Open));
    let lab = lab.expect("a lab (needs root and /dev/net/tun)");
    lab.hosts(&[(HOST, V4)]).expect("the lab's own file");
    lab
}

fn serve(lab: &Lab, software: Software, ports: &[u16], settings: Settings<'_>) -> Server {
    Server::start_with(lab, software, &[V4], ports, settings)
        .unwrap_or_else(|error| panic!("{software:?}: {error}"))
}

/// What the command printed, with this certificate as the only one that is trusted.
struct Probe {
    status: Option<i32>,
    /// The object of the host.
    host: Value,
    /// The same in words.
    text: String,
    /// The same as a picture.
    picture: String,
    /// What both runs wrote on standard error.
    errors: String,
}

impl Probe {
    fn run(lab: &Lab, authority: &Path, plan: &str) -> Probe {
        let folder = tempfile::tempdir().expect("a folder");
        let picture = folder.path().join("probe.svg");
        let run = |print: &[&str]| {
            let mut command = Command::new(mailport());
            command.args(["probe", "--tls", "--cache", "off", "--allow-cleartext", "--plan", plan]);
            command
                .args(print)
                .arg(HOST)
                .env("SSL_CERT_FILE", authority)
                .env_remove("SSL_CERT_DIR");
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            command.spawn().expect("cargo has just built it")
        };
        // At the same time: some faults are known only after half a minute.
        let (json, text) = lab.client(|| {
            let picture = picture.to_str().expect("UTF-8");
            let both = [run(&["--json"]), run(&["--svg", picture])];
            let [json, text] = both.map(|child| child.wait_with_output().expect("it ends"));
            (json, text)
        });
        let errors = [json.stderr.clone(), text.stderr].concat();
        let errors = String::from_utf8(errors).expect("UTF-8");
        let text = String::from_utf8(text.stdout).expect("UTF-8");
        let picture = std::fs::read_to_string(picture).expect("a picture");
        let mut value: Value = serde_json::from_slice(&json.stdout)
            .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&json.stderr)));
        Probe { status: json.status.code(), host: value["hosts"][0].take(), text, picture, errors }
    }

    /// No output has a control character of a server, or another one that can change what is shown.
    fn is_clean(&self) {
        let (host, text) = (self.host.to_string(), &self.text);
        for output in [text, &self.picture, &self.errors, &host] {
            let bad = |c: char| {
                c.is_control() && c != '\n' || matches!(c, '\u{202a}'..='\u{202e}' | '\u{200b}')
            };
            assert!(!output.contains(bad), "{output:?}");
        }
        for escaped in ["\\u00", "\\u202e"] {
            assert!(!host.contains(escaped), "{host}");
        }
        // Of text of a server, 200 characters are shown.
        let longest = text.lines().map(|line| line.chars().count()).max();
        assert!(longest < Some(600), "{longest:?}: {text}");
        assert!(host.len() < 40_000 && self.picture.len() < 40_000, "{host}");
    }

    fn session(&self) -> &Value {
        &self.host["sessions"][0]
    }

    /// The session stopped after this stage with this fault, and the sentence has these words.
    fn stops(&self, stage: &str, fault: &str, words: &str) {
        let (session, text) = (self.session(), &self.text);
        assert_eq!(
            (&session["stage"], &session["fault"]),
            (&stage.into(), &fault.into()),
            "{self}"
        );
        assert_eq!(self.status, Some(1), "{self}");
        let message = self.host["message"].as_str().expect("a sentence");
        let port = session["port"].as_u64().expect("a port");
        assert!(message.starts_with(&format!("{port} is open, but ")), "{self}");
        assert!(message.contains(words), "{self}");
        let reached = format!("reached {stage}, {fault}");
        assert!(text.contains(&reached) && self.picture.contains(&reached), "{self}");
        assert!(text.lines().last().expect("a line").contains(words), "{self}");
        // Each sentence is explained, by the words that do not depend on the server.
        let page = include_str!("../../../../docs/troubleshooting.md");
        assert!(page.contains(&format!("`{fault}`")), "docs/troubleshooting.md: {fault}");
    }

    fn works(&self, words: &str) {
        assert_eq!((self.status, &self.session()["fault"]), (Some(0), &Value::Null), "{self}");
        let message = self.host["message"].as_str().expect("a sentence");
        assert!(message.contains(" works: ") && message.contains(words), "{self}");
        assert!(self.text.contains("reached auth"), "{self}");
        assert!(self.picture.contains("reached auth"), "{self}");
    }
}

impl std::fmt::Display for Probe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}\n{:#}\n{}", self.status, self.host, self.text)
    }
}

#[test]
fn servers_that_work_are_shown_with_what_they_offer() {
    for (software, mechanisms, size) in [
        (Software::Postfix, &["PLAIN"][..], 100_000_000_u64),
        (Software::Exim, &["PLAIN"], 50 * 1024 * 1024),
        (Software::Dovecot, &["PLAIN", "LOGIN"], 30 * 1024 * 1024),
    ] {
        let lab = lab();
        let server = serve(&lab, software, &[465, 587], Settings::default());
        let authority = server.certificate().expect("a certificate");
        for plan in [SUBMISSION, "465:implicit"] {
            let probe = Probe::run(&lab, authority, plan);
            let story = || format!("{software:?} {probe}\n{}", server.log());
            assert_eq!(probe.session()["fault"], Value::Null, "{}", story());
            probe.works("TLS 1.3, certificate verified until ");
            let session = probe.session();
            assert_eq!(session["with_tls"]["auth"], serde_json::json!(mechanisms), "{}", story());
            assert_eq!(session["with_tls"]["size"], size, "{}", story());
            assert_eq!(session["greeting"]["code"], 220, "{}", story());
            assert_eq!(session["handshake"]["names"], serde_json::json!([HOST]), "{}", story());
            assert_eq!(session["handshake"]["issuer"], "mailport-lab authority", "{}", story());
            let without = &session["without_tls"];
            if plan == SUBMISSION {
                assert_eq!(without["auth"], serde_json::json!([]), "no login without TLS");
            } else {
                assert_eq!(*without, Value::Null, "{}", story());
            }
        }
    }
}

#[test]
fn a_certificate_is_for_another_name_expired_early_or_not_trusted() {
    let portal = "portal.hotel.example";
    let now = Validity::Now;
    let cases = [
        (
            portal,
            now,
            "name",
            "its certificate is for portal.hotel.example: this network asks you to log in first",
        ),
        (
            "smtp.other.example",
            now,
            "name",
            "is for smtp.other.example, not for mail.example.test: use the server name that",
        ),
        (HOST, Validity::Past, "expired", "its certificate expired on "),
        (HOST, Validity::Future, "not-yet-valid", "set the clock of this machine, which says "),
    ];
    for software in [Software::Postfix, Software::Exim, Software::Dovecot] {
        for (name, validity, fault, words) in cases {
            let lab = lab();
            let settings = Settings { name, validity, ..Settings::default() };
            let server = serve(&lab, software, &[587], settings);
            let probe = Probe::run(&lab, server.certificate().expect("a certificate"), SUBMISSION);
            probe.stops("handshake", fault, words);
            assert_eq!(probe.session()["handshake"]["verified"], false, "{probe}");
            // What comes after is shown all the same.
            assert_eq!(probe.session()["with_tls"]["auth"][0], "PLAIN", "{probe}");
        }
        let lab = lab();
        let _server = serve(&lab, software, &[587], Settings::default());
        let folder = tempfile::tempdir().expect("a folder");
        let other = Certificate::new(folder.path()).expect("another authority");
        let probe = Probe::run(&lab, other.authority(), SUBMISSION);
        let words = "is signed by mailport-lab authority, which this system does not trust: ";
        probe.stops("handshake", "untrusted", words);
    }
}

#[test]
fn a_certificate_that_signed_itself_is_named_until_it_is_installed() {
    let folder = tempfile::tempdir().expect("a folder");
    let other = Certificate::new(folder.path()).expect("another authority");
    for software in [Software::Postfix, Software::Exim, Software::Dovecot] {
        for (validity, fault) in [(Validity::Now, "self-signed"), (Validity::Past, "expired")] {
            let lab = lab();
            let settings = Settings { signer: Signer::Itself, validity, ..Settings::default() };
            let server = serve(&lab, software, &[587], settings);
            let probe = Probe::run(&lab, other.authority(), SUBMISSION);
            let is_expired = validity == Validity::Past;
            let words = if is_expired { "expired on " } else { "is signed by itself (mail." };
            probe.stops("handshake", fault, words);
            let problems = probe.session()["handshake"]["problems"].as_array().expect("a list");
            assert!(problems.contains(&"self-signed".into()), "{probe}");
            let own = server.certificate().expect("a certificate");
            let installed = Probe::run(&lab, own, SUBMISSION);
            if is_expired {
                installed.stops("handshake", "expired", "expired on ");
            } else {
                installed.works("certificate verified until ");
            }
        }
    }
}

#[test]
fn a_certificate_with_its_name_in_the_wrong_place_is_named() {
    let lab = lab();
    let signer = Signer::AuthorityWithoutAlternativeName;
    let settings = Settings { signer, ..Settings::default() };
    let server = serve(&lab, Software::Postfix, &[587], settings);
    let probe = Probe::run(&lab, server.certificate().expect("a certificate"), SUBMISSION);
    let words =
        "has mail.example.test only as its common name, which mail clients no longer accept";
    probe.stops("handshake", "common-name", words);
}

#[test]
fn a_server_without_starttls_or_login_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let other = Certificate::new(folder.path()).expect("an authority");
    for software in [Software::Exim, Software::Dovecot, Software::OpenSmtpd] {
        let lab = lab();
        let _server = serve(&lab, software, &[587], Settings { tls: false, ..Settings::default() });
        let probe = Probe::run(&lab, other.authority(), SUBMISSION);
        probe.stops("ehlo", "no-starttls", "it does not offer STARTTLS: ");
    }
    let lab = lab();
    let lines = "auth_advertise_hosts =\n";
    let server = serve(&lab, Software::Exim, &[587], Settings { lines, ..Settings::default() });
    let probe = Probe::run(&lab, server.certificate().expect("a certificate"), SUBMISSION);
    probe.stops("certificate", "no-auth", "it offers no login (AUTH): ");
    drop(server);

    let without = Settings { tls: false, ..Settings::default() };
    let server = serve(&lab, Software::LaxPostfix, &[587, 25], without);
    let authority = server.certificate().expect("a certificate").to_owned();
    let probe = Probe::run(&lab, &authority, SUBMISSION);
    probe.stops("ehlo", "no-starttls", "it does not offer STARTTLS: ");
    drop(server);

    let lines = "smtpd_sasl_auth_enable = no\n";
    let no_login = Settings { lines, ..Settings::default() };
    let server = serve(&lab, Software::Postfix, &[587, 25], no_login);
    let authority = server.certificate().expect("a certificate");
    let probe = Probe::run(&lab, authority, SUBMISSION);
    probe.stops("certificate", "no-auth", "it offers no login (AUTH): ");
    // On port 25 servers deliver to each other, so no login is no fault there.
    Probe::run(&lab, authority, "25:starttls").works("no AUTH: without a login it may take mail");

    // Another service that works is named.
    let probe = Probe::run(&lab, authority, "587:starttls,25:starttls");
    let message = probe.host["message"].as_str().expect("a sentence");
    assert!(message.ends_with("; 25:starttls works"), "{probe}");
}

#[test]
fn a_rejection_is_shown_in_the_words_of_the_server() {
    let reject = "smtpd_delay_reject = no\nsmtpd_client_restrictions = reject\n";
    let defer = "smtpd_delay_reject = no\nsmtpd_client_restrictions = defer\n";
    let busy = "smtpd_delay_reject = no\nsmtpd_client_restrictions = \
                check_client_access static:{421 4.7.0 come back later}\n";
    for (software, lines, stage, fault, words) in [
        (Software::Postfix, reject, "connect", "rejected", "(\"554 5.7.1 "),
        (Software::Postfix, defer, "connect", "rejected", "is not available now (\"450 4.3.2 "),
        (Software::Postfix, busy, "connect", "rejected", "is not available now (\"421 4.7.0 "),
        (
            Software::OpenSmtpd,
            "filter check phase connect match !rdns disconnect \"421 not now\"\n",
            "connect",
            "rejected",
            "is not available now (\"421 not now\")",
        ),
        (
            Software::Exim,
            "acl_smtp_connect = drop message = go away\n",
            "connect",
            "rejected",
            "(\"550 go away\")",
        ),
        (
            Software::Exim,
            "acl_smtp_connect = defer message = too busy\n",
            "connect",
            "rejected",
            "(\"451 too busy\")",
        ),
        (
            Software::Exim,
            "acl_smtp_helo = deny message = no thanks\n",
            "greeting",
            "no-esmtp",
            "rejects EHLO (\"550 no thanks\")",
        ),
        (
            Software::OpenSmtpd,
            "filter check phase connect match !rdns disconnect \"554 not you\"\n",
            "connect",
            "rejected",
            "(\"554 not you\")",
        ),
        (
            Software::Postfix,
            "smtpd_tls_protocols = nonsense\nsmtpd_tls_mandatory_protocols = nonsense\n",
            "ehlo",
            "starttls-rejected",
            "rejects it (\"454 4.7.0 TLS not available",
        ),
    ] {
        let lab = lab();
        let settings =
            Settings { lines, tls: software != Software::OpenSmtpd, ..Settings::default() };
        let server = serve(&lab, software, &[587], settings);
        let probe = Probe::run(&lab, server.certificate().expect("a certificate"), SUBMISSION);
        probe.stops(stage, fault, words);
        if lines == reject {
            // RFC 5321 section 3.1: the server waits for QUIT.
            wait_for_log(&server, "quit=1", 2);
        }
    }
}

#[test]
fn a_server_that_has_too_many_connections_says_421() {
    let lab = lab();
    let lines = "smtp_accept_max = 1\n";
    let server = serve(&lab, Software::Exim, &[587], Settings { lines, ..Settings::default() });
    // The one connection that it takes: the one before may still be ending.
    let held = lab.client(|| {
        loop {
            let mut stream = TcpStream::connect(SocketAddr::new(V4, 587)).expect("it listens");
            let mut code = [0; 3];
            if stream.read_exact(&mut code).is_ok() && code == *b"220" {
                return stream;
            }
            thread::sleep(Duration::from_millis(50));
        }
    });
    let probe = Probe::run(&lab, server.certificate().expect("a certificate"), SUBMISSION);
    drop(held);
    probe.stops("connect", "rejected", "is not available now (\"421 ");
}

/// Waits until the log has a text so many times.
fn wait_for_log(server: &Server, text: &str, count: usize) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while server.log().matches(text).count() < count {
        assert!(Instant::now() < deadline, "{text}: {}", server.log());
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn without_a_connection_the_last_line_says_why_and_what_to_do() {
    let lab = lab();
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Certificate::new(folder.path()).expect("an authority");
    for (fates, sentence) in [
        (
            [Fate::Reset, Fate::Reset],
            "no port connects (587 is refused, 25 is refused): no mail server listens there; ",
        ),
        (
            [Fate::Icmp { kind: 3, code: 13 }, Fate::Silent],
            ", 25 is silent): a firewall blocks mail on this network or at the server, or the server \
             is down; try port 465 (--plan 465:implicit), another network or a tunnel ",
        ),
    ] {
        lab.set(V4, 587, fates[0]);
        lab.set(V4, 25, fates[1]);
        let probe = Probe::run(&lab, authority.authority(), "submission");
        assert_eq!((probe.status, &probe.host["sessions"]), (Some(1), &serde_json::json!([])));
        let message = probe.host["message"].as_str().expect("a sentence");
        assert!(message.contains(sentence) && message.starts_with("no port connects ("), "{probe}");
        assert_eq!(probe.text.lines().last(), Some(message), "{probe}");
        assert!(fates[1] == Fate::Reset || message.contains("587 is filtered by "), "{probe}");
    }
}

#[test]
fn a_server_whose_tls_is_broken_fails_at_the_handshake() {
    let lab = lab();
    // That of Debian 12 breaks every handshake off (see `Software::OpenSmtpd`).
    let settings = Settings { lines: "# with TLS\n", ..Settings::default() };
    let server = serve(&lab, Software::OpenSmtpd, &[587], settings);
    let authority = server.certificate().expect("a certificate");
    let probe = Probe::run(&lab, authority, SUBMISSION);
    probe.stops("starttls", "handshake", "the TLS handshake fails (");
}

#[test]
fn the_wrong_tls_mode_is_named() {
    let lab = lab();
    let server = serve(&lab, Software::Postfix, &[465, 587], Settings::default());
    let authority = server.certificate().expect("a certificate");
    Probe::run(&lab, authority, "587:implicit").stops(
        "connect",
        "not-tls",
        "use --plan 587:starttls",
    );
    // A server that waits for TLS says nothing.
    Probe::run(&lab, authority, "465:starttls").stops(
        "connect",
        "silent",
        "use --plan 465:implicit",
    );
}

#[test]
fn what_does_not_speak_smtp_is_shown() {
    let lab = lab();
    let server = serve(&lab, Software::Postfix, &[2525], Settings::default());
    let authority = server.certificate().expect("a certificate").to_owned();
    lab.release(V4, 587);
    let mut web = lab.server(|| {
        Command::new("python3")
            .args(["-u", "-c", "import socketserver,http.server as h\nclass H(h.BaseHTTPRequestHandler):\n  def handle(self): self.requestline=self.request_version=self.command=''; self.close_connection=True; self.send_error(400)\nsocketserver.TCPServer(('192.0.2.1',587),H).serve_forever()"])
            .spawn()
            .expect("Python")
    });
    let at = SocketAddr::new(V4, 587);
    lab.server(|| while TcpStream::connect(at).is_err() {});
    let probe = Probe::run(&lab, &authority, SUBMISSION);
    let _ = web.kill();
    let _ = web.wait();
    probe.stops("connect", "not-smtp", "what answers is not SMTP (\"");
}

#[test]
fn a_device_on_the_way_that_interferes_with_starttls_is_found() {
    type Change = fn(&str) -> String;
    let cases: [(Change, &str, &str, &str); 6] = [
        (
            |line| line.replace("STARTTLS", "XXXXXXXX"),
            "ehlo",
            "starttls-stripped",
            "overwritten the offer of STARTTLS (XXXXXXXX)",
        ),
        (
            |line| if line.starts_with("250-STARTTLS") { String::new() } else { line.to_owned() },
            "ehlo",
            "no-starttls",
            "a device on this network removes it",
        ),
        (
            |line| {
                if line.starts_with("220 2.0.0") {
                    "502 5.5.1 no such command\r\n".to_owned()
                } else {
                    line.to_owned()
                }
            },
            "ehlo",
            "starttls-rejected",
            "502 5.5.1 no such command",
        ),
        (
            |line| {
                if line.starts_with("220 2.0.0") {
                    format!("{line}250 inserted\r\n")
                } else {
                    line.to_owned()
                }
            },
            "starttls",
            "injected",
            "inserting replies",
        ),
        (
            |line| if line.starts_with("250") { String::new() } else { line.to_owned() },
            "greeting",
            "stalled",
            "stopped answering",
        ),
        (
            |_| "HTTP/1.0 302 Found\r\n".to_owned(),
            "connect",
            "not-smtp",
            "(\"HTTP/1.0 302 Found\")",
        ),
    ];
    thread::scope(|scope| {
        for (change, stage, fault, words) in cases {
            scope.spawn(move || {
                let lab = lab();
                let server = serve(&lab, Software::Postfix, &[2525], Settings::default());
                lab.release(V4, 587);
                let from = SocketAddr::new(V4, 587);
                let _middlebox =
                    lab.server(|| Middlebox::start(from, SocketAddr::new(V4, 2525), change));
                let authority = server.certificate().expect("a certificate");
                Probe::run(&lab, authority, SUBMISSION).stops(stage, fault, words);
            });
        }
    });
}

#[test]
fn a_connection_that_is_closed_before_the_greeting_is_named() {
    let lab = lab();
    lab.set(V4, 587, Fate::AcceptThenClose(Duration::from_millis(50)));
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Certificate::new(folder.path()).expect("an authority");
    let probe = Probe::run(&lab, authority.authority(), SUBMISSION);
    probe.stops("connect", "closed", "was closed in the session");
}

#[test]
fn no_control_code_of_a_server_reaches_the_terminal() {
    let lab = lab();
    let lines = format!(
        "smtpd_banner = $myhostname \u{1b}[31mred\u{1b}]0;title\u{7} {}\n",
        "x".repeat(400)
    );
    let settings = Settings { lines: &lines, ..Settings::default() };
    let server = serve(&lab, Software::Postfix, &[587], settings);
    let probe = Probe::run(&lab, server.certificate().expect("a certificate"), SUBMISSION);
    probe.works("AUTH PLAIN");
    assert!(probe.text.contains("red") && probe.text.contains("…"), "{probe}");
    probe.is_clean();
    drop(server);

    // In the certificate, which ends up in the last line and in the title of the picture.
    let settings = Settings { name: "a\u{1b}[31m\u{7}b.example", ..Settings::default() };
    let server = serve(&lab, Software::Postfix, &[587], settings);
    let probe = Probe::run(&lab, server.certificate().expect("a certificate"), SUBMISSION);
    probe.stops(
        "handshake",
        "name",
        "its certificate is for a\u{fffd}[31m\u{fffd}b.example, not for",
    );
    probe.is_clean();
}

#[test]
fn each_service_has_one_session_that_ends_with_quit() {
    let lab = lab();
    let server = serve(&lab, Software::Postfix, &[25, 465, 587], Settings::default());
    let authority = server.certificate().expect("a certificate");
    let probe = Probe::run(&lab, authority, "587:starttls,465:implicit,25:starttls");
    assert_eq!(probe.host["sessions"].as_array().map(Vec::len), Some(3), "{probe}");
    // In JSON and in words.
    wait_for_log(&server, "quit=1", 6);
    let log = server.log();
    let ended = log.lines().filter(|line| line.contains("disconnect from")).collect::<Vec<_>>();
    let quits = ended.iter().filter(|line| line.contains("quit=1")).count();
    let connections = log.lines().filter(|line| line.contains(": connect from")).count();
    // The lab itself connects once to each port when the server starts.
    assert!(quits == 6 && connections <= 9, "{log}");
    assert!(ended.iter().all(|line| !line.contains("auth=") && !line.contains("mail=")), "{log}");
}
