//! Which interpreter of the process has imported the module.

use std::sync::OnceLock;

use pyo3::exceptions::PyImportError;
use pyo3::ffi;
use pyo3::prelude::*;

static OWNER: OnceLock<i64> = OnceLock::new();

/// Fails in every interpreter of this process but the first that imports the module: the classes
/// of `PyO3` exist once in a process, and belong to that interpreter.
pub(crate) fn claim() -> PyResult<()> {
    #[expect(unsafe_code, reason = "PyO3 has no safe call for it")]
    // SAFETY: a module is initialised with a thread state attached, which both calls need.
    let this = unsafe { ffi::PyInterpreterState_GetID(ffi::PyInterpreterState_Get()) };
    if *OWNER.get_or_init(|| this) == this {
        return Ok(());
    }
    Err(PyImportError::new_err(
        "mailport is already imported in another interpreter of this process, and cannot be \
         imported in a second one",
    ))
}
