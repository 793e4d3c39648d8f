//! The certificate of a server: what it says, and what is wrong with it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};
use x509_cert::Certificate as X509;
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::name::Name;

use super::text::clean;

/// The most names of a certificate that are kept.
const NAMES: usize = 8;

/// A certificate that a server presented.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Certificate {
    /// The host names and addresses that it is for; the common name where it has none.
    pub(super) names: Vec<String>,
    /// The authority that signed it.
    pub(super) issuer: String,
    pub(super) not_before: SystemTime,
    pub(super) not_after: SystemTime,
    /// What is wrong with it; empty where it is verified.
    pub(super) problems: Vec<Problem>,
}

/// What is wrong with a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Problem {
    /// It is for other names.
    Name,
    /// It has a name only as common name, which RFC 9525 does not allow.
    CommonName,
    Expired,
    NotYetValid,
    /// It signed itself.
    SelfSigned,
    /// No trusted authority leads to it.
    Untrusted,
    /// Anything else, in the words of rustls.
    Other(String),
}

impl Problem {
    /// The word used in JSON.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Problem::Name => "name",
            Problem::CommonName => "common-name",
            Problem::Expired => "expired",
            Problem::NotYetValid => "not-yet-valid",
            Problem::SelfSigned => "self-signed",
            Problem::Untrusted => "untrusted",
            Problem::Other(_) => "certificate",
        }
    }
}

/// Verifies a certificate as rustls does, and lets the handshake continue with any result: the
/// session ends without a login, and the result is what it is for.
#[derive(Debug)]
pub(super) struct Recorder {
    verifier: Arc<WebPkiServerVerifier>,
    roots: Arc<[CertificateDer<'static>]>,
    seen: Mutex<Option<Certificate>>,
}

impl Recorder {
    pub(super) fn new(
        verifier: Arc<WebPkiServerVerifier>,
        roots: Arc<[CertificateDer<'static>]>,
    ) -> Recorder {
        Recorder { verifier, roots, seen: Mutex::new(None) }
    }

    /// The certificate that was presented.
    pub(super) fn take(&self) -> Option<Certificate> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verify = |time| {
            let verifier = &self.verifier;
            verifier
                .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, time)
                .err()
        };
        let is_root = self.roots.contains(end_entity);
        let certificate = read(end_entity, server_name, now, is_root, verify);
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(certificate);
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

/// Reads a certificate, and says what is wrong with it. The verifier names one problem, so name and
/// dates are checked beside it, and the verifier gets a time at which the certificate is valid.
///
/// A certificate that is itself installed on this system (`is_root`) is trusted, as OpenSSL and
/// `GnuTLS` do; webpki refuses one that may sign others, which `openssl req -x509` makes.
fn read(
    der: &CertificateDer<'_>,
    server_name: &ServerName<'_>,
    now: UnixTime,
    is_root: bool,
    verify: impl FnOnce(UnixTime) -> Option<Error>,
) -> Certificate {
    let Ok(x509) = X509::from_der(der) else {
        let problem = Problem::Other("it cannot be read".to_owned());
        return Certificate {
            names: Vec::new(),
            issuer: String::new(),
            not_before: UNIX_EPOCH,
            not_after: UNIX_EPOCH,
            problems: vec![problem],
        };
    };
    let body = x509.tbs_certificate();
    let validity = body.validity();
    let [not_before, not_after] =
        [validity.not_before, validity.not_after].map(|time| UNIX_EPOCH + time.to_unix_duration());
    let now = UNIX_EPOCH + Duration::from_secs(now.as_secs());
    let is_named = ParsedCertificate::try_from(der)
        .and_then(|parsed| rustls::client::verify_server_name(&parsed, server_name))
        .is_ok();
    let (names, has_only_common_name) = names(&x509);
    let mut problems = Vec::new();
    if !is_named {
        let is_common_name =
            has_only_common_name && names.iter().any(|name| *name == *server_name.to_str());
        problems.push(if is_common_name { Problem::CommonName } else { Problem::Name });
    }
    if now > not_after {
        problems.push(Problem::Expired);
    }
    if now < not_before {
        problems.push(Problem::NotYetValid);
    }
    // Not `clamp`, which panics if the server's dates are in the wrong order.
    let valid = now.max(not_before).min(not_after);
    let valid = valid.duration_since(UNIX_EPOCH).unwrap_or_default();
    let error = verify(UnixTime::since_unix_epoch(valid)).filter(|_| !is_root);
    match error {
        Some(_) if body.issuer() == body.subject() => problems.push(Problem::SelfSigned),
        // A bad signature is that of another authority which has the name of a trusted one.
        Some(Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        )) => problems.push(Problem::Untrusted),
        Some(error) if problems.is_empty() => {
            problems.push(Problem::Other(clean(error.to_string().as_bytes())));
        }
        _ => {}
    }
    Certificate { names, issuer: title(body.issuer()), not_before, not_after, problems }
}

/// The names that a certificate is for; the common name where it has none, and whether that is so.
fn names(x509: &X509) -> (Vec<String>, bool) {
    let names = x509.tbs_certificate().get_extension::<SubjectAltName>();
    let names = names.ok().flatten().map(|(_, names)| names.0).unwrap_or_default();
    let names = names.into_iter().filter_map(|name| match name {
        GeneralName::DnsName(name) => Some(clean(name.as_bytes())),
        GeneralName::IpAddress(bytes) => address(bytes.as_bytes()),
        _ => None,
    });
    let names: Vec<String> = names.take(NAMES).collect();
    match &*names {
        [] => (vec![title(x509.tbs_certificate().subject())], true),
        _ => (names, false),
    }
}

fn address(bytes: &[u8]) -> Option<String> {
    let v4 = <[u8; 4]>::try_from(bytes).map(|bytes| std::net::Ipv4Addr::from(bytes).to_string());
    let v6 = <[u8; 16]>::try_from(bytes).map(|bytes| std::net::Ipv6Addr::from(bytes).to_string());
    v4.or(v6).ok()
}

/// The common name of a subject or issuer, else its organization, else all of it.
fn title(name: &Name) -> String {
    let found =
        [name.common_name(), name.organization()].into_iter().find_map(|found| found.ok()?);
    let text = found.map_or_else(|| name.to_string(), String::from);
    clean(text.as_bytes())
}
