//! Matrix products in f32 with accumulators in registers.

use crate::cpu::{Simd, LANES};

/// The most vectors of a tile's row.
pub(super) const COLUMNS: usize = 3;
/// Rows of a tile, with many registers and with few.
pub(super) const ROWS: usize = 8;
pub(super) const FEW_ROWS: usize = 2;

/// The first elements of the factors of a tile.
#[derive(Clone, Copy)]
pub(super) struct Operands {
    pub left: *const f32,
    pub right: *const f32,
    pub depth: usize,
}

impl Operands {
    pub fn nothing(self) -> Self {
        Operands { depth: 0, ..self }
    }
}

/// Distances between elements of the factors: across the rows of the tile, and along the sum.
#[derive(Clone, Copy)]
pub(super) struct Strides {
    pub across: usize,
    pub left: usize,
    pub right: usize,
}

/// Two matrices of f32 and the place of their product, which is `rows` by `vectors` vectors. The
/// rows are whole tiles.
#[derive(Clone, Copy)]
pub(super) struct Product {
    pub operands: Operands,
    pub strides: Strides,
    pub rows: usize,
    pub vectors: usize,
    pub to: *mut f32,
    pub stride: usize,
}

impl Product {
    /// Writes `scale` times the product, or adds it to what is there if not `fresh`.
    ///
    /// # Safety
    /// All elements that the strides reach can be read, and the product can be written.
    #[inline(always)]
    pub unsafe fn run<S: Simd>(self, simd: S, scale: f32, fresh: bool) {
        // SAFETY: the caller's.
        unsafe {
            match S::SUMS >= ROWS * COLUMNS {
                true => self.strips::<S, ROWS>(simd, scale, fresh),
                false => self.strips::<S, FEW_ROWS>(simd, scale, fresh),
            }
        }
    }

    #[inline(always)]
    unsafe fn strips<S: Simd, const R: usize>(self, simd: S, scale: f32, fresh: bool) {
        let Product { operands, strides, rows, vectors, to, stride } = self;
        let strips = vectors.div_ceil(COLUMNS).max(1);
        for strip in 0..strips {
            // Strips are about equally wide, since narrow ones are slow.
            let (first, end) = (strip * vectors / strips, (strip + 1) * vectors / strips);
            for row in (0..rows).step_by(R) {
                // SAFETY: the caller's.
                unsafe {
                    let left = operands.left.add(row * strides.across);
                    let right = operands.right.add(first * LANES);
                    let terms = [Operands { left, right, ..operands }];
                    let to = to.add(row * stride + first * LANES);
                    match end - first {
                        1 => tile::<S, 1, R, 1>(simd, terms, strides, scale, fresh, to, stride),
                        2 => tile::<S, 1, R, 2>(simd, terms, strides, scale, fresh, to, stride),
                        _ => tile::<S, 1, R, 3>(simd, terms, strides, scale, fresh, to, stride),
                    }
                }
            }
        }
    }
}

/// Writes R rows of C vectors of `scale * (sum of the terms)`, or adds them to what is there if not
/// `fresh`.
///
/// # Safety
/// All elements that the strides reach can be read, and the tile can be written.
// Indices and not iterators: the sums stay in registers only if all loops over them are unrolled.
#[allow(clippy::needless_range_loop)]
#[inline(always)]
pub(super) unsafe fn tile<S: Simd, const N: usize, const R: usize, const C: usize>(
    simd: S,
    terms: [Operands; N],
    strides: Strides,
    scale: f32,
    fresh: bool,
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
                let to = to.add(r * stride + c * LANES);
                let before = if fresh { simd.zero() } else { simd.load_f32(to) };
                simd.store_f32(to, simd.mul_add(sums[r][c], scale, before));
            }
        }
    }
}
