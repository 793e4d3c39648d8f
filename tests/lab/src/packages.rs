//! Where the unpacked programs are.

use std::io;
use std::path::{Path, PathBuf};

/// The folder into which `make setup` unpacks each package under its name.
const SERVERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/servers");

/// The folder that is `/` in a package; fails where that was not unpacked.
pub(crate) fn unpacked(package: &str) -> io::Result<PathBuf> {
    let folder = Path::new(SERVERS).join(package);
    folder.canonicalize().map_err(|error| {
        let folder = folder.display();
        let message =
            format!("the package {package} is not unpacked in {folder} (make setup): {error}");
        io::Error::new(error.kind(), message)
    })
}
