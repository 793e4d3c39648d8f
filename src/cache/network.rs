//! Identifies the network from the system's routes: text in, key out.

use std::fmt::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A network, as far as it can be distinguished from others without sending anything. What is
/// remembered in one is not used in another.
///
/// It is known by its default routes: by interface, by gateway and the gateway's hardware address,
/// by the prefixes on the interface. Neither privacy addresses nor leases change it. Only a hash is
/// kept, and the interface's name for people.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network {
    key: u64,
    label: String,
}

/// What the system says of its network.
#[derive(Clone, Copy)]
pub struct SystemTables<'a> {
    /// `/proc/net/route`.
    pub route: &'a str,
    /// `/proc/net/arp`.
    pub arp: &'a str,
    /// `/proc/net/ipv6_route`.
    pub ipv6_route: &'a str,
    /// `/proc/net/if_inet6`.
    pub if_inet6: &'a str,
    /// Whether the neighbours on an interface have hardware addresses, as they have not on one that
    /// leads to a single point.
    pub has_hardware: &'a dyn Fn(&str) -> bool,
    /// The source addresses towards the internet, IPv6 first: they tell of routes that are not in
    /// the main table.
    pub sources: [Option<IpAddr>; 2],
    /// The only interface that counts, where the caller has bound the dial to one.
    pub device: Option<&'a str>,
}

impl fmt::Debug for SystemTables<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SystemTables").finish_non_exhaustive()
    }
}

/// The label of [`Network::this_machine`].
const THIS_MACHINE: &str = "this machine";

impl Network {
    /// The network of loopback addresses. `scope` as in [`Network::of`].
    pub fn this_machine(scope: &str) -> Network {
        Network { key: hash(&format!("{THIS_MACHINE}\0{scope}")), label: THIS_MACHINE.to_owned() }
    }

    /// The network that these tables tell of; `None` where there is no default route, and where a
    /// gateway's hardware address is not known that should be: another network could look alike.
    ///
    /// `scope` is everything else that changes the path, such as a proxy; it is only hashed.
    pub fn new(tables: &SystemTables, scope: &str) -> Option<Network> {
        let v4 = Ipv4Route::best(tables);
        let v6 = Ipv6Route::best(tables);
        let mut facts = String::new();
        let mut label = None;
        if let Some(route) = &v4 {
            route.describe(tables, &mut facts)?;
            label = Some(route.interface);
        }
        if let Some(route) = &v6 {
            let prefixes = ipv6_prefixes(tables.if_inet6, route.interface);
            // Of a network without IPv4 only the prefixes tell, so one must be worldwide.
            let tells = v4.is_some() || prefixes.iter().any(|&prefix| is_worldwide(prefix));
            let leads_to_a_point = !(tables.has_hardware)(route.interface);
            if leads_to_a_point || tells && !prefixes.is_empty() {
                route.describe(tables, &prefixes, &mut facts);
                label = label.or(Some(route.interface));
            }
        }
        let _ = write!(facts, "\0{scope}");
        Some(Network { key: hash(&facts), label: label?.to_owned() })
    }

    /// What tells this network from others: 16 hexadecimal digits that say nothing of where it is.
    pub fn key(&self) -> String {
        format!("{:016x}", self.key)
    }

    /// A name for people: the interface of the default route, or `this machine`.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// A network as it was written down; `None` for what is no key or no label.
    #[cfg(feature = "cache-file")]
    pub(super) fn written(key: &str, label: &str) -> Option<Network> {
        let is_hexadecimal = key.len() == 16 && key.bytes().all(|b| b.is_ascii_hexdigit());
        let key = u64::from_str_radix(key, 16).ok().filter(|_| is_hexadecimal)?;
        // IFNAMSIZ is 16 bytes with the final NUL.
        let named = label.len() <= 15 && label.bytes().all(|b| b.is_ascii_graphic());
        (named || label == THIS_MACHINE).then(|| Network { key, label: label.to_owned() })
    }
}

/// FNV-1a of 64 bits (by Fowler, Noll and Vo), which never changes.
fn hash(text: &str) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    text.bytes().fold(OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME))
}

// Flags of a route, in linux/route.h and linux/ipv6_route.h.
const UP: u32 = 0x0001;
const GATEWAY: u32 = 0x0002;
const REJECT: u32 = 0x0200;

/// Half the internet: two such routes are how a tunnel overrides a default route and leaves it.
const HALF: u32 = 1;

fn is_device(tables: &SystemTables, interface: &str) -> bool {
    tables.device.is_none_or(|device| device == interface)
}

