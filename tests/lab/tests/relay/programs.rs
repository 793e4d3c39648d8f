//! Mail programs of the command line, each configured as its manual says.

use std::fmt;
use std::fs::{self, File, Permissions};
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use mailport_lab::mta::{HOST, Message, READER};

use crate::World;

/// A mail program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    Msmtp,
    /// Checks who signed a certificate, not for which name. It has no option for a proxy: it speaks
    /// through a pipe to netcat, which has.
    Swaks,
    Curl,
}

/// The way into the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    Fixed,
    /// The proxy listener, by SOCKS5.
    Socks,
    /// The proxy listener, by HTTP CONNECT. msmtp has no such option and uses SOCKS5.
    Http,
    /// Over the family of this address.
    Transparent(IpAddr),
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl Program {
    pub(crate) const ALL: [Program; 3] = [Program::Msmtp, Program::Swaks, Program::Curl];

    fn send(self, entry: Entry, port: u16, letter: &Path, folder: &Path, trust: &Path) -> Output {
        let mut command = match self {
            Program::Msmtp => msmtp(entry, port, folder, trust),
            Program::Swaks => swaks(entry, port, trust),
            Program::Curl => curl(entry, port, letter, trust),
        };
        command.stdin(File::open(letter).expect("the letter"));
        command.output().unwrap_or_else(|error| panic!("{self:?}: {error}"))
    }
}

fn msmtp(entry: Entry, port: u16, folder: &Path, trust: &Path) -> Command {
    let way = match entry {
        Entry::Fixed => format!("host 127.0.0.1\nport 2525\ntls_host_override {HOST}\n"),
        Entry::Socks | Entry::Http => {
            format!("host {HOST}\nport {port}\nproxy_host 127.0.0.1\nproxy_port 1080\n")
        }
        Entry::Transparent(_) => format!("host {HOST}\nport {port}\n"),
    };
    let starttls = if port == 465 { "off" } else { "on" };
    let text = format!(
        "account default\n{way}from sender@example.test\ntls on\ntls_starttls {starttls}\n\
         tls_trust_file {}\ntimeout 40\n",
        trust.display()
    );
    let path = folder.join("msmtprc");
    fs::write(&path, text).expect("a file");
    fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("a file of ours");
    let mut command = Command::new("msmtp");
    command.arg("-C").arg(path).args(["--", READER]);
    command
}

fn swaks(entry: Entry, port: u16, trust: &Path) -> Command {
    let mut command = Command::new("swaks");
    command.args(["--from", "sender@example.test", "--to", READER, "--suppress-data"]);
    command.args(["--data", "-", "--tls-verify", "--tls-ca-path"]).arg(trust);
    command.arg(if port == 465 { "--tls-on-connect" } else { "--tls" });
    match entry {
        Entry::Fixed => command.args(["--server", "127.0.0.1", "--port", "2525"]),
        Entry::Http => {
            command.arg("--pipe").arg(format!("nc -X connect -x 127.0.0.1:1080 {HOST} {port}"))
        }
        Entry::Socks => {
            command.arg("--pipe").arg(format!("nc -X 5 -x 127.0.0.1:1080 {HOST} {port}"))
        }
        Entry::Transparent(address) => {
            command.args(["--server", HOST, "--port", &port.to_string()]);
            command.arg(if address.is_ipv4() { "-4" } else { "-6" })
        }
    };
    command
}

fn curl(entry: Entry, port: u16, letter: &Path, trust: &Path) -> Command {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--ssl-reqd", "--max-time", "40", "--cacert"]);
    command.arg(trust).args(["--mail-from", "sender@example.test", "--mail-rcpt", READER]);
    command.arg("--upload-file").arg(letter);
    let scheme = if port == 465 { "smtps" } else { "smtp" };
    match entry {
        Entry::Fixed => {
            command.args(["--connect-to", &format!("{HOST}:{port}:127.0.0.1:2525")]);
        }
        Entry::Http => drop(command.args(["--proxytunnel", "--proxy", "127.0.0.1:1080"])),
        Entry::Socks => drop(command.args(["--socks5-hostname", "127.0.0.1:1080"])),
        Entry::Transparent(_) => {}
    }
    command.arg(format!("{scheme}://{HOST}:{port}"));
    command
}

/// A letter that is to be sent, and how.
#[derive(Clone, Copy)]
pub(crate) struct Letter<'a> {
    pub(crate) program: Program,
    pub(crate) entry: Entry,
    pub(crate) port: u16,
    /// What the server's name leads to, in addition to what the entry says of it.
    pub(crate) addresses: &'a [IpAddr],
    pub(crate) subject: &'a str,
    /// Lines that end in CR and LF.
    pub(crate) body: &'a str,
}

/// Sends a letter, and reads it back, byte for byte; on which port it has arrived.
pub(crate) fn deliver(world: &World, letter: Letter) -> Option<u16> {
    let Letter { program, entry, port, addresses, subject, body } = letter;
    world.name(entry, addresses);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("letter");
    let head = format!("From: sender@example.test\r\nTo: {READER}\r\nSubject: {subject}\r\n\r\n");
    fs::write(&file, head + body).expect("a file");
    let trust = world.server.certificate().expect("Postfix does TLS");
    let output = world.lab.client(|| program.send(entry, port, &file, folder.path(), trust));
    let said = format!(
        "{}{}{subject}: {}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
        output.status,
    );
    let story = world.story(&said);
    assert!(output.status.success(), "{story}");
    let message = arrived(world, subject, &said);
    assert!(message.field("Received").unwrap_or_default().contains("ESMTPS"), "{story}");
    // Some programs end a letter with their own line.
    let sent = body.replace("\r\n", "\n");
    assert!(
        message.body.trim_ascii_end() == sent.trim_ascii_end().as_bytes(),
        "{story}: {} bytes of {}",
        message.body.len(),
        sent.len()
    );
    message.port()
}

/// The one letter with this subject.
pub(crate) fn arrived(world: &World, subject: &str, said: &str) -> Message {
    let mailbox = world.server.mailbox().expect("a mailbox");
    let mut found: Vec<_> =
        mailbox.into_iter().filter(|m| m.field("Subject") == Some(subject)).collect();
    assert_eq!(found.len(), 1, "letters that arrived: {}", world.story(said));
    found.remove(0)
}
