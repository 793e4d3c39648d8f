//! UNIX sockets of the relay: who may use them, and mail programs that do.

use std::fs::{self, Permissions};
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use mailport_lab::mta::{HOST, READER, Software};
use mailport_lab::real::Lab;

use crate::programs::arrived;
use crate::{Case, LISTENERS, Relay, SERVER, V4, World, lab, last};

const ROOT: u32 = 0;
const ALICE: u32 = 1000;
const BOB: u32 = 1001;
const NOBODY: u32 = 65534;

#[test]
fn msmtp_sends_through_a_unix_socket() {
    let folder = tempfile::tempdir().expect("a directory");
    let socket = folder.path().join("smtp");
    let listen = format!("{}={SERVER}", socket.display());
    let world = World::with(Software::Postfix, &[&LISTENERS[..], &["--listen", &listen]].concat());
    world.meets(Case::Silent);
    let trust = world.server.certificate().expect("Postfix does TLS");
    let mut msmtp = Command::new("msmtp");
    msmtp.args(["--host", HOST, "--socket"]).arg(&socket).arg("--tls-trust-file").arg(trust);
    msmtp.args(["--tls=on", "--tls-starttls=on", "--from", "sender@example.test", READER]);
    msmtp.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = world.lab.client(|| {
        let mut msmtp = msmtp.spawn().expect("msmtp");
        let letter = msmtp.stdin.take().expect("it is piped");
        { letter }.write_all(b"Subject: By a socket\r\n\r\nx\r\n").expect("msmtp reads");
        msmtp.wait_with_output().expect("msmtp ends")
    });
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{}", world.story(&said));
    assert_eq!(arrived(&world, "By a socket", &said).port(), Some(25));
}

const AIOSMTPLIB: &str = r#"
import asyncio, email.message, ssl, sys
import aiosmtplib
path, trust, name, to, subject = sys.argv[1:]
letter = email.message.EmailMessage()
letter["From"], letter["To"], letter["Subject"] = "sender@example.test", to, subject
letter.set_content("x")
async def send():
    smtp = aiosmtplib.SMTP(hostname=None, socket_path=path, start_tls=False)
    await smtp.connect()
    await smtp.starttls(server_hostname=name, tls_context=ssl.create_default_context(cafile=trust))
    await smtp.send_message(letter)
    await smtp.quit()
asyncio.run(send())
"#;

#[test]
fn aiosmtplib_sends_through_a_unix_socket() {
    let folder = tempfile::tempdir().expect("a directory");
    let socket = folder.path().join("smtp");
    let listen = format!("{}={SERVER}", socket.display());
    let world = World::with(Software::Postfix, &[&LISTENERS[..], &["--listen", &listen]].concat());
    world.meets(Case::Off);
    let trust = world.server.certificate().expect("Postfix does TLS");
    let mut python = Command::new("/usr/bin/python3");
    python.args(["-c", AIOSMTPLIB]).arg(&socket).arg(trust).args([HOST, READER, "By asyncio"]);
    let output = world.lab.client(|| python.output()).expect("Python");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{}", world.story(&said));
    assert_eq!(arrived(&world, "By asyncio", &said).port(), Some(25));
}

/// What a user receives at this socket, and what netcat says if it cannot connect.
fn heard(lab: &Lab, user: u32, socket: &Path) -> String {
    let mut nc = Command::new("nc");
    nc.arg("-U").arg(socket).uid(user).gid(user).current_dir("/").stdin(Stdio::null());
    let output = lab.client(|| nc.output()).expect("netcat (apt-get install netcat-openbsd)");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

#[test]
fn a_unix_socket_is_for_the_relays_user_root_and_the_users_that_are_named() {
    const GREETED: &str = "220 ";
    const REFUSED: &str = "421 4.7.1 mailport: this is not allowed";
    const CLOSED: &str = "Permission denied";
    let lab = lab();
    lab.release(V4, 587);
    let server = lab.server(|| TcpListener::bind((V4, 587))).expect("a free port");
    thread::spawn(move || {
        for mut stream in server.incoming().flatten() {
            let _ = stream.write_all(b"220 hello\r\n");
        }
    });
    let folder = tempfile::tempdir().expect("a directory");
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("it is ours");
    let socket = folder.path().join("smtp");
    let listen = format!("{}={V4}", socket.display());
    let (nobody, alice) = (&["--user", "nobody"][..], &["--allow-uid", "1000"][..]);
    // In the last two, the file was opened to all users afterwards.
    for (options, owner, mode, opened, expected) in [
        (&[][..], ROOT, 0o600, false, [GREETED, CLOSED, CLOSED, CLOSED]),
        (alice, ROOT, 0o666, false, [GREETED, GREETED, REFUSED, REFUSED]),
        (nobody, NOBODY, 0o600, false, [GREETED, CLOSED, CLOSED, GREETED]),
        (&[nobody, alice].concat(), NOBODY, 0o666, false, [GREETED, GREETED, REFUSED, GREETED]),
        (&[], ROOT, 0o600, true, [GREETED, REFUSED, REFUSED, REFUSED]),
        (nobody, NOBODY, 0o600, true, [GREETED, REFUSED, REFUSED, GREETED]),
    ] {
        let relay = Relay::start(&lab, &[&["--listen", &listen], options].concat());
        let file = fs::metadata(&socket).expect("a socket");
        assert_eq!((file.uid(), file.mode() & 0o777), (owner, mode), "{options:?}");
        if opened {
            fs::set_permissions(&socket, Permissions::from_mode(0o777)).expect("root may do it");
        }
        for (user, expected) in [ROOT, ALICE, BOB, NOBODY].into_iter().zip(expected) {
            let said = heard(&lab, user, &socket);
            let story = last(&relay.log());
            assert!(said.contains(expected), "{options:?}, {user}: {said:?}\n{story}");
            if expected == REFUSED {
                relay.logs(&format!("refused client=uid:{user} "), 1);
            }
        }
    }
}
