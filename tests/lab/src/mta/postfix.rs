//! How Postfix is set up.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use super::accounts::{POSTDROP, POSTFIX, READER};
use super::certificate::Certificate;
use super::logins::Logins;
use super::{HOST, IMPLICIT, Recipe, Settings, give, home, name_on, write};
use crate::packages;

/// The file of its log, in the server's folder.
pub(super) const LOG: &str = "postfix.log";

/// The folders of the queue that are its own alone.
const PRIVATE: [&str; 11] = [
    "active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "private",
    "saved", "trace",
];
/// Where a letter is before it is delivered, in the order in which it goes through them: a test that
/// looks in this order does not miss one that moves on meanwhile.
const QUEUES: [&str; 4] = ["maildrop", "incoming", "active", "deferred"];

/// Where everything is.
const PLACES: &str = "\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
command_directory = {package}/usr/sbin
daemon_directory = {package}/usr/lib/postfix/sbin
shlib_directory = {package}/usr/lib/postfix
import_environment = MAIL_CONFIG LANG=C LD_LIBRARY_PATH
maillog_file = {folder}/{log}
maillog_file_prefixes = {folder}
mail_owner = postfix
setgid_group = postdrop
inet_protocols = all
mydestination =
alias_maps =
smtpd_peername_lookup = no
";

/// What a server receives for whom.
const MAIN: &str = "\
smtpd_relay_restrictions = reject_unauth_destination
virtual_mailbox_domains = example.test
virtual_mailbox_maps = inline:{ reader@example.test=Maildir/ }
virtual_mailbox_base = {home}
virtual_uid_maps = static:{reader}
virtual_gid_maps = static:{reader}
message_size_limit = 100000000
virtual_mailbox_limit = 0
smtpd_tls_security_level = may
smtpd_tls_chain_files = {key}, {certificate}
smtpd_tls_auth_only = yes
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = private/logins
";

/// The services behind those that listen; none is in a chroot, which would need its own files.
const MASTER: &str = "\
postlog unix-dgram n - n - 1 postlogd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
anvil unix - - n - 1 anvil
error unix - - n - - error
retry unix - - n - - error
virtual unix - n n - - virtual
";

/// What a null client sends, and where to: all that this machine's programs give it (Postfix's
/// `STANDARD_CONFIGURATION_README`).
const NULL_CLIENT: &str = "\
myhostname = client.example.test
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
relayhost = {relayhost}
smtp_dns_support_level = disabled
smtp_tls_security_level = secure
smtp_tls_CAfile = {trust}
smtp_tls_secure_cert_match = {host}
";

/// Its service that listens, and the one that sends.
const NULL_CLIENT_SERVICES: &str = "\
127.0.0.1:25 inet n - n - - smtpd
smtp unix - - n - - smtp
";

/// Writes the configuration of a null client that gives everything to this relay host, over TLS with
/// a server that must show [`HOST`] in its certificate.
pub(super) fn null_client(folder: &Path, relayhost: &str, trust: &Path) -> io::Result<Recipe> {
    let trust = trust.display().to_string();
    let values = [("{relayhost}", relayhost), ("{trust}", &trust), ("{host}", HOST)];
    let main = values
        .into_iter()
        .fold(NULL_CLIENT.to_owned(), |text, (name, value)| text.replace(name, value));
    prepare(folder, &main, &(MASTER.to_owned() + NULL_CLIENT_SERVICES))
}

/// Writes the configuration of a server.
pub(super) fn recipe(
    folder: &Path,
    ports: &[u16],
    certificate: &Certificate,
    is_lax: bool,
    settings: Settings<'_>,
) -> io::Result<(Recipe, Logins)> {
    let main = main(folder, certificate) + settings.lines;
    let recipe = prepare(folder, &main, &master(ports, is_lax, settings.tls))?;
    let logins = Logins::start(&folder.join("queue/private/logins"))?;
    Ok((recipe, logins))
}

/// Writes the configuration, and makes the folders that the package's own scripts would.
fn prepare(folder: &Path, main: &str, master: &str) -> io::Result<Recipe> {
    let package = packages::unpacked("postfix")?;
    let configuration = folder.join("postfix");
    fs::create_dir(&configuration)?;
    let path = |path: &Path| path.display().to_string();
    let values = [("{folder}", path(folder)), ("{package}", path(&package)), ("{log}", LOG.into())];
    let places = values
        .into_iter()
        .fold(PLACES.to_owned(), |text, (name, value)| text.replace(name, &value));
    for (name, text) in [("main.cf", places + main), ("master.cf", master.to_owned())] {
        let file = configuration.join(name);
        write(&file, text)?;
        // It would wait until no process can still be writing the file: for two seconds.
        let long_ago = SystemTime::now() - Duration::from_secs(30);
        File::options().append(true).open(file)?.set_modified(long_ago)?;
    }

    let queue = folder.join("queue");
    for name in PRIVATE {
        give(&queue.join(name), POSTFIX, 0, 0o700)?;
    }
    give(&queue.join("maildrop"), POSTFIX, POSTDROP, 0o730)?;
    give(&queue.join("public"), POSTFIX, POSTDROP, 0o710)?;
    give(&queue.join("pid"), 0, 0, 0o755)?;
    give(&folder.join("data"), POSTFIX, 0, 0o700)?;

    let mut command = Command::new(package.join("usr/lib/postfix/sbin/master"));
    command.arg("-c").arg(&configuration).arg("-s");
    command.env("LD_LIBRARY_PATH", package.join("usr/lib/postfix"));
    let queues: Vec<PathBuf> = QUEUES.map(|name| queue.join(name)).into();
    Ok(Recipe { command, mounts: Vec::new(), queues })
}

fn main(folder: &Path, certificate: &Certificate) -> String {
    let path = |path: &Path| path.display().to_string();
    [
        ("{home}", path(&home(folder))),
        ("{reader}", READER.to_string()),
        ("{key}", path(certificate.key())),
        ("{certificate}", path(certificate.own())),
    ]
    .into_iter()
    .fold(MAIN.to_owned(), |text, (name, value)| text.replace(name, &value))
}

fn master(ports: &[u16], is_lax: bool, has_tls: bool) -> String {
    let mut text = MASTER.to_owned();
    for port in ports {
        let name = name_on(*port);
        let tls = match *port {
            _ if !has_tls => "none",
            25 => "may",
            _ if is_lax => "may",
            _ => "encrypt",
        };
        let wrapper = if *port == IMPLICIT { "yes" } else { "no" };
        writeln!(
            text,
            "{port} inet n - n - - smtpd -o myhostname={name} -o smtpd_tls_security_level={tls} \
             -o smtpd_tls_wrappermode={wrapper}"
        )
        .expect("a String takes everything");
    }
    text
}
