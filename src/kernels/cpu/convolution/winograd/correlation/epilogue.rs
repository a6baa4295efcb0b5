//! Transforms the products of a block back and stores them, with bias, residual and activation.

use super::super::transform;
use super::moments::Statistics;
use super::shape::Shape;
use crate::cpu::{Number, SharedSlice, Simd, LANES};
use crate::kernels::cpu::activation::SimdActivation;

/// Products of consecutive tiles and one or two vectors of output channels.
#[derive(Clone, Copy)]
pub(super) struct Products {
    /// The image, row and column of the first tile.
    pub image: usize,
    pub row: usize,
    pub column: usize,
    pub tiles: usize,
    /// The first vector of output channels, counted from the task's first one.
    pub vector: usize,
    pub vectors: usize,
    /// `[position][tile][vector]`
    pub m: *const f32,
    /// A run of the moments starts with these products.
    pub starts: bool,
    /// A run of the moments ends with these products.
    pub ends: bool,
}

/// Writes `activation(correlation + bias + residual)` in small steps that are interleaved with
/// products.
pub(super) struct Epilogue<'a, T> {
    pub shape: Shape,
    pub bias: Option<&'a [f32]>,
    pub residual: Option<&'a [T]>,
    pub activation: SimdActivation,
    pub y: SharedSlice<'a, T>,
    pub statistics: Option<Statistics<'a>>,
    /// The first vector of output channels of the task.
    pub first: usize,
    pub m_position: usize,
    /// The products that are being written, and how many vectors of them are done.
    pub products: Products,
    pub done: usize,
    /// The next vector of the next tile.
    pub next: usize,
    /// Outputs of each channel that are done.
    pub count: usize,
}

impl Products {
    pub(super) const NONE: Products = Products {
        image: 0,
        row: 0,
        column: 0,
        tiles: 0,
        vector: 0,
        vectors: 1,
        m: std::ptr::null(),
        starts: false,
        ends: false,
    };
}

