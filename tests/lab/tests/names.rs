//! Rule 1 of docs/design.md with the system's own resolver and a name server that answers slowly,
//! wrongly or not at all: a dial goes where every other program of the machine would go.
//!
//! Each test runs in a separate process with separate namespaces, because the C library keeps its
//! settings for as long as a process lives. Needs root and unshare(1).
#![allow(clippy::unwrap_used, reason = "what helps a test may fail like one")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use std::{env, fs, thread};

use mailport::report::{End, LookupError};
use mailport::{Config, ConnectError, Dialer, Families, Family, Plan, Report};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Set in the process that is inside of the namespaces.
const INSIDE: &str = "MAILPORT_NAMES_INSIDE";
const A: u16 = 1;
const AAAA: u16 = 28;

const V4: &str = "192.0.2.25";
const V6: &str = "2001:db8::25";
const STRANGER_V4: &str = "192.0.2.66";
const STRANGER_V6: &str = "2001:db8:bad::1";

/// What the name server says to one question.
#[derive(Debug, Clone)]
enum Says {
    Addresses(u64, Vec<IpAddr>),
    /// No address (0), SERVFAIL (2), no such name (3), after so many milliseconds.
    Code(u64, u8),
    Nothing,
    /// Nothing to the first query, as if it was lost, and this to the others.
    Lost(Box<Says>),
}

type Zone = Arc<Mutex<BTreeMap<(String, u16), Says>>>;

/// A machine with this test alone: its files, its addresses, its name server, and a mail server on
/// port 587 of every address.
struct Machine {
    zone: Zone,
}

/// Writes a file of /etc in place: another file would not be the one that is mounted.
fn file(name: &str, text: &str) {
    fs::write(Path::new("/etc").join(name), text).unwrap();
}

fn resolv_conf(more: &str) {
    file("resolv.conf", &format!("nameserver 127.0.0.1\n{more}\n"));
}

impl Machine {
    /// Runs a test inside of namespaces, in its own process.
    fn run(test: &str, body: impl FnOnce(&Machine)) {
        if env::var_os(INSIDE).is_some() {
            return body(&Machine::start());
        }
        let own = env::current_exe().unwrap();
        let status = Command::new("unshare")
            .args(["-n", "-m", "-p", "-f", "--mount-proc", "--kill-child"])
            .arg(own)
            .args(["--exact", test, "--nocapture"])
            .env(INSIDE, "1")
            .status()
            .expect("unshare (util-linux)");
        assert!(status.success(), "inside of the namespaces, as root: {status}");
    }

    fn start() -> Machine {
        run("ip", "link set lo up");
        for address in [V4, STRANGER_V4] {
            run("ip", &format!("address add {address}/32 dev lo"));
        }
        for address in [V6, STRANGER_V6] {
            run("ip", &format!("address add {address}/128 dev lo nodad"));
        }
        let folder = env::temp_dir().join(format!("mailport-names-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        run("mount", &format!("-t tmpfs none {}", folder.display()));
        for (name, text) in [
            ("hosts", "127.0.0.1 localhost\n"),
            ("nsswitch.conf", "hosts: files dns\n"),
            ("resolv.conf", "nameserver 127.0.0.1\n"),
            ("gai.conf", ""),
        ] {
            let (ours, theirs) = (folder.join(name), Path::new("/etc").join(name));
            fs::write(&ours, text).unwrap();
            if !theirs.exists() {
                // Not every system has one; what is made here is an empty file.
                fs::write(&theirs, "").unwrap();
            }
            run("mount", &format!("--bind {} {}", ours.display(), theirs.display()));
        }
        let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 587)).unwrap();
        thread::spawn(move || listener.incoming().for_each(drop));
        let zone = Zone::default();
        serve(UdpSocket::bind("127.0.0.1:53").unwrap(), Arc::clone(&zone));
        Machine { zone }
    }

    fn says(&self, name: &str, kind: u16, answer: Says) {
        self.zone.lock().unwrap().insert((name.to_owned(), kind), answer);
    }

    /// A name with these answers to A and AAAA.
    fn name(&self, name: &str, v4: Says, v6: Says) {
        self.says(name, A, v4);
        self.says(name, AAAA, v6);
    }
}

