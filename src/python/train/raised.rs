//! Carries an exception that a callback raised past the core.

use std::sync::{Arc, Mutex};

use pyo3::prelude::*;

use crate::error::{Error, Result};

/// The core only sees `Error::Stopped`; the exception is kept here until the core has returned.
#[derive(Clone, Default)]
pub struct Raised(Arc<Mutex<Option<PyErr>>>);

impl Raised {
    pub fn keep<T>(&self, result: PyResult<T>) -> Result<T> {
        result.map_err(|raised| {
            if let Ok(mut place) = self.0.lock() {
                place.get_or_insert(raised);
            }
            Error::Stopped
        })
    }

    /// The core's result, or the exception that stopped it.
    pub fn release<T>(&self, result: Result<T>) -> PyResult<T> {
        result.map_err(|error| {
            let raised = self.0.lock().ok().and_then(|mut place| place.take());
            raised.unwrap_or_else(|| error.into())
        })
    }
}
