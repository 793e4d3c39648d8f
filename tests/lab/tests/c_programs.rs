//! The programs of `examples/c` in real networks, and mail through them to a real server.
//!
//! Needs root (or a user namespace with several users) and /dev/net/tun, and what `make setup`
//! installs and unpacks; fails without them.

#[path = "../../common/c.rs"]
mod c;

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use c::{LOOPS, left_open, library, output_of, program, repository, sanitized, valgrind};
use mailport::Family;
use mailport_lab::mta::{HOST, READER, Server, Software};
use mailport_lab::real::Lab;
use mailport_lab::scenario::{Scenario, V4, V6, table};
use mailport_lab::{Fate, Network, ROUTER_V4, ROUTER_V6};
use socket2::{Domain, Socket, Type};

/// The rows of the design's table.
const TABLE: [&str; 9] = [
    "587 is open twice",
    "587 is reset twice",
    "587 is filtered twice",
    "587 is unreachable twice",
    "587 is silent",
    "587 is silent twice",
    "IPv6 is dead and 587 open over IPv4",
    "IPv6 is dead and 587 reset over IPv4",
    "587 loses the first SYN over both families",
];
/// How much later than the table says a program may end and still say something: less than the least
/// time between two events of the table, which come in another order where one is late.
const HELD_UP: Duration = Duration::from_millis(8);
/// How much later it may end at all: no machine is held up for so long, and a program that waits for
/// something else than the table says, such as a timer of ten seconds, ends later.
const TOO_LATE: Duration = Duration::from_secs(5);
const TRIES: usize = 10;
const NAME: &str = "mail.example.com";

/// A row's network, with its name.
fn lab_of(scenario: &Scenario) -> Lab {
    let lab = Lab::start(scenario.network.clone()).expect("a lab (needs root and /dev/net/tun)");
    let names: Vec<_> = scenario.network.addresses().map(|address| (NAME, address)).collect();
    lab.hosts(&names).expect("the lab's own file");
    lab
}

/// What a program prints, and how long it ran.
fn dialled(lab: &Lab, program: &Path) -> (String, Duration) {
    lab.client(|| {
        let start = Instant::now();
        let output = Command::new(program).arg(NAME).output().expect("it runs");
        (words(&output), start.elapsed())
    })
}

/// Runs one kind of loop in one network, and gives how long it ran. The program with a thread does
/// not know its port; the SYNs of its lab do.
fn check(scenario: &Scenario, name: &str, program: &Path) -> Duration {
    let (port, family) = scenario.expected.end.expect("the rows connect");
    let after = scenario.expected.after(scenario.network.round_trip);
    let family = if family == Family::Ipv6 { "IPv6" } else { "IPv4" };
    for left in (0..TRIES).rev() {
        let lab = lab_of(scenario);
        let (printed, took) = dialled(&lab, program);
        let is_right = if name == "thread" {
            let has_fallen_back = lab.syns().iter().any(|syn| syn.port == 25);
            let may_fall_back = scenario.expected.attempts.iter().any(|(port, ..)| *port == 25);
            printed == format!("connected to {NAME}\n")
                && (has_fallen_back == may_fall_back || port == 587)
        } else {
            printed.contains(&format!("connected to {port} over {family}"))
        };
        // A dial that ends sooner has not waited for what it must wait for.
        let is_early = took < after.saturating_sub(Duration::from_millis(2));
        if is_right && !is_early && took < after + TOO_LATE {
            return took;
        }
        let held_up = took > after + HELD_UP;
        assert!(held_up && left > 0, "{}, {name}: {printed} after {took:?}", scenario.name);
    }
    unreachable!("the last try returns or fails")
}

fn rows(all: &[Scenario]) -> [&Scenario; 9] {
    TABLE.map(|name| all.iter().find(|row| row.name == name).expect("its name"))
}

#[test]
fn every_kind_of_loop_gives_the_table_of_the_design() {
    let all = table();
    let rows = rows(&all);
    let programs =
        LOOPS.map(|(name, package)| (name, program(&format!("examples/c/{name}.c"), &[package])));
    // They mostly wait, so a few run side by side; more would hold each other up.
    thread::scope(|scope| {
        for lane in 0..4 {
            let mine = rows.iter().skip(lane).step_by(4);
            let programs = &programs;
            scope.spawn(move || {
                for row in mine {
                    for (name, program) in programs {
                        let took = check(row, name, program);
                        println!("{}, {name}: {took:?}", row.name);
                    }
                }
            });
        }
    });
}

