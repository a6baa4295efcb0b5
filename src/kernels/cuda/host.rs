//! A device for tests without a GPU: runs the sources, compiled as C++ (`host.h`), on the CPU. Each
//! call finishes before it returns. The tests compile the sources.

use std::os::raw::{c_int, c_uint, c_void};
use std::path::Path;
use std::sync::Mutex;

use libloading::Library;

use super::device::{Address, Device};
use super::launch::Launch;
use super::Source;
use crate::error::{Error, Result};

/// The CPU as a device.
pub struct Host {
    multiprocessors: usize,
    /// The compiled sources, in the order of `Source::ALL`.
    libraries: Vec<Library>,
}

type Launcher =
    unsafe extern "C" fn(*const c_uint, *const c_uint, c_int, *mut *mut c_void) -> c_int;

/// The C++ source of a library, which `host.h` has to precede.
pub fn host_text(source: Source) -> String {
    let launchers = source.entries().into_iter().map(|entry| {
        format!(
            "extern \"C\" int launch_{entry}(const unsigned* grid, const unsigned* block, \
             int reversed, void** arguments) {{ \
             return host::launch({entry}, grid, block, reversed, arguments); }}\n"
        )
    });
    source.text() + &launchers.collect::<String>()
}

impl Host {
    /// Loads `<source>.so` of each source.
    ///
    /// # Safety
    /// The libraries were compiled from this version's sources.
    pub unsafe fn open(folder: &Path, multiprocessors: usize) -> Result<Host> {
        let load = |source: Source| {
            let path = folder.join(format!("{}.so", source.name()));
            // SAFETY: guaranteed by the caller.
            let library = unsafe { Library::new(&path) };
            library.map_err(|error| Error::Cuda(format!("{}: {error}", path.display())))
        };
        let libraries = Source::ALL.into_iter().map(load).collect::<Result<_>>()?;
        Ok(Host { multiprocessors, libraries })
    }
}

impl Device for Host {
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
        let index = Source::ALL.iter().position(|other| *other == source).unwrap_or_default();
        let name = format!("launch_{entry}");
        // SAFETY: every launcher has this type.
        let function = unsafe { self.libraries[index].get::<Launcher>(name.as_bytes()) };
        let function = function.map_err(|error| Error::Cuda(error.to_string()))?;
        let (grid, block) = (launch.grid.as_ptr(), launch.block.as_ptr());
        // The state of a launch is in static variables of the library: one launch at a time.
        static RUNNING: Mutex<()> = Mutex::new(());
        let guard = RUNNING.lock().unwrap_or_else(|broken| broken.into_inner());
        // SAFETY: guaranteed by the caller.
        let missed = unsafe { function(grid, block, 0, arguments.as_mut_ptr()) };
        drop(guard);
        match missed {
            0 => Ok(()),
            _ => Err(Error::Cuda(format!("{entry}: threads of a block missed a barrier"))),
        }
    }

    unsafe fn write(&self, from: &[u8], to: Address) -> Result<()> {
        // SAFETY: guaranteed by the caller; device memory is host memory here.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), to.0 as *mut u8, from.len()) };
        Ok(())
    }

    unsafe fn read(&self, from: Address, to: &mut [u8]) -> Result<()> {
        // SAFETY: as above.
        unsafe { std::ptr::copy_nonoverlapping(from.0 as *const u8, to.as_mut_ptr(), to.len()) };
        Ok(())
    }

    unsafe fn send(&self, _buffer: usize, parts: &[(&[u8], Address)]) -> Result<()> {
        // SAFETY: guaranteed by the caller.
        parts.iter().try_for_each(|(from, to)| unsafe { self.write(from, *to) })
    }

    fn release(&self, _buffer: usize) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
pub use testing::{address, address_mut};

#[cfg(test)]
mod testing {
    use std::process::Command;
    use std::sync::OnceLock;

    use super::*;

    impl Host {
        /// The host device; its libraries are compiled once for all tests.
        pub fn new(multiprocessors: usize) -> Host {
            static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
            let folder = FOLDER.get_or_init(|| {
                let folder = tempfile::tempdir().unwrap();
                Source::ALL.into_iter().for_each(|source| compile(source, folder.path()));
                folder
            });
            // SAFETY: they were just compiled.
            unsafe { Host::open(folder.path(), multiprocessors) }.unwrap()
        }
    }

    fn compile(source: Source, folder: &Path) {
        let file = folder.join(format!("{}.cpp", source.name()));
        std::fs::write(&file, include_str!("host.h").to_owned() + &host_text(source)).unwrap();
        let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".to_owned());
        let options = ["-std=c++17", "-O1", "-fPIC", "-shared", "-Wl,-Bsymbolic"];
        let object = file.with_extension("so");
        let mut compiler = Command::new(compiler);
        let status = compiler.args(options).arg(&file).arg("-o").arg(&object).status();
        assert!(status.unwrap().success());
    }

    pub fn address<T>(slice: &[T]) -> Address {
        Address(slice.as_ptr() as u64)
    }

    pub fn address_mut<T>(slice: &mut [T]) -> Address {
        Address(slice.as_mut_ptr() as u64)
    }
}
