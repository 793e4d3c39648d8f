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
        // Beside the folder of `make lib`, which may be in use.
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
    let mut made = MADE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
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

/// A command that runs a program with the sanitizer inside, which is looked for: a compiler that
/// ignored the flag would find nothing.
pub(crate) fn sanitized(source: &str, flags: &str) -> Command {
    let program = program(source, &[flags, "-fsanitize=address"]);
    let symbols = output_of(Command::new("nm").arg("--dynamic").arg(&program));
    assert!(symbols.contains(" __asan_init"), "{source}: no sanitizer in the program");
    let suppressions = repository().join("tests/common/lsan.supp");
    let suppressions = format!("print_suppressions=0:suppressions={}", suppressions.display());
    let mut command = Command::new(program);
    command.env("ASAN_OPTIONS", "detect_leaks=1").env("LSAN_OPTIONS", suppressions);
    command
}

/// A command that runs a program under valgrind, for which any error and any leak is status 9.
pub(crate) fn valgrind(program: &Path) -> Command {
    let suppressions = repository().join("tests/common/valgrind.supp");
    let suppressions = format!("--suppressions={}", suppressions.display());
    let kinds = "--errors-for-leak-kinds=definite,indirect,possible";
    valgrind_with(&["--leak-check=full", kinds, &suppressions], program)
}

/// The same, but a leak is none.
pub(crate) fn valgrind_for_errors(program: &Path) -> Command {
    valgrind_with(&["--leak-check=no"], program)
}

fn valgrind_with(flags: &[&str], program: &Path) -> Command {
    let mut command = Command::new("valgrind");
    command.args(["--quiet", "--error-exitcode=9", "--track-fds=yes"]).args(flags);
    // Another program that a child executes is not ours, and a child that does not has its own end.
    command.args(["--trace-children=no", "--child-silent-after-fork=yes"]).arg(program);
    command
}

/// What a program under valgrind prints, which must be clean and leave no descriptor open.
pub(crate) fn output_of_valgrind(command: &mut Command) -> String {
    let output = command.output().expect("valgrind (apt-get install valgrind)");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{said}", output.status);
    assert_eq!(left_open(&said), [""; 0], "{command:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The descriptors that valgrind found open, beyond those that the program was started with.
pub(crate) fn left_open(said: &str) -> Vec<String> {
    let lines = said.lines().filter_map(|line| line.strip_prefix("==")?.split_once("== "));
    let text = lines.map(|(_, line)| line).collect::<Vec<_>>().join("\n");
    let opened = text.split("\n\n").filter(|block| {
        block.contains("Open ")
            && !block.contains("<inherited from parent>")
            // GLib keeps its default context, and the descriptor in there, until the process ends.
            && !block.contains("g_main_context_default")
            // The C library's own, of a look-up that the program did not wait for.
            && !block.contains("getaddrinfo.c:")
    });
    opened.map(str::to_owned).collect()
}
