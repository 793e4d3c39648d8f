//! Why settings were refused.

use mailport::config::ConfigError;
use mailport::plan::PlanError;
use mailport::target::TargetError;

use super::listen_address::ListenAddress;

/// Why settings were refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// The file is not valid TOML, or has an unknown or missing key; in the TOML parser's words.
    #[error("{0}")]
    Syntax(String),
    /// A host name that is not valid.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// A plan that is not valid.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A setting that no dial can work with.
    #[error(transparent)]
    Dial(#[from] ConfigError),
    /// A plan with several TLS modes.
    #[error(
        "the plan `{plan}` has several TLS modes: the mail client uses one of them, so a fallback \
         could only fail"
    )]
    Modes {
        /// The plan.
        plan: String,
    },
    /// No listener.
    #[error("there is no listener: give --listen, --listen-proxy or --listen-transparent")]
    NoListener,
    /// Two listeners at one address.
    #[error("two listeners have the address {address}")]
    Twice {
        /// The address.
        address: ListenAddress,
    },
    /// A listener whose clients could ask for no port.
    #[error("the listener {address} has no valid `ports`: give ports from 1 to 65535")]
    Ports {
        /// Where it listens.
        address: ListenAddress,
    },
    /// A listener that every machine could use.
    #[error(
        "{address} can be reached from other machines: listen on 127.0.0.1 or [::1], or name the \
         clients that may use it in `allow` (a transparent listener is for this machine only)"
    )]
    Open {
        /// Where it listens.
        address: ListenAddress,
    },
    /// A transparent listener at a UNIX socket.
    #[error("{address}: a packet filter cannot redirect connections to a UNIX socket")]
    TransparentSocket {
        /// Where it listens.
        address: ListenAddress,
    },
    /// A key that the listener's mode does not have.
    #[error("the listener {address}: `{key}` has no meaning with mode = \"{mode}\"")]
    Key {
        /// Where it listens.
        address: ListenAddress,
        /// The key.
        key: &'static str,
        /// The mode.
        mode: &'static str,
    },
    /// A fixed listener without a server.
    #[error("the listener {address} has mode = \"fixed\" and needs `server`")]
    NoServer {
        /// Where it listens.
        address: ListenAddress,
    },
    /// An address to listen on that is not valid.
    #[error("`{text}` is not an address to listen on: give ADDRESS:PORT or the path of a socket")]
    Address {
        /// What was given.
        text: String,
    },
    /// A `via` that is not valid, without repeating it, for it may hold a password.
    #[error("the listener {address}: `via`: {reason}")]
    Via {
        /// Where it listens.
        address: ListenAddress,
        /// What is wrong with it.
        reason: String,
    },
    /// A limit of zero.
    #[error("`{name}` is 0: the relay could serve no client")]
    Zero {
        /// The setting.
        name: &'static str,
    },
    /// A duration that is not valid.
    #[error("`{name}`: `{text}` is not a duration such as 30s or 10min")]
    Time {
        /// The setting.
        name: &'static str,
        /// What it was set to.
        text: String,
    },
}
