//! A GPU: loads machine code and launches kernels on one of torch's streams.

use std::collections::HashMap;
use std::ffi::CString;
use std::os::raw::c_void;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock};

use cudarc::driver::{result, sys};

use super::cache::compiled;
use super::device::{Address, Device};
use super::launch::Launch;
use super::sender::Sender;
use super::{Architecture, Source};
use crate::error::{Error, Result};

/// A GPU with a stream, in the primary context, which torch uses too.
pub struct Driver {
    device: sys::CUdevice,
    context: sys::CUcontext,
    stream: sys::CUstream,
    architecture: Architecture,
    multiprocessors: usize,
    /// The cache for machine code.
    folder: PathBuf,
    functions: Mutex<HashMap<String, sys::CUfunction>>,
    /// Created by the first `send`.
    sender: OnceLock<Sender>,
}

// SAFETY: the driver's objects may be used from any thread; the driver does its own locking.
unsafe impl Send for Driver {}
unsafe impl Sync for Driver {}

impl Driver {
    /// The GPU with number `ordinal`. `stream` is the `cuda_stream` of a `torch.cuda.Stream`, which
    /// must outlive the driver.
    ///
    /// # Errors
    /// There is no driver or no such GPU, or the GPU is older than torch supports.
    pub fn new(ordinal: i32, stream: u64, folder: PathBuf) -> Result<Driver> {
        // SAFETY: this only loads the CUDA driver library.
        if !unsafe { sys::is_culib_present() } {
            return Err(Error::NoCudaDriver);
        }
        result::init().map_err(failed)?;
        let device = result::device::get(ordinal).map_err(failed)?;
        let attribute = |attribute| -> Result<usize> {
            // SAFETY: the driver returned this device.
            let value = unsafe { result::device::get_attribute(device, attribute) };
            Ok(value.map_err(failed)?.max(0) as usize)
        };
        use sys::CUdevice_attribute_enum as Attribute;
        let major = attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)? as u32;
        let minor = attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)? as u32;
        let architecture = Architecture { major, minor };
        if architecture < Architecture::OLDEST {
            let (oldest, got) = (Architecture::OLDEST.to_string(), architecture.to_string());
            return Err(Error::OldGpu { oldest, got });
        }
        let multiprocessors = attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?;
        // SAFETY: released when `self` is dropped.
        let context = unsafe { result::primary_ctx::retain(device) }.map_err(failed)?;
        let stream = stream as sys::CUstream;
        let (functions, sender) = (Mutex::default(), OnceLock::new());
        Ok(Driver {
            device,
            context,
            stream,
            architecture,
            multiprocessors,
            folder,
            functions,
            sender,
        })
    }

    pub fn architecture(&self) -> Architecture {
        self.architecture
    }

    /// Loads all kernels of a source ahead of time. Loading one during the capture of a graph would
    /// fail.
    pub fn load(&self, source: Source) -> Result<()> {
        let cubin = compiled(source, self.architecture, &self.folder)?;
        self.enter()?;
        // SAFETY: a cubin is self-contained. The module is never unloaded, so that its functions
        // remain valid.
        let module = unsafe { result::module::load_data(cubin.as_ptr().cast()) }.map_err(failed)?;
        let mut functions = self.functions.lock().unwrap_or_else(|broken| broken.into_inner());
        for entry in source.entries() {
            let name = CString::new(entry.as_str()).unwrap_or_default();
            // SAFETY: the module is loaded.
            let function = unsafe { result::module::get_function(module, name) }.map_err(failed)?;
            functions.insert(entry, function);
        }
        Ok(())
    }

    /// The sender, which is created here if needed.
    fn sender(&self) -> Result<&Sender> {
        self.enter()?;
        if self.sender.get().is_none() {
            // If two threads do this at once, one of the two senders is dropped.
            let _ = self.sender.set(Sender::new().map_err(failed)?);
        }
        self.sender.get().ok_or_else(|| Error::Cuda("no stream for copies".into()))
    }

    /// Makes torch's context the current one of this thread.
    fn enter(&self) -> Result<()> {
        // SAFETY: the context is retained.
        unsafe { result::ctx::set_current(self.context) }.map_err(failed)
    }

    fn function(&self, source: Source, entry: &str) -> Result<sys::CUfunction> {
        let find = || {
            let functions = self.functions.lock().unwrap_or_else(|broken| broken.into_inner());
            functions.get(entry).copied()
        };
        if let Some(function) = find() {
            return Ok(function);
        }
        self.load(source)?;
        find().ok_or_else(|| Error::Cuda(format!("{entry} is not one of {}", source.name())))
    }
}

impl Device for Driver {
    fn multiprocessors(&self) -> usize {
        self.multiprocessors
    }

    unsafe fn launch(
        &self,
        source: Source,
        entry: &str,
        launch: &Launch,
        arguments: &mut [*mut c_void],
    ) -> Result<()> {
        let function = self.function(source, entry)?;
        self.enter()?;
        let ([gx, gy, gz], [bx, by, bz]) = (launch.grid, launch.block);
        // SAFETY: guaranteed by the caller; no kernel uses dynamic shared memory.
        let launched = unsafe {
            result::launch_kernel(function, (gx, gy, gz), (bx, by, bz), 0, self.stream, arguments)
        };
        launched.map_err(failed)
    }

    unsafe fn write(&self, from: &[u8], to: Address) -> Result<()> {
        self.enter()?;
        // SAFETY: guaranteed by the caller. Memory that is not pinned is read before this returns.
        unsafe { result::memcpy_htod_async(to.0, from, self.stream) }.map_err(failed)
    }

    unsafe fn read(&self, from: Address, to: &mut [u8]) -> Result<()> {
        self.enter()?;
        // SAFETY: guaranteed by the caller; `to` is borrowed until the stream is synchronized.
        unsafe {
            result::memcpy_dtoh_async(to, from.0, self.stream).map_err(failed)?;
            result::stream::synchronize(self.stream).map_err(failed)
        }
    }

    unsafe fn send(&self, buffer: usize, parts: &[(&[u8], Address)]) -> Result<()> {
        // SAFETY: guaranteed by the caller.
        unsafe { self.sender()?.send(buffer, parts, self.stream) }.map_err(failed)
    }

    fn release(&self, buffer: usize) -> Result<()> {
        self.sender()?.release(buffer, self.stream).map_err(failed)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.enter();
        drop(self.sender.take());
        // SAFETY: `new` retained it once.
        let _ = unsafe { result::primary_ctx::release(self.device) };
    }
}

fn failed(error: result::DriverError) -> Error {
    let name = error.error_name().ok().and_then(|name| name.to_str().ok());
    let text = error.error_string().ok().and_then(|text| text.to_str().ok());
    Error::Cuda(format!("{} ({})", text.unwrap_or("unknown"), name.unwrap_or("unknown")))
}
