//! The private module `mailport._native`: the Rust crate as the Python package uses it.
//!
//! What a user of the package sees is written in Python, in `python/mailport`. Here are only a plan,
//! a cache, a dial and a report; every class is frozen, and a dial is behind a lock, so the module needs no
//! interpreter lock.

mod cache;
mod dial;
mod options;
mod report;

use pyo3::prelude::*;

/// The native part of mailport; private to the package.
#[pymodule(gil_used = false)]
mod _native {
    #[pymodule_export]
    use super::cache::Cache;
    #[pymodule_export]
    use super::dial::Dial;
    #[pymodule_export]
    use super::options::{Plan, check, defaults};
    #[pymodule_export]
    use super::report::{Report, json_of_refusal};

    /// The version of the package.
    #[pymodule_export]
    #[expect(non_upper_case_globals, reason = "the name that Python has for it")]
    const __version__: &str = env!("CARGO_PKG_VERSION");
}
