//! The namespaces in which a server ends with its owner.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::explain;

/// Runs a server as the child of the first process of a process namespace. That one ends when
/// no process holds its standard input any more, even if the owner was killed; the kernel then ends
/// all the others.
const KEEPER: &str = r#"{ "$@" </dev/null; echo "ended: $?"; } & read -r _"#;
const ENDED: &str = "ended: ";

/// A server in separate process and mount namespaces; dropping it ends all of its processes.
#[derive(Debug)]
pub(crate) struct Cell {
    keeper: Child,
    output: PathBuf,
}

impl Cell {
    /// Starts a command that stays in the foreground, with these files and folders mounted over
    /// others, and what it prints in a file.
    ///
    /// It moves the calling thread, which should end soon after, into the new namespaces.
    pub(crate) fn start(
        server: &Command,
        mounts: &[(PathBuf, PathBuf)],
        output: &Path,
    ) -> io::Result<Cell> {
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID)
            .map_err(io::Error::from)
            .map_err(explain("a server of the lab gets separate process and mount namespaces"))?;
        for (ours, theirs) in mounts {
            let nothing = None::<&str>;
            mount(Some(ours), theirs, nothing, MsFlags::MS_BIND, nothing)
                .map_err(io::Error::from)
                .map_err(explain(format_args!("cannot mount over {}", theirs.display())))?;
        }
        let log = File::create(output)?;
        let keeper = Command::new("sh")
            .args(["-c", KEEPER, "sh"])
            .arg(server.get_program())
            .args(server.get_args())
            .envs(server.get_envs().filter_map(|(name, value)| Some((name, value?))))
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .map_err(explain("a server of the lab is started by `sh`"))?;
        Ok(Cell { keeper, output: output.to_owned() })
    }

    /// Tells whether the server has ended by itself.
    pub(crate) fn has_ended(&self) -> bool {
        let output = fs::read(&self.output).unwrap_or_default();
        String::from_utf8_lossy(&output).lines().any(|line| line.starts_with(ENDED))
    }
}

impl Drop for Cell {
    fn drop(&mut self) {
        // Both fail only for a process that was waited for, which only this code does.
        let _ = self.keeper.kill();
        // The first of its namespace is gone after all the others are.
        let _ = self.keeper.wait();
    }
}
