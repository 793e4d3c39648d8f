//! Who may log in: Postfix asks over a local socket, in the protocol of Dovecot's authentication
//! service (version 1.2, doc/auth-protocol.txt of its repository).

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::chown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use super::accounts::POSTFIX;
use super::explain;

/// What a server says first: it knows PLAIN, as one of all its processes.
const HELLO: &str = "VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nSPID\t1\nCUID\t1\n\
                     COOKIE\t00000000000000000000000000000000\nDONE\n";
/// `\0reader\0secret` in Base64: the initial response of RFC 4616.
const RIGHT: &str = "AHJlYWRlcgBzZWNyZXQ=";

/// A running service; dropping it ends its thread.
#[derive(Debug)]
pub(super) struct Logins {
    path: PathBuf,
    tried: Arc<Mutex<Vec<bool>>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Logins {
    pub(super) fn start(path: &Path) -> io::Result<Logins> {
        let listener = UnixListener::bind(path).map_err(explain("a socket for logins"))?;
        chown(path, Some(POSTFIX), None)?;
        let (tried, over) = (Arc::default(), Arc::<AtomicBool>::default());
        let (all, is_over) = (Arc::clone(&tried), Arc::clone(&over));
        let serve = move || {
            for client in listener.incoming().map_while(Result::ok) {
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
                let all = Arc::clone(&all);
                // It ends with its connection, which is Postfix's.
                thread::spawn(move || answer(&client, &all));
            }
        };
        let thread = thread::Builder::new().name("lab-logins".to_owned()).spawn(serve)?;
        Ok(Logins { path: path.to_owned(), tried, over, thread: Some(thread) })
    }

    /// Whether each login so far was right.
    pub(super) fn tried(&self) -> Vec<bool> {
        self.tried.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Logins {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        // It fails only where no listener is left, and then the thread has ended.
        let _ = UnixStream::connect(&self.path);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Serves one client until it hangs up.
fn answer(mut client: &UnixStream, tried: &Mutex<Vec<bool>>) {
    if client.write_all(HELLO.as_bytes()).is_err() {
        return;
    }
    for line in BufReader::new(client).lines().map_while(Result::ok) {
        let fields: Vec<&str> = line.split('\t').collect();
        let ["AUTH", number, _mechanism, rest @ ..] = &fields[..] else { continue };
        let right = rest.iter().any(|field| field.strip_prefix("resp=") == Some(RIGHT));
        tried.lock().unwrap_or_else(PoisonError::into_inner).push(right);
        let word = if right { "OK" } else { "FAIL" };
        if client.write_all(format!("{word}\t{number}\tuser=reader\n").as_bytes()).is_err() {
            return;
        }
    }
}
