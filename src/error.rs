//! Why a dial gave no connection.

use std::io;

use crate::config::ConfigError;
use crate::outcome::Errno;
use crate::report::Report;

/// Why a dial gave no connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The caller's mistake; nothing was sent.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The descriptors that every dial needs could not be had; nothing was sent.
    #[error("cannot start to dial: {0}")]
    Setup(#[source] io::Error),
    /// The network's verdict, with every attempt. Boxed, for it is large.
    #[error("{}", .0.summary())]
    Failed(Box<Report>),
    /// The dial was started by another process than this one, which was forked from it.
    #[error("a dial belongs to the process that started it, and this is a fork of that")]
    Forked,
    /// The connection has been taken already, or the dial has not connected yet.
    #[error("this dial has no connection to take")]
    NotConnected,
}

impl ConnectError {
    /// What the dial did, where it came that far.
    pub fn report(&self) -> Option<&Report> {
        match self {
            ConnectError::Failed(report) => Some(report),
            _ => None,
        }
    }

    /// The error number that stands for it: [`Report::errno`], or why the dial could not begin.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            ConnectError::Failed(report) => report.errno(),
            ConnectError::Setup(error) => error.raw_os_error().map(Errno),
            _ => None,
        }
    }
}
