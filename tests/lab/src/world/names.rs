//! What the look-ups of a host bring.

use std::net::IpAddr;
use std::time::Duration;

use mailport::Family;
use mailport::report::LookupError;

/// What the look-up of one family brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// These addresses, best first, this long after the question.
    Addresses {
        /// How long it takes.
        after: Duration,
        /// The addresses.
        list: Vec<IpAddr>,
    },
    /// No address, this long after the question.
    Fails {
        /// How long it takes.
        after: Duration,
        /// Why.
        error: LookupError,
    },
    /// Nothing, ever.
    Never,
}

/// What the look-ups of the host bring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// The answer to the AAAA question.
    pub v6: Answer,
    /// The answer to the A question.
    pub v4: Answer,
}

impl Names {
    /// Both families answer at once, with those of the addresses that are theirs.
    pub fn at_once(addresses: &[IpAddr]) -> Names {
        Names::after(addresses, Duration::ZERO, Duration::ZERO)
    }

    /// Each family answers after its own time, with those of the addresses that are its own.
    pub fn after(addresses: &[IpAddr], v6: Duration, v4: Duration) -> Names {
        let answer = |family, after| {
            let of_family = addresses.iter().copied().filter(|&a| Family::from(a) == family);
            match of_family.collect::<Vec<_>>() {
                list if list.is_empty() => Answer::Fails { after, error: LookupError::NotFound },
                list => Answer::Addresses { after, list },
            }
        };
        Names { v6: answer(Family::Ipv6, v6), v4: answer(Family::Ipv4, v4) }
    }

    /// The answer of one family.
    pub fn of(&self, family: Family) -> &Answer {
        match family {
            Family::Ipv6 => &self.v6,
            Family::Ipv4 => &self.v4,
        }
    }
}
