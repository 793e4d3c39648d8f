//! Connects a mail client to its submission server on the best port that the network allows.
//!
//! mailport tries the Submission port (587) first and falls back to the SMTP port (25) where 587 is
//! not available, over IPv4 and IPv6 at once. The result states the TLS mode that its plan demands,
//! so a fallback is never less safe.
//!
//! ```no_run
//! use mailport::Tls;
//!
//! let connected = mailport::connect("mail.example.com")?;
//! match connected.service.tls() {
//!     Tls::StartTls => { /* speak SMTP on connected.stream, and insist on STARTTLS */ }
//!     Tls::Implicit => { /* TLS from the first byte */ }
//!     Tls::Cleartext => { /* only in a plan that allowed cleartext */ }
//! }
//! # Ok::<(), mailport::ConnectError>(())
//! ```
//!
//! # After you connect
//!
//! An attacker who can drop a packet chooses the port. So use [`Service::tls`], never the port. For
//! [`Tls::StartTls`], end the session if STARTTLS is not offered or fails, and send no credentials
//! before. Verify the certificate against [`Target::canonical`] on every port. A failed TLS
//! handshake, a certificate that does not match or a refused login is for the user to see, and never
//! a reason to try another port.
//!
//! # Contents
//!
//! - [`connect`] and [`Dialer`]: a dial in one call, with a [`Plan`], settings ([`Config`]), a
//!   [`Cache`], and a proxy or a command ([`Via`]).
//! - [`Dial`]: a dial for an event loop: one descriptor, one call. In tokio it is awaited.
//! - [`Report`]: what a dial did, and one sentence for people.
//! - [`Prober`]: every candidate of a host, without stopping at the first that connects.
//! - [`machine`]: the rules without clock, socket or thread; [`outcome`]: what a kernel's errors mean.
//!
//! # Asynchronous programs
//!
//! With the feature `tokio`, `Dialer::connect_async` returns a connection, and tokio's
//! `TcpStream::try_from` takes it. In another runtime, watch the dial's descriptor; with async-io,
//! the reactor of smol:
//!
//! ```ignore
//! /// Waits until the dial has ended. Dropping the future drops the dial, which cancels it.
//! async fn connected(mut dial: Dial) -> Result<Connected, Box<dyn Error>> {
//!     if dial.process() == Status::Pending {
//!         let watched = Async::new_nonblocking(dial.descriptor()?.try_clone_to_owned()?)?;
//!         while dial.process() == Status::Pending {
//!             watched.readable().await?;
//!         }
//!     }
//!     Ok(dial.take()?)
//! }
//! ```
//!
//! # Features
//!
//! - `driver` (default): sockets, look-ups, tunnels. Without it the rules build alone.
//! - `cache-file`: a cache that lasts, in a file that the processes of a user share.
//! - `json`: reports as JSON. `svg`: reports as pictures.
//! - `tokio`: dials that are awaited in tokio, and streams that become tokio's.
//!
//! Linux is the supported system.

#![cfg_attr(docsrs, feature(doc_cfg))]
// Equal inputs give equal outputs: the time, the network and files come in as arguments everywhere
// but in `driver` and `join` (clippy.toml lists what is denied).
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

#[cfg(all(feature = "driver", not(target_os = "linux")))]
compile_error!("mailport's driver supports Linux only; without default features the core builds");

#[doc(hidden)]
pub mod cache;
pub mod config;
#[cfg(feature = "driver")]
#[allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "it is the part that has a clock, sockets, files and threads"
)]
mod driver;
mod error;
#[cfg(feature = "driver")]
#[allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "it reads and writes sockets, on threads if they block"
)]
pub mod join;
pub mod machine;
pub mod outcome;
pub mod plan;
pub mod probe;
pub mod report;
#[doc(hidden)]
pub mod socks5;
mod sorted_map;
pub mod target;
#[cfg(feature = "driver")]
pub mod via;

pub use cache::{Remembered, What};
pub use config::{Config, ConfigError, Families, GreetingWait, Patience};
#[cfg(feature = "cache-file")]
pub use driver::CacheError;
#[cfg(feature = "driver")]
pub use driver::{
    Cache, Canceller, Connected, Dial, Dialer, ProbeError, ProbeProgress, Prober, Resolver, Status,
    Stream, connect,
};
pub use error::ConnectError;
#[cfg(feature = "driver")]
pub use join::join;
pub use machine::{Answer, Question, Stale};
pub use outcome::{Errno, Icmp, Outcome, ViaError};
pub use plan::{Cleartext, Family, Plan, PlanError, Service, Tls};
pub use report::{Attempt, End, Greeting, Lookup, LookupError, Reason, Report, Stage};
pub use target::{Target, TargetError};
#[cfg(feature = "driver")]
pub use via::{Via, ViaParseError};

/// What the crates of this repository share; no public API, and it may change in any version.
#[cfg(feature = "driver")]
#[doc(hidden)]
pub mod internal {
    pub use crate::driver::{LOOKUP_STACK, adopt, process_generation, scope, spawn};
    pub use crate::report::Millis;
    #[cfg(feature = "json")]
    pub use crate::report::millis;
}
