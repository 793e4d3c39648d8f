//! A device on the way that changes the lines of a server, or answers in its place.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// A running device; dropping it ends its threads when their connections end.
pub(crate) struct Middlebox {
    at: SocketAddr,
    over: Arc<AtomicBool>,
}

impl Middlebox {
    /// Listens at one address and connects to another; `change` gets each line of the server, with
    /// its end.
    pub(crate) fn start(at: SocketAddr, to: SocketAddr, change: fn(&str) -> String) -> Middlebox {
        Middlebox::answer(at, move |client| {
            let server = TcpStream::connect(to).expect("the server listens");
            pass(&client, &server, change);
        })
    }

    /// Listens at one address, and has this answer each client on a separate thread.
    pub(crate) fn answer(
        at: SocketAddr,
        answer: impl Fn(TcpStream) + Clone + Send + 'static,
    ) -> Middlebox {
        let listener = TcpListener::bind(at).expect("a free port");
        let over = Arc::<AtomicBool>::default();
        let is_over = Arc::clone(&over);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
                let answer = answer.clone();
                thread::spawn(move || answer(client));
            }
        });
        Middlebox { at, over }
    }
}

impl Drop for Middlebox {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        // It fails outside of the namespace, where the thread ends with the test.
        let _ = TcpStream::connect_timeout(&self.at, std::time::Duration::from_millis(1));
    }
}

fn pass(client: &TcpStream, server: &TcpStream, change: fn(&str) -> String) {
    thread::scope(|scope| {
        scope.spawn(|| {
            let _ = io::copy(&mut { client }, &mut { server });
            let _ = server.shutdown(Shutdown::Write);
        });
        let mut lines = BufReader::new(server);
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
            let changed = match std::str::from_utf8(&line) {
                Ok(text) => change(text).into_bytes(),
                Err(_) => line.clone(),
            };
            if { client }.write_all(&changed).is_err() {
                break;
            }
            line.clear();
        }
        let _ = client.shutdown(Shutdown::Both);
        let _ = server.shutdown(Shutdown::Both);
    });
}
