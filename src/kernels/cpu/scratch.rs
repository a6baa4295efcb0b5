//! Memory lent to a task, kept by its thread for the next one: warm, so without page faults.

use std::cell::RefCell;

use half::bf16;

/// Numbers for which all bits are valid.
///
/// # Safety
/// Every pattern of bits is a value, and the alignment is that of a cache line at most.
pub(super) unsafe trait Plain: Copy {}

// SAFETY: numbers without invalid bits, of 8 bytes at most.
unsafe impl Plain for f32 {}
// SAFETY: as above.
unsafe impl Plain for f64 {}
// SAFETY: as above.
unsafe impl Plain for u32 {}
// SAFETY: as above; a bf16 is a u16.
unsafe impl Plain for bf16 {}

/// A cache line: what the memory is made of, so that it is aligned to 64 bytes.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
pub(super) struct Line([u8; Line::BYTES]);

impl Line {
    pub(super) const BYTES: usize = 64;
    pub(super) const ZERO: Line = Line([0; Line::BYTES]);
}

thread_local!(static IDLE: RefCell<Vec<Vec<Line>>> = const { RefCell::new(Vec::new()) });

/// Lends `len` elements, aligned to 64 bytes, with anything in them. Loans may be nested.
pub(super) fn lend<T: Plain, R>(len: usize, work: impl FnOnce(&mut [T]) -> R) -> R {
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
