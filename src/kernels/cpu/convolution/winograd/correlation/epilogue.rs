//! The last part of the work: from the products of a block to the output.

use super::super::rows::activate;
use super::super::transform;
use super::moments::Statistics;
use super::plan::Shape;
use crate::activation::Activation;
use crate::cpu::{Number, SharedSlice, Simd, LANES};

/// Products of some tiles in a row and one or two vectors of output channels.
#[derive(Clone, Copy)]
pub(super) struct Products {
    /// The first tile.
    pub image: usize,
    pub row: usize,
    pub column: usize,
    pub tiles: usize,
    /// The first vector of the task's, and how many.
    pub vector: usize,
    pub vectors: usize,
    pub m: *const f32,
    /// A run of the statistics begins, or ends, with these.
    pub starts: bool,
    pub ends: bool,
}

/// Writes `activation(conv + bias + residual)`, bit by bit.
pub(super) struct Drain<'a, T> {
    pub shape: Shape,
    pub bias: Option<&'a [f32]>,
    pub residual: Option<&'a [T]>,
    pub activation: Activation,
    pub y: SharedSlice<'a, T>,
    pub statistics: Option<Statistics<'a>>,
    /// The task's first vector of output channels.
    pub first: usize,
    pub m_position: usize,
    /// What is being written, tile by tile, and how far it is.
    pub products: Products,
    pub done: usize,
    /// The next tile's next vector.
    pub next: usize,
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

impl<T: Number> Drain<'_, T> {
    /// Goes to the next products.
    ///
    /// # Safety
    /// The products stay where they are until all is done; the tiles and channels are the shape's,
    /// and no other task writes them.
    #[inline(always)]
    pub(super) unsafe fn begin(&mut self, products: Products) {
        debug_assert_eq!(self.done, self.products.tiles * self.products.vectors);
        (self.products, self.done, self.next, self.count) = (products, 0, 0, 0);
    }

    /// Goes on until `share / whole` of the products is done.
    #[inline(always)]
    pub(super) fn advance<S: Simd>(&mut self, simd: S, share: usize, whole: usize) {
        let todo = self.products.tiles * self.products.vectors;
        while self.done * whole < todo * share {
            // SAFETY: `begin` was promised the products and the place.
            unsafe { self.step(simd) };
            if self.done == todo {
                self.count();
            }
        }
    }

    /// One tile and vector.
    #[inline(always)]
    unsafe fn step<S: Simd>(&mut self, simd: S) {
        let Products { vector, vectors, image, row, column, m, starts, .. } = self.products;
        let [height, width] = self.shape.out_size;
        let (y, x) = (row * 2, column * 2);
        let there = [true, x + 1 < width, y + 1 < height, x + 1 < width && y + 1 < height];
        let vector = vector + self.next;
        let channel = (self.first + vector) * LANES;
        let at = ((image * height + y) * width + x) * self.shape.out_channels + channel;
        // SAFETY: the products are there, and the outputs that are `there` are the image's.
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
            self.go_on();
        }
    }

    /// To the next tile.
    #[inline(always)]
    fn go_on(&mut self) {
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
            // SAFETY: the caller's. What is loaded is what was stored, rounded.
            unsafe {
                let value = self.finish(simd, values[i], at + steps[i], channel, LANES);
                let y = self.y.at(at + steps[i], LANES);
                T::store(simd, y, value);
                values[i] = T::load(simd, y);
            }
        }
        values
    }

    /// Finishes and stores the channels that there are, of the pixels that are `there`.
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
            // SAFETY: the caller's. What is loaded is what was stored, rounded.
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

    /// What is done to `count` of sixteen convolved channels, the first of them at `at`.
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
        if self.activation != Activation::IDENTITY {
            value = activate(simd, self.activation, value);
        }
        value
    }

    fn count(&mut self) {
        let Products { vector, vectors, ends, .. } = self.products;
        if let Some(statistics) = &mut self.statistics {
            for vector in vector..vector + vectors {
                statistics.count(vector, self.count, ends);
            }
        }
    }
}

/// The first `count` of sixteen numbers; the others are zero.
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
