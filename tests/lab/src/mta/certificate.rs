//! The certificate of a server, and the authority that signed it.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use super::accounts::EXIM;
use super::{HOST, explain, write};

const DAY: Duration = Duration::from_hours(24);

/// A key and its certificate, and the certificate of an authority that signed it, in files. It did
/// not sign itself: some clients (Emacs) refuse that even where they trust it.
#[derive(Debug)]
pub struct Certificate {
    key: PathBuf,
    own: PathBuf,
    authority: PathBuf,
}

/// When a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Validity {
    /// Since yesterday, until tomorrow.
    #[default]
    Now,
    /// Until yesterday.
    Past,
    /// From tomorrow on.
    Future,
}

/// Who signed a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Signer {
    /// An authority.
    #[default]
    Authority,
    /// The same, but the name is only its common name, as was usual long ago.
    AuthorityWithoutAlternativeName,
    /// Its own key, as `openssl req -x509` does it: it may sign others, too. It is what a client
    /// must trust.
    Itself,
}

impl Certificate {
    /// Makes a certificate for [`HOST`] in a folder.
    pub fn new(folder: &Path) -> io::Result<Certificate> {
        Certificate::with(folder, HOST, Validity::Now, Signer::Authority)
    }

    /// Makes a certificate for this name in a folder.
    pub fn with(
        folder: &Path,
        name: &str,
        validity: Validity,
        signer: Signer,
    ) -> io::Result<Certificate> {
        let [authority, own, key] =
            ["authority.pem", "certificate.pem", "key.pem"].map(|name| folder.join(name));
        let made = make(name, validity, signer).map_err(io::Error::other);
        let made = made.map_err(explain("a mail server needs a certificate"))?;
        for (path, text) in [&authority, &own, &key].into_iter().zip(made) {
            write(path, text)?;
        }
        // OpenSMTPD refuses a key that others can read; Exim's user must read it.
        fs::set_permissions(&key, Permissions::from_mode(0o640))?;
        chown(&key, None, Some(EXIM)).map_err(explain("a key that Exim can read"))?;
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

/// The certificates of the authority and of the server, and the key of the server.
fn make(name: &str, validity: Validity, signer: Signer) -> Result<[String; 3], rcgen::Error> {
    let title = |text: &str| {
        let mut title = DistinguishedName::new();
        title.push(DnType::OrganizationName, text);
        title
    };
    let now = SystemTime::now();
    let mut authority = CertificateParams::default();
    authority.distinguished_name = title("mailport-lab authority");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (authority.not_before, authority.not_after) = ((now - 9 * DAY).into(), (now + 9 * DAY).into());
    let authority_key = KeyPair::generate()?;
    let authority_text = authority.self_signed(&authority_key)?.pem();

    let names = match signer {
        Signer::AuthorityWithoutAlternativeName => Vec::new(),
        _ => vec![name.to_owned()],
    };
    let mut own = CertificateParams::new(names)?;
    own.distinguished_name = title("mailport-lab");
    own.is_ca = IsCa::ExplicitNoCa;
    own.use_authority_key_identifier_extension = true;
    let (from, until) = match validity {
        Validity::Now => (now - DAY, now + DAY),
        Validity::Past => (now - 3 * DAY, now - DAY),
        Validity::Future => (now + DAY, now + 3 * DAY),
    };
    (own.not_before, own.not_after) = (from.into(), until.into());
    let key = KeyPair::generate()?;
    let private = key.serialize_pem();
    match signer {
        Signer::Authority => {}
        Signer::AuthorityWithoutAlternativeName => {
            own.distinguished_name.push(DnType::CommonName, name);
        }
        Signer::Itself => {
            own.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            own.distinguished_name = DistinguishedName::new();
            own.distinguished_name.push(DnType::CommonName, name);
            let own = own.self_signed(&key)?.pem();
            return Ok([own.clone(), own, private]);
        }
    }
    let own = own.signed_by(&key, &Issuer::new(authority, authority_key))?;
    Ok([authority_text, own.pem(), private])
}
