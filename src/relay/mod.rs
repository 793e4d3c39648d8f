//! A service for mail readers that cannot be changed: every connection that it accepts is a dial
//! with fallback, and then two sockets joined (feature `relay`).
//!
//! The reader speaks TLS itself, end to end: the relay sees nothing of it, and a fallback changes
//! nothing about it, for all services of a door's plan have one TLS mode.
//!
//! ```no_run
//! use mailport::relay::{Orders, Relay, Settings};
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
//! relay.run(Orders::of_signals()?, || Ok(settings.clone()))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

// The pure rooms: as in src/lib.rs.
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
pub mod access;
mod caller;
mod confine;
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
pub mod control;
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
mod count;
mod doors;
mod goal;
mod joint;
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
mod lines;
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
mod loops;
mod orders;
mod room;
mod routes;
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
pub mod rules;
mod serve;
mod session;
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
mod settings;
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
mod told;

pub use caller::{ask_status, default_control};
pub use confine::{confine, give_up};
pub use count::Status;
pub use lines::Line;
pub use orders::{Orders, inherited, tell_ready};
pub use room::raise_limit;
pub use serve::Relay;
pub use settings::{Door, Limits, MAIL_PORTS, MARK, Settings, SettingsError, Way, tls_of};
