//! What a probe found, and what follows from it: which candidate a dial would choose, and the two
//! tables of the fallback paper's field test. [`Prober`](crate::Prober) does the finding.

mod forecast;
#[cfg(feature = "json")]
mod json;
mod list;
mod matrix;
mod probed;
mod survey;

#[cfg(feature = "json")]
pub use json::to_json;
pub use list::{Entry, ListError, parse_list};
pub use matrix::{Cell, Matrix};
pub use probed::{Answer, Probed};
pub use survey::{Met, Seen, Survey, Tally};
