//! `mailport relay pac`.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;

/// Prints a proxy auto-configuration (PAC) file that sends submitted mail to the relay
///
/// For Thunderbird: save it as a file, and enter its file:// URL under Settings, General, Network
/// and Disk Space, Connection, "Automatic proxy configuration URL". Mail that is read, and
/// everything else, goes direct.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The address of the relay's --listen-proxy
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:1080")]
    proxy: SocketAddr,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    crate::written(io::stdout().write_all(mailport_relay::pac(args.proxy).as_bytes()))
}
