//! Dials through proxies and commands, on real sockets and with real processes.
#![expect(clippy::unwrap_used, reason = "a test that cannot set its scene has failed")]

mod common;

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Output;
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use common::{Port, descriptors, hasty, open, plan, refused, resolver, silent, wait_until};
use mailport::outcome::ViaError;
use mailport::report::{End, Greeting};
use mailport::{
    Config, ConnectError, Connected, Dialer, Families, Gate, Outcome, Report, Status, Target, Via,
};
use tempfile::TempDir;

/// These tests count descriptors and processes, so they take turns.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn target() -> Target {
    "mail.example".parse().unwrap()
}

fn dialer(via: &str) -> Dialer {
    Dialer::default().with_via(via.parse().unwrap())
}

fn through(via: &str, ports: &[u16], config: &Config) -> Result<Connected, ConnectError> {
    dialer(via).connect(&target(), &plan(ports), config)
}

fn failed(result: Result<Connected, ConnectError>) -> Report {
    match result {
        Err(ConnectError::Failed(report)) => *report,
        other => panic!("not a failed dial: {other:?}"),
    }
}

fn outcomes(report: &Report) -> Vec<Outcome> {
    report.attempts.iter().map(|attempt| attempt.outcome).collect()
}

fn note(report: &Report, attempt: usize) -> &str {
    report.attempts[attempt].note.as_deref().unwrap_or_default()
}

fn read_to_end(mut stream: &TcpStream) -> String {
    let mut all = String::new();
    stream.read_to_string(&mut all).unwrap();
    all
}

/// What a proxy reads first of a client without a login, and of one with.
const HELLO: &[u8] = &[5, 1, 0];
const HELLO_WITH_LOGIN: &[u8] = &[5, 2, 0, 2];
const CONNECTED: &[u8] = &[5, 0, 0, 1, 127, 0, 0, 1, 0, 25];

/// A proxy for one test: `serve` is called with the number of each connection.
struct Proxy {
    url: String,
    /// The port of each request, as it comes.
    requests: mpsc::Receiver<u16>,
}

type Requests = mpsc::Sender<u16>;

fn proxy(serve: impl Fn(usize, TcpStream, Requests) + Send + 'static) -> Proxy {
    let listener = open();
    let url = format!("socks5://127.0.0.1:{}", listener.port());
    let (send, requests) = mpsc::channel();
    thread::spawn(move || {
        for (number, connection) in listener.incoming().enumerate() {
            serve(number, connection.unwrap(), send.clone());
        }
    });
    Proxy { url, requests }
}

/// Reads the hello and the request of a client without a login.
fn asked(mut stream: &TcpStream) -> u16 {
    let mut hello = [0; 3];
    stream.read_exact(&mut hello).unwrap();
    assert_eq!(hello, HELLO);
    stream.write_all(&[5, 0]).unwrap();
    request(stream)
}

/// Reads a request for the target by its name.
fn request(mut stream: &TcpStream) -> u16 {
    let mut request = [0; 19];
    stream.read_exact(&mut request).unwrap();
    assert_eq!(&request[..17], b"\x05\x01\0\x03\x0cmail.example");
    u16::from_be_bytes([request[17], request[18]])
}

/// A proxy that gives these answers to the requests, one each.
fn replying(replies: &'static [&'static [u8]]) -> Proxy {
    proxy(move |number, mut stream, requests| {
        requests.send(asked(&stream)).unwrap();
        stream.write_all(replies[number]).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
    })
}

#[test]
fn a_greeting_in_the_segment_of_the_reply_is_for_the_reader() {
    let _turn = alone();
    let before = descriptors();
    let proxy = replying(&[b"\x05\0\0\x03\x03abc\0\x19220 ready\r\n"]);
    let connected = through(&proxy.url, &[587], &hasty()).unwrap();
    assert_eq!(read_to_end(&connected.socket), "220 ready\r\n");
    let report = &connected.report;
    assert_eq!(report.via.as_deref(), Some(&*proxy.url));
    assert_eq!(report.attempts[0].greeting, Some(Greeting::Received));
    assert!(report.attempts[0].address.is_none() && report.lookups.is_empty());
    let told = format!("connected to 587 through {} in ", proxy.url);
    assert!(report.summary().starts_with(&told), "{}", report.summary());
    drop(connected);
    wait_until(|| descriptors() <= before + 2);
}

