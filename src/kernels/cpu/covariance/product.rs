//! Products of the matrices of an image, in blocks which are the tasks of a thread pool.

use super::square::Layout;
use crate::cpu::{dispatch, run_all, Kernel, Parallel, Parts, SharedSlice, Simd, LANES};
use crate::error::Result;
use crate::kernels::cpu::product::{tile, Operands, Product, Strides, COLUMNS, FEW_ROWS, ROWS};

/// Rows and columns of a block.
const BLOCK: usize = COLUMNS * LANES;

/// Matrices `left` and `right` of `depth` rows: the product is `left^T right`.
#[derive(Clone, Copy)]
pub(super) struct Term<'a> {
    pub left: &'a [f32],
    pub right: &'a [f32],
    pub depth: usize,
}

/// `out = scale * (sum of the terms) + diagonal * 1`, which must be symmetric.
pub(super) fn symmetric(
    parallel: &dyn Parallel,
    layout: Layout,
    terms: &[Term<'_>],
    scale: f32,
    diagonal: f32,
    out: &mut [f32],
) -> Result<()> {
    for term in terms {
        let needed = term.depth.saturating_sub(1) * layout.stride + layout.padded;
        assert!(term.left.len() >= needed && term.right.len() >= needed, "a factor is short");
    }
    assert!(out.len() >= layout.len(), "the product is short");
    let shared = SharedSlice::new(&mut *out);
    let blocks = layout.padded.div_ceil(BLOCK);
    let tasks = blocks * (blocks + 1) / 2;
    run_all(parallel, tasks, |task| {
        let number = scattered(task, tasks);
        // Column by column, each down to the diagonal.
        let column = (0..blocks).find(|column| number < (column + 1) * (column + 2) / 2);
        let column = column.unwrap_or(0);
        let row = number - column * (column + 1) / 2;
        let [row, column] = [row, column].map(|number| number * BLOCK);
        dispatch(Symmetric { layout, terms, scale, row, column, out: shared });
    })?;
    layout.add_to_diagonal(out, diagonal);
    Ok(())
}

/// `out = scale * left * right`, where the rows of `left` and `out` are pixels and `right` is
/// square. `out` has whole tiles of rows.
pub(super) fn rows_times_square(
    parallel: &dyn Parallel,
    layout: Layout,
    left: &[f32],
    right: &[f32],
    scale: f32,
    out: &mut [f32],
) -> Result<()> {
    assert!(left.len() == out.len() && out.len().is_multiple_of(ROWS * layout.stride));
    assert!(right.len() >= layout.len(), "the square is short");
    let part = BLOCK * layout.stride;
    let parts = Parts::new(out, part);
    run_all(parallel, left.len().div_ceil(part), |task| {
        let out = parts.take(task);
        let left = &left[task * part..][..out.len()];
        dispatch(RowsTimesSquare { layout, left, right, scale, out });
    })
}

/// A number for each task, such that the numbers of any run of tasks are spread over all: a thread
/// gets a run, and the blocks of the last column are smaller than the others.
fn scattered(task: usize, tasks: usize) -> usize {
    const STEP: usize = 5;
    let columns = tasks.div_ceil(STEP);
    // Down the columns of a table of numbers, whose last row may be short.
    let (full, rest) = (tasks / STEP, tasks % STEP);
    match task < rest * columns {
        true => task % columns * STEP + task / columns,
        false => {
            let task = task - rest * columns;
            task % full * STEP + rest + task / full
        }
    }
}

/// The number of rows rounded up to whole tiles.
pub(super) fn whole_tiles(rows: usize) -> usize {
    rows.next_multiple_of(ROWS)
}

/// The block at `row` and `column`, which is on the diagonal or above it, and its mirror image.
struct Symmetric<'a> {
    layout: Layout,
    terms: &'a [Term<'a>],
    scale: f32,
    row: usize,
    column: usize,
    out: SharedSlice<'a, f32>,
}

impl Kernel for Symmetric<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        match S::SUMS >= ROWS * COLUMNS {
            true => self.block::<S, ROWS>(simd),
            false => self.block::<S, FEW_ROWS>(simd),
        }
    }
}

impl Symmetric<'_> {
    #[inline(always)]
    fn block<S: Simd, const R: usize>(self, simd: S) {
        let Symmetric { layout, terms, scale, row: first, column, out } = self;
        let Layout { stride, padded, .. } = layout;
        let [rows, width] = [first, column].map(|start| BLOCK.min(padded - start));
        let strides = Strides { across: 1, left: stride, right: stride };
        for row in (first..first + rows).step_by(R) {
            let operands = |term: &Term<'_>| Operands {
                left: term.left[row..].as_ptr(),
                right: term.right[column..].as_ptr(),
                depth: term.depth,
            };
            let one = operands(&terms[0]);
            let pair = [one, terms.get(1).map_or(one.nothing(), operands)];
            // SAFETY: `symmetric` has checked that there are `padded` rows and columns, and this
            // block is this task's alone.
            unsafe {
                let to = out.at(row * stride + column, (R - 1) * stride + width);
                match width / LANES {
                    1 => tile::<S, 2, R, 1>(simd, pair, strides, scale, true, to, stride),
                    2 => tile::<S, 2, R, 2>(simd, pair, strides, scale, true, to, stride),
                    _ => tile::<S, 2, R, 3>(simd, pair, strides, scale, true, to, stride),
                }
            }
        }
        if first < column {
            // SAFETY: as above, for the block and for its mirror image.
            unsafe {
                let above = out.at(first * stride + column, (rows - 1) * stride + width);
                let below = out.at(column * stride + first, (width - 1) * stride + rows);
                mirror(above, rows, width, stride, below);
            }
        }
    }
}

/// Writes the rows of a block as columns.
///
/// # Safety
/// The block can be read, its mirror image can be written, and they do not overlap.
#[inline(always)]
unsafe fn mirror(above: *const f32, rows: usize, width: usize, stride: usize, below: *mut f32) {
    for row in (0..rows).step_by(LANES) {
        for column in 0..width {
            for i in row..row + LANES {
                // SAFETY: the caller's; rows are whole vectors.
                unsafe { *below.add(column * stride + i) = *above.add(i * stride + column) };
            }
        }
    }
}

struct RowsTimesSquare<'a> {
    layout: Layout,
    left: &'a [f32],
    right: &'a [f32],
    scale: f32,
    out: &'a mut [f32],
}

impl Kernel for RowsTimesSquare<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let RowsTimesSquare { layout, left, right, scale, out } = self;
        let stride = layout.stride;
        let (left, right) = (left.as_ptr(), right.as_ptr());
        let product = Product {
            operands: Operands { left, right, depth: layout.padded },
            strides: Strides { across: stride, left: 1, right: stride },
            rows: out.len() / stride,
            vectors: layout.padded / LANES,
            to: out.as_mut_ptr(),
            stride,
        };
        // SAFETY: `rows_times_square` has checked for whole tiles of rows and for the square.
        unsafe { product.run(simd, scale, true) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_are_scattered_to_all_numbers() {
        for tasks in 1..60 {
            let mut numbers: Vec<usize> = (0..tasks).map(|task| scattered(task, tasks)).collect();
            numbers.sort_unstable();
            assert!(numbers.into_iter().eq(0..tasks), "{tasks}");
        }
    }
}
