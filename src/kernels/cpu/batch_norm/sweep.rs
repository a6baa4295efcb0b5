//! Runs a pass over a task's part of the matrices, window by window.

use std::ops::Range;

use super::lanes::{Window, WINDOW};
use super::tiling::{windows, Tiling};
use crate::cpu::{Number, SharedSlice, Simd, LANES};

/// The matrices that a pass reads and writes, all of one shape, or the same part of each. Absent
/// ones are empty.
pub(super) struct Operands<'a, T> {
    pub inputs: [&'a [T]; 3],
    /// Other tasks may write between the windows of a task.
    pub outputs: [SharedSlice<'a, T>; 2],
}

impl<T> Operands<'_, T> {
    /// Whether a window lies in all matrices that are not absent.
    pub(super) fn hold<const V: usize>(&self, window: Window) -> bool {
        let end = window.end::<V>();
        let inputs = self.inputs.iter().map(|input| input.len());
        let lengths = inputs.chain(self.outputs.iter().map(|output| output.len()));
        lengths.into_iter().all(|len| len == 0 || end <= len)
    }
}

/// A part of a matrix, or an absent matrix.
pub(super) fn cut<'a, T>(matrix: &'a [T], range: &Range<usize>) -> &'a [T] {
    if matrix.is_empty() {
        matrix
    } else {
        &matrix[range.clone()]
    }
}

/// The computation for each window. All of it must be `#[inline(always)]`.
pub(super) trait Pass<T> {
    /// `lane` is the first lane of the window. Only the lanes in `fresh` count; other windows have
    /// the others.
    ///
    /// # Safety
    /// The operands hold the window, and nothing else uses the window of an output meanwhile.
    unsafe fn window<S: Simd, const V: usize>(
        &mut self,
        simd: S,
        operands: &Operands<T>,
        window: Window,
        lane: usize,
        fresh: Range<usize>,
    );
}

/// Runs a pass over all windows of a task's part, to which the operands have been cut.
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
    // The rows that do not fill a wide row.
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

/// A vector of which only the lanes in `range` exist.
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
        outputs: [(first, 0), (second, 1)].map(|(copy, i)| match operands.outputs[i].is_empty() {
            true => SharedSlice::new(&mut []),
            false => SharedSlice::new(copy),
        }),
    };
    let window = Window { at: 0, stride: LANES, rows: 1 };
    debug_assert!(copies.hold::<1>(window));
    // SAFETY: the copies hold one vector and are this function's own.
    unsafe { pass.window::<S, 1>(simd, &copies, window, lane, 0..count) };
    for (copy, output) in outputs.iter().zip(operands.outputs) {
        if !output.is_empty() {
            debug_assert!(range.end <= output.len());
            // SAFETY: `range` lies in the part, which belongs to this task alone.
            unsafe { output.at(range.start, count).copy_from_nonoverlapping(copy.as_ptr(), count) };
        }
    }
}
