//! The resolvers for names that clients ask for, apart from those of the settings: names that never
//! resolve delay no other client.

use std::net::SocketAddr;
use std::sync::Arc;

use super::local_addresses::LocalAddresses;
use mailport::Resolver;
use mailport::report::{LookupError, Report};

/// The error of a name all whose addresses belong to this machine.
const INWARD: &str = "the name leads to this machine only";

/// A resolver for clients of this machine, and one for others.
#[derive(Debug)]
pub(super) struct Resolvers {
    local: Resolver,
    remote: Resolver,
}

impl Resolvers {
    /// Clients of other machines do not learn addresses of this one, so that no packet goes there.
    pub(super) fn new(addresses: Arc<LocalAddresses>, mark: Option<u32>) -> Resolvers {
        let remote = move |all: Vec<SocketAddr>| {
            let is_elsewhere = |address: &SocketAddr| !addresses.may_contain(*address, mark);
            let elsewhere: Vec<SocketAddr> = all.into_iter().filter(is_elsewhere).collect();
            if elsewhere.is_empty() {
                return Err(LookupError::Failed(INWARD.to_owned()));
            }
            Ok(elsewhere)
        };
        Resolvers {
            local: Resolver::system_filtered(Ok),
            remote: Resolver::system_filtered(remote),
        }
    }

    /// The resolver for names that such a client asks for.
    pub(super) fn for_client(&self, is_remote: bool) -> Resolver {
        if is_remote { self.remote.clone() } else { self.local.clone() }
    }
}

/// Whether a dial has failed because its name leads to this machine, where its client may not go.
pub(super) fn was_inward(report: &Report) -> bool {
    let is_inward =
        |error: &LookupError| matches!(error, LookupError::Failed(text) if text == INWARD);
    let lookup = report.lookup.as_ref();
    lookup.is_some_and(|lookup| lookup.result.as_ref().err().is_some_and(is_inward))
}
