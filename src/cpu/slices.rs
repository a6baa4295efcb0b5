//! Slices of a kernel: checks of their lengths, and mutable slices which parallel tasks share.

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Result};

/// # Errors
/// The slice `name` has `got` elements instead of `expected` ones.
pub(crate) fn check_len(name: &'static str, expected: usize, got: usize) -> Result<()> {
    match got == expected {
        true => Ok(()),
        false => Err(Error::SliceLength { name, expected, got }),
    }
}

/// A slice cut into parts of equal length (the last may be shorter), each of which one task may
/// take, once. Like `chunks_mut`, from many threads and in any order.
pub(crate) struct Parts<'a, T> {
    start: *mut T,
    len: usize,
    part: usize,
    taken: Vec<AtomicBool>,
    slice: PhantomData<&'a mut [T]>,
}

// SAFETY: threads that share `Parts` only get disjoint parts of it (see `take`), each as if it had
// been sent to its thread, which is sound if `T` itself may be sent.
unsafe impl<T: Send> Sync for Parts<'_, T> {}

impl<'a, T> Parts<'a, T> {
    pub(crate) fn new(slice: &'a mut [T], part: usize) -> Self {
        let part = part.max(1);
        let taken = (0..slice.len().div_ceil(part)).map(|_| AtomicBool::new(false)).collect();
        Parts { start: slice.as_mut_ptr(), len: slice.len(), part, taken, slice: PhantomData }
    }

    /// Part number `index`; empty if there is none or it was taken before.
    pub(crate) fn take(&self, index: usize) -> &'a mut [T] {
        match self.taken.get(index) {
            Some(taken) if !taken.swap(true, Ordering::Relaxed) => {
                let from = index * self.part;
                let len = self.part.min(self.len - from);
                // SAFETY: `from + len <= self.len`, so the part lies within the slice borrowed
                // mutably for 'a. The parts of two indices are disjoint, and the swap lets one
                // caller alone through for each index: no other reference to this part exists.
                unsafe { std::slice::from_raw_parts_mut(self.start.add(from), len) }
            }
            _ => &mut [],
        }
    }
}

/// A mutable slice of which each task writes places of its own, for places that are not the equal
/// parts of [`Parts`].
#[derive(Clone, Copy)]
pub(crate) struct SharedSlice<'a, T> {
    start: *mut T,
    len: usize,
    slice: PhantomData<&'a mut [T]>,
}

// SAFETY: threads that share the slice access disjoint places of it, as the callers of its methods
// promise, each place as if it had been sent to its thread.
unsafe impl<T: Send> Sync for SharedSlice<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for SharedSlice<'_, T> {}

impl<'a, T> SharedSlice<'a, T> {
    pub(crate) fn new(slice: &'a mut [T]) -> Self {
        SharedSlice { start: slice.as_mut_ptr(), len: slice.len(), slice: PhantomData }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A part of the slice, to be shared likewise; an empty one if the range does not lie within.
    pub(crate) fn part(&self, range: Range<usize>) -> SharedSlice<'a, T> {
        let range = if range.start <= range.end && range.end <= self.len { range } else { 0..0 };
        // SAFETY: the range lies within the slice.
        let start = unsafe { self.start.add(range.start) };
        SharedSlice { start, len: range.len(), slice: PhantomData }
    }

    /// # Safety
    /// `count` elements from `index` on lie in the slice, and nothing else uses them meanwhile.
    #[inline(always)]
    pub(crate) unsafe fn at(&self, index: usize, count: usize) -> *mut T {
        debug_assert!(index + count <= self.len);
        // SAFETY: within the slice, as the caller promises.
        unsafe { self.start.add(index) }
    }

    /// A part of the slice; an empty one if the range does not lie within.
    ///
    /// # Safety
    /// No two ranges in use at a time overlap, on any thread.
    #[allow(clippy::mut_from_ref)]
    pub(crate) unsafe fn range(&self, range: Range<usize>) -> &mut [T] {
        if range.start > range.end || range.end > self.len {
            return &mut [];
        }
        // SAFETY: within the slice borrowed mutably for 'a, and disjoint from all other references
        // to its elements, as the caller promises.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_the_chunks() {
        let mut slice: Vec<usize> = (0..10).collect();
        let chunks: Vec<Vec<usize>> = slice.chunks(4).map(<[usize]>::to_vec).collect();
        let parts = Parts::new(&mut slice, 4);
        for (index, chunk) in chunks.iter().enumerate().rev() {
            assert_eq!(parts.take(index), chunk);
        }
        assert!(parts.take(3).is_empty());
    }

    #[test]
    fn a_part_is_given_once() {
        let mut slice = [0; 6];
        let parts = Parts::new(&mut slice, 3);
        let first = parts.take(0);
        assert!(parts.take(0).is_empty());
        first[2] = 1;
        parts.take(1)[0] = 2;
        assert_eq!(slice, [0, 0, 1, 2, 0, 0]);
    }

    #[test]
    fn threads_fill_their_parts() {
        let mut slice = vec![0; 1000];
        let parts = Parts::new(&mut slice, 7);
        std::thread::scope(|scope| {
            for thread in 0..3 {
                let parts = &parts;
                scope.spawn(move || {
                    for index in (thread..143).step_by(3) {
                        parts.take(index).fill(index);
                    }
                });
            }
        });
        assert!(slice.iter().enumerate().all(|(i, &value)| value == i / 7));
    }
}
