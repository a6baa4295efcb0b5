//! One mutable slice whose ranges go to several threads.

use std::marker::PhantomData;
use std::ops::Range;

pub(super) struct Shared<'a> {
    start: *mut f32,
    len: usize,
    slice: PhantomData<&'a mut [f32]>,
}

// SAFETY: whoever takes ranges out vouches that they are disjoint (see `range`), so threads that
// share this value hold disjoint slices, as if each had been sent to its thread.
unsafe impl Sync for Shared<'_> {}

impl<'a> Shared<'a> {
    pub(super) fn new(slice: &'a mut [f32]) -> Shared<'a> {
        Shared { start: slice.as_mut_ptr(), len: slice.len(), slice: PhantomData }
    }

    /// A part of the slice; an empty one if the range does not lie within.
    ///
    /// # Safety
    /// No two ranges in use at a time overlap, on whatever thread.
    #[allow(clippy::mut_from_ref)]
    pub(super) unsafe fn range(&self, range: Range<usize>) -> &mut [f32] {
        if range.start > range.end || range.end > self.len {
            return &mut [];
        }
        // SAFETY: within the slice borrowed mutably for 'a, and by the caller's word disjoint from
        // all other references to its elements.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }
}
