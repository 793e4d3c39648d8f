//! The machine on a real network: the only room with system calls.

mod confirm;
mod dial;
mod dialer;
mod line;
mod memory;
mod poller;
mod prober;
mod probing;
mod resolve;
mod sockets;
mod sys;
mod via;

pub use dial::{Connected, Dial, Status};
pub use dialer::Dialer;
#[cfg(feature = "relay")]
pub(crate) use dialer::scope;
pub use memory::Memory;
pub use prober::{ProbeError, Prober, Progress};
#[cfg(feature = "relay")]
pub(crate) use sys::adopt;
pub(crate) use sys::{splice, wait_until_ready};

pub use resolve::{LookupResult, Resolver};