/// A line of `/proc/net/route`.
#[derive(Debug, Clone, Copy)]
struct Ipv4Route<'a> {
    interface: &'a str,
    destination: Ipv4Addr,
    gateway: Option<Ipv4Addr>,
    metric: u32,
    /// The length of the prefix.
    length: u32,
}

impl<'a> Ipv4Route<'a> {
    fn parse(line: &'a str) -> Option<Ipv4Route<'a>> {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let &[interface, destination, gateway, flags, _, _, metric, mask, ..] = &fields[..] else {
            return None;
        };
        // An address is written there as a number, in the order of this machine's bytes.
        let address = |text| {
            let number = u32::from_str_radix(text, 16).ok()?;
            Some(Ipv4Addr::from(number.to_ne_bytes()))
        };
        let flags = u32::from_str_radix(flags, 16).ok()?;
        let gateway = address(gateway)?;
        (flags & UP != 0 && flags & REJECT == 0).then_some(Ipv4Route {
            interface,
            destination: address(destination)?,
            gateway: (flags & GATEWAY != 0).then_some(gateway),
            metric: metric.parse().ok()?,
            length: address(mask)?.to_bits().leading_ones(),
        })
    }

    fn all(text: &'a str) -> impl Iterator<Item = Ipv4Route<'a>> {
        text.lines().filter_map(Ipv4Route::parse)
    }

    /// The route that most of the internet is behind.
    fn best(tables: &SystemTables<'a>) -> Option<Ipv4Route<'a>> {
        let wide = Ipv4Route::all(tables.route)
            .filter(|route| route.length <= HALF && route.destination.to_bits() << 1 == 0);
        let allowed = wide.filter(|route| is_device(tables, route.interface));
        allowed.min_by_key(|r| (HALF - r.length, r.metric, r.interface, r.gateway))
    }

    /// The prefixes on its interface, but for single addresses and link-local ones.
    fn prefixes(&self, tables: &SystemTables<'a>) -> Vec<(Ipv4Addr, u32)> {
        let on_link = Ipv4Route::all(tables.route).filter(|other| {
            let link_local = other.destination.is_link_local();
            other.interface == self.interface
                && other.gateway.is_none()
                && (HALF + 1..32).contains(&other.length)
                && !link_local
        });
        each_once(on_link.map(|other| (other.destination, other.length)))
    }

    /// Everything that tells its network; `None` where what should is missing.
    fn describe(&self, tables: &SystemTables<'a>, facts: &mut String) -> Option<()> {
        let prefixes = self.prefixes(tables);
        let _ = write!(facts, "4 {}", self.interface);
        if let Some(gateway) = self.gateway {
            let _ = write!(facts, " via {gateway}");
            if (tables.has_hardware)(self.interface) {
                let _ = write!(facts, " at {}", hardware(tables.arp, gateway, self.interface)?);
            }
            if let [_, Some(IpAddr::V4(source))] = tables.sources
                && !prefixes.iter().any(|&prefix| is_within(source, prefix))
            {
                let _ = write!(facts, " from {source}");
            }
        }
        for (prefix, length) in prefixes {
            let _ = write!(facts, " {prefix}/{length}");
        }
        facts.push('\n');
        Some(())
    }
}

fn is_within(address: Ipv4Addr, (prefix, length): (Ipv4Addr, u32)) -> bool {
    (address.to_bits() ^ prefix.to_bits()).leading_zeros() >= length
}

/// The hardware address of a neighbour, where it is complete.
fn hardware<'a>(arp: &'a str, neighbour: Ipv4Addr, interface: &str) -> Option<&'a str> {
    /// `ATF_COM` of `linux/if_arp.h`.
    const COMPLETE: u32 = 0x02;
    let found = arp.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let &[address, _, flags, hardware, _, device] = &fields[..] else { return None };
        let flags = u32::from_str_radix(flags.strip_prefix("0x")?, 16).ok()?;
        let is_it = address.parse() == Ok(neighbour) && device == interface;
        (is_it && flags & COMPLETE != 0).then_some(hardware)
    });
    found.filter(|hardware| hardware.bytes().any(|b| !matches!(b, b'0' | b':')))
}

/// A line of `/proc/net/ipv6_route` that leads everywhere.
#[derive(Debug, Clone, Copy)]
struct Ipv6Route<'a> {
    interface: &'a str,
    gateway: Ipv6Addr,
    metric: u32,
    length: u32,
}

