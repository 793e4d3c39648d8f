//! The private module `mailport._native`: the Rust crate as the Python package uses it.
//!
//! The public interface is written in Python, in `python/mailport`. This module has only a plan,
//! settings, a cache, a dial and a report. Every class is frozen, and a dial is behind a lock, so
//! the module does not need the interpreter lock.

mod cache;
mod config;
mod dial;
mod interpreter;
mod report;

use pyo3::prelude::*;

/// The native part of mailport; private to the package.
#[pymodule(gil_used = false)]
mod _native {
    use pyo3::prelude::*;

    #[pymodule_export]
    use super::cache::Cache;
    #[pymodule_export]
    use super::config::{Config, Plan, tls_name};
    #[pymodule_export]
    use super::dial::Dial;
    #[pymodule_export]
    use super::report::Report;

    /// The version of the package.
    #[pymodule_export]
    #[expect(non_upper_case_globals, reason = "the name that Python has for it")]
    const __version__: &str = env!("CARGO_PKG_VERSION");

    #[pymodule_init]
    fn init(_module: &Bound<'_, PyModule>) -> PyResult<()> {
        super::interpreter::claim()
    }
}
