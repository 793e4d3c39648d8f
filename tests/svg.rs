//! The picture of a dial: what is in it, and that it is a picture of any report.
#![cfg(feature = "svg")]
#![expect(clippy::unwrap_used, reason = "a test that cannot set its scene has failed")]

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use mailport::config::Config;
use mailport::machine::{Action, Event, Machine, Query};
use mailport::outcome::{Errno, Icmp};
use mailport::report::svg::{Decision, Panel, draw};
use mailport::report::{Attempt, End, Lookup, LookupError, Reason};
use mailport::{Family, Outcome, Plan, Report, Service, Tls};
use proptest::prelude::*;
use roxmltree::{Document, Node};

const MS: Duration = Duration::from_millis(1);

/// A report of a dial that has only begun: one attempt, and a look-up.
fn begun() -> Report {
    let now = Instant::now();
    let target = "mail.example.com".parse().unwrap();
    let mut machine = Machine::new(&target, &Plan::default(), &Config::default(), now).unwrap();
    let addresses = Ok(vec!["[2001:db8::1]:0".parse().unwrap()]);
    machine.handle(Event::Resolved { query: Query::Authority, addresses, routes: Vec::new() }, now);
    machine.handle_timeout(now + MS * 50);
    machine.report()
}

/// An attempt at `address`, of the service with its port, `started` and `ended` after the call.
fn attempt(address: &str, outcome: Outcome, started: Duration, ended: Duration) -> Attempt {
    let address: SocketAddr = address.parse().unwrap();
    let mut attempt = begun().attempts.remove(0);
    attempt.service = Service::new(address.port(), Tls::StartTls).unwrap();
    attempt.family = Some(Family::from(address.ip()));
    attempt.address = Some(address);
    (attempt.outcome, attempt.started, attempt.ended) = (Some(outcome), started, ended);
    attempt
}

fn because(reason: Reason, mut attempt: Attempt) -> Attempt {
    attempt.reason = reason;
    attempt
}

fn silent(address: &str, started: u32, ended: u32, syns: u32) -> Attempt {
    let mut attempt = attempt(address, Outcome::Timeout, started * MS, ended * MS);
    attempt.syns = Some(syns);
    attempt
}

fn filtered(address: &str, started: Duration, ended: Duration, router: &str, code: u8) -> Attempt {
    let mut attempt = attempt(address, Outcome::IcmpHard, started, ended);
    let family = attempt.family.unwrap();
    let kind = if family == Family::Ipv4 { 3 } else { 1 };
    attempt.icmp = Some(Icmp { family, kind, code, sender: Some(router.parse().unwrap()) });
    attempt
}

fn report(attempts: Vec<Attempt>, end: End, elapsed: Duration) -> Report {
    let mut report = begun();
    (report.attempts, report.end, report.elapsed) = (attempts, Some(end), elapsed);
    report.lookup = None;
    report
}

fn failed_lookup(ended: Option<Duration>, error: LookupError) -> Lookup {
    let mut lookup = begun().lookup.unwrap();
    (lookup.ended, lookup.result) = (ended, Err(error));
    lookup
}

