//! Emacs in a terminal: the echo area, the windows, C-g, the question, the report, and letters that
//! are sent in the background. Needs tmux, Emacs and the module that `make emacs` builds.
#![allow(clippy::unwrap_used, reason = "a test that cannot set its scene has failed")]

#[path = "../../../tests/common/mod.rs"]
mod common;

use std::env;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, id};
use std::thread;
use std::time::{Duration, Instant};

use common::{Port, open, refused, silent};
use tempfile::TempDir;

const BINDING: &str = env!("CARGO_MANIFEST_DIR");

/// The name of its buffer as soon as the keys are bound.
const READY: &str = "*keys are bound*";

/// An Emacs in its own terminal; dropping it ends both. `MAILPORT_EMACS` is a command that
/// starts another Emacs than the one in the path.
struct Terminal {
    socket: String,
    /// Emacs compiles Lisp into a folder below it. Two that share one move files away from each
    /// other, which can end a start.
    _home: TempDir,
}

impl Terminal {
    /// Starts Emacs, where `C-c m` opens a stream by a plan of these ports.
    fn start(name: &str, ports: &[u16], settings: &str) -> Terminal {
        assert!(Path::new(BINDING).join("mailport-module.so").exists(), "make emacs");
        let plan: Vec<String> = ports.iter().map(|port| format!("{port}:cleartext")).collect();
        let script = format!(
            "(progn (setq native-comp-deferred-compilation nil native-comp-jit-compilation nil) \
             (require 'mailport) (setq mailport-cache nil mailport-plans '((\"127.0.0.1\" \
             . \"{}\")) inhibit-startup-screen t) {settings} (mailport-mode 1) \
             (global-set-key (kbd \"C-c m\") (lambda () (interactive) (open-network-stream \
             \"mail\" nil \"127.0.0.1\" 587) (message \"It is open\"))) \
             (global-set-key (kbd \"C-c r\") #'mailport-report) (rename-buffer \"{READY}\"))",
            plan.join(",")
        );
        let home = tempfile::tempdir().expect("a folder");
        let in_home = format!("HOME={}", home.path().display());
        let terminal = Terminal { socket: format!("mailport-{}-{name}", id()), _home: home };
        let emacs = env::var("MAILPORT_EMACS").unwrap_or_else(|_| "emacs".to_owned());
        let emacs = format!("{emacs} -nw -Q -L '{BINDING}' --eval \"$SCRIPT\"");
        let started = terminal
            .tmux(&["-f", "/dev/null", "new-session", "-d", "-x", "110", "-y", "24"])
            .args(["-e", &format!("SCRIPT={script}"), "-e", "LANG=C.UTF-8", "-e", &in_home, &emacs])
            .status()
            .expect("tmux");
        assert!(started.success());
        terminal.until(READY);
        terminal
    }

    fn tmux(&self, arguments: &[&str]) -> Command {
        let mut tmux = Command::new("tmux");
        tmux.env("LANG", "C.UTF-8").args(["-u", "-L", &self.socket]).args(arguments);
        tmux
    }

    fn press(&self, keys: &[&str]) {
        assert!(self.tmux(&["send-keys"]).args(keys).status().unwrap().success());
    }

    fn screen(&self) -> String {
        let shown = self.tmux(&["capture-pane", "-p"]).output().unwrap().stdout;
        String::from_utf8_lossy(&shown).into_owned()
    }

    fn resize(&self, width: u16, height: u16) {
        let (width, height) = (width.to_string(), height.to_string());
        let mut tmux = self.tmux(&["resize-window", "-x", &width, "-y", &height]);
        assert!(tmux.status().unwrap().success());
    }

    /// Waits until the screen shows this.
    fn until(&self, text: &str) -> String {
        self.until_holds(text, |screen| screen.contains(text))
    }

    /// Waits until this is true of the screen.
    fn until_holds(&self, what: &str, holds: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let screen = self.screen();
            if holds(&screen) {
                return screen;
            }
            assert!(Instant::now() < deadline, "no `{what}` on the screen:\n{screen}");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.tmux(&["kill-server"]).status();
    }
}