#[test]
fn every_reply_that_is_a_failure_leads_to_the_next_service() {
    let _turn = alone();
    for code in [1, 2, 3, 4, 5, 6, 7, 8, 99] {
        let proxy = proxy(move |number, mut stream, requests| {
            requests.send(asked(&stream)).unwrap();
            let reply = if number == 0 { vec![5, code, 0, 1] } else { CONNECTED.to_vec() };
            stream.write_all(&[reply, b"220 ".to_vec()].concat()).unwrap();
        });
        let connected = through(&proxy.url, &[587, 25], &hasty()).unwrap();
        let report = &connected.report;
        assert_eq!(outcomes(report), [Outcome::Proxy, Outcome::Connected]);
        assert_eq!(report.attempts[0].via, Some(ViaError::Reply(code)));
        assert_eq!(proxy.requests.iter().take(2).collect::<Vec<_>>(), [587, 25]);
        assert!(report.summary().contains(&format!("(reply {code})")), "{}", report.summary());
    }
}

#[test]
fn a_close_after_the_reply_and_before_a_greeting_leads_to_the_next_service() {
    let _turn = alone();
    let proxy = replying(&[CONNECTED, b"\x05\0\0\x01\x7f\0\0\x01\0\x19220 "]);
    let connected = through(&proxy.url, &[587, 25], &hasty()).unwrap();
    assert_eq!(outcomes(&connected.report), [Outcome::Closed, Outcome::Connected]);
}

#[test]
fn a_close_instead_of_a_reply_leads_to_the_next_service() {
    let _turn = alone();
    // As `ssh -D` has it.
    let proxy = replying(&[b"", b"\x05\0\0\x01\x7f\0\0\x01\0\x19220 "]);
    let connected = through(&proxy.url, &[587, 25], &hasty()).unwrap();
    assert_eq!(outcomes(&connected.report), [Outcome::Closed, Outcome::Connected]);
    assert_eq!(note(&connected.report, 0), "the proxy closed instead of replying");
}

#[test]
fn silence_behind_a_proxy_is_a_greet_pause() {
    let _turn = alone();
    let proxy = proxy(|_, mut stream, requests| {
        requests.send(asked(&stream)).unwrap();
        stream.write_all(CONNECTED).unwrap();
        thread::spawn(move || stream.read(&mut [0]));
    });
    let mut config = hasty();
    config.gate = Gate::For(Duration::from_millis(30));
    let connected = through(&proxy.url, &[587, 25], &config).unwrap();
    assert_eq!(connected.report.attempts[0].greeting, Some(Greeting::None));
    config.gate = Gate::Off;
    let connected = through(&proxy.url, &[587, 25], &config).unwrap();
    assert_eq!(connected.report.attempts[0].greeting, None);
    assert_eq!(proxy.requests.try_iter().collect::<Vec<_>>(), [587, 587]);
}

#[test]
fn a_login_is_given_to_a_proxy_that_asks_and_shown_nowhere() {
    let _turn = alone();
    // The last answer of each to what it has read, and how the dial ends.
    for (method, status, end) in [
        (0, 0, None),
        (2, 0, None),
        (2, 1, Some(ViaError::Login)),
        (0xff, 0, Some(ViaError::Login)),
        (1, 0, Some(ViaError::Protocol)),
    ] {
        let proxy = proxy(move |_, mut stream, _| {
            let mut hello = [0; 4];
            stream.read_exact(&mut hello).unwrap();
            assert_eq!(hello, HELLO_WITH_LOGIN);
            stream.write_all(&[5, method]).unwrap();
            if method == 2 {
                let mut login = [0; 13];
                stream.read_exact(&mut login).unwrap();
                assert_eq!(&login, b"\x01\x04anne\x06s3cr3t");
                stream.write_all(&[1, status]).unwrap();
            }
            if end.is_none() {
                request(&stream);
                stream.write_all(&[CONNECTED, b"220 "].concat()).unwrap();
            }
        });
        let url = proxy.url.replace("//", "//anne:s3cr3t@");
        let dialer = dialer(&url);
        let result = dialer.connect(&target(), &plan(&[587, 25]), &hasty());
        let report = match &result {
            Ok(connected) => &connected.report,
            Err(error) => error.report().unwrap(),
        };
        assert_eq!(report.attempts[0].via, end, "method {method}: {report:?}");
        let texts = format!("{dialer:?} {result:?} {} {}", report.summary(), report.to_json());
        assert!(!texts.contains("anne") && !texts.contains("s3cr3t"), "{texts}");
        if end.is_some() {
            assert_eq!((report.end, report.attempts.len()), (End::Via, 1));
        }
    }
}

