//! How Exim is set up: it greets, does TLS and logins, and takes no mail.

use std::fmt::Write as _;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;

use super::accounts::EXIM;
use super::certificate::Certificate;
use super::{IMPLICIT, Recipe, Settings, give, write};
use crate::packages;

/// After the lines of a test, which belong to the main part.
const PARTS: &str = "
begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_condition = ${if and{{eq{$auth2}{reader}}{eq{$auth3}{secret}}}}
  server_advertise_condition = ${if def:tls_in_cipher}
";

/// Writes the configuration.
pub(super) fn recipe(
    folder: &Path,
    addresses: &[IpAddr],
    ports: &[u16],
    certificate: &Certificate,
    settings: Settings<'_>,
) -> io::Result<Recipe> {
    let package = packages::unpacked("exim4-daemon-light")?;
    let [spool, log] = ["spool", "log"].map(|name| folder.join(name));
    for owned in [&spool, &log] {
        give(owned, EXIM, EXIM, 0o750)?;
    }
    let configuration = folder.join("exim.conf");
    let list = |items: Vec<String>| items.join(" ; ");
    let mut text = String::from("exim_user = Debian-exim\nexim_group = Debian-exim\n");
    for (name, value) in [
        ("primary_hostname", "exim.example.test".to_owned()),
        ("spool_directory", spool.display().to_string()),
        ("log_file_path", format!("{}/%slog", log.display())),
        ("pid_file_path", folder.join("exim.pid").display().to_string()),
        (
            "local_interfaces",
            format!("<; {}", list(addresses.iter().map(ToString::to_string).collect())),
        ),
        (
            "daemon_smtp_ports",
            format!("<; {}", list(ports.iter().map(ToString::to_string).collect())),
        ),
        ("tls_on_connect_ports", IMPLICIT.to_string()),
        ("tls_advertise_hosts", if settings.tls { "*" } else { "" }.to_owned()),
        ("tls_certificate", certificate.own().display().to_string()),
        ("tls_privatekey", certificate.key().display().to_string()),
        ("rfc1413_query_timeout", "0s".to_owned()),
        ("message_size_limit", "50M".to_owned()),
    ] {
        writeln!(text, "{name} = {value}").expect("a String takes everything");
    }
    write(&configuration, text + settings.lines + PARTS)?;
    // Its user reads it again in each process.
    let mut command = Command::new(package.join("usr/sbin/exim4"));
    command.arg("-bdf").arg("-C").arg(&configuration);
    Ok(Recipe { command, mounts: Vec::new(), queues: Vec::new() })
}
