//! What a network does to a connection, said once for the virtual network and for the real one.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// The address from which the router in the middle sends its ICMP errors over IPv4.
pub const ROUTER_V4: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 1));
/// The address from which the router in the middle sends its ICMP errors over IPv6.
pub const ROUTER_V6: IpAddr =
    IpAddr::V6(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 1));

/// What becomes of a connection to one port of one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fate {
    /// Accepted after one round trip.
    Open,
    /// Answered by a RST after one round trip.
    Reset,
    /// Every SYN is answered by the router with this ICMP (ICMPv6 for an IPv6 address), after one
    /// round trip, and goes no further.
    Icmp {
        /// The ICMP type.
        kind: u8,
        /// The ICMP code.
        code: u8,
    },
    /// Every SYN is dropped.
    Silent,
    /// The first SYNs are lost, this many in all, whichever connection sends them; every later one
    /// is accepted.
    LoseSyns(u32),
    /// A device on the way drops the first SYNs of each connection, this many; the next one is
    /// accepted.
    DropFirst(u32),
    /// Accepted, and closed by the server this long after the handshake.
    AcceptThenClose(Duration),
}

/// The addresses that exist, the fate of each of their ports, and how far away they are.
#[derive(Debug, Clone)]
pub struct Network {
    /// The time from a SYN to the answer to it.
    pub round_trip: Duration,
    hosts: BTreeMap<IpAddr, Host>,
}

#[derive(Debug, Clone)]
struct Host {
    otherwise: Fate,
    ports: BTreeMap<u16, Fate>,
}

impl Network {
    /// A network without addresses.
    pub fn new(round_trip: Duration) -> Network {
        Network { round_trip, hosts: BTreeMap::new() }
    }

    /// Adds an address; `otherwise` is the fate of every port of it without its own fate.
    #[must_use]
    pub fn address(mut self, address: IpAddr, otherwise: Fate) -> Network {
        self.hosts.insert(address, Host { otherwise, ports: BTreeMap::new() });
        self
    }

    /// Gives a port of an address that was added before its own fate, now or later.
    pub fn set(&mut self, address: IpAddr, port: u16, fate: Fate) {
        let host = self.hosts.get_mut(&address).expect("the address was added before its ports");
        host.ports.insert(port, fate);
    }

    /// The fate of a connection to this port; an address that was not added is silent.
    pub fn fate(&self, address: IpAddr, port: u16) -> Fate {
        self.hosts
            .get(&address)
            .map_or(Fate::Silent, |host| host.ports.get(&port).copied().unwrap_or(host.otherwise))
    }

    /// The ports that lose SYNs by chance, with their addresses.
    pub fn losing(&self) -> impl Iterator<Item = (u16, IpAddr)> + '_ {
        self.hosts.iter().flat_map(|(&address, host)| {
            let ports = host.ports.iter().filter(|(_, fate)| matches!(fate, Fate::LoseSyns(_)));
            ports.map(move |(&port, _)| (port, address))
        })
    }

    /// Every address, in ascending order.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.hosts.keys().copied()
    }
}
