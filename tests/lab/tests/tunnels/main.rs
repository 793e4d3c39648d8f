//! Dials through tunnels that people use: OpenSSH, a SOCKS5 server and stunnel, for each fate of
//! port 587 behind them.
//!
//! Needs root (or a user namespace with several users) and /dev/net/tun, and what `make setup`
//! installs and unpacks; fails without them. Nothing here is about time, but that a port which is
//! silent behind a tunnel is given up by the greeting wait or by the deadline, as set.
//!
//! - `far`: servers of every fate, behind the lab's router
//! - `fates`: which port is reached through what, and what is reported
//! - `pauses`: servers that greet late
//! - `starttls`: TLS with the real Postfix, from one end to the other
//! - `tunnel`: the command `mailport connect --stdio`

#![allow(clippy::unwrap_used, reason = "what helps a test may fail like one")]

mod far;
mod fates;
mod pauses;
mod starttls;
#[path = "../servers/tunnel.rs"]
#[allow(dead_code, reason = "each test uses its own part")]
mod tunnel;

use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;

use mailport_lab::tunnels::Gateway;

use far::World;

#[test]
fn a_tunnel_leaves_no_process_and_no_file_also_after_a_panic() {
    let world = World::new();
    let mut place = None;
    let panic = panic::catch_unwind(AssertUnwindSafe(|| {
        let gateway = Gateway::start(&world.lab).unwrap();
        let options = ["-D", "127.0.0.1:1080"].map(str::to_owned);
        let _ssh = gateway.forward(&world.lab, &options, &[1080]).unwrap();
        let words = gateway.ssh();
        let folder = Path::new(words.rsplit(' ').next().unwrap()).parent().unwrap().to_owned();
        assert!(folder.exists() && users_of(&folder) > 1, "sshd, and ssh");
        place = Some(folder);
        panic!("as a test that fails");
    }));
    assert_eq!(panic.unwrap_err().downcast_ref(), Some(&"as a test that fails"));
    let folder = place.unwrap();
    assert_eq!((folder.exists(), users_of(&folder)), (false, 0));
}

/// How many processes name a folder in their command lines.
fn users_of(folder: &Path) -> usize {
    let folder = folder.to_str().unwrap();
    let processes = fs::read_dir("/proc").unwrap();
    let lines = processes.filter_map(|entry| fs::read(entry.ok()?.path().join("cmdline")).ok());
    lines.filter(|line| String::from_utf8_lossy(line).contains(folder)).count()
}
