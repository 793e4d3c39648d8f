//! The local socket by which Emacs gets a connection. It is in a folder of mode 0700, accepts one
//! connection of this process, and is removed as soon as that has been accepted.

use std::env;
use std::fs::Permissions;
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process;

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use tempfile::TempDir;

/// How many connections of other processes are closed before `accept` fails. Only this user and
/// root can connect at all.
const OTHERS: usize = 16;

/// A listening socket. Dropping it removes the socket and its folder.
#[derive(Debug)]
pub(crate) struct LocalSocket {
    listener: UnixListener,
    folder: TempDir,
}

impl LocalSocket {
    pub(crate) fn open() -> io::Result<LocalSocket> {
        let mut last = None;
        // The path of a local socket may have 107 bytes; that of a temporary folder may be longer.
        for place in places() {
            match LocalSocket::open_in(&place) {
                Ok(socket) => return Ok(socket),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| ErrorKind::NotFound.into()))
    }

    fn open_in(place: &Path) -> io::Result<LocalSocket> {
        let folder = tempfile::Builder::new()
            .prefix("mailport-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(place)?;
        let listener = UnixListener::bind(folder.path().join("s"))?;
        // Emacs has connected before `accept` is called.
        listener.set_nonblocking(true)?;
        Ok(LocalSocket { listener, folder })
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("s")
    }

    /// Accepts the connection of this process, and closes those of others.
    pub(crate) fn accept(&self) -> io::Result<UnixStream> {
        for _ in 0..OTHERS {
            let (stream, _) = self.listener.accept()?;
            let peer = getsockopt(&stream, PeerCredentials)?;
            if u32::try_from(peer.pid()) == Ok(process::id()) {
                stream.set_nonblocking(true)?;
                return Ok(stream);
            }
        }
        Err(io::Error::other("other processes connect to the local socket"))
    }
}

/// The directories in which to create the folder, best first.
fn places() -> Vec<PathBuf> {
    let run = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|run| run.is_absolute());
    run.into_iter().chain([env::temp_dir(), PathBuf::from("/tmp")]).collect()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_connection_of_this_process_is_accepted_and_the_folder_removed() {
        let socket = LocalSocket::open().unwrap();
        let (folder, path) = (socket.folder.path().to_owned(), socket.path());
        assert_eq!(folder.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        let mut theirs = UnixStream::connect(&path).unwrap();
        let mut ours = socket.accept().unwrap();
        drop(socket);
        assert!(!folder.exists());
        theirs.write_all(b"x").unwrap();
        let mut byte = [0];
        ours.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"x");
    }

    #[test]
    fn a_connection_of_another_process_is_closed() {
        let socket = LocalSocket::open().unwrap();
        let script = "use IO::Socket::UNIX; $s = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die; \
                      syswrite STDOUT, \"in\\n\"; sysread $s, $x, 1;";
        let mut other = Command::new("perl")
            .args(["-e", script])
            .arg(socket.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("perl");
        other.stdout.as_mut().unwrap().read_exact(&mut [0; 3]).unwrap();
        assert_eq!(
            socket.accept().unwrap_err().kind(),
            ErrorKind::WouldBlock,
            "no connection of this process"
        );
        assert!(other.wait().unwrap().success(), "its connection is closed");
    }
}
