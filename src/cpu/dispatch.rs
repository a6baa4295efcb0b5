//! Runs code with the best instructions of this machine, which are chosen at run time.
//!
//! The crate is compiled for the oldest x86-64. Code that profits from newer instructions is
//! written once, inlined as a whole, and compiled once for each [`Level`]:
//!
//! - A [`Kernel`] computes with explicit lanes. It is generic over [`Simd`] and may fuse multiply
//!   and add, so that levels differ in the last bits.
//! - [`Vectorized`] loops are plain code which the compiler vectorizes. It never contracts
//!   multiplications and additions, so that all levels give the same bits.
//!
//! A further level is a variant of [`Level`], a condition in [`detected`], and a function in
//! [`run_on`] which enables its instructions and passes an implementation of [`Simd`].

#[cfg(target_arch = "x86_64")]
use super::simd::Avx512;
use super::simd::{Array, Simd};

/// Work written over [`Simd`]. `run` and all functions that it calls must be `#[inline(always)]`.
pub(crate) trait Kernel {
    fn run<S: Simd>(self, simd: S);
}

/// Loops that profit from wide vectors. `run` and all functions that it calls must be
/// `#[inline(always)]`.
pub(crate) trait Vectorized {
    fn run(self);
}

/// Runs a kernel with the best instructions of this machine.
pub(crate) fn dispatch(kernel: impl Kernel) {
    run_on(chosen(), kernel);
}

/// Runs loops with the best instructions of this machine.
pub(crate) fn vectorized(loops: impl Vectorized) {
    struct Loops<L>(L);

    impl<L: Vectorized> Kernel for Loops<L> {
        #[inline(always)]
        fn run<S: Simd>(self, _: S) {
            self.0.run();
        }
    }

    dispatch(Loops(loops));
}

/// [`Simd::SUMS`] of this machine.
pub(crate) fn sums() -> usize {
    struct Read<'a>(&'a mut usize);

    impl Kernel for Read<'_> {
        #[inline(always)]
        fn run<S: Simd>(self, _: S) {
            *self.0 = S::SUMS;
        }
    }

    let mut sums = 0;
    dispatch(Read(&mut sums));
    sums
}

/// Instruction sets. Each level includes the instructions of all levels before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx512Bf16,
}

/// The level that code runs on. Whatever limits the levels belongs here.
fn chosen() -> Level {
    #[cfg(test)]
    return detected().min(forced::limit());
    #[cfg(not(test))]
    detected()
}

/// The name of the level that code runs on.
pub(super) fn level_name() -> String {
    format!("{:?}", chosen()).to_lowercase()
}

/// The best level of this machine.
#[cfg(target_arch = "x86_64")]
fn detected() -> Level {
    let avx512 = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl");
    if avx512 && is_x86_feature_detected!("avx512bf16") {
        Level::Avx512Bf16
    } else if avx512 {
        Level::Avx512
    } else if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        Level::Avx2
    } else {
        Level::Portable
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn detected() -> Level {
    Level::Portable
}

/// `level` must not be better than `detected()`.
fn run_on(level: Level, kernel: impl Kernel) {
    match level {
        Level::Portable => kernel.run(Array::<false>),
        // SAFETY: `detected` has found these instructions, or better ones, on this machine.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { avx2(kernel) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => unsafe { avx512(kernel) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512Bf16 => unsafe { avx512_bf16(kernel) },
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2(kernel: impl Kernel) {
    kernel.run(Array::<true>);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma")]
fn avx512(kernel: impl Kernel) {
    kernel.run(Avx512::<false>);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,fma")]
fn avx512_bf16(kernel: impl Kernel) {
    kernel.run(Avx512::<true>);
}

#[cfg(test)]
pub(crate) use forced::{each_level, forced};

/// For tests: limits the level of the test's own thread, to compare the levels.
#[cfg(test)]
mod forced {
    use std::cell::Cell;

    use super::{detected, Level};

    const ALL: &[Level] = &[
        Level::Portable,
        #[cfg(target_arch = "x86_64")]
        Level::Avx2,
        #[cfg(target_arch = "x86_64")]
        Level::Avx512,
        #[cfg(target_arch = "x86_64")]
        Level::Avx512Bf16,
    ];

    thread_local!(static LIMIT: Cell<Level> = const { Cell::new(ALL[ALL.len() - 1]) });

    pub(super) fn limit() -> Level {
        LIMIT.get()
    }

    /// Every level that this machine has.
    pub(crate) fn each_level() -> impl Iterator<Item = Level> {
        ALL.iter().copied().filter(|&level| level <= detected())
    }

    /// Runs `work` on `level` or a lower one, on this thread alone: use `Serial`.
    pub(crate) fn forced<R>(level: Level, work: impl FnOnce() -> R) -> R {
        let before = LIMIT.replace(level);
        let result = work();
        LIMIT.set(before);
        result
    }
}
