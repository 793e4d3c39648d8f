//! The networks that mailport is tested on: a virtual one, and one of real kernels.

pub mod mta;
mod network;
pub mod real;
pub mod scenario;
pub mod world;

pub use network::{Fate, Network, ROUTER_V4, ROUTER_V6};
