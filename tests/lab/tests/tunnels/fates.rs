//! Which port is reached through what, and what is reported.

use std::fmt::Write as _;
use std::thread;

use mailport::outcome::ViaError;
use mailport::report::End;
use mailport::{GreetingWait, Plan, Report};
use mailport_lab::mta::{Certificate, HOST};
use mailport_lab::tunnels::{Gateway, Side, Tunnel};

use crate::far::{Far, World, story};
use mailport_lab::command::mailport;

/// What is to come of a dial: the attempts, and a part of the sentence for people.
type Row = (Far, &'static str, &'static str);

/// A greeting that has not come.
const UNHEARD: &str = "no greeting so far: the server pauses, or a tunnel hides a filtered port";

/// Dials every server at once.
fn check(what: &str, rows: &[Row], dial: impl Fn(Far) -> Report + Sync) {
    let run = |&(far, expected, part): &Row| {
        let report = dial(far);
        let (reported, summary) = (story(&report), report.summary());
        if reported == expected && summary.contains(part) {
            return None;
        }
        Some(format!(
            "{what}, {far:?}: wanted {expected}\n{reported}\n{part}\n{summary}\n{report:#?}"
        ))
    };
    let failed: Vec<String> = thread::scope(|scope| {
        let dials: Vec<_> = rows.iter().map(|row| scope.spawn(move || run(row))).collect();
        dials.into_iter().filter_map(|dial| dial.join().unwrap()).collect()
    });
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}

/// Dials through this, every server by its name.
fn check_through(world: &World, via: &str, rows: &[Row]) {
    check(via, rows, |far| world.dial(&far.name(), &Plan::submission(), Some(via), &far.config()));
    for (far, ..) in rows {
        let tried = if matches!(far, Far::Open | Far::Silent) { &[587][..] } else { &[587, 25] };
        assert_eq!(world.tried(*far), tried, "{via}, {far:?}: one connection each");
    }
}

#[test]
fn through_ssh_w_a_refusal_leads_to_25_in_the_words_of_ssh_and_silence_does_not() {
    let world = World::new();
    let gateway = Gateway::start(&world.lab).unwrap();
    let via = format!("command:{} -W [%h]:%p gateway", gateway.ssh());
    let refused = "587 closed, 25 connected greeted";
    check_through(
        &world,
        &via,
        &[
            (Far::Open, "587 connected greeted", "connected to 587 through command:"),
            (Far::Reset, refused, "open failed: connect failed: Connection refused"),
            (Far::IcmpHard, refused, "open failed: connect failed: No route to host"),
            (Far::IcmpSoft, refused, "open failed: connect failed: No route to host"),
            (Far::Closing, refused, "587 closed the connection"),
            (Far::Silent, "587 connected unheard", UNHEARD),
        ],
    );
}

#[test]
fn through_ssh_d_a_close_instead_of_a_reply_leads_to_25_and_silence_ends_with_the_deadline() {
    let world = World::new();
    let gateway = Gateway::start(&world.lab).unwrap();
    let options = ["-D", "127.0.0.1:1080"].map(str::to_owned);
    let _ssh = gateway.forward(&world.lab, &options, &[1080]).unwrap();
    let refused = "587 closed, 25 connected greeted";
    let instead = "the proxy closed instead of replying";
    check_through(
        &world,
        "socks5://127.0.0.1",
        &[
            (
                Far::Open,
                "587 connected greeted",
                "connected to 587 through socks5://127.0.0.1:1080",
            ),
            (Far::Reset, refused, instead),
            (Far::IcmpHard, refused, instead),
            (Far::IcmpSoft, refused, instead),
            (Far::Closing, refused, "587 closed the connection; connected to 25"),
            (Far::Silent, "587 timeout", "the proxy has accepted, and not replied"),
        ],
    );
}

/// The port on the client's loopback by which a server's port is reached.
fn local(far: Far, port: u16) -> u16 {
    10_000 + 1000 * u16::from(far.number()) + port
}

fn local_ports() -> Vec<u16> {
    Far::ALL.iter().flat_map(|&far| [587, 25].map(|port| local(far, port))).collect()
}

