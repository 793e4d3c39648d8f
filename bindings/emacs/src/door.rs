//! The local socket through which Emacs takes a connection: in a folder that only this user may
//! enter, for one connection of this process, and gone as soon as that has come.

use std::env;
use std::fs::Permissions;
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process;

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use tempfile::TempDir;

/// How many strangers are turned away before it is taken for an attack. Only this user and root
/// can come so far at all.
const STRANGERS: usize = 16;

/// A socket that waits for Emacs. Dropping it removes socket and folder.
#[derive(Debug)]
pub(crate) struct Door {
    listener: UnixListener,
    folder: TempDir,
}

impl Door {
    pub(crate) fn open() -> io::Result<Door> {
        let mut last = None;
        // The path of a local socket has 107 bytes, which a temporary folder may exceed.
        for place in places() {
            match Door::open_in(&place) {
                Ok(door) => return Ok(door),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| ErrorKind::NotFound.into()))
    }

    fn open_in(place: &Path) -> io::Result<Door> {
        let folder = tempfile::Builder::new()
            .prefix("mailport-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(place)?;
        let listener = UnixListener::bind(folder.path().join("s"))?;
        // Emacs has connected before it is looked for.
        listener.set_nonblocking(true)?;
        Ok(Door { listener, folder })
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("s")
    }

    /// Takes in the connection of this process, and turns away any other.
    pub(crate) fn admit(&self) -> io::Result<UnixStream> {
        for _ in 0..STRANGERS {
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

/// Where a folder may be made, best first.
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
    fn the_door_admits_this_process_and_goes() {
        let door = Door::open().unwrap();
        let (folder, path) = (door.folder.path().to_owned(), door.path());
        assert_eq!(folder.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        let mut theirs = UnixStream::connect(&path).unwrap();
        let mut ours = door.admit().unwrap();
        drop(door);
        assert!(!folder.exists());
        theirs.write_all(b"x").unwrap();
        let mut byte = [0];
        ours.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"x");
    }

    #[test]
    fn another_process_is_turned_away() {
        let door = Door::open().unwrap();
        let script = "use IO::Socket::UNIX; $s = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die; \
                      syswrite STDOUT, \"in\\n\"; sysread $s, $x, 1;";
        let mut stranger = Command::new("perl")
            .args(["-e", script])
            .arg(door.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("perl");
        stranger.stdout.as_mut().unwrap().read_exact(&mut [0; 3]).unwrap();
        assert_eq!(door.admit().unwrap_err().kind(), ErrorKind::WouldBlock, "nobody of ours");
        assert!(stranger.wait().unwrap().success(), "its connection is closed");
    }
}
