//! A relay for mail clients that cannot be changed: each connection that it accepts is a dial with
//! fallback, and then two joined sockets.
//!
//! The client uses TLS with its server, end to end: the relay cannot read it, and a fallback changes
//! nothing about it, because all services of a listener's plan have the same TLS mode.
//!
//! ```no_run
//! use mailport_relay::{Log, LogFormat, Relay, Settings, Signals};
//!
//! let settings = Settings::parse(
//!     r#"
//!     [[listener]]
//!     mode = "fixed"
//!     address = "127.0.0.1:2525"
//!     server = "mail.example.com"
//!     "#,
//! )?;
//! let log = Log::to_stderr(LogFormat::Text);
//! let relay = Relay::start(settings.clone(), Default::default(), Vec::new(), log)?;
//! relay.run(Signals::from_process()?, || Ok(settings.clone()))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

// The pure modules use no clock, socket, file or thread, as in the library.
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
pub mod access;
mod answers;
mod clients;
mod config;
mod context;
pub mod control;
mod event_loop;
mod fd_budget;
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
mod handshake;
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
pub mod http_connect;
mod listeners;
mod local_addresses;
mod log;
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
mod loop_detection;
mod names;
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
pub mod nft;
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
mod pac;
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
mod replies;
mod resolvers;
mod sandbox;
mod service_manager;
mod session;
mod signals;
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
mod status;
mod taken_over;

pub use config::{
    Asked, Limits, ListenAddress, Listener, MAIL_PORTS, MAILBOX_PORTS, MARK, Mode, Prefer,
    Settings, SettingsError, all_ports, tls_of,
};
pub use control::{ask_status, default_control};
pub use event_loop::Relay;
pub use fd_budget::raise_limit;
pub use log::{Log, LogFormat, LogRecord};
pub use pac::pac;
pub use sandbox::{Confinement, confine, drop_privileges};
pub use service_manager::{inherited, notify_ready};
pub use signals::Signals;
pub use status::{DIAL_TIMES_MS, DialTimes, RelayStatus};
pub use taken_over::{Dialled, NotConnected, TakenOver};
