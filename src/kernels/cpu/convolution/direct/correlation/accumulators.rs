//! The accumulators of a tile, which the inner loops fill and the epilogue stores.

use std::mem::MaybeUninit;

use crate::cpu::LANES;

/// The largest number of vectors of sums in a tile.
pub(super) const SUMS: usize = 28;

/// The accumulators of a finished tile, `[block][pixel][lane]`.
#[repr(align(64))]
pub(super) struct Sums(MaybeUninit<[f32; SUMS * LANES]>);

impl Sums {
    #[inline(always)]
    pub(super) fn uninit() -> Sums {
        Sums(MaybeUninit::uninit())
    }

    /// The 16 sums of a pixel and a block.
    #[inline(always)]
    pub(super) fn at(&self, index: usize) -> *const f32 {
        debug_assert!(index < SUMS);
        // SAFETY: within the array.
        unsafe { self.0.as_ptr().cast::<f32>().add(index * LANES) }
    }

    #[inline(always)]
    pub(super) fn at_mut(&mut self, index: usize) -> *mut f32 {
        debug_assert!(index < SUMS);
        // SAFETY: as above.
        unsafe { self.0.as_mut_ptr().cast::<f32>().add(index * LANES) }
    }
}
