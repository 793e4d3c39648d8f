//! Servers that greet after a pause, say nothing more, and count who connects.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::sys::socket::{self, shutdown};

use crate::explain;
use crate::real::Lab;

/// What a greeter says.
pub const GREETING: &[u8] = b"220 ready\r\n";

/// Running servers; dropping them closes every connection and leaves no thread.
#[derive(Debug)]
pub struct Greeters {
    listeners: Vec<(SocketAddr, Arc<TcpListener>, JoinHandle<()>)>,
    accepted: Arc<Mutex<Accepted>>,
}

type Accepted = BTreeMap<SocketAddr, Vec<(TcpStream, JoinHandle<()>)>>;

impl Greeters {
    /// Greets on each of these addresses after its pause, in place of the lab's own listeners.
    pub fn start(lab: &Lab, servers: &[(SocketAddr, Duration)]) -> io::Result<Greeters> {
        let mut greeters = Greeters { listeners: Vec::new(), accepted: Arc::default() };
        for &(at, pause) in servers {
            lab.release(at.ip(), at.port());
            let listener = lab
                .server(|| TcpListener::bind(at))
                .map_err(explain(format_args!("a greeter cannot listen on {at}")))?;
            let listener = Arc::new(listener);
            let (theirs, accepted) = (Arc::clone(&listener), Arc::clone(&greeters.accepted));
            let accepting = move || {
                while let Ok((stream, _)) = theirs.accept() {
                    let ours = stream.try_clone().expect("a connection can be duplicated");
                    let thread = thread::spawn(move || greet(&stream, pause));
                    lock(&accepted).entry(at).or_default().push((ours, thread));
                }
            };
            greeters.listeners.push((at, listener, thread::spawn(accepting)));
        }
        Ok(greeters)
    }

    /// How many connections a server has had so far.
    pub fn connections(&self, at: SocketAddr) -> usize {
        lock(&self.accepted).get(&at).map_or(0, Vec::len)
    }
}

/// Serves one connection until it is closed.
fn greet(mut stream: &TcpStream, pause: Duration) {
    let heard = if pause.is_zero() {
        None
    } else {
        let set = stream.set_read_timeout(Some(pause));
        set.ok().and_then(|()| stream.read(&mut [0]).ok())
    };
    // A client that speaks first, or goes, is not greeted; and one that goes later is no trouble.
    if heard.is_none() && stream.write_all(GREETING).is_ok() {
        let _ = stream.set_read_timeout(None);
        let _ = io::copy(&mut stream, &mut io::sink());
    }
}

impl Drop for Greeters {
    fn drop(&mut self) {
        for (_, listener, thread) in self.listeners.drain(..) {
            // It wakes the thread in `accept`, with an error.
            let _ = shutdown(listener.as_raw_fd(), socket::Shutdown::Both);
            let _ = thread.join();
        }
        for (stream, thread) in std::mem::take(&mut *lock(&self.accepted)).into_values().flatten() {
            let _ = stream.shutdown(Shutdown::Both);
            let _ = thread.join();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
