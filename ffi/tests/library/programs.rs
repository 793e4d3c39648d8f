//! Programs in C, compiled with every warning and run beside ports that have a fate each.
//!
//! `examples/c/NAME.c` is what people copy: `NAME HOST [PLAN]`, one sentence, status 0 if connected.
//! `ffi/tests/c/NAME.c` shows that a claim holds: silent and 0 if it does.

use std::ffi::OsStr;
use std::io::Write;
use std::process::{Command, Stdio};

use crate::c::{LOOPS, library, output_of, program, repository};
use crate::common::{Port, open, refused, silent};

/// What a program in C prints, which must end well.
fn run(source: &str, flags: &[&str], arguments: &[impl AsRef<OsStr>]) -> String {
    output_of(Command::new(program(source, flags)).args(arguments))
}

fn plan(ports: &[u16]) -> String {
    let services: Vec<String> = ports.iter().map(|port| format!("{port}:starttls")).collect();
    services.join(",")
}

#[test]
fn one_call_connects() {
    let open = open();
    let program = program("examples/c/connect.c", &[]);
    let port = open.port().to_string();
    let printed = output_of(Command::new(&program).args(["localhost", &port]));
    assert_eq!(printed, "connected to localhost\n");
    let refused = refused();
    let port = refused.port().to_string();
    let failed = Command::new(&program).args(["127.0.0.1", &port]).output().expect("it runs");
    assert_eq!(failed.status.code(), Some(1));
    let said = String::from_utf8_lossy(&failed.stderr);
    let expected = format!("connect: 127.0.0.1: {} is refused", refused.port());
    assert!(said.starts_with(&expected), "{said}");
}

#[test]
fn a_poll_loop_falls_back_and_says_why() {
    let (refused, open) = (refused(), open());
    let plan = plan(&[refused.port(), open.port()]);
    let printed = run("examples/c/poll.c", &[], &["127.0.0.1", &plan]);
    let expected = format!("{} is refused; connected to {} over IPv4", refused.port(), open.port());
    assert!(printed.starts_with(&expected), "{printed}");
    assert!(printed.ends_with(&format!("port {}, TLS starttls\n", open.port())), "{printed}");
}

/// What a loop's program prints, which must be one sentence.
fn dialled(name: &str, package: &str, ports: &[u16]) -> String {
    let source = format!("examples/c/{name}.c");
    let printed = run(&source, &[package], &["127.0.0.1", &plan(ports)]);
    let sentences = printed.lines().count();
    assert!(sentences == 1 || name == "poll", "{name}: {printed}");
    printed
}

#[test]
fn every_kind_of_loop_connects_to_the_port_that_is_open() {
    let (first, later) = (open(), open());
    for (name, package) in LOOPS {
        let printed = dialled(name, package, &[first.port(), later.port()]);
        let expected = if name == "thread" {
            "connected to 127.0.0.1\n".to_owned()
        } else {
            format!("connected to {} over IPv4", first.port())
        };
        assert!(printed.starts_with(&expected), "{name}: {printed}");
    }
}

/// A dial, beside a listener that knows who has come: a thread's program does not say.
fn falls_back(name: &str, package: &str, first: u16, word: &str) {
    let open = open();
    let printed = dialled(name, package, &[first, open.port()]);
    open.set_nonblocking(true).expect("a listener");
    open.accept().unwrap_or_else(|error| panic!("{name} came to another port: {error}"));
    let expected =
        (format!("{first} is {word}"), format!("; connected to {} over IPv4", open.port()));
    let is_reported = printed.starts_with(&expected.0) && printed.contains(&expected.1);
    assert!(is_reported || name == "thread", "{name}: {printed}");
}

#[test]
fn every_kind_of_loop_falls_back_from_a_refused_port() {
    let refused = refused();
    for (name, package) in LOOPS {
        falls_back(name, package, refused.port(), "refused");
    }
}

#[test]
fn every_kind_of_loop_falls_back_from_a_silent_port() {
    let silent = silent();
    std::thread::scope(|scope| {
        for (name, package) in LOOPS {
            let first = silent.port();
            scope.spawn(move || falls_back(name, package, first, "silent"));
        }
    });
}

#[test]
fn every_kind_of_loop_says_why_there_is_no_connection() {
    let refused = refused();
    for (name, package) in LOOPS {
        let program = program(&format!("examples/c/{name}.c"), &[package]);
        let plan = plan(&[refused.port()]);
        let failed = Command::new(program).args(["127.0.0.1", &plan]).output().expect("it runs");
        assert_eq!((failed.status.code(), failed.stdout.len()), (Some(1), 0), "{name}");
        let errors = String::from_utf8_lossy(&failed.stderr);
        assert!(errors.contains("is refused"), "{name}: {errors}");
    }
}

