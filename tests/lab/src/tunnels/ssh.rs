//! A gateway that OpenSSH leads to.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::{Side, Tunnel, folder, write};
use crate::real::Lab;
use crate::{explain, packages};

/// Where the gateway listens, on the client's loopback.
const PORT: u16 = 22;

/// The users inside: who logs in, and the one that sshd itself becomes.
const PASSWD: &str = "root:x:0:0::/:/bin/sh\nsshd:x:906:906::/:/bin/false\n";
/// No user's password fits, and no user is locked out.
const SHADOW: &str = "root:*:1::::::\nsshd:*:1::::::\n";

const SERVER: &str = "\
ListenAddress 127.0.0.1:{port}
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
PermitRootLogin prohibit-password
StrictModes no
UsePAM no
PidFile none
MaxStartups 100
";

const CLIENT: &str = "\
Host gateway
HostName 127.0.0.1
Port {port}
User root
IdentityFile {folder}/user
IdentitiesOnly yes
UserKnownHostsFile {folder}/known
GlobalKnownHostsFile none
StrictHostKeyChecking yes
BatchMode yes
ExitOnForwardFailure yes
";

/// A running sshd and its users; dropping it leaves no process and no file.
#[derive(Debug)]
pub struct Gateway {
    _server: Tunnel,
    ssh: PathBuf,
    keys: TempDir,
}

impl Gateway {
    /// Makes keys, and starts sshd.
    pub fn start(lab: &Lab) -> io::Result<Gateway> {
        let clients = packages::unpacked("openssh-client")?.join("usr/bin");
        let sshd = packages::unpacked("openssh-server")?.join("usr/sbin/sshd");
        let keys = folder()?;
        let place = keys.path();
        for name in ["host", "user"] {
            make_key(&clients.join("ssh-keygen"), &place.join(name))?;
        }
        let host = fs::read_to_string(place.join("host.pub"))?;
        let filled_in = |text: &str| {
            let folder = place.display().to_string();
            text.replace("{folder}", &folder).replace("{port}", &PORT.to_string())
        };
        let empty = place.join("run");
        fs::create_dir_all(empty.join("sshd"))?;
        for (name, text) in [
            ("known", format!("127.0.0.1 {host}")),
            ("config", filled_in(CLIENT)),
            ("sshd_config", filled_in(SERVER)),
            ("passwd", PASSWD.to_owned()),
            ("shadow", SHADOW.to_owned()),
        ] {
            write(&place.join(name), text)?;
        }
        let mounts = [
            (place.join("passwd"), "/etc/passwd".into()),
            (place.join("shadow"), "/etc/shadow".into()),
            (empty, "/run".into()),
        ];
        let mut command = Command::new(sshd);
        command.args(["-D", "-e", "-f"]).arg(place.join("sshd_config"));
        let server = Tunnel::start(lab, Side::Client, &command, &mounts, folder()?, &[PORT])?;
        Ok(Gateway { _server: server, ssh: clients.join("ssh"), keys })
    }

    /// The words of a command that logs in, but for what it is to do; the host is `gateway`.
    pub fn ssh(&self) -> String {
        format!("{} -F {}", self.ssh.display(), self.configuration().display())
    }

    /// Logs in with these options (`-L`, `-D`), and stays until it is dropped; the forwards listen
    /// on these ports of the client's loopback.
    pub fn forward(&self, lab: &Lab, options: &[String], ports: &[u16]) -> io::Result<Tunnel> {
        let mut command = Command::new(&self.ssh);
        command.arg("-F").arg(self.configuration()).arg("-N").args(options).arg("gateway");
        Tunnel::start(lab, Side::Client, &command, &[], folder()?, ports)
    }

    fn configuration(&self) -> PathBuf {
        self.keys.path().join("config")
    }
}

fn make_key(ssh_keygen: &Path, file: &Path) -> io::Result<()> {
    let output = Command::new(ssh_keygen)
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "mailport-lab", "-f"])
        .arg(file)
        .output()
        .map_err(explain("a key for OpenSSH is made by ssh-keygen"))?;
    if output.status.success() {
        return Ok(());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("ssh-keygen makes no key: {complaint}")))
}
