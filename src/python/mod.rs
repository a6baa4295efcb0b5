//! The bindings: convert, release the GIL, call, map the error. Nothing else.

mod build_info;
mod covariance;
mod cuda;
mod data;
mod error;
mod plain;
mod ratio;
mod squeeze_excite;
mod train;
mod weights;

use pyo3::prelude::*;

#[pymodule]
fn _core(m: &Bound<'_, PyModule>) -> PyResult<()> {
    // The extension links against libtorch, which Python's torch has to load first.
    m.py().import("torch")?;
    m.add("__version__", env!("CARGO_PKG_VERSION"))?;
    ratio::register(m)?;
    build_info::register(m)?;
    covariance::register(m)?;
    squeeze_excite::register(m)?;
    cuda::register(m)?;
    data::register(m)?;
    train::register(m)?;
    weights::register(m)?;
    Ok(())
}
