//! Every ICMP error that a router can answer a SYN with, through a real kernel and the driver.
//! Needs root (or a user namespace) and /dev/net/tun; fails without them.

use std::net::IpAddr;
use std::time::Duration;

use mailport::outcome::Outcome::{self, IcmpHard, IcmpSoft, Timeout};
use mailport::report::Attempt;
use mailport::{Config, ConnectError, Plan};
use mailport_lab::real::Lab;
use mailport_lab::{Fate, Network, ROUTER_V4, ROUTER_V6};

const ROUND_TRIP: Duration = Duration::from_millis(2);

/// Type, code, the error that Linux makes of it, and what it says of the connect.
type Row = (u8, u8, &'static str, Outcome);

/// `-` stands where Linux goes on connecting.
const V4: &[Row] = &[
    (3, 0, "ENETUNREACH", IcmpSoft),
    (3, 1, "EHOSTUNREACH", IcmpSoft),
    (3, 2, "ENOPROTOOPT", IcmpHard),
    (3, 3, "ECONNREFUSED", IcmpHard),
    (3, 4, "-", Timeout),
    (3, 5, "EOPNOTSUPP", IcmpSoft),
    (3, 6, "ENETUNREACH", IcmpHard),
    (3, 7, "EHOSTDOWN", IcmpHard),
    (3, 8, "ENONET", IcmpHard),
    (3, 9, "ENETUNREACH", IcmpHard),
    (3, 10, "EHOSTUNREACH", IcmpHard),
    (3, 11, "ENETUNREACH", IcmpSoft),
    (3, 12, "EHOSTUNREACH", IcmpSoft),
    (3, 13, "EHOSTUNREACH", IcmpHard),
    (3, 14, "EHOSTUNREACH", IcmpHard),
    (3, 15, "EHOSTUNREACH", IcmpHard),
    (4, 0, "-", Timeout),
    (11, 0, "EHOSTUNREACH", IcmpSoft),
    (11, 1, "-", Timeout),
    (12, 0, "EPROTO", IcmpSoft),
];

const V6: &[Row] = &[
    (1, 0, "ENETUNREACH", IcmpSoft),
    (1, 1, "EACCES", IcmpHard),
    (1, 2, "EHOSTUNREACH", IcmpSoft),
    (1, 3, "EHOSTUNREACH", IcmpSoft),
    (1, 4, "ECONNREFUSED", IcmpHard),
    (1, 5, "EACCES", IcmpHard),
    (1, 6, "EACCES", IcmpHard),
    (1, 7, "EPROTO", IcmpHard),
    (2, 0, "-", Timeout),
    (3, 0, "EHOSTUNREACH", IcmpSoft),
    (3, 1, "EHOSTUNREACH", IcmpSoft),
    (4, 0, "EPROTO", IcmpSoft),
    (4, 1, "EPROTO", IcmpSoft),
];

/// Dials 587 alone and gives its one attempt.
fn attempt(address: IpAddr) -> Attempt {
    let plan: Plan = "587:starttls".parse().expect("a plan");
    let mut config = Config::default();
    config.timeout = Duration::from_millis(400);
    let dialled = mailport::Dialer::new()
        .without_cache()
        .with_plan(plan.clone())
        .with_config(config.clone())
        .connect(&address.to_string());
    match dialled.expect_err("nothing is open here") {
        ConnectError::Failed(report) => report.attempts.into_iter().next().expect("an attempt"),
        other => panic!("{other}"),
    }
}

fn check(address: IpAddr, router: IpAddr, rows: &[Row]) {
    let lab = Lab::start(Network::new(ROUND_TRIP).address(address, Fate::Silent)).expect("a lab");
    for &(kind, code, errno, outcome) in rows {
        lab.set(address, 587, Fate::Icmp { kind, code });
        let attempt = lab.client(|| attempt(address));
        let row = format!("{kind}/{code}: {attempt:?}");
        assert_eq!(attempt.outcome, Some(outcome), "{row}");
        if errno == "-" {
            assert_eq!((attempt.errno, attempt.icmp), (None, None), "{row}");
            continue;
        }
        assert_eq!(attempt.errno.and_then(mailport::outcome::Errno::name), Some(errno), "{row}");
        let icmp = attempt.icmp.expect(&row);
        assert_eq!((icmp.kind, icmp.code, icmp.sender), (kind, code, Some(router)), "{row}");
    }
}

#[test]
fn every_icmp_error_over_ipv4_has_its_outcome_and_names_the_router() {
    check("192.0.2.1".parse().expect("an address"), ROUTER_V4, V4);
}

#[test]
fn every_icmp_error_over_ipv6_has_its_outcome_and_names_the_router() {
    check("2001:db8:2::1".parse().expect("an address"), ROUTER_V6, V6);
}