/// The README's example, as the machine dials it: 587 is silent over both families, and 25 answers
/// after 42 ms.
fn example() -> Report {
    let start = Instant::now();
    let mut now = start;
    let target = "mail.example.com".parse().unwrap();
    let mut machine = Machine::new(&target, &Plan::default(), &Config::default(), now).unwrap();
    let mut coming: Vec<(Instant, Event)> = Vec::new();
    while machine.outcome().is_none() {
        machine.handle_timeout(now);
        while let Some(action) = machine.poll_action() {
            match action {
                Action::Resolve { query } => {
                    let list = ["[2001:db8::25]:0", "192.0.2.25:0"];
                    let addresses = Ok(list.map(|text| text.parse().unwrap()).to_vec());
                    let routes = Family::ALL.to_vec();
                    coming.push((now + MS, Event::Resolved { query, addresses, routes }));
                }
                Action::Connect { attempt, address } if address.port() == 25 => {
                    let (round_trip, syns) = (42 * MS, Some(1));
                    let connected = Event::Connected { attempt, round_trip, syns };
                    coming.push((now + round_trip, connected));
                    coming.push((now + round_trip, Event::Confirmed { attempt }));
                }
                Action::Close { attempt } => {
                    machine.handle(Event::Closed { attempt, syns: Some(1) }, now);
                }
                Action::Connect { .. } | Action::Through { .. } => {}
            }
        }
        let next = coming.iter().map(|(at, _)| *at).chain(machine.deadline()).min();
        now = next.unwrap_or(now);
        for (_, event) in coming.extract_if(.., |(at, _)| *at <= now) {
            machine.handle(event, now);
        }
    }
    machine.report()
}

fn scenes() -> Vec<(&'static str, Report)> {
    let mut scenes = Vec::new();
    let mut add = |name, report| scenes.push((name, report));
    let open =
        |address, from: u32, to: u32| attempt(address, Outcome::Connected, from * MS, to * MS);
    add("readme", example());
    add("family-dead", {
        let first = silent("[2001:db8::25]:587", 0, 332, 1);
        let second = filtered("192.0.2.25:587", 250 * MS, 291 * MS, "203.0.113.1", 13);
        let second = because(Reason::AttemptDelay, second);
        let refused = Reason::Refused(second.service);
        let open = because(refused, open("192.0.2.25:25", 291, 332));
        report(vec![first, second, open], End::Connected(2), 332 * MS)
    });
    add("open", report(vec![open("192.0.2.1:587", 0, 41)], End::Connected(0), 41 * MS));
    add("reset", {
        let reset = attempt("192.0.2.1:587", Outcome::Reset, Duration::ZERO, 40 * MS);
        report(vec![reset, open("192.0.2.1:25", 40, 81)], End::Connected(1), 81 * MS)
    });
    add("filtered", {
        let filtered = filtered("192.0.2.1:587", Duration::ZERO, 40 * MS, "203.0.113.1", 9);
        report(vec![filtered, open("192.0.2.1:25", 40, 81)], End::Connected(1), 81 * MS)
    });
    add("v6-dead", {
        let reset = attempt("192.0.2.1:587", Outcome::Reset, 250 * MS, 290 * MS);
        let first = silent("[2001:db8::1]:587", 0, 331, 1);
        let dead = attempt("[2001:db8::1]:25", Outcome::Cancelled, 330 * MS, 331 * MS);
        let attempts = vec![first, reset, open("192.0.2.1:25", 290, 331), dead];
        report(attempts, End::Connected(2), 331 * MS)
    });
    add("deadline", {
        let mut attempts = Vec::new();
        for (port, from) in [(587, 0), (25, 2500)] {
            for n in 1..=6 {
                let address = match n % 2 {
                    1 => format!("[2001:db8:0:{n}::25]:{port}"),
                    _ => format!("198.51.100.{n}:{port}"),
                };
                attempts.push(silent(&address, from + 250 * (n - 1), 30_000, 8));
            }
        }
        let mut report = report(attempts, End::Timeout, 30_000 * MS);
        report.lookup = Some(failed_lookup(None, LookupError::Unanswered));
        report
    });
    add("loopback", {
        let us = Duration::from_micros;
        let reset = attempt("127.0.0.1:587", Outcome::Reset, us(31), us(74));
        let open = attempt("127.0.0.1:25", Outcome::Connected, us(80), us(148));
        report(vec![reset, open], End::Connected(1), us(151))
    });
    add("long", {
        let first = "[fe80:1234:5678:9abc:def0:1234:5678:9abc%4294967295]:587";
        let router = "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff";
        let full = "[2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff]:587";
        let filtered = filtered(full, Duration::ZERO, 40 * MS, router, 1);
        let mut local = attempt(first, Outcome::Local, 40 * MS, 40 * MS);
        local.errno = Some(Errno(libc::ENETUNREACH));
        let mut closed = attempt("192.0.2.1:25", Outcome::Closed, 40 * MS, 600 * MS);
        closed.connected = Some(80 * MS);
        report(vec![filtered, local, closed], End::Exhausted, 600 * MS)
    });
    add("thirty", {
        let attempts = (0..30).map(|n| {
            let (port, at) = if n < 20 { (587, n * 250) } else { (25, 2000 + n * 250) };
            let address = format!("198.51.100.{n}:{port}");
            let outcome = if n % 3 == 0 { Outcome::Reset } else { Outcome::Timeout };
            let ended = if n % 3 == 0 { at + 180 } else { (at + 1700).min(9600) };
            let mut attempt = attempt(&address, outcome, at * MS, ended * MS);
            attempt.syns = (n % 3 != 0).then_some(2);
            attempt
        });
        report(attempts.collect(), End::Exhausted, 9600 * MS)
    });
    add("nowhere", {
        let mut nowhere = report(Vec::new(), End::Unresolved, 5000 * MS);
        nowhere.lookup = Some(failed_lookup(Some(5000 * MS), LookupError::TryAgain));
        nowhere
    });
    add("nothing", report(Vec::new(), End::Unresolved, MS));
    scenes
}

