//! What this machine reaches at most, measured: the floors that kernels are compared with.

use std::hint::black_box;
use std::time::{Duration, Instant};

use half::bf16;

use super::amx::{dispatch_tiles, Shape, TileKernel, Tiles, ROWS, ROW_WORDS};
use super::memory::{lend, prefetch, prefetch_to_write, Line};
use super::{dispatch, has_amx, Kernel, Number, Simd, LANES};

/// The highest rates of some threads together, in a second.
#[derive(Clone, Copy, Debug)]
pub struct Peak {
    /// Multiplications and additions of f32.
    pub fp32: f64,
    /// Those of bf16, by the fastest instructions: numbers in bf16 can be multiplied in f32, too.
    pub bf16: f64,
    /// Bytes that a copy reads and writes, of memory that no cache of a core holds.
    pub bytes: f64,
}

/// How long each rate is measured: long enough for several clean periods on a shared machine.
const PATIENCE: Duration = Duration::from_millis(40);
/// Steps of a loop over registers: some microseconds.
const STEPS: usize = 2000;
/// Sums that do not wait for each other: latency times throughput of the multiplications.
const CHAINS: usize = 12;
const FEW_CHAINS: usize = 6;
/// Bytes of each side of a copy.
const COPIED: usize = 48 << 20;
/// How far ahead of the copy lines are asked for.
const AHEAD: usize = 24;

/// Measures on so many threads at once.
pub fn measure(threads: usize) -> Peak {
    let vectors = |bf16: bool| each_thread(threads, || products_per_second(bf16));
    let fp32 = vectors(false);
    let tiles = match has_amx() {
        true => each_thread(threads, tile_products_per_second),
        false => 0.0,
    };
    Peak {
        fp32,
        bf16: fp32.max(vectors(true)).max(tiles),
        bytes: each_thread(threads, bytes_per_second),
    }
}

/// The sum of the rates of threads that measure at the same time.
fn each_thread(threads: usize, rate: impl Fn() -> f64 + Sync) -> f64 {
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(&rate)).collect();
        // A thread that panicked has no rate.
        running.into_iter().filter_map(|thread| thread.join().ok()).sum()
    })
}

/// `amount` over the shortest time of `work`.
fn rate(amount: usize, mut work: impl FnMut()) -> f64 {
    let begin = Instant::now();
    let mut shortest = f64::INFINITY;
    while begin.elapsed() < PATIENCE {
        let start = Instant::now();
        work();
        shortest = shortest.min(start.elapsed().as_secs_f64());
    }
    amount as f64 / shortest
}

fn products_per_second(in_bf16: bool) -> f64 {
    let mut chains = 0;
    dispatch(Chains(&mut chains));
    let per_word = if in_bf16 { bf16::PER_WORD } else { f32::PER_WORD };
    rate(2 * per_word * LANES * chains * STEPS, || match in_bf16 {
        true => dispatch(Products::<bf16>::new()),
        false => dispatch(Products::<f32>::new()),
    })
}

/// The number of chains of products on this machine.
struct Chains<'a>(&'a mut usize);

impl Kernel for Chains<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        *self.0 = chains::<S>();
    }
}

const fn chains<S: Simd>() -> usize {
    if S::SUMS < CHAINS {
        FEW_CHAINS
    } else {
        CHAINS
    }
}

/// Products of vectors of `T` in registers.
struct Products<T>(std::marker::PhantomData<T>);

impl<T> Products<T> {
    fn new() -> Self {
        Products(std::marker::PhantomData)
    }
}

impl<T: Number> Kernel for Products<T> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        match chains::<S>() {
            CHAINS => products::<S, T, CHAINS>(simd),
            _ => products::<S, T, FEW_CHAINS>(simd),
        }
    }
}

#[inline(always)]
fn products<S: Simd, T: Number, const N: usize>(simd: S) {
    let words = black_box([0x3f80_3f80u32; LANES]);
    // SAFETY: both are 16 elements.
    let (a, b) = unsafe { (simd.load_words(words.as_ptr()), simd.load_words(words.as_ptr())) };
    let mut sums = [simd.zero(); N];
    for _ in 0..STEPS {
        for sum in &mut sums {
            *sum = T::dot(simd, *sum, a, b);
        }
    }
    let mut results = [0.0f32; LANES];
    for sum in sums {
        // SAFETY: as above.
        unsafe { simd.store_f32(results.as_mut_ptr(), sum) };
        black_box(&results);
    }
}

fn tile_products_per_second() -> f64 {
    const CHAINS: usize = 4;
    let each = 2 * ROWS * ROW_WORDS * ROW_WORDS * bf16::PER_WORD;
    rate(each * CHAINS * STEPS, || dispatch_tiles(&[Shape::WHOLE; 8], TileProducts(STEPS)))
}

/// So many products of tiles in registers, of each chain.
struct TileProducts(usize);

impl TileKernel for TileProducts {
    #[inline(always)]
    fn run<S: Simd, T: Tiles>(self, _: S, tiles: &mut T) {
        tiles.zero::<4>();
        tiles.zero::<5>();
        tiles.zero::<6>();
        tiles.zero::<7>();
        for _ in 0..self.0 {
            tiles.multiply::<0, 4, 6>();
            tiles.multiply::<1, 4, 7>();
            tiles.multiply::<2, 5, 6>();
            tiles.multiply::<3, 5, 7>();
        }
    }
}

fn bytes_per_second() -> f64 {
    let lines = COPIED / Line::BYTES;
    lend(COPIED / size_of::<f32>(), |from: &mut [f32]| {
        lend(COPIED / size_of::<f32>(), |to: &mut [f32]| {
            from.fill(1.0);
            to.fill(2.0);
            rate(2 * lines * Line::BYTES, || dispatch(Copy { from, to }))
        })
    })
}

/// Copies line by line and asks for lines ahead.
struct Copy<'a> {
    from: &'a [f32],
    to: &'a mut [f32],
}

impl Kernel for Copy<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let lines = self.from.chunks_exact(LANES).zip(self.to.chunks_exact_mut(LANES));
        for (from, to) in lines {
            prefetch(from.as_ptr().wrapping_add(AHEAD * LANES));
            prefetch_to_write(to.as_mut_ptr().wrapping_add(AHEAD * LANES));
            // SAFETY: both are 16 elements.
            unsafe { simd.store_f32(to.as_mut_ptr(), simd.load_f32(from.as_ptr())) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::testing::{each_level, forced};

    #[test]
    fn each_level_has_rates() {
        for level in each_level() {
            forced(level, || {
                for rate in [products_per_second(false), products_per_second(true)] {
                    assert!(rate.is_finite() && rate > 0.0, "{level:?}: {rate}");
                }
            });
        }
    }

    #[test]
    fn bf16_is_never_slower_than_f32() {
        let peak = measure(2);
        assert!(peak.bf16 >= peak.fp32 && peak.fp32 > 0.0 && peak.bytes > 0.0, "{peak:?}");
    }

    #[test]
    fn products_of_tiles_need_no_memory() {
        dispatch_tiles(&[Shape::WHOLE; 8], TileProducts(3));
    }
}
