//! What a person reads in this repository is plain technical English: no idiom that a reader has to
//! guess, and no old name of a part.

use std::fs;
use std::path::{Path, PathBuf};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// Everything that a person reads: directories with all that is below them, and files.
const READ: &[&str] = &[
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "SECURITY.md",
    "Makefile",
    "Cargo.toml",
    "docs",
    "src",
    "relay",
    "cli",
    "ffi",
    "include",
    "bindings",
    "examples",
    "benches",
    "debian",
    "fuzz/src",
    "tests",
];
/// This list itself.
const NOT_READ: &[&str] = &["tests/repository/tests/language.rs"];
/// Texts of others: patches of programs.
const OTHERS: &[&str] = &["examples/patches"];
const ENDINGS: &[&str] =
    &["md", "rs", "py", "pyi", "el", "c", "h", "3", "toml", "in", "sh", "service", "socket"];

/// Each idiom, with what to write in its place. A word of letters is found as a whole word.
const IDIOMS: &[(&str, &str)] = &[
    ("whoever", "name the person or the program"),
    ("nobody", "no client, no thread, …"),
    ("somebody", "name the person or the program"),
    ("whatever", "any"),
    ("told", "reported, described, or distinguished"),
    ("stands for", "means, or is replaced by"),
    ("of their own", "their own, or separate"),
    ("besides", "in parallel, or in addition"),
    ("for ever", "always, or forever"),
    ("of its own", "its own, or separate"),
    ("that is none", "that is not valid"),
    ("waited upon", "how long to wait for it"),
    ("speaks of", "says something about"),
    ("no news", "says nothing about"),
    ("as you wish", "by the user's choice"),
    ("no longer stands", "no longer waits for an answer, or is closed"),
    ("stands in brackets", "is written in brackets"),
    ("own trouble", "its own failure, or a local resource error"),
    ("own wants", "a local resource error"),
    ("sending server", "submission server"),
    ("mail reader", "mail client"),
    ("mail readers", "mail clients"),
    ("at the door", "when it comes in"),
    ("front door", "the targets"),
    ("doors", "listeners"),
    ("house", "repository"),
    ("the rooms", "modules"),
    ("pure room", "module without I/O"),
    ("resolution delay", "the look-up hedge: there is one look-up"),
    ("resolution_delay", "the look-up hedge: there is one look-up"),
    ("--strict", "--sequential"),
    ("--skip", "--try-failed-last"),
    ("--memory", "--cache"),
    ("--gate", "--greeting-wait"),
    ("--deadline", "--timeout"),
    ("--socks", "--listen-proxy"),
    ("--transparent", "--listen-transparent"),
];

/// What stays, with the reason.
const ALLOWED: &[(&str, &str, &str)] = &[
    ("docs/relay.md", "nobody", "the name of a user"),
    ("examples/systemd", "nobody", "the name of a user"),
    ("cli/src/relay", "nobody", "the name of a user"),
    ("tests/packages/wheel.sh", "--strict", "an option of twine"),
    ("tests/virtual/tests/paper.rs", "sending server", "words of the paper"),
    ("cli/tests", "nobody", "the name of a user"),
    ("tests/lab", "nobody", "the name of a user"),
];

fn is_text(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str());
    ending.is_some_and(|ending| ENDINGS.contains(&ending)) || path.ends_with("Makefile")
}

fn collect(path: &str, found: &mut Vec<String>) {
    if NOT_READ.contains(&path) || OTHERS.contains(&path) {
        return;
    }
    let full: PathBuf = Path::new(ROOT).join(path);
    if full.is_file() {
        if is_text(&full) {
            found.push(path.to_owned());
        }
        return;
    }
    // debian is optional: a package has it, and not every checkout.
    let Ok(entries) = fs::read_dir(&full) else { return };
    for entry in entries {
        let name = entry.expect("an entry").file_name().to_string_lossy().into_owned();
        if name != "target" && !name.starts_with('.') {
            collect(&format!("{path}/{name}"), found);
        }
    }
}

/// Whether a text has these words, as whole words.
fn has(text: &str, words: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric();
    text.match_indices(words).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + words.len()..].chars().next();
        !before.is_some_and(is_part) && !after.is_some_and(|c| is_part(c) || c == '_' || c == '-')
    })
}

#[test]
fn no_text_has_an_idiom_that_a_reader_must_guess() {
    let mut files = Vec::new();
    for path in READ {
        collect(path, &mut files);
    }
    assert!(files.len() > 100, "{} files were found", files.len());
    let mut found = Vec::new();
    for file in &files {
        let text = fs::read_to_string(Path::new(ROOT).join(file)).expect("UTF-8").to_lowercase();
        for (number, line) in text.lines().enumerate() {
            for (idiom, better) in IDIOMS {
                let is_allowed = |(path, allowed, _): &(&str, &str, &str)| {
                    file.starts_with(path) && allowed == idiom
                };
                if has(line, idiom) && !ALLOWED.iter().any(is_allowed) {
                    found.push(format!("{file}:{}: `{idiom}`: write {better}", number + 1));
                }
            }
        }
    }
    assert!(found.is_empty(), "{} places:\n{}", found.len(), found.join("\n"));
}

#[test]
fn an_idiom_is_found_as_a_whole_word() {
    assert!(has("for nobody.", "nobody") && has("the door: at the door", "at the door"));
    assert!(!has("for everybody", "nobody") && !has("for every port", "for ever"));
    assert!(!has("a warehouse", "house"));
}
