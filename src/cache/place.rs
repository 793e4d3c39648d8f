//! A target in a network.

use crate::target::Target;

use super::Network;

/// A target in a network: what is known of it there counts nowhere else.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    network: Network,
    target: String,
}

impl Place {
    /// This target in this network.
    pub fn new(network: Network, target: &Target) -> Place {
        Place { network, target: target.canonical() }
    }

    /// The network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The target in the one spelling of [`Target::canonical`].
    pub fn target(&self) -> &str {
        &self.target
    }
}
