//! Transforms the tiles of `x` and `grad_y`, block by block.
//!
//! The tiles are the contracted dimension, so a word holds as many tiles as it has numbers: in bf16
//! two, which are neighbors in their row or, if a row has an odd number, tiles of two images.

use super::super::rows::{SourceRows, RING};
use super::super::{transform, POSITIONS};
use super::layout::Layout;
use super::plan::Plan;
use crate::cpu::{Number, Simd, LANES};

/// Transforms some channels of `x` and of `grad_y`, in small steps that are interleaved with
/// products.
pub(super) struct Staging<'a, T, M> {
    pub plan: &'a Plan,
    pub layout: &'a Layout,
    pub x: SourceRows<'a, T>,
    pub grad_y: SourceRows<'a, T>,
    /// `RING` rows of `x` for each image of a word, then two of `grad_y` for each.
    pub ring: *mut M,
    /// If the gradient of the bias is wanted: sums of `grad_y` over the block, then over all blocks
    /// before.
    pub bias: Option<*mut f32>,
    /// The next row of tiles, and the next word in it.
    pub row: usize,
    pub column: usize,
    /// The first row of pixels of this row of tiles, in its image.
    pub line: usize,
    /// The ring does not hold rows of the images yet.
    pub empty: bool,
    /// Words of later blocks.
    pub left: usize,
    /// Words of this block.
    pub words: usize,
    /// Steps of this block, which are a word of 16 channels each.
    pub todo: usize,
    pub done: usize,
    /// The next word of this block, and the next 16 channels of it: first those of `x`, then those
    /// of `grad_y`.
    pub word: usize,
    pub group: usize,
    /// The transformed tiles of `x` and of `grad_y`.
    pub v: *mut u32,
    pub z: *mut u32,
}