#[test]
fn a_loop_of_another_language_falls_back_and_says_why() {
    let (refused, open) = (refused(), open());
    let run = |plan: &str| {
        let mut python = Command::new("/usr/bin/python3");
        python.arg(repository().join("examples/c/aio.py")).args(["127.0.0.1", plan]);
        python.env("LD_LIBRARY_PATH", library()).output().expect("python3")
    };
    let output = run(&plan(&[refused.port(), open.port()]));
    let printed = String::from_utf8_lossy(&output.stdout);
    let expected = format!("{} is refused; connected to {} over IPv4", refused.port(), open.port());
    assert!(output.status.success() && printed.starts_with(&expected), "{output:?}");
    let output = run(&plan(&[refused.port()]));
    let printed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && printed.contains("is refused"), "{output:?}");
}

#[test]
fn a_user_who_is_asked_decides() {
    let (refused, open) = (refused(), open());
    let plan = plan(&[refused.port(), open.port()]);
    let program = program("examples/c/ask.c", &[]);
    for (answer, code, words) in
        [("y\n", 0, "connected to"), ("n\n", 1, "the fallback was declined")]
    {
        let mut child = Command::new(&program)
            .args(["127.0.0.1", &plan])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it runs");
        child.stdin.take().expect("a pipe").write_all(answer.as_bytes()).expect("written");
        let output = child.wait_with_output().expect("it ends");
        let printed = String::from_utf8_lossy(&output.stdout);
        let question =
            format!("{} is refused. Fall back to {} (STARTTLS)?", refused.port(), open.port());
        assert!(printed.starts_with(&question), "{printed}");
        assert!(printed.contains(words), "{printed}");
        assert_eq!(output.status.code(), Some(code));
    }
}