#[test]
fn the_echo_area_says_what_happens_and_the_report_draws_it() {
    let (first, second) = (silent(), open());
    // On a busy machine what is there for a third of a second may not be seen.
    let patience = "(setq mailport-patience 4)";
    let terminal = Terminal::start("echo", &[first.port(), second.port()], patience);
    terminal.press(&["C-c", "m"]);
    terminal.until(&format!("127.0.0.1: {} silent for", first.port()));
    terminal.until(&format!("s, trying {} too", second.port()));
    terminal.until("It is open");
    terminal.press(&["C-c", "r"]);
    let screen = terminal.until(&format!("connected to {} over IPv4", second.port()));
    assert!(screen.contains('├') && screen.contains(" SYNs\n"), "{screen}");
    // The whole sentence is there, though it is longer than the line.
    assert!(screen.contains(" is silent") && screen.contains("cleartext"), "{screen}");
}

#[test]
fn windows_are_redrawn_while_a_dial_runs() {
    let (first, second) = (silent(), silent());
    // A clock in a window below: a timer writes there, and redraws nothing.
    let clock = "(progn (with-current-buffer (get-buffer-create \"clock\") (insert \"tick 0\")) \
                 (display-buffer \"clock\") (defvar ticks 0) (run-at-time 0 0.1 (lambda () \
                 (with-current-buffer \"clock\" (erase-buffer) (insert (format \"tick %d\" \
                 (setq ticks (1+ ticks))))))))";
    let terminal = Terminal::start("redraw", &[first.port(), second.port()], clock);
    terminal.press(&["C-c", "m"]);
    terminal.until(&format!("trying {}", first.port()));
    let tick = |screen: &str| -> u32 {
        let line = screen.lines().find_map(|line| line.strip_prefix("tick ")).unwrap();
        line.trim().parse().unwrap()
    };
    let before = tick(&terminal.screen());
    let later = before + 10;
    terminal.until_holds("a later tick", |screen| tick(screen) >= later);
    assert!(terminal.screen().contains("trying"), "the dial still runs");
    // A resized frame is drawn again.
    terminal.resize(90, 30);
    terminal.until_holds("a mode line at the new height", |screen| {
        screen.lines().nth(28).is_some_and(|line| line.contains("clock"))
    });
    assert!(terminal.screen().contains("trying"), "the dial still runs");
    terminal.press(&["C-g"]);
    terminal.until("Quit");
}

#[test]
fn a_quit_ends_the_dial_at_once() {
    let (first, second) = (silent(), silent());
    let terminal = Terminal::start("quit", &[first.port(), second.port()], "");
    terminal.press(&["C-c", "m"]);
    terminal.until(&format!("trying {}", first.port()));
    let before = Instant::now();
    terminal.press(&["C-g"]);
    terminal.until("Quit");
    assert!(before.elapsed() < Duration::from_secs(20), "the timeout is 30 s");
    terminal.press(&["C-c", "r"]);
    terminal.until("cancelled after");
}

#[test]
fn the_question_is_asked_and_answered_with_one_key() {
    let (first, second) = (refused(), open());
    let terminal = Terminal::start("ask", &[first.port(), second.port()], "(setq mailport-ask t)");
    terminal.press(&["C-c", "m"]);
    let question = format!("Fall back to {} (cleartext)?", second.port());
    let screen = terminal.until(&question);
    assert!(screen.contains(&format!("{} is refused", first.port())), "{screen}");
    terminal.press(&["f"]);
    terminal.until("It is open");
}

#[test]
fn a_quit_at_the_question_ends_the_dial() {
    let (first, second) = (refused(), open());
    let terminal = Terminal::start("no", &[first.port(), second.port()], "(setq mailport-ask t)");
    terminal.press(&["C-c", "m"]);
    terminal.until(&format!("Fall back to {} (cleartext)?", second.port()));
    terminal.press(&["C-g"]);
    terminal.until("Quit");
    second.set_nonblocking(true).unwrap();
    assert_eq!(second.accept().unwrap_err().kind(), ErrorKind::WouldBlock, "nothing was sent");
    terminal.press(&["C-c", "r"]);
    terminal.until("cancelled");
}