impl<T: Number, M: Number> Staging<'_, T, M> {
    /// Starts the next block, which may be empty.
    ///
    /// # Safety
    /// `v` and `z` have the sizes of the layout and are not read before the block is done.
    #[inline(always)]
    pub(super) unsafe fn begin<S: Simd>(&mut self, simd: S, v: *mut u32, z: *mut u32) {
        self.words = self.plan.block.min(self.left);
        self.left -= self.words;
        self.todo = self.words * (self.x.stride() + self.grad_y.stride()) / LANES;
        (self.done, self.word, self.group) = (0, 0, 0);
        (self.v, self.z) = (v, z);
        self.close_bias(simd);
    }

    /// Continues until `share / whole` of the block is done.
    #[inline(always)]
    pub(super) fn advance<S: Simd>(&mut self, simd: S, share: usize, whole: usize) {
        while self.done * whole < self.todo * share {
            // SAFETY: the caller of `begin` has promised the memory, and there is a tile left.
            unsafe { self.step(simd) };
        }
    }

    #[inline(always)]
    unsafe fn step<S: Simd>(&mut self, simd: S) {
        let groups = (self.x.stride() + self.grad_y.stride()) / LANES;
        let (word, group) = (self.word, self.group);
        let x_groups = self.x.stride() / LANES;
        // SAFETY: the caller's; a row has the pixels of all its tiles.
        unsafe {
            if self.column == 0 && group == 0 {
                self.load_rows(simd);
            }
            match group < x_groups {
                true => self.input(simd, word, group),
                false => self.gradient(simd, word, group - x_groups),
            }
        }
        self.done += 1;
        self.group += 1;
        if self.group == groups {
            (self.group, self.word, self.column) = (0, word + 1, self.column + 1);
            if self.column == self.plan.row_words {
                (self.column, self.row) = (0, self.row + 1);
            }
        }
    }

    /// The element of a row at which the first tile of the next word starts, and the distance to
    /// the second one.
    #[inline(always)]
    fn place(&self, rows: &SourceRows<'_, T>) -> (usize, usize) {
        let stride = rows.stride();
        match self.plan.images {
            1 => (2 * M::PER_WORD * self.column * stride, 2 * stride),
            _ => (2 * self.column * stride, rows.len()),
        }
    }

    #[inline(always)]
    unsafe fn input<S: Simd>(&self, simd: S, word: usize, group: usize) {
        let (stride, len) = (self.x.stride(), self.plan.images * self.x.len());
        let first = self.line;
        let (at, other) = self.place(&self.x);
        // SAFETY: the caller's.
        unsafe {
            let at = at + group * LANES;
            let even = self.ring.add(first % RING * len + at).cast_const();
            let odd = self.ring.add((first + 2) % RING * len + at).cast_const();
            let rows = [even, even.add(len), odd, odd.add(len)];
            let low = transform::input(simd, rows, stride);
            let high = match M::PER_WORD {
                1 => low,
                _ => {
                    let [a, b, c, d] = rows;
                    let rows = [a.add(other), b.add(other), c.add(other), d.add(other)];
                    transform::input(simd, rows, stride)
                }
            };
            let v = self.v.add(word * stride + group * LANES);
            let position = self.layout.v_position;
            for p in 0..POSITIONS {
                M::store_rows(simd, v.add(p * position), low[p], high[p]);
            }
        }
    }

    #[inline(always)]
    unsafe fn gradient<S: Simd>(&self, simd: S, word: usize, group: usize) {
        let (stride, len) = (self.grad_y.stride(), self.plan.images * self.grad_y.len());
        let (at, other) = self.place(&self.grad_y);
        // SAFETY: the caller's.
        unsafe {
            let rows = self.ring.add(RING * self.plan.images * self.x.len()).cast_const();
            let top = rows.add(at + group * LANES);
            let pixels = [top, top.add(stride), top.add(len), top.add(len + stride)];
            let low = transform::gradient(simd, pixels);
            let high = match M::PER_WORD {
                1 => low,
                _ => {
                    let [a, b, c, d] = pixels;
                    let pixels = [a.add(other), b.add(other), c.add(other), d.add(other)];
                    transform::gradient(simd, pixels)
                }
            };
            let z = self.z.add(word * stride + group * LANES);
            let position = self.layout.z_position;
            for p in 0..POSITIONS {
                M::store_rows(simd, z.add(p * position), low[p], high[p]);
            }
            if let Some(bias) = self.bias {
                // At this position the transform is the sum of the four pixels.
                let all = match M::PER_WORD {
                    1 => low[5],
                    _ => simd.add(low[5], high[5]),
                };
                let bias = bias.add(group * LANES);
                simd.store_f32(bias, simd.add(simd.load_f32(bias), all));
            }
        }
    }

    /// Adds the sums of `grad_y` over the last block to those of the blocks before.
    #[inline(always)]
    pub(super) fn close_bias<S: Simd>(&mut self, simd: S) {
        let Some(bias) = self.bias else { return };
        let channels = self.grad_y.stride();
        for c in (0..channels).step_by(LANES) {
            // SAFETY: there are two sums for each channel.
            unsafe {
                let (open, total) = (bias.add(c), bias.add(channels + c));
                let sum = simd.add(simd.load_f32(total), simd.load_f32(open));
                simd.store_f32(total, sum);
                simd.store_f32(open, simd.zero());
            }
        }
    }

    /// Reads the rows of pixels of a row of tiles that are not in the ring yet.
    #[inline(always)]
    unsafe fn load_rows<S: Simd>(&mut self, simd: S) {
        let images = self.plan.images;
        let image = self.row / self.plan.tiles[0] * images;
        let first = self.row % self.plan.tiles[0] * 2;
        self.line = first;
        let known = if first == 0 || self.empty { 0 } else { 2 };
        self.empty = false;
        for row in first + known..first + RING {
            for i in 0..images {
                // SAFETY: the ring has `RING` rows for each of the images.
                unsafe {
                    let to = self.ring.add((row % RING * images + i) * self.x.len());
                    self.x.read(simd, to, image + i, row);
                }
            }
        }
        for row in 0..2 {
            for i in 0..images {
                // SAFETY: they are followed by two rows for each of the images.
                unsafe {
                    let rows = self.ring.add(RING * images * self.x.len());
                    let to = rows.add((row * images + i) * self.grad_y.len());
                    self.grad_y.read(simd, to, image + i, first + row);
                }
            }
        }
        for i in 0..images {
            self.x.prefetch(image + i, first + RING, 2);
            self.grad_y.prefetch(image + i, first + 2, 2);
        }
    }
}
