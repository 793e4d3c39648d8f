//! "Fallback from the Submission port to the SMTP port" (Kazu Yamamoto, 2005): every sentence of
//! the paper that says what happens, over the test that it does, in virtual time. Unless a test
//! says otherwise the server has one address, and its other ports are open.
#![allow(clippy::unwrap_used, reason = "what helps a test may fail like one")]

use std::net::IpAddr;
use std::time::Duration;

use mailport::{Config, Family, Outcome, Patience, Plan};
use mailport_lab::Fate::{self, Icmp, Open, Reset, Silent};
use mailport_lab::scenario::{ROUND_TRIP, V4, V6, network};
use mailport_lab::world::{History, Kernel, SoftErrors, World};

const HARD: Fate = Icmp { kind: 3, code: 13 };
const SOFT: Fate = Icmp { kind: 3, code: 1 };

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn world(fates: &[(u16, IpAddr, Fate)]) -> World {
    World::new(network(ROUND_TRIP, &[V4], fates))
}

fn submission(fate: Fate) -> World {
    world(&[(587, V4, fate)])
}

fn run(world: &World) -> History {
    world.dial(&Plan::submission(), &Config::default())
}

/// When a port was dialled first.
fn dialled(history: &History, port: u16) -> Option<Duration> {
    history.connects().find(|(_, to)| to.port() == port).map(|(at, _)| at)
}

fn won(history: &History) -> (u16, Duration) {
    (history.winner().unwrap().port(), history.report.elapsed)
}

/// > To accelerate the deployment, it is desired that mail-readers use the Submission port by
/// > default.
///
/// > If a mail-reader is released with the Submission port enabled, the mail-reader fails to send a
/// > message in the environment where its sending server does not provide the Submission port.
#[test]
fn the_default_reaches_servers_with_and_without_the_submission_port() {
    assert_eq!(Plan::default(), Plan::submission());
    assert_eq!(won(&run(&submission(Open))).0, 587);
    for without in [Reset, HARD, SOFT, Silent] {
        assert_eq!(won(&run(&submission(without))).0, 25, "{without:?}");
    }
}

/// > That is, a mail-reader first tries the Submission port. If the port is not available, the
/// > mail-reader makes a connection to the SMTP port.
#[test]
fn the_smtp_port_is_not_dialled_while_the_submission_port_answers() {
    assert_eq!(dialled(&run(&submission(Open)), 25), None);
    for unavailable in [Reset, HARD, SOFT, Silent] {
        let history = run(&submission(unavailable));
        assert_eq!(dialled(&history, 587), Some(ms(0)));
        assert!(dialled(&history, 25) > Some(ms(0)), "{unavailable:?}");
    }
}

/// > 1) The Submission port is available
/// >
/// > No problem. This mechanism has a big advantage in the OP25B environment.
#[test]
fn case_1_needs_one_round_trip_also_where_outbound_port_25_is_blocked() {
    for blocked in [Open, Silent, HARD] {
        let history = run(&world(&[(25, V4, blocked)]));
        assert_eq!(won(&history), (587, ROUND_TRIP));
        assert_eq!(history.report.attempts[0].outcome, Some(Outcome::Connected));
    }
}

/// > 2) TCP RST returns
/// >
/// > The mail-reader is kept waiting for the time of RTT, and can fallback. Users could not
/// > recognize.
#[test]
fn case_2_falls_back_after_one_round_trip() {
    let history = run(&submission(Reset));
    assert_eq!(dialled(&history, 25), Some(ROUND_TRIP));
    assert_eq!(won(&history), (25, 2 * ROUND_TRIP));
    assert_eq!(history.report.attempts[0].outcome, Some(Outcome::Reset));
}

/// > 3) ICMP hard error returns
/// >
/// > The mail-reader is kept waiting for the time of RTT, and can fallback. Users could not
/// > recognize. [...] This case would happen if a firewall filters the Submission port.
#[test]
fn case_3_falls_back_after_one_round_trip() {
    for code in [2, 3, 9, 10, 13] {
        let history = run(&submission(Icmp { kind: 3, code }));
        assert_eq!(dialled(&history, 25), Some(ROUND_TRIP), "code {code}");
        assert_eq!(won(&history), (25, 2 * ROUND_TRIP), "code {code}");
        assert_eq!(history.report.attempts[0].outcome, Some(Outcome::IcmpHard), "code {code}");
    }
}

