//! The gradient of the bias.

use super::layout::{Layout, Strip};
use crate::cpu::{Number, Simd, LANES};

/// Adds the sums of a packed strip of `grad_y` to the gradients of the bias.
///
/// # Safety
/// `packed` has the blocks of all of `sums`.
#[inline(always)]
pub(super) unsafe fn add_up<S: Simd, M: Number>(
    simd: S,
    layout: &Layout,
    strip: &Strip,
    packed: *const u32,
    sums: &mut [f32],
) {
    const CHAINS: usize = 4;
    let one = M::PER_WORD as u32;
    let one = if one == 2 { 0x3f80_3f80 } else { 1.0f32.to_bits() };
    for (block, sums) in sums.chunks_mut(LANES).enumerate() {
        let mut result = [0.0; LANES];
        // SAFETY: the strip is no larger than the layout's.
        unsafe {
            let ones = simd.broadcast_word(&one);
            let mut totals = [simd.zero(); CHAINS];
            for image in 0..strip.images.len() {
                let at = block * layout.y_block + image * layout.y_image;
                for step in 0..strip.rows.len() * layout.steps {
                    let words = simd.load_words(packed.add(at + step * LANES));
                    totals[step % CHAINS] = M::dot(simd, totals[step % CHAINS], words, ones);
                }
            }
            let [a, b, c, d] = totals;
            simd.store_f32(result.as_mut_ptr(), simd.add(simd.add(a, b), simd.add(c, d)));
        }
        for (sum, value) in sums.iter_mut().zip(result) {
            *sum += value;
        }
    }
}
