//! The moments of the outputs of a correlation, which its epilogue adds up.

use crate::cpu::{lend, Simd, LANES};
use crate::kernels::cpu::moments::{add_shifted, from_sums, Moments};

/// Sums over the outputs `y` of a task, of its first block of channels and on: of `y - pivot` and of
/// its square. The pivot is one of the outputs, so rounding stays small beside the variance
/// however large the mean is; sums are f32 within a tile alone.
#[derive(Clone, Copy)]
pub(super) struct Shifted {
    pub pivot: *mut f32,
    pub sum: *mut f64,
    pub squares: *mut f64,
}

impl Shifted {
    /// Runs a task with sums for its channels and writes their means and squared deviations, one
    /// after the other, to `result`. `count` is the number of outputs of each channel.
    pub(super) fn collect(count: f64, result: &mut [f64], run: impl FnOnce(Shifted)) {
        let columns = result.len() / 2;
        lend(3 * columns, |sums: &mut [f64]| {
            sums.fill(0.0);
            let (sum, rest) = sums.split_at_mut(columns);
            let (squares, pivot) = rest.split_at_mut(columns);
            let pivot = pivot.as_mut_ptr().cast::<f32>();
            let (sum_of, squares_of) = (sum.as_mut_ptr(), squares.as_mut_ptr());
            run(Shifted { pivot, sum: sum_of, squares: squares_of });
            let (mean, deviation) = result.split_at_mut(columns);
            for i in 0..columns {
                // SAFETY: there is a pivot for each column; an f64 has room for two.
                let (pivot, sum, squares) = unsafe {
                    (pivot.add(i).read(), sum_of.add(i).read(), squares_of.add(i).read())
                };
                (mean[i], deviation[i]) = from_sums(count, pivot, sum, squares);
            }
        });
    }

    /// The sums from channel `first` on.
    ///
    /// # Safety
    /// There are sums for that channel.
    #[inline(always)]
    pub(super) unsafe fn from(self, first: usize) -> Shifted {
        unsafe {
            Shifted {
                pivot: self.pivot.add(first),
                sum: self.sum.add(first),
                squares: self.squares.add(first),
            }
        }
    }

    #[inline(always)]
    pub(super) unsafe fn add<S: Simd>(
        self,
        simd: S,
        first: usize,
        fresh: bool,
        mut values: impl Iterator<Item = S::F> + Clone,
    ) {
        let pivot = unsafe { self.pivot.add(first) };
        if fresh {
            let value = values.clone().next().unwrap_or(simd.zero());
            unsafe { simd.store_f32(pivot, value) };
        }
        let pivot = unsafe { simd.load_f32(pivot) };
        let mut sums = [simd.zero(); 2];
        for value in &mut values {
            sums = add_shifted::<S, true>(simd, sums, pivot, value);
        }
        unsafe {
            widen(simd, sums[0], self.sum.add(first));
            widen(simd, sums[1], self.squares.add(first));
        }
    }
}

/// Adds 16 sums in f32 to 16 sums in f64.
#[inline(always)]
unsafe fn widen<S: Simd>(simd: S, values: S::F, to: *mut f64) {
    let mut lanes = [0.0f32; LANES];
    unsafe {
        simd.store_f32(lanes.as_mut_ptr(), values);
        let mut total = to.cast::<[f64; LANES]>().read_unaligned();
        for (total, value) in total.iter_mut().zip(lanes) {
            *total += f64::from(value);
        }
        to.cast::<[f64; LANES]>().write_unaligned(total);
    }
}

/// The moments of all channels from the results of the tasks, `[range][part]`, merged in the order
/// of the parts. Channels are those of so many groups, of which each range has `width`; `counts` are
/// the numbers of outputs of the parts.
pub(super) fn merged(
    [groups, channels, width]: [usize; 3],
    results: &[f64],
    counts: &[f64],
) -> Moments {
    let columns = groups * width;
    let mut all = Moments::new(groups * channels);
    for (range, results) in results.chunks_exact(counts.len() * 2 * columns).enumerate() {
        let tasks = counts.iter().copied().zip(results.chunks_exact(2 * columns));
        let total = Moments::merged(columns, tasks);
        all.count = total.count;
        let len = width.min(channels - range * width);
        for group in 0..groups {
            let to = group * channels + range * width;
            let from = group * width..group * width + len;
            all.mean[to..to + len].copy_from_slice(&total.mean[from.clone()]);
            all.squares[to..to + len].copy_from_slice(&total.squares[from]);
        }
    }
    all
}
