//! Covariance pooling, for `proprelu.functional`.

use pyo3::prelude::*;
use pyo3_tch::PyTensor;

use crate::engine::covariance::{backward, forward, Pooling};

#[pyfunction]
fn covariance_pool(
    py: Python<'_>,
    x: PyTensor,
    num_iters: usize,
    center: bool,
) -> PyResult<(PyTensor, PyTensor)> {
    let x = x.0;
    let (y, covariance) = py.allow_threads(move || forward(&x, Pooling { num_iters, center }))?;
    Ok((PyTensor(y), PyTensor(covariance)))
}

#[pyfunction]
fn covariance_pool_backward(
    py: Python<'_>,
    grad_y: PyTensor,
    x: PyTensor,
    y: PyTensor,
    covariance: PyTensor,
    num_iters: usize,
    center: bool,
) -> PyResult<PyTensor> {
    let [grad_y, x, y, covariance] = [grad_y.0, x.0, y.0, covariance.0];
    let pooling = Pooling { num_iters, center };
    let grad_x = py.allow_threads(move || backward(&grad_y, &x, &y, &covariance, pooling))?;
    Ok(PyTensor(grad_x))
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(covariance_pool, m)?)?;
    m.add_function(wrap_pyfunction!(covariance_pool_backward, m)?)?;
    Ok(())
}
