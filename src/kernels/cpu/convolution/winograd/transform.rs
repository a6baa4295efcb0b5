//! The transforms of one tile, 16 channels at a time, in registers. The matrices are named as in
//! the paper.

use crate::cpu::{Number, Simd};

/// A tile of 4x4 numbers, row by row.
pub(super) type Tile<F> = [F; 16];

/// `B^T d B` of the 4x4 pixels that begin at the four rows.
///
/// # Safety
/// Each row has four pixels, `stride` elements apart, of 16 channels.
#[inline(always)]
pub(super) unsafe fn input<S: Simd, M: Number>(
    simd: S,
    rows: [*const M; 4],
    stride: usize,
) -> Tile<S::F> {
    let mut half = [simd.zero(); 16];
    for j in 0..4 {
        // SAFETY: the caller's.
        let [d0, d1, d2, d3] = unsafe {
            let at = j * stride;
            [
                M::load(simd, rows[0].add(at)),
                M::load(simd, rows[1].add(at)),
                M::load(simd, rows[2].add(at)),
                M::load(simd, rows[3].add(at)),
            ]
        };
        half[j] = simd.sub(d0, d2);
        half[4 + j] = simd.add(d1, d2);
        half[8 + j] = simd.sub(d2, d1);
        half[12 + j] = simd.sub(d1, d3);
    }
    let mut tile = half;
    for i in 0..4 {
        let [h0, h1, h2, h3] = [half[4 * i], half[4 * i + 1], half[4 * i + 2], half[4 * i + 3]];
        tile[4 * i] = simd.sub(h0, h2);
        tile[4 * i + 1] = simd.add(h1, h2);
        tile[4 * i + 2] = simd.sub(h2, h1);
        tile[4 * i + 3] = simd.sub(h1, h3);
    }
    tile
}

/// `A d A^T` of the gradient of 2x2 output pixels.
///
/// # Safety
/// Each pixel has 16 channels.
#[inline(always)]
pub(super) unsafe fn gradient<S: Simd, M: Number>(simd: S, pixels: [*const M; 4]) -> Tile<S::F> {
    let mut d = [simd.zero(); 4];
    for i in 0..4 {
        // SAFETY: the caller's.
        d[i] = unsafe { M::load(simd, pixels[i]) };
    }
    let left = spread_gradient(simd, d[0], d[2]);
    let right = spread_gradient(simd, d[1], d[3]);
    let mut tile = [simd.zero(); 16];
    for i in 0..4 {
        let row = spread_gradient(simd, left[i], right[i]);
        tile[4 * i] = row[0];
        tile[4 * i + 1] = row[1];
        tile[4 * i + 2] = row[2];
        tile[4 * i + 3] = row[3];
    }
    tile
}

/// `A [a, b]`
#[inline(always)]
fn spread_gradient<S: Simd>(simd: S, a: S::F, b: S::F) -> [S::F; 4] {
    [a, simd.add(a, b), simd.sub(a, b), simd.sub(simd.zero(), b)]
}

/// `A^T m A`: the 2x2 outputs of a tile of products, which are `stride` elements apart.
///
/// # Safety
/// There are 16 vectors of 16 products.
#[inline(always)]
pub(super) unsafe fn output<S: Simd>(simd: S, m: *const f32, stride: usize) -> [S::F; 4] {
    let (mut top, mut bottom) = ([simd.zero(); 4], [simd.zero(); 4]);
    for j in 0..4 {
        // SAFETY: the caller's.
        let [m0, m1, m2, m3] = unsafe {
            [
                simd.load_f32(m.add(j * stride)),
                simd.load_f32(m.add((4 + j) * stride)),
                simd.load_f32(m.add((8 + j) * stride)),
                simd.load_f32(m.add((12 + j) * stride)),
            ]
        };
        top[j] = simd.add(simd.add(m0, m1), m2);
        bottom[j] = simd.sub(simd.sub(m1, m2), m3);
    }
    let [y00, y01] = fold_output(simd, top);
    let [y10, y11] = fold_output(simd, bottom);
    [y00, y01, y10, y11]
}

/// `A^T [a, b, c, d]`
#[inline(always)]
fn fold_output<S: Simd>(simd: S, [a, b, c, d]: [S::F; 4]) -> [S::F; 2] {
    [simd.add(simd.add(a, b), c), simd.sub(simd.sub(b, c), d)]
}

/// `G g G^T` of a 3x3 kernel.
#[inline(always)]
pub(super) fn weight<S: Simd>(simd: S, g: [S::F; 9]) -> Tile<S::F> {
    let left = spread_weight(simd, g[0], g[3], g[6]);
    let middle = spread_weight(simd, g[1], g[4], g[7]);
    let right = spread_weight(simd, g[2], g[5], g[8]);
    let mut tile = [simd.zero(); 16];
    for i in 0..4 {
        let row = spread_weight(simd, left[i], middle[i], right[i]);
        tile[4 * i] = row[0];
        tile[4 * i + 1] = row[1];
        tile[4 * i + 2] = row[2];
        tile[4 * i + 3] = row[3];
    }
    tile
}

/// `G [a, b, c]`
#[inline(always)]
fn spread_weight<S: Simd>(simd: S, a: S::F, b: S::F, c: S::F) -> [S::F; 4] {
    let half = simd.splat(0.5);
    let outer = simd.mul(half, simd.add(a, c));
    let inner = simd.mul(half, b);
    [a, simd.add(outer, inner), simd.sub(outer, inner), c]
}

/// `G^T u G`: the gradient of a 3x3 kernel.
#[inline(always)]
pub(super) fn weight_gradient<S: Simd>(simd: S, u: Tile<S::F>) -> [S::F; 9] {
    let mut rows = [[simd.zero(); 4]; 3];
    for j in 0..4 {
        let column = fold_weight(simd, [u[j], u[4 + j], u[8 + j], u[12 + j]]);
        rows[0][j] = column[0];
        rows[1][j] = column[1];
        rows[2][j] = column[2];
    }
    let mut g = [simd.zero(); 9];
    for i in 0..3 {
        let row = fold_weight(simd, rows[i]);
        g[3 * i] = row[0];
        g[3 * i + 1] = row[1];
        g[3 * i + 2] = row[2];
    }
    g
}

/// `G^T [a, b, c, d]`
#[inline(always)]
fn fold_weight<S: Simd>(simd: S, [a, b, c, d]: [S::F; 4]) -> [S::F; 3] {
    let half = simd.splat(0.5);
    let sum = simd.mul(half, simd.add(b, c));
    [simd.add(a, sum), simd.mul(half, simd.sub(b, c)), simd.add(sum, d)]
}