#[test]
fn the_environment_narrows_a_plan() {
    let (refused, open) = (refused(), open());
    let plan = plan(&[refused.port(), open.port()]);
    let program = program("examples/c/poll.c", &[]);
    let with = |name: &str, value: &str| {
        let mut command = Command::new(&program);
        let output = command.args(["127.0.0.1", &plan]).env(name, value).output().expect("it runs");
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    let printed = with("MAILPORT_ONLY_PORTS", &refused.port().to_string());
    assert!(printed.contains("nothing is left to try"), "{printed}");
    let printed = with("MAILPORT_ONLY_PORTS", &open.port().to_string());
    assert!(printed.starts_with("connected to"), "{printed}");
    assert_eq!(with("MAILPORT_ONLY_PORTS", "1"), "MAILPORT_ONLY_PORTS=1 leaves nothing to try\n");
    let printed = with("MAILPORT_ONLY_FAMILY", "ipv6");
    assert!(printed.contains("nothing is left to try"), "{printed}");
}

#[test]
fn null_is_an_error_or_has_no_effect() {
    run("ffi/tests/c/null.c", &[], &[""; 0]);
}

/// What `null.c` and `random.c` call by the lists that they share.
const GETTERS: &str = include_str!("../c/getters.h");

#[test]
fn every_pointer_of_every_function_is_null_once() {
    let program = include_str!("../c/null.c");
    let header = include_str!("../../../include/mailport.h");
    for (name, _) in crate::symbols() {
        // A comment has it with empty parentheses.
        let call = format!("{name}(");
        let mut places = header.split(&call).skip(1);
        let after = places.find(|after| !after.starts_with(')')).expect("declared");
        let (parameters, _) = after.split_once(");").expect("parameters");
        let takes_one = parameters.contains('*');
        let is_called = [program, GETTERS].iter().any(|source| source.contains(name));
        assert!(is_called || !takes_one, "{name}");
    }
}

#[test]
fn the_random_caller_calls_every_function() {
    let program = include_str!("../c/random.c");
    for (name, _) in crate::symbols() {
        let is_called = [program, GETTERS].iter().any(|source| source.contains(name));
        // One that blocks until its deadline says little of any order.
        assert!(is_called || name == "mailport_connect", "{name}");
    }
}

#[test]
fn misuse_gives_an_error_and_breaks_nothing() {
    let (refused, open, silent) = (refused(), open(), silent());
    let plans = [plan(&[refused.port(), open.port()]), plan(&[silent.port()])];
    run("ffi/tests/c/misuse.c", &[], &plans);
}

#[test]
fn the_report_can_be_read_field_by_field() {
    let (refused, open) = (refused(), open());
    let ports = [refused.port(), open.port()].map(|port| port.to_string());
    run("ffi/tests/c/report.c", &[], &ports);
}

#[test]
fn the_error_of_a_proxy_or_a_command_can_be_read_field_by_field() {
    let refused = refused();
    run("ffi/tests/c/proxies.c", &[], &[refused.port().to_string()]);
}

#[test]
fn a_cache_is_saved_and_can_be_forgotten() {
    let (open, folder) = (open(), tempfile::tempdir().expect("a folder"));
    let file = folder.path().join("cache.json").display().to_string();
    run("ffi/tests/c/cache.c", &[], &[file, plan(&[open.port()])]);
}

#[test]
fn another_thread_can_cancel_a_dial() {
    let silent = silent();
    run("ffi/tests/c/cancel.c", &["-pthread"], &[plan(&[silent.port()])]);
}

#[test]
fn threads_in_the_calls_of_one_dial_break_nothing() {
    let silent = silent();
    run("ffi/tests/c/busy.c", &["-pthread"], &[plan(&[silent.port()])]);
}

#[test]
fn given_addresses_are_dialled_instead_of_a_name() {
    let open = open();
    run("ffi/tests/c/addresses.c", &[], &[plan(&[open.port()])]);
}

#[test]
fn every_failed_call_has_a_message_and_an_errno() {
    let refused = refused();
    run("ffi/tests/c/failures.c", &[], &[plan(&[refused.port()])]);
}

#[test]
fn a_file_that_is_not_a_cache_is_left_alone() {
    let (open, folder) = (open(), tempfile::tempdir().expect("a folder"));
    let folder = folder.path().display().to_string();
    run("ffi/tests/c/cache_file.c", &[], &[folder, plan(&[open.port()])]);
}

#[test]
fn what_a_program_remembers_before_it_exits_is_saved() {
    let (open, folder) = (open(), tempfile::tempdir().expect("a folder"));
    let plan = plan(&[open.port()]);
    let program = program("ffi/tests/c/exit.c", &[]);
    // A busy machine may need longer than the 50 ms that exit waits for.
    let is_saved = |round| {
        let file = folder.path().join(format!("{round}.json"));
        output_of(Command::new(&program).arg(&file).arg(&plan));
        let text = std::fs::read_to_string(file).expect("what was flushed is there");
        assert!(text.contains("\"127.0.0.1\""), "{text}");
        text.contains("\"localhost\"")
    };
    assert!((0..20).any(is_saved), "never saved at the end");
}

#[test]
fn a_dial_goes_through_a_command() {
    let open = open();
    let printed = run("ffi/tests/c/through.c", &[], &[plan(&[open.port()])]);
    assert!(printed.contains("through command:"), "{printed}");
}

#[test]
fn a_dial_moves_between_threads() {
    let open = open();
    run("ffi/tests/c/threads.c", &["-pthread"], &[plan(&[open.port()])]);
}

#[test]
fn a_forked_child_can_only_free_a_dial() {
    let open = open();
    let plan = plan(&[open.port()]);
    for when in ["busy", "alone"] {
        run("ffi/tests/c/fork.c", &[], &[&plan, when]);
    }
}

#[test]
fn the_library_can_be_closed_while_a_name_is_looked_up_and_a_dial_is_open() {
    let (silent, open) = (silent(), open());
    let file = library().join("libmailport.so").display().to_string();
    let ports = [silent.port(), open.port()].map(|port| port.to_string());
    run("ffi/tests/c/unload.c", &["-ldl"], &[&file, &ports[0], &ports[1]]);
}

#[test]
fn source_device_and_mark_are_used_until_the_default_is_restored() {
    run("ffi/tests/c/options.c", &[], &[""; 0]);
}

#[test]
fn a_program_in_c_is_short_enough_to_read() {
    for folder in ["examples/c", "ffi/tests/c"] {
        for entry in std::fs::read_dir(repository().join(folder)).expect("a folder") {
            let path = entry.expect("an entry").path();
            let lines = std::fs::read_to_string(&path).expect("UTF-8").lines().count();
            let most = match path.file_name().and_then(OsStr::to_str).expect("a name") {
                "submit.c" => 300, // a whole mail client
                "random.c" => 230, // every function
                "crowd.c" | "cancel.c" | "options.c" => 125,
                _ => 100,
            };
            assert!(lines <= most, "{}: {lines} lines", path.display());
        }
    }
}
