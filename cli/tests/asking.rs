//! Asking before a fallback, on real sockets and on a real terminal.
#![allow(clippy::unwrap_used, reason = "a test that cannot set its scene has failed")]

mod common;

use std::io::Write;
use std::process::{Command, Output, Stdio};

use common::{Port, hasty, open, plan, refused, silent};
use mailport::machine::{Answer, Stale};
use mailport::report::End;
use mailport::{Config, ConnectError, Dial, Dialer, Status};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

fn asking() -> Config {
    let mut config = hasty();
    config.ask = true;
    config
}

fn start(ports: &[u16]) -> Dial {
    Dialer::default().with_plan(plan(ports)).with_config(asking()).start("127.0.0.1").unwrap()
}

/// Turns as a loop does that only watches the descriptor, while the status is this one.
fn watch(dial: &mut Dial, while_it_is: Status) -> Status {
    loop {
        let mut watched = [PollFd::new(dial.descriptor().unwrap(), PollFlags::POLLIN)];
        assert_eq!(
            poll(&mut watched, PollTimeout::from(20_000_u16)),
            Ok(1),
            "the descriptor wakes"
        );
        let status = dial.process();
        if status != while_it_is {
            return status;
        }
    }
}

fn is_quiet(dial: &mut Dial) -> bool {
    let mut watched = [PollFd::new(dial.descriptor().unwrap(), PollFlags::POLLIN)];
    poll(&mut watched, PollTimeout::from(100_u16)) == Ok(0)
}

#[test]
fn a_dial_stops_with_a_question_and_goes_on_with_the_answer() {
    let (first, second) = (refused(), open());
    let mut dial = start(&[first.port(), second.port()]);
    assert_eq!(watch(&mut dial, Status::Pending), Status::Asking);
    let question = dial.question().unwrap();
    assert_eq!((question.next.port(), question.attempts.len()), (second.port(), 1));
    assert_eq!(dial.poll_timeout(), None);
    assert!(is_quiet(&mut dial), "nothing is due while a question stands");
    assert_eq!(dial.process(), Status::Asking);
    assert!(matches!(dial.take(), Err(ConnectError::NotConnected)));

    assert_eq!(dial.answer(question.number, Answer::FallBack), Ok(()));
    let again = dial.answer(question.number, Answer::GiveUp);
    assert_eq!(again, Err(Stale { question: question.number }));
    assert_eq!(watch(&mut dial, Status::Pending), Status::Connected);
    assert_eq!(dial.take().unwrap().service.port(), second.port());
}

#[test]
fn the_descriptor_wakes_when_a_silent_service_connects_after_all() {
    let (first, second) = (silent(), open());
    let mut dial = start(&[first.port(), second.port()]);
    assert_eq!(watch(&mut dial, Status::Pending), Status::Asking);
    let question = dial.question().unwrap().number;
    // Room in the queue: the next retransmission is accepted.
    first.listener.accept().unwrap();
    assert_eq!(watch(&mut dial, Status::Asking), Status::Connected);
    assert_eq!(dial.answer(question, Answer::GiveUp), Err(Stale { question }));
    assert_eq!(dial.question(), None);
    assert_eq!(dial.take().unwrap().service.port(), first.port());
}

#[test]
fn giving_up_ends_the_dial() {
    let (first, second) = (silent(), open());
    let mut dial = start(&[first.port(), second.port()]);
    assert_eq!(watch(&mut dial, Status::Pending), Status::Asking);
    dial.answer(dial.question().unwrap().number, Answer::GiveUp).unwrap();
    assert_eq!(watch(&mut dial, Status::Pending), Status::Failed);
    assert_eq!(dial.report().end, Some(End::Declined));
    assert!(dial.take().unwrap_err().to_string().contains("the fallback was declined"));
}

#[test]
fn a_call_that_blocks_has_nobody_to_ask() {
    let target = "127.0.0.1";
    let error = Dialer::new()
        .with_plan(plan(&[refused().port()]))
        .with_config(asking())
        .connect(target)
        .unwrap_err();
    assert!(error.to_string().contains("ask"), "{error}");
}

/// Runs the command on its own terminal, where this is typed.
fn on_a_terminal(arguments: &str, typed: &str) -> String {
    let command = format!("{} {arguments}", env!("CARGO_BIN_EXE_mailport"));
    let mut script = Command::new("script")
        .args(["--quiet", "--return", "--command", &command, "/dev/null"])
        .env_remove("MAILPORT_VIA")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the command `script`, which is in Debian's bsdutils");
    script.stdin.take().unwrap().write_all(typed.as_bytes()).unwrap();
    let Output { stdout, status, .. } = script.wait_with_output().unwrap();
    format!("{}\n{status}", String::from_utf8_lossy(&stdout).replace('\r', ""))
}

