//! Compiles a source to machine code by NVRTC, which is loaded on first use: without a GPU neither
//! NVRTC nor a driver is needed.

use std::ffi::{CStr, CString};
use std::fmt::{Display, Formatter};
use std::os::raw::c_char;

use cudarc::nvrtc::{result, sys};

use super::Source;
use crate::error::{Error, Result};

/// A compute capability, such as 9.0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Architecture {
    pub major: u32,
    pub minor: u32,
}

impl Architecture {
    /// The oldest architecture that our kernels and torch support.
    pub const OLDEST: Architecture = Architecture { major: 7, minor: 5 };
}

impl Display for Architecture {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "sm_{}{}", self.major, self.minor)
    }
}

/// The options of the compiler other than the architecture.
pub(super) const OPTIONS: [&str; 2] = ["--std=c++17", "-lineinfo"];

/// Compiles a source to machine code (a cubin).
///
/// # Errors
/// NVRTC is not found, does not support the architecture, or reports an error or a warning.
pub fn compile(source: Source, architecture: Architecture) -> Result<Vec<u8>> {
    // SAFETY: this only loads the NVRTC library.
    if !unsafe { sys::is_culib_present() } {
        return Err(Error::NoNvrtc);
    }
    let failed = |log: String| {
        let (name, architecture) = (source.name(), architecture.to_string());
        Error::CudaCompile { name, architecture, log }
    };
    let text = CString::new(source.text()).map_err(|error| failed(error.to_string()))?;
    let name = CString::new(format!("{}.cu", source.name())).unwrap_or_default();
    let program = result::create_program(&text, Some(&name))
        .map(Program)
        .map_err(|error| failed(reason(error)))?;
    let mut options = OPTIONS.map(str::to_owned).to_vec();
    options.push(format!("--gpu-architecture={architecture}"));
    // SAFETY: the program lives until the end of this function.
    let compiled = unsafe { result::compile_program(program.0, &options) };
    let log = program.log();
    match compiled {
        Ok(()) if log.is_empty() => program.cubin().map_err(failed),
        Ok(()) => Err(failed(log)),
        Err(error) if log.is_empty() => Err(failed(reason(error))),
        Err(_) => Err(failed(log)),
    }
}

/// The version of NVRTC; `None` if there is none.
pub(super) fn version() -> Option<(i32, i32)> {
    // SAFETY: as above; the pointers are valid.
    unsafe {
        if !sys::is_culib_present() {
            return None;
        }
        let (mut major, mut minor) = (0, 0);
        sys::nvrtcVersion(&mut major, &mut minor).result().ok()?;
        Some((major, minor))
    }
}

/// NVRTC's own name of an error.
fn reason(error: result::NvrtcError) -> String {
    format!("{:?}", error.0)
}

struct Program(sys::nvrtcProgram);

impl Program {
    fn log(&self) -> String {
        // SAFETY: the program is alive.
        let Ok(log) = (unsafe { result::get_program_log(self.0) }) else { return String::new() };
        let bytes: Vec<u8> = log.iter().map(|byte| *byte as u8).collect();
        let text = CStr::from_bytes_until_nul(&bytes).unwrap_or_default();
        text.to_string_lossy().trim().to_owned()
    }

    fn cubin(&self) -> std::result::Result<Vec<u8>, String> {
        let mut size = 0;
        // SAFETY: the program is alive, and the buffer has the size that NVRTC returned.
        unsafe {
            sys::nvrtcGetCUBINSize(self.0, &mut size).result().map_err(reason)?;
            let mut cubin = vec![0u8; size];
            let to = cubin.as_mut_ptr().cast::<c_char>();
            sys::nvrtcGetCUBIN(self.0, to).result().map_err(reason)?;
            Ok(cubin)
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // SAFETY: the program is not used afterwards.
        let _ = unsafe { result::destroy_program(self.0) };
    }
}
