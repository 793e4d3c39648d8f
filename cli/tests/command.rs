//! The command `mailport`, run as its users run it.
#![expect(clippy::unwrap_used, reason = "a test that cannot set its scene has failed")]

use std::fs::Permissions;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use socket2::{Domain, SockRef, Socket, Type};

fn mailport(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mailport"));
    command.args(args).stdin(Stdio::null());
    for variable in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "COLUMNS", "MAILPORT_VIA"] {
        command.env_remove(variable);
    }
    // No folder can be made there, so nothing is remembered, and no user's cache is touched.
    command.env("XDG_CACHE_HOME", "/proc/none");
    command
}

fn run(args: &[&str]) -> Output {
    mailport(args).stdin(Stdio::null()).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Status, standard output, standard error.
fn parts(output: &Output) -> (Option<i32>, &str, &str) {
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// A port that closes every connection as soon as its peer has.
fn closing() -> u16 {
    let (listener, port) = listener();
    thread::spawn(move || {
        for connection in listener.incoming() {
            let _ = std::io::copy(&mut connection.unwrap(), &mut std::io::sink());
        }
    });
    port
}

/// A port that refuses for as long as the socket lives: bound, and not listening.
fn refusing() -> (Socket, u16) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    let port = socket.local_addr().unwrap().as_socket().unwrap().port();
    (socket, port)
}

/// `connect` with this plan, these options, to 127.0.0.1.
fn connect<'a>(plan: &'a str, options: &[&'a str]) -> Vec<&'a str> {
    [&["connect", "--plan", plan], options, &["127.0.0.1"]].concat()
}

#[test]
fn a_dial_that_connects_says_so_on_standard_output() {
    let (_listener, port) = listener();
    let output = run(&connect(&format!("{port}:starttls"), &[]));
    let (status, stdout, stderr) = parts(&output);
    assert_eq!((status, stderr), (Some(0), ""));
    assert!(stdout.starts_with(&format!("connected to {port} over IPv4 in ")), "{stdout}");
    assert_eq!(stdout.lines().count(), 1);
}

#[test]
fn a_fallback_names_the_port_that_was_not_there() {
    let (_listener, open) = listener();
    let (_socket, refused) = refusing();
    let output = run(&connect(&format!("{refused}:starttls,{open}:starttls"), &[]));
    let (status, stdout, _) = parts(&output);
    let expected = format!("{refused} is refused; connected to {open} over IPv4 in ");
    assert!(status == Some(0) && stdout.starts_with(&expected), "{stdout}");
}

#[test]
fn a_dial_that_fails_says_so_on_standard_error_and_draws_what_was_asked_for() {
    let (_socket, port) = refusing();
    for (options, rows) in [(&[][..], 0), (&["--stdio"], 0), (&["--explain"], 2)] {
        let output = run(&connect(&format!("{port}:starttls"), options));
        let (status, stdout, stderr) = parts(&output);
        assert_eq!((status, stdout.lines().count()), (Some(1), rows), "{stdout}");
        assert!(stderr.starts_with(&format!("mailport: 127.0.0.1: {port} is refused")), "{stderr}");
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
#[test]
fn to_run_a_program_on_another_processor_is_an_error_that_says_so() {
    let output = run(&["run", "true"]);
    let said = text(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains("mailport run does not support this processor"), "{said}");
}

#[test]
fn misuse_is_status_2_and_names_the_part() {
    let long = "a".repeat(254);
    for (line, part) in [
        ("--plan 587:ssl h", "`ssl` is not a TLS mode"),
        ("--plan 70000:starttls h", "`70000` is not a port"),
        ("--plan best h", "no plan is named `best`"),
        ("--plan 25:cleartext h", "--allow-cleartext"),
        ("--plan 25:starttls --port 25 h", "cannot be used with"),
        ("--port 0 h", "0 is not in 1..=65535"),
        ("--port smtp h", "'smtp'"),
        ("--greeting-wait on h", "'--greeting-wait <TIME>'"),
        ("--greeting-wait 1ms h", "greeting_wait of 1ms is too short"),
        ("--timeout 30 h", "write 30s"),
        ("--timeout 1 parsec h", "error: "),
        ("--timeout 1parsec h", "`parsec` is not a unit"),
        ("--timeout 100ms h", "timeout of 100ms is below the attempt delay of 250ms"),
        ("--attempt-delay 1ms h", "attempt delay of 1ms is too short"),
        ("--patience soon h", "'--patience <TIME>'"),
        ("--family ipv5 h", "prefer-ipv6"),
        ("--source mail h", "'--source <ADDRESS>'"),
        ("--source ::1 --family ipv4 h", "source address ::1"),
        ("--device a-name-of-16-byt h", "`a-name-of-16-byt`"),
        ("--device mailport-none 127.0.0.1", "`mailport-none`"),
        ("--mark blue h", "`blue`"),
        ("--json --stdio h", "cannot be used with '--stdio'"),
        ("--fast h", "'--fast'"),
        ("[::1]", "without brackets"),
        ("mail.example:587", "`mail.example:587`"),
        (&long, "254 bytes"),
        ("", "<HOST>"),
    ] {
        let args: Vec<&str> = ["connect"].into_iter().chain(line.split_whitespace()).collect();
        let output = run(&args);
        let (status, stdout, stderr) = parts(&output);
        assert_eq!((status, stdout), (Some(2), ""), "{line}: {stderr}");
        assert!(stderr.contains(part), "{line}: {stderr}");
    }
}

#[test]
fn cleartext_is_dialled_when_allowed_and_reported() {
    let (_listener, port) = listener();
    let output = run(&connect(&format!("{port}:cleartext"), &["--allow-cleartext"]));
    let (status, stdout, _) = parts(&output);
    assert!(status == Some(0) && stdout.contains("in cleartext"), "{stdout}");
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn json_is_one_object_with_the_same_keys_whatever_happened() {
    let (_listener, open) = listener();
    let (_socket, refused) = refusing();
    let both = format!("{refused}:starttls,{open}:implicit");
    let none = format!("{refused}:starttls");
    let mut shapes = Vec::new();
    for (plan, expected) in [(both, 0), (none, 1)] {
        let output = run(&connect(&plan, &["--json"]));
        let (status, stdout, stderr) = parts(&output);
        assert_eq!((status, stderr, stdout.lines().count()), (Some(expected), "", 1));
        let value: Value = serde_json::from_str(stdout).unwrap();
        assert_eq!(value["version"], 1);
        assert!(value["elapsed_ms"].as_f64().unwrap() > 0.0);
        assert_eq!(value["attempts"][0]["outcome"], "reset");
        assert_eq!(value["attempts"][0]["errno"], "ECONNREFUSED");
        assert_eq!(value["connected"].is_null(), expected == 1);
        assert_eq!(value["error"].is_null(), expected == 0);
        if expected == 0 {
            let connected = serde_json::json!(
                {"port": open, "tls": "implicit", "address": "127.0.0.1", "family": "ipv4"}
            );
            assert_eq!(value["connected"], connected);
            assert_eq!(value["attempts"][1]["reason"], format!("{refused} was refused"));
        }
        shapes.push((keys(&value).join(" "), keys(&value["attempts"][0]).join(" ")));
    }
    assert_eq!(shapes[0], shapes[1]);
    // `serde_json` sorts the keys that it reads.
    assert_eq!(shapes[0].0, "attempts connected elapsed_ms error summary version");
    assert_eq!(
        shapes[0].1,
        "address ended_ms errno family icmp outcome port reason started_ms syns tls"
    );
}

#[test]
fn explain_draws_a_bar_for_each_attempt_after_the_summary() {
    let (_listener, open) = listener();
    let (_socket, refused) = refusing();
    let plan = format!("{refused}:starttls,{open}:starttls");
    let output = run(&connect(&plan, &["--explain"]));
    let (status, stdout, stderr) = parts(&output);
    assert_eq!((status, stderr), (Some(0), ""));
    let lines: Vec<&str> = stdout.lines().collect();
    let [summary, axis, first, second] = lines[..] else { panic!("{stdout}") };
    assert!(summary.contains("connected to") && axis.ends_with("took"), "{stdout}");
    assert!(first.contains(&refused.to_string()) && first.ends_with("reset"), "{stdout}");
    assert!(second.contains(&open.to_string()) && second.ends_with("connected"), "{stdout}");
    assert!(lines.iter().all(|line| line.chars().count() <= 80), "{stdout}");

    let output = run(&connect(&plan, &["--explain", "--json"]));
    let (_, stdout, stderr) = parts(&output);
    assert!(serde_json::from_str::<Value>(stdout).is_ok(), "{stdout}");
    assert_eq!(stderr.lines().count(), 3, "{stderr}");
}

#[test]
fn a_picture_is_drawn_of_every_dial_and_replaces_the_one_before() {
    let open = closing();
    let (_socket, refused) = refusing();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dial.svg");
    let svg = ["--svg", file.to_str().unwrap()];
    let both = format!("{refused}:starttls,{open}:starttls");
    let only = format!("{refused}:starttls");
    for (plan, more, status) in [
        (&both, &[][..], 0),
        (&both, &["--json"], 0),
        (&both, &["--explain"], 0),
        (&both, &["--stdio"], 0),
        (&only, &[], 1),
        (&only, &["--stdio", "--explain"], 1),
    ] {
        let output = run(&connect(plan, &[&svg[..], more].concat()));
        assert_eq!(output.status.code(), Some(status), "{}", text(&output.stderr));
        let picture = std::fs::read_to_string(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        assert!(picture.starts_with("<svg ") && picture.ends_with("</svg>\n"), "{picture}");
        assert!(picture.contains(&format!("{refused} is refused")), "{picture}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing beside it");
    // A link stays one, and what it leads to keeps its permissions.
    let old = folder.path().join("old.svg");
    std::fs::write(&old, "old").unwrap();
    std::fs::set_permissions(&old, Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::symlink("old.svg", &file).unwrap();
    assert!(run(&connect(&both, &svg)).status.success());
    assert!(file.is_symlink() && std::fs::read_to_string(&old).unwrap().starts_with("<svg "));
    assert_eq!(std::fs::metadata(&old).unwrap().permissions().mode() & 0o777, 0o640);
}

#[test]
fn a_picture_that_cannot_be_written_names_its_file_and_hides_no_result() {
    let open = closing();
    let plan = format!("{open}:starttls");
    for (file, reason) in [("/no/such/folder/dial.svg", "No such file"), ("/dev/full", "No space")]
    {
        let output = run(&connect(&plan, &["--svg", file]));
        let (status, stdout, stderr) = parts(&output);
        assert!(status == Some(1) && stdout.starts_with("connected to "), "{stdout}");
        assert!(stderr.starts_with(&format!("mailport: {file}: {reason}")), "{stderr}");
        // The session matters more than its picture.
        assert_eq!(run(&connect(&plan, &["--svg", file, "--stdio"])).status.code(), Some(0));
    }
    assert!(std::fs::metadata("/dev/full").unwrap().file_type().is_char_device());
    let output = run(&connect(&plan, &["--svg", "-"]));
    let (status, _, stderr) = parts(&output);
    assert!(status == Some(2) && stderr.contains("not to standard output"), "{stderr}");
}

#[test]
fn defaults_are_those_of_the_library_and_of_the_help() {
    let output = run(&["defaults", "--json"]);
    let (status, stdout, stderr) = parts(&output);
    assert_eq!((status, stderr), (Some(0), ""));
    let all: Vec<Value> = serde_json::from_str(stdout).unwrap();
    let of = |option: &str| all.iter().find(|one| one["option"] == option).unwrap();
    let config = mailport::Config::default();
    for (option, time) in [
        ("--attempt-delay", config.attempt_delay),
        ("--port-delay", config.port_delay),
        ("--timeout", config.timeout),
    ] {
        assert_eq!(of(option)["value"].as_u64().map(u128::from), Some(time.as_millis()));
        assert_eq!(of(option)["unit"], "ms");
    }
    let long = "1.3s, or 1s and two round trips";
    assert_eq!(of("--patience")["value"], "automatic");
    assert!(of("--patience")["rule"].as_str().unwrap().contains(long));
    assert_eq!(of("--plan")["value"], mailport::Plan::default().to_string());
    assert_eq!(of("--sequential")["value"], mailport::Plan::default().is_sequential());
    assert_eq!(of("--mark")["value"], Value::Null);
    assert_eq!(of("--try-failed-last")["value"], config.try_failed_last);
    assert_eq!(of("--cache")["value"], "$XDG_CACHE_HOME/mailport/cache.json");

    let help = run(&["connect", "--help"]);
    let options: Vec<&str> = text(&help.stdout)
        .lines()
        .filter_map(|line| line.strip_prefix("      --"))
        .filter_map(|line| line.split([' ', ',']).next())
        .collect();
    let table = run(&["defaults"]);
    let (status, table, _) = parts(&table);
    assert!(status == Some(0) && table.lines().all(|line| line.chars().count() <= 80), "{table}");
    for option in &options {
        assert!(all.iter().any(|one| one["option"] == format!("--{option}")), "{option}");
        assert!(table.contains(&format!(" --{option} ")), "{option}");
    }
    // And what is the probe's own, or has another value there; and the limits of a relay.
    let others: Vec<&str> =
        all[options.len()..].iter().filter_map(|o| o["option"].as_str()).collect();
    let relay = [
        "ports",
        "allow",
        "max-sessions",
        "max-sessions-per-client",
        "idle-timeout",
        "mailbox-idle-timeout",
        "drain-timeout",
    ];
    let relay = relay.map(|name| format!("relay --{name}"));
    let (of_probe, of_relay) = others.split_at(3);
    assert_eq!(of_probe, ["probe --file", "probe --tls", "probe --attempt-timeout"]);
    assert_eq!(of_relay, relay);
    let deadline = of("probe --attempt-timeout")["value"].as_u64().map(u128::from);
    assert_eq!(deadline, Some(mailport::Prober::ATTEMPT_TIMEOUT.as_millis()));
    assert!(text(&run(&["probe", "--help"]).stdout).contains("[default: 5s]"));
}

#[test]
fn colours_are_for_terminals_and_for_those_who_want_them() {
    let (_socket, port) = refusing();
    let (_listener, open) = listener();
    let plan = format!("{port}:starttls,{open}:starttls");
    for (variables, coloured) in [
        (&[][..], false),
        (&[("CLICOLOR_FORCE", "1")], true),
        (&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], false),
    ] {
        let mut command = mailport(&connect(&plan, &["--explain"]));
        let output = command.envs(variables.iter().copied()).output().unwrap();
        assert_eq!(text(&output.stdout).contains('\x1b'), coloured, "{variables:?}");
    }
}

#[test]
fn a_reader_that_has_gone_is_no_failure_of_the_dial() {
    let (_listener, port) = listener();
    let plan = format!("{port}:starttls");
    for options in [&[][..], &["--json"], &["--explain"]] {
        let (gone, stdout) = UnixStream::pair().unwrap();
        drop(gone);
        let mut command = mailport(&connect(&plan, options));
        let output = command.stdout(OwnedFd::from(stdout)).output().unwrap();
        assert_eq!(parts(&output), (Some(0), "", ""), "{options:?}");
    }
}

#[test]
fn a_result_that_cannot_be_written_is_a_failure() {
    let (_listener, port) = listener();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = mailport(&connect(&format!("{port}:starttls"), &[]));
    let output = command.stdout(full).output().unwrap();
    let (status, _, stderr) = parts(&output);
    assert!(status == Some(1) && stderr.contains("standard output: No space left"), "{stderr}");
}

/// `--stdio` with pipes at both ends.
struct Tunnel {
    child: Child,
    stdout: BufReader<ChildStdout>,
    /// The server's side of its connection.
    server: TcpStream,
}

impl Tunnel {
    /// A tunnel that stands: the greeting has come through.
    fn open() -> Tunnel {
        let (listener, port) = listener();
        let mut command = mailport(&connect(&format!("{port}:starttls"), &["--stdio"]));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut server = listener.accept().unwrap().0;
        server.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        server.write_all(b"220 ready\r\n").unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut greeting = String::new();
        stdout.read_line(&mut greeting).unwrap();
        assert_eq!(greeting, "220 ready\r\n", "nothing but the server's bytes");
        Tunnel { child, stdout, server }
    }
}

#[test]
fn a_tunnel_carries_a_session_and_passes_the_end_of_its_input_on() {
    let Tunnel { mut child, mut stdout, mut server } = Tunnel::open();
    let session = thread::spawn(move || {
        let mut commands = String::new();
        server.read_to_string(&mut commands).unwrap();
        // Half closed: the client has said all, and is still listening.
        server.write_all(b"250 ok\r\n221 bye\r\n").unwrap();
        commands
    });
    child.stdin.take().unwrap().write_all(b"EHLO localhost\r\nQUIT\r\n").unwrap();
    assert_eq!(session.join().unwrap(), "EHLO localhost\r\nQUIT\r\n");
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "250 ok\r\n221 bye\r\n");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stderr).starts_with("connected to "), "the summary is for people");
}

#[test]
fn a_tunnel_ends_its_output_when_the_server_does_though_its_input_is_open() {
    let Tunnel { mut child, mut stdout, mut server } = Tunnel::open();
    server.write_all(b"421 closing\r\n").unwrap();
    server.shutdown(Shutdown::Write).unwrap();
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "421 closing\r\n");
    assert!(child.try_wait().unwrap().is_none(), "it still takes what the mail client says");
    drop(child.stdin.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_tunnel_on_one_socket_ends_it_one_way_when_the_server_does() {
    let (listener, port) = listener();
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let mut command = mailport(&connect(&format!("{port}:starttls"), &["--stdio"]));
    // As a program that starts a command for its socket does: it is the input, and the output.
    command.stdin(OwnedFd::from(theirs.try_clone().unwrap())).stdout(OwnedFd::from(theirs));
    let mut child = command.stderr(Stdio::null()).spawn().unwrap();
    drop(command);
    let mut server = listener.accept().unwrap().0;
    server.write_all(b"421 closing\r\n").unwrap();
    server.shutdown(Shutdown::Write).unwrap();
    ours.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut all = String::new();
    ours.read_to_string(&mut all).unwrap();
    assert_eq!(all, "421 closing\r\n");
    ours.write_all(b"QUIT\r\n").unwrap();
    drop(ours);
    server.read_to_string(&mut all).unwrap();
    assert_eq!(all, "421 closing\r\nQUIT\r\n", "it still takes what the mail client says");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_tunnel_that_is_reset_does_not_wait_for_its_input() {
    let Tunnel { mut child, stdout: _stdout, server } = Tunnel::open();
    SockRef::from(&server).set_linger(Some(Duration::ZERO)).unwrap();
    let _open = child.stdin.take();
    drop(server);
    let output = child.wait_with_output().unwrap();
    let (status, _, stderr) = parts(&output);
    assert_eq!(status, Some(1));
    assert!(stderr.contains("mailport: the connection broke: Connection reset"), "{stderr}");
}

#[test]
fn a_tunnel_whose_reader_has_gone_ends_quietly() {
    let Tunnel { mut child, stdout, mut server } = Tunnel::open();
    let _open = child.stdin.take();
    drop(stdout);
    // Another test that starts a process at this moment holds a copy of the reader until its exec.
    while server.write_all(b"250 ok\r\n").is_ok() {
        thread::sleep(Duration::from_millis(1));
    }
    let output = child.wait_with_output().unwrap();
    let (status, _, stderr) = parts(&output);
    assert_eq!((status, stderr.lines().count()), (Some(0), 1), "{stderr}");
}

#[test]
fn the_help_has_every_option_with_its_default() {
    let output = run(&["connect", "--help"]);
    let (status, stdout, stderr) = parts(&output);
    assert_eq!((status, stderr), (Some(0), ""));
    for (option, default) in [
        ("--plan <PLAN>", "submission"),
        ("--port <PORT>", "none, --plan counts"),
        ("--attempt-delay <TIME>", "250ms"),
        ("--port-delay <TIME>", "500ms"),
        ("--patience <TIME>", "automatic"),
        ("--timeout <TIME>", "30s"),
        ("--sequential", "off"),
        ("--family <FAMILY>", "any"),
        ("--greeting-wait <TIME>", "automatic"),
        ("--via <VIA>", "MAILPORT_VIA, or none"),
        ("--source <ADDRESS>", "the kernel's choice"),
        ("--device <INTERFACE>", "the kernel's choice"),
        ("--mark <MARK>", "none"),
        ("--cache <FILE|off>", "$XDG_CACHE_HOME/mailport/cache.json"),
        ("--try-failed-last", "off"),
        ("--allow-cleartext", "refused"),
        ("--json", "off"),
        ("--explain", "off"),
        ("--svg <FILE>", "off"),
        ("--stdio", "off"),
    ] {
        let (_, after) = stdout.split_once(&format!("      {option}\n")).expect(option);
        let entry = after.split("\n      --").next().unwrap();
        assert!(entry.contains(&format!("[default: {default}]")), "{option}: {entry}");
    }
}

#[test]
fn help_goes_to_standard_output_and_nothing_at_all_is_misuse() {
    let output = run(&["--help"]);
    let example = "Example: mailport connect mail.example.com\n";
    assert!(output.status.success() && text(&output.stdout).starts_with(example));
    let output = run(&["--version"]);
    assert_eq!(text(&output.stdout), concat!("mailport ", env!("CARGO_PKG_VERSION"), "\n"));
    let output = run(&[]);
    let (status, stdout, stderr) = parts(&output);
    assert_eq!((status, stdout), (Some(2), ""));
    assert!(stderr.contains("Usage: mailport"), "{stderr}");
}

#[test]
fn a_host_in_the_place_of_a_subcommand_gets_the_command_that_is_meant() {
    for (word, tip) in [
        ("mail.example.com", "mail.example.com"),
        ("localhost", "localhost"),
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("mail.example.com:465", "mail.example.com --port 465"),
    ] {
        let output = run(&[word]);
        let (status, stdout, stderr) = parts(&output);
        assert_eq!((status, stdout), (Some(2), ""));
        assert!(stderr.contains(&format!("use mailport connect {tip}\n")), "{stderr}");
    }
    for word in ["conect", "mail.example.com:0", "a.example\u{1b}[2J", "/etc/passwd"] {
        let stderr = run(&[word]).stderr;
        assert!(!text(&stderr).contains("use mailport connect"), "{}", text(&stderr));
    }
}

#[test]
fn completions_and_manual_pages_know_the_options() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let output = run(&["completions", shell]);
        assert!(output.status.success() && text(&output.stdout).contains("attempt-delay"));
    }
    let root = run(&["man"]);
    assert!(text(&root.stdout).contains("mailport\\-connect(1)"));
    let page = run(&["man", "connect"]);
    assert!(text(&page.stdout).contains("\\-\\-attempt\\-delay"), "{}", text(&page.stdout));
    for names in [&["man", "relay", "nft"][..], &["man", "relay-nft"]] {
        let output = run(names);
        let page = text(&output.stdout);
        assert!(page.contains("[\\-\\-port PORT]"), "a synopsis with values: {page}");
        for section in ["EXAMPLES", "SEE ALSO"] {
            assert!(
                page.contains(&format!(".SH \"{section}\""))
                    || page.contains(&format!(".SH {section}\n")),
                "{page}"
            );
        }
    }
    let output = run(&["man", "relay", "dance"]);
    assert!(parts(&output).0 == Some(2) && text(&output.stderr).contains("`relay-dance`"));
    let output = run(&["man", "dance"]);
    let (status, _, stderr) = parts(&output);
    assert!(status == Some(2) && stderr.contains("`dance`"), "{stderr}");
}
