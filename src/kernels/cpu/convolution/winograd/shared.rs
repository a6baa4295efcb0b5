//! A slice that several tasks write, each to places of its own.

use std::marker::PhantomData;

/// For parts that are not contiguous; else use `Parts`.
#[derive(Clone, Copy)]
pub(super) struct Shared<'a, T> {
    start: *mut T,
    len: usize,
    slice: PhantomData<&'a mut [T]>,
}

// SAFETY: who writes through `at` promises that nobody else has the place at the time.
unsafe impl<T: Send> Sync for Shared<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Shared<'_, T> {}

impl<'a, T> Shared<'a, T> {
    pub(super) fn new(slice: &'a mut [T]) -> Self {
        Shared { start: slice.as_mut_ptr(), len: slice.len(), slice: PhantomData }
    }

    /// # Safety
    /// `count` elements from `index` on lie in the slice and no other task uses them.
    #[inline(always)]
    pub(super) unsafe fn at(&self, index: usize, count: usize) -> *mut T {
        debug_assert!(index + count <= self.len);
        // SAFETY: within the slice, as the caller says.
        unsafe { self.start.add(index) }
    }
}
