//! A line through a command: one end of a socket pair, whose other end is the command's standard
//! input and output.

use std::env;
use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::fact::Fact;
use crate::config::{Config, ConfigError, Families};
use crate::driver::poller::Poller;
use crate::driver::stream::Stream;
use crate::driver::sys;
use crate::outcome::{Errno, Failure, Outcome, ViaError};
use crate::target::Target;
use crate::via::Words;

/// What a command may write to its standard error; what is longer fails there.
const MOST_ERRORS: u64 = 1024 * 1024;
/// How much of what it said is looked at, in bytes, and kept, in characters.
const LAST_BYTES: usize = 2048;
const LAST_CHARS: usize = 300;
/// Left out of the command's environment: a mailport there would go through itself, without end,
/// and a password in it stays secret.
const OURS: &str = "MAILPORT_VIA";

/// What every line through the command shares.
#[derive(Debug)]
pub(in crate::driver) struct CommandPassage {
    words: Words,
    program: CString,
    host: String,
}

impl CommandPassage {
    pub(super) fn new(
        words: &Words,
        target: &Target,
        config: &Config,
    ) -> Result<CommandPassage, ConfigError> {
        // Better refused than silently left by another way than the caller wants.
        let settings = [
            ("source address", config.source.map(|source| source.to_string())),
            ("source port", (config.source_port != 0).then(|| config.source_port.to_string())),
            ("device", config.device.clone()),
            ("mark", config.mark.map(|mark| mark.to_string())),
            (
                "choice of families",
                match config.families {
                    Families::Ipv4 => Some("ipv4".to_owned()),
                    Families::Ipv6 => Some("ipv6".to_owned()),
                    Families::Any | Families::PreferIpv4 | Families::PreferIpv6 => None,
                },
            ),
        ];
        for (name, value) in settings {
            if let Some(value) = value {
                let reason = "a command connects by itself".to_owned();
                return Err(ConfigError::Unusable { name, value, reason, errno: None });
            }
        }
        let program = find(&words.program).and_then(|path| {
            CString::new(path.as_os_str().as_bytes()).map_err(|_| "it has a NUL byte")
        });
        let program = program.map_err(|reason| ConfigError::Unusable {
            name: "command",
            value: words.program.clone(),
            reason: reason.to_owned(),
            errno: None,
        })?;
        Ok(CommandPassage { words: words.clone(), program, host: target.to_string() })
    }

    pub(super) fn begin(&self, port: u16) -> Result<Command, Fact> {
        let words = self.words.filled_in(&self.host, port);
        // No word has a NUL byte: neither a command's nor a target's.
        let arguments: Vec<CString> =
            words.into_iter().filter_map(|word| CString::new(word).ok()).collect();
        let environment: Vec<CString> = env::vars_os()
            .filter(|(name, _)| name != OURS)
            .filter_map(|(name, value)| {
                CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()).ok()
            })
            .collect();
        let program =
            sys::Program { path: &self.program, arguments: &arguments, environment: &environment };
        let (channel, theirs) = UnixStream::pair().map_err(|error| Fact::local(&error))?;
        let errors = match sys::file_in_memory(MOST_ERRORS) {
            Ok(file) => Errors::Kept(file),
            Err(error) if Fact::is_of_a_lack(&error) => return Err(Fact::local(&error)),
            // A sandbox or an administrator refuses it; the tunnel works all the same.
            Err(error) => Errors::Lost {
                null: null().map_err(|error| Fact::local(&error))?,
                reason: format!("its standard error is lost: memfd_create: {error}"),
            },
        };
        let given = sys::Given { errors: errors.file().as_fd(), channel: theirs.as_fd() };
        sys::start(&program, &given).map_err(|error| not_started(&self.words.program, &error))?;
        Ok(Command {
            name: self.words.program.clone(),
            stage: CommandStage::Starting(channel),
            errors,
            process: None,
        })
    }
}

/// One command that was begun.
#[derive(Debug)]
pub(in crate::driver) struct Command {
    name: String,
    stage: CommandStage,
    errors: Errors,
    /// Ends it, if it is dropped before it has connected.
    process: Option<sys::Process>,
}

