//! Copies pixels of one plane into the scratch, and applies the batch norm of a load.

use super::super::words::PIXEL;
use crate::cpu::{Number, Simd};
use crate::kernels::cpu::activation::SimdActivation;

/// Pixels to copy, of one plane.
#[derive(Clone, Copy)]
pub(super) struct Pixels<T> {
    pub count: usize,
    pub channels: usize,
    /// Channels including those that are filled with zeros.
    pub padded: usize,
    pub from: *const T,
    /// Elements from pixel to pixel of the source.
    pub stride: usize,
    pub to: *mut T,
    /// Elements from pixel to pixel of the scratch.
    pub pixel: usize,
}

impl<T: Number> Pixels<T> {
    /// Copies the pixels as they are.
    ///
    /// # Safety
    /// `from` and `to` hold all pixels.
    #[inline(always)]
    pub(super) unsafe fn copy(self) {
        let whole = PIXEL * T::PER_WORD;
        if self.channels != whole {
            return unsafe { self.copy_few() };
        }
        if self.stride == whole && self.pixel == whole {
            let len = self.count * whole;
            return unsafe { std::ptr::copy_nonoverlapping(self.from, self.to, len) };
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
        let channels = self.channels;
        unsafe {
            let scale = simd.load_first_f32(scale.as_ptr(), channels);
            let shift = simd.load_first_f32(shift.as_ptr(), channels);
            for i in 0..self.count {
                let from = self.from.add(i * self.stride);
                let to = self.to.add(i * self.pixel);
                let value = match channels {
                    16 => T::load(simd, from),
                    _ => T::load_first(simd, from, channels),
                };
                let value = activation.apply(simd, simd.mul_add(value, scale, shift));
                match channels {
                    16 => T::store(simd, to, value),
                    _ => T::store_first(simd, to, value, channels),
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
    unsafe fn pad(self, to: *mut T) {
        for channel in self.channels..self.padded {
            unsafe { *to.add(channel) = T::from_f32(0.0) };
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
