//! Asking the user on the terminal before a dial falls back.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsFd;

use mailport::Outcome;
use mailport::machine::{Answer, Question};
use mailport::{Config, ConnectError, Connected, Dial, Dialer, Plan, Status, Target};
use rustix::event::{PollFd, PollFlags, poll};

/// The terminal that this process belongs to: standard input and output may be a mail reader's.
pub(crate) struct Terminal {
    input: BufReader<File>,
    output: File,
}

/// What somebody typed.
enum Typed {
    Answer {
        answer: Answer,
        for_good: bool,
    },
    Nonsense,
    /// The terminal has gone.
    End,
}

impl Terminal {
    pub(crate) fn open() -> io::Result<Terminal> {
        let output = File::options().read(true).write(true).open("/dev/tty")?;
        Ok(Terminal { input: BufReader::new(output.try_clone()?), output })
    }

    /// Dials, and asks before each further service; `before` is done before each question.
    pub(crate) fn dial(
        &mut self,
        dialer: &Dialer,
        target: &Target,
        plan: &Plan,
        config: &Config,
        mut before: impl FnMut(),
    ) -> Result<Connected, ConnectError> {
        let mut dial = dialer.start(target, plan, config)?;
        let mut status = Status::Pending;
        loop {
            status = match status {
                Status::Pending => dial.wait(None),
                Status::Asking => {
                    before();
                    self.settle(&mut dial).map_err(ConnectError::Setup)?;
                    // Not to be waited for: it may have the next question already.
                    dial.process()
                }
                _ => break,
            }
        }
        let connected = dial.take()?;
        connected.socket.set_nonblocking(false).map_err(ConnectError::Setup)?;
        Ok(connected)
    }

    /// Puts the question and waits for its answer, or until it is withdrawn.
    fn settle(&mut self, dial: &mut Dial) -> io::Result<()> {
        let Some(question) = dial.question() else { return Ok(()) };
        self.put(&question)?;
        loop {
            let ready = |fd: &PollFd| !fd.revents().is_empty();
            let watch = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
            let mut watched = [watch(self.output.as_fd()), watch(dial.as_fd())];
            match poll(&mut watched, None) {
                Err(rustix::io::Errno::INTR) => continue,
                done => done?,
            };
            let (typed, moved) = (ready(&watched[0]), ready(&watched[1]));
            if moved {
                dial.process();
            }
            let now = dial.question().map(|question| question.number);
            if now != Some(question.number) {
                // The next question says itself what has become of this one.
                let words =
                    if now.is_some() { "" } else { "No need: an earlier service has connected." };
                let _ = writeln!(self.output, "\n{words}");
                return Ok(());
            }
            let (answer, for_good) = match typed.then(|| self.read()).transpose()? {
                None => continue,
                Some(Typed::Answer { answer, for_good }) => (answer, for_good),
                Some(Typed::End) => (Answer::GiveUp, false),
                Some(Typed::Nonsense) => {
                    self.prompt()?;
                    continue;
                }
            };
            // One that is withdrawn at this very moment is as good as answered.
            let _ = if for_good {
                dial.answer_and_remember(question.number, answer)
            } else {
                dial.answer(question.number, answer)
            };
            return Ok(());
        }
    }

    fn put(&mut self, question: &Question) -> io::Result<()> {
        writeln!(self.output, "{question}")?;
        for attempt in &question.attempts {
            let place = attempt.address.map_or_else(String::new, |at| format!(" at {}", at.ip()));
            let port = attempt.service.port();
            let outcome = attempt.outcome.map_or("no answer yet", Outcome::name);
            let icmp = attempt.icmp.map_or_else(String::new, |icmp| format!(" ({icmp})"));
            let after = attempt.lasted().as_millis();
            writeln!(self.output, "  {port}{place}: {outcome}{icmp} after {after} ms")?;
        }
        self.prompt()
    }

    fn prompt(&mut self) -> io::Result<()> {
        let words = "[f]all back, [w]ait on or [g]ive up? (F, W, G: and do not ask again)";
        write!(self.output, "{words} ")?;
        self.output.flush()
    }

    fn read(&mut self) -> io::Result<Typed> {
        let mut line = String::new();
        if self.input.read_line(&mut line)? == 0 {
            return Ok(Typed::End);
        }
        let line = line.trim();
        let answer = match line.to_ascii_lowercase().as_str() {
            "f" | "fall back" => Answer::FallBack,
            "w" | "wait" | "wait on" => Answer::WaitOn,
            "g" | "give up" => Answer::GiveUp,
            _ => return Ok(Typed::Nonsense),
        };
        let for_good = line.starts_with(char::is_uppercase);
        Ok(Typed::Answer { answer, for_good })
    }
}
