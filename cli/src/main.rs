//! The command `mailport`: its arguments and its output.

mod ask;
mod cache;
mod completions;
mod connect;
mod defaults;
mod man;
mod options;
mod probe;
mod relay;
mod run;
#[cfg(test)]
mod scene;
mod svg_file;
mod terminal;
mod values;
mod via;

use std::fmt;
use std::io::{self, Write};
use std::num::NonZeroU16;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Parser, Subcommand};
use mailport::Target;

/// Reaches a mail server on the best port that the network and the server allow
///
/// Tries the submission port (587) first and falls back to the SMTP port (25), over IPv6 and IPv4,
/// and says why.
#[derive(Debug, Parser)]
#[command(name = "mailport", version, arg_required_else_help = true)]
#[command(before_help = "Example: mailport connect mail.example.com")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Connect(Box<connect::Args>),
    Probe(Box<probe::Args>),
    Cache(cache::Args),
    Relay(Box<relay::Args>),
    Run(run::Args),
    Defaults(defaults::Args),
    Completions(completions::Args),
    Man(man::Args),
}

fn main() -> ExitCode {
    match Cli::try_parse() {
        Ok(Cli { command: Command::Connect(args) }) => connect::run(&args),
        Ok(Cli { command: Command::Probe(args) }) => probe::run(&args),
        Ok(Cli { command: Command::Cache(args) }) => cache::run(&args),
        Ok(Cli { command: Command::Relay(args) }) => relay::run(&args),
        Ok(Cli { command: Command::Run(args) }) => run::run(&args),
        Ok(Cli { command: Command::Defaults(args) }) => defaults::run(&args),
        Ok(Cli { command: Command::Completions(args) }) => completions::run(&args),
        Ok(Cli { command: Command::Man(args) }) => man::run(&args),
        Err(mut error) => {
            suggest(&mut error);
            refuse(&error)
        }
    }
}

/// Adds the command that is probably meant to the error of a host in the place of a subcommand.
fn suggest(error: &mut clap::Error) {
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand) else {
        return;
    };
    let (host, port) = match word.split_once(':') {
        Some((host, port)) if port.parse::<NonZeroU16>().is_ok() => (host, Some(port)),
        _ => (&**word, None),
    };
    let is_host = host == "localhost" || host.contains(['.', ':']);
    if is_host && host.parse::<Target>().is_ok() {
        let port = port.map_or_else(String::new, |port| format!(" --port {port}"));
        let tip = format!("to connect to this server, use mailport connect {host}{port}");
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
}

/// Exit status of a command line that cannot be carried out.
const MISUSE: u8 = 2;
/// Exit status of every other failure.
const FAILURE: u8 = 1;

/// Reports what is wrong with the arguments of a subcommand, in the form of clap.
fn misuse(subcommand: &str, message: impl fmt::Display) -> ExitCode {
    let mut command = Cli::command();
    command.build();
    match command.find_subcommand_mut(subcommand) {
        Some(command) => refuse(&command.error(ErrorKind::ValueValidation, message)),
        None => refuse(&command.error(ErrorKind::ValueValidation, message)),
    }
}

/// Prints an error of the command line, or the help that was asked for.
fn refuse(error: &clap::Error) -> ExitCode {
    match error.print() {
        Ok(()) if !error.use_stderr() => ExitCode::SUCCESS,
        Err(broken) if !error.use_stderr() => written(Err(broken)),
        _ => ExitCode::from(MISUSE),
    }
}

/// The status of a command that has printed its result. A closed pipe is no failure: its reader has
/// read enough.
fn written(result: io::Result<()>) -> ExitCode {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            complain(format_args!("standard output: {error}"));
            ExitCode::from(FAILURE)
        }
        _ => ExitCode::SUCCESS,
    }
}

/// Prints a message on standard error. An error of writing is ignored.
fn complain(message: impl fmt::Display) {
    let red = terminal::FAILED;
    let _ = writeln!(anstream::stderr(), "{red}mailport:{red:#} {message}");
}