/// > 4) ICMP soft error returns
/// >
/// > ICMP soft error is produced by routing problems. During the problems, communication is
/// > impossible. Even mail-reader first tries the Submission port, there is no difference. That is,
/// > communication is impossible.
#[test]
fn case_4_is_no_different_with_the_submission_port_first() {
    for code in [0, 1, 5, 11, 12] {
        let soft = Icmp { kind: 3, code };
        let unreachable = world(&[(587, V4, soft), (25, V4, soft)]);
        let history = run(&unreachable);
        assert_eq!(history.winner(), None, "code {code}");
        assert_eq!(history.report.attempts[0].outcome, Some(Outcome::IcmpSoft), "code {code}");
        let smtp_only = unreachable.dial(&"25:starttls".parse().unwrap(), &Config::default());
        assert_eq!(history.report.elapsed, smtp_only.report.elapsed + ROUND_TRIP, "code {code}");
    }
}

/// > 4.1) Old TCP Implementations
/// >
/// > They treat soft errors literally as soft errors before a TCP connection is established. If TCP
/// > stacks has a retransmission limitation, this limitation is reached. In the case of BSD, it
/// > takes about 10 seconds. If TCP stacks does not has a retransmission limitation, we need to
/// > wait for TCP timeout.
#[test]
fn case_4_on_an_old_tcp_is_reported_when_the_tcp_gives_up() {
    for gives_up in [ms(10_000), ms(134_900)] {
        let kernel = Kernel { soft_errors: SoftErrors::Noted, gives_up };
        let world = World { kernel, ..submission(SOFT) };
        let mut config = Config::default();
        config.timeout = ms(200_000);
        let history = world.dial(&"587:starttls".parse().unwrap(), &config);
        assert_eq!(history.report.elapsed, gives_up);
        assert_eq!(history.report.attempts[0].outcome, Some(Outcome::IcmpSoft));
    }
}

/// The same: it is silence as far as anybody can see, so the fallback does not wait for the TCP.
#[test]
fn case_4_on_an_old_tcp_falls_back_as_case_5_does() {
    let kernel = Kernel { soft_errors: SoftErrors::Noted, gives_up: ms(10_000) };
    let old = run(&World { kernel, ..submission(SOFT) });
    assert_eq!(old.script(), run(&submission(Silent)).script());
}

/// > 4.2) New TCP Implementations
/// >
/// > They treat soft errors as hard errors before a TCP connection is established. The mail-reader
/// > is kept waiting for the time of RTT, and can fallback. Users could not recognize. Linux adopts
/// > this mechanism.
#[test]
fn case_4_on_a_new_tcp_falls_back_after_one_round_trip() {
    assert_eq!(Kernel::default().soft_errors, SoftErrors::End);
    let history = run(&submission(SOFT));
    assert_eq!(dialled(&history, 25), Some(ROUND_TRIP));
    assert_eq!(won(&history), (25, 2 * ROUND_TRIP));
}

/// > 5) TCP timeouts
/// >
/// > Mail-readers is kept waiting for the TCP timeout, and fallbacks to the SMTP port. [...]
/// > BSD 75 seconds, Linux 189 seconds, Solaris 225 seconds, Windows XP 21 seconds
#[test]
fn case_5_falls_back_at_the_tcp_timeout_at_the_latest() {
    let mut config = Config::default();
    config.patience = Patience::Fixed(ms(24 * 3_600_000));
    config.timeout = ms(24 * 3_600_000);
    for gives_up in [75, 189, 225, 21].map(Duration::from_secs) {
        let kernel = Kernel { gives_up, ..Kernel::default() };
        let plan = Plan::submission().sequential();
        let history = World { kernel, ..submission(Silent) }.dial(&plan, &config);
        // The second attempt began an attempt delay after the first.
        let both_ended = gives_up + config.attempt_delay;
        assert_eq!(dialled(&history, 25), Some(both_ended));
        assert_eq!(won(&history), (25, both_ended + ROUND_TRIP));
        assert_eq!(history.report.attempts[0].outcome, Some(Outcome::Timeout));
    }
}

/// > Even in this case, if mail-readers can send messages in background (with non-blocking
/// > connect()), users feel that it takes a little bit more time to deliver messages.
#[test]
fn case_5_takes_a_little_bit_more_time_by_default() {
    let history = run(&submission(Silent));
    assert_eq!(dialled(&history, 25), Some(ms(500)));
    assert_eq!(won(&history), (25, ms(680)));
    assert_eq!(history.report.attempts[0].outcome, Some(Outcome::Timeout));
}

/// > If OSes have a long timeout value like Solaris, it would be a good idea that mail-readers can
/// > set a shorter alarm timer.
///
/// > However, the time can be shorten by the mail-readers.
#[test]
fn the_alarm_timer_is_the_patience() {
    for alarm in [ms(500), ms(5000), ms(10_000)] {
        let mut config = Config::default();
        config.patience = Patience::Fixed(alarm);
        let history = submission(Silent).dial(&Plan::submission().sequential(), &config);
        assert_eq!(dialled(&history, 25), Some(alarm));
        assert_eq!(won(&history), (25, alarm + ROUND_TRIP));
        let alongside = submission(Silent).dial(&Plan::submission(), &config);
        assert_eq!(won(&alongside).1, alarm.max(ms(1000) + ROUND_TRIP));
    }
}

