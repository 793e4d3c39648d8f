//! Real mail servers where a lab's servers are: Debian's Postfix, `OpenSMTPD`, Exim and Dovecot.
//!
//! Their packages conflict with each other, and with the mail server of the machine.
//! So `make setup` installs none: it unpacks them into target/servers. They run with accounts,
//! their own folders and configuration, and the machine never learns of them.
//!
//! - `accounts`: the users they run as
//! - `certificate`: what they show to a client
//! - `postfix`, `opensmtpd`, `exim`, `dovecot`: how each is set up
//! - `null_client`: a Postfix that only sends, where the client is
//! - `mailbox`: what was delivered

mod accounts;
mod certificate;
mod dovecot;
mod exim;
mod logins;
mod mailbox;
mod null_client;
mod opensmtpd;
mod postfix;

pub use certificate::{Certificate, Signer, Validity};
pub use mailbox::Message;
pub use null_client::NullClient;

use std::ffi::OsStr;
use std::fmt::Display;
use std::fs::{self, Permissions};
use std::io::{self, Read as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::cell::Cell;
use crate::explain;
use crate::real::{Lab, PORTS};
use logins::Logins;

/// The name in the server's certificate.
pub const HOST: &str = "mail.example.test";
/// The address with a mailbox; any other is refused.
pub const READER: &str = "reader@example.test";

/// The port with TLS from the first byte.
const IMPLICIT: u16 = 465;

/// How often something that is waited for is looked at.
const STEP: Duration = Duration::from_millis(10);
/// How long a server may take to begin or to deliver, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Whose server it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Software {
    /// Of the package postfix. STARTTLS is offered on port 25 and required elsewhere; port 465 has
    /// TLS from the first byte. Under TLS `reader` may log in with the password `secret`.
    Postfix,
    /// The same, but on no port must a client speak STARTTLS, for readers that cannot.
    LaxPostfix,
    /// Of the package opensmtpd, without TLS: that of Debian 12 (6.8.0p2) breaks off every
    /// handshake, since OpenSSL 3 no longer asks its separate key process to sign
    /// (issues 1171 and 1239 of its repository).
    OpenSmtpd,
    /// Of the package exim4-daemon-light, by `GnuTLS`: a server that greets, offers TLS and logins,
    /// and takes no mail.
    Exim,
    /// Of the package dovecot-submissiond: the same.
    Dovecot,
}

/// What a server has otherwise than by default.
#[derive(Debug, Clone, Copy)]
pub struct Settings<'a> {
    /// The name in its certificate.
    pub name: &'a str,
    /// When its certificate is valid.
    pub validity: Validity,
    /// Who signed it.
    pub signer: Signer,
    /// Whether it offers TLS.
    pub tls: bool,
    /// Further lines of its configuration: of main.cf, smtpd.conf, Exim's main part, dovecot.conf.
    pub lines: &'a str,
}

impl Default for Settings<'_> {
    fn default() -> Self {
        Settings {
            name: HOST,
            validity: Validity::Now,
            signer: Signer::Authority,
            tls: true,
            lines: "",
        }
    }
}

/// A running mail server; dropping it leaves no process and no file.
#[derive(Debug)]
pub struct Server {
    // Dropped in this order: the folder goes when no process writes into it.
    cell: Cell,
    logins: Option<Logins>,
    certificate: Option<Certificate>,
    queues: Vec<PathBuf>,
    folder: TempDir,
}

/// How to run one kind of server.
struct Recipe {
    command: Command,
    /// Each file or folder of ours, and the one that it replaces inside.
    mounts: Vec<(PathBuf, PathBuf)>,
    /// The folders where a letter is before it is delivered.
    queues: Vec<PathBuf>,
}

impl Server {
    /// Starts a server on these ports of these addresses, in place of all of the lab's own
    /// listeners there, and waits for its greetings.
    ///
    /// On each port it calls itself differently, by which [`Message::port`] tells them apart.
    pub fn start(
        lab: &Lab,
        software: Software,
        addresses: &[IpAddr],
        ports: &[u16],
    ) -> io::Result<Server> {
        Server::start_with(lab, software, addresses, ports, Settings::default())
    }

