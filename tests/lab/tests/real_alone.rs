//! What a lab leaves behind: nothing, as root and as root of a user namespace.
//!
//! Needs root (or `unshare -Urnm`), the command `ip` and /dev/net/tun; fails without them. It counts
//! what belongs to the process, so it is the only test of its file.
#![allow(clippy::unwrap_used, reason = "what helps a test may fail like one")]

use std::env;
use std::fs;
use std::net::{IpAddr, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use mailport_lab::real::Lab;
use mailport_lab::{Fate, Network};

/// Set where this test runs itself, inside a user namespace.
const INSIDE: &str = "MAILPORT_LAB_INSIDE";

fn network() -> Network {
    let addresses = ["192.0.2.1", "2001:db8:2::1"].map(|text| text.parse::<IpAddr>().unwrap());
    let network = Network::new(Duration::from_millis(10));
    addresses.into_iter().fold(network, |network, address| network.address(address, Fate::Open))
}

/// The threads, descriptors, mounts and temporary folders that this process can see.
fn belongings() -> (usize, usize, String, usize) {
    let count = |folder: &str| fs::read_dir(folder).unwrap().count();
    let mounts = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
    let temporary = fs::read_dir(env::temp_dir()).unwrap();
    let ours = temporary.filter(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        name.to_string_lossy().starts_with(&format!("mailport-lab-{}-", std::process::id()))
    });
    (count("/proc/self/task"), count("/proc/self/fd"), mounts, ours.count())
}

#[test]
fn a_lab_leaves_nothing_behind_as_root_and_in_a_user_namespace() {
    let before = belongings();
    for _ in 0..3 {
        let lab = Lab::start(network()).unwrap();
        lab.client(|| TcpStream::connect("192.0.2.1:25").unwrap());
        lab.server(|| ());
        let during = belongings();
        assert!(during.0 > before.0 && during.1 > before.1 && during.3 > 0, "{during:?}");
    }
    // A thread that was joined is still listed for an instant.
    let deadline = Instant::now() + Duration::from_secs(5);
    while belongings() != before && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(belongings(), before);
    if env::var_os(INSIDE).is_none() {
        let mut again = Command::new("unshare");
        again.arg("-Urnm").arg(env::current_exe().unwrap()).env(INSIDE, "1");
        let output = again.output().unwrap();
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && printed.contains("1 passed"), "{output:?}");
    }
}
