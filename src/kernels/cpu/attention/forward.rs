//! The result of an attention, and what its backward needs.

use super::block::{Layouts, QUERIES};
use super::shape::{Operand, Rows, Shape};
use super::staging::{read, transpose, write, Staged};
use crate::cpu::{
    check_len, dispatch, lend, run_all, Kernel, Number, Parallel, Parts, SharedSlice,
};
use crate::cpu::{Simd, LANES};
use crate::error::Result;
use crate::kernels::cpu::exponential::exp;
use crate::kernels::cpu::product::{Operands, Product, Strides};

/// `y = softmax(scale * q k^T) v`
pub struct Forward<'a, T> {
    pub shape: Shape,
    pub scale: f32,
    pub q: Operand<'a, T>,
    pub k: Operand<'a, T>,
    pub v: Operand<'a, T>,
    /// `[batch, tokens, heads, features]`
    pub y: &'a mut [T],
    /// `[batch, heads, tokens]`: the logarithm of the sum of the exponentials of a query's scores.
    pub logsumexp: &'a mut [f32],
}

impl<T: Number> Forward<'_, T> {
    /// # Errors
    /// A slice does not have its length; nothing is written then.
    pub fn run(self, parallel: &dyn Parallel) -> Result<()> {
        let Forward { shape, scale, q, k, v, y, logsumexp } = self;
        shape.check_elements("y", 1, y)?;
        check_len("logsumexp", shape.vectors(), logsumexp.len())?;
        if shape.is_empty() {
            return Ok(());
        }
        for (name, operand) in [("q", q), ("k", k), ("v", v)] {
            shape.check_operand(name, operand)?;
        }
        let strides = shape.interleaved(1);
        let (y, logsumexp) = (SharedSlice::new(y), Parts::new(logsumexp, shape.tokens));
        run_all(parallel, shape.batch * shape.heads, |task| {
            let (image, head) = (task / shape.heads, task % shape.heads);
            let [q, k, v] = [q, k, v].map(|operand| operand.head(image, head));
            let y = y.part(strides.start(image, head)..y.len());
            let logsumexp = logsumexp.take(task);
            let layouts = Layouts::new(shape.tokens, shape.features);
            lend(scratch(layouts), |memory| {
                let stride = strides.token;
                dispatch(Head { shape, scale, layouts, q, k, v, y, stride, logsumexp, memory });
            });
        })
    }
}

fn scratch(Layouts { head, rows, columns, scores }: Layouts) -> usize {
    2 * head.len() + rows.len() + columns.len() + scores.len()
}

/// One head of one image.
struct Head<'a, T> {
    shape: Shape,
    scale: f32,
    layouts: Layouts,
    q: Rows<'a, T>,
    k: Rows<'a, T>,
    v: Rows<'a, T>,
    /// The rows of this head start `stride` elements apart; those of other heads are between them.
    y: SharedSlice<'a, T>,
    stride: usize,
    logsumexp: &'a mut [f32],
    memory: &'a mut [f32],
}

impl<T: Number> Kernel for Head<'_, T> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Shape { tokens, features, .. } = self.shape;
        let layouts = self.layouts;
        let Layouts { head, rows, columns, scores } = layouts;
        let mut memory = self.memory;
        let [keys, values] = [head.cut(&mut memory), head.cut(&mut memory)];
        let [block, queries] = [rows.cut(&mut memory), columns.cut(&mut memory)];
        let scores = scores.cut(&mut memory);
        read(simd, self.k, 0, tokens, features, keys, head.stride);
        read(simd, self.v, 0, tokens, features, values, head.stride);
        for first in (0..tokens).step_by(QUERIES) {
            let count = QUERIES.min(tokens - first);
            read(simd, self.q, first, count, features, block, rows.stride);
            transpose(simd, block, rows, count, queries, columns);
            scores_of(simd, layouts, [keys, queries], features, count, self.scale, scores);
            let mut factors = [0.0; QUERIES];
            let logsumexp = &mut self.logsumexp[first..first + count];
            softmax(simd, layouts, scores, tokens, logsumexp, &mut factors);
            averages(simd, layouts, [scores, values], tokens, count, block);
            // SAFETY: these rows of y are this task's alone.
            unsafe {
                let y = self.y.at(first * self.stride, (count - 1) * self.stride + features);
                let from = Staged { rows: block, stride: rows.stride };
                write(simd, from, &factors[..count], features, y, self.stride);
            }
        }
    }
}

