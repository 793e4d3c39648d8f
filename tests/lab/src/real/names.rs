//! The files from which names resolve inside of a lab.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process;

use tempfile::TempDir;

use super::explain;

const HOSTS: &str = "hosts";
const LOCALHOST: &str = "127.0.0.1 localhost\n::1 localhost\n";

/// The files of a folder here that stand for those of the same name in /etc inside.
const FILES: [(&str, &str); 3] = [
    (HOSTS, LOCALHOST),
    ("nsswitch.conf", "hosts: files\n"),
    // For resolvers that read it themselves: nothing listens there.
    ("resolv.conf", "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n"),
];

#[derive(Debug)]
pub(super) struct Names {
    folder: TempDir,
}

impl Names {
    pub(super) fn new() -> io::Result<Names> {
        let folder = tempfile::Builder::new()
            .prefix(&format!("mailport-lab-{}-", process::id()))
            .tempdir()
            .map_err(explain("the lab needs a temporary folder for its /etc/hosts"))?;
        for (name, text) in FILES {
            fs::write(folder.path().join(name), text)?;
        }
        Ok(Names { folder })
    }

    /// Each file here, and the one it hides inside.
    pub(super) fn files(&self) -> impl Iterator<Item = (PathBuf, PathBuf)> + '_ {
        let etc = Path::new("/etc");
        FILES.iter().map(move |(name, _)| (self.folder.path().join(name), etc.join(name)))
    }

    /// Replaces the names; the file stays the same one, since that one is mounted.
    pub(super) fn set(&self, hosts: &[(&str, IpAddr)]) -> io::Result<()> {
        let mut text = LOCALHOST.to_owned();
        for (name, address) in hosts {
            writeln!(text, "{address} {name}").expect("a String takes everything");
        }
        fs::write(self.folder.path().join(HOSTS), text)
    }
}
