//! Programs that send a letter, each as it is used without mailport.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use mailport_lab::mta::READER;

pub(crate) const SENDER: &str = "sender@example.test";
const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/run");
/// smtpmail, without a relay.
const EMACS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/relay/send.el");

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Client {
    Msmtp,
    Mutt,
    /// It looks at who signed a certificate, not at its name.
    Swaks,
    Curl,
    GitSendEmail,
    SNail,
    Nodemailer,
    /// Static, with its own resolver.
    Go,
    Smtplib,
    Asyncio,
    Aiosmtplib,
    Emacs,
    Php,
}

/// What is sent, and to where.
pub(crate) struct Letter<'a> {
    pub(crate) host: &'a str,
    pub(crate) port: u16,
    /// The file of the certificate that is trusted.
    pub(crate) authority: &'a Path,
    pub(crate) subject: &'a str,
    /// A folder for the files of the program.
    pub(crate) folder: &'a Path,
}

impl Client {
    pub(crate) const ALL: [Client; 13] = [
        Client::Msmtp,
        Client::Mutt,
        Client::Swaks,
        Client::Curl,
        Client::GitSendEmail,
        Client::SNail,
        Client::Nodemailer,
        Client::Go,
        Client::Smtplib,
        Client::Asyncio,
        Client::Aiosmtplib,
        Client::Emacs,
        Client::Php,
    ];

    /// The arguments of `mailport run`, and its environment and input.
    pub(crate) fn add_to(self, command: &mut Command, letter: &Letter<'_>) {
        let Letter { host, port, authority, subject, folder } = letter;
        let number = &*port.to_string();
        let trust = authority.display().to_string();
        let head = format!("From: {SENDER}\nTo: {READER}\nSubject: {subject}\n\n");
        let file = write(folder, "letter", &format!("{head}Hello.\n"));
        let body = write(folder, "body", "Hello.\n");
        let input = if matches!(self, Client::Mutt | Client::SNail) { &body } else { &file };
        command.stdin(fs::File::open(input).expect("it was just written"));
        command.env("HOME", folder).current_dir(folder);
        let script = |name: &str| format!("{SCRIPTS}/{name}");
        match self {
            Client::Msmtp => {
                command.args(["msmtp", "--file=/dev/null", &format!("--port={port}"), "--tls=on"]);
                command.args(["--tls-starttls=on", &format!("--host={host}")]);
                command.args([&format!("--tls-trust-file={trust}"), &format!("--from={SENDER}")]);
                command.args(["--", READER]);
            }
            Client::Mutt => {
                let settings = format!(
                    "set smtp_url=smtp://{host}:{port} ssl_starttls=yes ssl_force_tls=yes\n\
                     set ssl_ca_certificates_file={trust} ssl_usesystemcerts=no\n\
                     set from={SENDER} use_envelope_from=yes hostname=client.example.test\n\
                     set copy=no\n"
                );
                let settings = write(folder, "muttrc", &settings);
                command.arg("mutt").args(["-n", "-F", &settings, "-s", subject, "--", READER]);
            }
            Client::Swaks => {
                command.args(["swaks", "--server", host, "--port", number, "--tls"]);
                command.args([
                    "--tls-verify",
                    "--tls-ca-path",
                    &trust,
                    "--from",
                    SENDER,
                    "--to",
                    READER,
                ]);
                command.args(["--data", &format!("@{file}"), "--timeout", "60"]);
            }
            Client::Curl => {
                command.args(["curl", "--silent", "--show-error", "--ssl-reqd", "--cacert"]);
                command.args([&trust, "--mail-from", SENDER, "--mail-rcpt", READER]);
                command.args(["--upload-file", &file, &format!("smtp://{host}:{port}")]);
            }
            Client::GitSendEmail => {
                let identity = format!("[user]\nname = Sender\nemail = {SENDER}\n");
                write(folder, ".gitconfig", &identity);
                let patch = write(folder, "0001.patch", &format!("{head}Hello.\n---\n"));
                command.args(["git", "send-email", "--confirm=never", "--smtp-encryption=tls"]);
                command.args(["--smtp-server", host, "--smtp-server-port", number]);
                command.args([&format!("--smtp-ssl-cert-path={trust}"), "--quiet"]);
                command.args(["--smtp-domain=client.example.test", &format!("--from={SENDER}")]);
                command.args([&format!("--to={READER}"), "--suppress-cc=all", &patch]);
            }
            Client::SNail => {
                command.args(["s-nail", "-:/", "-S", "v15-compat=yes", "-S", "sendwait"]);
                for setting in [
                    &format!("mta=smtp://{host}:{port}"),
                    "smtp-use-starttls",
                    "smtp-auth=none",
                    &format!("from={SENDER}"),
                    "tls-verify=strict",
                    &format!("tls-ca-file={trust}"),
                    "tls-ca-no-defaults",
                    "nosave",
                ] {
                    command.args(["-S", setting]);
                }
                command.args(["-s", subject, READER]);
            }
            Client::Nodemailer => {
                command.env("NODE_PATH", "/usr/share/nodejs").env("NODE_EXTRA_CA_CERTS", &trust);
                command.args(["node", &script("send.js"), host, number, SENDER, READER, subject]);
            }
            Client::Go => {
                command.env("SSL_CERT_FILE", &trust);
                command.arg(go()).args([&format!("{host}:{port}"), SENDER, READER, &file]);
            }
            Client::Smtplib | Client::Asyncio | Client::Aiosmtplib => {
                let way = format!("{self:?}").to_lowercase();
                command.args(["/usr/bin/python3", "-I", &script("send.py"), &way]);
                command.args([host, number, SENDER, READER, subject, &trust]);
            }
            Client::Emacs => {
                command.envs([("LAB_CERTIFICATE", &*trust), ("LAB_HOST", host)]);
                command.envs([("LAB_PORT", number), ("LAB_SUBJECT", subject), ("LAB_STUNNEL", "")]);
                command.args(["emacs", "--batch", "-Q", "-l", EMACS]);
                command.args(["--eval", "(setq backtrace-on-error-noninteractive nil)"]);
            }
            Client::Php => {
                command.args(["php", &script("send.php"), host, number, SENDER, READER, subject]);
                command.arg(&trust);
            }
        }
    }
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    fs::write(&path, text).expect("a file in a folder of ours");
    path.to_str().expect("a path in UTF-8").to_owned()
}

/// The program of send.go, compiled once. It is not for the inside of a lab.
pub(crate) fn go() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("go");
        let program = folder.join("send");
        let mut compiler = Command::new("go");
        compiler.arg("build").arg("-o").arg(&program).arg(format!("{SCRIPTS}/send.go"));
        compiler.env("GOCACHE", folder.join("cache")).env("CGO_ENABLED", "0");
        let output = compiler.output().expect("Go (make setup)");
        assert!(output.status.success(), "{output:?}");
        program
    })
}
