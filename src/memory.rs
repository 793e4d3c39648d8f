//! What dials have learned of a target in one network, and what the next dial there is told.
//!
//! Pure: the time comes in as a [`Stamp`], and what the system says of its network as text. What
//! dials share is a [`Memory`](crate::Memory), which holds one [`Table`].
//!
//! ```
//! use mailport::machine::Lesson;
//! use mailport::memory::{Change, Network, Place, Stamp, Table};
//! use mailport::{Family, Outcome, Plan, Target};
//!
//! let target: Target = "mail.example.com".parse()?;
//! let place = Place::new(Network::this_machine(""), &target);
//! let plan = Plan::submission();
//! let (service, family) = (plan.services()[0], Some(Family::Ipv4));
//! let lesson = Lesson { service, family, outcome: Outcome::Reset, round_trip: None };
//!
//! let (mut table, now) = (Table::default(), Stamp(1_000_000));
//! table.apply(&Change::Learned { place: place.clone(), lesson, at: now }, now);
//! assert_eq!(table.advice(&place, &plan, now).bad, [(service, family)]);
//! assert!(table.advice(&place, &plan, now.plus(Table::LIFE)).bad.is_empty());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod network;
mod place;
mod stamp;
mod table;
#[cfg(feature = "memory")]
mod text;

pub use network::{Network, SystemTables};
pub use place::Place;
pub use stamp::Stamp;
pub use table::{Change, Remembered, Table, What};
