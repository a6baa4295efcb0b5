//! The tiles of the processor.

use std::arch::asm;
use std::marker::PhantomData;

use super::tiles::{Shapes, Tiles};

/// The configured tiles of this thread, which are released in the end.
///
/// The compiler never uses tiles itself and keeps blocks of assembly in order unless they are
/// `pure`, so the contents of tiles survive from one block to the next.
pub(in crate::cpu) struct Hardware {
    /// Tiles belong to one thread.
    thread: PhantomData<*const ()>,
}

/// What `ldtilecfg` reads.
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

impl Hardware {
    /// Configures the tiles of this thread.
    ///
    /// # Safety
    /// `permission()` is `Ok`, and no other `Hardware` exists on this thread.
    pub(in crate::cpu) unsafe fn new(shapes: &Shapes) -> Hardware {
        let mut configuration = Configuration {
            palette: 1,
            start_row: 0,
            reserved: [0; 14],
            row_bytes: [0; 16],
            rows: [0; 16],
        };
        for (tile, shape) in shapes.iter().enumerate() {
            configuration.row_bytes[tile] = 4 * shape.words as u16;
            configuration.rows[tile] = shape.rows as u8;
        }
        // SAFETY: the processor has the instruction, and 64 bytes are there.
        unsafe {
            asm!(
                "ldtilecfg [{}]",
                in(reg) &raw const configuration,
                options(nostack, preserves_flags, readonly),
            );
        }
        Hardware { thread: PhantomData }
    }
}

impl Drop for Hardware {
    fn drop(&mut self) {
        // SAFETY: as for the configuration. A thread without tiles is switched to faster.
        unsafe { asm!("tilerelease", options(nostack, preserves_flags, nomem)) }
    }
}

// SAFETY of all blocks below: tiles are configured while a `Hardware` exists; the caller passes
// pointers to the rows of the tile's shape.
impl Tiles for Hardware {
    #[inline(always)]
    unsafe fn load<const T: usize>(&mut self, from: *const u32, stride: usize) {
        unsafe {
            asm!(
                "tileloadd tmm{tile}, [{from} + {stride}*1]",
                tile = const T,
                from = in(reg) from,
                stride = in(reg) stride,
                options(nostack, preserves_flags, readonly),
            );
        }
    }

    #[inline(always)]
    unsafe fn store<const T: usize>(&mut self, to: *mut f32, stride: usize) {
        unsafe {
            asm!(
                "tilestored [{to} + {stride}*1], tmm{tile}",
                tile = const T,
                to = in(reg) to,
                stride = in(reg) stride,
                options(nostack, preserves_flags),
            );
        }
    }

    #[inline(always)]
    fn multiply<const C: usize, const A: usize, const B: usize>(&mut self) {
        unsafe {
            asm!(
                "tdpbf16ps tmm{c}, tmm{a}, tmm{b}",
                c = const C,
                a = const A,
                b = const B,
                options(nostack, preserves_flags, nomem),
            );
        }
    }
}
