//! The C library as `make lib` builds it, and programs in C beside it.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock};

/// Each kind of loop in `examples/c`, with what pkg-config calls its library, or flags.
pub(crate) const LOOPS: [(&str, &str); 9] = [
    ("poll", ""),
    ("epoll", ""),
    ("epoll_edge", ""),
    ("glib", "glib-2.0"),
    ("libevent", "libevent_core"),
    ("libuv", "libuv"),
    ("sd_event", "libsystemd"),
    ("timer", ""),
    ("thread", "-pthread"),
];

/// The folder of the whole project.
pub(crate) fn repository() -> PathBuf {
    let mut folders = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    folders.find(|folder| folder.join("ffi/link.sh").exists()).expect("a folder above").to_owned()
}

/// The folder that `make lib` has built the library in, once for all tests.
pub(crate) fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        // Beside the folder of `make lib`, which somebody may be using.
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("library");
        output_of(Command::new(repository().join("ffi/link.sh")).arg(&folder));
        folder
    })
}

/// What a command that must succeed prints.
pub(crate) fn output_of(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let printed = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{printed}{errors}", output.status);
    printed.into_owned()
}

/// The program of a source, linked with the shared library. The flags come last; a word without a
/// hyphen is the name of a package that pkg-config knows.
///
/// It is compiled once for each source and flags: tests run side by side, and a program that runs
/// cannot be written anew.
pub(crate) fn program(source: &str, flags: &[&str]) -> PathBuf {
    static MADE: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
    let source = repository().join(source);
    let mut name = source.file_stem().expect("a name").to_string_lossy().into_owned();
    name.extend(flags.concat().chars().map(|c| if c.is_alphanumeric() { c } else { '-' }));
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let mut made = MADE.lock().unwrap_or_else(|broken| broken.into_inner());
    if made.contains(&program) {
        return program;
    }
    let mut command = Command::new("cc");
    command.args(["-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror", "-g", "-o"]);
    command.arg(&program).arg(&source).arg("-I").arg(repository().join("include"));
    command.arg("-L").arg(library()).arg("-lmailport");
    for flag in flags.iter().filter(|flag| !flag.is_empty()) {
        if flag.starts_with('-') {
            command.arg(flag);
            continue;
        }
        let words = output_of(Command::new("pkg-config").args(["--cflags", "--libs", flag]));
        // Their headers are not ours to warn of.
        let words = words.split_whitespace();
        command.args(words.flat_map(|word| match word.strip_prefix("-I") {
            Some(folder) => vec!["-isystem", folder],
            None => vec![word],
        }));
    }
    command.arg(format!("-Wl,-rpath,{}", library().display()));
    output_of(&mut command);
    made.insert(program.clone());
    program
}
