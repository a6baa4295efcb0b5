//! The memory layout of square matrices.

use crate::cpu::{vectorized, Vectorized, LANES};

/// Rows of `size` elements, filled up with zeros to whole vectors, with a gap of one vector between
/// them: rows whose length is a power of two would all fall into a few sets of the cache.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub size: usize,
    pub padded: usize,
    pub stride: usize,
}

impl Layout {
    pub fn new(size: usize) -> Self {
        let padded = size.next_multiple_of(LANES);
        Layout { size, padded, stride: padded + LANES }
    }

    /// Elements of a matrix.
    pub fn len(&self) -> usize {
        self.padded * self.stride
    }

    /// Cuts matrices off the memory, and returns them and the rest.
    pub fn cut<'a, const N: usize>(
        &self,
        memory: &'a mut [f32],
    ) -> ([&'a mut [f32]; N], &'a mut [f32]) {
        let mut rest = memory;
        let squares = std::array::from_fn(|_| {
            let (square, others) = std::mem::take(&mut rest).split_at_mut(self.len());
            rest = others;
            square
        });
        (squares, rest)
    }

    pub fn trace(&self, matrix: &[f32]) -> f32 {
        (0..self.size).map(|i| matrix[i * (self.stride + 1)]).sum()
    }

    pub fn add_to_diagonal(&self, matrix: &mut [f32], value: f32) {
        (0..self.size).for_each(|i| matrix[i * (self.stride + 1)] += value);
    }

    /// `to = scale * from + diagonal * 1`.
    pub fn scaled(&self, from: &[f32], scale: f32, diagonal: f32, to: &mut [f32]) {
        vectorized(Scaled { from, scale, to: &mut *to });
        self.add_to_diagonal(to, diagonal);
    }

    /// The sum of the products of all elements, in f64.
    pub fn inner(&self, a: &[f32], b: &[f32]) -> f64 {
        let rows = a.chunks_exact(self.stride).zip(b.chunks_exact(self.stride)).take(self.size);
        rows.flat_map(|(a, b)| a.iter().zip(b).take(self.size))
            .map(|(a, b)| f64::from(*a) * f64::from(*b))
            .sum()
    }

    /// Copies a dense matrix into this layout.
    pub fn read(&self, dense: &[f32], to: &mut [f32]) {
        to.fill(0.0);
        for (row, from) in to.chunks_exact_mut(self.stride).zip(dense.chunks_exact(self.size)) {
            row[..self.size].copy_from_slice(from);
        }
    }

    /// Copies a matrix of this layout into a dense one.
    pub fn write(&self, matrix: &[f32], dense: &mut [f32]) {
        for (row, to) in matrix.chunks_exact(self.stride).zip(dense.chunks_exact_mut(self.size)) {
            to.copy_from_slice(&row[..self.size]);
        }
    }

    /// The upper triangle, row by row, times `scale`.
    pub fn write_triangle(&self, matrix: &[f32], scale: f32, mut to: &mut [f32]) {
        for i in 0..self.size {
            let row = &matrix[i * self.stride + i..i * self.stride + self.size];
            let (here, rest) = to.split_at_mut(row.len());
            here.iter_mut().zip(row).for_each(|(to, from)| *to = scale * from);
            to = rest;
        }
    }

    /// `scale` times the symmetric part of a matrix that is an upper triangle.
    pub fn read_triangle(&self, mut triangle: &[f32], scale: f32, to: &mut [f32]) {
        to.fill(0.0);
        for i in 0..self.size {
            let (row, rest) = triangle.split_at(self.size - i);
            to[i * self.stride + i] = scale * row[0];
            for (j, value) in (i + 1..).zip(&row[1..]) {
                to[i * self.stride + j] = 0.5 * scale * value;
                to[j * self.stride + i] = 0.5 * scale * value;
            }
            triangle = rest;
        }
    }
}

struct Scaled<'a> {
    from: &'a [f32],
    scale: f32,
    to: &'a mut [f32],
}

impl Vectorized for Scaled<'_> {
    #[inline(always)]
    fn run(self) {
        self.to.iter_mut().zip(self.from).for_each(|(to, from)| *to = self.scale * from);
    }
}
