//! The examples that are programs do what they are there to show.
//!
//! `cargo test` compiles them; with `--test examples` alone, `cargo build --examples` must come first.

mod common;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::TcpListener;
use std::process::{Command, Output};
use std::thread;

use common::{Port, open, refused};

/// Runs an example, which cargo puts beside the folder of this test.
fn example(name: &str, arguments: &[&str]) -> Output {
    let this = std::env::current_exe().expect("a program");
    let folder = this.ancestors().nth(2).expect("two folders above").join("examples");
    let mut command = Command::new(folder.join(name));
    let output = command.args(arguments).output();
    output.unwrap_or_else(|error| panic!("{name}: {error}: cargo build --examples"))
}

/// What it prints, which must end well.
fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A port where every client is greeted.
fn greeting() -> u16 {
    let listener: TcpListener = open();
    let port = listener.port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = stream.and_then(|mut stream| stream.write_all(b"220 ready\r\n"));
        }
    });
    port
}

#[test]
fn the_example_of_one_call_falls_back_and_reads_the_greeting() {
    let (refused, port) = (refused(), greeting());
    let plan = format!("{}:starttls,{port}:starttls", refused.port());
    let output = printed(&example("connect", &["127.0.0.1", &plan]));
    let [summary, greeting] = output.lines().collect::<Vec<_>>()[..] else { panic!("{output}") };
    assert!(summary.contains("refused") && summary.contains(&port.to_string()), "{summary}");
    assert_eq!(greeting, "220 ready");
    let output = printed(&example("connect", &["127.0.0.1", &format!("{port}:implicit")]));
    assert!(output.ends_with("the client starts TLS now\n"), "{output}");
}

#[test]
fn the_example_of_an_event_loop_dials_every_host() {
    let (refused, port) = (refused(), greeting());
    let hosts = ["127.0.0.1", "127.0.0.2", "127.0.0.3"];
    let plan = format!("{}:starttls,{port}:starttls", refused.port());
    let output = printed(&example("event_loop", &[&[&*plan], &hosts[..]].concat()));
    let ended: BTreeSet<&str> =
        output.lines().filter_map(|line| Some(line.split_once(':')?.0)).collect();
    assert_eq!(ended, BTreeSet::from(hosts), "{output}");
    // The listener is at the first address alone.
    for (host, line) in hosts.iter().map(|host| (host, line_of(&output, host))) {
        assert_eq!(line.contains(&format!("connected to {port}")), *host == hosts[0], "{line}");
    }
}

fn line_of<'a>(output: &'a str, host: &str) -> &'a str {
    output.lines().find(|line| line.starts_with(host)).expect("a line for each host")
}

#[test]
fn an_example_without_its_arguments_shows_its_usage() {
    for name in ["connect", "event_loop"] {
        let output = example(name, &[]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains("usage: "), "{name}: {said}");
    }
}