/// Talks SMTP without TLS, and reads messages at 1 Mbit/s. Returns the size of the message.
fn receive_slowly(mut stream: TcpStream) -> usize {
    socket2::SockRef::from(&stream).set_recv_buffer_size(32768).unwrap();
    let mut reader = BufReader::with_capacity(8192, stream.try_clone().unwrap());
    stream.write_all(b"220 hello\r\n").unwrap();
    let mut line = Vec::new();
    loop {
        line.clear();
        reader.read_until(b'\n', &mut line).unwrap();
        let command = String::from_utf8_lossy(&line).into_owned();
        match command.get(..4).unwrap_or_default() {
            "DATA" => break,
            "" => panic!("Emacs has closed the connection"),
            _ => stream.write_all(b"250 ok\r\n").unwrap(),
        }
    }
    stream.write_all(b"354 go on\r\n").unwrap();
    let (began, mut size, mut last) = (Instant::now(), 0, Vec::new());
    let mut part = [0; 8192];
    while !last.ends_with(b"\r\n.\r\n") {
        let count = reader.read(&mut part).unwrap();
        assert!(count > 0, "Emacs has closed the connection");
        size += count;
        last.extend_from_slice(&part[..count]);
        last.drain(..last.len().saturating_sub(5));
        let due = Duration::from_micros(8 * u64::try_from(size).unwrap());
        thread::sleep(due.saturating_sub(began.elapsed()));
    }
    stream.write_all(b"250 taken\r\n").unwrap();
    let _ = reader.read_line(&mut String::new());
    let _ = stream.write_all(b"221 bye\r\n");
    size
}

#[test]
fn a_letter_of_5_mb_at_1_mbit_per_second_blocks_no_key() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    let sent = thread::spawn(move || receive_slowly(server.accept().unwrap().0));
    let outbox = tempfile::tempdir().unwrap();
    let settings = format!(
        "(progn (require 'smtpmail) (setq mailport-outbox-directory \"{}/\" mailport-plans nil \
         smtpmail-smtp-server \"127.0.0.1\" smtpmail-smtp-service {port} smtpmail-stream-type \
         'plain user-mail-address \"me@example.test\" auth-sources nil) (mailport-send-mode 1) \
         (global-set-key (kbd \"C-c s\") (lambda () (interactive) (with-temp-buffer (insert \
         \"To: you@example.test\nSubject: Large\n\" mail-header-separator \"\n\") \
         (dotimes (_ 76000) (insert (make-string 65 ?x) \"\n\")) (smtpmail-send-it)))))",
        outbox.path().display()
    );
    let terminal = Terminal::start("large", &[port], &settings);
    terminal.press(&["C-x", "b", "t", "y", "p", "e", "d", "Enter"]);
    terminal.until("typed");
    terminal.press(&["C-c", "s"]);
    terminal.until("Queued");
    let (mut keys, mut longest) = (0, Duration::ZERO);
    while !sent.is_finished() {
        let before = Instant::now();
        keys += 1;
        terminal.press(&["k", "e", "y", "-"]);
        terminal.press(&[&keys.to_string(), "Enter"]);
        terminal.until(&format!("key-{keys}"));
        longest = longest.max(before.elapsed());
        if keys % 15 == 0 {
            terminal.press(&["C-x", "h", "Delete"]);
        }
        thread::sleep(Duration::from_millis(100));
    }
    let size = sent.join().unwrap();
    println!("{size} bytes, {keys} keys, the longest was shown after {longest:?}");
    assert!(size > 5_000_000, "{size}");
    assert!(keys > 20 && longest < Duration::from_secs(5), "{keys} keys, {longest:?}");
    terminal.until("Sent");
}
