//! What a lab says where it cannot start.
//!
//! These tests need root (or `unshare -Urnm`), the command `ip` and /dev/net/tun; without them
//! they fail.
#![allow(clippy::unwrap_used, reason = "what helps a test may fail like one")]

use std::env;
use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use caps::{CapSet, Capability};
use mailport_lab::real::{CLIENT_V6, Lab};
use mailport_lab::{Fate, Network};
use nix::mount::{MsFlags, mount};

fn network() -> Network {
    let addresses = ["192.0.2.1", "2001:db8:2::1"].map(|text| text.parse::<IpAddr>().unwrap());
    let network = Network::new(Duration::from_millis(10));
    addresses.into_iter().fold(network, |network, address| network.address(address, Fate::Open))
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
