//! Build script: finds the torch that the extension is built for and hashes the kernels.
//!
//! It sets `PROPRELU_TORCH` and `PROPRELU_RUSTC` for `build_info`, and `PROPRELU_KERNELS` for the
//! keys of measured kernels. It also passes torch's library folder to the linker. torch-sys caches
//! the folder of its own first build, which no longer exists if that build ran in an isolated build
//! environment of pip.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const FIND_TORCH: &str = r"
import importlib.util, os
folder = os.path.dirname(importlib.util.find_spec('torch').origin)
names = {}
exec(open(os.path.join(folder, 'version.py')).read(), names)
print(names['__version__'])
print(os.path.join(folder, 'lib'))
";

/// The folders whose code runs in the CPU kernels.
const KERNELS: [&str; 2] = ["src/cpu", "src/kernels/cpu"];

fn main() {
    println!("cargo:rerun-if-changed=src/build.rs");
    for folder in KERNELS {
        println!("cargo:rerun-if-changed={folder}");
    }
    for name in ["VIRTUAL_ENV", "PYTHONPATH"] {
        println!("cargo:rerun-if-env-changed={name}");
    }
    let rustc = env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let rustc = output(&rustc, &["--version"]);
    println!("cargo:rustc-env=PROPRELU_RUSTC={}", rustc.trim());
    println!("cargo:rustc-env=PROPRELU_KERNELS={:016x}", hash_of_kernels(&rustc));
    if env::var_os("CARGO_FEATURE_PYTHON").is_none() {
        return;
    }

    // torch-sys chooses the interpreter in the same way.
    let python = if env::var_os("VIRTUAL_ENV").is_some() { "python" } else { "python3" };
    let found = output(python, &["-c", FIND_TORCH]);
    let mut lines = found.lines();
    println!("cargo:rustc-env=PROPRELU_TORCH={}", lines.next().unwrap_or_default());
    if let Some(folder) = lines.next() {
        println!("cargo:rustc-link-search=native={folder}");
    }
}

/// The output of a command; empty if it fails, which torch-sys has reported before.
fn output(program: &str, arguments: &[&str]) -> String {
    match Command::new(program).args(arguments).output() {
        Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
        Err(_) => String::new(),
    }
}

/// A hash of all that the speed of the kernels depends on: their sources and how they are compiled.
fn hash_of_kernels(rustc: &str) -> u64 {
    let mut hash = fnv1a(0xcbf2_9ce4_8422_2325, rustc.as_bytes());
    for name in ["TARGET", "OPT_LEVEL", "CARGO_ENCODED_RUSTFLAGS"] {
        hash = fnv1a(hash, env::var(name).unwrap_or_default().as_bytes());
    }
    let mut files = Vec::new();
    for folder in KERNELS {
        add_files(Path::new(folder), &mut files);
    }
    files.sort();
    for file in files {
        hash = fnv1a(hash, file.to_string_lossy().as_bytes());
        hash = fnv1a(hash, &fs::read(&file).unwrap_or_default());
    }
    hash
}

fn add_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.path() {
            path if path.is_dir() => add_files(&path, files),
            path => files.push(path),
        }
    }
}

/// The FNV-1a hash, which is the same for all compilers.
fn fnv1a(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
