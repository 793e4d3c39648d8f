//! Which names a look-up with a final dot may help: those that the resolver's search list cannot
//! mean.

use std::fs;

/// The fewest dots of a name that is hedged: one of fewer is often completed by the search list.
const FEWEST_DOTS: usize = 2;
/// What the C library takes at most.
const MOST_NDOTS: usize = 15;

/// The dots of a name, without one at its end.
pub(super) fn dots(name: &str) -> usize {
    name.strip_suffix('.').unwrap_or(name).matches('.').count()
}

/// Whether a name is hedged where the resolver's settings allow it. Names under `.local` are asked
/// for by multicast (RFC 6762), and `.localhost` is this machine (RFC 6761 section 6.3).
pub(super) fn is_hedged(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let last = name.rsplit('.').next().unwrap_or(name);
    let is_special = ["local", "localhost"].iter().any(|own| last.eq_ignore_ascii_case(own));
    dots(name) >= FEWEST_DOTS && !is_special
}

/// How many dots a name needs for being tried as it is before the search list (resolv.conf(5)), by
/// the settings of this moment.
pub(super) fn ndots() -> usize {
    let file = fs::read("/etc/resolv.conf").unwrap_or_default();
    let variable = std::env::var("RES_OPTIONS").ok();
    ndots_of(&String::from_utf8_lossy(&file), variable.as_deref())
}

fn ndots_of(file: &str, variable: Option<&str>) -> usize {
    let lines = file.lines().filter_map(|line| {
        let rest = line.strip_prefix("options")?;
        rest.starts_with([' ', '\t']).then_some(rest)
    });
    let options = lines.chain(variable).flat_map(str::split_ascii_whitespace);
    let counts = options.filter_map(|option| {
        let digits = option.strip_prefix("ndots:")?;
        let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        // What is no number is 0, as the C library reads it.
        Some(digits[..end].parse().unwrap_or(if end == 0 { 0 } else { MOST_NDOTS }))
    });
    counts.fold(1, |_, later| later).min(MOST_NDOTS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_a_search_list_may_mean_are_not_hedged() {
        for name in ["mail", "mail.example", "mail.example.", "printer.x.local", "a.b.LocalHost."] {
            assert!(!is_hedged(name), "{name}");
        }
        for name in ["mail.example.com", "mail.example.com.", "local.example.com"] {
            assert!(is_hedged(name), "{name}");
        }
        assert_eq!(dots("mail.example.com."), 2);
    }

    #[test]
    fn ndots_comes_from_the_last_place_that_sets_it() {
        assert_eq!(ndots_of("nameserver 192.0.2.1\n", None), 1);
        assert_eq!(ndots_of("options timeout:1 ndots:5\noptions edns0\n", None), 5);
        assert_eq!(ndots_of("options ndots:5\noptions ndots:2\n", Some("rotate")), 2);
        assert_eq!(ndots_of("options ndots:5\n", Some("ndots:1")), 1);
        assert_eq!(ndots_of("options ndots:99999999999999999999\n", None), 15);
        assert_eq!(ndots_of("options ndots:x\n#options ndots:3\noptionsndots:4", None), 0);
    }
}
