//! The same code compiled for several instruction sets, the best of them chosen at run time.
//!
//! The crate is built for the oldest x86-64. Inner loops are a [`Vectorized`] value whose `run` is
//! always inlined, so each function below holds a copy of them compiled for its own instruction
//! set. None of them contracts multiply-adds: all copies give the same bits.

/// Loops that profit from wide vectors. `run` and all it calls must be `#[inline(always)]`.
pub(crate) trait Vectorized {
    fn run(self);
}

/// Runs the copy for the best instruction set of this machine.
pub(crate) fn vectorized(work: impl Vectorized) {
    on(chosen(), work);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Set {
    Baseline,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

#[cfg(not(test))]
fn chosen() -> Set {
    best()
}

#[cfg(target_arch = "x86_64")]
fn best() -> Set {
    let avx512 = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl");
    if avx512 {
        Set::Avx512
    } else if is_x86_feature_detected!("avx2") {
        Set::Avx2
    } else {
        Set::Baseline
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn best() -> Set {
    Set::Baseline
}

/// `set` must be no better than `best()`.
fn on(set: Set, work: impl Vectorized) {
    match set {
        Set::Baseline => work.run(),
        // SAFETY: `best` has found this instruction set, or a better one, on this machine.
        #[cfg(target_arch = "x86_64")]
        Set::Avx2 => unsafe { avx2(work) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Set::Avx512 => unsafe { avx512(work) },
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2(work: impl Vectorized) {
    work.run();
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn avx512(work: impl Vectorized) {
    work.run();
}

#[cfg(test)]
use forced::chosen;
#[cfg(test)]
pub(crate) use forced::{each_set, forced};

/// For tests: the instruction set of a test's own thread, to compare the copies.
#[cfg(test)]
mod forced {
    use std::cell::Cell;

    use super::{best, Set};

    thread_local!(static LIMIT: Cell<Option<Set>> = const { Cell::new(None) });

    pub(super) fn chosen() -> Set {
        LIMIT.get().unwrap_or(best()).min(best())
    }

    /// Every set that this machine has.
    pub(crate) fn each_set() -> impl Iterator<Item = Set> {
        let all = [
            Set::Baseline,
            #[cfg(target_arch = "x86_64")]
            Set::Avx2,
            #[cfg(target_arch = "x86_64")]
            Set::Avx512,
        ];
        all.into_iter().filter(|&set| set <= best())
    }

    /// Runs `work` with no better set than `set`.
    pub(crate) fn forced<R>(set: Set, work: impl FnOnce() -> R) -> R {
        LIMIT.set(Some(set));
        let result = work();
        LIMIT.set(None);
        result
    }
}
