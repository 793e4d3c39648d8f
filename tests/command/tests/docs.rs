//! The command lines of README.md and docs/ are accepted by the command.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn mailport(arguments: &[&str]) -> Output {
    let mut command = Command::new(mailport_command_tests::mailport());
    command.args(arguments).stdin(Stdio::null()).env("COLUMNS", "200");
    command.env("XDG_CACHE_HOME", "/proc/none").env_remove("MAILPORT_VIA").current_dir(root());
    command.output().expect("the command runs")
}

/// README and the pages of docs/, with their names.
fn pages() -> Vec<(String, String)> {
    let docs = fs::read_dir(root().join("docs")).expect("a directory");
    let docs = docs.map(|entry| entry.expect("an entry").path());
    docs.chain([root().join("README.md")])
        .filter(|path| path.extension().is_some_and(|end| end == "md"))
        .map(|path| (path.display().to_string(), fs::read_to_string(&path).expect("a page")))
        .collect()
}

/// Every command line of a page: the lines of its blocks for a shell, and what it has in backticks.
fn command_lines(page: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut block: Option<bool> = None;
    for line in page.lines() {
        match (line.strip_prefix("```"), block) {
            (Some(_), Some(_)) => block = None,
            (Some(language), None) => block = Some(["sh", "console"].contains(&language)),
            (None, Some(true)) => {
                let line = line.trim_start_matches("$ ");
                if let Some(at) = line.find("mailport ").filter(|&at| is_command(&line[..at])) {
                    let is_quoted = line[..at].ends_with('"');
                    let end = line[at..].find('"').filter(|_| is_quoted);
                    lines.push(line[at..end.map_or(line.len(), |end| at + end)].to_owned());
                }
            }
            (None, Some(false)) => {}
            (None, None) => {
                let codes = line.split('`').skip(1).step_by(2);
                lines.extend(codes.filter(|code| code.starts_with("mailport ")).map(str::to_owned));
            }
        }
    }
    let end = |line: &str| {
        let end = line.find(" #").unwrap_or(line.len());
        line[..end].split(" | ").next().expect("a part").trim().to_owned()
    };
    lines.iter().map(|line| end(line)).collect()
}

/// Whether a command may follow this text.
fn is_command(before: &str) -> bool {
    before.is_empty() || before.ends_with('"')
}

/// The subcommands at the beginning of a command line.
fn subcommands<'a>(words: &[&'a str]) -> Vec<&'a str> {
    const NESTED: [&str; 8] = ["nft", "pac", "status", "list", "forget", "clear", "path", "help"];
    let first = words.iter().take(1).copied();
    let second = words.iter().skip(1).take(1).copied().filter(|word| NESTED.contains(word));
    first.chain(second).collect()
}

#[test]
fn every_option_in_a_documented_command_line_exists() {
    let mut helps: BTreeMap<String, String> = BTreeMap::new();
    let mut count = 0;
    for (name, page) in pages() {
        for line in command_lines(&page) {
            let words: Vec<&str> = line.split_whitespace().skip(1).collect();
            // `mailport SUBCOMMAND --help` and sentences that begin with the name.
            let names = subcommands(&words);
            if !names.iter().all(|word| word.bytes().all(|b| b.is_ascii_lowercase())) {
                continue;
            }
            let help = helps.entry(names.join(" ")).or_insert_with(|| {
                let output = mailport(&[names.as_slice(), &["--help"]].concat());
                assert!(output.status.success(), "{name}: {line}: no such subcommand");
                String::from_utf8_lossy(&output.stdout).into_owned()
            });
            // What follows the program of `mailport run` is the program's.
            let program = words.iter().skip(1).position(|word| !word.starts_with('-'));
            let ours = match (words.first(), program) {
                (Some(&"run"), Some(place)) => &words[..=place],
                _ => &words[..],
            };
            for word in ours.iter().filter(|word| word.starts_with("--") && word.len() > 2) {
                let option = word.trim_end_matches(['"', ',']);
                let is_known = help.split_whitespace().any(|known| known == option);
                assert!(is_known || option == "--help", "{name}: {line}: no option {option}");
                count += 1;
            }
        }
    }
    assert!(count > 20, "{count} options were found");
}

#[test]
fn every_documented_relay_has_settings_that_are_accepted() {
    let (_, page) = pages()
        .into_iter()
        .find(|(name, _)| name.ends_with("docs/relay.md"))
        .expect("the page of the relay");
    let lines = command_lines(&page);
    let relays: Vec<&String> =
        lines.iter().filter(|line| line.starts_with("mailport relay --listen")).collect();
    assert_eq!(relays.len(), 3);
    for line in relays {
        let words: Vec<&str> = line.split_whitespace().skip(1).chain(["--check"]).collect();
        let output = mailport(&words);
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let output = mailport(&["relay", "--config", "examples/systemd/relay.toml", "--check"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
