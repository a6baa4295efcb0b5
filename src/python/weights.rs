//! Weights as NumPy arrays.

use numpy::{IntoPyArray, PyArray4, PyReadonlyArray4};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::weights::{decompose, Variant};

#[pyfunction]
fn decompose_kernel<'py>(
    py: Python<'py>,
    weight: PyReadonlyArray4<'py, f64>,
    variant: &str,
) -> PyResult<Vec<Bound<'py, PyArray4<f64>>>> {
    let variant = match variant {
        "full" => Variant::Full,
        "lean" => Variant::Lean,
        other => {
            let message = format!("variant must be \"full\" or \"lean\", got {other:?}");
            return Err(PyValueError::new_err(message));
        }
    };
    let layers = decompose(weight.as_array(), variant)?;
    Ok(layers.into_iter().map(|layer| layer.into_pyarray(py)).collect())
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(decompose_kernel, m)?)
}
