//! The choice of algorithms for convolutions.

use std::path::PathBuf;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use serde::Serialize;

use crate::cpu::{processor, Parallel};
use crate::engine::AtenPool;
use crate::python::plain::to_python;
use crate::tuning::{read, Entry, Machine, Preference, Tuner};

pub fn preference(name: &str) -> PyResult<Preference> {
    let named = Preference::NAMES.into_iter().find(|(known, _)| *known == name);
    let (_, preference) = named.ok_or_else(|| {
        let names = Preference::NAMES.map(|(known, _)| known).join(", ");
        PyValueError::new_err(format!("conv_algorithm must be one of {names}, got {name:?}"))
    })?;
    match preference == Preference::Amx && !processor::has_tiles() {
        true => Err(PyValueError::new_err(format!(
            "conv_algorithm=\"amx\" needs AMX, which is {}; use \"auto\"",
            processor::amx()
        ))),
        false => Ok(preference),
    }
}

pub fn tuner(py: Python<'_>, file: Option<PathBuf>) -> PyResult<Tuner> {
    Ok(Tuner::new(this_machine(py)?, file))
}

fn this_machine(py: Python<'_>) -> PyResult<Machine> {
    let torch: String = py.import("torch")?.getattr("__version__")?.str()?.extract()?;
    Ok(Machine::this(AtenPool.threads(), &torch))
}

/// A stored choice, and whether it is valid here.
#[derive(Serialize)]
struct Choice {
    #[serde(flatten)]
    entry: Entry,
    valid_here: bool,
}

/// The choices in a file as a list of dicts.
#[pyfunction]
fn kernel_choices(py: Python<'_>, file: PathBuf) -> PyResult<Bound<'_, PyAny>> {
    let here = this_machine(py)?;
    let choice = |(key, record)| {
        let entry = Entry { key, record };
        Choice { valid_here: entry.key.machine == here, entry }
    };
    let choices: Vec<Choice> = read(&file).into_iter().map(choice).collect();
    to_python(py, &choices)
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(kernel_choices, m)?)
}