/// What it writes to its standard error.
#[derive(Debug)]
enum Errors {
    /// In memory.
    Kept(File),
    /// Nowhere, where the system has no file in memory for it.
    Lost { null: File, reason: String },
}

impl Errors {
    fn file(&self) -> &File {
        match self {
            Errors::Kept(file) => file,
            Errors::Lost { null, .. } => null,
        }
    }

    /// The end of what it has written so far. The position is one that we share with it.
    fn last(&self) -> Vec<u8> {
        let mut file = match self {
            Errors::Kept(file) => file,
            Errors::Lost { reason, .. } => return reason.clone().into_bytes(),
        };
        let written = file.stream_position().unwrap_or(0);
        let start = written.saturating_sub(LAST_BYTES as u64);
        let mut last = vec![0; usize::try_from(written - start).unwrap_or(0)];
        let count = file.read_at(&mut last, start).unwrap_or(0);
        last.truncate(count);
        last
    }
}

#[derive(Debug)]
enum CommandStage {
    /// Waits for its ends, or for the reason why it has none.
    Starting(UnixStream),
    /// The status is there until the command has been executed: it ends then, or says why not.
    Begun { line: UnixStream, status: Option<UnixStream> },
}

impl Command {
    /// What has happened, and whether the descriptor is another one now.
    pub(super) fn look(&mut self, poller: Option<&Poller>) -> (Vec<Fact>, bool) {
        let before = self.descriptor().as_raw_fd();
        let looked = self.receive(poller).and_then(|()| self.wait(poller));
        let changed = self.descriptor().as_raw_fd() != before;
        (looked.unwrap_or_else(|fact| vec![fact]), changed)
    }

    /// Takes its ends over, once they are there.
    fn receive(&mut self, poller: Option<&Poller>) -> Result<(), Fact> {
        let CommandStage::Starting(channel) = &self.stage else { return Ok(()) };
        let Some(received) = ready(|| sys::receive(channel.as_fd())) else { return Ok(()) };
        let received = received.and_then(|ends| ends);
        let ends = received.map_err(|error| not_started(&self.name, &error))?;
        self.process = ends.process;
        let (line, status) = (UnixStream::from(ends.line), UnixStream::from(ends.status));
        let waited_for = line.set_nonblocking(true).and_then(|()| status.set_nonblocking(true));
        waited_for.map_err(|error| Fact::local(&error))?;
        if let Some(poller) = poller {
            poller.deregister(channel);
        }
        self.stage = CommandStage::Begun { line, status: Some(status) };
        Ok(())
    }

    /// Finds out whether it has been executed.
    fn wait(&mut self, poller: Option<&Poller>) -> Result<Vec<Fact>, Fact> {
        let CommandStage::Begun { status, .. } = &mut self.stage else { return Ok(Vec::new()) };
        let mut number = [0; 4];
        let read = status.as_mut().and_then(|status| ready(|| status.read(&mut number)));
        match read {
            None => return Ok(Vec::new()),
            Some(Ok(0)) => {}
            // Nothing else can be read but what the child wrote at once.
            Some(read) => {
                let number = io::Error::from_raw_os_error(i32::from_ne_bytes(number));
                return Err(not_started(&self.name, &read.err().unwrap_or(number)));
            }
        }
        if let (Some(status), Some(poller)) = (status.take(), poller) {
            poller.deregister(&status);
        }
        let connected = Fact::Connected { round_trip: Duration::ZERO, syns: None };
        let lost = match &self.errors {
            Errors::Kept(_) => None,
            Errors::Lost { reason, .. } => Some(Fact::Noted { note: reason.clone() }),
        };
        Ok([connected].into_iter().chain(lost).chain([Fact::Reached]).collect())
    }

    /// Whether it will say nothing more.
    pub(in crate::driver) fn has_ended(&self) -> bool {
        self.socket().is_some_and(sys::has_hung_up)
    }

    /// It ended without a greeting: with its last words.
    pub(in crate::driver) fn end(&self, errno: Option<Errno>) -> Fact {
        let mut printed = vec![0; LAST_BYTES];
        let count = self.socket().and_then(|line| sys::peek(line, &mut printed).ok());
        let printed = one_line(&printed[..count.unwrap_or(0)]);
        let printed = (!printed.is_empty()).then(|| format!("it printed \"{printed}\""));
        let said = Some(one_line(&self.errors.last())).filter(|said| !said.is_empty());
        let note: Vec<String> = printed.into_iter().chain(said).collect();
        let note = (!note.is_empty()).then(|| note.join("; "));
        Fact::Failed { failure: Failure { errno, ..Failure::new(Outcome::Closed) }, note }
    }

