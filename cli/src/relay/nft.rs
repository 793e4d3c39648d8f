//! `mailport relay nft`.

use std::io::{self, Write};
use std::process::ExitCode;

use mailport_relay::{MARK, nft as rules};

use crate::values;

/// Prints the packet filter's rules for a transparent relay, ready for nft -f -
///
/// Undone by: nft delete table inet mailport_relay
///
/// A mail server on this machine sends to port 25 as well: keep its connections out of this by --uid
/// or --ports.
#[derive(Debug, clap::Args)]
#[expect(clippy::doc_markdown, reason = "these are texts for a terminal")]
pub(crate) struct Args {
    /// The port of the relay's --transparent, on 127.0.0.1 and [::1]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,

    /// Only the connections of this user, by number [default: of all users]
    #[arg(long, value_name = "UID")]
    uid: Option<u32>,

    /// The ports to redirect
    #[arg(long, value_name = "PORTS", value_delimiter = ',', default_value = "25,465,587")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    ports: Vec<u16>,

    /// The firewall mark of the relay's own connections
    #[arg(long, value_name = "MARK", value_parser = values::mark, default_value = "0x6d70")]
    mark: u32,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    let text = rules::nft(args.port, args.mark, args.uid, &args.ports);
    crate::written(io::stdout().write_all(text.as_bytes()))
}

/// The default of --mark is the relay's.
const _: () = assert!(MARK == 0x6d70);
