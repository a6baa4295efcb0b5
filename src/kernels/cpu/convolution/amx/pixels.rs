//! Copies runs of pixels, and applies the batch norm of a load.

use std::ops::Range;

use half::bf16;

use crate::cpu::{prefetch, Simd, LANES};
use crate::kernels::cpu::activation::SimdActivation;
use crate::kernels::cpu::convolution::Load;

/// Pixels to copy.
#[derive(Clone, Copy)]
pub(super) struct Pixels {
    pub count: usize,
    /// Numbers of each pixel, at most 32.
    pub numbers: usize,
    pub from: *const bf16,
    /// Numbers from pixel to pixel of the source.
    pub stride: usize,
    pub to: *mut bf16,
    /// Numbers from pixel to pixel of the destination.
    pub pixel: usize,
}

impl Pixels {
    /// Copies the pixels as a load reads them, if there is one. They have these of its channels.
    ///
    /// # Safety
    /// `from` and `to` hold all pixels.
    #[inline(always)]
    pub(super) unsafe fn copy_loaded<S: Simd>(
        self,
        simd: S,
        load: Option<Load>,
        channels: Range<usize>,
    ) {
        match load {
            None => unsafe { self.copy() },
            Some(load) => {
                let (scale, shift) = (&load.scale[channels.clone()], &load.shift[channels]);
                unsafe { self.load(simd, scale, shift, load.activation.simd()) };
            }
        }
    }

    /// Copies the pixels as they are.
    ///
    /// # Safety
    /// `from` and `to` hold all pixels.
    #[inline(always)]
    pub(super) unsafe fn copy(self) {
        const LINE: usize = 2 * LANES;
        unsafe {
            match self.numbers {
                LINE => self.copy_as::<[u64; 8]>(),
                LANES => self.copy_as::<[u64; 4]>(),
                numbers => {
                    for i in 0..self.count {
                        let (from, to) = self.at(i);
                        copy_bytes(from.cast(), to.cast(), 2 * numbers);
                    }
                }
            }
        }
    }

    /// # Safety
    /// As for `copy`; a pixel is a `V`.
    #[inline(always)]
    unsafe fn copy_as<V: Copy>(self) {
        for i in 0..self.count {
            let (from, to) = self.at(i);
            prefetch_ahead(from);
            unsafe { to.cast::<V>().write_unaligned(from.cast::<V>().read_unaligned()) };
        }
    }

    #[inline(always)]
    fn at(&self, i: usize) -> (*const bf16, *mut bf16) {
        (self.from.wrapping_add(i * self.stride), self.to.wrapping_add(i * self.pixel))
    }

    /// Copies the pixels as `activation(scale * x + shift)`.
    ///
    /// # Safety
    /// As for `copy`, and `scale` and `shift` have an element for each number of a pixel.
    #[inline(always)]
    unsafe fn load<S: Simd>(
        self,
        simd: S,
        scale: &[f32],
        shift: &[f32],
        activation: SimdActivation,
    ) {
        for first in (0..self.numbers).step_by(LANES) {
            let numbers = LANES.min(self.numbers - first);
            unsafe {
                let scale = simd.load_first_f32(scale[first..].as_ptr(), numbers);
                let shift = simd.load_first_f32(shift[first..].as_ptr(), numbers);
                for i in 0..self.count {
                    let (from, to) = self.at(i);
                    let (from, to) = (from.add(first), to.add(first));
                    prefetch_ahead(from);
                    let value = match numbers {
                        LANES => simd.load_bf16(from),
                        _ => simd.load_first_bf16(from, numbers),
                    };
                    let value = activation.apply(simd, simd.mul_add(value, scale, shift));
                    match numbers {
                        LANES => simd.store_bf16(to, value),
                        _ => simd.store_first_bf16(to, value, numbers),
                    }
                }
            }
        }
    }
}

/// Hints that the pixels of the next rows will be read soon: a row is too short for the processor
/// to notice.
#[inline(always)]
pub(super) fn prefetch_ahead(from: *const bf16) {
    const AHEAD: usize = 1024;
    prefetch(from.wrapping_add(AHEAD));
}

/// Copies a few bytes, an even number, as two runs that may overlap. Inline, which a call of
/// `memcpy` would not be.
///
/// # Safety
/// Both pointers are valid for the bytes.
#[inline(always)]
unsafe fn copy_bytes(from: *const u8, to: *mut u8, bytes: usize) {
    debug_assert!((2..64).contains(&bytes));
    macro_rules! ends {
        ($run:ty) => {{
            let rest = bytes - size_of::<$run>();
            unsafe {
                let first = from.cast::<$run>().read_unaligned();
                let last = from.add(rest).cast::<$run>().read_unaligned();
                to.cast::<$run>().write_unaligned(first);
                to.add(rest).cast::<$run>().write_unaligned(last);
            }
        }};
    }
    match bytes {
        32.. => ends!([u64; 4]),
        16.. => ends!(u128),
        8.. => ends!(u64),
        4.. => ends!(u32),
        _ => ends!(u16),
    }
}
