//! Who takes part, and how a client is started and asked.

use std::env;
use std::fs;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::rust_clients::{self, BARE, HYPER, MAILPORT, MAILPORT_TOKIO, TOKIO};
use crate::{Result, root};

/// The longest that a client may take for one answer; the kernel gives a silent address 135 s.
const BOUND: Duration = Duration::from_secs(150);

const COMMAND: &str = "the command mailport (cargo build --release -p mailport-cli)";

/// A client that can be started.
pub(crate) struct Client {
    pub(crate) name: &'static str,
    pub(crate) version: String,
    /// A program and its first arguments; host and ports follow.
    command: Vec<String>,
}

/// Everyone who takes part.
pub(crate) struct Clients {
    /// The least that a client does, for a literal address only.
    pub(crate) bare: Client,
    /// The others, in the order of the tables.
    pub(crate) dialers: Vec<Client>,
}

/// What a client is made from.
struct Kind {
    name: &'static str,
    /// Prints the version as its last word, and fails where something is missing.
    version: Vec<String>,
    need: &'static str,
    /// Makes the program, where one has to be made.
    build: Option<Vec<String>>,
    command: Vec<String>,
}

/// Looks for everything that the clients need, and compiles those that have to be.
///
/// Fails when anything is missing, and names all of it.
pub(crate) fn prepare() -> Result<Clients> {
    let (mut dialers, mut missing) = (Vec::new(), Vec::new());
    for Kind { name, version, need, build, command } in kinds()? {
        match output(&version) {
            Ok(printed) => {
                let version = printed.rsplit(' ').next().unwrap_or_default().to_owned();
                dialers.push((Client { name, version, command }, build));
            }
            Err(_) => missing.push(need),
        }
    }
    if !missing.is_empty() {
        missing.dedup();
        let missing = missing.join("\n  ");
        return Err(
            format!("missing (`make bench-setup` installs the packages):\n  {missing}").into()
        );
    }
    for command in dialers.iter().filter_map(|(_, build)| build.as_ref()) {
        output(command)?;
    }
    let dialers = dialers.into_iter().map(|(client, _)| client).collect();
    let bare = Client { name: "bare connect", version: String::new(), command: this(BARE)? };
    Ok(Clients { bare, dialers })
}

fn kinds() -> Result<Vec<Kind>> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().ok_or("no target folder")?;
    let mailport = shown(&target.join("release/mailport"));
    let python = python();
    let built = target.join("peers");
    fs::create_dir_all(&built)?;

    let c = |name, file, package: &str, need, more: &[&str]| {
        let program = shown(&built.join(package));
        let compile = "cc -O2 -Wall -Wextra \"$0\" -o \"$1\" $(pkg-config --cflags --libs \"$2\")";
        Kind {
            name,
            version: words(&["pkg-config", "--modversion", package]),
            need,
            build: Some(words(&["sh", "-c", compile, &source(file), &program, package])),
            command: words(&[&[program.as_str()], more].concat()),
        }
    };
    let glib = |name, call| {
        c(name, "gsocketclient.c", "gio-2.0", "libglib2.0-dev and pkg-config", &[call])
    };
    // Their versions are those of the lock file.
    let rust = |name, package: &str, client| {
        let version = "sed -n \"/^name = \\\"$0\\\"/{n;s/.*\\\"\\(.*\\)\\\"/\\1/p}\" \"$1\"";
        Ok::<_, io::Error>(Kind {
            name,
            version: words(&["sh", "-c", version, package, &shown(&root().join("Cargo.lock"))]),
            need: "Cargo.lock",
            build: None,
            command: this(client)?,
        })
    };
    let python_client = |name, file, version| Kind {
        name,
        version: words(&[&python, "-c", version]),
        need: "Python with aiohappyeyeballs and mailport, in an environment under target/ (make python)",
        build: None,
        command: words(&[&python, &source(file)]),
    };
    let python_version = "import platform; print(platform.python_version())";
    let our_version = "import mailport; print(mailport.__version__)";
    let go = shown(&built.join("dialer"));

    Ok(vec![
        Kind {
            name: "mailport",
            version: words(&[&mailport, "--version"]),
            need: COMMAND,
            build: None,
            command: this(MAILPORT)?,
        },
        Kind {
            name: "`mailport connect`, with its start",
            version: words(&[&mailport, "--version"]),
            need: COMMAND,
            build: None,
            command: words(&["bash", &source("mailport_connect.sh"), &mailport]),
        },
        rust("mailport in tokio", "mailport", MAILPORT_TOKIO)?,
        rust("tokio TcpStream::connect", "tokio", TOKIO)?,
        rust("hyper-util HttpConnector", "hyper-util", HYPER)?,
        c("libcurl", "libcurl.c", "libcurl", "libcurl4-openssl-dev and pkg-config", &[]),
        glib("GLib GSocketClient, async", "async"),
        glib("GLib GSocketClient, blocking", "blocking"),
        Kind {
            name: "Go net.Dialer",
            version: words(&["go", "env", "GOVERSION"]),
            need: "golang-go",
            build: Some(words(&["go", "build", "-o", &go, &source("dialer.go")])),
            command: vec![go],
        },
        Kind {
            name: "Node autoSelectFamily",
            version: words(&["node", "--version"]),
            need: "nodejs",
            build: None,
            command: words(&["node", &source("node.mjs")]),
        },
        python_client("Python socket", "python_socket.py", python_version),
        python_client("Python asyncio", "python_asyncio.py", python_version),
        python_client(
            "aiohappyeyeballs",
            "python_aiohappyeyeballs.py",
            "import importlib.metadata as m; print(m.version('aiohappyeyeballs'))",
        ),
        python_client("Python mailport.connect", "python_mailport.py", our_version),
        python_client("Python mailport.aconnect", "python_mailport_asyncio.py", our_version),
    ])
}

