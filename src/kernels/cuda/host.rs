//! A device for tests: the sources compiled as C++ (`host.h`), run on the CPU, at once.

use std::os::raw::{c_int, c_uint, c_void};
use std::process::Command;
use std::sync::OnceLock;

use libloading::Library;

use super::device::{Address, Device};
use super::launch::Launch;
use super::Source;
use crate::error::Result;

pub struct Host {
    multiprocessors: usize,
}

impl Host {
    pub fn new(multiprocessors: usize) -> Host {
        Host { multiprocessors }
    }
}

type Launcher =
    unsafe extern "C" fn(*const c_uint, *const c_uint, c_int, *mut *mut c_void) -> c_int;

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
        let library = library(source);
        let name = format!("launch_{entry}");
        // SAFETY: every launcher has this type.
        let function = unsafe { library.get::<Launcher>(name.as_bytes()) }.unwrap();
        let (grid, block) = (launch.grid.as_ptr(), launch.block.as_ptr());
        // Fibers live in statics of the library: one launch at a time.
        static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
        let alone = ALONE.lock().unwrap();
        // SAFETY: the caller's.
        let missed = unsafe { function(grid, block, 0, arguments.as_mut_ptr()) };
        drop(alone);
        assert_eq!(missed, 0, "{entry}: threads of a block missed a barrier");
        Ok(())
    }
}

/// Compiled once for all tests.
fn library(source: Source) -> &'static Library {
    static LIBRARIES: [OnceLock<Library>; Source::ALL.len()] =
        [const { OnceLock::new() }; Source::ALL.len()];
    let index = Source::ALL.iter().position(|other| *other == source).unwrap();
    LIBRARIES[index].get_or_init(|| compile(source))
}

fn compile(source: Source) -> Library {
    let folder = tempfile::tempdir().unwrap();
    let launchers = source.entries().into_iter().map(|entry| {
        format!(
            "extern \"C\" int launch_{entry}(const unsigned* grid, const unsigned* block, \
             int reversed, void** arguments) {{ \
             return host::launch({entry}, grid, block, reversed, arguments); }}\n"
        )
    });
    let text = source.text() + &launchers.collect::<String>();
    let (file, object) = (folder.path().join("source.cpp"), folder.path().join("source.so"));
    std::fs::write(&file, include_str!("host.h").to_owned() + &text).unwrap();
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".to_owned());
    let options = ["-std=c++17", "-O1", "-fPIC", "-shared", "-Wl,-Bsymbolic"];
    let status = Command::new(compiler).args(options).arg(&file).arg("-o").arg(&object).status();
    assert!(status.unwrap().success());
    // SAFETY: it was just compiled, of our own source.
    unsafe { Library::new(object) }.unwrap()
}

pub fn address<T>(slice: &[T]) -> Address {
    Address(slice.as_ptr() as u64)
}

pub fn address_mut<T>(slice: &mut [T]) -> Address {
    Address(slice.as_mut_ptr() as u64)
}