#[test]
fn a_proxy_that_wants_a_login_says_so() {
    let _turn = alone();
    let proxy = proxy(|_, mut stream, _| {
        stream.read_exact(&mut [0; 3]).unwrap();
        stream.write_all(&[5, 0xff]).unwrap();
    });
    let report = failed(through(&proxy.url, &[587], &hasty()));
    let told = format!("{} refuses the login: it wants a user and a password", proxy.url);
    assert!(report.summary().contains(&told), "{}", report.summary());
}

#[test]
fn rubbish_and_half_a_frame_end_the_dial_with_what_was_wrong() {
    let _turn = alone();
    for (answer, part) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "begins with 0x48"),
        (b"", "without an answer"),
        (b"\x05", "in the middle"),
        (b"\x05\0\x05\0", "in the middle"),
        (b"\x05\0\x05\0\0\x01\x7f", "in the middle"),
        (b"\x05\0\x05\0\0\x02", "unknown kind 0x02"),
    ] {
        let proxy = proxy(move |_, mut stream, _| {
            stream.read_exact(&mut [0; 3]).unwrap();
            stream.write_all(answer).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            let _ = stream.read_to_end(&mut Vec::new());
        });
        let report = failed(through(&proxy.url, &[587, 25], &hasty()));
        assert_eq!((report.end, report.attempts.len()), (End::Via, 1), "{report:?}");
        assert_eq!(report.attempts[0].via, Some(ViaError::Protocol));
        assert!(report.summary().contains(part), "{}", report.summary());
    }
}

#[test]
fn a_reply_that_comes_byte_by_byte_is_one() {
    let _turn = alone();
    let proxy = proxy(|_, mut stream, requests| {
        stream.set_nodelay(true).unwrap();
        requests.send(asked(&stream)).unwrap();
        for byte in [CONNECTED, b"220 "].concat() {
            stream.write_all(&[byte]).unwrap();
            thread::sleep(Duration::from_millis(1));
        }
    });
    assert!(through(&proxy.url, &[587], &hasty()).is_ok());
}

#[test]
fn a_proxy_that_says_nothing_is_told_at_the_deadline() {
    let _turn = alone();
    let proxy = proxy(|_, stream, requests| {
        requests.send(0).unwrap();
        thread::spawn(move || (&stream).read_to_end(&mut Vec::new()));
    });
    let mut config = hasty();
    config.deadline = Duration::from_millis(100);
    let report = failed(through(&proxy.url, &[587, 25], &config));
    assert_eq!((report.end, outcomes(&report)), (End::Deadline, vec![Outcome::Timeout]));
    assert!(note(&report, 0).contains("has accepted, and not replied"), "{report:?}");
    assert!(report.summary().contains("the proxy has accepted, and not replied"), "{report:?}");
}

#[test]
fn a_proxy_that_cannot_be_reached_ends_the_dial() {
    let _turn = alone();
    let nobody = refused();
    let url = format!("socks5://127.0.0.1:{}", nobody.port());
    let report = failed(through(&url, &[587, 25], &hasty()));
    assert_eq!((report.end, report.attempts.len()), (End::Via, 1));
    assert_eq!(report.attempts[0].via, Some(ViaError::Unreachable));
    let told = format!("{url} cannot be reached: 127.0.0.1: {} is refused", nobody.port());
    assert!(report.summary().contains(&told), "{}", report.summary());
    // Silence is told at the deadline, by either of the two dials that have it.
    let silent = silent();
    let mut config = hasty();
    config.deadline = Duration::from_millis(100);
    let url = format!("socks5://127.0.0.1:{}", silent.port());
    let report = failed(through(&url, &[587, 25], &config));
    assert_eq!(report.attempts.len(), 1);
    assert!(report.summary().contains("silent"), "{}", report.summary());
}

#[test]
fn the_proxys_name_is_looked_up_and_the_targets_is_not() {
    let _turn = alone();
    let proxy = replying(&[b"\x05\0\0\x01\x7f\0\0\x01\0\x19220 "]);
    let resolver = mailport::Resolver::custom(|name, _| {
        assert_eq!(name, "proxy.example");
        Ok(vec!["127.0.0.1:0".parse().unwrap()])
    });
    let via: Via = proxy.url.replace("127.0.0.1", "proxy.example").parse().unwrap();
    let dialer = Dialer::default().with_via(via).with_resolver(resolver);
    assert!(dialer.connect(&target(), &plan(&[587]), &hasty()).is_ok());
}

