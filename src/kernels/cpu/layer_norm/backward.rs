//! The gradients of a layer norm.

use half::bf16;

use super::rows::{load, load_or, store, sums, Square};
use super::shape::Shape;
use crate::cpu::{check_len, dispatch, lend, run_all, Kernel, Number, Parallel, Parts};
use crate::cpu::{Simd, LANES};
use crate::error::Result;
use crate::kernels::cpu::reduce;

/// The gradients from the inputs and statistics of a [`Forward`](super::Forward).
pub struct Backward<'a, T, G> {
    pub shape: Shape,
    /// `[rows, features]`
    pub grad_y: &'a [G],
    /// `[rows, features]`
    pub x: &'a [T],
    /// `[rows]`
    pub mean: &'a [f32],
    /// `[rows]`
    pub rstd: &'a [f32],
    pub weight: Option<&'a [f32]>,
    /// `[rows, features]`: another part of the gradient of x, which is added.
    pub add: Option<&'a [T]>,
    /// `[rows, features]`
    pub grad_x: &'a mut [T],
    /// `[rows, features]`: a copy of `grad_x`.
    pub copy: Option<&'a mut [bf16]>,
    /// The gradients of the weight and of the bias, `[features]` both.
    pub sums: Option<[&'a mut [f32]; 2]>,
}

impl<T: Number, G: Number> Backward<'_, T, G> {
    /// # Errors
    /// Rows are empty or a slice does not have its length; nothing is written then.
    pub fn run(self, parallel: &dyn Parallel) -> Result<()> {
        let Backward { shape, grad_y, x, mean, rstd, weight, add, grad_x, copy, sums } = self;
        shape.check()?;
        shape.check_matrix("grad_y", grad_y)?;
        shape.check_matrix("x", x)?;
        check_len("mean", shape.rows, mean.len())?;
        check_len("rstd", shape.rows, rstd.len())?;
        shape.check_vector("weight", weight)?;
        add.map_or(Ok(()), |add| shape.check_matrix("add", add))?;
        shape.check_matrix("grad_x", grad_x)?;
        copy.as_ref().map_or(Ok(()), |copy| shape.check_matrix("copy", copy))?;
        if let Some([weight, bias]) = &sums {
            shape.check_vector("grad_weight", Some(weight))?;
            shape.check_vector("grad_bias", Some(bias))?;
        }
        let (rows, part) = (shape.rows_of_task(), shape.rows_of_task() * shape.features);
        let partial = if sums.is_some() { 2 * shape.padded() } else { 0 };
        let grad_x = Parts::new(grad_x, part);
        let copy = copy.map(|copy| Parts::new(copy, part));
        lend(shape.tasks() * partial, |partials: &mut [f32]| {
            partials.fill(0.0);
            let shared = Parts::new(&mut *partials, partial);
            run_all(parallel, shape.tasks(), |task| {
                let grad_x = grad_x.take(task);
                let (elements, count) = (grad_x.len(), grad_x.len() / shape.features);
                dispatch(Rows {
                    features: shape.features,
                    grad_y: &grad_y[task * part..][..elements],
                    x: &x[task * part..][..elements],
                    mean: &mean[task * rows..][..count],
                    rstd: &rstd[task * rows..][..count],
                    weight,
                    add: add.map(|add| &add[task * part..][..elements]),
                    grad_x,
                    copy: copy.as_ref().map(|copy| copy.take(task)),
                    sums: shared.take(task),
                });
            })?;
            let Some([grad_weight, grad_bias]) = sums else { return Ok(()) };
            lend(partial, |total: &mut [f32]| {
                reduce::sum(parallel, total, partials)?;
                let (weight, bias) = total.split_at(shape.padded());
                grad_weight.copy_from_slice(&weight[..shape.features]);
                grad_bias.copy_from_slice(&bias[..shape.features]);
                Ok(())
            })
        })
    }
}

/// The rows of a task.
struct Rows<'a, T, G> {
    features: usize,
    grad_y: &'a [G],
    x: &'a [T],
    mean: &'a [f32],
    rstd: &'a [f32],
    weight: Option<&'a [f32]>,
    add: Option<&'a [T]>,
    grad_x: &'a mut [T],
    copy: Option<&'a mut [bf16]>,
    /// The gradients of the weight, then of the bias, of whole vectors; or nothing.
    sums: &'a mut [f32],
}

