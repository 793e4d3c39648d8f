//! The relay's own look-ups, which find out whether a literal address is that of a name.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Command;

use mailport_lab::command::mailport;

use crate::listeners::socks_at_proxy;
use crate::{Relay, lab, last};

/// Compiles one of the C library's guests as a shared library.
fn library(name: &str, folder: &Path, flag: &str) -> String {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../ffi/tests/guest").join(name);
    let library = folder.join(name).with_extension("so");
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-Wall", "-Werror", flag, "-o"]).args([&library, &source]);
    assert!(cc.status().expect("cc (apt-get install build-essential)").success());
    library.into_os_string().into_string().expect("a path in ASCII")
}

#[test]
fn a_look_up_has_room_for_a_module_of_the_name_service_beside_thread_local_data() {
    let (lab, folder) = (lab(), tempfile::tempdir().expect("a temporary folder"));
    let local = Ipv4Addr::LOCALHOST;
    let _server = lab.client(|| TcpListener::bind((local, 587))).expect("a free port");
    // Loaded before the relay may no longer read the folder; the C library finds it by its SONAME.
    let module = library("nss_guest.c", folder.path(), "-Wl,-soname,libnss_guest.so.2");
    let data = library("thread_local.c", folder.path(), "-O0");
    let settings = folder.path().join("nsswitch.conf");
    fs::write(&settings, "hosts: guest\n").expect("written");
    let mut command = Command::new("unshare");
    let script =
        "mount --bind \"$0\" /etc/nsswitch.conf && LD_PRELOAD=\"$1\" && export LD_PRELOAD &&
        shift && exec \"$@\"";
    command.args(["--mount", "sh", "-c", script]).arg(settings).arg(format!("{module}:{data}"));
    command.arg(mailport());
    // The module answers 127.0.0.1 for each name.
    let options = ["--listen-proxy", "127.0.0.1:1080", "--names", "any.name.example"];
    let relay = Relay::start_by(command, &lab, &options);
    assert_eq!(socks_at_proxy(&lab, local.into(), 587), Some(0), "{}", last(&relay.log()));
    relay.logs("host=any.name.example", 1);
}
