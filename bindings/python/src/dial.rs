//! One dial: a descriptor to watch, and calls that never block, but for one.

use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::{Mutex, MutexGuard, TryLockError};
use std::time::{Duration, Instant};

use mailport::{ConnectError, Dialer, Status};
use pyo3::exceptions::{PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;

use crate::cache::{Cache, answer_of, via_of};
use crate::options::{Plan, Settings, misuse, target};
use crate::report::{QuestionFacts, Report};

/// How long a wait goes on without a look at the interpreter's signals. A signal that this thread
/// gets ends the wait by itself; this is for one that came a moment before, or to another thread.
const SLICE: Duration = Duration::from_millis(100);

/// A dial under way. Closing it, or dropping it, closes everything that it holds.
///
/// The lock is never waited for, and never held while Python runs.
#[pyclass(frozen, module = "mailport._native")]
pub(crate) struct Dial {
    dial: Mutex<Option<mailport::Dial>>,
}

#[pymethods]
impl Dial {
    /// Its descriptor has no timer yet: `wait` needs none.
    #[new]
    #[pyo3(signature = (host, plan, settings, cache, via))]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "what comes from Python is made for the call"
    )]
    fn new(
        py: Python<'_>,
        host: &str,
        plan: &Plan,
        settings: Settings,
        cache: Option<&Cache>,
        via: Option<&str>,
    ) -> PyResult<Dial> {
        let (target, config) = (target(host)?, settings.config()?);
        let plan = if settings.sequential { plan.0.clone().sequential() } else { plan.0.clone() };
        let mut dialer = Dialer::default();
        if let Some(cache) = cache {
            dialer = dialer.with_cache(cache.0.clone());
        }
        if let Some(via) = via_of(via)? {
            dialer = dialer.with_via(via);
        }
        let dial = py
            .detach(|| dialer.with_plan(plan).with_config(config).start(&target))
            .map_err(told)?;
        Ok(Dial { dial: Mutex::new(Some(dial)) })
    }

    /// The descriptor to watch for reading.
    fn fileno(&self) -> PyResult<RawFd> {
        self.with(|dial| dial.descriptor_without_timer().map(|fd| fd.as_raw_fd()).map_err(told))
    }

    /// Puts a timer into the descriptor, which can then be watched.
    fn add_timer(&self) -> PyResult<()> {
        self.with(|dial| dial.descriptor().map(drop).map_err(told))
    }

    /// Does what can be done now, without blocking, and says how the dial stands.
    fn process(&self, py: Python<'_>) -> PyResult<&'static str> {
        let mut dial = self.lock()?;
        let dial = dial.as_mut().ok_or_else(closed)?;
        py.detach(|| name_of(dial.process()))
    }

    /// Blocks, at most for `timeout` seconds, while the status is `pending`. Other threads run
    /// meanwhile, and signals are handled.
    #[pyo3(signature = (timeout))]
    fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<&'static str> {
        let until = timeout
            .map(|seconds| Duration::try_from_secs_f64(seconds).map_err(misuse))
            .transpose()?
            .and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            let slice = left.map_or(SLICE, |left| left.min(SLICE));
            let status = {
                let mut dial = self.lock()?;
                let dial = dial.as_mut().ok_or_else(closed)?;
                py.detach(|| dial.wait(Some(slice)))
            };
            py.check_signals()?;
            if status != Status::Pending || left == Some(Duration::ZERO) {
                return name_of(status);
            }
        }
    }

    /// The question that the dial has stopped with.
    fn question(&self) -> PyResult<Option<QuestionFacts>> {
        self.with(|dial| Ok(dial.question().as_ref().map(QuestionFacts::new)))
    }

    /// Answers a question, and remembers the answer where it is for good; `False` where the
    /// question no longer stands.
    fn answer(&self, number: u32, answer: &str, for_good: bool) -> PyResult<bool> {
        let answer = answer_of(answer)?;
        self.with(|dial| {
            let answered = if for_good {
                dial.answer_and_remember(number, answer)
            } else {
                dial.answer(number, answer)
            };
            Ok(answered.is_ok())
        })
    }

    /// The dial so far.
    fn report(&self) -> PyResult<Report> {
        self.with(|dial| Ok(Report(dial.report())))
    }

    /// The descriptor of the connection, which is the caller's from now on, or `None` where the
    /// dial has failed; and the report.
    fn take(&self) -> PyResult<(Option<RawFd>, Report)> {
        self.with(|dial| match dial.take() {
            Ok(connected) => {
                Ok((Some(OwnedFd::from(connected.stream).into_raw_fd()), Report(connected.report)))
            }
            Err(ConnectError::Failed(report)) => Ok((None, Report(*report))),
            Err(error) => Err(told(error)),
        })
    }

    /// Closes everything; a closed dial can be closed again.
    fn close(&self) -> PyResult<()> {
        let dial = self.lock()?.take();
        drop(dial);
        Ok(())
    }
}

impl Dial {
    fn lock(&self) -> PyResult<MutexGuard<'_, Option<mailport::Dial>>> {
        match self.dial.try_lock() {
            Ok(dial) => Ok(dial),
            // What panicked has left the dial as it was between two calls.
            Err(TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => {
                Err(PyRuntimeError::new_err("another thread is in this dial"))
            }
        }
    }

    fn with<T>(&self, what: impl FnOnce(&mut mailport::Dial) -> PyResult<T>) -> PyResult<T> {
        what(self.lock()?.as_mut().ok_or_else(closed)?)
    }
}

fn closed() -> PyErr {
    PyValueError::new_err("this dial is closed")
}

fn name_of(status: Status) -> PyResult<&'static str> {
    match status {
        Status::Pending => Ok("pending"),
        Status::Asking => Ok("asking"),
        Status::Connected => Ok("connected"),
        Status::Failed => Ok("failed"),
        Status::Forked => Err(told(ConnectError::Forked)),
        _ => Err(PyRuntimeError::new_err("a status that this module does not know")),
    }
}

/// An error without a report, as Python's own kinds.
fn told(error: ConnectError) -> PyErr {
    match error {
        ConnectError::Config(error) => misuse(error),
        ConnectError::Setup { ref source, .. } => {
            PyOSError::new_err((source.raw_os_error(), error.to_string()))
        }
        error => PyRuntimeError::new_err(error.to_string()),
    }
}
