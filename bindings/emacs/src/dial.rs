//! A dial from its start until its connection is handed over to Emacs.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::OnceLock;
use std::time::Instant;

use mailport::machine::{Answer, Question};
use mailport::report::End;
use mailport::{ConnectError, Connected, Dial, Dialer, Outcome, Report, Status, Stream};

use crate::cache;
use crate::joined;
use crate::local_socket::LocalSocket;
use crate::progress;
use crate::settings::DialSettings;

/// The Lisp object of a dial. Dropping it closes every descriptor that was not handed over.
#[derive(Debug)]
pub(crate) struct DialObject {
    stage: DialStage,
    began: Instant,
    /// Waits for the connection of Emacs.
    listener: Option<LocalSocket>,
    /// The accepted connection of Emacs.
    emacs: Option<UnixStream>,
}

#[derive(Debug)]
enum DialStage {
    Dialling(Box<Dial>),
    Ended(Box<Ended>),
}

#[derive(Debug)]
struct Ended {
    report: Report,
    /// The connection, until it is handed over.
    socket: Option<Stream>,
    /// An error that no attempt of the report explains.
    error: Option<String>,
}

/// All dials of this Emacs share one dialer, and so their look-ups.
fn dialer(settings: &DialSettings) -> Dialer {
    static DIALER: OnceLock<Dialer> = OnceLock::new();
    let mut dialer = DIALER.get_or_init(Dialer::default).clone();
    if let Some(via) = &settings.via {
        dialer = dialer.with_via(via.clone());
    }
    cache::choose(dialer, settings.cache)
}

impl DialObject {
    pub(crate) fn start(settings: &DialSettings) -> Result<DialObject, ConnectError> {
        let began = Instant::now();
        let (plan, config) = (settings.plan.clone(), settings.config.clone());
        let dialer = dialer(settings).with_plan(plan).with_config(config);
        let dial = dialer.start(&settings.target)?;
        let stage = DialStage::Dialling(Box::new(dial));
        Ok(DialObject { stage, began, listener: None, emacs: None })
    }

    /// Processes what has happened, without blocking, and returns the name of the status.
    pub(crate) fn process(&mut self) -> &'static str {
        if let DialStage::Dialling(dial) = &mut self.stage {
            match dial.process() {
                Status::Pending => {}
                Status::Asking => return "asking",
                _ => {
                    let end = dial.take();
                    self.stage = DialStage::Ended(Box::new(Ended::new(end, dial)));
                }
            }
        }
        match &self.stage {
            DialStage::Dialling(_) => "pending",
            DialStage::Ended(ended) if ended.report.winner().is_some() => "connected",
            DialStage::Ended(_) => "failed",
        }
    }

    pub(crate) fn progress(&self) -> String {
        progress::line(&self.report(), self.began.elapsed())
    }

    pub(crate) fn question(&self) -> Option<Question> {
        match &self.stage {
            DialStage::Dialling(dial) => dial.question(),
            DialStage::Ended(_) => None,
        }
    }

    /// Answers a question by the answer's name. Returns whether the question still stood.
    pub(crate) fn answer(&mut self, number: u32, name: &str, remember: bool) -> bool {
        let Some(answer) = Answer::ALL.into_iter().find(|answer| answer.name() == name) else {
            return false;
        };
        match &mut self.stage {
            DialStage::Dialling(dial) if remember => {
                dial.answer_and_remember(number, answer).is_ok()
            }
            DialStage::Dialling(dial) => dial.answer(number, answer).is_ok(),
            DialStage::Ended(_) => false,
        }
    }

    pub(crate) fn report(&self) -> Report {
        match &self.stage {
            DialStage::Dialling(dial) => dial.report(),
            DialStage::Ended(ended) => ended.report.clone(),
        }
    }

    /// Returns an error that no attempt of the report explains.
    pub(crate) fn error(&self) -> Option<&str> {
        match &self.stage {
            DialStage::Dialling(_) => None,
            DialStage::Ended(ended) => ended.error.as_deref(),
        }
    }

    /// Opens a local socket for Emacs and returns its path.
    pub(crate) fn listen(&mut self) -> io::Result<String> {
        let listener = LocalSocket::open()?;
        let path = listener.path().into_os_string().into_string();
        let path =
            path.map_err(|_| io::Error::other("the name of the temporary folder is not UTF-8"))?;
        self.listener = Some(listener);
        Ok(path)
    }

    /// Accepts the connection of Emacs and removes the local socket.
    pub(crate) fn accept(&mut self) -> io::Result<()> {
        let listener = self.listener.take();
        let listener = listener.ok_or_else(|| io::Error::other("there is no local socket"))?;
        self.emacs = Some(listener.accept()?);
        Ok(())
    }

    /// Joins the connection to that of Emacs. Both are closed if that fails.
    pub(crate) fn hand_over(&mut self) -> io::Result<()> {
        let emacs = self.emacs.take();
        let emacs = emacs.ok_or_else(|| io::Error::other("Emacs has not connected"))?;
        let socket = match &mut self.stage {
            DialStage::Dialling(_) => None,
            DialStage::Ended(ended) => ended.socket.take(),
        };
        let socket = socket.ok_or_else(|| io::Error::other("there is no connection"))?;
        joined::start(socket, emacs)
    }

    /// Closes every descriptor. The report stays.
    pub(crate) fn cancel(&mut self) {
        self.listener = None;
        self.emacs = None;
        let (mut report, error) = (self.report(), self.error().map(str::to_owned));
        if report.end.is_none() {
            report.end = Some(End::Cancelled);
            report.elapsed = self.began.elapsed();
            for attempt in &mut report.attempts {
                if attempt.outcome.is_none() {
                    attempt.outcome = Some(Outcome::Cancelled);
                    attempt.ended = report.elapsed;
                }
            }
        }
        self.stage = DialStage::Ended(Box::new(Ended { report, socket: None, error }));
    }
}

impl Ended {
    fn new(end: Result<Connected, ConnectError>, dial: &Dial) -> Ended {
        match end {
            Ok(Connected { stream, report, .. }) => {
                Ended { report, socket: Some(stream), error: None }
            }
            Err(ConnectError::Failed(report)) => {
                Ended { report: *report, socket: None, error: None }
            }
            Err(error) => {
                Ended { report: dial.report(), socket: None, error: Some(error.to_string()) }
            }
        }
    }
}
