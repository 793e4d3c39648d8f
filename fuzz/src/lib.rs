//! What holds for any bytes: one function a subject, plain, so that both `tests/fuzz.rs`
//! (on stable, from the corpus) and cargo-fuzz (`fuzz_targets/`) can call it. A panic is a bug.
#![allow(clippy::unwrap_used, reason = "a target fails by a panic")]

mod bytes;
mod control;
mod error_queue;
mod http_connect;
mod json;
mod machine;
mod plan;
mod socks;
mod socks_server;
mod stream;
mod target;
mod via;

pub use control::control;
pub use error_queue::error_queue;
pub use http_connect::http_connect;
pub use json::json;
pub use machine::machine;
pub use plan::plan;
pub use socks::socks;
pub use socks_server::socks_server;
pub use target::target;
pub use via::via;
