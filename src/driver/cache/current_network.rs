//! Where this machine is: reads what the system says of its network.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Read as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::super::sys;
use super::super::transport::direct::source_towards;
use crate::cache::{Network, Place, SystemTables};
use crate::config::Config;
use crate::target::Target;

/// More than this of a table is not read: a machine with so many routes is a router.
const MOST: u64 = 1 << 20;

/// How long the shared cache uses what was read of a network.
const FRESH: Duration = Duration::from_secs(1);

/// Two addresses that are always behind a default route, IPv6 first: those of a.root-servers.net.
/// Nothing is sent there; the kernel is only asked for the source address towards them.
const FAR: [&str; 2] = ["[2001:503:ba3e::2:30]:53", "198.41.0.4:53"];

pub(super) fn place(target: &Target, config: &Config, scope: &str) -> Option<Place> {
    let scope = scope_of(config, scope);
    let network =
        if target.is_here() { Network::this_machine(&scope) } else { network(config, &scope)? };
    Some(Place::new(network, target))
}

/// What distinguishes dials in one network: what they go through, and what the kernel routes them
/// by.
fn scope_of(config: &Config, through: &str) -> String {
    let mut scope = through.to_owned();
    // Another source address or mark may take another way. The device is in the network itself.
    for (name, value) in [
        ("source", config.source.map(|source| source.to_string())),
        ("mark", config.mark.map(|mark| mark.to_string())),
    ] {
        if let Some(value) = value {
            let _ = write!(scope, "\0{name} {value}");
        }
    }
    scope
}

/// The networks that dials of this process were in a moment ago. Reading one costs more than a dial
/// to an address nearby.
#[derive(Debug, Default)]
pub(super) struct RecentNetworks(Mutex<Vec<RecentNetwork>>);

#[derive(Debug)]
struct RecentNetwork {
    /// The network namespace that it was read in.
    namespace: u64,
    device: Option<String>,
    scope: String,
    read: Instant,
    network: Option<Network>,
}

impl RecentNetworks {
    /// The place of a target that is not this machine, in the network that this thread is in, which
    /// is read once a second at most.
    pub(super) fn place(
        &self,
        target: &Target,
        config: &Config,
        through: &str,
        now: Instant,
    ) -> Option<Place> {
        let scope = scope_of(config, through);
        let Some(namespace) = sys::network_namespace() else {
            return network(config, &scope).map(|network| Place::new(network, target));
        };
        // The lock is held while the tables are read: who comes meanwhile wants the same.
        let mut recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        recent.retain(|known| now.saturating_duration_since(known.read) < FRESH);
        let is_it = |known: &&RecentNetwork| {
            known.namespace == namespace && known.device == config.device && known.scope == scope
        };
        let found = if let Some(known) = recent.iter().find(is_it) {
            known.network.clone()
        } else {
            let found = network(config, &scope);
            let (device, network) = (config.device.clone(), found.clone());
            recent.push(RecentNetwork { namespace, device, scope, read: now, network });
            found
        };
        found.map(|network| Place::new(network, target))
    }
}

fn network(config: &Config, scope: &str) -> Option<Network> {
    let [route, arp] = ["route", "arp"].map(|name| table(name).ok());
    // A kernel without IPv6 has none of these.
    let [ipv6_route, if_inet6] = ["ipv6_route", "if_inet6"].map(|name| table(name).ok());
    let towards = |far: &str| -> Option<IpAddr> {
        let far: SocketAddr = far.parse().ok()?;
        source_towards(far, config)
    };
    let tables = SystemTables {
        route: &route?,
        arp: &arp?,
        ipv6_route: &ipv6_route.unwrap_or_default(),
        if_inet6: &if_inet6.unwrap_or_default(),
        has_hardware: &has_hardware,
        sources: FAR.map(towards),
        device: config.device.as_deref(),
    };
    Network::new(&tables, scope)
}

/// One of the tables in /proc/net, of the network that this thread's sockets are in: another thread
/// may be in another one (setns). An error where it is larger than any that makes sense.
fn table(name: &str) -> std::io::Result<String> {
    let mut text = String::new();
    let file = File::open(format!("/proc/thread-self/net/{name}"))?;
    let read = file.take(MOST).read_to_string(&mut text)?;
    if read as u64 == MOST { Err(std::io::ErrorKind::FileTooLarge.into()) } else { Ok(text) }
}

/// Whether neighbours on an interface have hardware addresses; one that nothing is known of has.
fn has_hardware(interface: &str) -> bool {
    /// `IFF_POINTOPOINT` and `IFF_NOARP` of linux/if.h.
    const WITHOUT: u32 = 0x10 | 0x80;
    let flags = fs::read_to_string(format!("/sys/class/net/{interface}/flags")).ok();
    let flags =
        flags.and_then(|text| u32::from_str_radix(text.trim().strip_prefix("0x")?, 16).ok());
    flags.is_none_or(|flags| flags & WITHOUT == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_the_same_network_with_any_routes() {
        let here = |host: &str| place(&host.parse().unwrap(), &Config::default(), "");
        for host in ["127.0.0.1", "127.9.9.9", "::1", "localhost", "LocalHost.", "a.localhost"] {
            let place = here(host).expect(host);
            assert_eq!(place.network(), &Network::this_machine(""), "{host}");
        }
        let elsewhere = here("192.0.2.1");
        assert!(elsewhere.is_none_or(|place| place.network() != &Network::this_machine("")));
    }

    #[test]
    fn another_source_or_mark_is_another_network() {
        let with = |change: fn(&mut Config)| {
            let mut config = Config::default();
            change(&mut config);
            place(&"127.0.0.1".parse().unwrap(), &config, "").unwrap()
        };
        let places = [
            with(|_| ()),
            with(|config| config.mark = Some(1)),
            with(|config| config.source = Some("127.0.0.2".parse().unwrap())),
        ];
        assert!(places[0] != places[1] && places[1] != places[2] && places[0] != places[2]);
        assert_eq!(places[0], with(|config| config.ask = true));
    }

    #[test]
    fn a_network_is_read_once_a_second_for_each_way_out() {
        let (recent, begun) = (RecentNetworks::default(), Instant::now());
        let target: Target = "192.0.2.1".parse().unwrap();
        let look = |mark: Option<u32>, ms: u64| {
            let config = Config { mark, ..Config::default() };
            let place = recent.place(&target, &config, "", begun + Duration::from_millis(ms));
            let recent = recent.0.lock().unwrap();
            let read: Vec<u128> =
                recent.iter().map(|known| (known.read - begun).as_millis()).collect();
            (place, read)
        };
        let (first, read) = look(None, 0);
        assert_eq!(read, [0]);
        assert_eq!(look(None, 999), (first.clone(), vec![0]));
        assert_eq!(look(Some(7), 999).1, [0, 999], "another mark may lead elsewhere");
        assert_eq!(look(None, 1000), (first, vec![999, 1000]));
    }

    #[test]
    fn a_table_that_is_not_there_is_no_panic() {
        assert!(table("no-such-table").is_err() && table("route").is_ok());
        assert!(has_hardware("no-such-one") && has_hardware("lo"), "as far as is known");
    }
}
