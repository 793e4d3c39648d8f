//! Thunderbird, in a chroot. `make test-desktop-relay` makes the chroot and runs this test. The system
//! must not be newer than the Debian in there, whose C library the command uses.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use mailport_lab::command::mailport;
use mailport_lab::mta::HOST;

use crate::{Trouble, arrived, text};

/// The directory of the driver, and of what enters the chroot.
const DRIVERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/relay/desktop");

#[test]
#[allow(clippy::print_stdout, reason = "how long each letter took")]
fn thunderbird_sends_also_where_ipv6_is_dead() {
    let root = Path::new(DRIVERS).join("../../../../../target/desktop/mail");
    assert!(root.join(".complete").exists(), "no {}: make test-desktop", root.display());
    for trouble in [Trouble::None, Trouble::Ipv6Dead] {
        let (lab, server) = trouble.world();
        let folder = tempfile::tempdir().expect("a folder");
        let copy = |from: &Path, name| fs::copy(from, folder.path().join(name)).expect("a file");
        copy(&Path::new(DRIVERS).join("thunderbird.py"), "thunderbird.py");
        copy(server.certificate().expect("Postfix does TLS"), "authority.pem");
        copy(mailport(), "mailport");
        let subject = format!("Thunderbird {trouble:?}");
        let settings = serde_json::json!({ "network.proxy.type": 0 });
        let letter =
            serde_json::json!({ "subject": subject, "settings": settings, "inbox": false });
        let mut command = Command::new(Path::new(DRIVERS).join("enter.sh"));
        command.arg(&root).arg(folder.path()).stdin(Stdio::null());
        command.args(["/lab/mailport", "run", "--cache", "off", "--verbose"]);
        command.args(["python3", "/lab/thunderbird.py", &letter.to_string()]);
        let output = lab.client(|| command.output().expect("the chroot"));
        let story = || format!("{}\n{}", text(&output), server.log());
        assert!(output.status.success(), "{}", story());
        assert_eq!(arrived(&server, &subject), [Some(trouble.port())], "{}", story());
        let is_dial = |line: &str| line.contains(" joined ") && line.contains("587");
        assert!(text(&output).lines().any(is_dial), "{HOST} is not dialled: {}", story());
        print!("{}", String::from_utf8_lossy(&output.stdout));
    }
}
