//! mailport

#[cfg(feature = "driver")]
mod blocking;
pub mod config;
#[cfg(feature = "driver")]
mod driver;
mod error;
pub mod machine;
pub mod outcome;
pub mod plan;
pub mod report;
pub mod target;

#[cfg(feature = "driver")]
pub use blocking::connect;
pub use config::{Config, ConfigError, Families, Patience};
#[cfg(feature = "driver")]
pub use driver::{Connected, Dial, Dialer, LookupResult, Resolver, Status};
pub use error::ConnectError;
pub use outcome::Outcome;
pub use plan::{Cleartext, Family, Plan, PlanError, Service, Tls};
pub use report::Report;
pub use target::{Target, TargetError};