impl<'a> Ipv6Route<'a> {
    fn parse(line: &'a str) -> Option<Ipv6Route<'a>> {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let &[destination, length, _, source, gateway, metric, _, _, flags, interface] =
            &fields[..]
        else {
            return None;
        };
        let flags = u32::from_str_radix(flags, 16).ok()?;
        let length = u32::from_str_radix(length, 16).ok()?;
        // ::/0, ::/1 and 2000::/3 are the ways to write it; what has a source is not for all.
        let first = ipv6(destination)?.segments()[0];
        let is_wide = length <= HALF && first << 1 == 0 || length == 3 && first == 0x2000;
        let is_up = flags & UP != 0 && flags & REJECT == 0;
        (is_wide && is_up && source == "00" && interface != "lo").then_some(Ipv6Route {
            interface,
            gateway: ipv6(gateway)?,
            metric: u32::from_str_radix(metric, 16).ok()?,
            length,
        })
    }

    fn best(tables: &SystemTables<'a>) -> Option<Ipv6Route<'a>> {
        let all = tables.ipv6_route.lines().filter_map(Ipv6Route::parse);
        let allowed = all.filter(|route| is_device(tables, route.interface));
        allowed.min_by_key(|r| (u32::MAX - r.length, r.metric, r.interface, r.gateway))
    }

    fn describe(&self, tables: &SystemTables<'a>, prefixes: &[u64], facts: &mut String) {
        let _ = write!(facts, "6 {} via {}", self.interface, self.gateway);
        if let [Some(IpAddr::V6(source)), _] = tables.sources
            && !prefixes.contains(&network_part(source))
            && !self.gateway.is_unspecified()
        {
            let _ = write!(facts, " from {:016x}", network_part(source));
        }
        for prefix in prefixes {
            let _ = write!(facts, " {prefix:016x}");
        }
        facts.push('\n');
    }
}

/// An address of 32 hexadecimal digits.
fn ipv6(text: &str) -> Option<Ipv6Addr> {
    u128::from_str_radix(text, 16).ok().filter(|_| text.len() == 32).map(Ipv6Addr::from)
}

/// The first 64 bits: what privacy addresses and leases leave alone.
fn network_part(address: Ipv6Addr) -> u64 {
    let [a, b, c, d, ..] = address.segments().map(u64::from);
    a << 48 | b << 32 | c << 16 | d
}

/// The network parts of the addresses on an interface, from `/proc/net/if_inet6`: of those that
/// reach beyond the link, and are neither tentative nor going out of use.
fn ipv6_prefixes(if_inet6: &str, interface: &str) -> Vec<u64> {
    /// `IFA_F_DEPRECATED`, `IFA_F_TENTATIVE` and `IFA_F_DADFAILED` of `linux/if_addr.h`.
    const NOT_IN_USE: u32 = 0x20 | 0x40 | 0x08;
    let parts = if_inet6.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let &[address, _, _, scope, flags, device] = &fields[..] else { return None };
        let in_use = u32::from_str_radix(flags, 16).ok()? & NOT_IN_USE == 0;
        let reaches = scope == "00" && device == interface;
        (in_use && reaches).then(|| ipv6(address).map(network_part)).flatten()
    });
    each_once(parts)
}

/// The items in order, without repetitions.
fn each_once<T: Ord>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut set = Vec::new();
    for item in items {
        if let Err(place) = set.binary_search(&item) {
            set.insert(place, item);
        }
    }
    set
}

