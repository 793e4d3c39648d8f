//! Asks the user on the terminal before a dial falls back.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsFd;

use mailport::machine::{Answer, Question};
use mailport::report::{Attempt, format_host};
use mailport::{ConnectError, Connected, Dial, Dialer, Outcome, Status, Target};
use rustix::event::{PollFd, PollFlags, poll};

/// The controlling terminal: standard input and output may belong to a mail client.
pub(crate) struct Terminal {
    input: BufReader<File>,
    output: File,
}

/// What has happened while a prompt is shown.
enum PromptReply {
    /// A line was typed, without its newline.
    Line(String),
    /// The terminal was closed.
    Closed,
    /// The question was withdrawn, or replaced by another.
    Withdrawn,
}

const ANSWER: &str = "[f]all back, [w]ait on or [g]ive up? ";
const REMEMBER: &str = "Remember for 30 days? [y/N] ";

/// The terminal failed.
fn of_terminal(source: io::Error) -> ConnectError {
    ConnectError::Setup { what: "the terminal failed", source }
}

impl Terminal {
    pub(crate) fn open() -> io::Result<Terminal> {
        let output = File::options().read(true).write(true).open("/dev/tty")?;
        Ok(Terminal { input: BufReader::new(output.try_clone()?), output })
    }

    /// Dials, and asks before each further service; calls `before` before each question.
    pub(crate) fn dial(
        &mut self,
        dialer: &Dialer,
        target: &Target,
        mut before: impl FnMut(),
    ) -> Result<Connected, ConnectError> {
        let mut dial = dialer.start(target)?;
        let mut status = Status::Pending;
        loop {
            status = match status {
                Status::Pending => dial.wait(None),
                Status::Asking => {
                    before();
                    self.settle(&mut dial).map_err(of_terminal)?;
                    // Do not wait: the next question may be there already.
                    dial.process()
                }
                _ => break,
            }
        }
        let connected = dial.take()?;
        connected.stream.set_nonblocking(false).map_err(of_terminal)?;
        Ok(connected)
    }

    /// Asks the question, and waits for the answer or until the question is withdrawn.
    fn settle(&mut self, dial: &mut Dial) -> io::Result<()> {
        let Some(question) = dial.question() else { return Ok(()) };
        self.show(&question)?;
        let answer = loop {
            match self.prompt(dial, &question, ANSWER)? {
                PromptReply::Line(line) => {
                    if let Some(answer) = answer(&line) {
                        break answer;
                    }
                }
                PromptReply::Closed => break Answer::GiveUp,
                PromptReply::Withdrawn => return Ok(()),
            }
        };
        let remember = match self.prompt(dial, &question, REMEMBER)? {
            PromptReply::Line(line) => matches!(&*line.to_ascii_lowercase(), "y" | "yes"),
            PromptReply::Closed => false,
            PromptReply::Withdrawn => return Ok(()),
        };
        // The question may be withdrawn at this very moment; then no answer is needed.
        let _ = if remember {
            dial.answer_and_remember(question.number, answer)
        } else {
            dial.answer(question.number, answer)
        };
        Ok(())
    }

    fn show(&mut self, question: &Question) -> io::Result<()> {
        writeln!(self.output, "{question}")?;
        for attempt in &question.attempts {
            writeln!(self.output, "  {}", line(attempt))?;
        }
        Ok(())
    }

    /// Prints a prompt and waits for a line, while the dial goes on.
    fn prompt(
        &mut self,
        dial: &mut Dial,
        question: &Question,
        text: &str,
    ) -> io::Result<PromptReply> {
        write!(self.output, "{text}")?;
        self.output.flush()?;
        loop {
            // A line that was typed ahead may be in the buffer already.
            let typed = !self.input.buffer().is_empty() || {
                let ready = |fd: &PollFd| !fd.revents().is_empty();
                let dial_fd = dial.descriptor().map_err(io::Error::other)?;
                let watch = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
                let mut watched = [watch(self.output.as_fd()), watch(dial_fd)];
                match poll(&mut watched, None) {
                    Err(rustix::io::Errno::INTR) => continue,
                    done => done?,
                };
                let (typed, moved) = (ready(&watched[0]), ready(&watched[1]));
                if moved {
                    dial.process();
                }
                typed
            };
            let now = dial.question().map(|question| question.number);
            if now != Some(question.number) {
                let why = match now {
                    None => "No answer is needed: an earlier service has connected.",
                    // The next question names the services.
                    Some(_) => "",
                };
                let _ = writeln!(self.output, "\n{why}");
                return Ok(PromptReply::Withdrawn);
            }
            if !typed {
                continue;
            }
            let mut line = String::new();
            return match self.input.read_line(&mut line)? {
                0 => Ok(PromptReply::Closed),
                _ => Ok(PromptReply::Line(line.trim().to_owned())),
            };
        }
    }
}

/// The answer that was typed.
fn answer(line: &str) -> Option<Answer> {
    match &*line.to_ascii_lowercase() {
        "f" | "fall back" => Some(Answer::FallBack),
        "w" | "wait" | "wait on" => Some(Answer::WaitOn),
        "g" | "give up" => Some(Answer::GiveUp),
        _ => None,
    }
}

/// An attempt that the question is about.
fn line(attempt: &Attempt) -> String {
    let host = attempt.address.map_or_else(String::new, |at| format!(" at {}", format_host(at)));
    let port = attempt.service.port();
    let outcome = attempt.outcome.map_or("no answer yet", Outcome::name);
    let icmp = attempt.icmp.map_or_else(String::new, |icmp| format!(" ({icmp})"));
    format!("{port}{host}: {outcome}{icmp} after {} ms", attempt.lasted().as_millis())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::scene::{self, Fate};
    use mailport::Plan;

    #[test]
    fn an_attempt_keeps_the_zone_of_its_address() {
        let service = Plan::submission().services()[0];
        let fate = Fate::Connects { syns: 1, after: Duration::from_millis(40) };
        let mut attempt = scene::attempt(service, "[2001:db8::1]:587".parse().unwrap(), fate);
        attempt.address = Some("[fe80::1%3]:587".parse().unwrap());
        attempt.outcome = None;
        assert_eq!(line(&attempt), "587 at fe80::1%3: no answer yet after 40 ms");
    }

    #[test]
    fn no_answer_depends_on_its_letter_case() {
        for (line, expected) in [
            ("f", Some(Answer::FallBack)),
            ("F", Some(Answer::FallBack)),
            ("wait on", Some(Answer::WaitOn)),
            ("G", Some(Answer::GiveUp)),
            ("", None),
            ("perhaps", None),
        ] {
            assert_eq!(answer(line), expected, "{line}");
        }
    }
}
