//! The CUDA kernels: their sources, their compiler, and single launches for tests.

use std::os::raw::c_void;
use std::path::PathBuf;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::error::Result;
use crate::kernels::cuda::launch::Launch;
use crate::kernels::cuda::{compile, compiled, Architecture, Device, Driver, Source};

/// The largest argument of a kernel.
const ARGUMENT_BYTES: usize = 16;

fn source(name: &str) -> PyResult<Source> {
    Source::named(name).ok_or_else(|| {
        let names = Source::ALL.map(Source::name).join(", ");
        PyValueError::new_err(format!("source must be one of {names}, got {name:?}"))
    })
}

#[pyfunction]
fn cuda_sources() -> Vec<&'static str> {
    Source::ALL.map(Source::name).to_vec()
}

#[pyfunction]
fn cuda_source(name: &str) -> PyResult<(String, Vec<String>)> {
    let source = source(name)?;
    Ok((source.text(), source.entries()))
}

#[pyfunction]
#[pyo3(signature = (name, major, minor, folder=None))]
fn cuda_compile(
    py: Python<'_>,
    name: &str,
    major: u32,
    minor: u32,
    folder: Option<PathBuf>,
) -> PyResult<Vec<u8>> {
    let (source, architecture) = (source(name)?, Architecture { major, minor });
    let cubin = py.allow_threads(|| -> Result<Vec<u8>> {
        match folder {
            Some(folder) => compiled(source, architecture, &folder),
            None => compile(source, architecture),
        }
    });
    Ok(cubin?)
}

#[pyclass(frozen, name = "CudaDriver", module = "proprelu._core")]
struct CudaDriver(Driver);

#[pymethods]
impl CudaDriver {
    #[new]
    fn new(device: i32, stream: u64, folder: PathBuf) -> PyResult<CudaDriver> {
        Ok(CudaDriver(Driver::new(device, stream, folder)?))
    }

    #[getter]
    fn architecture(&self) -> String {
        self.0.architecture().to_string()
    }

    #[getter]
    fn multiprocessors(&self) -> usize {
        self.0.multiprocessors()
    }

    /// Does not wait for the kernel. As unsafe as `ctypes`: the arguments have to be the kernel's.
    fn launch(
        &self,
        name: &str,
        entry: &str,
        grid: [u32; 3],
        block: [u32; 3],
        arguments: Vec<Vec<u8>>,
    ) -> PyResult<()> {
        let mut places = vec![[0u64; ARGUMENT_BYTES / 8]; arguments.len()];
        for (place, argument) in places.iter_mut().zip(&arguments) {
            if argument.len() > ARGUMENT_BYTES {
                let message = format!("an argument of {} bytes", argument.len());
                return Err(PyValueError::new_err(message));
            }
            for (word, bytes) in place.iter_mut().zip(argument.chunks(8)) {
                let mut whole = [0u8; 8];
                whole[..bytes.len()].copy_from_slice(bytes);
                *word = u64::from_le_bytes(whole);
            }
        }
        let mut pointers: Vec<*mut c_void> =
            places.iter_mut().map(|place| place.as_mut_ptr().cast()).collect();
        let launch = Launch { grid, block };
        // SAFETY: the caller's, as the documentation says.
        unsafe { self.0.launch(source(name)?, entry, &launch, &mut pointers) }?;
        Ok(())
    }
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<CudaDriver>()?;
    m.add_function(wrap_pyfunction!(cuda_sources, m)?)?;
    m.add_function(wrap_pyfunction!(cuda_source, m)?)?;
    m.add_function(wrap_pyfunction!(cuda_compile, m)?)
}
