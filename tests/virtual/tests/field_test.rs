//! The paper's field test.
#![expect(clippy::unwrap_used, reason = "a test that cannot set its scene has failed")]

mod probed;

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use mailport::probe::{Answer, Met, Probed, Seen, Survey, Tally, parse_list};
use mailport::{Config, Family, Outcome, Service, Tls};
use mailport_lab::Fate;
use mailport_lab::scenario::{ROUND_TRIP, V4, V6, network};
use mailport_lab::world::World;

use probed::probed_in;

fn seen(line: &str, met: Met) -> Seen {
    Seen { entry: parse_list(line).unwrap().remove(0), at_home: false, met }
}

fn tallies(rows: &[Tally]) -> Vec<(&str, usize)> {
    rows.iter().map(|row| (&*row.name, row.count)).collect()
}

/// Reports that come to the paper's numbers: 7 of localhost or a home, 6 from other places of a
/// user and server already there, and 26 more.
fn reports_of_the_paper() -> Vec<Seen> {
    let ssh = Met::Service(Service::new(22, Tls::Cleartext).unwrap());
    let ssl = Met::Service(Service::new(465, Tls::Implicit).unwrap());
    let mut reports = Vec::new();
    for number in 0..7 {
        let mut report = match number % 2 {
            0 => seen(&format!("localhost user=l{number}"), Met::Case(1)),
            _ => seen(&format!("h{number}.example kind=home"), Met::Case(2)),
        };
        report.at_home = number % 2 == 0;
        reports.push(report);
    }
    let kinds = [("ISP", 16), ("ASP", 1), ("Company", 6), ("University", 2), ("Unknown", 1)];
    let met = [(Met::Case(1), 12), (Met::Case(2), 7), (Met::Case(5), 4), (ssh, 2), (ssl, 1)];
    let mut all_met = met.iter().flat_map(|&(met, count)| vec![met; count]);
    for (kind, count) in kinds {
        for number in 0..count {
            let line = match kind {
                "Unknown" => format!("s{number}.unknown.example user=u{number}"),
                _ => format!("s{number}.{kind}.example kind={kind} user=u{number}"),
            };
            reports.push(seen(&line, all_met.next().unwrap()));
        }
    }
    for number in 0..6 {
        let line = format!("S{number}.isp.example. kind=ISP user=u{number}");
        reports.push(seen(&line, Met::Case(1)));
    }
    reports
}

#[test]
fn the_number_of_report_is_39_and_comes_down_to_26_in_the_papers_two_tables() {
    // > The number of report is 39. The number of servers which indicates "localhost" or a server
    // > in a home is 7. [...] Subtracting this number from 39 results in 32. [...] Removing the
    // > redundancy from the server/user pair point of view, the total number becomes 26.
    let survey = Survey::new(&reports_of_the_paper());
    assert_eq!((survey.reports, survey.at_home, survey.typical()), (39, 7, 32));
    assert_eq!((survey.redundant, survey.n()), (6, 26));
    assert_eq!(
        tallies(&survey.servers),
        [("ISP", 16), ("ASP", 1), ("Company", 6), ("University", 2), ("Unknown", 1)]
    );
    assert_eq!(
        tallies(&survey.cases),
        [
            ("Case 1 (Submission)", 12),
            ("Case 2 (TCP RST)", 7),
            ("Case 3 (Hard error)", 0),
            ("Case 4 (Soft error)", 0),
            ("Case 5 (TCP timeout)", 4),
            ("SSH(22)", 2),
            ("SSL(465)", 1),
        ]
    );
}

#[test]
fn a_report_is_redundant_by_user_and_server_only() {
    let survey = Survey::new(&[
        seen("a.example user=x kind=isp", Met::Case(1)),
        seen("A.example. user=x kind=ASP", Met::Case(2)),
        seen("a.example user=y kind=Cooperative", Met::Case(2)),
        seen("a.example", Met::NoAddress),
        seen("a.example", Met::Other(Outcome::Local)),
        seen("b.example kind=HOME", Met::Case(1)),
    ]);
    assert_eq!((survey.reports, survey.at_home, survey.redundant, survey.n()), (6, 1, 2, 3));
    assert_eq!(tallies(&survey.servers), [("ISP", 1), ("Cooperative", 1), ("Unknown", 1)]);
    let (first, second) = (("Case 1 (Submission)", 1), ("Case 2 (TCP RST)", 1));
    let cases = tallies(&survey.cases);
    assert_eq!(
        cases.iter().filter(|row| row.1 > 0).collect::<Vec<_>>(),
        [&first, &second, &("No address", 1)]
    );
    assert_eq!(Survey::new(&[]).n(), 0);
}

#[test]
fn localhost_and_private_addresses_are_at_home() {
    let is_at_home = |host: &str, addresses: &[&str]| {
        let answers = addresses.iter().map(|text| {
            let address: IpAddr = text.parse().unwrap();
            let list = Ok(vec![SocketAddr::new(address, 0)]);
            Answer::new(Family::from(address), Some(Duration::ZERO), list, None)
        });
        Probed::new(host.parse().unwrap(), answers.collect(), Vec::new()).is_at_home()
    };
    assert!(is_at_home("LocalHost.", &[]) && is_at_home("mail.localhost", &[]));
    assert!(is_at_home("mail.example", &["192.168.1.2", "fd00::1"]));
    assert!(is_at_home("127.0.0.2", &["127.0.0.2"]) && is_at_home("::1", &["::1"]));
    assert!(!is_at_home("mail.example", &["10.0.0.1", "2001:db8::1"]));
    assert!(!is_at_home("mail.example", &[]) && !is_at_home("mylocalhost", &["192.0.2.1"]));
}

#[test]
fn the_case_of_a_host_is_how_a_dial_meets_its_first_service() {
    let met = |plan: &str, fates: &[(u16, IpAddr, Fate)], addresses: &[IpAddr]| {
        let world = World::new(network(ROUND_TRIP, addresses, fates));
        let (plan, config) = (plan.parse().unwrap(), Config::default());
        let probed = probed_in(&world, &plan, &config);
        let forecast = probed.forecast(&plan, &config, Instant::now()).unwrap();
        probed.met(&plan, &forecast)
    };
    let hard = Fate::Icmp { kind: 3, code: 13 };
    let soft = Fate::Icmp { kind: 3, code: 1 };
    for (fate, case) in [(Fate::Open, 1), (Fate::Reset, 2), (hard, 3), (soft, 4), (Fate::Silent, 5)]
    {
        assert_eq!(met("submission", &[(587, V4, fate)], &[V4]), Met::Case(case));
    }
    // One family is enough, and of two failures the one that says more counts.
    let silent = (587, V6, Fate::Silent);
    assert_eq!(met("submission", &[silent], &[V6, V4]), Met::Case(1));
    assert_eq!(met("submission", &[silent, (587, V4, hard)], &[V6, V4]), Met::Case(3));
    assert_eq!(met("submission", &[], &[]), Met::NoAddress);
    assert_eq!(met("mew", &[], &[V6]), Met::NoAddress);
    assert_eq!(met("rfc8314", &[], &[V4]).name(), "SSL(465)");
    assert_eq!(met("25:starttls", &[(25, V4, hard)], &[V4]).name(), "25:starttls");
}
