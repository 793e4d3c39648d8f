//! What a server shows to a client: a certificate for its name that it signed itself.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{HOST, explain};

/// A key and its certificate, in files.
#[derive(Debug)]
pub struct Certificate {
    key: PathBuf,
    public: PathBuf,
}

impl Certificate {
    /// Makes a certificate for [`HOST`] in a folder.
    pub fn new(folder: &Path) -> io::Result<Certificate> {
        let (key, public) = (folder.join("key.pem"), folder.join("certificate.pem"));
        let output = Command::new("openssl")
            .args(["req", "-x509", "-nodes", "-days", "2", "-subj", "/O=mailport-lab"])
            .args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
            .args(["-addext", &format!("subjectAltName=DNS:{HOST}"), "-keyout"])
            .args([key.as_os_str(), "-out".as_ref(), public.as_os_str()])
            .output()
            .map_err(explain("the command openssl is missing (apt-get install openssl)"))?;
        if output.status.success() {
            return Ok(Certificate { key, public });
        }
        let complaint = String::from_utf8_lossy(&output.stderr);
        Err(io::Error::other(format!("openssl makes no certificate: {complaint}")))
    }

    /// The file of the key.
    pub fn key(&self) -> &Path {
        &self.key
    }

    /// The file of the certificate, which is also what a client must trust.
    pub fn public(&self) -> &Path {
        &self.public
    }
}
