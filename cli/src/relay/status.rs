//! `mailport relay status`.

use std::env;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use mailport_relay::{RelayStatus, ask_status, default_control};

/// Prints the status of a running relay
///
/// Exit status: 0 it answered, 1 it did not.
#[derive(Debug, clap::Args)]
#[expect(clippy::doc_markdown, reason = "these are texts for a terminal")]
pub(crate) struct Args {
    /// Its control socket [default: relay.sock in $RUNTIME_DIRECTORY or in $XDG_RUNTIME_DIR/mailport]
    #[arg(long, value_name = "PATH")]
    control: Option<PathBuf>,

    /// Print one JSON object and nothing else [default: off]
    #[arg(long, conflicts_with = "openmetrics")]
    json: bool,

    /// Print the metrics as Prometheus and others read them (OpenMetrics 1.0) [default: off]
    #[arg(long)]
    openmetrics: bool,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    let path = args.control.clone().or_else(|| default_control(|name| env::var(name).ok()));
    let Some(path) = path else {
        return crate::misuse(
            "relay",
            "there is no directory for a control socket: give --control",
        );
    };
    let answer = match ask_status(&path) {
        Ok(answer) => answer,
        Err(error) => {
            crate::complain(format_args!("no relay answers at {}: {error}", path.display()));
            return ExitCode::from(crate::FAILURE);
        }
    };
    let text = match serde_json::from_str::<RelayStatus>(&answer) {
        Ok(status) if args.openmetrics => status.openmetrics().trim_end().to_owned(),
        Ok(_) if args.json => answer,
        Ok(status) => status.to_string(),
        Err(_) => {
            crate::complain(format_args!("{} does not answer with a status", path.display()));
            return ExitCode::from(crate::FAILURE);
        }
    };
    crate::written(writeln!(anstream::stdout(), "{text}"))
}
