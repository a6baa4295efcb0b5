//! Matrix products with accumulators in registers.

use super::square::Layout;
use crate::cpu::{dispatch, Kernel, Simd, LANES};

/// The most vectors of a tile's row.
const COLUMNS: usize = 3;
/// Rows of a tile, with many registers and with few.
const ROWS: usize = 8;
const FEW_ROWS: usize = 2;

/// Matrices `left` and `right` of `depth` rows: the product is `left^T right`.
#[derive(Clone, Copy)]
pub(super) struct Term<'a> {
    pub left: &'a [f32],
    pub right: &'a [f32],
    pub depth: usize,
}

/// `out = scale * (sum of the terms) + diagonal * 1`, which must be symmetric.
pub(super) fn symmetric(
    layout: Layout,
    terms: &[Term<'_>],
    scale: f32,
    diagonal: f32,
    out: &mut [f32],
) {
    for term in terms {
        let needed = term.depth.saturating_sub(1) * layout.stride + layout.padded;
        assert!(term.left.len() >= needed && term.right.len() >= needed, "a factor is short");
    }
    assert!(out.len() >= layout.len(), "the product is short");
    dispatch(Symmetric { layout, terms, scale, out: &mut *out });
    layout.add_to_diagonal(out, diagonal);
}

/// `out = scale * left * right`, where the rows of `left` and `out` are pixels and `right` is
/// square. `out` has whole tiles of rows.
pub(super) fn rows_times_square(
    layout: Layout,
    left: &[f32],
    right: &[f32],
    scale: f32,
    out: &mut [f32],
) {
    assert!(left.len() == out.len() && out.len().is_multiple_of(ROWS * layout.stride));
    assert!(right.len() >= layout.len(), "the square is short");
    dispatch(RowsTimesSquare { layout, left, right, scale, out });
}

/// The number of rows rounded up to whole tiles.
pub(super) fn whole_tiles(rows: usize) -> usize {
    rows.next_multiple_of(ROWS)
}

struct Symmetric<'a> {
    layout: Layout,
    terms: &'a [Term<'a>],
    scale: f32,
    out: &'a mut [f32],
}

impl Kernel for Symmetric<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        match S::SUMS >= ROWS * COLUMNS {
            true => self.strips::<S, ROWS>(simd),
            false => self.strips::<S, FEW_ROWS>(simd),
        }
    }
}

impl Symmetric<'_> {
    /// Computes strips of columns, each down to the diagonal.
    #[inline(always)]
    fn strips<S: Simd, const R: usize>(self, simd: S) {
        let Symmetric { layout, terms, scale, out } = self;
        let stride = layout.stride;
        let mut column = 0;
        while column < layout.padded {
            let vectors = COLUMNS.min((layout.padded - column) / LANES);
            let mut row = 0;
            while row < column + vectors * LANES {
                let operands = |term: &Term<'_>| Operands {
                    left: term.left[row..].as_ptr(),
                    right: term.right[column..].as_ptr(),
                    depth: term.depth,
                };
                let first = operands(&terms[0]);
                let second = terms.get(1).map_or(first.nothing(), operands);
                let strides = Strides { across: 1, left: stride, right: stride };
                let to = out[row * stride + column..].as_mut_ptr();
                // SAFETY: `symmetric` has checked that there are `padded` rows and columns.
                unsafe {
                    let pair = [first, second];
                    match vectors {
                        1 => tile::<S, 2, R, 1>(simd, pair, strides, scale, to, stride),
                        2 => tile::<S, 2, R, 2>(simd, pair, strides, scale, to, stride),
                        _ => tile::<S, 2, R, 3>(simd, pair, strides, scale, to, stride),
                    }
                }
                row += R;
            }
            mirror(layout, column, vectors * LANES, out);
            column += vectors * LANES;
        }
    }
}

