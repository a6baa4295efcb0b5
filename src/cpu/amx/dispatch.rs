//! Runs kernels that are written with tiles.

use super::emulated::Emulated;
#[cfg(target_arch = "x86_64")]
use super::hardware::Hardware;
use super::tiles::{Shapes, Tiles};
#[cfg(target_arch = "x86_64")]
use crate::cpu::dispatch::avx512_bf16;
use crate::cpu::dispatch::{dispatch, Kernel};
use crate::cpu::level::emulates_amx;
#[cfg(target_arch = "x86_64")]
use crate::cpu::level::{chosen, Level};
use crate::cpu::Simd;

/// Work written over [`Simd`] and [`Tiles`]. `run` and all functions that it calls must be
/// `#[inline(always)]`.
pub(crate) trait TileKernel {
    fn run<S: Simd, T: Tiles>(self, simd: S, tiles: &mut T);
}

struct On<K, T> {
    kernel: K,
    tiles: T,
}

impl<K: TileKernel, T: Tiles> Kernel for On<K, T> {
    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        self.kernel.run(simd, &mut self.tiles);
    }
}

/// Whether this machine has tiles, or they are emulated.
pub(crate) fn has_tiles() -> bool {
    has_amx() || emulates_amx()
}

/// Runs a kernel with tiles of these shapes: those of the processor, which this thread has only
/// while the kernel runs, or emulated ones.
///
/// # Panics
/// There are no tiles (see [`has_tiles`]).
pub(crate) fn dispatch_tiles(shapes: &Shapes, kernel: impl TileKernel) {
    #[cfg(target_arch = "x86_64")]
    if has_amx() {
        // SAFETY: the level says that AMX is permitted, and that the vector instructions exist.
        // Kernels do not call this function.
        return unsafe { avx512_bf16(On { kernel, tiles: Hardware::new(shapes) }) };
    }
    assert!(emulates_amx(), "this machine has no tiles");
    dispatch(On { kernel, tiles: Emulated::new(shapes) });
}

/// Whether the tiles are those of the processor.
#[cfg(target_arch = "x86_64")]
pub(crate) fn has_amx() -> bool {
    chosen() == Level::Amx
}

#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn has_amx() -> bool {
    false
}