#[test]
fn what_no_way_can_do_is_found_before_the_first_packet() {
    let _turn = alone();
    let listener = open();
    let url = format!("socks5://127.0.0.1:{}", listener.port());
    let refused = |via: &str, host: &str, change: &dyn Fn(&mut Config)| {
        let mut config = hasty();
        change(&mut config);
        let result = dialer(via).start(&host.parse().unwrap(), &plan(&[587]), &config);
        match result {
            Err(ConnectError::Config(error)) => error.to_string(),
            other => panic!("{via}: {other:?}"),
        }
    };
    for (via, host, change, part) in [
        (&*url, "fe80::1%lo", (|_| ()) as fn(&mut Config), "a zone of this machine"),
        (&url, "h.example", |c| c.families = Families::Ipv6, "the proxy `127.0.0.1`"),
        ("command:mailport-none", "h.example", |_| (), "no folder of PATH"),
        ("command:/etc/passwd", "h.example", |_| (), "cannot be executed"),
        ("command:cat", "h.example", |c| c.mark = Some(1), "the mark `1` cannot be used"),
        ("command:cat", "h.example", |c| c.families = Families::Ipv4, "choice of families"),
    ] {
        assert!(refused(via, host, &change).contains(part), "{via}");
    }
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err());
}

#[test]
fn a_dial_through_a_proxy_dropped_at_any_step_leaves_nothing_open() {
    let _turn = alone();
    let listener = open();
    let dialer = Dialer::default()
        .with_via(format!("socks5://proxy.example:{}", listener.port()).parse().unwrap())
        .with_resolver(resolver(Duration::from_millis(1)));
    // Answers in four parts, so that a dial has many steps.
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || {
                let mut stream = stream.unwrap();
                for part in [&b"\x05"[..], b"\0", b"\x05\x05\0\x01"] {
                    thread::sleep(Duration::from_millis(2));
                    let _ = stream.write_all(part);
                }
                let _ = stream.read_to_end(&mut Vec::new());
            });
        }
    });
    let before = descriptors();
    for turns in 0.. {
        let mut dial = dialer.start(&target(), &plan(&[587]), &hasty()).unwrap();
        let mut status = Status::Pending;
        for _ in 0..turns {
            status = dial.process();
            if status != Status::Pending {
                break;
            }
            common::wait_readable(std::os::fd::AsRawFd::as_raw_fd(&dial));
        }
        drop(dial);
        wait_until(|| descriptors() == before && common::resolver_threads() == 0);
        if status != Status::Pending {
            assert!(turns > 4, "the course has more steps than {turns}");
            return;
        }
    }
}

#[test]
fn a_dial_through_anything_that_lacks_a_descriptor_at_any_step_ends_and_leaves_nothing() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let _turn = alone();
    let listener = open();
    let (_folder, command) = shell("echo 220; cat");
    let mut config = hasty();
    config.deadline = Duration::from_millis(300);
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    for via in [command, format!("socks5://127.0.0.1:{}", listener.port())] {
        let before = descriptors();
        // The limit is one on numbers, and numbers that are free lie between others.
        let in_use: Vec<u64> = fs::read_dir("/proc/self/fd")
            .unwrap()
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .collect();
        let free: Vec<u64> = (0..).filter(|number| !in_use.contains(number)).take(10).collect();
        let mut ends = Vec::new();
        for (more, limit) in free.into_iter().enumerate() {
            setrlimit(Resource::RLIMIT_NOFILE, limit, hard).unwrap();
            let result = through(&via, &[587, 25], &config);
            setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
            let end = match &result {
                Ok(_) => "connected",
                Err(ConnectError::Setup(_)) => "setup",
                Err(ConnectError::Failed(report)) if report.end == End::OwnTrouble => "trouble",
                Err(ConnectError::Failed(report)) if report.end == End::Deadline => "deadline",
                Err(other) => panic!("{via}: {other}"),
            };
            drop(result);
            assert_eq!(descriptors(), before, "{via} with {more} more descriptors");
            if ends.last() != Some(&end) {
                ends.push(end);
            }
        }
        // This proxy accepts and never answers.
        let last = if via.starts_with("command") { "connected" } else { "deadline" };
        assert_eq!(ends, ["setup", "trouble", last], "{via}");
    }
    wait_until(|| children() == 0);
}

