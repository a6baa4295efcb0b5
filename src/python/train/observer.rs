//! A Python object as the observer of a training: `on_epoch_start(epoch)` with a number,
//! `on_step(event)` and `on_epoch(row)` with a dict each.

use pyo3::prelude::*;
use serde::Serialize;

use super::raised::Raised;
use crate::error::Result;
use crate::python::plain::to_python;
use crate::train::{EpochRow, Observer, StepEvent};

pub struct PythonObserver {
    /// `None` if there is no observer; then only Ctrl-C is checked.
    pub object: Option<Py<PyAny>>,
    pub raised: Raised,
}

impl PythonObserver {
    fn tell(&self, method: &str, event: &impl Serialize) -> Result<()> {
        let Some(object) = &self.object else { return Ok(()) };
        self.raised.keep(Python::with_gil(|py| {
            object.call_method1(py, method, (to_python(py, event)?,)).map(drop)
        }))
    }
}

impl Observer for PythonObserver {
    fn poll(&mut self) -> Result<()> {
        self.raised.keep(Python::with_gil(|py| py.check_signals()))
    }

    fn on_epoch_start(&mut self, epoch: u64) -> Result<()> {
        self.tell("on_epoch_start", &epoch)
    }

    fn on_step(&mut self, event: &StepEvent) -> Result<()> {
        self.tell("on_step", event)
    }

    fn on_epoch(&mut self, row: &EpochRow) -> Result<()> {
        self.tell("on_epoch", row)
    }
}
