//! Every program in C under valgrind and under the address sanitizer: no error, no leak, and no
//! descriptor that is open at the end.
//!
//! The library itself is not instrumented: what is seen are its allocations, what the programs do
//! with what it gives, and under valgrind every access.

use std::fs;
use std::process::Command;

use crate::c::{
    LOOPS, left_open, library, output_of, output_of_valgrind, program, repository, sanitized,
    valgrind, valgrind_for_errors,
};
use crate::common::{Port, Silent, open, refused, silent};
use socket2::Socket;

const PRIVILEGED: &str = "ffi/tests/c/privileged.c";

/// Ports that outlive the programs, and a folder.
struct Ground {
    open: std::net::TcpListener,
    refused: Socket,
    silent: Silent,
    folder: tempfile::TempDir,
}

/// A program, and what it is started with.
struct Run {
    source: String,
    flags: &'static str,
    arguments: Vec<String>,
}

impl Ground {
    fn new() -> Ground {
        let folder = tempfile::tempdir().expect("a folder");
        Ground { open: open(), refused: refused(), silent: silent(), folder }
    }

    fn plan(&self) -> String {
        format!("{}:starttls,{}:starttls", self.refused.port(), self.open.port())
    }

    fn open_plan(&self) -> String {
        format!("{}:starttls", self.open.port())
    }

    /// A program in an environment that narrows its plan.
    fn narrows<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.args([&self.open_plan(), "plain"]).env("MAILPORT_ONLY_PORTS", "1");
        command.env("HOME", self.folder.path())
    }

    /// Every program that needs no terminal, no server and no other library than its loop's.
    fn runs(&self) -> Vec<Run> {
        let (plan, open) = (self.plan(), self.open_plan());
        let silent = format!("{}:starttls", self.silent.listener.port());
        let file = |name| self.folder.path().join(name).display().to_string();
        let folder = self.folder.path().display().to_string();
        let refused_only = format!("{}:starttls", self.refused.port());
        let (exit_file, other_file) = (file("exit.json"), file("other.json"));
        let file = file("cache.json");
        let run = |source: &str, flags, arguments: &[&str]| Run {
            source: source.to_owned(),
            flags,
            arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
        };
        // By name, so that a look-up is among it.
        let loops = LOOPS.map(|(name, package)| {
            run(&format!("examples/c/{name}.c"), package, &["localhost", &plan])
        });
        let mut runs: Vec<Run> = loops.into();
        let port = self.open.port().to_string();
        let refused_port = self.refused.port().to_string();
        let silent_port = self.silent.listener.port().to_string();
        let library = library().join("libmailport.so").display().to_string();
        let steps = random_steps(1000).to_string();
        runs.extend([
            run("examples/c/connect.c", "", &["localhost", &port]),
            run("examples/c/ask.c", "", &["localhost", &open]),
            run("ffi/tests/c/null.c", "", &[]),
            run("ffi/tests/c/misuse.c", "", &[&plan, &silent]),
            run("ffi/tests/c/report.c", "", &[&refused_port, &port]),
            run("ffi/tests/c/cache.c", "", &[&file, &open]),
            run("ffi/tests/c/cancel.c", "-pthread", &[&silent]),
            run("ffi/tests/c/busy.c", "-pthread", &[&silent]),
            run("ffi/tests/c/addresses.c", "", &[&open]),
            run("ffi/tests/c/failures.c", "", &[&refused_only]),
            run("ffi/tests/c/cache_file.c", "", &[&folder, &open]),
            run("ffi/tests/c/exit.c", "", &[&exit_file, &open]),
            run("ffi/tests/c/remember.c", "", &["localhost", &other_file, &plan]),
            run("ffi/tests/c/through.c", "", &[&open]),
            run("ffi/tests/c/proxies.c", "", &[&refused_port]),
            run("ffi/tests/c/threads.c", "-pthread", &[&open]),
            run("ffi/tests/c/options.c", "", &[]),
            run("ffi/tests/c/fork.c", "", &[&open, "alone"]),
            run("ffi/tests/c/unload.c", "-ldl", &[&library, &silent_port, &port]),
            // The last one, for it leaves the open port with connections that are not accepted.
            run("ffi/tests/c/random.c", "", &[&steps, "0", &plan, &silent, &open]),
        ]);
        runs
    }
}

