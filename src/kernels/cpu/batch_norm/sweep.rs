//! Going through a task's part of the matrices, window by window.

use std::marker::PhantomData;
use std::ops::Range;

use super::lanes::{Window, WINDOW};
use super::tiling::{windows, Tiling};
use crate::cpu::{Number, Simd, LANES};

/// What a pass reads and writes: matrices of one shape, or the same part of each. Empty where absent.
pub(super) struct Operands<'a, T> {
    pub inputs: [&'a [T]; 3],
    pub outputs: [Output<'a, T>; 2],
}

/// Where a pass writes. Other tasks may write between its windows, so it is no slice.
#[derive(Clone, Copy)]
pub(super) struct Output<'a, T> {
    start: *mut T,
    len: usize,
    memory: PhantomData<&'a mut [T]>,
}

// SAFETY: those who share an output write to disjoint windows of it: see `Pass::window`.
unsafe impl<T: Send> Send for Output<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Output<'_, T> {}

impl<'a, T> Output<'a, T> {
    pub(super) fn new(slice: &'a mut [T]) -> Self {
        Output { start: slice.as_mut_ptr(), len: slice.len(), memory: PhantomData }
    }

    pub(super) fn none() -> Self {
        Output::new(&mut [])
    }

    pub(super) fn is_none(&self) -> bool {
        self.len == 0
    }

    /// # Safety
    /// `index` is at most the length.
    #[inline(always)]
    pub(super) unsafe fn at(self, index: usize) -> *mut T {
        debug_assert!(index <= self.len);
        // SAFETY: the caller's.
        unsafe { self.start.add(index) }
    }
}

impl<T> Operands<'_, T> {
    /// Whether a window lies in all matrices that are there.
    pub(super) fn hold<const V: usize>(&self, window: Window) -> bool {
        let end = window.end::<V>();
        let inputs = self.inputs.iter().map(|input| input.len());
        let lengths = inputs.chain(self.outputs.iter().map(|output| output.len));
        lengths.into_iter().all(|len| len == 0 || end <= len)
    }
}

/// A part of a matrix, if there is the matrix.
pub(super) fn cut<'a, T>(matrix: &'a [T], range: &Range<usize>) -> &'a [T] {
    if matrix.is_empty() {
        matrix
    } else {
        &matrix[range.clone()]
    }
}

/// What is done to each window. All of it must be `#[inline(always)]`.
pub(super) trait Pass<T> {
    /// `lane` is the window's first; of its lanes only those in `fresh` are to be counted, the
    /// others being seen elsewhere.
    ///
    /// # Safety
    /// The operands hold the window, and nobody else touches the window of an output meanwhile.
    unsafe fn window<S: Simd, const V: usize>(
        &mut self,
        simd: S,
        operands: &Operands<T>,
        window: Window,
        lane: usize,
        fresh: Range<usize>,
    );
}

/// Shows a pass all windows of a task's part, to which the operands have been cut.
#[inline(always)]
pub(super) fn sweep<S: Simd, T: Number>(
    simd: S,
    tiling: Tiling,
    len: usize,
    operands: &Operands<T>,
    pass: &mut impl Pass<T>,
) {
    let (wide, stride) = (tiling.wide(len), tiling.lanes());
    let part = Window { at: 0, stride, rows: wide / stride };
    for block in part.blocks(tiling.block_rows()) {
        for (lane, covered) in windows(stride) {
            let window = Window { at: block.at + lane, ..block };
            debug_assert!(operands.hold::<{ WINDOW / LANES }>(window));
            // SAFETY: the last lane is below `stride`, so the window lies in the block; the part
            // belongs to this task alone.
            unsafe {
                pass.window::<S, { WINDOW / LANES }>(simd, operands, window, lane, covered..WINDOW);
            }
        }
    }
    // The rows that fill no wide row.
    for at in (wide..len).step_by(LANES) {
        let window = Window { at, stride, rows: 1 };
        if at + LANES <= len {
            debug_assert!(operands.hold::<1>(window));
            // SAFETY: the window ends within the part, which belongs to this task alone.
            unsafe { pass.window::<S, 1>(simd, operands, window, at - wide, 0..LANES) };
        } else {
            partial(simd, at..len, at - wide, operands, pass);
        }
    }
}

/// A vector of which only the lanes in `range` are there.
#[inline(always)]
fn partial<S: Simd, T: Number>(
    simd: S,
    range: Range<usize>,
    lane: usize,
    operands: &Operands<T>,
    pass: &mut impl Pass<T>,
) {
    let count = range.len();
    let mut inputs = [[T::from_f32(0.0); LANES]; 3];
    for (copy, input) in inputs.iter_mut().zip(operands.inputs) {
        if !input.is_empty() {
            copy[..count].copy_from_slice(&input[range.clone()]);
        }
    }
    let mut outputs = [[T::from_f32(0.0); LANES]; 2];
    let [first, second] = &mut outputs;
    let copies = Operands {
        inputs: std::array::from_fn(|i| match operands.inputs[i].is_empty() {
            true => &[],
            false => &inputs[i][..],
        }),
        outputs: [(first, 0), (second, 1)].map(|(copy, i)| match operands.outputs[i].is_none() {
            true => Output::none(),
            false => Output::new(copy),
        }),
    };
    let window = Window { at: 0, stride: LANES, rows: 1 };
    debug_assert!(copies.hold::<1>(window));
    // SAFETY: the copies hold one vector and are this function's own.
    unsafe { pass.window::<S, 1>(simd, &copies, window, lane, 0..count) };
    for (copy, output) in outputs.iter().zip(operands.outputs) {
        if !output.is_none() {
            debug_assert!(range.end <= output.len);
            // SAFETY: `range` lies in the part, which belongs to this task alone.
            unsafe { output.at(range.start).copy_from_nonoverlapping(copy.as_ptr(), count) };
        }
    }
}
