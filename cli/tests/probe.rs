//! The command `mailport probe`, run as its users run it.
#![expect(clippy::unwrap_used, reason = "a test that cannot set its scene has failed")]

mod common;

use std::io::Write;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use common::{Port, open, refused};

fn mailport(args: &[&str], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mailport"));
    command.arg("probe").args(args);
    run(command, input)
}

fn run(mut command: Command, input: &str) -> Output {
    for variable in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "COLUMNS"] {
        command.env_remove(variable);
    }
    // No folder can be made there, so nothing is remembered, and no user's cache is touched.
    command.env("XDG_CACHE_HOME", "/proc/none");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A command that does not read its input may have closed it.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn parts(output: &Output) -> (Option<i32>, &str, &str) {
    let text = |bytes| std::str::from_utf8(bytes).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn services(ports: &[u16]) -> String {
    ports.iter().map(|port| format!("{port}:starttls")).collect::<Vec<_>>().join(",")
}

#[test]
fn one_host_is_a_sentence_and_a_matrix() {
    let (listener, other, refusing) = (open(), open(), refused());
    let plan = services(&[refusing.port(), listener.port(), other.port()]);
    let output = mailport(&["--plan", &plan, "127.0.0.1"], "");
    let (status, stdout, stderr) = parts(&output);
    assert_eq!((status, stderr), (Some(0), ""));
    let lines: Vec<&str> = stdout.lines().collect();
    let [summary, headings, cells, choice] = lines[..] else { panic!("{stdout}") };
    let (refused, open) = (refusing.port(), listener.port());
    let expected = format!("127.0.0.1: {refused} is refused; a dial would be connected to {open} ");
    assert!(summary.starts_with(&expected), "{stdout}");
    assert!(headings.trim().starts_with("address ") && headings.contains(":starttls"), "{stdout}");
    assert!(cells.contains("reset ") && cells.matches("connected ").count() == 2, "{stdout}");
    let column = headings.find(&format!("{open}:")).unwrap();
    assert_eq!(choice.find("<- a dial's choice"), Some(column), "{stdout}");
    assert!(!stdout.contains('\x1b') && lines.iter().all(|line| line.len() < 120), "{stdout}");
}

#[test]
fn status_is_1_as_soon_as_one_host_would_not_be_reached() {
    let (listener, refusing) = (open(), refused());
    let plan = services(&[refusing.port(), listener.port()]);
    let output = mailport(&["--plan", &plan, "127.0.0.1", "127.0.0.2"], "");
    let (status, stdout, stderr) = parts(&output);
    // Only 127.0.0.1 listens.
    assert_eq!((status, stderr), (Some(1), ""), "{stdout}");
    assert!(stdout.contains("; nothing is left to try (after "), "{stdout}");
    assert!(stdout.contains("   2 reports\n") && stdout.contains("without the 2 of localhost"));
}

#[test]
fn json_is_one_object_with_these_keys() {
    let (listener, refusing) = (open(), refused());
    let plan = services(&[refusing.port(), listener.port()]);
    let input = "# two\nlocalhost kind=home\n127.0.0.1\n127.0.0.1 user=b\n";
    let output = mailport(&["--plan", &plan, "--family", "ipv4", "--file", "-", "--json"], input);
    let (status, stdout, stderr) = parts(&output);
    assert_eq!((status, stderr, stdout.lines().count()), (Some(0), "", 1));
    let value: Value = serde_json::from_str(stdout).unwrap();
    let keys = |value: &Value| {
        value.as_object().unwrap().keys().map(String::as_str).collect::<Vec<_>>().join(" ")
    };
    assert!(stdout.starts_with(r#"{"version":1,"hosts":[{"host":"localhost","lookup":{"#));
    let hosts = value["hosts"].as_array().unwrap();
    assert_eq!(hosts.len(), 2, "a server is probed once");
    for host in hosts {
        assert_eq!(keys(host), "attempts choice host lookup summary");
        let attempt = &host["attempts"][0];
        // The same keys as in a report of connect.
        assert_eq!(
            keys(attempt),
            "address ended_ms errno family icmp outcome port reason started_ms syns tls"
        );
        assert_eq!(attempt["outcome"], "reset");
        assert_eq!(attempt["reason"], "every candidate is tried");
        assert_eq!(keys(&host["choice"]), "address after_ms family port tls");
        assert_eq!(host["choice"]["port"], listener.port());
    }
    assert_eq!(keys(&hosts[0]["lookup"]), "addresses ended_ms error hedged");
    assert_eq!(hosts[1]["lookup"], Value::Null);
    let survey = &value["survey"];
    assert_eq!(keys(survey), "at_home cases n redundant reports servers");
    assert_eq!((&survey["reports"], &survey["n"]), (&3.into(), &0.into()));
    let output = mailport(&["--plan", &services(&[refusing.port()]), "127.0.0.1", "--json"], "");
    let value: Value = serde_json::from_str(parts(&output).1).unwrap();
    assert_eq!((&value["survey"], &value["hosts"][0]["choice"]), (&Value::Null, &Value::Null));
}

#[test]
fn a_picture_has_every_host() {
    let (listener, refusing) = (open(), refused());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("probe.svg");
    let plan = services(&[refusing.port(), listener.port()]);
    let args = ["--plan", &plan, "--svg", path.to_str().unwrap(), "127.0.0.1", "127.0.0.2"];
    mailport(&args, "");
    let picture = std::fs::read_to_string(path).unwrap();
    let document = roxmltree::Document::parse(&picture).unwrap();
    let text: String = document.descendants().filter_map(|node| node.text()).collect();
    assert!(text.contains("127.0.0.1: ") && text.contains("127.0.0.2: "), "{text}");
}

#[test]
fn misuse_is_status_2_and_names_file_line_and_word() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hosts");
    let path = path.to_str().unwrap();
    for (text, args, part) in [
        ("a.example\nb.example knd=ISP", &["--file", path][..], "hosts, line 2: `knd=ISP`: "),
        ("mail.example:587", &["--file", path], "line 1: `mail.example:587`"),
        ("# empty", &["--file", path], "no host is given"),
        ("a.example x=y", &["--file", "-"], "standard input, line 1: `x=y`"),
        ("", &["--file", "/does/not/exist"], "/does/not/exist: No such file"),
        ("", &[], "<HOST>"),
        ("", &["--attempt-timeout", "5", "h"], "write 5s"),
        ("", &["--attempt-timeout", "1ms", "h"], "attempt timeout of 1ms is too short"),
        ("", &["--family", "ipv4", "127.0.0.1", "::1"], "::1: "),
        ("", &["--stdio", "h"], "'--stdio'"),
        ("", &["--plan", "25:cleartext", "h"], "--allow-cleartext"),
    ] {
        std::fs::write(path, text).unwrap();
        let output = mailport(args, text);
        let (status, stdout, stderr) = parts(&output);
        assert_eq!((status, stdout), (Some(2), ""), "{args:?}: {stderr}");
        assert!(stderr.contains(part), "{args:?}: {stderr}");
    }
}

#[test]
fn few_descriptors_make_a_probe_slower_and_none_make_it_local() {
    let (listener, refusing) = (open(), refused());
    let plan = services(&[refusing.port(), listener.port()]);
    let hosts: Vec<String> = (1..=40).map(|number| format!("127.0.0.{number}")).collect();
    let probe = |descriptors: u32| {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("ulimit -n {descriptors}; exec \"$0\" \"$@\"")]);
        command.args([env!("CARGO_BIN_EXE_mailport"), "probe", "--plan", &plan, "--json"]);
        command.args(&hosts);
        let output = run(command, "");
        let value: Value = serde_json::from_str(parts(&output).1).unwrap();
        let hosts = value["hosts"].as_array().unwrap().iter();
        let attempts = hosts.flat_map(|host| host["attempts"].as_array().unwrap().clone());
        let reported = attempts.map(|a| (a["outcome"].to_string(), a["errno"].to_string()));
        reported.collect::<Vec<_>>()
    };
    let reported = probe(8);
    assert!(
        reported.len() == 80 && reported.iter().all(|(outcome, _)| outcome != r#""local""#),
        "{reported:?}"
    );
    let reported = probe(5);
    let local = (r#""local""#.to_owned(), r#""EMFILE""#.to_owned());
    assert!(
        reported.len() == 80 && reported.iter().all(|attempt| *attempt == local),
        "{reported:?}"
    );
}

#[test]
fn colours_are_for_terminals_and_for_those_who_want_them() {
    let listener = open();
    for (variables, coloured) in [
        (&[][..], false),
        (&[("CLICOLOR_FORCE", "1")], true),
        (&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], false),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mailport"));
        command.args(["probe", "--plan", &services(&[listener.port()]), "127.0.0.1"]);
        for variable in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE"] {
            command.env_remove(variable);
        }
        command.env("XDG_CACHE_HOME", "/proc/none");
        let output = command.envs(variables.iter().copied()).output().unwrap();
        assert_eq!(parts(&output).1.contains('\x1b'), coloured, "{variables:?}");
    }
}