/// > Note that this is not relating to "greet pause" which is getting popular recently. [...] (To
/// > implement "greet pause", a server waits for some seconds after accept() and write() a greeting.
/// > Thus, from the client point of view, connect() is not blocked and read() is blocked.)
#[test]
fn a_greet_pause_is_not_a_timeout() {
    // A dial is done when connect() is: it never reads.
    assert_eq!(won(&run(&submission(Open))), (587, ROUND_TRIP));
    // A dial that does wait for the greeting does not take the pause for silence.
    for pause in [ms(5000), ms(20_000)] {
        let history = run(&World { greet_pause: Some(pause), ..submission(Open) });
        assert_eq!(won(&history), (587, 2 * ROUND_TRIP + pause));
        assert_eq!(dialled(&history, 25), None);
    }
}

/// > Note: Fallback is a common idea in the dual stack environment of IPv4 and IPv6.
///
/// > Fallback from IPv6 to IPv4 is done in the C level if blocking connect() is used. [...]
/// > Unfortunately, due to implementation limitation, non-blocking connect() does not support
/// > fallback from IPv6 to IPv4.
#[test]
fn fallback_from_ipv6_to_ipv4_comes_before_fallback_from_port_to_port() {
    for broken in [Reset, Silent, Icmp { kind: 1, code: 1 }, Icmp { kind: 1, code: 3 }] {
        let fates = [(587, V6, broken), (25, V6, broken)];
        let history = run(&World::new(network(ROUND_TRIP, &[V6, V4], &fates)));
        assert_eq!(history.winner(), Some((V4, 587).into()), "{broken:?}");
    }
}

/// What Appendix A's orders dial where nothing answers, with the paper's "many situations where
/// time out becomes longer" as an alarm of 10 seconds for each.
fn order(plan: &Plan) -> Vec<(u128, u16, Family)> {
    let fates = [V6, V4].map(|address| [(587, address, Silent), (25, address, Silent)]).concat();
    let mut config = Config::default();
    config.patience = Patience::Fixed(ms(10_000));
    config.timeout = ms(60_000);
    let history = World::new(network(ROUND_TRIP, &[V6, V4], &fates)).dial(plan, &config);
    let mut order: Vec<(u128, u16, Family)> = Vec::new();
    for (at, to) in history.connects() {
        let (port, family) = (to.port(), Family::from(to.ip()));
        // Second attempts are no part of the order.
        if order.iter().all(|&(_, p, f)| (p, f) != (port, family)) {
            order.push((at.as_millis(), port, family));
        }
    }
    order
}

/// > Thus the author adopted a method that specifies an address family in the Emacs Lisp level
/// > when non-blocking connect() is used so as to ensure what kind of address family is used in the
/// > C level. At this moment, the algorithm implemented in Mew is as follows: [...]
///
/// The list itself is the plan `mew`: 587 over IPv4, then 25 over any family.
#[test]
fn appendix_a_the_order_of_mew() {
    let plan: Plan = "mew".parse().unwrap();
    assert_eq!(plan.to_string(), "587/ipv4:starttls,25:starttls,sequential");
    let mew = [(0, 587, Family::Ipv4), (10_000, 25, Family::Ipv6), (10_250, 25, Family::Ipv4)];
    assert_eq!(order(&plan), mew);
}

/// > If we prepend "non-blocking connect() to the Submission port with IPv6 specified" to the
/// > first, the algorithm becomes symmetric. Since there are many situations where time out becomes
/// > longer, the author does not adopt this at this moment.
#[test]
fn appendix_a_the_symmetric_order() {
    let symmetric = [
        (0, 587, Family::Ipv6),
        (10_000, 587, Family::Ipv4),
        (20_000, 25, Family::Ipv6),
        (30_000, 25, Family::Ipv4),
    ];
    assert_eq!(order(&"symmetric".parse().unwrap()), symmetric);
}

/// > Also, if SSL is used, blocking connect() is used to the 465 port and fallback to the SMTP port
/// > is not carried out.
#[test]
fn port_465_never_falls_back() {
    let plan = Plan::for_port(Some(465)).unwrap();
    for fate in [Reset, HARD, SOFT, Silent] {
        let history = world(&[(465, V4, fate)]).dial(&plan, &Config::default());
        assert_eq!(history.winner(), None);
        assert!(history.connects().all(|(_, to)| to.port() == 465), "{fate:?}");
    }
    for name in Plan::NAMES {
        let plan: Plan = name.parse().unwrap();
        let ports: Vec<u16> = plan.services().iter().map(|service| service.port()).collect();
        assert!(!(ports.contains(&465) && ports.contains(&25)), "{name}");
    }
}