/// Every scene under one another, as for many hosts.
fn together() -> String {
    let panels: Vec<Panel> = scenes().iter().map(|(_, report)| Panel::from(report)).collect();
    draw(&panels[..7])
}

#[test]
fn the_drawing_of_the_example_is_what_it_draws() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/timeline.svg");
    let drawn = example().to_svg();
    // To look at every scene, and to draw the README's afresh.
    if let Some(folder) = std::env::var_os("MAILPORT_DRAW") {
        let folder = Path::new(&folder);
        for (name, report) in scenes() {
            std::fs::write(folder.join(name).with_extension("svg"), report.to_svg()).unwrap();
        }
        std::fs::write(folder.join("together.svg"), together()).unwrap();
    }
    if std::env::var_os("MAILPORT_REDRAW").is_some() {
        std::fs::write(&path, &drawn).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == drawn, "docs/timeline.svg is old: MAILPORT_REDRAW=1 draws it afresh");
}

/// A picture would show in the repository only, and not where the crate is published.
#[test]
fn the_readme_shows_its_example_as_text() {
    let drawn = example().timeline(100).to_string();
    let readme = include_str!("../README.md");
    assert!(readme.contains(&drawn), "README.md does not show this:\n{drawn}");
}

fn scene(name: &str) -> String {
    let (_, report) = scenes().into_iter().find(|(scene, _)| *scene == name).unwrap();
    report.to_svg()
}

fn of_class<'a>(root: Node<'a, 'a>, class: &str) -> Vec<Node<'a, 'a>> {
    let has = |node: &Node| {
        node.attribute("class").is_some_and(|classes| classes.split(' ').any(|one| one == class))
    };
    root.descendants().filter(has).collect()
}

fn said(node: Node) -> String {
    node.text().unwrap_or_default().trim().to_owned()
}

fn number(node: Node, name: &str) -> f64 {
    node.attribute(name).unwrap().parse().unwrap()
}

fn notes(row: Node) -> String {
    let lines: Vec<String> = row
        .children()
        .filter(|node| node.attribute("class").is_some_and(|class| class.starts_with("note")))
        .map(said)
        .collect();
    lines.join(" ")
}

