//! Which network this is, by what real kernels say of theirs: what is learned in one is not reported in
//! another, though every address in it is the same.
//!
//! Needs root (or a user namespace) and /dev/net/tun; fails without them.

use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mailport::cache::Place;
use mailport::{Cache, Config, Dialer, Outcome, Target};
use mailport_lab::real::Lab;
use mailport_lab::scenario::{ROUND_TRIP, V4, network};
use mailport_lab::{Fate, Network};

/// Runs `ip` in the namespace of the calling thread.
fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().expect("iproute2");
    assert!(status.success(), "ip {arguments}");
}

fn target() -> Target {
    V4.to_string().parse().expect("a host")
}

fn here() -> Option<Place> {
    Cache::place(&target(), &Config::default(), None)
}

/// A network of the client's with a gateway, in which everything but the server is behind it.
struct Hotel {
    lab: Lab,
    /// A process of the gateway's namespace, by which `ip` finds it.
    inhabitant: Child,
}

impl Hotel {
    fn new(network: Network) -> Hotel {
        let lab = Lab::start(network).expect("a lab (needs root and /dev/net/tun)");
        let sleep = || Command::new("sleep").arg("600").stdin(Stdio::null()).spawn();
        let inhabitant = lab.server(sleep).expect("a process");
        lab.client(|| {
            ip("link add near type veth peer name far");
            ip(&format!("link set far netns {}", inhabitant.id()));
            ip("addr add 10.9.0.2/24 dev near");
            ip("link set near up");
            ip(&format!("route add {V4} dev lab0"));
            for family in ["-4", "-6"] {
                ip(&format!("{family} route del default"));
            }
            ip("route add default via 10.9.0.1 dev near");
        });
        lab.server(|| {
            ip("addr add 10.9.0.1/24 dev far");
            ip("link set far up");
        });
        Hotel { lab, inhabitant }
    }

    /// The gateway is another machine from now on, at the same address, and has said something.
    fn move_to(&self, hardware: &str) -> Place {
        self.lab.server(|| ip(&format!("link set far address {hardware}")));
        self.lab.client(|| {
            ip("neigh flush dev near");
            assert_eq!(here(), None, "the gateway is not known yet");
            let until = Instant::now() + Duration::from_secs(20);
            loop {
                // Refused, as far as anybody is there to refuse it.
                let port = "10.9.0.1:9".parse().expect("an address");
                let _ = TcpStream::connect_timeout(&port, Duration::from_secs(1));
                if let Some(place) = here() {
                    return place;
                }
                assert!(Instant::now() < until, "the gateway never said anything");
            }
        })
    }

    /// How the first service fared in a dial with this cache, which reaches the second.
    fn dial(&self, cache: &Cache) -> Outcome {
        self.dial_by(&Dialer::new().with_cache(cache.clone()))
    }

    fn dial_by(&self, dialer: &Dialer) -> Outcome {
        let report = self.lab.client(|| dialer.connect(target())).expect("a connection").report;
        assert_eq!(report.winner().map(|won| won.service.port()), Some(25), "{report:?}");
        report.attempts[0].outcome.expect("an ended attempt")
    }
}

impl Drop for Hotel {
    fn drop(&mut self) {
        let _ = self.inhabitant.kill();
        let _ = self.inhabitant.wait();
    }
}

#[test]
fn another_gateway_at_the_same_address_is_another_network_that_learns_afresh() {
    let hotel = Hotel::new(network(ROUND_TRIP, &[V4], &[(587, V4, Fate::Silent)]));
    let cache = Cache::new();
    let first = hotel.move_to("02:00:00:00:00:01");
    assert_eq!(hotel.dial(&cache), Outcome::Timeout, "waited for");
    assert_eq!(hotel.dial(&cache), Outcome::Cancelled, "remembered");
    let second = hotel.move_to("02:00:00:00:00:02");
    assert_ne!(first, second);
    assert_eq!(hotel.dial(&cache), Outcome::Timeout, "waited for once more");
    assert_eq!(hotel.move_to("02:00:00:00:00:01"), first, "the same again");
    assert_eq!(hotel.dial(&cache), Outcome::Cancelled, "and still known");
    assert_eq!(first.network().label(), "near");
}

#[test]
fn without_ipv4_a_network_is_known_by_its_worldwide_prefix_or_not_at_all() {
    let hotel = Hotel::new(Network::new(ROUND_TRIP).address(V4, Fate::Open));
    hotel.lab.client(|| {
        ip("route del default");
        assert_eq!(here(), None, "there is no way out");
        let with_prefix = |prefix: &str| {
            ip(&format!("-6 addr add {prefix}2/64 dev near nodad"));
            ip(&format!("-6 route add default via {prefix}1 dev near"));
            let place = here();
            ip(&format!("-6 route del default via {prefix}1 dev near"));
            ip(&format!("-6 addr del {prefix}2/64 dev near"));
            place
        };
        let (one, other) = (with_prefix("2001:db8:9::"), with_prefix("2001:db8:a::"));
        assert!(one.is_some() && other.is_some() && one != other, "{one:?} {other:?}");
        assert_eq!(with_prefix("2001:db8:9::"), one);
        assert_eq!(with_prefix("fd00:9::"), None, "any network may have this one");
    });
}

#[test]
fn the_dials_of_a_process_share_a_cache_by_default() {
    let hotel = Hotel::new(network(ROUND_TRIP, &[V4], &[(587, V4, Fate::Silent)]));
    hotel.move_to("02:00:00:00:00:01");
    let alone = Dialer::new().without_cache();
    assert_eq!(hotel.dial_by(&Dialer::new()), Outcome::Timeout, "waited for");
    assert_eq!(hotel.dial_by(&Dialer::new()), Outcome::Cancelled, "remembered");
    assert_eq!(hotel.dial_by(&alone), Outcome::Timeout, "off");
    let given = Dialer::new().with_addresses([SocketAddr::new(V4, 0)]);
    assert_eq!(hotel.dial_by(&given), Outcome::Timeout, "nothing of given addresses");
    assert_eq!(Cache::shared().clear(), 2, "587 is bad, and 25 is known");
    assert_eq!(hotel.dial_by(&given), Outcome::Timeout);
    assert!(Cache::shared().list().is_empty());
    // Longer than an identity of a network is used.
    std::thread::sleep(Duration::from_millis(1100));
    assert_eq!(hotel.dial_by(&Dialer::new()), Outcome::Timeout, "forgotten");
    hotel.move_to("02:00:00:00:00:02");
    std::thread::sleep(Duration::from_millis(1100));
    assert_eq!(hotel.dial_by(&Dialer::new()), Outcome::Timeout, "in another network");
}
