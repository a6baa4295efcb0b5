//! Weights as NumPy arrays.

use numpy::{IntoPyArray, PyArray4, PyArrayMethods, PyReadonlyArray4, PyUntypedArrayMethods};
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
    let &[outputs, inputs, height, width] = weight.shape() else { unreachable!("four dimensions") };
    let values = weight.as_array().iter().copied().collect::<Vec<f64>>();
    let layers = decompose(&values, [outputs, inputs, height, width], variant)?;
    let arrays = layers.into_iter().map(|layer| {
        let shape = [layer.out_channels, layer.in_channels, 3, 3];
        layer.weight.into_pyarray(py).reshape(shape)
    });
    arrays.collect()
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(decompose_kernel, m)?)
}
