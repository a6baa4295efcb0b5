//! The gradients of queries, keys and values.
//!
//! With the probabilities `p = exp(scale * q k^T - logsumexp)`, `dv = p^T dy`, `dp = dy v^T`,
//! `ds = scale * p (dp - sum of p dp)`, `dq = ds k` and `dk = ds^T q`.

use super::block::{Layout, Layouts, QUERIES};
use super::forward::{averages, scores_of};
use super::shape::{Operand, Rows, Shape};
use super::staging::{read, transpose, write, Staged};
use crate::cpu::{check_len, dispatch, lend, run_all, Kernel, Number, Parallel, SharedSlice};
use crate::cpu::{Simd, LANES};
use crate::error::Result;
use crate::kernels::cpu::exponential::exp;
use crate::kernels::cpu::product::{Operands, Product, Strides};

/// The gradients from the inputs of a [`Forward`](super::Forward) and its `logsumexp`.
pub struct Backward<'a, T> {
    pub shape: Shape,
    pub scale: f32,
    pub grad_y: Operand<'a, T>,
    pub q: Operand<'a, T>,
    pub k: Operand<'a, T>,
    pub v: Operand<'a, T>,
    /// `[batch, heads, tokens]`
    pub logsumexp: &'a [f32],
    /// `[batch, tokens, 3, heads, features]`: the gradients of q, k and v.
    pub grad_qkv: &'a mut [T],
}

impl<T: Number> Backward<'_, T> {
    /// # Errors
    /// A slice does not have its length; nothing is written then.
    pub fn run(self, parallel: &dyn Parallel) -> Result<()> {
        let Backward { shape, scale, grad_y, q, k, v, logsumexp, grad_qkv } = self;
        shape.check_elements("grad_qkv", 3, grad_qkv)?;
        check_len("logsumexp", shape.vectors(), logsumexp.len())?;
        if shape.is_empty() {
            return Ok(());
        }
        for (name, operand) in [("grad_y", grad_y), ("q", q), ("k", k), ("v", v)] {
            shape.check_operand(name, operand)?;
        }
        let strides = shape.interleaved(3);
        let grad_qkv = SharedSlice::new(grad_qkv);
        run_all(parallel, shape.batch * shape.heads, |task| {
            let (image, head) = (task / shape.heads, task % shape.heads);
            let layouts = Layouts::new(shape.tokens, shape.features);
            lend(scratch(layouts), |memory| {
                dispatch(Head {
                    shape,
                    scale,
                    layouts,
                    grad_y: grad_y.head(image, head),
                    q: q.head(image, head),
                    k: k.head(image, head),
                    v: v.head(image, head),
                    logsumexp: &logsumexp[task * shape.tokens..][..shape.tokens],
                    grad_qkv: grad_qkv.part(strides.start(image, head)..grad_qkv.len()),
                    stride: strides.token,
                    memory,
                });
            });
        })
    }
}

fn scratch(Layouts { head, rows, columns, scores }: Layouts) -> usize {
    4 * head.len() + 3 * rows.len() + columns.len() + 2 * scores.len()
}

/// One head of one image.
struct Head<'a, T> {
    shape: Shape,
    scale: f32,
    layouts: Layouts,
    grad_y: Rows<'a, T>,
    q: Rows<'a, T>,
    k: Rows<'a, T>,
    v: Rows<'a, T>,
    logsumexp: &'a [f32],
    /// The gradients of a token start `stride` elements after those of the token before.
    grad_qkv: SharedSlice<'a, T>,
    stride: usize,
    memory: &'a mut [f32],
}

