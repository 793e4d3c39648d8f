//! The machine on a real network: the only room with system calls.

mod dial;
mod poller;
mod resolve;
mod sockets;
mod sys;

pub use dial::{Connected, Dial, Dialer, Status};
pub use resolve::{LookupResult, Resolver};
