//! What dials have found out about a target in one network, and the hints for the next dial there.
//!
//! Pure: the time comes in as a [`Stamp`], and what the system says of its network as text. What
//! dials share is a [`Cache`](crate::Cache), which holds one [`Table`].
//!
//! ```
//! use mailport::machine::Observation;
//! use mailport::cache::{Change, Network, Place, Stamp, Table};
//! use mailport::{Family, Outcome, Plan, Target};
//!
//! let target: Target = "mail.example.com".parse()?;
//! let place = Place::new(Network::this_machine(""), &target);
//! let plan = Plan::submission();
//! let (service, family) = (plan.services()[0], Some(Family::Ipv4));
//! let observation = Observation { service, family, outcome: Outcome::Reset, round_trip: None, provisional: false };
//!
//! let (mut table, now) = (Table::default(), Stamp(1_000_000));
//! table.apply(&Change::Learned { place: place.clone(), observation, at: now }, now);
//! assert_eq!(table.hints(&place, &plan, now).bad, [(service, family)]);
//! assert!(table.hints(&place, &plan, now.plus(Table::LIFE)).bad.is_empty());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#[cfg(feature = "cache-file")]
mod file_format;
mod network;
mod place;
mod table;
mod timestamp;

pub use network::{Network, SystemTables};
pub use place::Place;
pub use table::{Change, Remembered, Table, What};
pub use timestamp::Stamp;
