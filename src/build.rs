//! Build script: finds the torch that the extension is built for.
//!
//! It sets `PROPRELU_TORCH` and `PROPRELU_RUSTC` for `build_info`. It also passes torch's library
//! folder to the linker. torch-sys caches the folder of its own first build, which no longer exists
//! if that build ran in an isolated build environment of pip.

use std::env;
use std::process::Command;

const FIND_TORCH: &str = r"
import importlib.util, os
folder = os.path.dirname(importlib.util.find_spec('torch').origin)
names = {}
exec(open(os.path.join(folder, 'version.py')).read(), names)
print(names['__version__'])
print(os.path.join(folder, 'lib'))
";

fn main() {
    println!("cargo:rerun-if-changed=src/build.rs");
    for name in ["VIRTUAL_ENV", "PYTHONPATH"] {
        println!("cargo:rerun-if-env-changed={name}");
    }
    if env::var_os("CARGO_FEATURE_PYTHON").is_none() {
        return;
    }
    let rustc = env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    println!("cargo:rustc-env=PROPRELU_RUSTC={}", output(&rustc, &["--version"]).trim());

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