/// `scores = scale * keys queries`, with a row for each key.
#[inline(always)]
pub(super) fn scores_of<S: Simd>(
    simd: S,
    layouts: Layouts,
    [keys, queries]: [&[f32]; 2],
    features: usize,
    count: usize,
    scale: f32,
    scores: &mut [f32],
) {
    let Layouts { head, columns, scores: layout, .. } = layouts;
    assert!(keys.len() >= head.len() && queries.len() >= columns.len());
    assert!(scores.len() >= layout.len() && features <= columns.rows && count <= layout.columns);
    let (left, right) = (keys.as_ptr(), queries.as_ptr());
    let product = Product {
        operands: Operands { left, right, depth: features },
        strides: Strides { across: head.stride, left: 1, right: columns.stride },
        rows: head.rows,
        vectors: count.div_ceil(LANES),
        to: scores.as_mut_ptr(),
        stride: layout.stride,
    };
    // SAFETY: checked above.
    unsafe { product.run(simd, scale, true) };
}

/// Turns scores into exponentials; `factors` become the inverses of their sums.
#[inline(always)]
fn softmax<S: Simd>(
    simd: S,
    layouts: Layouts,
    scores: &mut [f32],
    tokens: usize,
    logsumexp: &mut [f32],
    factors: &mut [f32; QUERIES],
) {
    let stride = layouts.scores.stride;
    assert!(scores.len() >= tokens * stride && logsumexp.len() <= layouts.scores.columns);
    for at in (0..logsumexp.len()).step_by(LANES) {
        let (mut maxima, mut sums) = ([0.0; LANES], [0.0; LANES]);
        // SAFETY: each row has a vector at `at`.
        unsafe {
            let start = scores.as_mut_ptr().add(at);
            let mut maximum = simd.load_f32(start);
            for key in 1..tokens {
                maximum = simd.max(maximum, simd.load_f32(start.add(key * stride)));
            }
            let mut sum = simd.zero();
            for key in 0..tokens {
                let score = start.add(key * stride);
                let value = exp(simd, simd.sub(simd.load_f32(score), maximum));
                simd.store_f32(score, value);
                sum = simd.add(sum, value);
            }
            simd.store_f32(maxima.as_mut_ptr(), maximum);
            simd.store_f32(sums.as_mut_ptr(), sum);
        }
        for (i, logsumexp) in logsumexp[at..].iter_mut().take(LANES).enumerate() {
            *logsumexp = maxima[i] + sums[i].ln();
            factors[at + i] = 1.0 / sums[i];
        }
    }
}

/// The rows of `block` become the sums of the values, each times a query's exponential.
#[inline(always)]
pub(super) fn averages<S: Simd>(
    simd: S,
    layouts: Layouts,
    [scores, values]: [&[f32]; 2],
    tokens: usize,
    count: usize,
    block: &mut [f32],
) {
    let Layouts { head, rows, scores: layout, .. } = layouts;
    let rows_used = count.next_multiple_of(crate::kernels::cpu::product::ROWS);
    assert!(scores.len() >= layout.len() && values.len() >= head.len());
    assert!(block.len() >= rows.len() && rows_used <= rows.rows && tokens <= head.rows);
    let (left, right) = (scores.as_ptr(), values.as_ptr());
    let product = Product {
        operands: Operands { left, right, depth: tokens },
        strides: Strides { across: 1, left: layout.stride, right: head.stride },
        rows: rows_used,
        vectors: rows.vectors(),
        to: block.as_mut_ptr(),
        stride: rows.stride,
    };
    // SAFETY: checked above.
    unsafe { product.run(simd, 1.0, true) };
}
