//! Tiles in plain Rust, for tests on machines without AMX.
//!
//! Sums are those of the processor, bit for bit: the products of the first and of the second
//! elements of the pairs are two chains of fused multiplications and additions, whose sum is added
//! to C once. Numbers below the normal ones become zero at each step.

use super::tiles::{Shapes, Tiles, ROWS, ROW_BYTES, ROW_WORDS, TILES};

pub(in crate::cpu) struct Emulated {
    shapes: Shapes,
    tiles: [[[u32; ROW_WORDS]; ROWS]; TILES],
}

impl Emulated {
    pub(in crate::cpu) fn new(shapes: &Shapes) -> Emulated {
        for shape in shapes {
            assert!((1..=ROWS).contains(&shape.rows) && (1..=ROW_WORDS).contains(&shape.words));
        }
        Emulated { shapes: *shapes, tiles: [[[0; ROW_WORDS]; ROWS]; TILES] }
    }
}

impl Tiles for Emulated {
    #[inline(always)]
    unsafe fn load<const T: usize>(&mut self, from: *const u32, stride: usize) {
        check_alignment(from.addr(), stride);
        let shape = self.shapes[T];
        self.tiles[T] = [[0; ROW_WORDS]; ROWS];
        for (i, row) in self.tiles[T].iter_mut().enumerate().take(shape.rows) {
            // SAFETY: the caller's.
            unsafe {
                let from = from.byte_add(i * stride);
                std::ptr::copy_nonoverlapping(from, row.as_mut_ptr(), shape.words);
            }
        }
    }

    #[inline(always)]
    unsafe fn store<const T: usize>(&mut self, to: *mut f32, stride: usize) {
        check_alignment(to.addr(), stride);
        let shape = self.shapes[T];
        for (i, row) in self.tiles[T].iter().enumerate().take(shape.rows) {
            // SAFETY: the caller's.
            unsafe {
                let to = to.byte_add(i * stride).cast();
                std::ptr::copy_nonoverlapping(row.as_ptr(), to, shape.words);
            }
        }
    }

    #[inline(always)]
    fn multiply<const C: usize, const A: usize, const B: usize>(&mut self) {
        let [c, a, b] = [C, A, B].map(|tile| self.shapes[tile]);
        assert!(C != A && C != B && A != B, "the three tiles of a product differ");
        assert!(a.rows == c.rows && a.words == b.rows && b.words == c.words, "{a:?} {b:?} {c:?}");
        for m in 0..c.rows {
            let mut even = [0.0f32; ROW_WORDS];
            let mut odd = [0.0f32; ROW_WORDS];
            for (&pair, row) in self.tiles[A][m].iter().zip(&self.tiles[B]).take(a.words) {
                for n in 0..ROW_WORDS {
                    even[n] = fused(low(pair), low(row[n]), even[n]);
                    odd[n] = fused(high(pair), high(row[n]), odd[n]);
                }
            }
            for (n, sum) in self.tiles[C][m].iter_mut().enumerate() {
                let products = flushed(even[n] + odd[n]);
                *sum = flushed(flushed(f32::from_bits(*sum)) + products).to_bits();
            }
        }
    }
}

fn check_alignment(address: usize, stride: usize) {
    let aligned = address.is_multiple_of(ROW_BYTES) && stride.is_multiple_of(ROW_BYTES);
    assert!(aligned, "a row of a tile crosses a cache line");
}

fn low(pair: u32) -> f32 {
    flushed(f32::from_bits(pair << 16))
}

fn high(pair: u32) -> f32 {
    flushed(f32::from_bits(pair & 0xffff_0000))
}

/// `a * b + c`, rounded once: the product of two bf16 is exact in f64, and so few digits are
/// rounded correctly even when they are rounded twice. `mul_add` can be a slow call.
#[inline(always)]
fn fused(a: f32, b: f32, c: f32) -> f32 {
    flushed((f64::from(a) * f64::from(b) + f64::from(c)) as f32)
}

#[inline(always)]
fn flushed(value: f32) -> f32 {
    if value.is_subnormal() {
        0.0f32.copysign(value)
    } else {
        value
    }
}
