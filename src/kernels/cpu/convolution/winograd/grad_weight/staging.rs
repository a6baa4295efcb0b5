//! From the input and the output's gradient to the transformed tiles of a block.
//!
//! The tiles are what is contracted here, so a word holds as many tiles as it has numbers: in bf16
//! two, either neighbors in their row or, where a row has an odd number, of two images.

use super::super::rows::{Lines, RING};
use super::super::{transform, POSITIONS};
use super::plan::{Layout, Plan};
use crate::cpu::{Number, Simd, LANES};

/// Some channels of `x` and of `grad_y`, transformed block by block.
pub(super) struct Feed<'a, T> {
    pub plan: &'a Plan,
    pub layout: &'a Layout,
    pub x: Lines<'a, T>,
    pub grad_y: Lines<'a, T>,
    /// `RING` lines of `x` for each image of a word, then two of `grad_y`.
    pub ring: *mut T,
    /// Sums of `grad_y` over a block, then over all blocks before, if they are wanted.
    pub bias: Option<*mut f32>,
    /// The next row of tiles, and place in it.
    pub row: usize,
    pub column: usize,
    /// The first line of this row of tiles in its image.
    pub line: usize,
    /// The ring holds nothing of the images yet.
    pub empty: bool,
    /// Words of the blocks to come.
    pub left: usize,
    pub words: usize,
    /// Vectors of this block.
    pub todo: usize,
    pub done: usize,
    /// The next word of this block, and vector of it.
    pub word: usize,
    pub group: usize,
    pub v: *mut u32,
    pub z: *mut u32,
}

impl<T: Number> Feed<'_, T> {
    /// Goes to the next block, which may be empty.
    ///
    /// # Safety
    /// `v` and `z` are as the layout says, and nobody reads them until the block is done.
    #[inline(always)]
    pub(super) unsafe fn begin<S: Simd>(&mut self, simd: S, v: *mut u32, z: *mut u32) {
        self.words = self.plan.block.min(self.left);
        self.left -= self.words;
        self.todo = self.words * (self.x.stride() + self.grad_y.stride()) / LANES;
        (self.done, self.word, self.group) = (0, 0, 0);
        (self.v, self.z) = (v, z);
        self.close_bias(simd);
    }

    /// Goes on until `share / whole` of the block is done.
    #[inline(always)]
    pub(super) fn advance<S: Simd>(&mut self, simd: S, share: usize, whole: usize) {
        while self.done * whole < self.todo * share {
            // SAFETY: `begin` was given the memory, and there is a tile left.
            unsafe { self.step(simd) };
        }
    }

    #[inline(always)]
    unsafe fn step<S: Simd>(&mut self, simd: S) {
        let groups = (self.x.stride() + self.grad_y.stride()) / LANES;
        let (word, group) = (self.word, self.group);
        let x_groups = self.x.stride() / LANES;
        // SAFETY: the caller's; a line has the pixels of all tiles of a row.
        unsafe {
            if self.column == 0 && group == 0 {
                self.load_lines(simd);
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

    /// Where the first tile of the next word lies in a line, and the way to the second.
    #[inline(always)]
    fn place(&self, lines: &Lines<'_, T>) -> (usize, usize) {
        let stride = lines.stride();
        match self.plan.images {
            1 => (2 * T::PER_WORD * self.column * stride, 2 * stride),
            _ => (2 * self.column * stride, lines.len()),
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
            let high = match T::PER_WORD {
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
                T::store_rows(simd, v.add(p * position), low[p], high[p]);
            }
        }
    }

    #[inline(always)]
    unsafe fn gradient<S: Simd>(&self, simd: S, word: usize, group: usize) {
        let (stride, len) = (self.grad_y.stride(), self.plan.images * self.grad_y.len());
        let (at, other) = self.place(&self.grad_y);
        // SAFETY: the caller's.
        unsafe {
            let lines = self.ring.add(RING * self.plan.images * self.x.len()).cast_const();
            let top = lines.add(at + group * LANES);
            let pixels = [top, top.add(stride), top.add(len), top.add(len + stride)];
            let low = transform::gradient(simd, pixels);
            let high = match T::PER_WORD {
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
                T::store_rows(simd, z.add(p * position), low[p], high[p]);
            }
            if let Some(bias) = self.bias {
                // At this position the four are summed up.
                let all = match T::PER_WORD {
                    1 => low[5],
                    _ => simd.add(low[5], high[5]),
                };
                let bias = bias.add(group * LANES);
                simd.store_f32(bias, simd.add(simd.load_f32(bias), all));
            }
        }
    }

    /// Adds the last block's sums of `grad_y` to those before.
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

    /// Brings the lines of a row of tiles into the ring.
    #[inline(always)]
    unsafe fn load_lines<S: Simd>(&mut self, simd: S) {
        let images = self.plan.images;
        let image = self.row / self.plan.tiles[0] * images;
        let first = self.row % self.plan.tiles[0] * 2;
        self.line = first;
        let known = if first == 0 || self.empty { 0 } else { 2 };
        self.empty = false;
        for row in first + known..first + RING {
            for i in 0..images {
                // SAFETY: the ring has `RING` lines for each of the images.
                unsafe {
                    let to = self.ring.add((row % RING * images + i) * self.x.len());
                    self.x.fill(simd, to, image + i, row);
                }
            }
        }
        for row in 0..2 {
            for i in 0..images {
                // SAFETY: two lines for each of the images follow.
                unsafe {
                    let lines = self.ring.add(RING * images * self.x.len());
                    let to = lines.add((row * images + i) * self.grad_y.len());
                    self.grad_y.fill(simd, to, image + i, first + row);
                }
            }
        }
        for i in 0..images {
            self.x.prefetch(image + i, first + RING, 2);
            self.grad_y.prefetch(image + i, first + 2, 2);
        }
    }
}
