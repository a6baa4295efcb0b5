//! The module `proprelu._core`.

use pyo3::prelude::*;

use super::train::{CompiledGraph, EngineRunner, TrainState};
use super::{build_info, covariance, cuda, data, ratio, squeeze_excite, tuning, weights};

#[pymodule]
fn _core(m: &Bound<'_, PyModule>) -> PyResult<()> {
    // The extension links against libtorch, which Python's torch has to load first.
    m.py().import("torch")?;
    crate::cpu::check_setting()?;
    m.add("__version__", env!("CARGO_PKG_VERSION"))?;
    ratio::register(m)?;
    build_info::register(m)?;
    covariance::register(m)?;
    squeeze_excite::register(m)?;
    cuda::register(m)?;
    data::register(m)?;
    m.add_class::<CompiledGraph>()?;
    m.add_class::<EngineRunner>()?;
    m.add_class::<TrainState>()?;
    tuning::register(m)?;
    weights::register(m)?;
    Ok(())
}
