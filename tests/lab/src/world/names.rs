//! What the look-ups of a host bring.

use std::net::IpAddr;
use std::time::Duration;

use mailport::Family;
use mailport::machine::Query;
use mailport::report::LookupError;

/// What a look-up brings.
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

/// What the look-ups of the host bring: the name service answers for each family by itself, and the
/// look-up of both families has an answer when both have been answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// The answer to the AAAA question.
    pub v6: Answer,
    /// The answer to the A question.
    pub v4: Answer,
    /// What the look-up of both families brings, where that does not follow from the others: by a
    /// line of the hosts file, for example.
    pub authority: Option<Answer>,
}

impl Names {
    /// The name service answers so for IPv6 and for IPv4.
    pub fn new(v6: Answer, v4: Answer) -> Names {
        Names { v6, v4, authority: None }
    }

    /// Both families answer at once, with those of the addresses that are theirs.
    pub fn at_once(addresses: &[IpAddr]) -> Names {
        Names::after(addresses, Duration::ZERO, Duration::ZERO)
    }

    /// Each family answers after its own time, with those of the addresses that are its own.
    pub fn after(addresses: &[IpAddr], v6: Duration, v4: Duration) -> Names {
        let answer = |family, after| {
            let of_family = addresses.iter().copied().filter(|&a| Family::from(a) == family);
            match of_family.collect::<Vec<_>>() {
                list if list.is_empty() => Answer::Fails { after, error: LookupError::NoAddress },
                list => Answer::Addresses { after, list },
            }
        };
        Names::new(answer(Family::Ipv6, v6), answer(Family::Ipv4, v4))
    }

    /// The answer to a question of a dial that uses these families, IPv6 first.
    pub fn of(&self, query: Query, families: &[Family]) -> Answer {
        let of = |family| match family {
            Family::Ipv6 => self.v6.clone(),
            Family::Ipv4 => self.v4.clone(),
        };
        match (query, &self.authority, families) {
            (Query::Hedge(family), ..) => of(family),
            (Query::Authority, Some(answer), _) => answer.clone(),
            (Query::Authority, None, &[one]) => of(one),
            (Query::Authority, None, _) => both(of(Family::Ipv6), of(Family::Ipv4)),
        }
    }
}

/// The answer of a look-up of both families: whole, when both have been answered, and a failure
/// where neither has an address.
fn both(v6: Answer, v4: Answer) -> Answer {
    let (Some(after), Some(other)) = (v6.after(), v4.after()) else { return Answer::Never };
    let after = after.max(other);
    match (v6, v4) {
        (Answer::Addresses { list: first, .. }, Answer::Addresses { list: second, .. }) => {
            Answer::Addresses { after, list: [first, second].concat() }
        }
        (Answer::Addresses { list, .. }, _) | (_, Answer::Addresses { list, .. }) => {
            Answer::Addresses { after, list }
        }
        (Answer::Fails { error: LookupError::NoAddress, .. }, Answer::Fails { error, .. })
        | (Answer::Fails { error, .. }, _) => Answer::Fails { after, error },
        (Answer::Never, _) => Answer::Never,
    }
}

impl Answer {
    /// How long it takes; `None` for no answer.
    pub fn after(&self) -> Option<Duration> {
        match self {
            Answer::Addresses { after, .. } | Answer::Fails { after, .. } => Some(*after),
            Answer::Never => None,
        }
    }
}