#[test]
fn a_picture_says_in_words_what_it_shows() {
    for (name, report) in scenes() {
        let svg = report.to_svg();
        let document = Document::parse(&svg).unwrap();
        let root = document.root_element();
        assert_eq!((root.tag_name().name(), root.attribute("role")), ("svg", Some("img")));
        let [title, description] = ["title", "desc"].map(|tag| {
            said(root.children().find(|node| node.has_tag_name(tag_name(tag))).unwrap())
        });
        assert_eq!(title, report.summary(), "{name}");
        let rows = of_class(root, "row");
        assert!(rows.len() >= report.attempts.len(), "{name}");
        for row in rows {
            let story = said(row.first_element_child().unwrap());
            assert!(story.contains(&notes(row)) && description.contains(&story), "{name}: {story}");
        }
        for attempt in &report.attempts {
            assert!(description.contains(&attempt.reason.to_string()), "{name}");
        }
    }
}

fn tag_name(name: &str) -> (&str, &str) {
    ("http://www.w3.org/2000/svg", name)
}

#[test]
fn a_filtered_service_names_its_router_and_the_meaning() {
    let svg = scene("filtered");
    let document = Document::parse(&svg).unwrap();
    let rows = of_class(document.root_element(), "row");
    assert_eq!(
        notes(rows[0]),
        "icmp-hard from 203.0.113.1 (communication with destination network administratively \
         prohibited)"
    );
    assert_eq!(notes(rows[1]), "connected");
    assert_eq!(of_class(rows[0], "halo").len(), 1, "a cross");
    assert_eq!(of_class(rows[1], "dot").len(), 1);
}

#[test]
fn the_decision_is_marked_where_the_held_connection_was_taken() {
    let svg = example().to_svg();
    let document = Document::parse(&svg).unwrap();
    let root = document.root_element();
    let flag = of_class(root, "on-flag");
    assert_eq!(flag.iter().map(|node| said(*node)).collect::<Vec<_>>(), ["connected to 25"]);
    let line = of_class(root, "mark").into_iter().find(|n| n.has_tag_name(tag_name("line")));
    let held = of_class(root, "held")[0];
    let (end, at) = (number(held, "x") + number(held, "width"), number(line.unwrap(), "x1"));
    assert!((end - at).abs() < 0.2, "{end} {at}");
    let won = of_class(root, "won");
    assert_eq!(won.iter().map(|n| said(*n)).collect::<Vec<_>>(), ["connected, held 308 ms"]);
}

#[test]
fn a_repeated_syn_is_a_tick_and_a_bar_has_as_many_as_were_counted() {
    let svg = scene("deadline");
    let document = Document::parse(&svg).unwrap();
    for row in of_class(document.root_element(), "row").into_iter().skip(1) {
        assert_eq!(of_class(row, "syn").len(), 7, "8 SYNs");
    }
}

#[test]
fn the_scale_is_round_and_suits_microseconds_and_half_a_minute() {
    for (name, labels) in [
        ("loopback", "0 20 µs 40 µs 60 µs 80 µs 100 µs 120 µs 140 µs"),
        ("reset", "0 20 ms 40 ms 60 ms 80 ms"),
        ("readme", "0 200 ms 400 ms 600 ms 800 ms"),
        ("deadline", "0 5 s 10 s 15 s 20 s 25 s 30 s"),
    ] {
        let svg = scene(name);
        let document = Document::parse(&svg).unwrap();
        let found: Vec<String> = of_class(document.root_element(), "middle")
            .into_iter()
            .filter(|node| node.attribute("class").unwrap().contains("small"))
            .map(said)
            .collect();
        assert_eq!(found.join(" "), labels, "{name}");
    }
}

#[test]
fn panels_share_one_scale() {
    let svg = together();
    let document = Document::parse(&svg).unwrap();
    let root = document.root_element();
    assert_eq!(of_class(root, "title").iter().filter(|n| said(**n).contains("timeout")).count(), 1);
    let zeros: Vec<f64> = of_class(root, "middle")
        .into_iter()
        .filter(|node| said(*node) == "30 s")
        .map(|node| number(node, "x"))
        .collect();
    assert_eq!(zeros.len(), 7);
    assert!(zeros.windows(2).all(|pair| pair[0].total_cmp(&pair[1]).is_eq()), "{zeros:?}");
    assert_eq!(said(root.first_element_child().unwrap()), "7 dials");
}

