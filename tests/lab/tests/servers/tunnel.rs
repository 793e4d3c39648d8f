//! The command `mailport connect --stdio`, built from the sources as they are.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use mailport_lab::command::mailport;

/// A way to a server, and a file for what mailport says about it.
#[derive(Debug)]
pub(crate) struct Tunnel {
    arguments: Vec<String>,
    said: PathBuf,
}

impl Tunnel {
    /// A tunnel whose words go to a file in this folder.
    ///
    /// The first has cargo bring the command up to date, so it is not for the inside of a lab.
    pub(crate) fn new(folder: &Path) -> Tunnel {
        Tunnel::with(folder, &[])
    }

    /// The same with more arguments.
    pub(crate) fn with(folder: &Path, arguments: &[&str]) -> Tunnel {
        mailport();
        let first = ["connect", "--stdio", "--explain", "--cache", "off"];
        let arguments = first.iter().chain(arguments).map(|&argument| argument.to_owned());
        Tunnel { arguments: arguments.collect(), said: folder.join("said") }
    }

    /// The command for a shell.
    pub(crate) fn line(&self, host: &str) -> String {
        let (mailport, said) = (mailport().display(), self.said.display());
        let arguments = self.arguments.join("' '");
        format!("exec '{mailport}' '{arguments}' {host} 2>'{said}'")
    }

    /// Starts the command with a socket as both its input and its output.
    pub(crate) fn start(&self, host: &str, socket: OwnedFd) -> Child {
        let input = socket.try_clone().expect("an open socket can be duplicated");
        Command::new(mailport())
            .args(&self.arguments)
            .arg(host)
            .env_remove("MAILPORT_VIA")
            .stdin(input)
            .stdout(socket)
            .stderr(File::create(&self.said).expect("a file in a folder of ours"))
            .spawn()
            .expect("cargo has just built it")
    }

    /// What mailport said for people.
    pub(crate) fn words(&self) -> String {
        fs::read_to_string(&self.said).unwrap_or_default()
    }
}
