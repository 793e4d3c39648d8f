//! mailport

pub mod config;
mod error;
pub mod machine;
pub mod outcome;
pub mod plan;
pub mod report;
pub mod target;

pub use config::{Config, ConfigError, Families, Patience};
pub use error::ConnectError;
pub use outcome::Outcome;
pub use plan::{Cleartext, Family, Plan, PlanError, Service, Tls};
pub use report::Report;
pub use target::{Target, TargetError};