    /// The same with other settings. A greeting that rejects the client is a greeting, too.
    pub fn start_with(
        lab: &Lab,
        software: Software,
        addresses: &[IpAddr],
        ports: &[u16],
        settings: Settings<'_>,
    ) -> io::Result<Server> {
        let folder = folder()?;
        let place = folder.path();
        let certificate =
            || Certificate::with(place, settings.name, settings.validity, settings.signer);
        let (certificate, logins, recipe) = match software {
            Software::Postfix | Software::LaxPostfix => {
                let certificate = certificate()?;
                let is_lax = software == Software::LaxPostfix;
                let (recipe, logins) =
                    postfix::recipe(place, ports, &certificate, is_lax, settings)?;
                (Some(certificate), Some(logins), recipe)
            }
            Software::OpenSmtpd if settings.lines.is_empty() => {
                (None, None, opensmtpd::recipe(place, addresses, ports, None, "")?)
            }
            Software::OpenSmtpd => {
                let certificate = certificate()?;
                let recipe = opensmtpd::recipe(
                    place,
                    addresses,
                    ports,
                    settings.tls.then_some(&certificate),
                    settings.lines,
                )?;
                (Some(certificate), None, recipe)
            }
            Software::Exim => {
                let certificate = certificate()?;
                let recipe = exim::recipe(place, addresses, ports, &certificate, settings)?;
                (Some(certificate), None, recipe)
            }
            Software::Dovecot => {
                let certificate = certificate()?;
                let recipe = dovecot::recipe(place, addresses, ports, &certificate, settings)?;
                (Some(certificate), None, recipe)
            }
        };
        let Recipe { command, mut mounts, queues } = recipe;
        mounts.extend(accounts::files(place)?);
        for address in addresses {
            for port in PORTS {
                lab.release(*address, port);
            }
        }
        let cell = lab.server(|| Cell::start(&command, &mounts, &place.join("output")))?;
        let server = Server { cell, logins, certificate, queues, folder };
        let all = addresses.iter().flat_map(|a| ports.iter().map(|p| SocketAddr::new(*a, *p)));
        let greeted =
            lab.server(|| all.into_iter().try_for_each(|at| server.wait_for_greeting(at)));
        greeted.map(|()| server)
    }

    /// The certificate that a client must trust, where the server does TLS.
    pub fn certificate(&self) -> Option<&Path> {
        self.certificate.as_ref().map(Certificate::authority)
    }

    /// The folder of everything that is this server's.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Waits until no letter is on its way any more, and gives all that were delivered.
    pub fn mailbox(&self) -> io::Result<Vec<Message>> {
        let deadline = Instant::now() + PATIENCE;
        while !mailbox::are_empty(&self.queues)? {
            if Instant::now() > deadline {
                return Err(self.failed("it does not deliver"));
            }
            thread::sleep(STEP);
        }
        mailbox::read(&home(self.folder.path()))
    }

    /// Whether each login so far was right.
    pub fn logins(&self) -> Vec<bool> {
        self.logins.as_ref().map(Logins::tried).unwrap_or_default()
    }

    /// What the server has said.
    pub fn log(&self) -> String {
        let read = |name| fs::read(self.folder.path().join(name)).unwrap_or_default();
        String::from_utf8_lossy(&[read("output"), read(postfix::LOG)].concat()).into_owned()
    }

    fn wait_for_greeting(&self, at: SocketAddr) -> io::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match greeting(at) {
                Ok(true) => return Ok(()),
                _ if self.cell.has_ended() => return Err(self.failed("it has ended")),
                _ if Instant::now() > deadline => {
                    return Err(self.failed(format_args!("it does not greet on {at}")));
                }
                _ => thread::sleep(STEP),
            }
        }
    }

    fn failed(&self, why: impl Display) -> io::Error {
        io::Error::other(format!("a mail server of the lab fails: {why}\n{}", self.log()))
    }
}

/// Tells whether a server greets; where TLS comes first, whether it is there.
fn greeting(at: SocketAddr) -> io::Result<bool> {
    let mut stream = TcpStream::connect_timeout(&at, PATIENCE)?;
    if at.port() == IMPLICIT {
        return Ok(true);
    }
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut code = [0; 3];
    stream.read_exact(&mut code)?;
    Ok(code.iter().all(u8::is_ascii_digit))
}

/// Makes the folder of a server, in which each of its users can reach what is its own.
fn folder() -> io::Result<TempDir> {
    let folder = tempfile::Builder::new()
        .prefix(&format!("mailport-lab-{}-", process::id()))
        .permissions(Permissions::from_mode(0o755))
        .tempdir()
        .map_err(explain("a mail server needs a temporary folder"))?;
    give(&home(folder.path()), accounts::READER, accounts::READER, 0o700)?;
    Ok(folder)
}

/// Where the reader's mailbox is.
fn home(folder: &Path) -> PathBuf {
    folder.join("home")
}

/// Makes a folder that belongs to a user and a group.
fn give(folder: &Path, user: u32, group: u32, mode: u32) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    chown(folder, Some(user), Some(group)).map_err(explain(
        "a mail server runs as its own users: be root, or root of a user namespace that has \
         more users (`unshare -Urnm --map-auto`)",
    ))?;
    fs::set_permissions(folder, Permissions::from_mode(mode))
}

/// What the server calls itself on a port.
fn name_on(port: u16) -> String {
    format!("port-{port}.example.test")
}

/// Writes a file of configuration.
fn write(path: &Path, text: impl AsRef<OsStr>) -> io::Result<()> {
    fs::write(path, text.as_ref().as_encoded_bytes())
        .map_err(explain(format_args!("a mail server needs {}", path.display())))
}
