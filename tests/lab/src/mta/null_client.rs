//! A Postfix that only sends: programs of the client's machine give it their mail, and it gives all
//! of that to one relay host.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Instant;

use tempfile::TempDir;

use super::{PATIENCE, Recipe, STEP, accounts, folder, greeting, mailbox, postfix};
use crate::cell::Cell;
use crate::real::Lab;

/// Where it listens for the mail of its machine.
const LISTENS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 25);

/// A running null client; dropping it leaves no process and no file.
#[derive(Debug)]
pub struct NullClient {
    // Dropped in this order.
    _cell: Cell,
    queues: Vec<PathBuf>,
    folder: TempDir,
}

impl NullClient {
    /// Starts it on port 25 of 127.0.0.1, and waits for its greeting. The relay host is in the
    /// notation of Postfix (`[127.0.0.1]:2525`); its certificate must be signed by `trust`.
    pub fn start(lab: &Lab, relayhost: &str, trust: &Path) -> io::Result<NullClient> {
        let folder = folder()?;
        let place = folder.path();
        let Recipe { command, mut mounts, queues } = postfix::null_client(place, relayhost, trust)?;
        mounts.extend(accounts::files(place)?);
        let cell = lab.client(|| Cell::start(&command, &mounts, &place.join("output")))?;
        let client = NullClient { _cell: cell, queues, folder };
        client.wait_until("it does not greet", || {
            Ok(lab.client(|| greeting(LISTENS)).unwrap_or(false))
        })?;
        Ok(client)
    }

    /// Waits until it has delivered everything.
    pub fn wait_until_sent(&self) -> io::Result<()> {
        self.wait_until("it does not deliver", || mailbox::are_empty(&self.queues))
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join(postfix::LOG)).unwrap_or_default()
    }

    fn wait_until(&self, failed: &str, done: impl Fn() -> io::Result<bool>) -> io::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !done()? {
            if Instant::now() > deadline {
                return Err(io::Error::other(format!("a null client: {failed}\n{}", self.log())));
            }
            thread::sleep(STEP);
        }
        Ok(())
    }
}