/// Whether a prefix is of `2000::/3`, where each belongs to one network.
fn is_worldwide(prefix: u64) -> bool {
    prefix >> 61 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine at home, over both families.
    #[derive(Clone)]
    struct MachineTables {
        routes: Vec<String>,
        arp: Vec<String>,
        routes_v6: Vec<String>,
        addresses_v6: Vec<String>,
        sources: [Option<IpAddr>; 2],
        device: Option<&'static str>,
    }

    fn route(interface: &str, to: &str, gateway: &str, metric: u32) -> String {
        let number = |text: &str| {
            let address: Ipv4Addr = text.parse().unwrap();
            format!("{:08X}", u32::from_ne_bytes(address.octets()))
        };
        let (to, length) = to.split_once('/').unwrap();
        let length: u32 = length.parse().unwrap();
        let mask = Ipv4Addr::from_bits(u32::MAX.checked_shl(32 - length).unwrap_or(0));
        let flags = if gateway == "0.0.0.0" { "0001" } else { "0003" };
        let (to, gateway, mask) = (number(to), number(gateway), number(&mask.to_string()));
        format!("{interface}\t{to}\t{gateway}\t{flags}\t0\t0\t{metric}\t{mask}\t0\t0\t0  ")
    }

    fn arp(address: &str, flags: &str, hardware: &str, interface: &str) -> String {
        format!("{address}      0x1         {flags}         {hardware}     *        {interface}")
    }

    fn digits(address: &str) -> String {
        format!("{:032x}", address.parse::<Ipv6Addr>().unwrap().to_bits())
    }

    fn route_v6(interface: &str, gateway: &str, metric: u32) -> String {
        let (zero, gateway) = (digits("::"), digits(gateway));
        format!(
            "{zero} 00 {zero} 00 {gateway} {metric:08x} 00000003 00000000 00000003     {interface}"
        )
    }

    fn address_v6(address: &str, flags: &str, interface: &str) -> String {
        format!("{} 03 40 00 {flags}     {interface}", digits(address))
    }

    const MAC: &str = "02:00:5e:00:53:01";

    fn home() -> MachineTables {
        MachineTables {
            routes: vec![
                "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask".to_owned(),
                route("wlan0", "0.0.0.0/0", "192.168.1.1", 600),
                route("wlan0", "192.168.1.0/24", "0.0.0.0", 600),
                route("wlan0", "169.254.0.0/16", "0.0.0.0", 1000),
                route("docker0", "172.17.0.0/16", "0.0.0.0", 0),
            ],
            arp: vec![
                "IP address       HW type     Flags       HW address            Mask     Device"
                    .into(),
                arp("192.168.1.9", "0x2", "02:00:5e:00:53:99", "wlan0"),
                arp("192.168.1.1", "0x2", MAC, "wlan0"),
            ],
            routes_v6: vec![
                route_v6("wlan0", "fe80::1", 600),
                format!(
                    "{0} 00 {0} 00 {0} ffffffff 00000001 00000000 00200200       lo",
                    digits("::")
                ),
            ],
            addresses_v6: vec![
                format!("{} 03 40 20 80     wlan0", digits("fe80::2")),
                address_v6("2001:db8:1:2::1234", "00", "wlan0"),
                format!("{} 01 80 10 80       lo", digits("::1")),
            ],
            sources: [
                Some("2001:db8:1:2::1234".parse().unwrap()),
                Some("192.168.1.20".parse().unwrap()),
            ],
            device: None,
        }
    }

    impl MachineTables {
        fn with(mut self, change: impl FnOnce(&mut MachineTables)) -> MachineTables {
            change(&mut self);
            self
        }

        fn network(&self, scope: &str) -> Option<Network> {
            let lines = [&self.routes, &self.arp, &self.routes_v6, &self.addresses_v6];
            let [route, arp, ipv6_route, if_inet6] = lines.map(|lines| lines.join("\n"));
            let tables = SystemTables {
                route: &route,
                arp: &arp,
                ipv6_route: &ipv6_route,
                if_inet6: &if_inet6,
                has_hardware: &|interface| {
                    !interface.starts_with("ppp") && !interface.starts_with("tun")
                },
                sources: self.sources,
                device: self.device,
            };
            Network::new(&tables, scope)
        }

        fn known(&self) -> Network {
            self.network("").expect("a known network")
        }
    }

    #[test]
    fn a_network_has_a_short_key_and_the_name_of_its_interface() {
        let network = home().known();
        assert_eq!((network.key().len(), network.label()), (16, "wlan0"));
        assert_eq!(network, home().known());
        // A key is written to files, so it may never change.
        assert_eq!(hash(""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(hash("foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn two_networks_with_the_same_addresses_differ_by_the_gateways_hardware() {
        let hotel =
            home().with(|m| m.arp[2] = arp("192.168.1.1", "0x2", "02:00:5e:00:53:02", "wlan0"));
        assert_ne!(hotel.known(), home().known());
        let v4_only = |m: MachineTables| m.with(|m| m.routes_v6.clear()).known();
        assert_ne!(v4_only(hotel), v4_only(home()));
    }

    #[test]
    fn leases_privacy_addresses_and_other_interfaces_change_nothing() {
        let network = home().known();
        let v6: IpAddr = "2001:db8:1:2::9".parse().unwrap();
        for same in [
            home().with(|m| m.sources = [Some(v6), Some("192.168.1.77".parse().unwrap())]),
            home().with(|m| m.addresses_v6.push(address_v6("2001:db8:1:2:a:b:c:d", "01", "wlan0"))),
            home().with(|m| m.addresses_v6.push(address_v6("2001:db8:9:9::1", "20", "wlan0"))),
            home().with(|m| m.addresses_v6.push(address_v6("fd00:1::1", "00", "docker0"))),
            home().with(|m| m.routes.push(route("eth0", "0.0.0.0/0", "10.0.0.1", 700))),
            home().with(|m| m.routes.push(route("veth1", "10.9.0.0/16", "0.0.0.0", 0))),
            home().with(|m| m.routes.swap(1, 2)),
            home().with(|m| m.arp.push(arp("192.168.1.1", "0x2", "02:00:5e:00:53:03", "eth0"))),
        ] {
            assert_eq!(same.known(), network);
        }
    }

    #[test]
    fn another_route_or_prefix_is_another_network() {
        let network = home().known();
        for other in [
            home().with(|m| m.routes[2] = route("wlan0", "192.168.0.0/16", "0.0.0.0", 600)),
            home().with(|m| m.routes.push(route("tun0", "0.0.0.0/0", "0.0.0.0", 50))),
            // As OpenVPN overrides a default route.
            home().with(|m| m.routes.push(route("tun0", "0.0.0.0/1", "10.8.0.1", 50))),
            home().with(|m| m.addresses_v6[1] = address_v6("2001:db8:1:3::1", "00", "wlan0")),
            // As WireGuard's own routing table does.
            home().with(|m| m.sources[1] = Some("10.2.0.2".parse().unwrap())),
            home().with(|m| m.sources[0] = Some("fd00:9::2".parse().unwrap())),
        ] {
            assert_ne!(other.known(), network);
        }
        assert_ne!(home().network("socks5://proxy.example").unwrap(), network);
    }

    #[test]
    fn what_cannot_be_distinguished_from_another_network_is_not_known() {
        for unknown in [
            home().with(|m| m.arp.truncate(2)),
            home().with(|m| m.arp[2] = arp("192.168.1.1", "0x0", MAC, "wlan0")),
            home().with(|m| m.arp[2] = arp("192.168.1.1", "0x2", "00:00:00:00:00:00", "wlan0")),
            home().with(|m| {
                m.routes.remove(1);
                m.routes_v6.clear();
            }),
            home().with(|m| m.device = Some("eth7")),
            MachineTables {
                routes: vec![],
                arp: vec![],
                routes_v6: vec![],
                addresses_v6: vec![],
                ..home()
            },
            home()
                .with(|m| m.routes = vec!["nonsense".into(), "wlan0 00000000 zz 3 0 0 0 0".into()])
                .with(|m| m.routes_v6 = vec!["nonsense".into()]),
        ] {
            assert_eq!(unknown.network(""), None);
        }
    }

    #[test]
    fn without_ipv4_a_worldwide_prefix_tells() {
        let v6 = home().with(|m| m.routes.truncate(1));
        assert_eq!(v6.known().label(), "wlan0");
        // Every careless network may call itself fd00::/64.
        let local = v6.clone().with(|m| m.addresses_v6[1] = address_v6("fd00::5", "00", "wlan0"));
        assert_eq!(local.network(""), None);
        let bare = v6.with(|m| m.addresses_v6.truncate(1));
        assert_eq!(bare.network(""), None);
    }

    #[test]
    fn a_route_to_a_single_point_has_no_hardware_and_is_known_by_its_interface() {
        let dialled = |source: &str| {
            let mut machine = home();
            machine.routes_v6.clear();
            machine.routes = vec![
                route("ppp0", "0.0.0.0/0", "0.0.0.0", 0),
                route("ppp0", "10.64.64.64/32", "0.0.0.0", 0),
            ];
            machine.sources = [None, Some(source.parse().unwrap())];
            machine.known()
        };
        assert_eq!(dialled("100.64.0.1"), dialled("100.64.9.9"), "each call has another address");
        assert_eq!(dialled("100.64.0.1").label(), "ppp0");
    }

    #[test]
    fn a_dial_that_is_bound_to_an_interface_is_in_that_ones_network() {
        let both = home().with(|m| {
            m.routes.push(route("eth0", "0.0.0.0/0", "10.0.0.1", 100));
            m.arp.push(arp("10.0.0.1", "0x2", "02:00:5e:00:53:07", "eth0"));
        });
        assert_eq!(both.known().label(), "eth0");
        assert_eq!(both.with(|m| m.device = Some("wlan0")).known(), home().known());
    }

    #[test]
    fn this_machine_is_no_other_network() {
        assert_ne!(Network::this_machine(""), Network::this_machine("socks5://proxy"));
        assert_eq!(Network::this_machine("").label(), "this machine");
    }
}
