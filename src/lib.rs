#![doc = include_str!("../README.md")]

#[cfg(all(feature = "driver", not(target_os = "linux")))]
compile_error!("mailport's driver supports Linux only; without default features the core builds");

#[cfg(feature = "driver")]
mod blocking;
#[cfg(feature = "driver")]
mod driver;
#[cfg(feature = "driver")]
pub mod join;

// The pure modules: no clock, socket, file, thread or randomness, as clippy.toml lists them.
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
pub mod cache;
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
pub mod config;
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
mod error;
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
pub mod machine;
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
pub mod outcome;
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
pub mod plan;
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
pub mod probe;
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
pub mod report;
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
pub mod socks5;
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
pub mod target;
#[cfg(feature = "driver")]
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
pub mod via;

#[cfg(feature = "driver")]
pub use blocking::connect;
#[cfg(feature = "driver")]
#[cfg(all(feature = "driver", feature = "cache-file"))]
pub use driver::CacheError;
#[cfg(feature = "driver")]
pub use driver::{
    Cache, Connected, Dial, Dialer, LookupResult, ProbeError, Prober, Progress, Resolver, Status,
};
#[cfg(feature = "driver")]
pub use join::join;

/// What the crates of this repository share; no public API, and it may change in any version.
#[cfg(feature = "driver")]
#[doc(hidden)]
pub mod internal {
    pub use crate::driver::{adopt, scope};
    pub use crate::report::Millis;
    #[cfg(feature = "json")]
    pub use crate::report::millis;
}

pub use config::{Config, ConfigError, Families, GreetingWait, Patience};
pub use error::ConnectError;
pub use outcome::Outcome;
pub use plan::{Cleartext, Family, Plan, PlanError, Service, Tls};
pub use report::Report;
pub use target::{Target, TargetError};
#[cfg(feature = "driver")]
pub use via::Via;
