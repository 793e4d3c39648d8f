//! Mail programs that people use, each made to send one letter through the tunnel.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use mailport_lab::mta::READER;

use crate::tunnel::Tunnel;

const SENDER: &str = "sender@example.test";
/// How long a client may take on a busy machine, beyond all that it waits for.
const PATIENCE: Duration = Duration::from_secs(45);
const STEP: Duration = Duration::from_millis(5);

/// A mail program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Client {
    /// Runs the tunnel (`--pipe`). It checks who signed a certificate, not for which name.
    Swaks,
    /// Runs the tunnel (`set tunnel`), and does no TLS in it: it takes a tunnel for secure, and
    /// with `tunnel_is_secure` unset, the handshake of Debian's (2.2.12, linked with `GnuTLS`) goes
    /// to a descriptor that does not exist.
    Mutt,
    /// Runs no command, but talks to a socket (`socket`), and the program that listens there can run one.
    Msmtp,
    /// Runs no tunnel either: `--smtp-server` takes a command, but as a sendmail, which is msmtp
    /// here. Its own SMTP goes to nothing but a TCP port.
    Git,
}

impl Client {
    /// Those that can send to a server with, or without, STARTTLS.
    pub(crate) fn all(starttls: bool) -> impl Iterator<Item = Client> {
        let all = [Client::Swaks, Client::Mutt, Client::Msmtp, Client::Git];
        all.into_iter().filter(move |client| !(starttls && *client == Client::Mutt))
    }
}

/// What to send.
#[derive(Debug)]
pub(crate) struct Letter<'a> {
    pub(crate) subject: &'a str,
    /// Lines that end in LF.
    pub(crate) body: &'a [u8],
}

impl Letter<'_> {
    /// The letter with a header.
    fn whole(&self) -> Vec<u8> {
        let subject = self.subject;
        let header = format!(
            "From: {SENDER}\nTo: {READER}\nSubject: {subject}\nMIME-Version: 1.0\n\
             Content-Type: text/plain; charset=UTF-8\nContent-Transfer-Encoding: 8bit\n\n"
        );
        [header.as_bytes(), self.body].concat()
    }
}

/// What a client did.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) status: ExitStatus,
    /// Everything it printed.
    pub(crate) output: String,
}

/// One run of a client: the server to name, the way to it, and the certificate to trust; without
/// one there is no TLS.
#[derive(Debug)]
pub(crate) struct Run<'a> {
    pub(crate) host: &'a str,
    pub(crate) tunnel: &'a Tunnel,
    pub(crate) certificate: Option<&'a Path>,
    /// An empty folder.
    pub(crate) folder: &'a Path,
}