/// The table's last row: after any first dial, the second is as learned. Two programs, one
/// after the other, and a cache in a file between them.
#[test]
fn what_one_program_has_learned_spares_the_next_one_its_waiting() {
    let program = program("ffi/tests/c/remember.c", &[]);
    for row in rows(&table()) {
        for left in (0..TRIES).rev() {
            let (lab, folder) = (lab_of(row), tempfile::tempdir().expect("a temporary folder"));
            let dial = || {
                let mut command = Command::new(&program);
                command.arg(NAME).arg(folder.path().join("cache.json"));
                let output = lab.client(|| command.output().expect("it runs"));
                let said = words(&output);
                let reported = said.trim().split_once(' ').filter(|_| output.status.success());
                let (port, us) = reported.unwrap_or_else(|| panic!("{}: {said}", row.name));
                (port.to_owned(), us.parse::<u64>().expect("microseconds"))
            };
            let first = dial();
            // A packet that was lost is no property of the port: the next one is not.
            for (port, address) in row.network.losing() {
                lab.set(address, port, Fate::Open);
            }
            let second = dial();
            assert_eq!(first.0, second.0, "{}", row.name);
            let is_open = row.name == "587 is open twice";
            if is_open || second.1 < first.1 {
                println!("{}: {} us, then {} us", row.name, first.1, second.1);
                break;
            }
            assert!(left > 0, "{}: {first:?}, then {second:?}", row.name);
        }
    }
}

#[test]
fn the_dials_of_a_process_share_a_cache_unless_it_is_off() {
    let source = "ffi/tests/c/shared_cache.c";
    let all = table();
    let row = all.iter().find(|row| row.name == "587 is silent").expect("its name");
    let waited = "25 timeout\n";
    let remembered = "25 cancelled\n";
    let expected = [waited, remembered, waited, remembered, waited].concat();
    let plain = program(source, &[]);
    for mut command in [Command::new(&plain), valgrind(&plain), sanitized(source, "")] {
        let lab = lab_of(row);
        command.arg(NAME);
        for left in (0..TRIES).rev() {
            let output = lab.client(|| command.output().expect("it runs"));
            assert!(output.status.success(), "{}", words(&output));
            assert_eq!(left_open(&words(&output)), [""; 0]);
            let printed = String::from_utf8_lossy(&output.stdout);
            if printed == expected {
                break;
            }
            // In a dial that the machine held up, 587 may be silent for too long before 25 wins.
            assert!(left > 0, "{printed}");
        }
    }
}

#[test]
fn the_router_that_says_no_is_reported_with_its_words() {
    let source = "ffi/tests/c/icmp.c";
    for (host, fate, starts) in [
        (V4, Fate::Icmp { kind: 3, code: 13 }, format!("4 3 13 {ROUTER_V4} ")),
        (V6, Fate::Icmp { kind: 1, code: 1 }, format!("6 1 1 {ROUTER_V6} ")),
    ] {
        let mut network = Network::new(Duration::from_millis(5)).address(host, Fate::Open);
        network.set(host, 587, fate);
        let lab = Lab::start(network).expect("a lab (needs root and /dev/net/tun)");
        let plain = program(source, &[]);
        for mut command in [Command::new(&plain), valgrind(&plain), sanitized(source, "")] {
            let output = lab.client(|| command.arg(host.to_string()).output().expect("it runs"));
            let said = words(&output);
            assert!(output.status.success() && said.starts_with(&starts), "{said}");
            assert!(said.contains("administratively prohibited"), "{said}");
            assert_eq!(left_open(&said), [""; 0], "{said}");
        }
    }
}

/// Runs the program of many dials where it finds that many names. It gets their number, and the ports.
fn crowd(dials: usize, mut command: Command) -> Output {
    let network = Network::new(Duration::from_millis(1)).address(V4, Fate::Open);
    let lab = Lab::start(network).expect("a lab (needs root and /dev/net/tun)");
    let names: Vec<String> = (0..dials).map(|i| format!("mail-{i}.example")).collect();
    let loopback = IpAddr::from([127, 0, 0, 1]);
    let hosts: Vec<(&str, IpAddr)> = names.iter().map(|name| (&name[..], loopback)).collect();
    lab.hosts(&hosts).expect("the lab's own file");
    let (refused, open) = lab.client(|| {
        let open = TcpListener::bind((loopback, 0)).expect("a free port");
        let refused = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        refused.bind(&SocketAddr::from((loopback, 0)).into()).expect("a free port");
        (refused, open)
    });
    let refused_at = refused.local_addr().ok().and_then(|at| at.as_socket()).expect("bound").port();
    let open_at = open.local_addr().expect("bound").port();
    thread::scope(|scope| {
        scope
            .spawn(|| open.incoming().take_while(|s| s.as_ref().is_ok_and(is_no_farewell)).count());
        lab.client(|| {
            let output = command
                .arg(dials.to_string())
                .args([refused_at.to_string(), open_at.to_string()])
                .output();
            // Ends the thread above.
            let farewell = TcpStream::connect((loopback, open_at));
            farewell.and_then(|mut stream| stream.write_all(b"!")).expect("an open port");
            output.expect("it runs")
        })
    })
}

