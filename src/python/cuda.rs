//! The CUDA kernels: their sources, their compiler, and single launches for tests.

use std::os::raw::c_void;
use std::path::PathBuf;
use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::engine::Target;
use crate::error::Result;
use crate::kernels::cuda::launch::Launch;
use crate::kernels::cuda::{
    compile, compiled, host_text, Architecture, Device, Driver, Host, Source,
};

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

/// The C++ code, without `host.h`, of the library that `CudaDevice.on_host` loads for a source.
#[pyfunction]
fn cuda_host_text(name: &str) -> PyResult<String> {
    Ok(host_text(source(name)?))
}

#[pyclass(frozen, module = "proprelu._core")]
pub struct CudaDevice {
    kernels: Arc<dyn Device + Send + Sync>,
    /// The device of the tensors.
    tensors: tch::Device,
    architecture: String,
}

impl CudaDevice {
    pub fn target(&self) -> Target {
        Target { device: self.tensors, cuda: Some(self.kernels.clone()) }
    }

    /// The name of the device in torch.
    pub fn name(&self) -> String {
        match self.tensors {
            tch::Device::Cuda(ordinal) => format!("cuda:{ordinal}"),
            _ => "cpu".to_owned(),
        }
    }
}

#[pymethods]
impl CudaDevice {
    #[new]
    fn new(ordinal: i32, stream: u64, folder: PathBuf) -> PyResult<CudaDevice> {
        let driver = Driver::new(ordinal, stream, folder)?;
        let architecture = driver.architecture().to_string();
        let tensors = tch::Device::Cuda(ordinal.max(0) as usize);
        Ok(CudaDevice { kernels: Arc::new(driver), tensors, architecture })
    }

    /// As unsafe as `ctypes`: the libraries must be built from the sources of this version.
    #[staticmethod]
    fn on_host(folder: PathBuf, multiprocessors: usize) -> PyResult<CudaDevice> {
        // SAFETY: guaranteed by the caller, as documented.
        let host = unsafe { Host::open(&folder, multiprocessors) }?;
        let (tensors, architecture) = (tch::Device::Cpu, "host".to_owned());
        Ok(CudaDevice { kernels: Arc::new(host), tensors, architecture })
    }

    #[getter]
    fn architecture(&self) -> &str {
        &self.architecture
    }

    #[getter]
    fn multiprocessors(&self) -> usize {
        self.kernels.multiprocessors()
    }

    /// Does not wait for the kernel. As unsafe as `ctypes`: the arguments must match the kernel.
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
        // SAFETY: guaranteed by the caller, as documented.
        unsafe { self.kernels.launch(source(name)?, entry, &launch, &mut pointers) }?;
        Ok(())
    }
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<CudaDevice>()?;
    m.add_function(wrap_pyfunction!(cuda_host_text, m)?)?;
    m.add_function(wrap_pyfunction!(cuda_sources, m)?)?;
    m.add_function(wrap_pyfunction!(cuda_source, m)?)?;
    m.add_function(wrap_pyfunction!(cuda_compile, m)?)
}
