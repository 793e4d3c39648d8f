//! The packets that the router reads and writes, as they are on a TUN device.

use std::net::{IpAddr, SocketAddr};

use etherparse::{
    IpHeaders, IpNumber, IpSlice, Ipv4Header, Ipv6FlowLabel, Ipv6Header, PacketBuilder,
    PacketBuilderStep, TcpSlice,
};

use crate::{ROUTER_V4, ROUTER_V6};

const TIME_TO_LIVE: u8 = 64;

/// What a "too big" says of the next link.
const NEXT_LINK_MTU: u16 = 1400;

/// What a SYN says: who wants to connect where. Retransmissions are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Opening {
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    /// Tells a connection from an earlier one between the same ports.
    pub(super) sequence: u32,
}

impl Opening {
    /// Reads a packet; nothing if it is anything but a SYN that opens a connection.
    pub(super) fn read(packet: &[u8]) -> Option<Opening> {
        let ip = IpSlice::from_slice(packet).ok()?;
        if ip.payload_ip_number() != IpNumber::TCP || ip.is_fragmenting_payload() {
            return None;
        }
        let tcp = TcpSlice::from_slice(ip.payload().payload).ok()?;
        let opens = tcp.syn() && !tcp.ack() && !tcp.rst();
        opens.then(|| Opening {
            from: SocketAddr::new(ip.source_addr(), tcp.source_port()),
            to: SocketAddr::new(ip.destination_addr(), tcp.destination_port()),
            sequence: tcp.sequence_number(),
        })
    }

    /// The RST with which a host answers when nothing listens (RFC 9293, section 3.10.7.1).
    pub(super) fn reset(&self) -> Vec<u8> {
        let tcp = headers(self.to.ip(), self.from.ip())
            .tcp(self.to.port(), self.from.port(), 0, 0)
            .rst()
            .ack(self.sequence.wrapping_add(1));
        let mut packet = Vec::new();
        tcp.write(&mut packet, &[]).expect(FITS);
        packet
    }

    /// An error of the router's about the packet that this was read from, in the ICMP of its
    /// family.
    pub(super) fn icmp(&self, kind: u8, code: u8, about: &[u8]) -> Vec<u8> {
        let client = self.from.ip();
        let mtu = NEXT_LINK_MTU.to_be_bytes();
        let mut packet = Vec::new();
        if client.is_ipv4() {
            // RFC 1191, section 4: the MTU is in the low half of the word.
            let word = if (kind, code) == (3, 4) { [0, 0, mtu[0], mtu[1]] } else { [0; 4] };
            // RFC 1812, section 4.3.2.3: as much of the packet as 576 bytes can hold.
            let about = &about[..about.len().min(576 - 28)];
            let icmp = headers(ROUTER_V4, client).icmpv4_raw(kind, code, word);
            icmp.write(&mut packet, about).expect(FITS);
        } else {
            // RFC 4443, section 3.2: the MTU fills the word.
            let word = if kind == 2 { [0, 0, mtu[0], mtu[1]] } else { [0; 4] };
            // RFC 4443, section 2.4 (c): as much of the packet as the minimum MTU can hold.
            let about = &about[..about.len().min(1280 - 48)];
            let icmp = headers(ROUTER_V6, client).icmpv6_raw(kind, code, word);
            icmp.write(&mut packet, about).expect(FITS);
        }
        packet
    }
}

const FITS: &str = "the packet is short, and a Vec takes everything";