/// As many descriptors as a program may ask for.
fn descriptors() -> usize {
    let limits = fs::read_to_string("/proc/self/limits").expect("procfs");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("a limit");
    let hard = line.split_whitespace().nth(4).expect("soft and hard");
    hard.parse().unwrap_or(usize::MAX)
}

/// Names are those of /etc/hosts, which the C library reads from the beginning for each, on at most
/// 16 threads of the resolver. Other tests, whose dials are to be in time, go first.
#[test]
fn five_thousand_dials_by_name_at_once_end_right_in_one_thread() {
    let dials = 5000;
    let program = program("ffi/tests/c/crowd.c", &["libevent_core"]);
    let start = Instant::now();
    let mut command = Command::new("nice");
    command.args(["-n", "19"]).arg(program);
    let output = crowd(dials, command);
    let printed = words(&output);
    assert!(output.status.success(), "{printed}");
    // Where the limit is too low for all, some begin when others have ended.
    let at_once = dials.min(descriptors().saturating_sub(2001) / 3);
    assert_eq!(printed, format!("{dials} dials, {at_once} at once\n"));
    println!("{dials} dials by name, {at_once} at once, in {:?}", start.elapsed());
}

#[test]
fn many_dials_are_clean_under_valgrind_and_the_address_sanitizer() {
    let source = "ffi/tests/c/crowd.c";
    let package = "libevent_core";
    for command in [valgrind(&program(source, &[package])), sanitized(source, package)] {
        let output = crowd(60, command);
        let said = words(&output);
        assert!(output.status.success(), "{said}");
        assert_eq!(left_open(&said), [""; 0], "{said}");
    }
}

/// As root, who may set a mark.
#[test]
fn a_mark_that_was_set_is_on_the_connection() {
    let network = Network::new(Duration::from_millis(1)).address(V4, Fate::Open);
    let lab = Lab::start(network).expect("a lab (needs root and /dev/net/tun)");
    let program = program("ffi/tests/c/options.c", &[]);
    let output = lab.client(|| Command::new(program).output().expect("it runs"));
    assert!(output.status.success(), "{}", words(&output));
    assert_eq!(output.stdout, b"the mark is set\n");
}

/// A user who may start a program that has the rights of another one must not lead it anywhere.
#[test]
fn a_set_user_id_program_believes_nothing_of_its_user_s_environment() {
    const OWNER: u32 = 1;
    const NOBODY: u32 = 65534;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let program = folder.path().join("privileged");
    // Linked statically, for the user nobody cannot read where the library was built.
    let mut cc = Command::new("cc");
    cc.arg("-o").arg(&program).arg(repository().join("ffi/tests/c/privileged.c"));
    cc.arg("-I").arg(repository().join("include")).arg(library().join("libmailport.a"));
    output_of(cc.args(["-lpthread", "-lm", "-ldl"]));
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("our folder");
    let network = Network::new(Duration::from_millis(1)).address(V4, Fate::Open);
    let lab = Lab::start(network).expect("a lab (needs root and /dev/net/tun)");
    let said = |word: &str| {
        lab.client(|| {
            let open = TcpListener::bind("127.0.0.1:0").expect("a free port");
            let plan = format!("{}:starttls", open.local_addr().expect("bound").port());
            let mut command = Command::new(&program);
            command.args([&plan, word]).uid(NOBODY).gid(NOBODY).env_clear();
            output_of(command.env("MAILPORT_ONLY_PORTS", "1").env("HOME", folder.path()))
        })
    };
    assert_eq!(said("plain"), "MAILPORT_ONLY_PORTS=1 leaves nothing to try\n");
    chown(&program, Some(OWNER), Some(OWNER)).expect("root");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o4755)).expect("root");
    let printed = said("privileged");
    assert!(printed.starts_with("connected to "), "{printed}");
}

