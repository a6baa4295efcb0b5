//! Means of channels, and channels scaled by a number for each image, for `proprelu.functional`.

use pyo3::prelude::*;
use pyo3_tch::PyTensor;

use crate::engine::squeeze_excite;

#[pyfunction]
fn channel_means(py: Python<'_>, x: PyTensor) -> PyResult<PyTensor> {
    let x = x.0;
    Ok(PyTensor(py.allow_threads(move || squeeze_excite::means(&x))?))
}

#[pyfunction]
fn scale_channels(py: Python<'_>, x: PyTensor, scale: PyTensor) -> PyResult<PyTensor> {
    let (x, scale) = (x.0, scale.0);
    Ok(PyTensor(py.allow_threads(move || squeeze_excite::scale(&x, &scale))?))
}

#[pyfunction]
fn scale_channels_backward(
    py: Python<'_>,
    grad_y: PyTensor,
    x: PyTensor,
    scale: PyTensor,
) -> PyResult<(PyTensor, PyTensor)> {
    let [grad_y, x, scale] = [grad_y.0, x.0, scale.0];
    let (grad_x, grad_scale) =
        py.allow_threads(move || squeeze_excite::scale_backward(&grad_y, &x, &scale))?;
    Ok((PyTensor(grad_x), PyTensor(grad_scale)))
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(channel_means, m)?)?;
    m.add_function(wrap_pyfunction!(scale_channels, m)?)?;
    m.add_function(wrap_pyfunction!(scale_channels_backward, m)?)?;
    Ok(())
}
