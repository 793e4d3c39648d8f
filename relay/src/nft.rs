//! The packet filter's rules that bring connections to a transparent door.

use std::fmt::Write;

/// The table that holds them all, so that removing it undoes everything.
pub const TABLE: &str = "mailport_relay";

/// The zone of connection tracking that the relay's own connections are in: any number that nobody
/// else on the machine uses.
const ZONE: u16 = 0x6d70;

/// Rules for `nft -f -`: connections of this machine's programs to `ports` go to the relay's
/// transparent door at `door`, but not the relay's own, which carry `mark`, and not those that stay
/// on this machine. With a `uid`, of this user's programs only.
///
/// The filter remembers a connection for minutes after its end, by addresses and ports, and with it
/// whether it was redirected. Programs use a port again sooner. So what carries the mark is kept in a
/// zone of its own, where nobody else's connection is taken for one of the relay's, nor the other
/// way round; what comes back belongs to no zone, so a firewall still knows it.
///
/// Loading them again replaces them.
pub fn nft(door: u16, mark: u32, uid: Option<u32>, ports: &[u16]) -> String {
    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
    let user = uid.map_or_else(String::new, |uid| format!("meta skuid {uid} "));
    let mut text = String::new();
    let chains = [
        (
            "zone",
            "filter hook output priority raw",
            vec![format!("meta mark {mark:#x} ct original zone set {ZONE}")],
        ),
        (
            "output",
            "nat hook output priority -100",
            vec![
                format!("meta mark {mark:#x} accept"),
                "oifname \"lo\" accept".to_owned(),
                format!("{user}tcp dport {{ {} }} redirect to :{door}", ports.join(", ")),
            ],
        ),
    ];
    let _ = writeln!(text, "# To undo: nft delete table inet {TABLE}");
    let _ = writeln!(text, "table inet {TABLE}\ndelete table inet {TABLE}\ntable inet {TABLE} {{");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_relays_own_connections_come_first_and_pass() {
        let text = nft(2587, 0x6d70, Some(1000), &[25, 587]);
        let own = text.find("meta mark 0x6d70 accept").unwrap();
        let all = text.find("meta skuid 1000 tcp dport { 25, 587 } redirect to :2587").unwrap();
        assert!(own < all);
        assert!(text.contains("meta mark 0x6d70 ct original zone set 28016"));
        assert!(!nft(2587, 1, None, &[587]).contains("skuid"));
    }
}
