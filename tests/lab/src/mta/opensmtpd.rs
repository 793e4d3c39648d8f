//! How `OpenSMTPD` is set up.

use std::fmt::Write as _;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::accounts::READER;
use super::certificate::Certificate;
use super::{Recipe, give, home, name_on, write};
use crate::packages;

/// Writes the configuration, and makes folders for the paths that are compiled in.
pub(super) fn recipe(
    folder: &Path,
    addresses: &[IpAddr],
    ports: &[u16],
    certificate: Option<&Certificate>,
    lines: &str,
) -> io::Result<Recipe> {
    let package = packages::unpacked("opensmtpd")?;
    let configuration = folder.join("smtpd.conf");
    write(&configuration, text(folder, addresses, ports, certificate, lines))?;

    let [spool, run, lib] = ["spool", "run", "lib"].map(|name| folder.join(name));
    for folder in [&spool, &run, &lib.join("opensmtpd/empty")] {
        give(folder, 0, 0, 0o755)?;
    }
    let queues: Vec<PathBuf> =
        ["incoming", "queue"].map(|name| spool.join("smtpd").join(name)).into();
    let mounts = vec![
        (spool, "/var/spool".into()),
        (run, "/run".into()),
        (lib, "/var/lib".into()),
        (package.join("usr/libexec"), "/usr/libexec".into()),
    ];

    let mut command = Command::new(package.join("usr/sbin/smtpd"));
    command.args(["-d", "-f"]).arg(&configuration);
    Ok(Recipe { command, mounts, queues })
}

fn text(
    folder: &Path,
    addresses: &[IpAddr],
    ports: &[u16],
    certificate: Option<&Certificate>,
    lines: &str,
) -> String {
    let home = home(folder);
    let home = home.display();
    let mut text =
        format!("{lines}\ntable users {{ \"reader\" = \"{READER}:{READER}:{home}\" }}\n");
    let tls = match certificate {
        None => String::new(),
        Some(certificate) => {
            let (own, key) = (certificate.own().display(), certificate.key().display());
            writeln!(text, "pki lab cert \"{own}\"\npki lab key \"{key}\"")
                .expect("a String takes everything");
            " tls pki lab".to_owned()
        }
    };
    // A filter that the lines define.
    let filter = if lines.contains("filter check ") { " filter check" } else { "" };
    for address in addresses {
        for port in ports {
            let name = name_on(*port);
            writeln!(text, "listen on \"{address}\" port {port}{tls}{filter} hostname \"{name}\"")
                .expect("a String takes everything");
        }
    }
    text + "action \"deliver\" maildir userbase <users>\n\
            match from any for rcpt-to \"reader@example.test\" action \"deliver\"\n"
}
