//! Which family goes first: RFC 6724 section 6 for one address of each.
//!
//! The resolver sorts the addresses within a family. The order between families is lost by looking
//! both up separately, so it is made again here, by the rules that can differ between families.

use std::net::{IpAddr, Ipv6Addr};

use crate::plan::Family;

/// A destination, and the source address that would be used towards it.
pub(super) type Destination = (IpAddr, Option<IpAddr>);

/// The family whose first address is the better destination; IPv6 where the rules leave a tie.
pub(super) fn first_by_address(v6: Destination, v4: Destination) -> Family {
    let prefer_v4 = rank(v4) > rank(v6);
    if prefer_v4 { Family::Ipv4 } else { Family::Ipv6 }
}

/// The rules as one value, higher is better, in their order.
fn rank((destination, source): Destination) -> (bool, bool, bool, u8, u8) {
    let to = mapped(destination);
    let from = source.map(mapped);
    let policy = policy(to);
    (
        // > Rule 1: Avoid unusable destinations.
        from.is_some(),
        // > Rule 2: Prefer matching scope.
        from.is_some_and(|from| scope(from) == scope(to)),
        // > Rule 5: Prefer matching label.
        from.is_some_and(|from| self::policy(from).label == policy.label),
        // > Rule 6: Prefer higher precedence.
        policy.precedence,
        // > Rule 8: Prefer smaller scope.
        u8::MAX - scope(to),
    )
}

/// IPv4 addresses take part as IPv4-mapped ones (RFC 6724 section 2.1).
fn mapped(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

/// The scope of an address, as the scope field of a multicast address numbers them (RFC 6724
/// sections 3.1 and 3.2).
fn scope(address: Ipv6Addr) -> u8 {
    const LINK_LOCAL: u8 = 0x2;
    const SITE_LOCAL: u8 = 0x5;
    const GLOBAL: u8 = 0xe;
    if let Some(v4) = address.to_ipv4_mapped() {
        return if v4.is_loopback() || v4.is_link_local() { LINK_LOCAL } else { GLOBAL };
    }
    let [first, second, ..] = address.octets();
    match first {
        0xff => second & 0x0f,
        0xfe if second & 0xc0 == 0x80 => LINK_LOCAL,
        0xfe if second & 0xc0 == 0xc0 => SITE_LOCAL,
        _ if address.is_loopback() => LINK_LOCAL,
        _ => GLOBAL,
    }
}

struct Policy {
    prefix: Ipv6Addr,
    length: u32,
    precedence: u8,
    label: u8,
}

const fn entry(prefix: Ipv6Addr, length: u32, precedence: u8, label: u8) -> Policy {
    Policy { prefix, length, precedence, label }
}

/// The address with these first 16 bits and zeros behind them.
const fn begins(first: u16) -> Ipv6Addr {
    Ipv6Addr::new(first, 0, 0, 0, 0, 0, 0, 0)
}

/// The default policy table of RFC 6724 section 2.1, longest prefix first.
const POLICIES: &[Policy] = &[
    entry(Ipv6Addr::LOCALHOST, 128, 50, 0),
    entry(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96, 35, 4),
    entry(Ipv6Addr::UNSPECIFIED, 96, 1, 3),
    entry(begins(0x2001), 32, 5, 5),
    entry(begins(0x2002), 16, 30, 2),
    entry(begins(0x3ffe), 16, 1, 12),
    entry(begins(0xfec0), 10, 1, 11),
    entry(begins(0xfc00), 7, 3, 13),
    entry(Ipv6Addr::UNSPECIFIED, 0, 40, 1),
];

fn policy(address: Ipv6Addr) -> &'static Policy {
    let matches = |policy: &&Policy| {
        let differing = address.to_bits() ^ policy.prefix.to_bits();
        differing.leading_zeros() >= policy.length
    };
    POLICIES.iter().find(matches).expect("the last row of the table matches every address")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(v6: (&str, &str), v4: (&str, &str)) -> Family {
        let destination = |(to, from): (&str, &str)| (to.parse().unwrap(), from.parse().ok());
        first_by_address(destination(v6), destination(v4))
    }

    #[test]
    fn native_ipv6_goes_before_ipv4() {
        // An example of RFC 6724 section 10.2, as those below.
        let v6 = ("2001:db8:1::1", "2001:db8:1::2");
        assert_eq!(first(v6, ("198.51.100.121", "198.51.100.117")), Family::Ipv6);
    }

    #[test]
    fn a_family_without_a_route_goes_last() {
        let v4 = ("198.51.100.121", "198.51.100.117");
        assert_eq!(first(("2001:db8:1::1", ""), v4), Family::Ipv4);
        assert_eq!(first(("2001:db8:1::1", "2001:db8:1::2"), (v4.0, "")), Family::Ipv6);
    }

    #[test]
    fn a_source_of_another_scope_goes_last() {
        let v6 = ("2001:db8:1::1", "fe80::1");
        assert_eq!(first(v6, ("198.51.100.121", "198.51.100.117")), Family::Ipv4);
        let v6 = ("2001:db8:1::1", "2001:db8:1::2");
        assert_eq!(first(v6, ("198.51.100.121", "169.254.13.78")), Family::Ipv6);
    }

    #[test]
    fn tunnels_and_private_ipv6_go_after_ipv4() {
        let v4 = ("198.51.100.121", "198.51.100.117");
        // 6to4 by precedence, Teredo too, and a ULA source towards a global address by its label.
        assert_eq!(first(("2002:c633:6401::1", "2002:c633:6401::2"), v4), Family::Ipv4);
        assert_eq!(first(("2001::1", "2001::2"), v4), Family::Ipv4);
        assert_eq!(first(("2001:db8:1::1", "fd00::2"), v4), Family::Ipv4);
        assert_eq!(first(("fd00::1", "fd00::2"), v4), Family::Ipv4);
    }

    #[test]
    fn a_loopback_name_prefers_ipv6() {
        assert_eq!(first(("::1", "::1"), ("127.0.0.1", "127.0.0.1")), Family::Ipv6);
    }
}