fn run(program: &str, arguments: &str) {
    let status = Command::new(program).args(arguments.split(' ')).status().unwrap();
    assert!(status.success(), "{program} {arguments}");
}

fn gives(after: u64, addresses: &[&str]) -> Says {
    Says::Addresses(after, addresses.iter().map(|text| text.parse().unwrap()).collect())
}

fn none() -> Says {
    Says::Code(0, 0)
}

/// Answers every question by the zone, each after its own time; a name that is not there does not
/// exist.
fn serve(socket: UdpSocket, zone: Zone) {
    let socket = Arc::new(socket);
    thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let query = buffer[..length].to_vec();
            let Some((name, end)) = question(&query) else { continue };
            let kind = u16::from_be_bytes([query[end - 4], query[end - 3]]);
            let mut known = zone.lock().unwrap();
            let says = known.get(&(name.clone(), kind)).cloned();
            let (after, code, list) = match says.unwrap_or(Says::Code(0, 3)) {
                Says::Nothing => continue,
                Says::Lost(then) => {
                    known.insert((name, kind), *then);
                    continue;
                }
                Says::Code(after, code) => (after, code, Vec::new()),
                Says::Addresses(after, list) => (after, 0, list),
            };
            drop(known);
            let reply = reply(&query[..end], code, &list);
            // No copy: a test may leave no descriptors.
            let socket = Arc::clone(&socket);
            thread::spawn(move || {
                thread::sleep(Duration::from_millis(after));
                let _ = socket.send_to(&reply, from);
            });
        }
    });
}

/// The name of a query in lower case, and where its question ends.
fn question(query: &[u8]) -> Option<(String, usize)> {
    let (mut at, mut labels) = (12, Vec::new());
    while let Some(&length) = query.get(at)
        && length > 0
    {
        let label = query.get(at + 1..at + 1 + usize::from(length))?;
        labels.push(String::from_utf8_lossy(label).to_lowercase());
        at += 1 + usize::from(length);
    }
    Some((labels.join("."), at + 5))
}

fn reply(question: &[u8], code: u8, list: &[IpAddr]) -> Vec<u8> {
    let mut reply = question[..2].to_vec();
    reply.extend([0x81, 0x80 | code, 0, 1, 0, u8::try_from(list.len()).unwrap(), 0, 0, 0, 0]);
    reply.extend(&question[12..]);
    for address in list {
        let (kind, data) = match address {
            IpAddr::V4(v4) => (A, v4.octets().to_vec()),
            IpAddr::V6(v6) => (AAAA, v6.octets().to_vec()),
        };
        // The name of the question, of class IN, with a time to live of 0.
        reply.extend([0xc0, 12, 0, u8::try_from(kind).unwrap(), 0, 1, 0, 0, 0, 0, 0]);
        reply.push(u8::try_from(data.len()).unwrap());
        reply.extend(data);
    }
    reply
}

fn dial_with(host: &str, config: Config) -> Report {
    match Dialer::new()
        .without_cache()
        .with_plan(Plan::submission())
        .with_config(config)
        .connect(host)
    {
        Ok(connected) => connected.report,
        Err(ConnectError::Failed(report)) => *report,
        Err(error) => panic!("{host}: {error}"),
    }
}

fn dial(host: &str) -> Report {
    dial_with(host, Config::default())
}

/// Every address that a dial of this host has tried.
fn tried(report: &Report) -> BTreeSet<String> {
    let addresses = report.attempts.iter().filter_map(|attempt| attempt.address);
    addresses.map(|address| address.ip().to_string()).collect()
}

fn first(report: &Report) -> Option<String> {
    Some(report.attempts.first()?.address?.ip().to_string())
}

fn error(report: &Report) -> &LookupError {
    report.lookup.as_ref().unwrap().result.as_ref().expect_err("no address")
}

