//! One mutable slice, dealt to parallel tasks in parts.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, Ordering};

/// A slice cut into parts of equal length (the last may be shorter), each of which one task may
/// take, once. Like `chunks_mut`, from many threads and in any order.
pub(super) struct Parts<'a, T> {
    start: *mut T,
    len: usize,
    part: usize,
    taken: Vec<AtomicBool>,
    slice: PhantomData<&'a mut [T]>,
}

// SAFETY: threads that share `Parts` only ever get disjoint parts out of it (see `take`), each as
// if it had been sent to them: that is sound whenever `T` itself may be sent.
unsafe impl<T: Send> Sync for Parts<'_, T> {}

impl<'a, T> Parts<'a, T> {
    pub(super) fn new(slice: &'a mut [T], part: usize) -> Self {
        let part = part.max(1);
        let taken = (0..slice.len().div_ceil(part)).map(|_| AtomicBool::new(false)).collect();
        Parts { start: slice.as_mut_ptr(), len: slice.len(), part, taken, slice: PhantomData }
    }

    /// Part number `index`; empty if there is none or it was taken before.
    pub(super) fn take(&self, index: usize) -> &'a mut [T] {
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
