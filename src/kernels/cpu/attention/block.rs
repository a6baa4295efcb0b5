//! The memory of a block of queries, and the matrices in it.

use crate::cpu::LANES;
use crate::kernels::cpu::product::ROWS;

/// Queries of a block, a multiple of the lanes. Scores of a block and 200 keys fill 60 kB.
pub(super) const QUERIES: usize = 64;

/// A matrix of f32 in scratch memory: rows filled up to whole tiles, and columns to whole vectors
/// with a gap of one vector, so that columns of a power of two do not fall into one set of the
/// cache.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub rows: usize,
    pub columns: usize,
    pub stride: usize,
}

impl Layout {
    pub fn new(rows: usize, columns: usize) -> Layout {
        let columns = columns.next_multiple_of(LANES);
        Layout { rows: rows.next_multiple_of(ROWS), columns, stride: columns + LANES }
    }

    pub fn len(&self) -> usize {
        self.rows * self.stride
    }

    pub fn vectors(&self) -> usize {
        self.columns / LANES
    }

    /// Cuts a matrix off the memory.
    pub fn cut<'a>(&self, memory: &mut &'a mut [f32]) -> &'a mut [f32] {
        let (matrix, rest) = std::mem::take(memory).split_at_mut(self.len());
        *memory = rest;
        matrix
    }
}

/// The matrices of a head, whose vectors are rows (`head`), and of a block of its queries, as rows
/// (`rows`) and as columns (`columns`); `scores` has a row for each key and a column for each query.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layouts {
    pub head: Layout,
    pub rows: Layout,
    pub columns: Layout,
    pub scores: Layout,
}

impl Layouts {
    pub fn new(tokens: usize, features: usize) -> Layouts {
        let queries = QUERIES.min(tokens);
        let padded = features.next_multiple_of(LANES);
        Layouts {
            head: Layout::new(tokens, features),
            rows: Layout::new(queries, features),
            columns: Layout::new(padded, queries),
            scores: Layout::new(tokens, queries),
        }
    }
}
