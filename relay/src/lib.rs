//! A service for mail readers that cannot be changed: every connection that it accepts is a dial
//! with fallback, and then two sockets joined (feature `relay`).
//!
//! The reader speaks TLS itself, end to end: the relay sees nothing of it, and a fallback changes
//! nothing about it, for all services of a door's plan have one TLS mode.
//!
//! ```no_run
//! use mailport_relay::{Orders, Relay, Settings};
//!
//! let settings = Settings::parse(
//!     r#"
//!     [[listen]]
//!     address = "127.0.0.1:2525"
//!     to = "mail.example.com"
//!     "#,
//! )?;
//! let relay = Relay::start(settings.clone(), Default::default(), Vec::new(), |line| {
//!     eprintln!("{}", line.text());
//! })?;
//! relay.run(Orders::from_signals()?, || Ok(settings.clone()))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

// The pure modules: as in src/lib.rs.
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
pub mod access;
mod caller;
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
mod config;
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
pub mod control;
mod destination;
mod fd_budget;
mod joined;
mod listeners;
mod local_addresses;
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
mod log;
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
mod loop_detection;
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
pub mod nft;
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
mod replies;
mod sandbox;
mod serve;
mod session;
mod signals;
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
mod stats;

pub use caller::{ask_status, default_control};
pub use config::{Door, Limits, MAIL_PORTS, MARK, Settings, SettingsError, Way, tls_of};
pub use fd_budget::raise_limit;
pub use log::Line;
pub use sandbox::{confine, give_up};
pub use serve::Relay;
pub use signals::{Orders, inherited, tell_ready};
pub use stats::Status;