impl<T: Number> Kernel for Head<'_, T> {
    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let Shape { tokens, features, .. } = self.shape;
        let layouts = self.layouts;
        let Layouts { head, rows, columns, scores } = layouts;
        let mut memory = std::mem::take(&mut self.memory);
        let [keys, values] = [head.cut(&mut memory), head.cut(&mut memory)];
        let [grad_k, grad_v] = [head.cut(&mut memory), head.cut(&mut memory)];
        let [block, grad_y] = [rows.cut(&mut memory), rows.cut(&mut memory)];
        let grad_q = rows.cut(&mut memory);
        let turned = columns.cut(&mut memory);
        let [p, ds] = [scores.cut(&mut memory), scores.cut(&mut memory)];
        read(simd, self.k, 0, tokens, features, keys, head.stride);
        read(simd, self.v, 0, tokens, features, values, head.stride);
        for first in (0..tokens).step_by(QUERIES) {
            let count = QUERIES.min(tokens - first);
            read(simd, self.q, first, count, features, block, rows.stride);
            transpose(simd, block, rows, count, turned, columns);
            scores_of(simd, layouts, [keys, turned], features, count, self.scale, p);
            read(simd, self.grad_y, first, count, features, grad_y, rows.stride);
            transpose(simd, grad_y, rows, count, turned, columns);
            scores_of(simd, layouts, [values, turned], features, count, 1.0, ds);
            let logsumexp = &self.logsumexp[first..first + count];
            derive(simd, scores, p, ds, tokens, self.scale, logsumexp);
            add_products(simd, layouts, [p, grad_y], count, first == 0, grad_v);
            add_products(simd, layouts, [ds, block], count, first == 0, grad_k);
            averages(simd, layouts, [ds, keys], tokens, count, grad_q);
            let staged = Staged { rows: grad_q, stride: rows.stride };
            self.write(simd, 0, first, count, staged);
        }
        for first in (0..tokens).step_by(QUERIES) {
            let count = QUERIES.min(tokens - first);
            for (part, gradient) in [(1, &*grad_k), (2, &*grad_v)] {
                let rows = &gradient[first * head.stride..];
                self.write(simd, part, first, count, Staged { rows, stride: head.stride });
            }
        }
    }
}

impl<T: Number> Head<'_, T> {
    /// Writes `count` rows of one of the three gradients, starting with that of the token `first`.
    #[inline(always)]
    fn write<S: Simd>(&self, simd: S, part: usize, first: usize, count: usize, from: Staged<'_>) {
        let Shape { heads, features, .. } = self.shape;
        let at = first * self.stride + part * heads * features;
        // SAFETY: these rows of the gradient are this task's alone.
        unsafe {
            let to = self.grad_qkv.at(at, (count - 1) * self.stride + features);
            write(simd, from, &[1.0; QUERIES][..count], features, to, self.stride);
        }
    }
}

/// Turns scores into probabilities `p`, and their gradients `ds` into those of the scores.
#[inline(always)]
fn derive<S: Simd>(
    simd: S,
    layout: Layout,
    p: &mut [f32],
    ds: &mut [f32],
    tokens: usize,
    scale: f32,
    logsumexp: &[f32],
) {
    let stride = layout.stride;
    assert!(p.len() >= tokens * stride && ds.len() >= tokens * stride);
    assert!(logsumexp.len() <= layout.columns);
    let scale = simd.splat(scale);
    for at in (0..logsumexp.len()).step_by(LANES) {
        let count = LANES.min(logsumexp.len() - at);
        // SAFETY: each row has a vector at `at`, and `count` elements of the logarithms are left.
        unsafe {
            let (p, ds) = (p.as_mut_ptr().add(at), ds.as_mut_ptr().add(at));
            let logsumexp = simd.load_first_f32(logsumexp.as_ptr().add(at), count);
            let mut sum = simd.zero();
            for key in 0..tokens {
                let (p, ds) = (p.add(key * stride), ds.add(key * stride));
                let probability = exp(simd, simd.sub(simd.load_f32(p), logsumexp));
                simd.store_f32(p, probability);
                sum = simd.mul_add(probability, simd.load_f32(ds), sum);
            }
            for key in 0..tokens {
                let (p, ds) = (p.add(key * stride), ds.add(key * stride));
                let rest = simd.sub(simd.load_f32(ds), sum);
                simd.store_f32(ds, simd.mul(simd.mul(simd.load_f32(p), scale), rest));
            }
        }
    }
}

/// Adds to the row of each key of `to` the rows of the queries, each times its score.
#[inline(always)]
fn add_products<S: Simd>(
    simd: S,
    layouts: Layouts,
    [scores, queries]: [&[f32]; 2],
    count: usize,
    fresh: bool,
    to: &mut [f32],
) {
    let Layouts { head, rows, scores: layout, .. } = layouts;
    assert!(scores.len() >= layout.len() && queries.len() >= rows.len() && count <= rows.rows);
    assert!(to.len() >= head.len() && count <= layout.columns);
    let (left, right) = (scores.as_ptr(), queries.as_ptr());
    let product = Product {
        operands: Operands { left, right, depth: count },
        strides: Strides { across: layout.stride, left: 1, right: rows.stride },
        rows: head.rows,
        vectors: head.vectors(),
        to: to.as_mut_ptr(),
        stride: head.stride,
    };
    // SAFETY: checked above.
    unsafe { product.run(simd, 1.0, fresh) };
}