#[test]
fn a_hosts_line_of_one_family_is_the_whole_answer() {
    Machine::run("a_hosts_line_of_one_family_is_the_whole_answer", |machine| {
        machine.name("mail.example.test", gives(0, &[STRANGER_V4]), gives(0, &[STRANGER_V6]));
        for address in [V4, V6] {
            file("hosts", &format!("127.0.0.1 localhost\n{address} mail.example.test\n"));
            for families in [Families::Any, Families::PreferIpv4, Families::PreferIpv6] {
                let mut config = Config::default();
                config.families = families;
                let report = dial_with("mail.example.test", config);
                assert_eq!(tried(&report), BTreeSet::from([address.to_owned()]), "{report:?}");
            }
        }
    });
}

#[test]
fn a_search_list_never_adds_the_addresses_of_another_host() {
    Machine::run("a_search_list_never_adds_the_addresses_of_another_host", |machine| {
        machine.name("four.example.test", gives(0, &[V4]), none());
        machine.name("six.example.test", none(), gives(0, &[V6]));
        for name in ["four.example.test", "six.example.test"] {
            let elsewhere = format!("{name}.corp.test");
            machine.name(&elsewhere, gives(0, &[STRANGER_V4]), gives(0, &[STRANGER_V6]));
        }
        for ndots in 1..=2 {
            resolv_conf(&format!("search corp.test\noptions ndots:{ndots}"));
            for (name, own) in [("four.example.test", V4), ("six.example.test", V6)] {
                for name in [name.to_owned(), format!("{name}.")] {
                    let report = dial(&name);
                    let own = BTreeSet::from([own.to_owned()]);
                    assert_eq!(tried(&report), own, "ndots:{ndots} {name}: {report:?}");
                }
            }
        }
        // Where the search list comes first, its host is the one that every program means.
        for ndots in 3..=5 {
            resolv_conf(&format!("search corp.test\noptions ndots:{ndots}"));
            let strangers = BTreeSet::from([STRANGER_V4.to_owned(), STRANGER_V6.to_owned()]);
            let report = dial("four.example.test");
            assert!(tried(&report).is_subset(&strangers), "ndots:{ndots}: {report:?}");
            assert_eq!(tried(&dial("four.example.test.")), BTreeSet::from([V4.to_owned()]));
        }
        // One label is for the search list alone.
        machine.name("box.corp.test", gives(0, &[V4]), none());
        resolv_conf("search corp.test");
        assert_eq!(tried(&dial("box")), BTreeSet::from([V4.to_owned()]));
    });
}

#[test]
fn a_slow_name_that_a_search_list_may_mean_is_waited_for() {
    Machine::run("a_slow_name_that_a_search_list_may_mean_is_waited_for", |machine| {
        // The name itself is another host than the one of the search list, which comes first.
        machine.name("smtp.dev.test", gives(0, &[STRANGER_V4]), none());
        machine.name("smtp.dev.test.corp.test", gives(300, &[V4]), none());
        resolv_conf("search corp.test\noptions ndots:5");
        assert_eq!(tried(&dial("smtp.dev.test")), BTreeSet::from([V4.to_owned()]));
    });
}

#[test]
fn gai_conf_decides_the_order() {
    Machine::run("gai_conf_decides_the_order", |machine| {
        file("gai.conf", "precedence ::ffff:0:0/96 100\n");
        machine.name("mail.example.test", gives(0, &[V4]), gives(0, &[V6]));
        assert_eq!(first(&dial("mail.example.test")).as_deref(), Some(V4));
    });
}

