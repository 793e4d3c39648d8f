//! What a server shows to a client: a certificate for its name, and who signed it.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{HOST, explain};

/// A key and its certificate, and the certificate of an authority that signed it, in files. It did
/// not sign itself: some clients (Emacs) refuse that even where they trust it.
#[derive(Debug)]
pub struct Certificate {
    key: PathBuf,
    own: PathBuf,
    authority: PathBuf,
}

impl Certificate {
    /// Makes a certificate for [`HOST`] in a folder.
    pub fn new(folder: &Path) -> io::Result<Certificate> {
        let [authority, authority_key, own, key] =
            ["authority.pem", "authority-key.pem", "certificate.pem", "key.pem"]
                .map(|name| folder.join(name));
        make("/O=mailport-lab authority", &authority_key, &authority, &[])?;
        let name = format!("subjectAltName=DNS:{HOST}");
        let signed = ["-CA".as_ref(), authority.as_os_str(), "-CAkey".as_ref()];
        let named: [&OsStr; 4] =
            ["-addext", &name, "-addext", "basicConstraints=critical,CA:FALSE"].map(OsStr::new);
        let more = [&signed[..], &[authority_key.as_os_str()], &named].concat();
        make("/O=mailport-lab", &key, &own, &more)?;
        Ok(Certificate { key, own, authority })
    }

    /// The file of the key.
    pub fn key(&self) -> &Path {
        &self.key
    }

    /// What the server shows.
    pub fn own(&self) -> &Path {
        &self.own
    }

    /// What a client must trust.
    pub fn authority(&self) -> &Path {
        &self.authority
    }
}

/// Makes a key and a certificate.
fn make(subject: &str, key: &Path, certificate: &Path, more: &[&OsStr]) -> io::Result<()> {
    let output = Command::new("openssl")
        .args(["req", "-x509", "-nodes", "-days", "2", "-subj", subject])
        .args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-keyout"])
        .args([key.as_os_str(), "-out".as_ref(), certificate.as_os_str()])
        .args(more)
        .output()
        .map_err(explain("the command openssl is missing (apt-get install openssl)"))?;
    if output.status.success() {
        return Ok(());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("openssl makes no certificate: {complaint}")))
}
