//! The packet filter's rules that bring connections to a transparent listener.

use std::fmt::Write;

/// The table that holds all of them, so that removing it removes them all.
pub const TABLE: &str = "mailport_relay";

/// The zone of connection tracking for the relay's own connections: a number that nothing else on
/// the machine uses.
const ZONE: u16 = 0x6d70;

/// What the rules do with connections over IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ipv6 {
    /// They are answered with a TCP reset, so that programs turn to IPv4 at once. The relay knows
    /// only the address that a program has chosen, and could not try another family for it.
    #[default]
    Reset,
    /// They are redirected, for a listener whose `names` say which addresses belong together.
    Redirect,
}

/// What is redirected, and where to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NftRules {
    /// The port of the transparent listener.
    pub listener: u16,
    /// The mark of the relay's own connections, which pass.
    pub mark: u32,
    /// Connections of this user's programs only.
    pub uid: Option<u32>,
    /// The ports.
    pub ports: Vec<u16>,
    /// IPv6.
    pub ipv6: Ipv6,
}

impl NftRules {
    /// The rules for `nft -f -`: connections of this machine's programs to the ports go to the
    /// listener, except the relay's own, and except those that stay on this machine. Loading them
    /// again replaces them.
    ///
    /// Connection tracking remembers a connection for minutes after its end, by addresses and ports,
    /// and with it whether it was redirected. Programs use a port again sooner. So the relay's
    /// connections are tracked in a separate zone, where none is taken for another's; what comes
    /// back is in no zone, so that a firewall still knows it.
    pub fn nft(&self) -> String {
        let NftRules { listener, mark, uid, ports, ipv6 } = self;
        let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
        let ports = ports.join(", ");
        let user = uid.map_or_else(String::new, |uid| format!("meta skuid {uid} "));
        let pass = [format!("meta mark {mark:#x} accept"), "oifname \"lo\" accept".to_owned()];
        let ours = format!("{user}tcp dport {{ {ports} }}");
        let family = if *ipv6 == Ipv6::Reset { "meta nfproto ipv4 " } else { "" };
        let mut chains = vec![
            (
                "zone",
                "filter hook output priority raw",
                vec![format!("meta mark {mark:#x} ct original zone set {ZONE}")],
            ),
            (
                "output",
                "nat hook output priority -100",
                [&pass[..], &[format!("{family}{ours} redirect to :{listener}")]].concat(),
            ),
        ];
        if *ipv6 == Ipv6::Reset {
            let reset = format!("meta nfproto ipv6 {ours} reject with tcp reset");
            let chain = ("ipv6", "filter hook output priority filter");
            chains.push((chain.0, chain.1, [&pass[..], &[reset]].concat()));
        }
        let mut text = format!("# To undo: nft delete table inet {TABLE}\n");
        let _ =
            writeln!(text, "table inet {TABLE}\ndelete table inet {TABLE}\ntable inet {TABLE} {{");
        for (name, hook, rules) in chains {
            let _ = writeln!(text, "\tchain {name} {{\n\t\ttype {hook}; policy accept;");
            for rule in rules {
                let _ = writeln!(text, "\t\t{rule}");
            }
            let _ = writeln!(text, "\t}}");
        }
        text.push_str("}\n");
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_relays_own_connections_pass_first() {
        let rules = |ipv6| NftRules {
            listener: 2587,
            mark: 0x6d70,
            uid: Some(1000),
            ports: vec![25, 587],
            ipv6,
        };
        let text = rules(Ipv6::Redirect).nft();
        let own = text.find("meta mark 0x6d70 accept").unwrap();
        let all = text.find("\tmeta skuid 1000 tcp dport { 25, 587 } redirect to :2587").unwrap();
        assert!(own < all, "{text}");
        assert!(text.contains("meta mark 0x6d70 ct original zone set 28016"));
        assert!(!text.contains("reject"), "{text}");
        let text = rules(Ipv6::Reset).nft();
        assert!(text.contains("meta nfproto ipv4 meta skuid 1000 tcp dport { 25, 587 } redirect"));
        let reset = "meta nfproto ipv6 meta skuid 1000 tcp dport { 25, 587 } reject with tcp reset";
        assert!(text.find(reset).unwrap() > text.rfind("meta mark 0x6d70 accept").unwrap());
        assert!(!NftRules { uid: None, ..rules(Ipv6::Reset) }.nft().contains("skuid"));
    }
}
