//! The C library as its users have it: header, symbols, manual page, package, programs in C.

#[path = "../../../tests/common/mod.rs"]
mod common;
mod header;
mod package;
mod page;
mod programs;
mod symbols;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The folder of the whole project.
fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a folder above").to_owned()
}

/// The folder that `make lib` has built the library in, once for all tests.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        // Beside the folder of `make lib`, which somebody may be using.
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("library");
        output_of(Command::new(repository().join("ffi/link.sh")).arg(&folder));
        folder
    })
}

/// What a command that must succeed prints.
fn output_of(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{errors}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Each symbol with the version that it came in, as `ffi/symbols.txt` has them.
fn symbols() -> Vec<(&'static str, &'static str)> {
    let lines = include_str!("../../symbols.txt").lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split_once(' ').expect("a symbol and its version")).collect()
}