#[test]
fn one_family_that_is_dropped_slow_or_broken_does_not_hold_up_the_other() {
    Machine::run(
        "one_family_that_is_dropped_slow_or_broken_does_not_hold_up_the_other",
        |machine| {
            let slow = Says::Code(4000, 0);
            for (kind, says) in
                [("dropped", Says::Nothing), ("slow", slow), ("servfail", Says::Code(0, 2))]
            {
                let name = format!("{kind}6.example.test");
                machine.name(&name, gives(0, &[V4]), says.clone());
                let report = dial(&name);
                assert_eq!(tried(&report), BTreeSet::from([V4.to_owned()]), "{kind}: {report:?}");
                // The C library alone waits for 4 or 5 s.
                assert!(report.elapsed < Duration::from_secs(3), "{kind}: {report:?}");
                let name = format!("{kind}4.example.test");
                machine.name(&name, says, gives(0, &[V6]));
                let report = dial(&name);
                assert_eq!(tried(&report), BTreeSet::from([V6.to_owned()]), "{kind}: {report:?}");
                assert!(report.elapsed < Duration::from_secs(3), "{kind}: {report:?}");
            }
            // One query that is lost costs no more than the help does.
            for lost in [A, AAAA] {
                let name = format!("lost{lost}.example.test");
                machine.name(&name, gives(0, &[V4]), gives(0, &[V6]));
                let then = if lost == A { gives(0, &[V4]) } else { gives(0, &[V6]) };
                machine.says(&name, lost, Says::Lost(Box::new(then)));
                let report = dial(&name);
                assert!(report.winner().is_some(), "{report:?}");
                assert!(report.elapsed < Duration::from_secs(3), "{report:?}");
                assert!(report.lookup.unwrap().hedged);
            }
            // Without addresses is no trouble at all.
            machine.name("four.example.test", gives(0, &[V4]), none());
            machine.name("six.example.test", none(), gives(0, &[V6]));
            assert_eq!(first(&dial("four.example.test")).as_deref(), Some(V4));
            assert_eq!(first(&dial("six.example.test")).as_deref(), Some(V6));
        },
    );
}

#[test]
fn twelve_addresses_and_mapped_ones_are_used_as_the_system_gives_them() {
    Machine::run("twelve_addresses_and_mapped_ones_are_used_as_the_system_gives_them", |machine| {
        let many: Vec<String> = (1..=12).map(|n| format!("127.0.1.{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        machine.name("many.example.test", gives(0, &many), none());
        let report = dial("many.example.test");
        let known = report.lookup.unwrap().result.unwrap();
        let known: BTreeSet<String> = known.iter().map(|a| a.ip().to_string()).collect();
        assert_eq!(known, many.iter().map(ToString::to_string).collect());
        let mapped = format!("::ffff:{V4}");
        machine.name("mapped.example.test", none(), gives(0, &[&mapped]));
        assert_eq!(first(&dial("mapped.example.test")).as_deref(), Some(V4));
    });
}

#[test]
fn where_look_ups_end_within_the_hedge_the_first_address_is_always_the_same() {
    Machine::run(
        "where_look_ups_end_within_the_hedge_the_first_address_is_always_the_same",
        |machine| {
            for (v4, v6) in [(0, 5), (5, 0), (2, 2)] {
                machine.name("mail.example.test", gives(v4, &[V4]), gives(v6, &[V6]));
                for _ in 0..20 {
                    let report = dial("mail.example.test");
                    // One that was held up by the machine says nothing of the order.
                    if !report.lookup.as_ref().unwrap().hedged {
                        assert_eq!(first(&report).as_deref(), Some(V6), "{report:?}");
                    }
                }
            }
        },
    );
}

#[test]
fn on_a_machine_with_ipv4_only_no_attempt_goes_to_25() {
    Machine::run("on_a_machine_with_ipv4_only_no_attempt_goes_to_25", |machine| {
        run("ip", &format!("address del {V6}/128 dev lo"));
        run("ip", &format!("address del {STRANGER_V6}/128 dev lo"));
        for slow in [0, 130] {
            machine.name("mail.example.test", gives(slow, &[V4]), gives(0, &[V6]));
            for plan in [Plan::submission(), Plan::submission().sequential(), Plan::symmetric()] {
                for _ in 0..10 {
                    let dialer = Dialer::new().without_cache().with_plan(plan.clone());
                    let report = dialer.connect("mail.example.test").unwrap().report;
                    let all = report.attempts.iter().all(|a| a.service.port() == 587);
                    assert!(all, "{plan}: {report:?}");
                }
            }
        }
    });
}

#[test]
fn no_such_name_no_address_and_a_temporary_failure_are_distinguished() {
    Machine::run("no_such_name_no_address_and_a_temporary_failure_are_distinguished", |machine| {
        resolv_conf("options timeout:1 attempts:1");
        machine.name("empty.example.test", none(), none());
        machine.name("broken.example.test", Says::Code(0, 2), Says::Code(0, 2));
        for (name, expected) in [
            ("gone.example.test", LookupError::NoSuchName),
            ("empty.example.test", LookupError::NoAddress),
            ("broken.example.test", LookupError::TryAgain),
        ] {
            let report = dial(name);
            assert_eq!((report.end, error(&report)), (Some(End::Unresolved), &expected), "{name}");
        }
    });
}

#[test]
fn a_lack_of_descriptors_is_never_reported_as_a_name_that_does_not_exist() {
    Machine::run(
        "a_lack_of_descriptors_is_never_reported_as_a_name_that_does_not_exist",
        |machine| {
            machine.name("mail.example.test", gives(0, &[V4]), gives(0, &[V6]));
            let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
            let set_limit = |soft| setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
            let used = fs::read_dir("/proc/self/fd").unwrap().count() - 1;
            let mut lacked = 0;
            for more in 0..8 {
                set_limit(u64::try_from(used + more).unwrap());
                let result = Dialer::new().without_cache().connect("mail.example.test");
                set_limit(soft);
                match result {
                    Ok(_) | Err(ConnectError::Setup { .. }) => {}
                    Err(error) => {
                        let number = error.errno().and_then(mailport::outcome::Errno::name);
                        assert_eq!(number, Some("EMFILE"), "{more} descriptors: {error}");
                        lacked += 1;
                    }
                }
            }
            assert!(lacked > 0, "in no dial were there too few for the look-up");
            assert!(Dialer::new().without_cache().connect("mail.example.test").is_ok());
        },
    );
}

#[test]
fn threads_in_different_namespaces_never_share_an_answer() {
    Machine::run("threads_in_different_namespaces_never_share_an_answer", |machine| {
        machine.name("mail.example.test", gives(200, &[V4]), none());
        let inside = thread::spawn(|| {
            use nix::sched::{CloneFlags, unshare};
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            run("ip", "link set lo up");
            run("ip", &format!("address add {STRANGER_V4}/32 dev lo"));
            let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 587)).unwrap();
            thread::spawn(move || listener.incoming().for_each(drop));
            let zone = Zone::default();
            let answer = gives(200, &[STRANGER_V4]);
            zone.lock().unwrap().insert(("mail.example.test".to_owned(), A), answer);
            let empty = ("mail.example.test".to_owned(), AAAA);
            zone.lock().unwrap().insert(empty, none());
            serve(UdpSocket::bind("127.0.0.1:53").unwrap(), zone);
            tried(&dial("mail.example.test"))
        });
        for _ in 0..3 {
            assert_eq!(tried(&dial("mail.example.test")), BTreeSet::from([V4.to_owned()]));
        }
        assert_eq!(inside.join().unwrap(), BTreeSet::from([STRANGER_V4.to_owned()]));
    });
}

