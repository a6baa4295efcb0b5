//! Tiles multiply as defined, and as the processor does.

use half::bf16;

use super::{dispatch_tiles, Shape, Shapes, TileKernel, Tiles, ROW_BYTES, TILE_WORDS};
use crate::cpu::testing::{each_level, forced, noise};
use crate::cpu::{lend, Element, Simd};

/// `C += A * B`, twice.
struct Twice<'a> {
    a: &'a [u32],
    b: &'a [u32],
    c: &'a mut [u32],
}

impl TileKernel for Twice<'_> {
    #[inline(always)]
    fn run<S: Simd, T: Tiles>(self, _: S, tiles: &mut T) {
        // SAFETY: each slice is a whole tile.
        unsafe {
            tiles.load::<0>(self.c.as_ptr(), ROW_BYTES);
            tiles.load::<1>(self.a.as_ptr(), ROW_BYTES);
            tiles.load::<2>(self.b.as_ptr(), ROW_BYTES);
            tiles.multiply::<0, 1, 2>();
            tiles.multiply::<0, 1, 2>();
            tiles.store::<0>(self.c.as_mut_ptr().cast(), ROW_BYTES);
        }
    }
}

/// C after the products, `[m][n]`. A is `[m][2 k]` and B `[k][n][2]`.
fn twice(shapes: &Shapes, a: &[f32], b: &[f32], c: &[f32]) -> Vec<f32> {
    lend(3 * TILE_WORDS, |words: &mut [u32]| {
        let (a_words, rest) = words.split_at_mut(TILE_WORDS);
        let (b_words, c_words) = rest.split_at_mut(TILE_WORDS);
        for (words, values) in [(&mut *a_words, a), (&mut *b_words, b)] {
            for (word, pair) in words.iter_mut().zip(values.chunks(2)) {
                let [low, high] = [pair[0], pair[1]].map(|value| bf16::from_f32(value).to_bits());
                *word = u32::from(low) | u32::from(high) << 16;
            }
        }
        c_words.iter_mut().zip(c).for_each(|(word, value)| *word = value.to_bits());
        dispatch_tiles(shapes, Twice { a: a_words, b: b_words, c: c_words });
        c_words.iter().map(|&word| f32::from_bits(word)).collect()
    })
}

fn whole(seed: u64, scale: f32) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    let values = |seed, len| noise(seed, len).map(|value| value * scale).collect();
    (values(seed, 512), values(seed + 1, 512), values(seed + 2, 256))
}

#[test]
fn pairs_are_contracted() {
    let shape = Shape::WHOLE;
    // Seven rows of C, five pairs, three columns.
    let some =
        [Shape { rows: 7, words: 3 }, Shape { rows: 7, words: 5 }, Shape { rows: 5, words: 3 }];
    for (shapes, [m, n, k]) in [([shape; 8], [16, 16, 16]), (shapes_of(some), [7, 3, 5])] {
        let (a, b, c) = whole(3, 1.0);
        let got = twice(&shapes, &a, &b, &c);
        let round = |value: f32| f64::from(Element::to_f32(bf16::from_f32(value)));
        for (i, got) in got.iter().enumerate() {
            let (row, column) = (i / 16, i % 16);
            let inside = row < m && column < n;
            let pairs = (0..2 * k).map(|i| {
                let b = b[(i / 2 * 16 + column) * 2 + i % 2];
                round(a[row * 32 + i]) * round(b)
            });
            let products = if inside { 2.0 * pairs.sum::<f64>() } else { 0.0 };
            let expected = f64::from(c[i]) + products;
            assert!(
                (f64::from(*got) - expected).abs() < 1e-5,
                "[{row}][{column}] {got} {expected}"
            );
        }
    }
}

fn shapes_of([c, a, b]: [Shape; 3]) -> Shapes {
    [c, a, b, c, c, c, c, c]
}

#[test]
fn numbers_below_the_normal_ones_are_zero() {
    let (mut a, b, mut c) = whole(5, 1.0);
    a.fill(1e-39);
    c.fill(1e-39);
    assert!(twice(&[Shape::WHOLE; 8], &a, &b, &c).iter().all(|&value| value == 0.0));
}

/// On a machine with AMX this compares the emulation with the hardware, bit by bit.
#[test]
fn every_level_gives_the_same_bits() {
    for (seed, scale) in [(7, 1.0), (11, 1e-19), (13, 1e18), (17, 1e-38)] {
        let (a, b, c) = whole(seed, scale);
        let bits = |level| {
            let sums = forced(level, || twice(&[Shape::WHOLE; 8], &a, &b, &c));
            sums.into_iter().map(f32::to_bits).collect::<Vec<_>>()
        };
        let all: Vec<_> = each_level().map(bits).collect();
        assert!(all.iter().all(|bits| *bits == all[0]), "{scale}");
    }
}
