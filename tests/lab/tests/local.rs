//! What this machine refuses by itself is `local`, for every kind of error, and the caller's socket
//! options do what they say. Where the kernel reports less, the outcome is found in another way.
//! Needs root (or a user namespace) and /dev/net/tun.

#[path = "../../common/seccomp.rs"]
mod seccomp;

use std::net::IpAddr;
use std::process::Command;
use std::time::Duration;

use mailport::report::{Attempt, End};
use mailport::{Config, ConfigError, ConnectError, Family, Outcome, Plan, Report};
use mailport_lab::real::{CLIENT_V4, Lab};
use mailport_lab::scenario::{V4, V6};
use mailport_lab::{Fate, Network};

fn lab() -> Lab {
    let network = Network::new(Duration::from_millis(2));
    Lab::start(network.address(V4, Fate::Open).address(V6, Fate::Open)).expect("a lab")
}

/// Runs `ip` in the client's namespace.
fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().expect("iproute2");
    assert!(status.success(), "ip {arguments}");
}

fn dial(host: &str, config: &Config) -> Result<Report, ConnectError> {
    let plan = Plan::submission();
    mailport::Dialer::new()
        .without_cache()
        .with_plan(plan.clone())
        .with_config(config.clone())
        .connect(host)
        .map(|connected| connected.report)
}

fn failed(host: &str, config: &Config) -> Report {
    match dial(host, config) {
        Err(ConnectError::Failed(report)) => *report,
        other => panic!("{other:?}"),
    }
}

fn is_local(attempt: &Attempt, errno: &str) -> bool {
    attempt.outcome == Some(Outcome::Local)
        && attempt.errno.and_then(mailport::outcome::Errno::name) == Some(errno)
}

#[test]
fn a_route_that_says_no_is_local_over_both_families() {
    let lab = lab();
    lab.client(|| {
        // Linux has other errors for IPv6 routes than for IPv4.
        for (kind, v4, v6) in [
            ("unreachable", "EHOSTUNREACH", "EHOSTUNREACH"),
            ("prohibit", "EACCES", "EACCES"),
            ("blackhole", "EINVAL", "EINVAL"),
        ] {
            for (address, errno) in [(V4, v4), (V6, v6)] {
                ip(&format!("route add {kind} {address}"));
                let report = failed(&address.to_string(), &Config::default());
                ip(&format!("route del {kind} {address}"));
                assert_eq!(report.end, Some(End::Exhausted));
                let [first, second] = &report.attempts[..] else { panic!("{report:?}") };
                assert!(is_local(first, errno) && is_local(second, errno), "{kind}: {report:?}");
                assert_eq!(first.icmp, None);
            }
        }
        ip("route del default");
        let report = failed(&V4.to_string(), &Config::default());
        assert!(is_local(&report.attempts[0], "ENETUNREACH"), "{report:?}");
        let words = report.summary();
        assert!(words.contains("587 cannot be tried from this machine (ENETUNREACH)"), "{words}");
    });
    assert_eq!(lab.syns().len(), 0, "nothing was sent");
}

#[test]
fn a_neighbour_that_does_not_answer_is_local() {
    let lab = lab();
    let report = lab.client(|| {
        ip("link add near type veth peer name far");
        ip("addr add 192.0.2.129/30 dev near");
        ip("link set near up");
        ip("link set far up");
        let mut config = Config::default();
        config.timeout = Duration::from_secs(20);
        failed("192.0.2.130", &config)
    });
    let first = &report.attempts[0];
    assert!(is_local(first, "EHOSTUNREACH"), "{report:?}");
    let from = first.icmp.and_then(|icmp| icmp.sender);
    assert_eq!(from, Some("192.0.2.129".parse().expect("an address")), "its own kernel said so");
}

#[test]
fn when_no_port_is_left_the_dial_ends_and_the_next_service_is_not_tried() {
    let lab = lab();
    let report = lab.client(|| {
        std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "40000 40001").expect("sysctl");
        let target = (V4, 587);
        let held: Vec<_> = (0..2).map(|_| std::net::TcpStream::connect(target)).collect();
        assert!(held.iter().all(Result::is_ok), "{held:?}");
        failed(&V4.to_string(), &Config::default())
    });
    assert_eq!(report.end, Some(End::LocalResourceError), "{report:?}");
    let [only] = &report.attempts[..] else { panic!("{report:?}") };
    assert!(is_local(only, "EADDRNOTAVAIL"), "{report:?}");
    assert!(lab.syns().iter().all(|syn| syn.port == 587));
}

