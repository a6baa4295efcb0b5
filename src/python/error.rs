//! Errors of the core as Python exceptions.

use std::io::ErrorKind;

use pyo3::exceptions::{
    PyFileNotFoundError, PyFloatingPointError, PyIsADirectoryError, PyOSError, PyPermissionError,
    PyRuntimeError, PyValueError,
};
use pyo3::PyErr;

use crate::error::{Error, Kind};

impl From<Error> for PyErr {
    fn from(error: Error) -> PyErr {
        let message = error.to_string();
        if let Error::Io { source, .. } = &error {
            return match source.kind() {
                ErrorKind::NotFound => PyFileNotFoundError::new_err(message),
                ErrorKind::PermissionDenied => PyPermissionError::new_err(message),
                ErrorKind::IsADirectory => PyIsADirectoryError::new_err(message),
                _ => PyOSError::new_err(message),
            };
        }
        match error.kind() {
            Kind::Value => PyValueError::new_err(message),
            Kind::Arithmetic => PyFloatingPointError::new_err(message),
            Kind::Io => PyOSError::new_err(message),
            Kind::Runtime => PyRuntimeError::new_err(message),
        }
    }
}