    pub(in crate::driver) fn socket(&self) -> Option<BorrowedFd<'_>> {
        match &self.stage {
            CommandStage::Starting(_) => None,
            CommandStage::Begun { line, .. } => Some(line.as_fd()),
        }
    }

    /// What to watch.
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        match &self.stage {
            CommandStage::Starting(channel) => channel.as_fd(),
            CommandStage::Begun { status: Some(status), .. } => status.as_fd(),
            CommandStage::Begun { line, status: None } => line.as_fd(),
        }
    }

    pub(in crate::driver) fn into_stream(self) -> Option<Stream> {
        if let Some(process) = self.process {
            process.leave();
        }
        match self.stage {
            CommandStage::Starting(_) => None,
            CommandStage::Begun { line, .. } => Some(Stream::Unix(line)),
        }
    }
}

/// The result of a call that does not block; `None` where it would have to.
fn ready<T>(call: impl FnMut() -> io::Result<T>) -> Option<io::Result<T>> {
    match sys::retry(call) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => None,
        done => Some(done),
    }
}

/// Where errors go that cannot be kept.
fn null() -> io::Result<File> {
    File::options().write(true).open("/dev/null")
}

fn not_started(name: &str, error: &io::Error) -> Fact {
    if Fact::is_of_a_lack(error) {
        return Fact::local(error);
    }
    let errno = error.raw_os_error().map(Errno);
    let failure = Failure { errno, ..Failure::from_via_error(ViaError::NotStarted) };
    let reason = match error.raw_os_error() {
        Some(libc::EAGAIN) => sys::too_many("process"),
        _ => error.to_string(),
    };
    Fact::Failed { failure, note: Some(format!("{name}: {reason}")) }
}

/// Finds a program as a shell does: by its path, or by its name in a folder of `PATH`.
fn find(program: &str) -> Result<PathBuf, &'static str> {
    if program.contains('/') {
        let path = PathBuf::from(program);
        return match path.metadata() {
            Err(_) => Err("there is no such program"),
            Ok(_) if is_program(&path) => Ok(path),
            Ok(_) => Err("it cannot be executed"),
        };
    }
    let folders = env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    let found = env::split_paths(&folders)
        // An empty entry is the working folder.
        .map(|folder| if folder == OsStr::new("") { PathBuf::from(".") } else { folder })
        .map(|folder| folder.join(program))
        .find(|path| is_program(path));
    found.ok_or("no folder of PATH has such a program")
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.is_file()) && sys::is_executable(path)
}

/// The end of a text on one line, without anything that a terminal would obey.
fn one_line(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text = text.replace(|c: char| c.is_control() || is_invisible(c), " ");
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let count = text.chars().count();
    if count <= LAST_CHARS {
        return text;
    }
    let last: String = text.chars().skip(count - LAST_CHARS + 1).collect();
    format!("…{last}")
}

/// Characters that order or hide others (those of Unicode for directions, and separators of lines).
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_are_one_harmless_line() {
        assert_eq!(one_line(b"a\r\n\x1b[31mb\0c \xff\n"), "a [31mb c \u{fffd}");
        assert_eq!(one_line("a\u{202e}b".as_bytes()), "a b");
        let long = one_line(&b"x".repeat(LAST_BYTES));
        assert_eq!(long.chars().count(), LAST_CHARS);
        assert!(long.starts_with("…x"));
    }

    #[test]
    fn a_program_is_found_as_a_shell_finds_it() {
        assert!(find("sh").unwrap().ends_with("sh"));
        assert_eq!(find("/bin/sh"), Ok("/bin/sh".into()));
        assert_eq!(find("mailport-none"), Err("no folder of PATH has such a program"));
        assert_eq!(find("/etc/passwd"), Err("it cannot be executed"));
        assert_eq!(find("/bin"), Err("it cannot be executed"));
        assert_eq!(find("./mailport-none"), Err("there is no such program"));
    }
}