#[test]
fn where_ipv6_is_switched_off_the_dial_goes_on_as_without_a_route() {
    let lab = lab();
    lab.hosts(&[("mail.example.test", V4), ("mail.example.test", V6), ("six.example.test", V6)])
        .expect("names");
    lab.client(|| {
        ip("-6 route del default");
        for _ in ["without a route", "without an address"] {
            for plan in [Plan::submission(), Plan::submission().sequential(), Plan::symmetric()] {
                let dialer = mailport::Dialer::new().without_cache().with_plan(plan.clone());
                let report = dialer.connect("mail.example.test").expect("587 is open").report;
                let won = report.winner().expect("a connection");
                assert_eq!((won.service.port(), won.family), (587, Some(Family::Ipv4)), "{plan}");
                // IPv6 alone: no way for either service, and no lack of ports.
                let error = dialer.connect("six.example.test").expect_err("no way over IPv6");
                let ConnectError::Failed(report) = error else { panic!("{error}") };
                assert_eq!(report.end, Some(End::Exhausted), "{plan}: {report:?}");
                assert_eq!(report.attempts.len(), 2, "{plan}: {report:?}");
                let all = report.attempts.iter().all(|a| is_local(a, "ENETUNREACH"));
                assert!(all, "{plan}: {report:?}");
            }
            for which in ["all", "default"] {
                let path = format!("/proc/sys/net/ipv6/conf/{which}/disable_ipv6");
                std::fs::write(path, "1").expect("sysctl");
            }
        }
        // The fallback after a soft error is as anywhere else.
        lab.set(V4, 587, Fate::Icmp { kind: 3, code: 1 });
        let report = dial("mail.example.test", &Config::default()).expect("25 is open");
        assert_eq!(report.winner().map(|won| won.service.port()), Some(25), "{report:?}");
    });
    assert_eq!(lab.syns().iter().filter(|syn| syn.port == 25).count(), 1, "{:?}", lab.syns());
}

#[test]
fn a_connection_to_itself_is_a_refusal() {
    let lab = lab();
    lab.client(|| {
        // The one port that a connection can come from is the one that it goes to.
        std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "40001 40001").expect("sysctl");
        // Nor is it kept after its end.
        std::fs::write("/proc/sys/net/ipv4/tcp_max_tw_buckets", "0").expect("sysctl");
        let itself = std::net::TcpStream::connect(("127.0.0.1", 40001)).expect("simultaneous open");
        assert_eq!(itself.local_addr().ok(), itself.peer_addr().ok());
        drop(itself);
        let dialer = mailport::Dialer::new().with_plan("40001:starttls".parse().expect("a plan"));
        for host in ["127.0.0.1", "::1"] {
            let error = dialer.connect(host).expect_err("no program listens");
            let ConnectError::Failed(report) = error else { panic!("{error}") };
            assert_eq!(report.end, Some(End::Exhausted), "{report:?}");
            assert_eq!(report.attempts[0].outcome, Some(Outcome::Reset), "{report:?}");
        }
    });
}

#[test]
fn without_tcp_info_a_connection_is_seen_and_a_refusal_too() {
    let lab = lab();
    lab.set(V4, 25, Fate::Reset);
    for errno in [libc::EPERM, libc::ENOPROTOOPT, libc::EOPNOTSUPP] {
        let option = (libc::IPPROTO_TCP, libc::TCP_INFO);
        lab.client(|| {
            seccomp::refusing_option(libc::SYS_getsockopt, option, errno, || {
                let report = dial(&V4.to_string(), &Config::default()).expect("587 is open");
                assert_eq!(report.winner().map(|won| won.service.port()), Some(587), "{report:?}");
                let only_25 = mailport::Dialer::new().without_cache();
                let only_25 = only_25.with_plan("25:starttls".parse().expect("a plan"));
                let error = only_25.connect(&*V4.to_string()).expect_err("25 is closed");
                let ConnectError::Failed(report) = error else { panic!("{error}") };
                assert_eq!(report.attempts[0].outcome, Some(Outcome::Reset), "{report:?}");
                assert_eq!(report.end, Some(End::Exhausted), "{report:?}");
            });
        });
    }
}