/// Whether a connection says nothing, as those of the dials do.
fn is_no_farewell(stream: &TcpStream) -> bool {
    let mut stream = stream;
    !matches!(stream.read(&mut [0]), Ok(1))
}

/// A lab with a server on these ports, by its name and by another that is not in its certificate.
fn world(software: Software, ports: &[u16]) -> (Lab, Server) {
    let network = Network::new(Duration::from_millis(20));
    let network = network.address(V4, Fate::Open).address(V6, Fate::Open);
    let lab = Lab::start(network).expect("a lab (needs root and /dev/net/tun)");
    let server = Server::start(&lab, software, &[V4, V6], ports)
        .unwrap_or_else(|error| panic!("{software:?}: {error}"));
    let names: Vec<(&str, IpAddr)> =
        [HOST, OTHER].iter().flat_map(|name| [(*name, V4), (*name, V6)]).collect();
    lab.hosts(&names).expect("the lab's own file");
    (lab, server)
}

/// A name that is in no certificate.
const OTHER: &str = "other.example.test";
const LOGIN: [(&str, &str); 2] = [("SUBMIT_USER", "reader"), ("SUBMIT_PASSWORD", "open sesame")];
/// Dots, and each way that a line can end; then what arrives.
const LETTER: &str = "From: sender@example.test\nTo: reader@example.test\r\nSubject: dots\n\n\
                      .\n..\r\n.x\ragain\n\nGr\u{fc}\u{df}e\nno end";
const ARRIVES: &str = ".\n..\n.x\nagain\n\nGr\u{fc}\u{df}e\nno end\n";

/// Submits a letter from where the client is.
fn submit(lab: &Lab, trusted: Option<&Path>, host: &str, settings: &[(&str, &str)]) -> Output {
    let program = program("examples/c/submit.c", &["openssl"]);
    submit_by(Command::new(program), lab, trusted, host, settings)
}

