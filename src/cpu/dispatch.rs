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
//! A further level is a variant of [`Level`] with its condition, and a function in [`run_on`] which
//! enables its instructions and passes an implementation of [`Simd`].

use super::level::{chosen, Level};
use super::simd::{Array, Simd};
#[cfg(target_arch = "x86_64")]
use super::simd::{Avx2, Avx512};

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

/// `level` must not be better than that of this machine.
fn run_on(level: Level, kernel: impl Kernel) {
    match level {
        Level::Portable => kernel.run(Array),
        // SAFETY: `level` has found these instructions, or better ones, on this machine.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { avx2(kernel) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => unsafe { avx512(kernel) },
        // SAFETY: as above. The instructions of AMX are not in vectors (see `amx`).
        #[cfg(target_arch = "x86_64")]
        Level::Avx512Bf16 | Level::Amx => unsafe { avx512_bf16(kernel) },
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2(kernel: impl Kernel) {
    kernel.run(Avx2);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma")]
fn avx512(kernel: impl Kernel) {
    kernel.run(Avx512::<false>);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,fma")]
pub(super) fn avx512_bf16(kernel: impl Kernel) {
    kernel.run(Avx512::<true>);
}