/// A folder with a script in it.
fn script(text: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tunnel");
    // Under another name first: a file that some process writes to cannot be executed.
    fs::write(folder.path().join("new"), text).unwrap();
    fs::set_permissions(folder.path().join("new"), Permissions::from_mode(0o700)).unwrap();
    fs::rename(folder.path().join("new"), &path).unwrap();
    (folder, path)
}

fn shell(text: &str) -> (TempDir, String) {
    let (folder, path) = script(&format!("#!/bin/sh\n{text}\n"));
    let via = format!("command:{} %h %p", path.display());
    (folder, via)
}

/// Children of this process, ended ones included.
fn children() -> usize {
    let ours = std::process::id().to_string();
    let is_child = |stat: String| {
        let after_name = stat.rsplit(") ").next().unwrap_or_default().to_owned();
        after_name.split(' ').nth(1) == Some(&*ours)
    };
    let processes = fs::read_dir("/proc").unwrap();
    let stats = processes.filter_map(|e| fs::read_to_string(e.ok()?.path().join("stat")).ok());
    stats.filter(|stat| is_child(stat.clone())).count()
}

/// Whether any process has this among its words.
fn runs(word: &str) -> bool {
    let mut processes = fs::read_dir("/proc").unwrap();
    processes.any(|entry| {
        let words = fs::read(entry.unwrap().path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&words).contains(word)
    })
}

#[test]
fn a_command_is_the_connection_and_ends_with_it() {
    let _turn = alone();
    let before = descriptors();
    let (folder, via) = shell("echo \"220 $1 $2\"; cat");
    let connected = through(&via, &[587], &hasty()).unwrap();
    (&connected.socket).write_all(b"EHLO here\r\n").unwrap();
    connected.socket.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&connected.socket), "220 mail.example 587\nEHLO here\r\n");
    assert!(connected.socket.peer_addr().is_err(), "a socket pair has no address");
    let shown = via.split(' ').next().unwrap();
    assert_eq!(connected.report.via.as_deref(), Some(shown));
    drop(connected);
    wait_until(|| !runs(folder.path().to_str().unwrap()));
    assert_eq!((descriptors(), children()), (before, 0));
}

#[test]
fn closing_a_connection_does_not_wait_for_a_command_that_ignores_it() {
    let _turn = alone();
    let before = descriptors();
    let (folder, via) = shell("trap '' HUP PIPE TERM; echo 220; sleep 3 <&- >&-; exit");
    drop(through(&via, &[587], &hasty()).unwrap());
    assert_eq!((descriptors(), children()), (before, 0));
    assert!(runs(folder.path().to_str().unwrap()), "closed, and not waited for");
}

#[test]
fn a_command_that_ends_at_once_is_told_with_its_last_words() {
    let _turn = alone();
    let (_folder, via) = shell(
        "if [ $2 = 587 ]; then printf 'a\\nchannel 0: \\033[1mopen failed\\n' >&2; exit 1; fi
         echo 220; cat",
    );
    let connected = through(&via, &[587, 25], &hasty()).unwrap();
    assert_eq!(outcomes(&connected.report), [Outcome::Closed, Outcome::Connected]);
    assert_eq!(note(&connected.report, 0), "a channel 0: [1mopen failed");
    let (_folder, via) = shell("exit 1");
    let report = failed(through(&via, &[587, 25], &hasty()));
    assert_eq!((report.end, outcomes(&report)), (End::Exhausted, vec![Outcome::Closed; 2]));
}

#[test]
fn what_a_command_prints_before_it_dies_is_no_greeting() {
    let _turn = alone();
    let (_folder, via) = shell(
        "if [ $2 = 587 ]; then echo 'usage: tunnel'; sleep 0.05; echo why >&2; exit 1; fi
         echo '220 ready'; cat",
    );
    let connected = through(&via, &[587, 25], &hasty()).unwrap();
    assert_eq!(outcomes(&connected.report), [Outcome::Closed, Outcome::Connected]);
    assert_eq!(note(&connected.report, 0), "it printed \"usage: tunnel\"; why");
    // Of one that lives on, the gate's end decides.
    let (_folder, via) = shell("echo hello; cat");
    let mut config = hasty();
    config.gate = Gate::For(Duration::from_millis(100));
    let connected = through(&via, &[587, 25], &config).unwrap();
    assert_eq!(connected.report.attempts[0].greeting, Some(Greeting::None));
}