/// The IP header of a packet; both addresses are of one family, since one was read with the other.
fn headers(from: IpAddr, to: IpAddr) -> PacketBuilderStep<IpHeaders> {
    let headers = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let header = Ipv4Header {
                source: from.octets(),
                destination: to.octets(),
                time_to_live: TIME_TO_LIVE,
                ..Ipv4Header::default()
            };
            IpHeaders::Ipv4(header, etherparse::Ipv4Extensions::default())
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let header = Ipv6Header {
                source: from.octets(),
                destination: to.octets(),
                hop_limit: TIME_TO_LIVE,
                flow_label: Ipv6FlowLabel::ZERO,
                ..Ipv6Header::default()
            };
            IpHeaders::Ipv6(header, etherparse::Ipv6Extensions::default())
        }
        _ => unreachable!("a packet has addresses of one family"),
    };
    PacketBuilder::ip(headers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::real::{CLIENT_V4, CLIENT_V6};
    use etherparse::{NetSlice, SlicedPacket, TransportSlice};

    const SERVER_V4: &str = "192.0.2.1";
    const SERVER_V6: &str = "2001:db8:2::1";

    fn openings() -> [Opening; 2] {
        [(CLIENT_V4, SERVER_V4), (CLIENT_V6, SERVER_V6)].map(|(client, server)| Opening {
            from: SocketAddr::new(client, 50000),
            to: SocketAddr::new(server.parse().unwrap(), 587),
            sequence: u32::MAX,
        })
    }

    fn syn(opening: &Opening, payload: &[u8]) -> Vec<u8> {
        let mut packet = Vec::new();
        headers(opening.from.ip(), opening.to.ip())
            .tcp(opening.from.port(), opening.to.port(), opening.sequence, 1000)
            .syn()
            .write(&mut packet, payload)
            .unwrap();
        packet
    }

    #[test]
    fn a_syn_is_read_and_nothing_else_is() {
        for opening in openings() {
            let packet = syn(&opening, &[]);
            assert_eq!(Opening::read(&packet), Some(opening));
            assert_eq!(Opening::read(&packet[..packet.len() - 1]), None);
            assert_eq!(Opening::read(&opening.reset()), None);
            assert_eq!(Opening::read(&opening.icmp(3, 1, &packet)), None);
        }
        assert_eq!(Opening::read(&[]), None);
    }

    #[test]
    fn a_reset_acknowledges_the_syn() {
        for opening in openings() {
            let packet = opening.reset();
            let sliced = SlicedPacket::from_ip(&packet).unwrap();
            let Some(TransportSlice::Tcp(tcp)) = sliced.transport else { panic!("{sliced:?}") };
            assert!(tcp.rst() && tcp.ack() && !tcp.syn());
            assert_eq!(tcp.acknowledgment_number(), 0, "one after the last number");
            assert_eq!((tcp.source_port(), tcp.destination_port()), (587, 50000));
            let right = match sliced.net.unwrap() {
                NetSlice::Ipv4(ip) => {
                    let header = ip.header().to_header();
                    assert_eq!(header.header_checksum, header.calc_header_checksum());
                    tcp.to_header().calc_checksum_ipv4(&header, &[]).unwrap()
                }
                NetSlice::Ipv6(ip) => {
                    tcp.to_header().calc_checksum_ipv6(&ip.header().to_header(), &[]).unwrap()
                }
                NetSlice::Arp(_) => unreachable!("it was read as IP"),
            };
            assert_eq!(tcp.checksum(), right);
        }
    }

    #[test]
    fn an_error_comes_from_the_router_and_holds_the_packet() {
        for (opening, router) in openings().into_iter().zip([ROUTER_V4, ROUTER_V6]) {
            let about = syn(&opening, &[]);
            let packet = opening.icmp(1, 3, &about);
            let ip = IpSlice::from_slice(&packet).unwrap();
            assert_eq!(ip.source_addr(), router);
            assert_eq!(ip.destination_addr(), opening.from.ip());
            let icmp = ip.payload().payload;
            assert_eq!(icmp[..2], [1, 3]);
            assert_eq!(icmp[4..8], [0; 4]);
            assert_eq!(icmp[8..], about);
        }
    }

    #[test]
    fn too_big_says_how_big_the_next_link_is() {
        let [v4, v6] = openings();
        assert_eq!(v4.icmp(3, 4, &syn(&v4, &[]))[24..28], [0, 0, 5, 120]);
        assert_eq!(v6.icmp(2, 0, &syn(&v6, &[]))[44..48], [0, 0, 5, 120]);
    }

    #[test]
    fn an_error_about_a_long_packet_is_cut() {
        let [v4, v6] = openings();
        assert_eq!(v4.icmp(3, 1, &syn(&v4, &[0; 1400])).len(), 576);
        assert_eq!(v6.icmp(1, 0, &syn(&v6, &[0; 1400])).len(), 1280);
    }
}
