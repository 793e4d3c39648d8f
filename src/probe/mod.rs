//! What a probe found, and what a dial would choose by it. [`Prober`](crate::Prober) does the
//! finding.

mod forecast;
mod probed;

pub use probed::{LookedUp, Probed};
