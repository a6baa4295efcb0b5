//! A first product, which is compared with the expected sums before kernels use the tiles.

use super::emulated::Emulated;
use super::hardware::Hardware;
use super::tiles::{Shape, Tiles, ROW_BYTES, TILES, TILE_WORDS};
use crate::cpu::lend;

/// Whether the tiles of the processor give the sums of the emulated ones: a virtual machine may
/// offer AMX, and not keep its promise.
///
/// # Safety
/// The processor has AMX, and the system permits it to this process.
pub(super) unsafe fn agrees() -> bool {
    let shapes = [Shape::WHOLE; TILES];
    // SAFETY: the caller's; the tiles are released before anything else is called.
    let got = product(&mut unsafe { Hardware::new(&shapes) });
    got == product(&mut Emulated::new(&shapes))
}

/// The bits of `C + A * B`, for some numbers.
fn product(tiles: &mut impl Tiles) -> Vec<u32> {
    lend(3 * TILE_WORDS, |words: &mut [u32]| {
        let (a, rest) = words.split_at_mut(TILE_WORDS);
        let (b, c) = rest.split_at_mut(TILE_WORDS);
        fill(a, 3);
        fill(b, 5);
        c.fill(1.5f32.to_bits());
        // SAFETY: each slice is a whole tile.
        unsafe {
            tiles.load::<0>(c.as_ptr(), ROW_BYTES);
            tiles.load::<1>(a.as_ptr(), ROW_BYTES);
            tiles.load::<2>(b.as_ptr(), ROW_BYTES);
            tiles.multiply::<0, 1, 2>();
            tiles.store::<0>(c.as_mut_ptr().cast(), ROW_BYTES);
        }
        c.to_vec()
    })
}

/// Pairs of bf16 between 1 and 2, of both signs.
fn fill(words: &mut [u32], step: u32) {
    const ONE: u32 = 0x3f80;
    for (i, word) in (0..).zip(words) {
        let (low, high) = (i * step % 128, i * (step + 2) % 128);
        *word = (ONE + low) | ((ONE + high) << 16) | ((i % 3 % 2) << 31);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_element_has_a_sum_of_its_own() {
        let sums = product(&mut Emulated::new(&[Shape::WHOLE; TILES]));
        assert!(sums.iter().all(|&sum| f32::from_bits(sum).is_finite()));
        let distinct: std::collections::BTreeSet<u32> = sums.into_iter().collect();
        assert!(distinct.len() > 200, "{}", distinct.len());
    }
}
