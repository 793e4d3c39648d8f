//! `mailport completions`.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;

/// Prints the completions for a shell
///
/// For one session of bash: source <(mailport completions bash)
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The shell to complete in
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    // The generators panic where they cannot write, so they do not write to standard output.
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut crate::Cli::command(), "mailport", &mut text);
    crate::written(io::stdout().lock().write_all(&text))
}
