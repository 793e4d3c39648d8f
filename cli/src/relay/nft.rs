//! `mailport relay nft`.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ValueEnum;
use mailport_relay::nft::{Ipv6, NftRules};
use mailport_relay::{MAIL_PORTS, MARK, Mode, Settings};

use crate::values;

/// Prints the packet filter's rules for a transparent relay, ready for nft -f -
///
/// Undone by: nft delete table inet mailport_relay
///
/// A mail server on this machine sends to port 25 as well: exclude its connections by --uid or
/// --ports.
#[derive(Debug, clap::Args)]
#[expect(clippy::doc_markdown, reason = "these are texts for a terminal")]
pub(crate) struct Args {
    /// The port of the relay's --listen-transparent, on 127.0.0.1 and [::1]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    #[arg(required_unless_present = "config")]
    port: Option<u16>,

    /// Take port, mark and names from the transparent listener in this file of the relay
    #[arg(long, value_name = "FILE", conflicts_with_all = ["port", "mark", "ipv6"])]
    config: Option<PathBuf>,

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

    /// What happens to connections over IPv6
    ///
    /// redirect needs a relay that also listens on [::1], with --names: it could not try another
    /// address for a server whose name it does not know.
    #[arg(long, value_name = "ACTION", value_enum, default_value = "reset")]
    ipv6: Ipv6Arg,
}

/// `--ipv6`.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Ipv6Arg {
    /// They are answered with a TCP reset, so that programs turn to IPv4 at once
    Reset,
    /// They are redirected like those over IPv4
    Redirect,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    let from_options = |port| NftRules {
        listener: port,
        mark: args.mark,
        uid: args.uid,
        ports: args.ports.clone(),
        ipv6: match args.ipv6 {
            Ipv6Arg::Reset => Ipv6::Reset,
            Ipv6Arg::Redirect => Ipv6::Redirect,
        },
    };
    let rules = match (&args.config, args.port) {
        (Some(path), _) => from_file(path, args),
        (None, Some(port)) => Ok(from_options(port)),
        (None, None) => Err("give --port or --config".to_owned()),
    };
    match rules {
        Ok(rules) => crate::written(io::stdout().write_all(rules.nft().as_bytes())),
        Err(message) => crate::misuse("relay", message),
    }
}

/// The rules for the transparent listeners of a relay's file, which must have one port.
fn from_file(path: &Path, args: &Args) -> Result<NftRules, String> {
    let at = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let text = fs::read_to_string(path).map_err(|error| at(&error))?;
    let settings = Settings::parse(&text).map_err(|error| at(&error))?;
    let found: Vec<_> = settings
        .listeners
        .iter()
        .filter_map(|listener| match &listener.mode {
            Mode::Transparent(asked) => Some((listener.address.tcp()?, asked)),
            _ => None,
        })
        .collect();
    let Some((first, _)) = found.first() else {
        return Err(at(&"it has no transparent listener"));
    };
    if found.iter().any(|(address, _)| address.port() != first.port()) {
        return Err(at(&"its transparent listeners have several ports: give --port"));
    }
    let with_names = |(address, asked): &(std::net::SocketAddr, &mailport_relay::Asked)| {
        address.is_ipv6() && !asked.names.is_empty()
    };
    let ipv6 = if found.iter().any(with_names) { Ipv6::Redirect } else { Ipv6::Reset };
    let mark = settings.mark.unwrap_or(MARK);
    let ports = args.ports.clone();
    Ok(NftRules { listener: first.port(), mark, uid: args.uid, ports, ipv6 })
}

/// The defaults of --mark and --ports are the relay's.
const _: () = assert!(MARK == 0x6d70 && MAIL_PORTS[0] == 25 && MAIL_PORTS[2] == 587);