impl Run<'_> {
    /// Sends a letter, in the calling thread's namespaces, and waits for the client to end.
    pub(crate) fn send(&self, client: Client, letter: &Letter) -> Sent {
        match client {
            Client::Swaks => self.swaks(letter),
            Client::Mutt => self.mutt(letter),
            Client::Msmtp => self.msmtp(letter),
            Client::Git => self.git(letter),
        }
    }

    fn swaks(&self, letter: &Letter) -> Sent {
        let mut swaks = self.command("swaks", "swaks");
        swaks.args(["--from", SENDER, "--to", READER, "--helo", "client.example.test"]);
        swaks.args(["--suppress-data", "--data", "-", "--pipe", &self.tunnel.line(self.host)]);
        if let Some(certificate) = self.certificate {
            swaks.args(["--tls", "--tls-verify", "--tls-ca-path"]).arg(certificate);
        }
        // It ends the last line by itself, whether that was ended or not.
        let whole = letter.whole();
        self.finish(swaks, whole.strip_suffix(b"\n").unwrap_or(&whole))
    }

    fn mutt(&self, letter: &Letter) -> Sent {
        let host = self.host;
        let text = format!(
            "set tunnel = \"{}\"\nset smtp_url = 'smtp://{host}/'\n\
             set from = '{SENDER}'\nset hostname = 'client.example.test'\nset copy = no\n\
             set charset = 'utf-8'\nset send_charset = 'utf-8'\n",
            self.tunnel.line(host)
        );
        let mut mutt = self.command("mutt", "mutt");
        mutt.arg("-n").arg("-F").arg(self.write("muttrc", &text));
        mutt.args(["-s", letter.subject, "--", READER]);
        self.finish(mutt, letter.body)
    }

    fn msmtp(&self, letter: &Letter) -> Sent {
        let mut msmtp = self.command("msmtp", "msmtp");
        msmtp.arg("-C").arg(self.msmtp_configuration()).args(["--", READER]);
        self.with_socket(|| self.finish(msmtp, &letter.whole()))
    }

    fn git(&self, letter: &Letter) -> Sent {
        let patch = self.folder.join("0001.patch");
        fs::write(&patch, letter.whole()).expect("a file in a folder of ours");
        let mut git = self.command("git", "git and git-email");
        // Were this folder in a repository, its settings would count.
        git.env("GIT_CEILING_DIRECTORIES", self.folder).env("GIT_CONFIG_NOSYSTEM", "1");
        self.write(".gitconfig", format!("[user]\nname = Sender\nemail = {SENDER}\n"));
        git.args(["send-email", "--confirm=never", "--suppress-cc=all", "--from", SENDER]);
        git.args(["--to", READER, "--smtp-server"]).arg(find("msmtp", "msmtp"));
        git.args(["--smtp-server-option=-C", "--smtp-server-option"]);
        git.arg(self.msmtp_configuration()).arg(patch);
        self.with_socket(|| self.finish(git, b""))
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("socket")
    }

    fn msmtp_configuration(&self) -> PathBuf {
        let tls = self.certificate.map_or_else(
            || "tls off".to_owned(),
            |certificate| format!("tls on\ntls_trust_file {}", certificate.display()),
        );
        let text = format!(
            "account default\nhost {}\nsocket {}\n{tls}\nauth off\nfrom {SENDER}\n\
             domain client.example.test\n",
            self.host,
            self.socket().display()
        );
        let path = self.write("msmtprc", &text);
        let only_mine = Permissions::from_mode(0o600);
        fs::set_permissions(&path, only_mine).expect("a file of ours");
        path
    }

    /// Answers one call to the socket by the tunnel, while the client runs.
    fn with_socket(&self, client: impl FnOnce() -> Sent) -> Sent {
        let listener = UnixListener::bind(self.socket()).expect("a socket in a folder of ours");
        listener.set_nonblocking(true).expect("a listener can be non-blocking");
        thread::scope(|scope| {
            let (over, is_over) = mpsc::channel::<()>();
            let answers = scope.spawn(move || {
                let stream = loop {
                    match listener.accept() {
                        Ok((stream, _)) => break stream,
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        Err(error) => panic!("the socket breaks: {error}"),
                    }
                    if is_over.recv_timeout(STEP) == Err(RecvTimeoutError::Disconnected) {
                        return None;
                    }
                };
                stream.set_nonblocking(false).expect("a stream can block");
                Some(wait(self.tunnel.start(self.host, stream.into()), "mailport"))
            });
            let sent = client();
            drop(over);
            let tunnel = answers.join().expect("the socket's thread only waits");
            // Its status may be 1: after QUIT, msmtp leaves the server's last TLS records unread,
            // and the end of a UNIX socket that is closed so is a reset.
            if let Some(status) = tunnel {
                assert!(status.success(), "mailport: {status}, {}", self.tunnel.words());
            }
            sent
        })
    }

    /// A command that sees no settings of the user who runs the tests.
    fn command(&self, program: &str, packages: &str) -> Command {
        let mut command = Command::new(find(program, packages));
        command.env_clear().env("PATH", path()).env("LC_ALL", "C.UTF-8").env("HOME", self.folder);
        command.current_dir(self.folder);
        command
    }

    fn write(&self, name: &str, text: impl AsRef<OsStr>) -> PathBuf {
        let path = self.folder.join(name);
        fs::write(&path, text.as_ref().as_encoded_bytes()).expect("a file in a folder of ours");
        path
    }

    /// Runs a client with this input.
    fn finish(&self, mut client: Command, input: &[u8]) -> Sent {
        let [given, printed] = ["input", "output"].map(|name| self.folder.join(name));
        fs::write(&given, input).expect("a file in a folder of ours");
        let output = File::create(&printed).expect("a file in a folder of ours");
        let name = client.get_program().to_string_lossy().into_owned();
        client
            .stdin(File::open(given).expect("it was just written"))
            .stdout(output.try_clone().expect("an open file can be duplicated"))
            .stderr(output);
        let child = client.spawn().unwrap_or_else(|error| panic!("cannot run {name}: {error}"));
        let status = wait(child, &name);
        let output = fs::read(printed).expect("a file in a folder of ours");
        Sent { status, output: String::from_utf8_lossy(&output).into_owned() }
    }
}

fn path() -> OsString {
    env::var_os("PATH").unwrap_or_default()
}

/// Where a command is; panics, and names what to install, where there is none.
fn find(program: &str, packages: &str) -> PathBuf {
    env::split_paths(&path())
        .map(|folder| folder.join(program))
        .find(|place| place.exists())
        .unwrap_or_else(|| panic!("the command {program} is missing (apt-get install {packages})"))
}

/// Waits for a process, for a limited time.
fn wait(child: Child, name: &str) -> ExitStatus {
    /// Ends the process with the test.
    struct Guard(Child);
    impl Drop for Guard {
        fn drop(&mut self) {
            // It fails for a process that has ended, which is as it should be.
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
    let mut guard = Guard(child);
    let deadline = Instant::now() + PATIENCE;
    loop {
        match guard.0.try_wait() {
            Ok(Some(status)) => return status,
            Ok(None) if Instant::now() < deadline => thread::sleep(STEP),
            other => panic!("{name} does not end: {other:?}"),
        }
    }
}
