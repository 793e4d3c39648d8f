//! Dials on real sockets: look-ups, transports, the cache's file, and the loop that drives a machine.

mod cache;
mod cancel;
mod dial;
mod dialer;
mod per_process;
mod poller;
mod probe_run;
mod prober;
mod resolv_conf;
mod resolver;
mod stream;
mod sys;
#[cfg(feature = "tokio")]
mod tokio;
mod transport;

pub use cache::Cache;
#[cfg(feature = "cache-file")]
pub use cache::CacheError;
pub use cancel::Canceller;
pub use dial::{Connected, Dial, Status};
pub use dialer::{Dialer, connect, scope};
pub use probe_run::ProbeProgress;
pub use prober::{ProbeError, Prober};
pub use resolver::Resolver;
pub use stream::Stream;
pub use sys::{LOOKUP_STACK, adopt, process_generation, spawn};
pub(crate) use sys::{retry, splice, wait_until_ready};
