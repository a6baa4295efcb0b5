//! A Python object as the observer of a training: `on_step(json)`, `on_epoch(json)`.

use pyo3::prelude::*;
use serde::Serialize;

use super::raised::Raised;
use crate::error::{Error, Result};
use crate::train::{EpochRow, Observer, StepEvent};

pub struct PythonObserver {
    /// `None` where nobody watches, and only Ctrl-C is looked for.
    pub object: Option<Py<PyAny>>,
    pub raised: Raised,
}

impl PythonObserver {
    fn tell(&self, method: &str, event: &impl Serialize) -> Result<()> {
        let Some(object) = &self.object else { return Ok(()) };
        let json =
            serde_json::to_string(event).map_err(|error| Error::Capture(error.to_string()))?;
        self.raised.keep(Python::with_gil(|py| object.call_method1(py, method, (json,)).map(drop)))
    }
}

impl Observer for PythonObserver {
    fn poll(&mut self) -> Result<()> {
        self.raised.keep(Python::with_gil(|py| py.check_signals()))
    }

    fn on_step(&mut self, event: &StepEvent) -> Result<()> {
        self.tell("on_step", event)
    }

    fn on_epoch(&mut self, row: &EpochRow) -> Result<()> {
        self.tell("on_epoch", row)
    }
}
