//! Copying the source into the scratch.

use super::layout::Layout;
use super::plan::{Plan, Unit};
use super::PIXEL;
use crate::kernels::cpu::convolution::activate::activate;
use crate::kernels::cpu::convolution::Load;
use crate::kernels::cpu::simd::{Kernel, Number, Simd};

/// Fills the scratch of a unit, zeros where the source has no pixels.
pub(super) struct Gather<'a, T> {
    pub plan: &'a Plan,
    pub layout: &'a Layout,
    pub unit: &'a Unit,
    pub source: &'a [T],
    pub load: Option<Load<'a>>,
    pub scratch: &'a mut [u32],
}

/// Pixels of one row whose columns have one remainder: where they are and where they go.
struct Run {
    /// Elements of the source from which on, and from pixel to pixel.
    from: usize,
    stride: usize,
    /// Words of the scratch at which the run starts, of the first plane.
    to: usize,
    /// Pixels that lie in the source; all others are padding.
    inside: std::ops::Range<usize>,
}

impl<T: Number> Kernel for Gather<'_, T> {
    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let seen = [self.plan.vertical.seen(), self.plan.horizontal.seen()];
        for image in 0..self.layout.images {
            for row in 0..self.layout.rows {
                for column in 0..self.plan.horizontal.step {
                    if seen[0][row % self.plan.vertical.step] && seen[1][column] {
                        let run = self.place(image, row, column);
                        self.copy(simd, &run);
                    }
                }
            }
        }
    }
}

impl<T: Number> Gather<'_, T> {
    #[inline(always)]
    fn place(&self, image: usize, row: usize, remainder: usize) -> Run {
        let (plan, layout) = (self.plan, self.layout);
        let ((top, _), (left, _)) = (plan.vertical.reach(), plan.horizontal.reach());
        let [height, width] = [plan.vertical.source, plan.horizontal.source];
        let y = (self.unit.rows.start * plan.vertical.step + row) as isize + top;
        let step = plan.horizontal.step as isize;
        let x = left + remainder as isize;
        // The pixels at `x + i * step` that are not negative, and below the width.
        let up =
            |from: isize| ((from + step - 1).div_euclid(step).max(0) as usize).min(layout.columns);
        let inside = match (0..height as isize).contains(&y) {
            true => up(-x)..up(width as isize - x).max(up(-x)),
            false => 0..0,
        };
        let first = x + inside.start as isize * step;
        let row_start = (self.unit.first_image + image) * height * width
            + if inside.is_empty() { 0 } else { y as usize * width + first as usize };
        Run {
            from: row_start * plan.source_channels,
            stride: plan.horizontal.step * plan.source_channels,
            to: row * layout.row + layout.run(remainder) + image * PIXEL,
            inside,
        }
    }

    #[inline(always)]
    fn copy<S: Simd>(&mut self, simd: S, run: &Run) {
        let per_plane = self.plan.words.words * T::PER_WORD;
        for plane in 0..self.plan.words.planes {
            let first = plane * per_plane;
            let count = per_plane.min(self.plan.source_channels.saturating_sub(first));
            let to = run.to + plane * self.layout.plane;
            self.clear(to, 0..run.inside.start);
            self.clear(to, run.inside.end..self.layout.columns);
            if run.inside.is_empty() || count == 0 {
                self.clear(to, run.inside.clone());
                continue;
            }
            let last = run.from + first + (run.inside.len() - 1) * run.stride + count;
            let from = self.source[run.from + first..last].as_ptr();
            let pixel = self.layout.pixel();
            let to = to + run.inside.start * pixel;
            let end = to + (run.inside.len() - 1) * pixel + PIXEL;
            let pixels = Pixels {
                count: run.inside.len(),
                channels: count,
                padded: per_plane,
                from,
                stride: run.stride,
                to: self.scratch[to..end].as_mut_ptr(),
                pixel,
            };
            match self.load {
                // SAFETY: both slices have just been cut: all pixels lie within.
                None => unsafe { pixels.copy() },
                // SAFETY: as above; and the load has a scale and a shift for each channel.
                Some(load) => unsafe { pixels.load(simd, &load, first) },
            }
        }
    }

    /// Zeros in a run of columns.
    #[inline(always)]
    fn clear(&mut self, to: usize, columns: std::ops::Range<usize>) {
        let pixel = self.layout.pixel();
        for column in columns {
            self.scratch[to + column * pixel..][..PIXEL].fill(0);
        }
    }
}

/// Pixels to be copied, of one plane.
#[derive(Clone, Copy)]
struct Pixels<T> {
    count: usize,
    channels: usize,
    /// Channels with those that fill the last word.
    padded: usize,
    from: *const T,
    stride: usize,
    to: *mut u32,
    pixel: usize,
}

impl<T: Number> Pixels<T> {
    /// # Safety
    /// `from` and `to` hold all pixels.
    #[inline(always)]
    unsafe fn copy(self) {
        let whole = PIXEL * T::PER_WORD;
        if self.channels != whole {
            return unsafe { self.copy_few() };
        }
        if self.stride == whole && self.pixel == PIXEL {
            let len = self.count * whole;
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

    /// # Safety
    /// As `copy`.
    #[inline(always)]
    unsafe fn copy_few(self) {
        for i in 0..self.count {
            unsafe {
                let to = self.to.add(i * self.pixel).cast::<T>();
                let from = self.from.add(i * self.stride);
                for channel in 0..self.channels {
                    *to.add(channel) = *from.add(channel);
                }
                for channel in self.channels..self.padded {
                    *to.add(channel) = T::from_f32(0.0);
                }
            }
        }
    }

    /// # Safety
    /// As `copy`; and `load` has the plane's channels, from `first` on.
    #[inline(always)]
    unsafe fn load<S: Simd>(self, simd: S, load: &Load, first: usize) {
        unsafe {
            let scale = simd.load_first_f32(load.scale[first..].as_ptr(), self.channels);
            let shift = simd.load_first_f32(load.shift[first..].as_ptr(), self.channels);
            for i in 0..self.count {
                let from = self.from.add(i * self.stride);
                let to = self.to.add(i * self.pixel).cast::<T>();
                let value = match self.channels {
                    16 => T::load(simd, from),
                    _ => T::load_first(simd, from, self.channels),
                };
                let value = simd.mul_add(value, scale, shift);
                let value = activate(simd, load.activation, value);
                match self.channels {
                    16 => T::store(simd, to, value),
                    _ => T::store_first(simd, to, value, self.channels),
                }
                for channel in self.channels..self.padded {
                    *to.add(channel) = T::from_f32(0.0);
                }
            }
        }
    }
}