/// A tenth of the soak's steps in the ordinary run.
fn random_steps(ordinary: usize) -> usize {
    let is_soak = std::env::var_os("MAILPORT_SOAK_DIALS").is_some();
    if is_soak { ordinary * 10 } else { ordinary }
}

#[test]
fn every_program_is_clean_under_the_address_sanitizer() {
    let ground = Ground::new();
    output_of(ground.narrows(&mut sanitized(PRIVILEGED, "")));
    for run in ground.runs() {
        output_of(sanitized(&run.source, run.flags).args(&run.arguments));
    }
}

#[test]
fn calls_without_sense_crash_nothing_and_keep_nothing() {
    let ground = Ground::new();
    let silent = format!("{}:starttls", ground.silent.listener.port());
    let mut command = sanitized("ffi/tests/c/random.c", "");
    command.arg(random_steps(20_000).to_string());
    // The seed, which it tells, can be given.
    command.arg(std::env::var("MAILPORT_SEED").unwrap_or_else(|_| "0".to_owned()));
    output_of(command.args([ground.plan(), silent, ground.open_plan()]));
}

/// As a fuzzer would choose the calls; these bytes are as good as any.
#[test]
fn bytes_make_calls_that_crash_nothing_and_keep_nothing() {
    let ground = Ground::new();
    let mut command = sanitized("ffi/tests/c/random.c", "");
    command.arg("2000").arg(library().join("libmailport.so"));
    output_of(command.args([ground.plan(), ground.open_plan()]));
    let folder = tempfile::tempdir().expect("a folder");
    let few = folder.path().join("few");
    fs::write(&few, "a fuzzer begins with little").expect("written");
    let mut command = sanitized("ffi/tests/c/random.c", "");
    output_of(command.arg("2000").arg(few).args([ground.plan(), ground.open_plan()]));
}

#[test]
fn every_program_is_clean_under_valgrind() {
    let ground = Ground::new();
    // What a thread of the parent held has no owner in a child, where there is no such thread: for
    // a fork in the middle of a look-up a leak says nothing.
    let fork = program("ffi/tests/c/fork.c", &[""]);
    output_of_valgrind(valgrind_for_errors(&fork).args([ground.open_plan(), "busy".to_owned()]));
    output_of_valgrind(ground.narrows(&mut valgrind(&program(PRIVILEGED, &[""]))));
    for run in ground.runs() {
        output_of_valgrind(valgrind(&program(&run.source, &[run.flags])).args(&run.arguments));
    }
}

/// Those that need a server or many names are looked at in the lab.
#[test]
fn no_program_is_left_out() {
    let here = include_str!("watched.rs");
    let lab = include_str!("../../../tests/lab/tests/c_programs.rs");
    for folder in ["examples/c", "ffi/tests/c"] {
        for entry in fs::read_dir(repository().join(folder)).expect("a folder") {
            let name = entry.expect("an entry").file_name().into_string().expect("UTF-8");
            let Some(stem) = name.strip_suffix(".c") else { continue };
            let is_here = here.contains(&format!("\"{folder}/{name}\""));
            let is_loop = folder == "examples/c" && LOOPS.iter().any(|(known, _)| *known == stem);
            let in_lab = lab.contains(&format!("let source = \"{folder}/{name}\";"));
            assert!(is_here || is_loop || in_lab, "{folder}/{name}");
        }
    }
}

#[test]
fn who_looks_for_leaks_sees_them() {
    let (source, run) = ("ffi/tests/c/leaks.c", |command: &mut Command| {
        command.output().expect("it runs").status.success()
    });
    let plain = program(source, &[]);
    for (what, is_clean) in [("nothing", [true; 2]), ("memory", [false; 2])] {
        let seen = [&mut sanitized(source, ""), &mut valgrind(&plain)];
        assert_eq!(seen.map(|command| run(command.arg(what))), is_clean, "{what}");
    }
    let output = valgrind(&plain).arg("descriptor").output().expect("it runs");
    assert_eq!(left_open(&String::from_utf8_lossy(&output.stderr)).len(), 1);
}
