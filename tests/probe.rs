//! Probes of ports on loopback, and what a dial would choose by them.
#![expect(clippy::unwrap_used, reason = "a test that cannot set its scene has failed")]

mod common;

use std::io::Read;
use std::thread;
use std::time::{Duration, Instant};

use common::{Port, open, plan, refused, silent};
use mailport::probe::Probed;
use mailport::report::LookupError;
use mailport::{
    Config, Dialer, Outcome, Plan, ProbeError, ProbeProgress, Prober, Report, Resolver, Target,
};

fn probe(hosts: &[&str], plan: &Plan, deadline: Duration) -> Vec<Probed> {
    let targets: Vec<Target> = hosts.iter().map(|host| host.parse().unwrap()).collect();
    let resolver = Resolver::custom(|name| match name {
        "here.example" => Ok(vec!["127.0.0.1:0".parse().unwrap()]),
        "stuck.example" => {
            thread::sleep(Duration::from_secs(20));
            Err(LookupError::TryAgain)
        }
        "broken.example" => Err(LookupError::Failed("the dog ate it".into())),
        "odd.example" => {
            let list = ["[fe80::1]:0", "[::]:0", "[ff02::1]:0", "[fe80::1]:25"];
            Ok(list.iter().map(|text| text.parse().unwrap()).collect())
        }
        _ => Err(LookupError::NoSuchName),
    });
    let mut config = Config::default();
    // Of the look-ups.
    config.timeout = Duration::from_secs(2);
    let dialer = Dialer::new().with_plan(plan.clone()).with_config(config);
    let prober = Prober::new(dialer.with_resolver(resolver)).with_attempt_timeout(deadline);
    prober.run(&targets, |_| ()).unwrap()
}

fn outcomes(probed: &Probed) -> Vec<Outcome> {
    probed.attempts.iter().filter_map(|attempt| attempt.outcome).collect()
}

fn forecast(probed: &Probed, plan: &Plan) -> Report {
    probed.forecast(plan, &Config::default(), Instant::now()).unwrap()
}

#[test]
fn every_candidate_is_tried_though_the_first_connects_and_no_byte_is_sent() {
    let listeners = [open(), open(), open()];
    let plan = plan(&listeners.each_ref().map(Port::port));
    let heard = listeners.map(|listener| {
        thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            let mut heard = Vec::new();
            // It ends when the probe hangs up: with an end of file, or a reset.
            let end = socket.read_to_end(&mut heard).map_err(|error| error.kind());
            (heard, end)
        })
    });
    let probed = probe(&["127.0.0.1"], &plan, Duration::from_secs(20)).remove(0);
    assert_eq!(outcomes(&probed), [Outcome::Connected; 3]);
    for server in heard {
        let (heard, end) = server.join().unwrap();
        assert!(heard.is_empty(), "{heard:?}");
        assert!(matches!(end, Ok(0) | Err(std::io::ErrorKind::ConnectionReset)), "{end:?}");
    }
    assert_eq!(probed.chosen(&forecast(&probed, &plan)), Some(0));
}

#[test]
fn ten_silent_candidates_take_one_deadline() {
    let ports: Vec<_> = (0..10).map(|_| silent()).collect();
    let plan = plan(&ports.iter().map(Port::port).collect::<Vec<_>>());
    let deadline = Duration::from_millis(1200);
    let start = Instant::now();
    let probed = probe(&["127.0.0.1"], &plan, deadline).remove(0);
    let took = start.elapsed();
    assert_eq!(outcomes(&probed), [Outcome::Timeout; 10]);
    assert!(took >= deadline && took < 4 * deadline, "{took:?}");
    assert!(probed.attempts.iter().all(|attempt| attempt.syns >= Some(2)), "{probed:#?}");
}

#[test]
fn results_come_in_the_order_of_the_hosts_whatever_answers_first() {
    let (listener, refusing) = (open(), refused());
    let plan = plan(&[refusing.port(), listener.port()]);
    let hosts = [
        "stuck.example",
        "127.0.0.1",
        "broken.example",
        "here.example",
        "gone.example",
        "here.example",
        "odd.example",
    ];
    let start = Instant::now();
    let found = probe(&hosts, &plan, Duration::from_millis(300));
    assert!(start.elapsed() < Duration::from_secs(10), "a look-up has the deadline of a dial");
    assert_eq!(found.iter().map(|p| p.target.as_str()).collect::<Vec<_>>(), hosts);
    let both = [Outcome::Reset, Outcome::Connected];
    let none: [Outcome; 0] = [];
    assert_eq!(outcomes(&found[0]), none);
    assert_eq!(outcomes(&found[1]), both);
    assert_eq!(outcomes(&found[3]), both);
    assert_eq!(outcomes(&found[5]), both);
    // Addresses that no packet can be sent to are tried as any others.
    assert_eq!(outcomes(&found[6]), [Outcome::Local; 4]);
    assert_eq!(found[6].answers[0].list().len(), 2);
    let summaries: Vec<String> =
        found.iter().map(|probed| probed.summary(&forecast(probed, &plan))).collect();
    for (index, part) in [
        (0, "stuck.example: the look-up of its addresses failed: not answered"),
        (1, "127.0.0.1: "),
        (2, "broken.example: the look-up of its addresses failed: the dog ate it"),
        (4, "gone.example: no such name"),
    ] {
        assert!(summaries[index].starts_with(part), "{}", summaries[index]);
    }
    let winner = format!("is refused; a dial would be connected to {} over IPv4", listener.port());
    assert!(summaries[1].contains(&winner), "{}", summaries[1]);
    assert_eq!(found[4].lookup().unwrap().result, Err(LookupError::NoSuchName));
}

#[test]
fn hundreds_of_hosts_take_turns() {
    let (listener, refusing) = (open(), refused());
    let plan = plan(&[refusing.port(), listener.port()]);
    let targets: Vec<Target> = (0..300)
        .map(|number| format!("127.0.{}.{}", number / 100, 1 + number % 100).parse().unwrap())
        .collect();
    let mut most = ProbeProgress::default();
    let mut last = ProbeProgress::default();
    let prober = Prober::new(Dialer::new().with_plan(plan));
    let found = prober
        .run(&targets, |progress| {
            if progress.candidates - progress.done > most.candidates - most.done {
                most = progress;
            }
            last = progress;
        })
        .unwrap();
    assert_eq!((last.hosts, last.hosts_done, last.candidates, last.done), (300, 300, 600, 600));
    assert!(most.candidates - most.done <= 128, "{most:?}");
    assert!(found.iter().all(|probed| outcomes(probed)[0] == Outcome::Reset));
}

#[test]
fn a_host_that_cannot_be_dialled_is_refused_before_anything_is_sent() {
    let (listener, mut config) = (open(), Config::default());
    listener.set_nonblocking(true).unwrap();
    config.families = mailport::Families::Ipv4;
    let prober =
        Prober::new(Dialer::new().with_plan(plan(&[listener.port()])).with_config(config.clone()));
    let targets = ["127.0.0.1", "::1"].map(|host| host.parse().unwrap());
    let error = prober.run(&targets, |_| ()).unwrap_err();
    assert!(matches!(error, ProbeError::Host { .. }) && error.to_string().starts_with("::1: "));
    let error = prober.with_attempt_timeout(Duration::ZERO).run(&targets[..1], |_| ()).unwrap_err();
    assert!(error.to_string().contains("the attempt timeout of 0ns"), "{error}");
    assert!(listener.accept().is_err());
}
