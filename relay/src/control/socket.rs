//! The control socket, its clients, and the side that asks.

use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::request::{ControlRequest, MAX_REQUEST, request};
use crate::status::RelayStatus;

/// The name of the socket in its directory.
const NAME: &str = "relay.sock";
/// How long [`ask_status`] waits for an answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The default path of the control socket: `relay.sock` in `$RUNTIME_DIRECTORY`, which systemd sets
/// for a service, or in `$XDG_RUNTIME_DIR/mailport`. `None` where neither is set.
pub fn default_control(environment: impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let directory = environment("RUNTIME_DIRECTORY").filter(|value| !value.contains(':'));
    let directory = directory.map(PathBuf::from).or_else(|| {
        environment("XDG_RUNTIME_DIR").map(|directory| Path::new(&directory).join("mailport"))
    });
    directory.filter(|directory| directory.is_absolute()).map(|directory| directory.join(NAME))
}

/// The socket that the relay listens on; dropping it removes the file.
#[derive(Debug)]
pub(crate) struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl ControlSocket {
    /// Listens at this path, for this user only.
    pub(crate) fn bind(path: PathBuf) -> io::Result<ControlSocket> {
        let listener = private_directory(&path).and_then(|()| bind_private(&path));
        let listener = listener.map_err(|error| {
            io::Error::new(error.kind(), format!("control socket {}: {error}", path.display()))
        })?;
        Ok(ControlSocket { listener, path })
    }

    pub(crate) fn accept(&self) -> Option<ControlClient> {
        let (stream, _) = self.listener.accept().ok()?;
        stream.set_nonblocking(true).ok()?;
        Some(ControlClient { stream, asked: Vec::new() })
    }
}

/// Makes the directory of the socket, or fails for one that another user owns or can enter: the
/// directory protects the socket while that is made.
fn private_directory(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
    let directory = directory.unwrap_or(Path::new("."));
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let metadata = fs::metadata(directory)?;
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        let message = format!("{} belongs to another user", directory.display());
        return Err(io::Error::new(ErrorKind::PermissionDenied, message));
    }
    if metadata.mode() & 0o077 != 0 {
        let message = format!("{} is open to others: chmod 700", directory.display());
        return Err(io::Error::other(message));
    }
    Ok(())
}

/// Listens at a path with mode 0600, in the place of a socket that no process listens on any more.
pub(crate) fn bind_private(path: &Path) -> io::Result<UnixListener> {
    let listener = match UnixListener::bind(path) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            let answer = UnixStream::connect(path).map(drop);
            let is_socket = fs::symlink_metadata(path)?.file_type().is_socket();
            match answer {
                Ok(()) => {
                    let message = "another process listens there already";
                    return Err(io::Error::new(ErrorKind::AddrInUse, message));
                }
                // Its process was killed.
                Err(refused) if is_socket && refused.kind() == ErrorKind::ConnectionRefused => {}
                Err(_) => {
                    let message = "a file that is not a socket is there";
                    return Err(io::Error::new(ErrorKind::AddrInUse, message));
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

impl AsRawFd for ControlSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.listener.as_raw_fd()
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // If this fails, the next relay replaces it.
        let _ = fs::remove_file(&self.path);
    }
}

/// A client of the control socket.
#[derive(Debug)]
pub(crate) struct ControlClient {
    stream: UnixStream,
    asked: Vec<u8>,
}

impl ControlClient {
    /// Reads more of the request. Whether it is complete, and asks for the status.
    pub(crate) fn asks_status(&mut self) -> bool {
        let mut buffer = [0; MAX_REQUEST];
        let left = MAX_REQUEST.saturating_sub(self.asked.len());
        if let Ok(count) = self.stream.read(&mut buffer[..left]) {
            self.asked.extend(&buffer[..count]);
            if count == 0 && request(&self.asked).is_none() {
                // The client has shut down its side: this ends its line.
                self.asked.push(b'\n');
            }
        }
        matches!(request(&self.asked), Some(Ok(ControlRequest::Status)))
    }

    /// Answers a complete request. Whether there was one.
    pub(crate) fn answer(&mut self, status: Option<&RelayStatus>) -> bool {
        let answer = match (request(&self.asked), status) {
            (None, _) => return false,
            (Some(Err(error)), _) => serde_json::json!({ "error": error.to_string() }).to_string(),
            (Some(Ok(ControlRequest::Status)), status) => {
                serde_json::to_string(&status).unwrap_or_default()
            }
        };
        // An answer is shorter than an empty send buffer.
        let _ = self.stream.write_all(format!("{answer}\n").as_bytes());
        true
    }
}

impl AsRawFd for ControlClient {
    fn as_raw_fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }
}

/// Asks a running relay for its status: one line of JSON, a [`RelayStatus`].
pub fn ask_status(path: &Path) -> io::Result<String> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.write_all(b"status\n")?;
    let mut answer = String::new();
    BufReader::new(stream).take(1 << 20).read_line(&mut answer)?;
    Ok(answer.trim_end().to_owned())
}
