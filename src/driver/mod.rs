//! Dials on real sockets: look-ups, transports, the cache's file, and the loop that drives a machine.

mod cache;
mod dial;
mod dialer;
mod poller;
mod probe_run;
mod prober;
mod resolver;
mod sys;
mod transport;

pub use cache::Cache;
#[cfg(feature = "cache-file")]
pub use cache::CacheError;
pub use dial::{Connected, Dial, Status};
pub use dialer::{Dialer, scope};
pub use prober::{ProbeError, Prober, Progress};
pub use resolver::{LookupResult, Resolver};
pub use sys::adopt;
pub(crate) use sys::{splice, wait_until_ready};
