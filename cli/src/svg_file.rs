//! Writes pictures to files.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The file named by `--svg`.
pub(crate) fn path(text: &str) -> Result<PathBuf, String> {
    match text {
        "" => Err("a file must have a name".to_owned()),
        "-" => Err("a picture is written to a file, not to standard output (write ./- for a file of that name)".to_owned()),
        _ => Ok(text.into()),
    }
}

/// Writes a picture; reports an error on standard error. An existing file is replaced as a whole or
/// not at all. Returns whether it was written.
pub(crate) fn write(path: &Path, picture: &str) -> bool {
    let result = replace(path, picture);
    if let Err(error) = &result {
        crate::complain(format_args!("{}: {error}", path.display()));
    }
    result.is_ok()
}

fn replace(path: &Path, text: &str) -> io::Result<()> {
    // The target of a link; a new file is made in its directory.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if fs::metadata(&target).is_ok_and(|metadata| !metadata.is_file()) {
        // A pipe or a device is written to, never replaced.
        return fs::write(&target, text);
    }
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut file = tempfile::Builder::new()
        .prefix(".mailport-")
        // As any new file: the umask takes from it.
        .permissions(PermissionsExt::from_mode(0o666))
        .tempfile_in(folder.unwrap_or(Path::new(".")))?;
    if let Ok(before) = fs::metadata(&target) {
        file.as_file().set_permissions(before.permissions())?;
    }
    file.write_all(text.as_bytes())?;
    file.persist(&target)?;
    Ok(())
}
