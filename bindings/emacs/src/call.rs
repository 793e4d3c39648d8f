//! A dial from its start to the connection handed over.

use std::io::{self, PipeWriter};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Instant;

use mailport::Stream;
use mailport::machine::{Answer, Question};
use mailport::{ConnectError, Connected, Dial, Dialer, Report, Status};

use crate::boundary;
use crate::door::Door;
use crate::kept::cache;
use crate::options::Wish;
use crate::relay;
use crate::symbols;
use crate::watch::Waker;

/// How a connection gets to Emacs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HandOff {
    /// The module joins it to Emacs' local connection.
    Relay,
    /// It takes the place of Emacs' local connection.
    Dup2,
}

/// What Lisp holds of a dial. Whatever is open in it closes with it, once.
#[derive(Debug)]
pub(crate) struct Call {
    stage: Stage,
    began: Instant,
    /// Waits for Emacs.
    door: Option<Door>,
    /// Emacs' local connection, and the path that it was made by.
    near: Option<(UnixStream, PathBuf)>,
}

#[derive(Debug)]
enum Stage {
    Dialling(Box<(Dial, Waker)>),
    Over(Box<Over>),
}

#[derive(Debug)]
struct Over {
    report: Report,
    /// Connected, until it is handed over.
    socket: Option<Stream>,
    /// What failed besides the network.
    trouble: Option<String>,
}

/// One for this Emacs: dials share the look-ups.
fn dialer(wish: &Wish) -> Dialer {
    static DIALER: OnceLock<Dialer> = OnceLock::new();
    let mut dialer = DIALER.get_or_init(Dialer::default).clone();
    if let Some(via) = &wish.via {
        dialer = dialer.with_via(via.clone());
    }
    match wish.cache {
        Some(kept) => dialer.with_cache(cache(kept).clone()),
        None => dialer,
    }
}

impl Call {
    pub(crate) fn start(wish: &Wish, channel: PipeWriter) -> Result<Call, ConnectError> {
        let began = Instant::now();
        let mut dial = dialer(wish)
            .with_plan(wish.plan.clone())
            .with_config(wish.config.clone())
            .start(&wish.target)?;
        let waker = Waker::start(&mut dial, channel)?;
        let stage = Stage::Dialling(Box::new((dial, waker)));
        Ok(Call { stage, began, door: None, near: None })
    }

    /// Does what can be done now, and names how the dial stands.
    pub(crate) fn process(&mut self) -> &'static str {
        if let Stage::Dialling(inside) = &mut self.stage {
            let (dial, waker) = &mut **inside;
            match dial.process() {
                Status::Pending => waker.rearm(),
                Status::Asking => {
                    waker.rearm();
                    return "asking";
                }
                _ => {
                    let end = dial.take();
                    self.stage = Stage::Over(Box::new(Over::new(end, dial)));
                }
            }
        }
        match &self.stage {
            Stage::Dialling(_) => "pending",
            Stage::Over(over) if over.report.winner().is_some() => "connected",
            Stage::Over(_) => "failed",
        }
    }

    pub(crate) fn progress(&self) -> String {
        symbols::progress(&self.report(), self.began.elapsed())
    }

    pub(crate) fn question(&self) -> Option<Question> {
        match &self.stage {
            Stage::Dialling(inside) => inside.0.question(),
            Stage::Over(_) => None,
        }
    }

    /// Answers by the answer's name; whether the question stood.
    pub(crate) fn answer(&mut self, number: u32, name: &str, for_good: bool) -> bool {
        let Some(answer) = Answer::ALL.into_iter().find(|answer| answer.name() == name) else {
            return false;
        };
        match &mut self.stage {
            Stage::Dialling(inside) if for_good => {
                inside.0.answer_and_remember(number, answer).is_ok()
            }
            Stage::Dialling(inside) => inside.0.answer(number, answer).is_ok(),
            Stage::Over(_) => false,
        }
    }

    pub(crate) fn report(&self) -> Report {
        match &self.stage {
            Stage::Dialling(inside) => inside.0.report(),
            Stage::Over(over) => over.report.clone(),
        }
    }

    /// What failed besides the network.
    pub(crate) fn trouble(&self) -> Option<&str> {
        match &self.stage {
            Stage::Dialling(_) => None,
            Stage::Over(over) => over.trouble.as_deref(),
        }
    }

    /// Opens the door, and gives the path of its socket.
    pub(crate) fn listen(&mut self) -> io::Result<String> {
        let door = Door::open()?;
        let path = door.path().into_os_string().into_string();
        let path = path.map_err(|_| io::Error::other("the temporary folder's name is no text"))?;
        self.door = Some(door);
        Ok(path)
    }

    /// Takes in Emacs' connection, and removes the door.
    pub(crate) fn admit(&mut self) -> io::Result<()> {
        let door = self.door.take().ok_or_else(|| io::Error::other("nobody listens"))?;
        self.near = Some((door.admit()?, door.path()));
        Ok(())
    }

    /// Gives the connection away; it is closed where that fails.
    pub(crate) fn hand_over(&mut self, how: HandOff) -> io::Result<()> {
        let near = self.near.take();
        let (near, path) = near.ok_or_else(|| io::Error::other("Emacs has not connected"))?;
        let socket = match &mut self.stage {
            Stage::Dialling(_) => None,
            Stage::Over(over) => over.socket.take(),
        };
        let socket = socket.ok_or_else(|| io::Error::other("there is nothing to hand over"))?;
        match how {
            HandOff::Relay => relay::start(socket, near),
            HandOff::Dup2 => boundary::replace_peer(&path, &socket),
        }
    }

    /// Closes everything but the report.
    pub(crate) fn cancel(&mut self) {
        self.door = None;
        self.near = None;
        let (report, trouble) = (self.report(), self.trouble().map(str::to_owned));
        self.stage = Stage::Over(Box::new(Over { report, socket: None, trouble }));
    }
}

impl Over {
    fn new(end: Result<Connected, ConnectError>, dial: &Dial) -> Over {
        match end {
            Ok(Connected { stream: socket, report, .. }) => {
                Over { report, socket: Some(socket), trouble: None }
            }
            Err(ConnectError::Failed(report)) => {
                Over { report: *report, socket: None, trouble: None }
            }
            Err(error) => {
                Over { report: dial.report(), socket: None, trouble: Some(error.to_string()) }
            }
        }
    }
}