/// The interpreter in whose environment the Python package and its peers are; a word that is no
/// program where there is none.
fn python() -> String {
    let asked = Command::new("/usr/bin/python3")
        .args([&shown(&root().join("bindings/python/make.py")), "environment"])
        .output();
    asked.map_or_else(
        |_| String::new(),
        |asked| String::from_utf8_lossy(&asked.stdout).trim().to_owned(),
    )
}

/// The command that makes this program one of its clients.
fn this(client: &str) -> io::Result<Vec<String>> {
    Ok(words(&[&shown(&env::current_exe()?), rust_clients::FLAG, client]))
}

fn source(file: &str) -> String {
    shown(&root().join("benches/peers").join(file))
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Runs a command to its end, and gives what it printed.
pub(crate) fn output(command: &[String]) -> Result<String> {
    let output = Command::new(&command[0]).args(&command[1..]).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("{} failed: {}", command.join(" "), output.status).into());
    }
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// What a client answers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answer {
    pub(crate) milliseconds: f64,
    /// 0: none was reached.
    pub(crate) port: u16,
}

/// A client that runs; dropping it ends it.
pub(crate) struct Running {
    name: &'static str,
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Client {
    /// Starts a client where the calling thread is, and waits until it can dial.
    pub(crate) fn start(&self, host: &str, ports: &[u16]) -> Result<Running> {
        let mut child = Command::new(&self.command[0])
            .args(&self.command[1..])
            .arg(host)
            .args(ports.iter().map(u16::to_string))
            // No proxy, no locale, no options of a runtime.
            .env_clear()
            .envs(env::var_os("PATH").map(|path| ("PATH", path)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = child.stdin.take().ok_or("it was given a pipe")?;
        let output = BufReader::new(child.stdout.take().ok_or("it was given a pipe")?);
        let mut running = Running { name: self.name, child, input, output };
        running.ask(0)?;
        running.answer()?;
        Ok(running)
    }
}

impl Running {
    /// Tells it to dial so many times; [`Running::answer`] comes next.
    pub(crate) fn ask(&mut self, times: u32) -> io::Result<()> {
        writeln!(self.input, "{times}")
    }

    /// Waits for what it says.
    pub(crate) fn answer(&mut self) -> Result<Answer> {
        let mut ready = [PollFd::new(self.output.get_ref().as_fd(), PollFlags::POLLIN)];
        if poll(&mut ready, PollTimeout::try_from(BOUND)?)? == 0 {
            return Err(format!("{} takes more than {BOUND:?}", self.name).into());
        }
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        let answer = line.trim().split_once(' ').and_then(|(milliseconds, port)| {
            Some(Answer { milliseconds: milliseconds.parse().ok()?, port: port.parse().ok()? })
        });
        answer.ok_or_else(|| format!("{} said {line:?}", self.name).into())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
