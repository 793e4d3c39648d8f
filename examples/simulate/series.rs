//! What a cache makes of it: 587 known, and twenty dials of a host.

use std::time::Duration;

use mailport::Plan;
use mailport::cache::{Change, Network, Place, Stamp, Table};
use mailport::machine::Hints;

use crate::dial::{Dialled, Policy, dial};
use crate::population::{Host, World};
use crate::{SEED, Sums};

const DIALS: u64 = 20;
const APART: Duration = Duration::from_secs(120);
const BEGINNING: Stamp = Stamp(1_800_000_000_000);

fn place() -> Place {
    Place::new(Network::this_machine(""), &"mail.example.com".parse().expect("a host name"))
}

fn learn(table: &mut Table, place: &Place, dialled: &Dialled, at: Stamp) {
    for &observation in &dialled.observations {
        table.apply(&Change::Learned { place: place.clone(), observation, at }, at);
    }
}

/// What a cache says after a dial that went as it should: with everything answered where 587 is
/// open, and silence waited out where it is not.
pub(crate) fn known(host: &Host, policy: &Policy) -> Hints {
    let (mut table, place) = (Table::default(), place());
    for number in 100..110 {
        let dialled = dial(&host.at_another_time(number), policy, Hints::default());
        if dialled.port == Some(587) {
            learn(&mut table, &place, &dialled, BEGINNING);
            break;
        }
    }
    let mut hints = table.hints(&place, &Plan::submission(), BEGINNING.plus(APART));
    if hints.known.is_empty() {
        // It was open, and is not any more.
        hints.known.push(Plan::submission().services()[0]);
    }
    hints
}

/// Twenty dials of each host, two minutes apart, with a cache that begins empty.
pub(crate) fn series(world: World, policy: &Policy, hosts: u64) -> Sums {
    let mut random = fastrand::Rng::with_seed(SEED);
    let (mut sums, place) = (Sums::default(), place());
    for _ in 0..hosts {
        let host = Host::any(world, &mut random);
        let (mut table, mut now) = (Table::default(), BEGINNING);
        for number in 0..DIALS {
            let host = host.at_another_time(number);
            let hints = table.hints(&place, &Plan::submission(), now);
            let dialled = dial(&host, policy, hints);
            learn(&mut table, &place, &dialled, now);
            sums.add(&host, &dialled);
            now = now.plus(APART);
        }
    }
    sums
}
