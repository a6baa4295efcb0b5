//! Plain Python values (dicts, lists, numbers, strings) to and from the core's own types.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use serde::de::DeserializeOwned;
use serde::Serialize;

/// Reads a setting such as an optimizer or a schedule.
///
/// # Errors
/// A `ValueError` that starts with `what` and names the key that is missing, unknown or of a wrong
/// type.
pub fn from_python<T: DeserializeOwned>(what: &str, value: &Bound<'_, PyAny>) -> PyResult<T> {
    pythonize::depythonize(value)
        .map_err(|error| PyValueError::new_err(format!("{what} settings: {error}")))
}

/// The value as dicts, lists and numbers.
pub fn to_python<'py>(py: Python<'py>, value: &impl Serialize) -> PyResult<Bound<'py, PyAny>> {
    Ok(pythonize::pythonize(py, value)?)
}
