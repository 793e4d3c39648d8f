//! The transport of one attempt: a socket, a proxy or a command, from its start to its hand-over.

mod command;
pub(super) mod direct;
mod fact;
mod greeting;
mod passage;
mod proxy;
mod way;

pub(super) use fact::Fact;
pub(super) use passage::Passage;
pub(super) use proxy::{ProxyDial, StartDial};
pub(super) use way::Transport;
