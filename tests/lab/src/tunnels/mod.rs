//! Real tunnels in a lab: Debian's OpenSSH, microsocks and stunnel.
//!
//! `make setup` installs none of them, so that no service begins on the machine: it unpacks them
//! into target/servers. What they listen on is loopback of the lab's client, from where their own
//! connections meet the router and its fates as a dial's do.
//!
//! - `ssh`: a gateway, and the ways through it

mod ssh;

pub use ssh::Gateway;

use std::ffi::OsStr;
use std::fmt::Display;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::cell::Cell;
use crate::real::Lab;
use crate::{explain, packages};

/// How often something that is waited for is looked at.
const STEP: Duration = Duration::from_millis(10);
/// How long a program may take to begin, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where in a lab a program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Where the dials are.
    Client,
    /// Where the servers are.
    Server,
}

/// A running program that listens; dropping it leaves no process and no file.
#[derive(Debug)]
pub struct Tunnel {
    // Dropped in this order: the folder goes when no process writes into it.
    cell: Cell,
    output: PathBuf,
    _folder: TempDir,
}

impl Tunnel {
    /// Starts microsocks, a SOCKS5 proxy, on a port of the client's loopback, which wants this user
    /// and password.
    pub fn microsocks(lab: &Lab, port: u16, login: Option<(&str, &str)>) -> io::Result<Tunnel> {
        let program = packages::unpacked("microsocks")?.join("usr/bin/microsocks");
        let mut command = Command::new(program);
        command.args(["-i", "127.0.0.1", "-p", &port.to_string()]);
        if let Some((user, password)) = login {
            command.args(["-u", user, "-P", password]);
        }
        Tunnel::start(lab, Side::Client, &command, &[], folder()?, &[port])
    }

    /// Starts stunnel with these services, which listen on these ports.
    pub fn stunnel(lab: &Lab, side: Side, services: &str, ports: &[u16]) -> io::Result<Tunnel> {
        let program = packages::unpacked("stunnel4")?.join("usr/bin/stunnel4");
        let folder = folder()?;
        let configuration = folder.path().join("stunnel.conf");
        write(&configuration, format!("foreground = yes\npid =\nlibwrap = no\n{services}"))?;
        let mut command = Command::new(program);
        command.arg(configuration);
        Tunnel::start(lab, side, &command, &[], folder, ports)
    }

    /// Starts a program that stays in the foreground, and waits until it listens on all of these
    /// ports. No connection is made to find that out, for a tunnel passes on what it accepts.
    fn start(
        lab: &Lab,
        side: Side,
        command: &Command,
        mounts: &[(PathBuf, PathBuf)],
        folder: TempDir,
        ports: &[u16],
    ) -> io::Result<Tunnel> {
        let output = folder.path().join("output");
        let cell = inside(lab, side, || Cell::start(command, mounts, &output))?;
        let tunnel = Tunnel { cell, output, _folder: folder };
        let deadline = Instant::now() + PATIENCE;
        while !inside(lab, side, || are_open(ports))? {
            let failed = |why: &dyn Display| {
                let program = command.get_program().to_string_lossy();
                io::Error::other(format!("{program} of the lab {why}\n{}", tunnel.log()))
            };
            if tunnel.cell.has_ended() {
                return Err(failed(&"has ended"));
            }
            if Instant::now() > deadline {
                return Err(failed(&format_args!("does not listen on {ports:?}")));
            }
            thread::sleep(STEP);
        }
        Ok(tunnel)
    }

    /// What the program has said.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.output).unwrap_or_default()).into_owned()
    }
}

fn inside<T: Send>(lab: &Lab, side: Side, work: impl FnOnce() -> T + Send) -> T {
    match side {
        Side::Client => lab.client(work),
        Side::Server => lab.server(work),
    }
}

/// Whether there is a listener over IPv4 on all of these ports, in the calling thread's namespace.
fn are_open(ports: &[u16]) -> io::Result<bool> {
    /// The state of a listener, in this table.
    const LISTEN: &str = "0A";
    let table = fs::read_to_string("/proc/thread-self/net/tcp")
        .map_err(explain("the lab needs /proc of this process"))?;
    let listening = |port: u16| {
        let port = format!(":{port:04X}");
        table.lines().any(|line| {
            let fields: Vec<&str> = line.split_whitespace().take(4).collect();
            matches!(fields[..], [_, local, _, LISTEN] if local.ends_with(&port))
        })
    };
    Ok(ports.iter().all(|port| listening(*port)))
}

fn folder() -> io::Result<TempDir> {
    tempfile::Builder::new()
        .prefix(&format!("mailport-lab-{}-", process::id()))
        .tempdir()
        .map_err(explain("a tunnel needs a temporary folder"))
}

fn write(path: &Path, text: impl AsRef<OsStr>) -> io::Result<()> {
    fs::write(path, text.as_ref().as_encoded_bytes())
        .map_err(explain(format_args!("a tunnel needs {}", path.display())))
}