#[test]
fn without_an_error_queue_errno_decides_and_the_report_says_so() {
    let lab = lab();
    let note = |report: &Report| report.attempts[0].note.clone().unwrap_or_default();
    for (fate, outcome, errno) in [
        (Fate::Reset, Outcome::Reset, "ECONNREFUSED"),
        // An administrative prohibition differs from an absent host in the queue alone.
        (Fate::Icmp { kind: 3, code: 13 }, Outcome::IcmpSoft, "EHOSTUNREACH"),
        (Fate::Icmp { kind: 3, code: 2 }, Outcome::IcmpHard, "ENOPROTOOPT"),
    ] {
        lab.set(V4, 587, fate);
        lab.client(|| {
            let unread = || {
                let report = dial(&V4.to_string(), &Config::default()).expect("25 is open");
                let first = &report.attempts[0];
                let found = first.errno.and_then(mailport::outcome::Errno::name);
                assert_eq!((first.outcome, found), (Some(outcome), Some(errno)), "{report:?}");
                assert_eq!(note(&report), "decided by errno alone: no error queue", "{report:?}");
                assert_eq!(report.winner().map(|won| won.service.port()), Some(25), "{report:?}");
            };
            // IP_RECVERR itself, and then the reading of the queue.
            let option = (libc::SOL_IP, libc::IP_RECVERR);
            seccomp::refusing_option(libc::SYS_setsockopt, option, libc::EPERM, unread);
            let reading =
                [seccomp::Refused { call: libc::SYS_recvmsg, without: 0, errno: libc::EPERM }];
            seccomp::refusing(&reading, unread);
        });
    }
}

#[test]
fn the_source_address_is_used_and_narrows_the_families() {
    let lab = lab();
    lab.hosts(&[("mail.example.test", V4), ("mail.example.test", V6)]).expect("names");
    let mut config = Config::default();
    config.source = Some(CLIENT_V4);
    lab.client(|| {
        let host = "mail.example.test";
        let connected = mailport::Dialer::new()
            .without_cache()
            .with_plan(Plan::submission())
            .with_config(config.clone())
            .connect(host)
            .expect("connected");
        assert_eq!(connected.stream.local_addr().expect("bound").ip(), CLIENT_V4);
        let report = connected.report;
        assert!(report.lookup.is_some(), "{report:?}");
    });
}

#[test]
fn options_that_cannot_work_are_named_before_anything_is_sent() {
    let lab = lab();
    let refusal = |change: &dyn Fn(&mut Config)| {
        let mut config = Config::default();
        change(&mut config);
        match lab.client(|| dial(&V4.to_string(), &config)) {
            Err(ConnectError::Config(ConfigError::Unusable { name, value, .. })) => {
                format!("{name} {value}")
            }
            other => panic!("{other:?}"),
        }
    };
    let elsewhere: IpAddr = "192.0.2.77".parse().expect("an address");
    assert_eq!(refusal(&|c| c.source = Some(elsewhere)), "source address 192.0.2.77");
    assert_eq!(refusal(&|c| c.device = Some("nowhere0".into())), "device nowhere0");
    let zone = lab.client(|| dial("fe80::1%nowhere0", &Config::default()));
    let words = zone.expect_err("no such interface").to_string();
    assert!(words.contains("zone `nowhere0`"), "{words}");
    assert_eq!(lab.syns().len(), 0);
}

#[test]
fn device_and_mark_are_set_on_the_connection() {
    let lab = lab();
    let mut config = Config::default();
    config.mark = Some(42);
    lab.client(|| {
        let mut config = config.clone();
        let device = lab_device();
        config.device = Some(device.clone());
        let host = &V4.to_string();
        let connected = mailport::Dialer::new()
            .without_cache()
            .with_plan(Plan::submission())
            .with_config(config.clone())
            .connect(host)
            .expect("connected");
        let socket = socket2::SockRef::from(&connected.stream);
        assert_eq!(socket.mark().expect("SO_MARK"), 42);
        assert_eq!(socket.device().expect("SO_BINDTODEVICE"), Some(device.into_bytes()));
        // The only other way out does not lead there.
        config.device = Some("lo".into());
        config.timeout = Duration::from_millis(300);
        assert!(dial(&V4.to_string(), &config).is_err());
    });
}

#[test]
fn a_link_local_address_is_reached_by_its_zone() {
    let lab = lab();
    lab.client(|| {
        ip("addr add fe80::1/64 dev lo nodad");
        let listener = std::net::TcpListener::bind("[::]:587").expect("a listener");
        for zone in ["lo", "1"] {
            let report = dial(&format!("fe80::1%{zone}"), &Config::default()).expect("connected");
            // The kernel may lose the first SYN to an address that is new: then there are two.
            let is_only_587 = report.attempts.iter().all(|one| one.service.port() == 587);
            assert!(is_only_587, "{}", report.timeline(80));
        }
        drop(listener);
    });
}

/// The name of the device that the default route leads through.
fn lab_device() -> String {
    let shown = Command::new("ip").args(["route", "show", "default"]).output().expect("iproute2");
    let text = String::from_utf8(shown.stdout).expect("text");
    let mut words = text.split_whitespace().skip_while(|word| *word != "dev").skip(1);
    words.next().expect("a default route through a device").to_owned()
}
