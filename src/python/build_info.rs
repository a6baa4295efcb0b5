//! What the extension was built for, and the machine that it runs on.

use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::cpu::{peak, processor};

/// build_info() -> dict: `version`, `torch` (the version built for), `rustc`, `target`, `debug`;
/// and of this machine `cpu` (the model name), `cpu_features` and `cpu_level` (that of the
/// kernels), and `cpu_amx`: whether they use AMX, and if not, why.
#[pyfunction]
fn build_info(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let info = PyDict::new(py);
    info.set_item("version", env!("CARGO_PKG_VERSION"))?;
    info.set_item("torch", env!("PROPRELU_TORCH"))?;
    info.set_item("rustc", env!("PROPRELU_RUSTC"))?;
    info.set_item("target", format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS))?;
    info.set_item("debug", cfg!(debug_assertions))?;
    info.set_item("cpu", processor::name())?;
    info.set_item("cpu_features", processor::features())?;
    info.set_item("cpu_level", processor::level())?;
    info.set_item("cpu_amx", processor::amx())?;
    Ok(info)
}

/// peak_rates(threads) -> dict: what so many threads reach together in a second, measured: `fp32` and
/// `bf16` operations, and `bytes` of a copy.
#[pyfunction]
fn peak_rates(py: Python<'_>, threads: usize) -> PyResult<Bound<'_, PyDict>> {
    let peak = py.allow_threads(|| peak::measure(threads));
    let rates = PyDict::new(py);
    rates.set_item("fp32", peak.fp32)?;
    rates.set_item("bf16", peak.bf16)?;
    rates.set_item("bytes", peak.bytes)?;
    Ok(rates)
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(build_info, m)?)?;
    m.add_function(wrap_pyfunction!(peak_rates, m)?)
}
