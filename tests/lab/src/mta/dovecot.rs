//! How Dovecot's submission service is set up: it greets, does TLS and logins; there is no server
//! behind it that takes mail.

use std::fmt::Write as _;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;

use super::certificate::Certificate;
use super::{IMPLICIT, Recipe, Settings, give, write};
use crate::packages;

/// Writes the configuration, and puts what the two packages have into one folder.
pub(super) fn recipe(
    folder: &Path,
    addresses: &[IpAddr],
    ports: &[u16],
    certificate: &Certificate,
    settings: Settings<'_>,
) -> io::Result<Recipe> {
    let core = packages::unpacked("dovecot-core")?;
    let submission = packages::unpacked("dovecot-submissiond")?;
    let libraries = core.join("usr/lib/dovecot");
    let [run, state] = ["run", "state"].map(|name| folder.join(name));
    for owned in [&run, &state] {
        give(owned, 0, 0, 0o755)?;
    }
    let path = |path: &Path| path.display().to_string();
    let listen: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let ssl = match (settings.tls, settings.lines) {
        (true, _) => "required",
        (false, _) => "no",
    };
    let mut text = String::new();
    for (name, value) in [
        ("listen", listen.join(", ")),
        ("base_dir", path(&run)),
        ("state_dir", path(&state)),
        ("libexec_dir", path(&libraries)),
        ("import_environment", "LD_LIBRARY_PATH".to_owned()),
        ("log_path", path(&folder.join("dovecot.log"))),
        ("protocols", "submission".to_owned()),
        ("hostname", "dovecot.example.test".to_owned()),
        ("default_vsz_limit", "0".to_owned()),
        ("ssl", ssl.to_owned()),
        ("ssl_cert", format!("<{}", path(certificate.own()))),
        ("ssl_key", format!("<{}", path(certificate.key()))),
        ("submission_relay_host", "127.0.0.1".to_owned()),
        ("submission_max_mail_size", "30M".to_owned()),
        ("auth_mechanisms", "plain login".to_owned()),
    ] {
        writeln!(text, "{name} = {value}").expect("a String takes everything");
    }
    let mut listeners = String::new();
    for port in ports {
        let ssl = if *port == IMPLICIT { "yes" } else { "no" };
        write!(
            listeners,
            "  inet_listener port{port} {{\n    port = {port}\n    ssl = {ssl}\n  }}\n"
        )
        .expect("a String takes everything");
    }
    let programs = submission.join("usr/lib/dovecot");
    let (login, session) =
        (path(&programs.join("submission-login")), path(&programs.join("submission")));
    write!(
        text,
        "service submission-login {{\n  executable = {login}\n  chroot =\n{listeners}  \
         inet_listener submission {{\n    port = 0\n  }}\n}}\n\
         service submission {{\n  executable = {session}\n}}\n\
         passdb {{\n  driver = static\n  args = password=secret\n}}\n\
         userdb {{\n  driver = static\n  args = uid=903 gid=903 home=/\n}}\n"
    )
    .expect("a String takes everything");
    let configuration = folder.join("dovecot.conf");
    write(&configuration, text + settings.lines)?;
    let mut command = Command::new(core.join("usr/sbin/dovecot"));
    command.arg("-F").arg("-c").arg(&configuration);
    command.env("LD_LIBRARY_PATH", &libraries);
    Ok(Recipe { command, mounts: Vec::new(), queues: Vec::new() })
}
