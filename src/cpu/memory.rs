//! Memory for tasks: scratch buffers, which each thread keeps for its next task so that they cause
//! no page faults, and prefetching.

use std::cell::RefCell;

use half::bf16;

/// Numbers of which every bit pattern is valid.
///
/// # Safety
/// Every bit pattern is a value, and the alignment is at most that of a cache line.
pub(crate) unsafe trait Plain: Copy {}

// SAFETY: numbers without invalid bits, of 8 bytes at most.
unsafe impl Plain for f32 {}
// SAFETY: as above.
unsafe impl Plain for f64 {}
// SAFETY: as above.
unsafe impl Plain for u32 {}
// SAFETY: as above; a bf16 is a u16.
unsafe impl Plain for bf16 {}

/// A cache line, the unit of allocation: it aligns the memory to 64 bytes.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
pub(crate) struct Line([u8; Line::BYTES]);

impl Line {
    pub(crate) const BYTES: usize = 64;
    pub(crate) const ZERO: Line = Line([0; Line::BYTES]);
}

thread_local!(static IDLE: RefCell<Vec<Vec<Line>>> = const { RefCell::new(Vec::new()) });

/// Lends `len` elements, aligned to 64 bytes, with arbitrary values. Loans may be nested.
pub(crate) fn lend<T: Plain, R>(len: usize, work: impl FnOnce(&mut [T]) -> R) -> R {
    let mut lines = IDLE.with_borrow_mut(Vec::pop).unwrap_or_default();
    let needed = (len * size_of::<T>()).div_ceil(Line::BYTES);
    if lines.len() < needed {
        lines.resize(needed, Line::ZERO);
    }
    // SAFETY: the lines are `len * size_of::<T>()` initialized bytes or more, borrowed mutably
    // until after `work`, and `Plain` makes any bytes, at this alignment, valid elements.
    let result = work(unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), len) });
    IDLE.with_borrow_mut(|idle| idle.push(lines));
    result
}

/// Hints that the cache line of `at` will be read soon. The address may be invalid.
#[inline(always)]
pub(crate) fn prefetch<T>(at: *const T) {
    // SAFETY: a hint, which does not fault; the oldest x86-64 has it.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        use std::arch::x86_64::{_mm_prefetch, _MM_HINT_T0};
        _mm_prefetch::<_MM_HINT_T0>(at.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

/// Hints that the cache line of `at` will be written soon. The address may be invalid.
#[inline(always)]
pub(crate) fn prefetch_to_write<T>(at: *mut T) {
    // SAFETY: as above; processors without this hint do nothing.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        use std::arch::x86_64::{_mm_prefetch, _MM_HINT_ET0};
        _mm_prefetch::<_MM_HINT_ET0>(at.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_memory_comes_back() {
        let first = lend(100, |buffer: &mut [f32]| {
            buffer.fill(1.0);
            buffer.as_ptr() as usize
        });
        let again = lend(50, |buffer: &mut [f32]| {
            assert!(buffer.iter().all(|&value| value == 1.0));
            buffer.as_ptr() as usize
        });
        assert_eq!(first, again);
        assert_eq!(first % 64, 0);
    }

    #[test]
    fn nested_loans_are_apart() {
        lend(1000, |outer: &mut [u32]| {
            outer.fill(7);
            lend(3000, |inner: &mut [bf16]| inner.fill(bf16::ONE));
            assert!(outer.iter().all(|&value| value == 7));
        });
        lend(0, |empty: &mut [f64]| assert!(empty.is_empty()));
    }
}