#[test]
fn a_command_that_cannot_be_started_ends_the_dial() {
    let _turn = alone();
    let before = descriptors();
    let (_folder, path) = script("#!/nonexistent/interpreter\n");
    let report = failed(through(&format!("command:{}", path.display()), &[587, 25], &hasty()));
    assert_eq!((report.end, report.attempts.len()), (End::Via, 1));
    assert_eq!(report.attempts[0].via, Some(ViaError::NotStarted));
    assert!(report.summary().contains("cannot be started"), "{}", report.summary());
    assert!(report.summary().contains("No such file or directory"), "{}", report.summary());
    // It vanishes between the check and the start.
    let (_folder, path) = script("#!/bin/sh\n");
    let dialer = dialer(&format!("command:{}", path.display()));
    let mut dial = dialer.start(&target(), &plan(&[587]), &hasty()).unwrap();
    fs::remove_file(path).unwrap();
    while dial.process() == Status::Pending {
        common::wait_readable(std::os::fd::AsRawFd::as_raw_fd(&dial));
    }
    assert_eq!(dial.report().end, End::Via);
    drop(dial);
    assert_eq!((descriptors(), children()), (before, 0));
}

#[test]
fn a_command_that_says_very_much_neither_hangs_nor_fills_the_memory() {
    let _turn = alone();
    let (_folder, via) =
        shell("head -c 3000000 /dev/zero | tr '\\0' x >&2; echo the end >&2; exit 1");
    let report = failed(through(&via, &[587], &hasty()));
    assert!(note(&report, 0).starts_with("…xxx"), "{}", note(&report, 0));
    assert_eq!(note(&report, 0).chars().count(), 300);
    let (_folder, via) = shell("echo 220; head -c 3000000 /dev/zero | tr '\\0' x >&2; echo after");
    let connected = through(&via, &[587], &hasty()).unwrap();
    assert_eq!(read_to_end(&connected.socket), "220\nafter\n");
}

#[test]
fn a_command_has_only_its_three_descriptors_and_no_signal_blocked_or_ignored() {
    let _turn = alone();
    let (_folder, path) = script(
        "#!/bin/sh\necho \"220 $(ls /proc/$$/fd | tr '\\n' ' ')\"\n\
         grep -E '^Sig(Blk|Ign)' /proc/$$/status\necho \"var=$MAILPORT_VIA.$1.$2\"\n",
    );
    // Not close-on-exec, as a careless host may have it.
    let file = fs::File::open("/dev/null").unwrap();
    let careless = nix::fcntl::FcntlArg::F_DUPFD(100);
    let kept = nix::fcntl::fcntl(&file, careless).unwrap();
    let via = format!("command:{} 'a  b' \"$HOME %% %p\"", path.display());
    let connected = through(&via, &[587], &hasty()).unwrap();
    let said = read_to_end(&connected.socket);
    nix::unistd::close(kept).unwrap();
    let lines: Vec<&str> = said.lines().collect();
    // The shell has its script open as 10, and reads from `ls` by 3.
    assert_eq!(lines[0], "220 0 1 10 2 3 ");
    assert!(lines[1].ends_with("\t0000000000000000"), "{said}");
    let ignored = u64::from_str_radix(lines[2].rsplit('\t').next().unwrap(), 16).unwrap();
    assert_eq!(ignored & (1 << 12 | 1 << 16), 0, "neither SIGPIPE nor SIGCHLD");
    assert_eq!(lines[3], "var=.a  b.$HOME % 587");
}

#[test]
fn a_host_that_waits_for_no_child_or_for_all_loses_none() {
    use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
    let _turn = alone();
    let (_folder, via) = shell("echo 220");
    let action = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
    #[allow(unsafe_code, reason = "what a host may do")]
    // SAFETY: the signal is ignored, so nothing runs.
    let before = unsafe { sigaction(Signal::SIGCHLD, &action) }.unwrap();
    let result = through(&via, &[587], &hasty());
    #[allow(unsafe_code, reason = "what a host may do")]
    // SAFETY: it was so before.
    unsafe { sigaction(Signal::SIGCHLD, &before) }.unwrap();
    assert!(result.is_ok(), "{result:?}");
    assert_eq!(children(), 0);
}

