//! Reads rows of `x` and applies the batch norm of a load.

use crate::cpu::{convert, Number, Simd, LANES};
use crate::kernels::cpu::activation::SimdActivation;
use crate::kernels::cpu::convolution::{Geometry, Load};

/// A [`Load`] with its channels repeated until they fill whole vectors.
pub(super) struct Spread {
    scale: Vec<f32>,
    shift: Vec<f32>,
    activation: SimdActivation,
}

impl Spread {
    pub(super) fn new(load: Load) -> Spread {
        let channels = load.scale.len();
        let times =
            (1..=LANES).find(|times| (times * channels).is_multiple_of(LANES)).unwrap_or(LANES);
        Spread {
            scale: load.scale.repeat(times),
            shift: load.shift.repeat(times),
            activation: load.activation.simd(),
        }
    }
}

/// The rows of one group of `x`.
pub(super) struct Source<'a, T> {
    /// The geometry of a group.
    pub geometry: &'a Geometry,
    pub groups: usize,
    pub group: usize,
    pub x: &'a [T],
    pub load: Option<&'a Spread>,
    /// Whether the pixels of a row must lie side by side.
    pub joined: bool,
}

/// A row of a group, and the number of elements from pixel to pixel.
#[derive(Clone, Copy)]
pub(super) struct Row<T> {
    pub at: *const T,
    pub pixel: usize,
}

/// Elements of the buffer for a row.
pub(super) fn buffer_len(geometry: &Geometry) -> usize {
    geometry.in_size[1] * geometry.in_channels + LANES
}

impl<T: Number> Source<'_, T> {
    /// Row `row` of an image, followed by elements of any value that fill a vector. It is a part of
    /// `x` if it can be read there, and otherwise of `buffer`.
    ///
    /// # Safety
    /// `buffer` has [`buffer_len`] elements.
    #[inline(always)]
    pub(super) unsafe fn row<S: Simd, M: Number>(
        &self,
        simd: S,
        image: usize,
        row: usize,
        buffer: *mut M,
    ) -> Row<M> {
        let Geometry { in_channels, in_size: [height, width], .. } = *self.geometry;
        let pixel = self.groups * in_channels;
        let line = width * pixel;
        let start = (image * height + row) * line + self.group * in_channels;
        let from = &self.x[start..start + line - pixel + in_channels];
        let room = in_channels % LANES == 0 || start + from.len() + LANES <= self.x.len();
        let len = width * in_channels;
        // SAFETY: the buffer has room for the row.
        unsafe {
            match self.load {
                // Number types with words of as many numbers are the same.
                None if T::PER_WORD == M::PER_WORD
                    && room
                    && (self.groups == 1 || !self.joined) =>
                {
                    return Row { at: self.x[start..].as_ptr().cast(), pixel };
                }
                Some(spread) if self.groups == 1 => spread.apply(simd, from.as_ptr(), len, buffer),
                load => {
                    let (channels, count) = match self.groups {
                        1 => (len, 1),
                        _ => (in_channels, width),
                    };
                    join(simd, from.as_ptr(), pixel, channels, count, room, buffer);
                    if let Some(spread) = load {
                        spread.apply(simd, buffer.cast_const(), len, buffer);
                    }
                }
            }
        }
        Row { at: buffer, pixel: in_channels }
    }
}

/// Copies pixels side by side, in the type of `to`. With `room`, whole vectors are read, even past the last pixel.
///
/// # Safety
/// `from` has `count` pixels of `channels` elements, `pixel` elements apart, which are followed by
/// a vector if there is room; `to` has room for the pixels and a vector.
#[inline(always)]
unsafe fn join<S: Simd, T: Number, M: Number>(
    simd: S,
    from: *const T,
    pixel: usize,
    channels: usize,
    count: usize,
    room: bool,
    to: *mut M,
) {
    for i in 0..count {
        // SAFETY: as promised. What a vector writes past its pixel is overwritten by the next
        // pixel.
        unsafe {
            let (from, to) = (from.add(i * pixel), to.add(i * channels));
            if room {
                for lane in (0..channels).step_by(LANES) {
                    convert(simd, from.add(lane), to.add(lane));
                }
            } else {
                for channel in 0..channels {
                    *to.add(channel) = M::from_f32((*from.add(channel)).to_f32());
                }
            }
        }
    }
}

impl Spread {
    /// # Safety
    /// `from` and `to` have `len` elements; they may be the same.
    #[inline(always)]
    unsafe fn apply<S: Simd, T: Number, M: Number>(
        &self,
        simd: S,
        from: *const T,
        len: usize,
        to: *mut M,
    ) {
        let activation = self.activation;
        // SAFETY: as promised.
        unsafe {
            if activation.is_relu() {
                self.row(simd, SimdActivation::RELU, from, len, to);
            } else if activation.is_identity() {
                self.row(simd, SimdActivation::IDENTITY, from, len, to);
            } else {
                self.row(simd, activation, from, len, to);
            }
        }
    }

    /// # Safety
    /// As for [`apply`](Self::apply).
    #[inline(always)]
    unsafe fn row<S: Simd, T: Number, M: Number>(
        &self,
        simd: S,
        activation: SimdActivation,
        from: *const T,
        len: usize,
        to: *mut M,
    ) {
        let rest_len = len % LANES;
        let whole = len - rest_len;
        let mut at = 0;
        // SAFETY: `at` is a multiple of LANES below the lengths of `scale` and `shift`, which are
        // such too; `i + LANES <= len`; the rest goes through arrays.
        unsafe {
            for i in (0..whole).step_by(LANES) {
                self.vector(simd, activation, at, from.add(i), to.add(i));
                at += LANES;
                at = if at == self.scale.len() { 0 } else { at };
            }
            if rest_len > 0 {
                let mut rest = [T::from_f32(0.0); LANES];
                let mut result = [M::from_f32(0.0); LANES];
                std::ptr::copy_nonoverlapping(from.add(whole), rest.as_mut_ptr(), rest_len);
                self.vector(simd, activation, at, rest.as_ptr(), result.as_mut_ptr());
                std::ptr::copy_nonoverlapping(result.as_ptr(), to.add(whole), rest_len);
            }
        }
    }

    /// # Safety
    /// `from` and `to` have a vector's elements, `scale` and `shift` have them from `at` on.
    #[inline(always)]
    unsafe fn vector<S: Simd, T: Number, M: Number>(
        &self,
        simd: S,
        activation: SimdActivation,
        at: usize,
        from: *const T,
        to: *mut M,
    ) {
        debug_assert!(at + LANES <= self.scale.len() && at + LANES <= self.shift.len());
        // SAFETY: as promised.
        unsafe {
            let scale = simd.load_f32(self.scale.as_ptr().add(at));
            let shift = simd.load_f32(self.shift.as_ptr().add(at));
            let value = simd.mul_add(T::load(simd, from), scale, shift);
            M::store(simd, to, activation.apply(simd, value));
        }
    }
}
