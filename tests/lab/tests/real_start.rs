//! Where a lab starts, what it leaves, and what it says where it cannot start.
//!
//! These tests need root (or `unshare -Urnm`), the command `ip` and /dev/net/tun; without them
//! they fail. They count what belongs to the process, so each runs in a process of its own.
#![allow(clippy::unwrap_used, reason = "what helps a test may fail like one")]

use std::env;
use std::fs;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use caps::{CapSet, Capability};
use mailport_lab::real::{CLIENT_V6, Lab};
use mailport_lab::{Fate, Network};
use nix::mount::{MsFlags, mount};

fn network() -> Network {
    let addresses = ["192.0.2.1", "2001:db8:2::1"].map(|text| text.parse::<IpAddr>().unwrap());
    let network = Network::new(Duration::from_millis(10));
    addresses.into_iter().fold(network, |network, address| network.address(address, Fate::Open))
}

/// Runs a test of this file alone, by its name, under a command that may change what it can do.
fn alone(test: &str, command: &[&str]) {
    let mut words = command.iter().map(AsRef::as_ref).collect::<Vec<&Path>>();
    let program = env::current_exe().unwrap();
    words.push(&program);
    let output = Command::new(words[0])
        .args(&words[1..])
        .args(["--exact", test, "--ignored", "--nocapture", "--test-threads=1"])
        .output()
        .unwrap();
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && report.contains("1 passed"), "{output:?}");
}

#[test]
fn a_lab_leaves_nothing_behind() {
    alone("alone::leaves_nothing", &[]);
}

#[test]
fn a_lab_starts_without_root_in_a_user_namespace() {
    alone("alone::leaves_nothing", &["unshare", "-Urnm"]);
}

#[test]
fn without_privilege_the_error_says_which() {
    let error = without(&[Capability::CAP_SYS_ADMIN]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    assert!(error.to_string().contains("takes CAP_SYS_ADMIN: run it as root"), "{error}");

    let error = without(&[Capability::CAP_SYS_CHROOT]).unwrap_err();
    assert!(error.to_string().contains("CAP_SYS_CHROOT"), "{error}");

    let error = without(&[Capability::CAP_NET_ADMIN]).unwrap_err();
    assert!(error.to_string().contains("TUN device, which takes CAP_NET_ADMIN"), "{error}");
}

/// Starts a lab on a thread without these capabilities.
fn without(capabilities: &[Capability]) -> io::Result<()> {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            for capability in capabilities {
                caps::drop(None, CapSet::Effective, *capability).unwrap();
            }
            Lab::start(network()).map(drop)
        });
        thread.join().unwrap()
    })
}

#[test]
fn without_the_device_or_the_command_the_error_says_so() {
    let error = hiding(&["/dev/net".into()]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().starts_with("the lab needs /dev/net/tun"), "{error}");

    let path = env::var_os("PATH").unwrap();
    let error = hiding(&env::split_paths(&path).collect::<Vec<_>>()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().starts_with("the lab needs the command `ip`"), "{error}");
}

/// Starts a lab where these folders are empty, which they are inside of another lab only.
fn hiding(folders: &[PathBuf]) -> io::Result<()> {
    let outer = Lab::start(network()).unwrap();
    outer.server(|| {
        for folder in folders.iter().filter(|folder| folder.exists()) {
            let none = None::<&str>;
            mount(none, folder, Some("tmpfs"), MsFlags::empty(), none).unwrap();
        }
        Lab::start(network()).map(drop)
    })
}

#[test]
fn a_network_cannot_have_the_clients_address() {
    let error = Lab::start(network().address(CLIENT_V6, Fate::Open)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

mod alone {
    use super::*;

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
    #[ignore = "it is alone in its process when another test runs it"]
    fn leaves_nothing() {
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
    }
}
