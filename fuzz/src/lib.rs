//! What holds for any bytes whatever: one function a subject, plain, so that both `tests/fuzz.rs`
//! (on stable, from the corpus) and cargo-fuzz (`fuzz_targets/`) can call it. A panic is a bug.
#![allow(clippy::unwrap_used, reason = "a target fails by a panic")]

mod bytes;
#[cfg(feature = "relay")]
mod control;
#[cfg(feature = "driver")]
mod error_queue;
#[cfg(feature = "json")]
mod json;
mod machine;
mod plan;
mod socks;
mod socks_server;
mod stream;
mod target;
#[cfg(feature = "driver")]
mod via;

#[cfg(feature = "relay")]
pub use control::control;
#[cfg(feature = "driver")]
pub use error_queue::error_queue;
#[cfg(feature = "json")]
pub use json::json;
pub use machine::machine;
pub use plan::plan;
pub use socks::socks;
pub use socks_server::socks_server;
pub use target::target;
#[cfg(feature = "driver")]
pub use via::via;
