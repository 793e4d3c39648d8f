//! `mailport man`.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::CommandFactory;
use clap_mangen::Man;

/// Prints a manual page
///
/// To read it: mailport man connect | man -l -
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The subcommand to print the page of; without it, the page of mailport itself
    #[arg(value_name = "SUBCOMMAND")]
    subcommand: Option<String>,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    let mut root = crate::Cli::command().disable_help_subcommand(true);
    root.build();
    let page = match &args.subcommand {
        None => root,
        Some(name) => match root.find_subcommand(name) {
            Some(found) => found.clone().version(env!("CARGO_PKG_VERSION")),
            None => return crate::misuse("man", format_args!("no subcommand is named `{name}`")),
        },
    };
    let mut text = Vec::new();
    let rendered = Man::new(page).manual("mailport").render(&mut text);
    crate::written(rendered.and_then(|()| io::stdout().lock().write_all(&text)))
}