#[test]
fn nothing_is_fetched_and_nothing_runs() {
    let svg = together().replace("http://www.w3.org/2000/svg", "");
    for word in ["http", "href", "url(", "<script", "@import", "onload"] {
        assert!(!svg.contains(word), "{word}");
    }
}

/// The relative luminance of a colour (WCAG 2.2).
fn luminance(color: &str) -> f64 {
    let channel = |from: usize| {
        let value = f64::from(u8::from_str_radix(&color[from..from + 2], 16).unwrap()) / 255.0;
        if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
    };
    0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5)
}

#[test]
fn colours_differ_in_lightness_from_each_other_and_from_their_ground() {
    let svg = example().to_svg();
    let (light, dark) = svg.split_once("@media (prefers-color-scheme: dark)").unwrap();
    for scheme in [light, dark] {
        let color = |class: &str| {
            let rule = &scheme[scheme.find(&format!("\n{class} {{")).unwrap()..];
            let rule = &rule[..rule.find('}').unwrap()];
            luminance(&rule[rule.rfind("fill: #").unwrap() + 6..][..7])
        };
        let contrast = |one: &str, other: &str| {
            let (one, other) = (color(one) + 0.05, color(other) + 0.05);
            (one / other).max(other / one)
        };
        assert!(contrast(".ipv6", ".ipv4") > 2.0, "{}", contrast(".ipv6", ".ipv4"));
        for (class, ground, least) in [
            (".ipv6", ".band", 2.5),
            (".ipv4", ".band", 2.5),
            (".soft", ".band", 4.5),
            ("text", ".paper", 7.0),
            (".on-flag", ".flag", 7.0),
        ] {
            let contrast = contrast(class, ground);
            assert!(contrast >= least, "{class} on {ground}: {contrast}");
        }
    }
}

fn hostile() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[<>&\"'\\]\\[!/a-z ]{0,40}",
        Just("]]><script>alert(1)</script>&#0;&amp;<!--".to_owned()),
        Just("\0\u{1}\u{b}\u{1b}[31m\u{fffe}\u{ffff}\u{202e}".to_owned()),
        Just("長い名前のメールサーバー ".repeat(20)),
        Just("x".repeat(500)),
    ]
}

/// An attempt that begins `after` the one before it. Times are in steps.
#[derive(Debug, Clone)]
struct Seed {
    after: u32,
    lasted: u32,
    connected: Option<u32>,
    outcome: Outcome,
    address: Option<SocketAddr>,
    icmp: Option<Icmp>,
    syns: Option<u32>,
}

impl Seed {
    fn grown(self, began: Duration, step: Duration) -> Attempt {
        let began = began + step * self.after;
        let address = self.address.unwrap_or("192.0.2.1:25".parse().unwrap());
        let mut attempt =
            attempt(&address.to_string(), self.outcome, began, began + step * self.lasted);
        attempt.address = self.address;
        attempt.connected = self.connected.map(|at| began + step * at);
        (attempt.icmp, attempt.syns) = (self.icmp, self.syns);
        attempt.errno = (self.outcome == Outcome::Local).then_some(Errno(libc::EMFILE));
        attempt
    }
}