fn submit_by(
    mut command: Command,
    lab: &Lab,
    trusted: Option<&Path>,
    host: &str,
    settings: &[(&str, &str)],
) -> Output {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let letter = folder.path().join("letter");
    fs::write(&letter, LETTER).expect("a file in a folder of ours");
    lab.client(|| {
        command.args([host, "sender@example.test", READER]);
        for name in ["SUBMIT_USER", "SUBMIT_PASSWORD", "SUBMIT_PORT"] {
            command.env_remove(name);
        }
        command.envs(settings.iter().copied()).env("SSL_CERT_DIR", folder.path());
        command.env("SSL_CERT_FILE", trusted.unwrap_or(Path::new("/dev/null")));
        command.stdin(File::open(&letter).expect("it was just written"));
        command.output().expect("it runs")
    })
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

/// Runs `submit`, which must say this and deliver nothing.
fn refuses(
    (lab, server): &(Lab, Server),
    trusted: Option<&Path>,
    host: &str,
    settings: &[(&str, &str)],
    why: &str,
) {
    let output = submit(lab, trusted, host, settings);
    let said = words(&output);
    assert_eq!(output.status.code(), Some(1), "{said}\n{}", server.log());
    assert!(said.contains(why), "{said}\n{}", server.log());
    assert_eq!(server.mailbox().expect("a mailbox"), [], "{said}");
}

#[test]
fn a_small_mail_client_submits_with_starttls_on_either_port_and_logs_in() {
    let login = [("SUBMIT_USER", "reader"), ("SUBMIT_PASSWORD", "secret")];
    let cases = [([587, 25].as_slice(), 587, &[][..]), (&[25], 25, &[]), (&[587], 587, &login)];
    for (ports, port, settings) in cases {
        let (lab, server) = world(Software::Postfix, ports);
        let output = submit(&lab, server.certificate(), HOST, settings);
        let said = words(&output);
        assert!(output.status.success(), "{said}\n{}", server.log());
        assert!(said.contains(&format!("connected to {port} over")), "{said}");
        let mailbox = server.mailbox().expect("a mailbox");
        let [letter] = &mailbox[..] else { panic!("{mailbox:?}\n{said}\n{}", server.log()) };
        assert_eq!(letter.port(), Some(port), "{:#?}", letter.header);
        assert_eq!(letter.field("Subject"), Some("dots"));
        assert!(letter.field("Received").unwrap_or_default().contains("ESMTPS"));
        assert_eq!(String::from_utf8_lossy(&letter.body), ARRIVES);
    }
}

#[test]
fn a_small_mail_client_is_clean_under_valgrind_and_the_address_sanitizer() {
    let (lab, server) = world(Software::Postfix, &[587, 25]);
    let source = "examples/c/submit.c";
    let commands = [valgrind(&program(source, &["openssl"])), sanitized(source, "openssl")];
    for command in commands {
        let output = submit_by(command, &lab, server.certificate(), HOST, &[]);
        let said = words(&output);
        assert!(output.status.success(), "{said}");
        assert_eq!(left_open(&said), [""; 0], "{said}");
    }
    assert_eq!(server.mailbox().expect("a mailbox").len(), 2);
}

#[test]
fn a_small_mail_client_keeps_its_letter_from_a_server_it_cannot_trust() {
    let world = world(Software::Postfix, &[587, 25]);
    let certificate = world.1.certificate().map(Path::to_owned);
    let trusted = certificate.as_deref();
    refuses(&world, trusted, OTHER, &[], "TLS failed, so nothing is sent: hostname");
    refuses(&world, trusted, "192.0.2.1", &[], "nothing is sent: IP address mismatch");
    refuses(&world, None, HOST, &[], "nothing is sent: unable to get local issuer");
    refuses(&world, trusted, HOST, &LOGIN, "the login is refused");
}

/// What is left of a server when a device on the way takes STARTTLS out of its greeting.
#[test]
fn a_small_mail_client_keeps_its_letter_and_password_where_there_is_no_starttls() {
    let world = world(Software::OpenSmtpd, &[587, 25]);
    for settings in [LOGIN.as_slice(), &[]] {
        refuses(&world, None, HOST, settings, "does not offer STARTTLS, so nothing is sent");
    }
}

/// Speaks SMTP with a login behind `openssl s_server`, for one client, and gives what that said.
fn implicit_server(lab: &Lab, folder: &Path) -> thread::JoinHandle<Vec<String>> {
    let mut openssl = lab.server(|| {
        Command::new("openssl")
            .args(["s_server", "-quiet", "-naccept", "1", "-accept", "465", "-key"])
            .arg(folder.join("key.pem"))
            .arg("-cert")
            .arg(folder.join("certificate.pem"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the command openssl")
    });
    thread::spawn(move || {
        let mut to = openssl.stdin.take().expect("a pipe");
        let from = BufReader::new(openssl.stdout.take().expect("a pipe"));
        let mut said = Vec::new();
        let mut is_letter = false;
        to.write_all(b"220 ready\r\n").expect("written");
        for line in from.lines() {
            let line = line.expect("a line");
            let reply = match line.split(' ').next().expect("a word") {
                _ if is_letter && line != "." => "",
                "EHLO" => "250-mail\r\n250-SIZE\r\n250 AUTH LOGIN PLAIN\r\n",
                "AUTH" => "235 welcome\r\n",
                "DATA" => "354 go on\r\n",
                _ => "250 fine\r\n",
            };
            is_letter = line == "DATA" || (is_letter && line != ".");
            said.push(line);
            // The client does not wait for the last reply.
            let _ = to.write_all(reply.as_bytes());
        }
        drop(to);
        openssl.wait().expect("it ends");
        said
    })
}

#[test]
fn a_small_mail_client_logs_in_inside_tls_from_the_first_byte() {
    let (lab, server) = world(Software::Postfix, &[25]);
    let talk = implicit_server(&lab, server.folder());
    // openssl does not say when it listens; until then the port is refused.
    let settings = [LOGIN.as_slice(), &[("SUBMIT_PORT", "465")]].concat();
    let until = Instant::now() + Duration::from_secs(20);
    let output = loop {
        let output = submit(&lab, server.certificate(), HOST, &settings);
        if !words(&output).contains("465 is refused") || Instant::now() > until {
            break output;
        }
        thread::sleep(Duration::from_millis(20));
    };
    assert!(output.status.success(), "{}", words(&output));
    let said = talk.join().expect("a talk");
    // printf '\0reader\0open sesame' | base64
    assert_eq!(said[1], "AUTH PLAIN AHJlYWRlcgBvcGVuIHNlc2FtZQ==");
    assert_eq!(
        said[2..5],
        ["MAIL FROM:<sender@example.test>", "RCPT TO:<reader@example.test>", "DATA",]
    );
    assert!(said.contains(&"..".to_owned()) && said.contains(&"...".to_owned()), "{said:?}");
}
