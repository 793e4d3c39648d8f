//! The cache of earlier dials.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use mailport::machine::Answer;
use mailport::{Service, Via};
use pyo3::prelude::*;

use crate::config::{Config, target_of, value_error};

/// How long a wait goes on without a look at the interpreter's signals.
const SLICE: Duration = Duration::from_millis(100);

/// A cache: a handle that any number of threads may use at once.
#[pyclass(frozen, module = "mailport._native")]
pub(crate) struct Cache(pub(crate) mailport::Cache);

#[pymethods]
impl Cache {
    #[new]
    #[pyo3(signature = (path))]
    fn new(py: Python<'_>, path: Option<PathBuf>) -> Cache {
        Cache(py.detach(|| path.map_or_else(mailport::Cache::new, mailport::Cache::open)))
    }

    /// The cache that dials of this process use by default.
    #[staticmethod]
    fn shared() -> Cache {
        Cache(mailport::Cache::shared())
    }

    /// The path of the user's cache.
    #[staticmethod]
    fn default_path() -> Option<PathBuf> {
        mailport::Cache::default_path()
    }

    /// Removes the entries of a host in every network.
    fn forget(&self, py: Python<'_>, host: &str) -> PyResult<usize> {
        let target = target_of(host)?;
        Ok(py.detach(|| self.0.forget(&target)))
    }

    /// Removes every entry.
    fn clear(&self, py: Python<'_>) -> usize {
        py.detach(|| self.0.clear())
    }

    /// Stores the answer to a question; returns `False` if the network is not known, and for the
    /// shared cache.
    #[pyo3(signature = (host, service, answer, config, via))]
    fn remember_answer(
        &self,
        py: Python<'_>,
        host: &str,
        service: &str,
        answer: &str,
        config: &Config,
        via: Option<&str>,
    ) -> PyResult<bool> {
        let target = target_of(host)?;
        let config = config.for_dial(None, true, None)?;
        let service: Service = service.parse().map_err(value_error)?;
        let answer = answer_of(answer)?;
        let via = via_of(via)?;
        Ok(py.detach(|| {
            let place = mailport::Cache::place(&target, &config, via.as_ref());
            place.is_some_and(|place| self.0.remember_answer(&place, service, answer))
        }))
    }

    /// Waits until everything is saved, and returns whether it is. Signals are handled.
    fn flush(&self, py: Python<'_>, timeout: f64) -> PyResult<bool> {
        let timeout = Duration::try_from_secs_f64(timeout).map_err(value_error)?;
        let begun = Instant::now();
        loop {
            let left = timeout.saturating_sub(begun.elapsed());
            let is_saved = py.detach(|| self.0.flush(left.min(SLICE)));
            py.check_signals()?;
            if is_saved || left.is_zero() {
                return Ok(is_saved);
            }
        }
    }
}

pub(crate) fn answer_of(name: &str) -> PyResult<Answer> {
    let known = Answer::ALL.into_iter().find(|known| known.name() == name);
    known.ok_or_else(|| value_error(format!("`{name}` is not an answer")))
}

pub(crate) fn via_of(text: Option<&str>) -> PyResult<Option<Via>> {
    text.map(|text| text.parse().map_err(value_error)).transpose()
}