impl<T: Number> Epilogue<'_, T> {
    /// Starts the next products; the ones before are done.
    ///
    /// # Safety
    /// The products stay in place until they are done; the tiles and channels are those of the
    /// shape, and no other task writes them.
    #[inline(always)]
    pub(super) unsafe fn begin(&mut self, products: Products) {
        debug_assert_eq!(self.done, self.products.tiles * self.products.vectors);
        (self.products, self.done, self.next, self.count) = (products, 0, 0, 0);
    }

    /// Continues until `share / whole` of the products is done.
    #[inline(always)]
    pub(super) fn advance<S: Simd>(&mut self, simd: S, share: usize, whole: usize) {
        let todo = self.products.tiles * self.products.vectors;
        while self.done * whole < todo * share {
            // SAFETY: the caller of `begin` has promised the products and the place.
            unsafe { self.step(simd) };
            if self.done == todo {
                self.count();
            }
        }
    }

    /// Writes one vector of channels of one tile.
    #[inline(always)]
    unsafe fn step<S: Simd>(&mut self, simd: S) {
        let Products { vector, vectors, image, row, column, m, starts, .. } = self.products;
        let [height, width] = self.shape.out_size;
        let (y, x) = (row * 2, column * 2);
        let there = [true, x + 1 < width, y + 1 < height, x + 1 < width && y + 1 < height];
        let vector = vector + self.next;
        let channel = (self.first + vector) * LANES;
        let at = ((image * height + y) * width + x) * self.shape.out_channels + channel;
        // SAFETY: the products are in place, and outputs that are `there` lie in the image.
        let values = unsafe {
            let values = transform::output(simd, m.add(self.done * LANES), self.m_position);
            match there == [true; 4] && channel + LANES <= self.shape.out_channels {
                true => self.write_whole(simd, values, at, channel),
                false => self.write(simd, values, there, at, channel),
            }
        };
        if let Some(statistics) = &mut self.statistics {
            if starts && self.done < vectors {
                statistics.start(simd, vector, values, there);
            }
            statistics.add(simd, vector, values, there);
        }
        self.done += 1;
        self.next += 1;
        if self.next == vectors {
            self.next = 0;
            self.count += (1 + usize::from(there[1])) * (1 + usize::from(there[2]));
            self.next_tile();
        }
    }

    /// Moves to the next tile.
    #[inline(always)]
    fn next_tile(&mut self) {
        let ([rows, columns], tile) = (self.shape.tiles(), &mut self.products);
        tile.column += 1;
        if tile.column == columns {
            (tile.column, tile.row) = (0, tile.row + 1);
            if tile.row == rows {
                (tile.row, tile.image) = (0, tile.image + 1);
            }
        }
    }

    /// Finishes and stores four vectors of outputs.
    #[inline(always)]
    unsafe fn write_whole<S: Simd>(
        &self,
        simd: S,
        mut values: [S::F; 4],
        at: usize,
        channel: usize,
    ) -> [S::F; 4] {
        let channels = self.shape.out_channels;
        let row = self.shape.out_size[1] * channels;
        let steps = [0, channels, row, row + channels];
        for i in 0..4 {
            // SAFETY: the caller's. The moments are those of the rounded outputs.
            unsafe {
                let value = self.finish(simd, values[i], at + steps[i], channel, LANES);
                let y = self.y.at(at + steps[i], LANES);
                T::store(simd, y, value);
                values[i] = T::load(simd, y);
            }
        }
        values
    }

    /// Finishes and stores the existing channels of the pixels that are `there`.
    #[inline(always)]
    unsafe fn write<S: Simd>(
        &self,
        simd: S,
        mut values: [S::F; 4],
        there: [bool; 4],
        at: usize,
        channel: usize,
    ) -> [S::F; 4] {
        let channels = self.shape.out_channels;
        let count = LANES.min(channels - channel);
        let row = self.shape.out_size[1] * channels;
        let steps = [0, channels, row, row + channels];
        for i in 0..4 {
            if !there[i] {
                continue;
            }
            // SAFETY: the caller's. The moments are those of the rounded outputs.
            unsafe {
                let value = self.finish(simd, values[i], at + steps[i], channel, count);
                let mut rest = [T::from_f32(0.0); LANES];
                T::store(simd, rest.as_mut_ptr(), value);
                let y = self.y.at(at + steps[i], count);
                y.copy_from_nonoverlapping(rest.as_ptr(), count);
                values[i] = T::load(simd, rest.as_ptr());
            }
        }
        values
    }

    /// Adds bias and residual to `count` of 16 channels and applies the activation; `at` is the
    /// element of the first channel.
    #[inline(always)]
    unsafe fn finish<S: Simd>(
        &self,
        simd: S,
        mut value: S::F,
        at: usize,
        channel: usize,
        count: usize,
    ) -> S::F {
        // SAFETY: there is a bias for each channel, and the residual is as long as the output.
        unsafe {
            if let Some(bias) = self.bias {
                value = simd.add(value, part(simd, bias.as_ptr().add(channel), count));
            }
            if let Some(residual) = self.residual {
                debug_assert!(at + count <= residual.len());
                value = simd.add(value, part(simd, residual.as_ptr().add(at), count));
            }
        }
        self.activation.apply(simd, value)
    }

    /// Tells the moments how many outputs have been added.
    fn count(&mut self) {
        let Products { vector, vectors, ends, .. } = self.products;
        if let Some(statistics) = &mut self.statistics {
            for vector in vector..vector + vectors {
                statistics.count(vector, self.count, ends);
            }
        }
    }
}

/// Loads `count` of 16 numbers and fills up with zeros.
///
/// # Safety
/// There are `count` numbers.
#[inline(always)]
pub(super) unsafe fn part<S: Simd, T: Number>(simd: S, from: *const T, count: usize) -> S::F {
    // SAFETY: the caller's.
    unsafe {
        if count == LANES {
            return T::load(simd, from);
        }
        let mut rest = [T::from_f32(0.0); LANES];
        from.copy_to_nonoverlapping(rest.as_mut_ptr(), count);
        T::load(simd, rest.as_ptr())
    }
}
