//! Why a dial gave no connection.

use std::convert::Infallible;
use std::io;

use crate::config::ConfigError;
use crate::outcome::Errno;
use crate::report::Report;
use crate::target::TargetError;

/// Why a dial gave no connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The host is not a name or an address; the caller's mistake, and nothing was sent.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// Settings that no dial can use; the caller's mistake, and nothing was sent.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// This machine lacks something that every dial needs.
    #[error("cannot dial: {what}: {source}")]
    Setup {
        /// What it lacks: `no timer descriptor (timerfd_create)`.
        what: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// The network's verdict, with every attempt. Boxed, for it is large.
    #[error("{}", .0.summary())]
    Failed(Box<Report>),
    /// The dial belongs to the process that this one was forked from.
    #[error("the dial belongs to the process that started it, and this process is a fork of it")]
    Forked,
    /// The connection has been taken already, or the dial has not connected yet.
    #[error("this dial has no connection to take")]
    NotConnected,
}

/// So that a [`Target`](crate::Target) is taken wherever a host is.
impl From<Infallible> for ConnectError {
    fn from(never: Infallible) -> ConnectError {
        match never {}
    }
}

impl ConnectError {
    /// What the dial did, where it came that far.
    pub fn report(&self) -> Option<&Report> {
        match self {
            ConnectError::Failed(report) => Some(report),
            _ => None,
        }
    }

    /// The object of [`Report::to_json`]: the report where there is one, and otherwise an object
    /// of the same shape without attempts, whose `error` is this error's sentence.
    #[cfg(feature = "json")]
    pub fn to_json(&self) -> String {
        let refusal = || Report::json_of_refusal(&self.to_string());
        self.report().map_or_else(refusal, Report::to_json)
    }

    /// Its error number: [`Report::errno`], or why the dial could not begin.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            ConnectError::Failed(report) => report.errno(),
            ConnectError::Setup { source, .. } => source.raw_os_error().map(Errno),
            ConnectError::Config(ConfigError::Unusable { errno, .. }) => errno.map(Errno),
            _ => None,
        }
    }
}