#[test]
fn a_dial_never_waits_for_a_look_up_that_began_in_an_earlier_network() {
    Machine::run("a_dial_never_waits_for_a_look_up_that_began_in_an_earlier_network", |machine| {
        // A server that never answers, as one of the network before.
        file("resolv.conf", "nameserver 192.0.2.66\noptions timeout:10 attempts:3\n");
        let silent = UdpSocket::bind((STRANGER_V4, 53)).unwrap();
        let mut old = Dialer::new().without_cache().start("two.test").unwrap();
        old.process();
        thread::sleep(Duration::from_millis(1100));
        resolv_conf("");
        machine.name("two.test", gives(0, &[V4]), gives(0, &[V6]));
        let report = dial("two.test");
        assert!(report.elapsed < Duration::from_secs(5), "{report:?}");
        assert!(report.winner().is_some());
        drop((old, silent));
    });
}

#[test]
fn a_family_that_the_caller_leaves_out_is_not_asked_for() {
    Machine::run("a_family_that_the_caller_leaves_out_is_not_asked_for", |machine| {
        machine.name("mail.example.test", gives(0, &[V4]), Says::Nothing);
        let mut config = Config::default();
        config.families = Families::Ipv4;
        let report = dial_with("mail.example.test", config);
        let list: Vec<SocketAddr> = report.lookup.as_ref().unwrap().result.clone().unwrap();
        assert!(list.iter().all(|address| Family::from(address.ip()) == Family::Ipv4));
        assert!(report.elapsed < Duration::from_secs(3), "{report:?}");
    });
}