#[test]
fn a_dial_through_a_command_dropped_at_any_step_leaves_nothing_behind() {
    let _turn = alone();
    let (folder, via) = shell("sleep 0.02; echo 220; cat");
    let before = descriptors();
    for turns in 0.. {
        let mut dial = dialer(&via).start(&target(), &plan(&[587]), &hasty()).unwrap();
        let mut status = Status::Pending;
        for _ in 0..turns {
            status = dial.process();
            if status != Status::Pending {
                break;
            }
            common::wait_readable(std::os::fd::AsRawFd::as_raw_fd(&dial));
        }
        drop(dial);
        assert_eq!((descriptors(), children()), (before, 0), "after {turns} turns");
        if status != Status::Pending {
            assert!(turns > 2, "the course has more steps than {turns}");
            break;
        }
    }
    wait_until(|| !runs(folder.path().to_str().unwrap()));
}

/// The command, with `MAILPORT_VIA` set to this.
fn mailport(variable: &str, args: &[&str]) -> Output {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_mailport"));
    command.args(["connect", "--plan", "587:starttls,25:starttls"]).args(args).arg("mail.example");
    command.env("MAILPORT_VIA", variable).stdin(std::process::Stdio::null()).output().unwrap()
}

fn texts(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn the_command_goes_through_what_the_option_or_the_variable_names() {
    let _turn = alone();
    let (_folder, via) = shell("if [ $2 = 587 ]; then echo no >&2; exit 1; fi; echo 220");
    for (variable, args) in [(&*via, &[][..]), ("", &["--via", &via]), ("x", &["--via", &via])] {
        let (status, stdout, stderr) = texts(&mailport(variable, args));
        assert_eq!((status, &*stderr), (Some(0), ""), "{stdout}");
        assert!(stdout.starts_with("587 closed the connection (no); connected to 25 through "));
    }
    let (_, stdout, _) = texts(&mailport(&via, &["--json", "--gate", "off"]));
    assert!(stdout.contains(r#""connected":{"port":587,"#), "{stdout}");
}

#[test]
fn a_password_is_taken_from_the_variable_or_from_a_file_of_ones_own() {
    let _turn = alone();
    let nobody = refused();
    let url = format!("socks5://anne:s3cr3t@127.0.0.1:{}", nobody.port());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("via");
    fs::write(&file, format!("{url}\nsecond line\n")).unwrap();
    let at = format!("@{}", file.display());
    let chmod = |mode| fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
    for (mode, variable, args, code, part) in [
        (0o600, &*url, &[][..], 1, "cannot be reached"),
        (0o600, &at, &[], 1, "cannot be reached"),
        (0o600, "", &["--via", &at], 1, "cannot be reached"),
        (0o640, "", &["--via", &at], 2, "chmod 600"),
        (0o604, &at, &[], 2, "chmod 600"),
        (0o600, "", &["--via", &url], 2, "--via @FILE"),
        (0o600, "", &["--via", "@/none"], 2, "/none: No such file"),
        (0o600, "socks5://anne:s3%cr3t@h", &[], 2, "MAILPORT_VIA: the % at byte"),
        (0o600, "", &["--via", "http://h"], 2, "for an HTTP proxy"),
    ] {
        chmod(mode);
        for more in [&[][..], &["--json"]] {
            let (status, stdout, stderr) = texts(&mailport(variable, &[args, more].concat()));
            let all = format!("{stdout}{stderr}");
            assert_eq!(status, Some(code), "{all}");
            assert!(all.contains(part), "{all}");
            assert!(!all.contains("anne") && !all.contains("s3"), "{all}");
        }
    }
}

#[test]
fn a_tunnel_through_a_tunnel_carries_a_session() {
    let _turn = alone();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.port();
    let server = thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        stream.write_all(b"220 ready\r\n").unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        stream.write_all(b"221 bye\r\n").unwrap();
        said
    });
    // The variable would have the inner one go through itself.
    let via = format!(
        "command:{} connect --stdio --plan %p:starttls 127.0.0.1",
        env!("CARGO_BIN_EXE_mailport")
    );
    let connected = through(&via, &[port], &hasty()).unwrap();
    (&connected.socket).write_all(b"QUIT\r\n").unwrap();
    connected.socket.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&connected.socket), "220 ready\r\n221 bye\r\n");
    assert_eq!(server.join().unwrap(), "QUIT\r\n");
}
