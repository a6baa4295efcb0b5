//! Copies pixels of one plane into the scratch, and applies the batch norm of a load.

use super::super::words::PIXEL;
use crate::cpu::{Number, Simd};
use crate::kernels::cpu::activation::SimdActivation;

/// Pixels to copy, of one plane.
#[derive(Clone, Copy)]
pub(super) struct Pixels<T, M> {
    pub count: usize,
    pub channels: usize,
    /// Channels including those that are filled with zeros.
    pub padded: usize,
    pub from: *const T,
    /// Elements from pixel to pixel of the source.
    pub stride: usize,
    pub to: *mut M,
    /// Elements from pixel to pixel of the scratch.
    pub pixel: usize,
}

impl<T: Number, M: Number> Pixels<T, M> {
    /// Channels of a plane.
    const WHOLE: usize = PIXEL * M::PER_WORD;

    /// Copies the pixels as they are.
    ///
    /// # Safety
    /// `from` and `to` hold all pixels.
    #[inline(always)]
    pub(super) unsafe fn copy<S: Simd>(self, simd: S) {
        if T::PER_WORD != M::PER_WORD {
            let zero = simd.zero();
            return unsafe { self.convert::<S, false>(simd, [zero; 2], SimdActivation::IDENTITY) };
        }
        if self.channels != Self::WHOLE {
            return unsafe { self.copy_few() };
        }
        if self.stride == Self::WHOLE && self.pixel == Self::WHOLE {
            let len = self.count * Self::WHOLE;
            return unsafe { std::ptr::copy_nonoverlapping(self.from, self.to.cast(), len) };
        }
        for i in 0..self.count {
            unsafe {
                let from = self.from.add(i * self.stride).cast::<[u32; PIXEL]>();
                let to = self.to.add(i * self.pixel).cast::<[u32; PIXEL]>();
                to.write_unaligned(from.read_unaligned());
            }
        }
    }

    /// Copies pixels of fewer channels than a plane has.
    ///
    /// # Safety
    /// As for `copy`.
    #[inline(always)]
    unsafe fn copy_few(self) {
        let bytes = self.channels * size_of::<T>();
        for i in 0..self.count {
            unsafe {
                let to = self.to.add(i * self.pixel);
                copy_bytes(self.from.add(i * self.stride).cast(), to.cast(), bytes);
                self.pad(to);
            }
        }
    }

    /// Copies the pixels as `activation(scale * x + shift)`.
    ///
    /// # Safety
    /// As for `copy`, and `scale` and `shift` have an element for each channel.
    #[inline(always)]
    pub(super) unsafe fn load<S: Simd>(
        self,
        simd: S,
        scale: &[f32],
        shift: &[f32],
        activation: SimdActivation,
    ) {
        unsafe {
            let scale = simd.load_first_f32(scale.as_ptr(), self.channels);
            let shift = simd.load_first_f32(shift.as_ptr(), self.channels);
            self.convert::<S, true>(simd, [scale, shift], activation);
        }
    }

    /// Copies the pixels in another type, with a batch norm if `NORM`.
    ///
    /// # Safety
    /// As for `copy`.
    #[inline(always)]
    unsafe fn convert<S: Simd, const NORM: bool>(
        self,
        simd: S,
        [scale, shift]: [S::F; 2],
        activation: SimdActivation,
    ) {
        for i in 0..self.count {
            unsafe {
                let from = self.from.add(i * self.stride);
                let to = self.to.add(i * self.pixel);
                // A constant number of elements takes fewer instructions.
                let whole = self.channels == Self::WHOLE;
                let mut value = match whole {
                    true => T::load_first(simd, from, Self::WHOLE),
                    false => T::load_first(simd, from, self.channels),
                };
                if NORM {
                    value = activation.apply(simd, simd.mul_add(value, scale, shift));
                }
                match whole {
                    true => M::store_first(simd, to, value, Self::WHOLE),
                    false => M::store_first(simd, to, value, self.channels),
                }
                self.pad(to);
            }
        }
    }

    /// Fills the rest of a pixel with zeros.
    ///
    /// # Safety
    /// `to` is one of the pixels.
    #[inline(always)]
    unsafe fn pad(self, to: *mut M) {
        for channel in self.channels..self.padded {
            unsafe { *to.add(channel) = M::from_f32(0.0) };
        }
    }
}

/// Copies a few bytes, an even number, as two runs that may overlap. Inline, which a call of
/// `memcpy` would not be.
///
/// # Safety
/// Both pointers are valid for the bytes.
#[inline(always)]
unsafe fn copy_bytes(from: *const u8, to: *mut u8, bytes: usize) {
    debug_assert!((2..=4 * PIXEL).contains(&bytes));
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
        16.. => ends!(u128),
        8.. => ends!(u64),
        4.. => ends!(u32),
        _ => ends!(u16),
    }
}