/// Dials ports of the client's loopback, with the greeting wait.
fn check_local(world: &World, what: &str, rows: &[(Far, bool)]) {
    let stories: Vec<(Far, String, String)> = rows
        .iter()
        .map(|&(far, falls_back)| {
            let (first, second) = (local(far, 587), local(far, 25));
            let (reported, sentence) = match (far, falls_back) {
                (_, true) => (
                    format!("{first} closed, {second} connected greeted"),
                    format!("{first} closed the connection; connected to {second}"),
                ),
                (Far::Silent, _) => (format!("{first} connected unheard"), UNHEARD.to_owned()),
                _ => (format!("{first} connected greeted"), format!("connected to {first}")),
            };
            (far, reported, sentence)
        })
        .collect();
    thread::scope(|scope| {
        for (far, reported, sentence) in &stories {
            scope.spawn(move || {
                let plan = [587, 25].map(|port| format!("{}:starttls", local(*far, port)));
                let plan = plan.join(",").parse().unwrap();
                let report = world.dial("127.0.0.1", &plan, None, &far.config());
                let summary = report.summary();
                assert_eq!(story(&report), *reported, "{what}, {far:?}: {report:#?}");
                assert!(summary.contains(sentence), "{what}, {far:?}: {summary}");
            });
        }
    });
}

#[test]
fn behind_ssh_l_the_greeting_wait_tells_a_refusal_and_takes_silence_for_a_pause() {
    let world = World::new();
    let gateway = Gateway::start(&world.lab).unwrap();
    let mut options = Vec::new();
    for far in Far::ALL {
        for port in [587, 25] {
            let forward = format!("127.0.0.1:{}:{}:{port}", local(far, port), far.name());
            options.extend(["-L".to_owned(), forward]);
        }
    }
    let _ssh = gateway.forward(&world.lab, &options, &local_ports()).unwrap();
    let rows = Far::ALL.map(|far| (far, !matches!(far, Far::Open | Far::Silent)));
    check_local(&world, "ssh -L", &rows);
}

#[test]
fn behind_stunnel_the_greeting_wait_tells_a_refusal_and_silence_too_if_it_is_longer_than_stunnels_own()
 {
    let world = World::with_fates_of(1587);
    let folder = tempfile::tempdir().unwrap();
    let certificate = Certificate::new(folder.path()).unwrap();
    let (mut near, mut far_end) = (String::new(), String::new());
    for far in Far::ALL {
        let address = far.address();
        for port in [587, 25] {
            let (local, tls) = (local(far, port), 1000 + port);
            write!(
                near,
                "[{local}]\nclient = yes\naccept = 127.0.0.1:{local}\nconnect = {address}:{tls}\n\
                 verifyChain = yes\nCAfile = {}\ncheckHost = {HOST}\n",
                certificate.authority().display(),
            )
            .unwrap();
            write!(
                far_end,
                "[{local}]\naccept = {address}:{tls}\nconnect = {address}:{port}\n\
                 cert = {}\nkey = {}\n",
                certificate.own().display(),
                certificate.key().display(),
            )
            .unwrap();
        }
    }
    let tls_ports = [1587, 1025];
    let _far = Tunnel::stunnel(&world.lab, Side::Server, &far_end, &tls_ports).unwrap();
    let _near = Tunnel::stunnel(&world.lab, Side::Client, &near, &local_ports()).unwrap();
    let rows = Far::ALL.map(|far| (far, !matches!(far, Far::Open | Far::Silent)));
    check_local(&world, "stunnel", &rows);
    // stunnel gives a connect up after 10 s, and closes: a longer greeting wait sees that.
    let (first, second) = (local(Far::Silent, 587), local(Far::Silent, 25));
    let plan = format!("{first}:starttls,{second}:starttls").parse().unwrap();
    let report = world.dial("127.0.0.1", &plan, None, &Far::Open.config());
    assert_eq!(story(&report), format!("{first} closed, {second} connected greeted"));
}

