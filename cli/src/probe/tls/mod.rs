//! `mailport probe --tls`: one SMTP session with each service that connects.
//!
//! - `session`: the session, step by step
//! - `stream`: its connection, with a time limit
//! - `smtp`: replies and capabilities
//! - `certificate`: the server's certificate, verified
//! - `fault`: what keeps mail from leaving, and what to do
//! - `text`: the server's text, made safe for a terminal
//! - `show`, `json`: what is printed

mod certificate;
mod fault;
mod json;
mod session;
mod show;
mod smtp;
mod stream;
mod text;

pub(super) use json::SessionObject;
pub(super) use session::{LIMIT, TlsSession};
pub(super) use show::{details, sentence, stage};

use std::collections::BTreeSet;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use mailport::target::Host;
use mailport::{Service, Target};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::pki_types::ServerName;

use fault::Fault;
use session::Trust;

/// Sessions that run while a probe goes on.
pub(super) struct Sessions {
    trust: Arc<Trust>,
    /// Each host and service with a session: one is enough, at the address that connects first.
    begun: BTreeSet<(usize, Service)>,
    running: Vec<(usize, JoinHandle<TlsSession>)>,
    /// Those that this machine could not start.
    failed: Vec<(usize, TlsSession)>,
}

impl Sessions {
    /// Loads the trusted certificates of the system: those of `SSL_CERT_FILE` and `SSL_CERT_DIR`
    /// if they are set, else those of the directories that OpenSSL uses.
    ///
    /// docs/design.md says why these crates are used.
    pub(super) fn new() -> Result<Sessions, String> {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        let (added, _) = roots.add_parsable_certificates(found.certs.iter().cloned());
        if added == 0 {
            let why = found.errors.first().map_or_else(String::new, |error| format!(": {error}"));
            return Err(format!(
                "--tls finds no trusted certificates on this system (install ca-certificates, or \
                 set SSL_CERT_FILE){why}"
            ));
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .build()
                .map_err(|error| format!("--tls cannot verify certificates: {error}"))?;
        let trust = Arc::new(Trust { verifier, roots: found.certs.into(), provider });
        Ok(Sessions { trust, begun: BTreeSet::new(), running: Vec::new(), failed: Vec::new() })
    }

    /// Starts a session on a connection, unless the service of this host has one already; then the
    /// connection is closed.
    pub(super) fn start(
        &mut self,
        host: usize,
        target: &Target,
        service: Service,
        address: SocketAddr,
        socket: TcpStream,
    ) {
        if !self.begun.insert((host, service)) {
            return;
        }
        let (trust, name) = (Arc::clone(&self.trust), server_name(target, address));
        let run = move || TlsSession::run(service, address, socket, &name, &trust);
        match thread::Builder::new().name("session".to_owned()).spawn(run) {
            Ok(session) => self.running.push((host, session)),
            Err(error) => self.failed.push((host, not_started(service, address, &error))),
        }
    }

    /// How many sessions were started since the last wait.
    pub(super) fn count(&self) -> usize {
        self.running.len()
    }

    /// Waits for all sessions that run, and gives them with the host of each.
    pub(super) fn wait(&mut self) -> Vec<(usize, TlsSession)> {
        let ended = self.running.drain(..);
        let ended = ended.map(|(host, session)| {
            (host, session.join().unwrap_or_else(|panic| resume_unwind(panic)))
        });
        ended.chain(self.failed.drain(..)).collect()
    }
}

/// The session of a service for which there is no thread.
fn not_started(service: Service, address: SocketAddr, error: &io::Error) -> TlsSession {
    let fault = Fault::Local(format!("no thread: {error}"));
    TlsSession::new(service, address, Some(fault))
}

/// The name that the certificate must be for.
fn server_name(target: &Target, address: SocketAddr) -> ServerName<'static> {
    let name = match target.host() {
        Host::Name(name) => ServerName::try_from(name.trim_end_matches('.').to_owned()).ok(),
        _ => None,
    };
    name.unwrap_or_else(|| ServerName::IpAddress(address.ip().to_canonical().into()))
}