prop_compose! {
    fn any_seed()(
        (after, lasted) in (0..50_000_u32, any::<u32>()),
        connected in any::<Option<u32>>(),
        outcome in prop::sample::select(vec![
            Outcome::Connected, Outcome::Reset, Outcome::IcmpHard, Outcome::IcmpSoft,
            Outcome::Timeout, Outcome::Local, Outcome::Closed, Outcome::Via, Outcome::Cancelled,
        ]),
        ip in any::<Option<IpAddr>>(),
        port in 1..5_u16,
        icmp in any::<Option<(u8, u8, Option<IpAddr>)>>(),
        syns in any::<Option<u32>>(),
    ) -> Seed {
        let address = ip.map(|ip| SocketAddr::new(ip, port));
        let family = ip.map_or(Family::Ipv4, Family::from);
        let icmp = icmp.map(|(kind, code, from)| Icmp { family, kind, code, sender: from });
        Seed { after, lasted, connected, outcome, address, icmp, syns }
    }
}

prop_compose! {
    fn any_panel()(
        (title, host, words) in (hostile(), hostile(), hostile()),
        failure in prop::option::of(hostile()),
        seeds in prop::collection::vec(any_seed(), 0..30),
        at in any::<u32>(),
        winner in any::<Option<usize>>(),
        step in prop::sample::select(vec![Duration::from_nanos(1), Duration::from_micros(10)]),
    ) -> Panel {
        let mut began = Duration::ZERO;
        let mut attempts = Vec::new();
        for seed in seeds {
            attempts.push(seed.grown(began, step));
            began = attempts[attempts.len() - 1].started;
        }
        let failed = |words| Some(failed_lookup(Some(MS), LookupError::Failed(words)));
        let lookup = failure.and_then(failed);
        let decision = Some(Decision { at: step * at, words, winner });
        Panel { title, host, lookup, attempts, decision }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_is_said_it_is_one_drawing_within_its_frame_on_one_scale(
        panels in prop::collection::vec(any_panel(), 0..3),
    ) {
        let svg = draw(&panels);
        let document = Document::parse(&svg).expect("XML");
        let root = document.root_element();
        let (width, height) = (number(root, "width"), number(root, "height"));
        for node in root.descendants().filter(Node::is_element) {
            let tag = node.tag_name().name();
            prop_assert!(["svg", "title", "desc", "style", "g", "rect", "line", "text", "circle",
                "path"].contains(&tag), "{tag}");
            for (name, limit) in [("x", width), ("y", height), ("x1", width), ("x2", width),
                ("cx", width), ("cy", height), ("y1", height), ("y2", height)] {
                if let Some(at) = node.attribute(name) {
                    let at: f64 = at.parse().expect("a number");
                    // The signs of the legend stand around the beginning of their group.
                    prop_assert!((-8.0..=limit).contains(&at), "{tag} {name}={at}");
                }
            }
            if tag == "rect" {
                prop_assert!(number(node, "width") >= 0.0 && number(node, "height") >= 0.0);
                prop_assert!(number(node, "x") + number(node, "width") <= width + 0.1);
            }
        }
        let attempts = panels.iter().map(|panel| panel.attempts.len()).sum::<usize>();
        let lookups = panels.iter().map(|panel| usize::from(panel.lookup.is_some())).sum::<usize>();
        prop_assert_eq!(of_class(root, "row").len(), attempts + lookups);
        // The bars of a panel stand by service; what begins later never stands further left.
        if let [panel] = &panels[..] {
            let mut attempts = Vec::new();
            for attempt in &panel.attempts {
                if !attempts.iter().any(|(service, _)| *service == attempt.service) {
                    let of_it = panel.attempts.iter().filter(|a| a.service == attempt.service);
                    attempts.extend(of_it.map(|a| (a.service, a.started)));
                }
            }
            let bars = of_class(root, "bar").into_iter().skip(usize::from(panel.lookup.is_some()));
            let mut placed: Vec<(Duration, f64)> =
                attempts.iter().map(|(_, started)| *started).zip(bars.map(|b| number(b, "x"))).collect();
            placed.sort_by_key(|(started, _)| *started);
            prop_assert!(placed.windows(2).all(|pair| pair[0].1 <= pair[1].1 + 2.0), "{placed:?}");
        }
    }
}
