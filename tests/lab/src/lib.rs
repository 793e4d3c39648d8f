//! The networks that mailport is tested on: a virtual one, and one of real kernels.
//!
//! - `world`, `scenario`: the virtual one, and the table of what a dial does in it
//! - `real`: the one of real kernels
//! - `mta`, `tunnels`: Debian's mail servers and tunnels in it; `greeters`: servers that only greet
//! - `command`: mailport's own command
//! - `packages`, `cell`: where those programs are, and the namespaces in which they run

mod cell;
pub mod greeters;
pub mod mta;
mod network;
mod packages;
pub mod real;
pub mod scenario;
pub mod tunnels;
pub mod world;

pub use mailport_command_tests as command;
pub use network::{Fate, Network, ROUTER_V4, ROUTER_V6};

use std::fmt::Display;
use std::io;

/// Puts a sentence before an error that says too little by itself.
fn explain<E: Into<io::Error>>(sentence: impl Display) -> impl FnOnce(E) -> io::Error {
    move |error| {
        let error = error.into();
        io::Error::new(error.kind(), format!("{sentence}: {error}"))
    }
}
