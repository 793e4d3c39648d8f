//! Programs that were compiled against a released header still run: `tests/abi/VERSION` holds what
//! that version had, and does not change after its release.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::c::{library, output_of, repository};
use crate::common::{Port, open, refused};

/// The folder of each version within this SONAME.
fn frozen() -> Vec<PathBuf> {
    let folders = fs::read_dir(repository().join("tests/abi")).expect("a folder");
    let folders: Vec<PathBuf> = folders.map(|entry| entry.expect("an entry").path()).collect();
    assert!(!folders.is_empty());
    folders
}

#[test]
fn a_program_of_an_earlier_version_runs_on_this_library() {
    let (refused, open) = (refused(), open());
    let plan = format!("{}:starttls,{}:starttls", refused.port(), open.port());
    for version in frozen() {
        let folder = tempfile::tempdir().expect("a folder");
        let program = folder.path().join("program");
        let mut cc = Command::new("cc");
        cc.args(["-std=c99", "-Wall", "-Wextra", "-Werror", "-D_POSIX_C_SOURCE=200809L", "-o"]);
        cc.arg(&program).arg(version.join("program.c")).arg("-I").arg(&version);
        cc.arg("-L").arg(library()).arg("-lmailport");
        output_of(cc.arg(format!("-Wl,-rpath,{}", library().display())));
        output_of(Command::new(&program).arg(&plan));
    }
}

#[test]
fn a_symbol_and_a_number_that_were_released_stay() {
    let (symbols, header) =
        (include_str!("../../symbols.txt"), include_str!("../../../include/mailport.h"));
    for version in frozen() {
        let read = |name| fs::read_to_string(version.join(name)).expect("UTF-8");
        for line in read("symbols.txt").lines().filter(|line| !line.starts_with('#')) {
            assert!(symbols.lines().any(|now| now == line), "{line} is gone");
        }
        let is_number = |line: &&str| {
            line.starts_with("#define MAILPORT_")
                && !line.contains("VERSION_NUMBER")
                && line.split(' ').nth(2).is_some_and(|word| !word.starts_with('"'))
        };
        for line in read("mailport.h").lines().filter(is_number) {
            assert!(header.lines().any(|now| now == line), "{line} has changed");
        }
    }
}

/// A shared library with nothing but the signatures of a header, for a tool that compares them.
fn signatures(header: &Path, folder: &Path, name: &str) -> PathBuf {
    let text = fs::read_to_string(header).expect("UTF-8");
    let (_, declared) = text.split_once("extern \"C\" {").expect("functions");
    let mut code = format!("#include \"{}\"\n", header.display());
    let functions = declared.split("*/").filter_map(|part| part.split_once(");"));
    for (before, _) in functions {
        let signature = before.rsplit("#endif // __cplusplus").next().expect("a part");
        let is_void = signature.trim_start().starts_with("void ");
        let body = if is_void { "{}" } else { "{ return 0; }" };
        code.extend([signature, ") ", body, "\n"]);
    }
    let source = folder.join(format!("{name}.c"));
    let made = folder.join(format!("{name}.so"));
    fs::write(&source, code).expect("written");
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-g", "-O0", "-w", "-Wl,-soname,libmailport.so.0", "-o"]);
    output_of(cc.arg(&made).arg(&source));
    made
}

/// Whether a tool that reads the types finds additions at most.
fn only_adds(before: &Path, after: &Path) -> (bool, String) {
    let output = Command::new("abidiff")
        .args(["--no-added-syms", "--exported-interfaces-only"])
        .args([before, after])
        .output()
        .expect("abidiff (apt-get install abigail-tools)");
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn types_that_were_released_stay_and_a_change_of_one_is_seen() {
    let folder = tempfile::tempdir().expect("a folder");
    let header = repository().join("include/mailport.h");
    let now = signatures(&header, folder.path(), "now");
    let text = fs::read_to_string(&header).expect("UTF-8");
    for version in frozen() {
        let old = signatures(&version.join("mailport.h"), folder.path(), "old");
        let (is_fine, said) = only_adds(&old, &now);
        assert!(is_fine, "{}: {said}", version.display());
    }
    // Each a change that breaks a program, and then one that breaks none.
    for (from, to, is_fine) in [
        ("uint16_t port,", "uint32_t port,", false),
        ("typedef int32_t mailport_status;", "typedef int64_t mailport_status;", false),
        ("int timeout_ms);", "int timeout_ms, int more);", false),
        ("const char *mailport_version(void);", "", false),
        (
            "const char *mailport_version(void);",
            "const char *mailport_version(void);/** */int mailport_more(int x);",
            true,
        ),
    ] {
        assert!(text.contains(from), "{from}");
        let changed = folder.path().join("changed.h");
        fs::write(&changed, text.replace(from, to)).expect("written");
        let changed = signatures(&changed, folder.path(), "changed");
        let (seen, said) = only_adds(&now, &changed);
        assert_eq!(seen, is_fine, "{from} -> {to}: {said}");
    }
}
