//! How Dovecot's submission service is set up: it greets, does TLS and logins; there is no server
//! behind it that takes mail.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::symlink;
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
    let [run, state, programs, lib, original] =
        ["run", "state", "bin", "lib", "original"].map(|name| folder.join(name));
    for owned in [&run, &state, &programs, &lib, &original] {
        give(owned, 0, 0, 0o755)?;
    }
    // Its modules are in /usr/lib/dovecot, which this machine does not have: so /usr/lib becomes a
    // folder of links to the original, and to the package.
    for entry in fs::read_dir("/usr/lib")? {
        let name = entry?.file_name();
        symlink(original.join(&name), lib.join(&name))?;
    }
    let _ = fs::remove_file(lib.join("dovecot"));
    symlink(&libraries, lib.join("dovecot"))?;
    // It starts /usr/bin/doveconf; a shell keeps the cell.
    for (program, name) in [(core.join("usr/bin/doveconf"), "doveconf"), ("/bin/sh".into(), "sh")] {
        fs::copy(program, programs.join(name))?;
    }
    let path = |path: &Path| path.display().to_string();
    let listen: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let ssl = if settings.tls { "required" } else { "no" };
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
    let services = submission.join("usr/lib/dovecot");
    let (login, session) =
        (path(&services.join("submission-login")), path(&services.join("submission")));
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
    let mounts = vec![
        (programs, "/usr/bin".into()),
        ("/usr/lib".into(), original),
        (lib, "/usr/lib".into()),
    ];
    let mut command = Command::new(core.join("usr/sbin/dovecot"));
    command.arg("-F").arg("-c").arg(&configuration);
    command.env("LD_LIBRARY_PATH", &libraries);
    Ok(Recipe { command, mounts, queues: Vec::new() })
}
