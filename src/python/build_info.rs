//! What the extension was built for and what it finds on this machine.

use pyo3::prelude::*;
use pyo3::types::PyDict;

/// Features of the processor that the kernels can use, and that this one has.
fn cpu_features() -> Vec<&'static str> {
    let mut found = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        macro_rules! look_for {
            ($($name:tt),*) => { $(if is_x86_feature_detected!($name) { found.push($name); })* };
        }
        look_for!("avx2", "fma", "avx512f", "avx512bw", "avx512vl", "avx512vnni", "avx512bf16");
    }
    #[cfg(target_arch = "aarch64")]
    found.push("neon");
    found
}

/// build_info() -> dict: `version`, `torch` (the version built for), `rustc`, `target`, `debug`,
/// `cpu_features` (of this machine).
#[pyfunction]
fn build_info(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let info = PyDict::new(py);
    info.set_item("version", env!("CARGO_PKG_VERSION"))?;
    info.set_item("torch", env!("PROPRELU_TORCH"))?;
    info.set_item("rustc", env!("PROPRELU_RUSTC"))?;
    info.set_item("target", format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS))?;
    info.set_item("debug", cfg!(debug_assertions))?;
    info.set_item("cpu_features", cpu_features())?;
    Ok(info)
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(build_info, m)?)
}
