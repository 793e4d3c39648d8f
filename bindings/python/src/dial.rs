//! One dial: a descriptor to watch, and calls of which only `wait` blocks.

use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use mailport::{Canceller, ConnectError, Dialer, Status, Stream};
use pyo3::exceptions::{PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;

use crate::cache::{Cache, answer_of, via_of};
use crate::config::{Config, Plan, ServiceTuple, target_of, tuple_of, value_error};
use crate::report::{QuestionFacts, Report};

/// How long a wait goes on without a look at the interpreter's signals. A signal to this thread
/// ends the wait at once; this bound is for one that came just before, or to another thread.
const SLICE: Duration = Duration::from_millis(100);

/// A descriptor, which the caller owns from now on, its protocol (0 of a UNIX socket), and the
/// service that was reached.
type Connection = (RawFd, i32, ServiceTuple);

/// A dial under way. Closing or dropping it closes everything that it holds.
///
/// No call waits for the lock of the dial, and none holds it while Python runs.
#[pyclass(frozen, module = "mailport._native")]
pub(crate) struct Dial {
    dial: Mutex<Option<mailport::Dial>>,
    /// Made by the first wait that can be cancelled, for `cancel` may come while that has the dial.
    canceller: Mutex<Option<Canceller>>,
}

#[pymethods]
impl Dial {
    /// Starts a dial; its descriptor has no timer.
    #[new]
    #[pyo3(signature = (host, plan, config, timeout, asks, source, cache, via))]
    #[expect(clippy::too_many_arguments, reason = "called by the Python package alone")]
    fn new(
        py: Python<'_>,
        host: &str,
        plan: &Plan,
        config: &Config,
        timeout: f64,
        asks: bool,
        source: Option<(&str, u16)>,
        cache: Option<&Cache>,
        via: Option<&str>,
    ) -> PyResult<Dial> {
        let target = target_of(host)?;
        let config = config.for_dial(Some(timeout), asks, source)?;
        let mut dialer = Dialer::new().with_plan(plan.0.clone()).with_config(config);
        dialer = match cache {
            Some(cache) => dialer.with_cache(cache.0.clone()),
            None => dialer.without_cache(),
        };
        if let Some(via) = via_of(via)? {
            dialer = dialer.with_via(via);
        }
        let dial = py.detach(|| dialer.start(&target)).map_err(error_of)?;
        Ok(Dial { dial: Mutex::new(Some(dial)), canceller: Mutex::new(None) })
    }

    /// The descriptor to watch for reading. Without `add_timer`, the caller brings the time.
    fn fileno(&self) -> PyResult<RawFd> {
        self.with(|dial| {
            let descriptor = dial.descriptor_without_timer().map_err(error_of)?;
            Ok(descriptor.as_raw_fd())
        })
    }

    /// Adds a timer to the descriptor, which is then readable when something is due.
    fn add_timer(&self) -> PyResult<()> {
        self.with(|dial| dial.descriptor().map(drop).map_err(error_of))
    }

    /// In how many seconds `process` must be called at the latest.
    fn poll_timeout(&self) -> PyResult<Option<f64>> {
        self.with(|dial| Ok(dial.poll_timeout().map(|timeout| timeout.as_secs_f64())))
    }

    /// Does what can be done now, without blocking, and returns the status.
    fn process(&self, py: Python<'_>) -> PyResult<&'static str> {
        let mut dial = self.lock()?;
        let dial = dial.as_mut().ok_or_else(closed)?;
        name_of(py.detach(|| dial.process()))
    }

    /// Makes it possible that `cancel` ends a wait of another thread.
    fn make_cancellable(&self) -> PyResult<()> {
        if self.canceller().is_none() {
            let canceller = self.with(|dial| dial.canceller().map_err(error_of))?;
            *self.canceller() = Some(canceller);
        }
        Ok(())
    }

    /// Ends the dial, from any thread; a wait returns. A closed dial has ended already.
    fn cancel(&self, py: Python<'_>) -> PyResult<()> {
        let made = self.canceller().clone();
        let canceller = if let Some(canceller) = made {
            canceller
        } else {
            // A thread that waits has made it, so this waits for a short call at most.
            let made = py.detach(|| {
                let mut dial = self.dial.lock().unwrap_or_else(PoisonError::into_inner);
                dial.as_mut().map(mailport::Dial::canceller)
            });
            match made {
                None => return Ok(()),
                Some(made) => made.map_err(error_of)?,
            }
        };
        canceller.cancel();
        Ok(())
    }

    /// Blocks for at most `timeout` seconds while the status is `pending`. Other threads run
    /// meanwhile, and signals are handled.
    #[pyo3(signature = (timeout))]
    fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<&'static str> {
        let until = timeout
            .map(|seconds| Duration::try_from_secs_f64(seconds).map_err(value_error))
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

    /// The question at which the dial has stopped.
    fn question(&self) -> PyResult<Option<QuestionFacts>> {
        self.with(|dial| Ok(dial.question().as_ref().map(QuestionFacts::new)))
    }

    /// Answers a question; returns `False` if that question is no longer current.
    fn answer(&self, number: u32, answer: &str, remember: bool) -> PyResult<bool> {
        let answer = answer_of(answer)?;
        self.with(|dial| {
            let answered = if remember {
                dial.answer_and_remember(number, answer)
            } else {
                dial.answer(number, answer)
            };
            Ok(answered.is_ok())
        })
    }

    /// The report of the dial so far.
    fn report(&self) -> PyResult<Report> {
        self.with(|dial| Ok(Report(dial.report())))
    }

    /// The connection, or `None` if the dial has failed; and the report.
    fn take(&self) -> PyResult<(Option<Connection>, Report)> {
        self.with(|dial| match dial.take() {
            Ok(connected) => {
                let protocol = match connected.stream {
                    Stream::Tcp(_) => libc::IPPROTO_TCP,
                    Stream::Unix(_) => 0,
                };
                let service = tuple_of(connected.service);
                let descriptor = OwnedFd::from(connected.stream).into_raw_fd();
                Ok((Some((descriptor, protocol, service)), Report(connected.report)))
            }
            Err(ConnectError::Failed(report)) => Ok((None, Report(*report))),
            Err(error) => Err(error_of(error)),
        })
    }

    /// Closes everything; a closed dial can be closed again.
    fn close(&self) -> PyResult<()> {
        let dial = self.lock()?.take();
        *self.canceller() = None;
        drop(dial);
        Ok(())
    }
}

impl Dial {
    fn lock(&self) -> PyResult<MutexGuard<'_, Option<mailport::Dial>>> {
        match self.dial.try_lock() {
            Ok(dial) => Ok(dial),
            // A panic leaves the dial as it was between two calls.
            Err(TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => {
                Err(PyRuntimeError::new_err("another thread is using this dial"))
            }
        }
    }

    /// Held for a moment only, and never while a lock of the dial is asked for.
    fn canceller(&self) -> MutexGuard<'_, Option<Canceller>> {
        self.canceller.lock().unwrap_or_else(PoisonError::into_inner)
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
        Status::Forked => Err(error_of(ConnectError::Forked)),
        _ => Err(PyRuntimeError::new_err("a status that this module does not know")),
    }
}

/// An error without a report, as one of Python's own: an `OSError` if the system has a number for
/// it.
fn error_of(error: ConnectError) -> PyErr {
    match (error.errno(), error) {
        (Some(errno), error) => PyOSError::new_err((errno.0, error.to_string())),
        (None, ConnectError::Config(error)) => value_error(error),
        (None, ConnectError::Target(error)) => value_error(error),
        (None, error) => PyRuntimeError::new_err(error.to_string()),
    }
}
