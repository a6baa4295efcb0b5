//! Shared by the tests of kernels: guarded memory, noise, a thread pool, and limits on the level.

use std::sync::atomic::{AtomicUsize, Ordering};

pub(crate) use super::level::{each_level, forced, Level};
use super::{Element, Parallel};

/// Elements before and after a slice.
const RIM: usize = 37;

/// The elements around an output, which must stay as they are.
const UNTOUCHED: f32 = 12345.0;

/// A slice in the middle of a longer one. Reads beyond an input return NaN, which spoils the
/// result, and writes beyond an output are detected.
#[derive(Clone)]
pub struct Guarded<T> {
    all: Vec<T>,
    rim: f32,
}

impl<T: Element> Guarded<T> {
    pub fn input(values: impl IntoIterator<Item = f32>) -> Self {
        Guarded::new(f32::NAN, values.into_iter())
    }

    /// NaN until it is written.
    pub fn output(len: usize) -> Self {
        Guarded::new(UNTOUCHED, std::iter::repeat_n(f32::NAN, len))
    }

    fn new(rim: f32, values: impl Iterator<Item = f32>) -> Self {
        let side = || std::iter::repeat_n(rim, RIM);
        let mut all: Vec<T> = side().chain(values).chain(side()).map(T::from_f32).collect();
        // The memory ends where the rim ends.
        all.shrink_to_fit();
        Guarded { all, rim }
    }

    pub fn get(&self) -> &[T] {
        &self.all[RIM..self.all.len() - RIM]
    }

    pub fn get_mut(&mut self) -> &mut [T] {
        let end = self.all.len() - RIM;
        &mut self.all[RIM..end]
    }

    /// The slice, after a check that the rim is as it was.
    #[track_caller]
    pub fn checked(&self) -> &[T] {
        let rims = self.all[..RIM].iter().chain(&self.all[self.all.len() - RIM..]);
        let bits = T::from_f32(self.rim).to_f32().to_bits();
        assert!(rims.map(|value| value.to_f32().to_bits()).all(|rim| rim == bits), "the rim");
        self.get()
    }
}

/// The numbers as f32.
pub fn floats<T: Element>(values: &[T]) -> Vec<f32> {
    values.iter().map(|value| value.to_f32()).collect()
}

/// The numbers as f64.
pub fn exact<T: Element>(values: &[T]) -> Vec<f64> {
    values.iter().map(|value| value.to_f32().into()).collect()
}

/// Numbers between -1 and 1 that look random.
pub fn noise(seed: u64, len: usize) -> impl Iterator<Item = f32> {
    (0..len as u64).map(move |i| {
        let mut z = (seed << 32 ^ i).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    })
}

/// A pool that starts its threads anew for each run.
pub struct Scoped(pub usize);

impl Parallel for Scoped {
    fn threads(&self) -> usize {
        self.0
    }

    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..self.0 {
                scope.spawn(|| loop {
                    match next.fetch_add(1, Ordering::Relaxed) {
                        index if index < tasks => task(index),
                        _ => break,
                    }
                });
            }
        });
    }
}
