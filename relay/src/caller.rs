//! The control socket, and those who ask on it.

use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::control::{MAX_REQUEST, Request, request};
use super::stats::Status;

/// The socket's name in a folder of its own.
const NAME: &str = "relay.sock";
/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where the control socket is unless it is said: in the folder that systemd made for the service,
/// or in the user's own. `None` where there is neither.
pub fn default_control(environment: impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let folder = environment("RUNTIME_DIRECTORY").filter(|value| !value.contains(':'));
    let folder = folder.map(PathBuf::from).or_else(|| {
        environment("XDG_RUNTIME_DIR").map(|folder| Path::new(&folder).join("mailport"))
    });
    folder.filter(|folder| folder.is_absolute()).map(|folder| folder.join(NAME))
}

/// The listening end; dropping it removes the socket.
#[derive(Debug)]
pub(super) struct Control {
    listener: UnixListener,
    path: PathBuf,
}

impl Control {
    /// Listens at this path, for this user only.
    pub(super) fn bind(path: PathBuf) -> io::Result<Control> {
        let listener = listen(&path).map_err(|error| {
            io::Error::new(error.kind(), format!("control socket {}: {error}", path.display()))
        })?;
        Ok(Control { listener, path })
    }

    pub(super) fn accept(&self) -> Option<Caller> {
        let (stream, _) = self.listener.accept().ok()?;
        stream.set_nonblocking(true).ok()?;
        Some(Caller { stream, asked: Vec::new() })
    }
}

fn listen(path: &Path) -> io::Result<UnixListener> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    // While the socket is made, it is the folder that keeps others out.
    if fs::metadata(folder)?.mode() & 0o077 != 0 {
        return Err(io::Error::other(format!("{} is open to others: chmod 700", folder.display())));
    }
    let listener = match UnixListener::bind(path) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            let answer = UnixStream::connect(path).map(drop);
            let is_socket = fs::symlink_metadata(path)?.file_type().is_socket();
            match answer {
                Ok(()) => {
                    return Err(io::Error::new(ErrorKind::AddrInUse, "a relay runs there already"));
                }
                // Left behind by one that was killed.
                Err(refused) if is_socket && refused.kind() == ErrorKind::ConnectionRefused => {}
                Err(_) => {
                    return Err(io::Error::new(ErrorKind::AddrInUse, "something else is there"));
                }
            }
            fs::remove_file(path)?;
            UnixListener::bind(path)?
        }
        bound => bound?,
    };
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

impl AsRawFd for Control {
    fn as_raw_fd(&self) -> RawFd {
        self.listener.as_raw_fd()
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // It may be gone, or the folder not ours any more; the next relay removes it then.
        let _ = fs::remove_file(&self.path);
    }
}

/// Somebody who asks.
#[derive(Debug)]
pub(super) struct Caller {
    stream: UnixStream,
    asked: Vec<u8>,
}

impl Caller {
    /// Whether the request is complete by now, and one for the status.
    pub(super) fn wants_an_answer(&mut self) -> bool {
        let mut buffer = [0; MAX_REQUEST];
        let left = MAX_REQUEST.saturating_sub(self.asked.len());
        if let Ok(count) = self.stream.read(&mut buffer[..left]) {
            self.asked.extend(&buffer[..count]);
            if count == 0 && request(&self.asked).is_none() {
                // It has said all that it will.
                self.asked.push(b'\n');
            }
        }
        matches!(request(&self.asked), Some(Ok(Request::Status)))
    }

    /// Answers where there is something to answer; whether it is done.
    pub(super) fn turn(&mut self, status: Option<&Status>) -> bool {
        let answer = match (request(&self.asked), status) {
            (None, _) => return false,
            (Some(Err(error)), _) => serde_json::json!({ "error": error.to_string() }).to_string(),
            (Some(Ok(Request::Status)), status) => {
                serde_json::to_string(&status).unwrap_or_default()
            }
        };
        // An answer is shorter than what a socket takes at once.
        let _ = self.stream.write_all(format!("{answer}\n").as_bytes());
        true
    }
}

impl AsRawFd for Caller {
    fn as_raw_fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }
}

/// Asks a running relay how it stands: one line of JSON, a [`Status`].
pub fn ask_status(path: &Path) -> io::Result<String> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"status\n")?;
    let mut answer = String::new();
    BufReader::new(stream).take(1 << 20).read_line(&mut answer)?;
    Ok(answer.trim_end().to_owned())
}
