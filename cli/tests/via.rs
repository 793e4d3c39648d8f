//! The command through a proxy or a command, and as one.
#![expect(clippy::unwrap_used, reason = "a test that cannot set its scene has failed")]

mod common;
#[path = "common/through.rs"]
mod through;

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Output;
use std::thread;

use common::{Port, hasty, refused};
use through::{proxy, read_to_end, script, shell, through};

/// The command, with `MAILPORT_VIA` set to this.
fn mailport(variable: &str, args: &[&str]) -> Output {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_mailport"));
    command.args(["connect", "--plan", "587:starttls,25:starttls"]).args(args).arg("mail.example");
    command.env("MAILPORT_VIA", variable).stdin(std::process::Stdio::null()).output().unwrap()
}

fn texts(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn the_command_goes_through_what_the_option_or_the_variable_names() {
    let (_folder, via) = shell("if [ $2 = 587 ]; then echo no >&2; exit 1; fi; echo 220");
    for (variable, args) in [(&*via, &[][..]), ("", &["--via", &via]), ("x", &["--via", &via])] {
        let (status, stdout, stderr) = texts(&mailport(variable, args));
        assert_eq!((status, &*stderr), (Some(0), ""), "{stdout}");
        assert!(stdout.starts_with("587 closed the connection (no); connected to 25 through "));
    }
    let (_, stdout, _) = texts(&mailport(&via, &["--json", "--greeting-wait", "off"]));
    assert!(stdout.contains(r#""connected":{"port":587,"#), "{stdout}");
}

#[test]
fn a_tunnel_command_does_not_see_the_variable_that_names_it() {
    let (_folder, via) = shell("echo \"220 ${MAILPORT_VIA-none} ${PATH:+path}\"");
    for args in [&["--stdio"][..], &["--stdio", "--via", &via]] {
        let (status, stdout, _) = texts(&mailport(&via, args));
        assert_eq!((status, &*stdout), (Some(0), "220 none path\n"));
    }
}

#[test]
fn a_password_is_taken_from_the_variable_or_from_a_file_of_ones_own() {
    let closed = refused();
    let url = format!("socks5://anne:s3cr3t@127.0.0.1:{}", closed.port());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("via");
    fs::write(&file, format!("{url}\nsecond line\n")).unwrap();
    let at = format!("@{}", file.display());
    let chmod = |mode| fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
    for (mode, variable, args, code, part) in [
        (0o600, &*url, &[][..], 1, "cannot be reached"),
        (0o600, &at, &[], 1, "cannot be reached"),
        (0o600, "", &["--via", &at], 1, "cannot be reached"),
        (0o640, "", &["--via", &at], 2, "chmod 600"),
        (0o604, &at, &[], 2, "chmod 600"),
        (0o600, "", &["--via", &url], 2, "--via @FILE"),
        (0o600, "", &["--via", "@/none"], 2, "/none: No such file"),
        (0o600, "socks5://anne:s3%cr3t@h", &[], 2, "MAILPORT_VIA: the % at byte"),
        (0o600, "", &["--via", "http://h"], 2, "for an HTTP proxy"),
    ] {
        chmod(mode);
        for more in [&[][..], &["--json"]] {
            let (status, stdout, stderr) = texts(&mailport(variable, &[args, more].concat()));
            let all = format!("{stdout}{stderr}");
            assert_eq!(status, Some(code), "{all}");
            assert!(all.contains(part), "{all}");
            assert!(!all.contains("anne") && !all.contains("s3"), "{all}");
        }
    }
}

/// What the command makes of a way: its status, the JSON, and what it draws beside it.
fn explained(via: &str, deadline: &str) -> (Option<i32>, serde_json::Value, String) {
    let args = ["--via", via, "--timeout", deadline, "--cache", "off", "--json", "--explain"];
    let (status, stdout, stderr) = texts(&mailport("", &args));
    (status, serde_json::from_str(&stdout).unwrap(), stderr)
}

#[test]
fn the_command_tells_of_a_bad_proxy_with_the_attempts_and_within_the_deadline() {
    for (answer, deadline, outcome, words) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "60s", "via", "begins with 0x48"),
        (b"\x05", "60s", "via", "in the middle"),
        (b"", "300ms", "timeout", "has accepted, and not replied"),
    ] {
        let proxy = proxy(move |_, mut stream, _| {
            stream.read_exact(&mut [0; 3]).unwrap();
            stream.write_all(answer).unwrap();
            if !answer.is_empty() {
                stream.shutdown(Shutdown::Write).unwrap();
            }
            let _ = stream.read_to_end(&mut Vec::new());
        });
        let (status, reported, drawn) = explained(&proxy.url, deadline);
        assert_eq!(status, Some(1), "{reported}");
        assert!(reported["error"].as_str().unwrap().contains(words), "{reported}");
        let attempts = reported["attempts"].as_array().unwrap();
        assert_eq!((attempts.len(), &attempts[0]["outcome"]), (1, &outcome.into()), "{reported}");
        assert!(drawn.contains("587 via") && drawn.contains(outcome), "{drawn}");
        assert!(!drawn.contains(" 25 via"), "{drawn}");
    }
}

#[test]
fn the_command_tells_of_a_bad_command_with_the_attempts_and_within_the_deadline() {
    let (_folder, path) = script("#!/nonexistent/interpreter\n");
    let (status, reported, drawn) = explained(&format!("command:{}", path.display()), "60s");
    assert_eq!(
        (status, reported["attempts"].as_array().map(Vec::len)),
        (Some(1), Some(1)),
        "{reported}"
    );
    assert!(reported["error"].as_str().unwrap().contains("cannot be started"), "{reported}");
    assert!(drawn.contains("via, not-started"), "{drawn}");

    let (_folder, via) = shell("echo 'usage: tunnel'; echo why >&2; exit 1");
    let (status, reported, drawn) = explained(&via, "60s");
    assert_eq!(
        (status, reported["attempts"].as_array().map(Vec::len)),
        (Some(1), Some(2)),
        "{reported}"
    );
    let words = "it printed \"usage: tunnel\"; why";
    assert_eq!(reported["attempts"][1]["note"], words, "{reported}");
    assert_eq!(drawn.matches(" closed").count(), 2, "{drawn}");

    // It says nothing, and does not end with its input.
    let (folder, via) = shell("trap '' HUP PIPE; echo $$ >${0%/*}/number; exec sleep 60");
    let (status, reported, drawn) = explained(&via, "300ms");
    let number = fs::read_to_string(folder.path().join("number")).unwrap();
    let number = nix::unistd::Pid::from_raw(number.trim().parse().unwrap());
    nix::sys::signal::kill(number, nix::sys::signal::Signal::SIGKILL).expect("not waited for");
    assert_eq!(
        (status, &reported["attempts"][0]["greeting"]),
        (Some(0), &"absent".into()),
        "{reported}"
    );
    assert!(reported["summary"].as_str().unwrap().contains("no greeting so far"), "{reported}");
    assert!(drawn.contains("587 via"), "{drawn}");
}

#[test]
fn a_tunnel_through_a_tunnel_carries_a_session() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.port();
    let server = thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        stream.write_all(b"220 ready\r\n").unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        stream.write_all(b"221 bye\r\n").unwrap();
        said
    });
    // The variable would have the inner one go through itself.
    let via = format!(
        "command:{} connect --stdio --plan %p:starttls 127.0.0.1",
        env!("CARGO_BIN_EXE_mailport")
    );
    let connected = through(&via, &[port], &hasty()).unwrap();
    (&connected.stream).write_all(b"QUIT\r\n").unwrap();
    connected.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&connected.stream), "220 ready\r\n221 bye\r\n");
    assert_eq!(server.join().unwrap(), "QUIT\r\n");
}