fn ask(first: u16, second: u16, typed: &str) -> String {
    ask_with("off", first, second, typed)
}

fn ask_with(cache: &str, first: u16, second: u16, typed: &str) -> String {
    let plan = format!("{first}:starttls,{second}:starttls");
    on_a_terminal(&format!("connect 127.0.0.1 --cache {cache} --plan {plan} --ask"), typed)
}

#[test]
fn a_remembered_answer_is_not_asked_for_again() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache.json");
    let cache = cache.to_str().unwrap();
    let (first, second) = (refused(), open());
    let (refused, open) = (first.port(), second.port());
    assert!(ask_with(cache, refused, open, "f\ny\n").contains("Remember for 30 days? [y/N]"));
    let again = ask_with(cache, refused, open, "g\n\n");
    assert!(!again.contains("[f]all back"), "{again}");
    assert!(again.contains(&format!("connected to {open} over IPv4")), "{again}");
    let list = on_a_terminal(&format!("cache list --cache {cache} --json"), "");
    assert!(list.contains("fall-back"), "{list}");
    on_a_terminal(&format!("cache forget 127.0.0.1 --cache {cache}"), "");
    assert!(ask_with(cache, refused, open, "g\n\n").contains("[f]all back"));
}

#[test]
fn an_answer_is_not_remembered_without_a_yes_to_the_second_prompt() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache.json");
    let cache = cache.to_str().unwrap();
    let (first, second) = (refused(), open());
    // Capital letters mean the same as small ones.
    for typed in ["F\n\n", "F\nn\n", "f\nmaybe\n"] {
        let shown = ask_with(cache, first.port(), second.port(), typed);
        assert!(shown.contains("[f]all back") && shown.contains("[y/N]"), "{shown}");
        assert!(shown.contains(&format!("connected to {}", second.port())), "{shown}");
        // The outcome of the port would begin the next dial with both.
        on_a_terminal(&format!("cache forget 127.0.0.1 --cache {cache}"), "");
    }
    let list = on_a_terminal(&format!("cache list --cache {cache} --json"), "");
    assert!(!list.contains("fall-back"), "{list}");
}

#[test]
fn the_command_asks_on_the_terminal() {
    let (first, second) = (refused(), open());
    let (refused, open) = (first.port(), second.port());
    let shown = ask(refused, open, "f\n\n");
    assert!(shown.contains(&format!("{refused} is refused. Fall back to {open} (STARTTLS)?")));
    assert!(shown.contains(&format!("{refused} at 127.0.0.1: reset after")), "{shown}");
    assert!(shown.contains(&format!("connected to {open} over IPv4")), "{shown}");
    assert!(shown.ends_with("exit status: 0"), "{shown}");
}

#[test]
fn the_command_takes_no_for_an_answer() {
    let (first, second) = (refused(), open());
    let shown = ask(first.port(), second.port(), "perhaps\ng\nn\n");
    assert_eq!(shown.matches("[g]ive up?").count(), 2, "nonsense is asked about again: {shown}");
    assert!(shown.contains("the fallback was declined"), "{shown}");
    assert!(shown.ends_with("exit status: 1"), "{shown}");
}

#[test]
fn the_command_refuses_to_ask_without_a_terminal() {
    let output = Command::new("setsid")
        .args(["--wait", env!("CARGO_BIN_EXE_mailport"), "connect", "127.0.0.1", "--ask"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("--ask has no terminal to ask on"), "{said}");
}

#[test]
fn the_command_asks_before_it_sends_a_tunnel_to_another_port() {
    let folder = tempfile::tempdir().unwrap();
    let (log, tunnel) = (folder.path().join("log"), folder.path().join("tunnel"));
    let script = format!(
        "echo $1 >>{}; if [ $1 = 587 ]; then echo no way >&2; exit 1; fi; echo 220 ready; cat",
        log.display()
    );
    std::fs::write(&tunnel, script).unwrap();
    let arguments = format!(
        "connect mail.example --cache off --ask --via \"command:sh {} %p\"",
        tunnel.display()
    );
    let shown = on_a_terminal(&arguments, "g\n\n");
    let question = "587 closed the connection (no way). Fall back to 25 (STARTTLS)?";
    assert!(shown.contains(question), "{shown}");
    assert!(shown.ends_with("exit status: 1"), "{shown}");
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "587\n", "nothing before the answer");
    let shown = on_a_terminal(&arguments, "f\n\n");
    assert!(shown.contains("connected to 25 through command:sh in"), "{shown}");
    assert!(shown.ends_with("exit status: 0"), "{shown}");
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "587\n587\n25\n");
}