#[test]
fn through_microsocks_a_reply_tells_why_and_silence_ends_with_the_deadline() {
    let world = World::new();
    let _proxy = Tunnel::microsocks(&world.lab, 1080, None).unwrap();
    let refused = "587 via, 25 connected greeted";
    check_through(
        &world,
        "socks5://127.0.0.1",
        &[
            (
                Far::Open,
                "587 connected greeted",
                "connected to 587 through socks5://127.0.0.1:1080",
            ),
            (Far::Reset, refused, "refused (reply 5); connected to 25"),
            (Far::IcmpHard, refused, "(reply 4); connected to 25"),
            (Far::IcmpSoft, refused, "(reply 4); connected to 25"),
            (
                Far::Closing,
                "587 closed, 25 connected greeted",
                "587 closed the connection; connected to 25",
            ),
            (Far::Silent, "587 timeout", "the proxy has accepted, and not replied"),
        ],
    );
}

#[test]
fn microsocks_with_a_login_wants_the_right_one() {
    let world = World::new();
    let _proxy = Tunnel::microsocks(&world.lab, 1080, Some(("anne", "s3 cr%t"))).unwrap();
    let dial = |login: &str| {
        let via = format!("socks5://{login}127.0.0.1");
        let far = Far::Reset;
        let plan = Plan::submission();
        let report = world.dial(&far.name(), &plan, Some(&via), &far.config());
        (story(&report), report)
    };
    assert_eq!(dial("anne:s3%20cr%25t@").0, "587 via, 25 connected greeted");
    let tried = world.tried(Far::Reset);
    for login in ["anne:wrong@", ""] {
        let (reported, report) = dial(login);
        assert_eq!((&*reported, report.end), ("587 via", Some(End::Via)), "{login}");
        assert_eq!(report.attempts[0].via_error, Some(ViaError::Login), "{login}");
        assert!(report.summary().contains("refuses the login"), "{}", report.summary());
    }
    assert_eq!(world.tried(Far::Reset), tried, "nothing went out without the login");
}

/// One row a fate: directly, directly with the greeting wait, through a proxy, through a command.
const TABLE: [(Far, [&str; 4]); 6] = [
    (
        Far::Open,
        [
            "587 connected",
            "587 connected greeted",
            "587 connected greeted",
            "587 connected greeted",
        ],
    ),
    (
        Far::Reset,
        [
            "587 reset, 25 connected",
            "587 reset, 25 connected greeted",
            "587 via, 25 connected greeted",
            "587 closed, 25 connected greeted",
        ],
    ),
    (
        Far::IcmpHard,
        [
            "587 icmp-hard, 25 connected",
            "587 icmp-hard, 25 connected greeted",
            "587 via, 25 connected greeted",
            "587 closed, 25 connected greeted",
        ],
    ),
    (
        Far::IcmpSoft,
        [
            "587 icmp-soft, 25 connected",
            "587 icmp-soft, 25 connected greeted",
            "587 via, 25 connected greeted",
            "587 closed, 25 connected greeted",
        ],
    ),
    (
        Far::Silent,
        [
            "587 timeout, 587 timeout, 25 connected, 587 timeout",
            "587 timeout",
            "587 timeout",
            "587 connected unheard",
        ],
    ),
    (
        Far::Closing,
        [
            "587 connected",
            "587 closed, 25 connected greeted",
            "587 closed, 25 connected greeted",
            "587 closed, 25 connected greeted",
        ],
    ),
];

#[test]
fn every_fate_directly_through_a_proxy_and_through_a_command() {
    let world = World::new();
    let _proxy = Tunnel::microsocks(&world.lab, 1080, None).unwrap();
    let command = format!(
        "command:{} connect --stdio --cache off --plan %p:starttls %h",
        mailport().display()
    );
    let ways = [None, None, Some("socks5://127.0.0.1"), Some(&*command)];
    thread::scope(|scope| {
        for (column, via) in ways.into_iter().enumerate() {
            let world = &world;
            let rows = TABLE.map(|(far, stories)| (far, stories[column], ""));
            scope.spawn(move || {
                check(&format!("column {column}"), &rows, |far| {
                    let mut config = far.config();
                    let host = if column < 2 { far.address().to_string() } else { far.name() };
                    if column == 0 {
                        config.greeting_wait = GreetingWait::Off;
                    }
                    world.dial(&host, &Plan::submission(), via, &config)
                });
            });
        }
    });
}