/// Copies the part of a strip of columns above the diagonal's block to below the diagonal.
#[inline(always)]
fn mirror(layout: Layout, column: usize, width: usize, out: &mut [f32]) {
    let stride = layout.stride;
    let (above, below) = out.split_at_mut(column * stride);
    for row in (0..column).step_by(LANES) {
        for (j, to) in below.chunks_exact_mut(stride).take(width).enumerate() {
            let to = &mut to[row..row + LANES];
            for (i, to) in to.iter_mut().enumerate() {
                *to = above[(row + i) * stride + column + j];
            }
        }
    }
}

struct RowsTimesSquare<'a> {
    layout: Layout,
    left: &'a [f32],
    right: &'a [f32],
    scale: f32,
    out: &'a mut [f32],
}

impl Kernel for RowsTimesSquare<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        match S::SUMS >= ROWS * COLUMNS {
            true => self.rows::<S, ROWS>(simd),
            false => self.rows::<S, FEW_ROWS>(simd),
        }
    }
}

impl RowsTimesSquare<'_> {
    #[inline(always)]
    fn rows<S: Simd, const R: usize>(self, simd: S) {
        let RowsTimesSquare { layout, left, right, scale, out } = self;
        let stride = layout.stride;
        let strides = Strides { across: stride, left: 1, right: stride };
        let rows = out.len() / stride;
        let mut column = 0;
        while column < layout.padded {
            let vectors = COLUMNS.min((layout.padded - column) / LANES);
            let mut row = 0;
            while row < rows {
                let operands = [Operands {
                    left: left[row * stride..].as_ptr(),
                    right: right[column..].as_ptr(),
                    depth: layout.padded,
                }];
                let to = out[row * stride + column..].as_mut_ptr();
                // SAFETY: `rows_times_square` has checked for whole tiles of rows and for the
                // square.
                unsafe {
                    match vectors {
                        1 => tile::<S, 1, R, 1>(simd, operands, strides, scale, to, stride),
                        2 => tile::<S, 1, R, 2>(simd, operands, strides, scale, to, stride),
                        _ => tile::<S, 1, R, 3>(simd, operands, strides, scale, to, stride),
                    }
                }
                row += R;
            }
            column += vectors * LANES;
        }
    }
}

/// The first elements of the factors of a tile.
#[derive(Clone, Copy)]
struct Operands {
    left: *const f32,
    right: *const f32,
    depth: usize,
}

impl Operands {
    fn nothing(self) -> Self {
        Operands { depth: 0, ..self }
    }
}

/// Distances between elements of the factors: across the rows of the tile, and along the sum.
#[derive(Clone, Copy)]
struct Strides {
    across: usize,
    left: usize,
    right: usize,
}

/// Computes R rows of C vectors of `scale * (sum of the terms)`.
///
/// # Safety
/// All elements that the strides reach can be read, and the tile can be written.
// Indices and not iterators: the sums stay in registers only if all loops over them are unrolled.
#[allow(clippy::needless_range_loop)]
#[inline(always)]
unsafe fn tile<S: Simd, const N: usize, const R: usize, const C: usize>(
    simd: S,
    terms: [Operands; N],
    strides: Strides,
    scale: f32,
    to: *mut f32,
    stride: usize,
) {
    let mut sums = [[simd.zero(); C]; R];
    for term in terms {
        for k in 0..term.depth {
            // SAFETY: the caller's.
            unsafe {
                let left = term.left.add(k * strides.left);
                let right = term.right.add(k * strides.right);
                let mut vectors = [simd.load_f32(right); C];
                for c in 1..C {
                    vectors[c] = simd.load_f32(right.add(c * LANES));
                }
                for r in 0..R {
                    let factor = simd.splat(*left.add(r * strides.across));
                    for c in 0..C {
                        sums[r][c] = simd.mul_add(factor, vectors[c], sums[r][c]);
                    }
                }
            }
        }
    }
    let scale = simd.splat(scale);
    for r in 0..R {
        for c in 0..C {
            // SAFETY: the caller's.
            unsafe {
                simd.store_f32(to.add(r * stride + c * LANES), simd.mul(sums[r][c], scale));
            }
        }
    }
}
