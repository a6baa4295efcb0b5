//! The inner loops: accumulators of a tile of the gradient, in registers over all pixels of a
//! strip.

use crate::cpu::{Number, Simd, LANES};

/// The most vectors of sums of a tile.
pub(super) const SUMS: usize = 24;

/// The words of a strip in the order in which they are read: images of rows of steps.
#[derive(Clone, Copy)]
pub(super) struct Walk {
    pub images: usize,
    pub rows: usize,
    pub steps: usize,
    /// The operand that is read a vector at a time.
    pub vectors: Path,
    /// The operand that is read, and broadcast, a word at a time.
    pub words: Path,
}

/// The start and the strides of one operand.
#[derive(Clone, Copy)]
pub(super) struct Path {
    pub start: *const u32,
    pub image: usize,
    pub row: usize,
    pub step: usize,
}

/// `sums[v][b]` is the sum over all steps of the vector at `offsets[v]` times word `b`.
///
/// # Safety
/// All words of the walk exist.
// Loops over indices are unrolled before registers are allocated, so that the sums are in
// registers.
#[allow(clippy::needless_range_loop)]
#[inline(always)]
pub(super) unsafe fn multiply<S: Simd, M: Number, const V: usize, const B: usize>(
    simd: S,
    walk: &Walk,
    offsets: [usize; V],
) -> [[S::F; B]; V] {
    let Walk { images, rows, steps, vectors, words } = *walk;
    let mut sums = [[simd.zero(); B]; V];
    let (mut vectors_image, mut words_image) = (vectors.start, words.start);
    for _ in 0..images {
        let (mut vectors_row, mut words_row) = (vectors_image, words_image);
        for _ in 0..rows {
            let (mut vector, mut word) = (vectors_row, words_row);
            for _ in 0..steps {
                // SAFETY: as promised.
                unsafe {
                    let mut all = [simd.load_words(vector.wrapping_add(offsets[0])); V];
                    for v in 1..V {
                        all[v] = simd.load_words(vector.wrapping_add(offsets[v]));
                    }
                    for b in 0..B {
                        let one = simd.broadcast_word(word.wrapping_add(b));
                        for v in 0..V {
                            sums[v][b] = M::dot(simd, sums[v][b], all[v], one);
                        }
                    }
                }
                vector = vector.wrapping_add(vectors.step);
                word = word.wrapping_add(words.step);
            }
            vectors_row = vectors_row.wrapping_add(vectors.row);
            words_row = words_row.wrapping_add(words.row);
        }
        vectors_image = vectors_image.wrapping_add(vectors.image);
        words_image = words_image.wrapping_add(words.image);
    }
    sums
}

/// The place of a tile in the gradient: `lanes[v]` lanes of `sums[v][b]` are added at
/// `offsets[v] + b * row`, for `b < rows`.
pub(super) struct Target<const V: usize> {
    pub offsets: [usize; V],
    pub lanes: [usize; V],
    pub row: usize,
    pub rows: usize,
    /// Overwrite the gradient instead of adding to it.
    pub first: bool,
}

impl<const V: usize> Target<V> {
    /// # Panics
    /// `to` is too short.
    // As in `multiply`.
    #[allow(clippy::needless_range_loop)]
    #[inline(always)]
    pub(super) fn write<S: Simd, const B: usize>(
        &self,
        simd: S,
        sums: &[[S::F; B]; V],
        to: &mut [f32],
    ) {
        for v in 0..V {
            for b in 0..B {
                if b < self.rows {
                    let start = self.offsets[v] + b * self.row;
                    let to = &mut to[start..start + self.lanes[v]];
                    put(simd, sums[v][b], to, self.first);
                }
            }
        }
    }
}

#[inline(always)]
fn put<S: Simd>(simd: S, value: S::F, to: &mut [f32], first: bool) {
    // SAFETY: either `to` or the array has all lanes.
    unsafe {
        if to.len() == LANES {
            let at = to.as_mut_ptr();
            simd.store_f32(at, if first { value } else { simd.add(simd.load_f32(at), value) });
            return;
        }
        let mut lanes = [0.0; LANES];
        simd.store_f32(lanes.as_mut_ptr(), value);
        for (to, lane) in to.iter_mut().zip(lanes) {
            *to = if first { lane } else { *to + lane };
        }
    }
}