impl<T: Number, G: Number> Kernel for Rows<'_, T, G> {
    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        for first in (0..self.mean.len()).step_by(LANES) {
            let count = LANES.min(self.mean.len() - first);
            let factors = self.factors(simd, first, count);
            for row in first..first + count {
                self.grad_x(simd, row, factors[row - first]);
            }
            if !self.sums.is_empty() {
                self.add_sums(simd, first, count);
            }
        }
    }
}

impl<T: Number, G: Number> Rows<'_, T, G> {
    #[inline(always)]
    fn row<'r, E>(&self, all: &'r [E], row: usize) -> &'r [E] {
        &all[row * self.features..][..self.features]
    }

    /// For each of some rows the factor of `x - mean` and the constant in the gradient of x.
    #[inline(always)]
    fn factors<S: Simd>(&self, simd: S, first: usize, count: usize) -> [[f32; 2]; LANES] {
        let [mut plain, mut scaled]: [Square; 2] = [[0.0; LANES * LANES]; 2];
        for i in 0..count {
            let (grad_y, x) = (self.row(self.grad_y, first + i), self.row(self.x, first + i));
            let mean = simd.splat(self.mean[first + i]);
            let [mut sum, mut product] = [simd.zero(); 2];
            for at in (0..self.features).step_by(LANES) {
                let g = simd.mul(load(simd, grad_y, at), load_or(simd, self.weight, at, 1.0));
                sum = simd.add(sum, g);
                product = simd.mul_add(g, simd.sub(load(simd, x, at), mean), product);
            }
            // SAFETY: room for a vector.
            unsafe {
                simd.store_f32(plain[i * LANES..][..LANES].as_mut_ptr(), sum);
                simd.store_f32(scaled[i * LANES..][..LANES].as_mut_ptr(), product);
            }
        }
        let [mut totals, mut products] = [[0.0; LANES]; 2];
        // SAFETY: room for a vector.
        unsafe {
            simd.store_f32(totals.as_mut_ptr(), sums(simd, &plain));
            simd.store_f32(products.as_mut_ptr(), sums(simd, &scaled));
        }
        let mut factors = [[0.0; 2]; LANES];
        for i in 0..count {
            let (rstd, share) = (self.rstd[first + i], 1.0 / self.features as f32);
            factors[i] = [-rstd * rstd * rstd * products[i] * share, -rstd * totals[i] * share];
        }
        factors
    }

    #[inline(always)]
    fn grad_x<S: Simd>(&mut self, simd: S, row: usize, [factor, constant]: [f32; 2]) {
        let (grad_y, x) = (self.row(self.grad_y, row), self.row(self.x, row));
        let add = match self.add {
            Some(add) => Some(self.row(add, row)),
            None => None,
        };
        let (mean, rstd) = (simd.splat(self.mean[row]), simd.splat(self.rstd[row]));
        let (factor, constant) = (simd.splat(factor), simd.splat(constant));
        let range = row * self.features..(row + 1) * self.features;
        for at in (0..self.features).step_by(LANES) {
            let g = simd.mul(load(simd, grad_y, at), load_or(simd, self.weight, at, 1.0));
            let centered = simd.sub(load(simd, x, at), mean);
            let mut value = simd.mul_add(g, rstd, simd.mul_add(centered, factor, constant));
            if let Some(add) = add {
                value = simd.add(value, load(simd, add, at));
            }
            store(simd, &mut self.grad_x[range.clone()], at, value);
            if let Some(copy) = &mut self.copy {
                store(simd, &mut copy[range.clone()], at, value);
            }
        }
    }

    /// Adds the gradients of weight and bias from some rows.
    #[inline(always)]
    fn add_sums<S: Simd>(&mut self, simd: S, first: usize, count: usize) {
        let padded = self.sums.len() / 2;
        for at in (0..self.features).step_by(LANES) {
            let [mut weight, mut bias] = [simd.zero(); 2];
            for row in first..first + count {
                let (mean, rstd) = (simd.splat(self.mean[row]), simd.splat(self.rstd[row]));
                let g = load(simd, self.row(self.grad_y, row), at);
                let centered = simd.sub(load(simd, self.row(self.x, row), at), mean);
                weight = simd.mul_add(g, simd.mul(centered, rstd), weight);
                bias = simd.add(bias, g);
            }
            for (start, sum) in [(at, weight), (padded + at, bias)] {
                let to = &mut self.sums[start..start + LANES];
                // SAFETY: a vector.
                unsafe {
                    let before = simd.load_f32(to.as_ptr());
                    simd.store_f32(to.as_mut_ptr(), simd.add(before, sum));
                }
            }
        }
    }
}
