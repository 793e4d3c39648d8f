//! What a dial goes through: a proxy or a command, checked before the first packet.

use std::time::Duration;

use super::fact::Fact;
use super::proxy::StartDial;
use super::way::Way;
use super::{command, proxy};
use crate::config::{Config, ConfigError};
use crate::target::Target;
use crate::via::{Kind, Via};

/// The way of every attempt of one dial.
#[derive(Debug)]
pub(in super::super) enum Passage {
    Proxy(Box<proxy::ProxyPassage>),
    Command(command::CommandPassage),
}

impl Passage {
    /// Finds out whether the way can work at all, for this target and with these settings.
    pub(in super::super) fn new(
        via: &Via,
        target: &Target,
        config: &Config,
        start: &StartDial,
    ) -> Result<Passage, ConfigError> {
        match &via.0 {
            Kind::Socks5 { proxy, port, login } => {
                proxy::ProxyPassage::new(proxy, *port, login.as_ref(), target, config, start)
                    .map(|passage| Passage::Proxy(Box::new(passage)))
            }
            Kind::Command(words) => {
                command::CommandPassage::new(words, target, config).map(Passage::Command)
            }
        }
    }

    /// Begins an attempt at this port, which may take as long as is left.
    pub(in super::super) fn begin(&self, port: u16, left: Duration) -> Result<Way, Fact> {
        match self {
            Passage::Proxy(passage) => passage.begin(port, left).map(Way::Proxy),
            Passage::Command(passage) => passage.begin(port).map(Way::Command),
        }
    }
}
