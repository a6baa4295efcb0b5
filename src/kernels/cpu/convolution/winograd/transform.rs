//! The transforms of one tile, sixteen channels at a time, in registers.

use crate::kernels::cpu::simd::{Number, Simd};

/// A tile of sixteen numbers, row after row.
pub(super) type Tile<F> = [F; 16];

/// `B^T d B` of the 4x4 pixels that begin at the four rows.
///
/// # Safety
/// Each row has four pixels, `stride` elements apart, of sixteen channels.
#[inline(always)]
pub(super) unsafe fn input<S: Simd, T: Number>(
    simd: S,
    rows: [*const T; 4],
    stride: usize,
) -> Tile<S::F> {
    let mut half = [simd.zero(); 16];
    for j in 0..4 {
        // SAFETY: the caller's.
        let [d0, d1, d2, d3] = unsafe {
            let at = j * stride;
            [
                T::load(simd, rows[0].add(at)),
                T::load(simd, rows[1].add(at)),
                T::load(simd, rows[2].add(at)),
                T::load(simd, rows[3].add(at)),
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

/// `A d A^T` of a 2x2 gradient of the output.
#[inline(always)]
pub(super) fn gradient<S: Simd>(simd: S, d: [S::F; 4]) -> Tile<S::F> {
    let minus = |a| simd.sub(simd.zero(), a);
    let spread = |a, b| [a, simd.add(a, b), simd.sub(a, b), minus(b)];
    let (left, right) = (spread(d[0], d[2]), spread(d[1], d[3]));
    let mut tile = [simd.zero(); 16];
    for i in 0..4 {
        let row = spread(left[i], right[i]);
        tile[4 * i] = row[0];
        tile[4 * i + 1] = row[1];
        tile[4 * i + 2] = row[2];
        tile[4 * i + 3] = row[3];
    }
    tile
}

/// `A^T m A`: the 2x2 outputs of a tile of products, which lie `stride` apart.
///
/// # Safety
/// There are sixteen vectors of sixteen products.
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
    let fold = |[a, b, c, d]: [S::F; 4]| (simd.add(simd.add(a, b), c), simd.sub(simd.sub(b, c), d));
    let ((y00, y01), (y10, y11)) = (fold(top), fold(bottom));
    [y00, y01, y10, y11]
}

/// `G g G^T` of a 3x3 kernel.
#[inline(always)]
pub(super) fn weight<S: Simd>(simd: S, g: [S::F; 9]) -> Tile<S::F> {
    let half = simd.splat(0.5);
    let spread = |a, b, c| {
        let outer = simd.mul(half, simd.add(a, c));
        let inner = simd.mul(half, b);
        [a, simd.add(outer, inner), simd.sub(outer, inner), c]
    };
    let columns = [spread(g[0], g[3], g[6]), spread(g[1], g[4], g[7]), spread(g[2], g[5], g[8])];
    let mut tile = [simd.zero(); 16];
    for i in 0..4 {
        let row = spread(columns[0][i], columns[1][i], columns[2][i]);
        tile[4 * i] = row[0];
        tile[4 * i + 1] = row[1];
        tile[4 * i + 2] = row[2];
        tile[4 * i + 3] = row[3];
    }
    tile
}

/// `G^T u G`: the gradient of a 3x3 kernel.
#[inline(always)]
pub(super) fn weight_gradient<S: Simd>(simd: S, u: Tile<S::F>) -> [S::F; 9] {
    let half = simd.splat(0.5);
    let fold = |a, b, c, d| {
        let sum = simd.mul(half, simd.add(b, c));
        [simd.add(a, sum), simd.mul(half, simd.sub(b, c)), simd.add(sum, d)]
    };
    let mut rows = [[simd.zero(); 4]; 3];
    for j in 0..4 {
        let column = fold(u[j], u[4 + j], u[8 + j], u[12 + j]);
        rows[0][j] = column[0];
        rows[1][j] = column[1];
        rows[2][j] = column[2];
    }
    let mut g = [simd.zero(); 9];
    for i in 0..3 {
        let [a, b, c, d] = rows[i];
        let row = fold(a, b, c, d);
        g[3 * i] = row[0];
        g[3 * i + 1] = row[1];
        g[3 * i + 2] = row[2];
    }
    g
}
