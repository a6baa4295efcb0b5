//! Errors of the core as Python exceptions.

use pyo3::exceptions::{PyFloatingPointError, PyOSError, PyRuntimeError, PyValueError};
use pyo3::PyErr;

use crate::error::{Error, Kind};

impl From<Error> for PyErr {
    fn from(error: Error) -> PyErr {
        let message = error.to_string();
        match error.kind() {
            Kind::Value => PyValueError::new_err(message),
            Kind::Arithmetic => PyFloatingPointError::new_err(message),
            Kind::Io => PyOSError::new_err(message),
            Kind::Runtime => PyRuntimeError::new_err(message),
        }
    }
}
