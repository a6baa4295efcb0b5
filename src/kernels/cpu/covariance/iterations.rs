//! Newton-Schulz iterations towards the square root, and their derivative.
//!
//! `Y = A, Z = 1`, then `T = (3 - Z Y) / 2, Y <- Y T, Z <- T Z`: Y converges to the square root of
//! A and Z to its inverse. The first T is a sum, because Z is 1, and the last Z is not needed.

use std::mem::swap;

use super::product::{symmetric, Term};
use super::square::Layout;
use crate::cpu::Parallel;
use crate::error::Result;

/// The matrices of the iterations. A product is written to `next` and then swapped into its place.
pub(super) struct Iterate<'a> {
    pub a: &'a mut [f32],
    pub t: &'a mut [f32],
    pub y: &'a mut [f32],
    pub z: &'a mut [f32],
    pub next: &'a mut [f32],
}

/// The derivatives of these matrices in the direction of `a`.
pub(super) struct Tangent<'a> {
    pub a: &'a mut [f32],
    pub t: &'a mut [f32],
    pub y: &'a mut [f32],
    pub z: &'a mut [f32],
}

impl<'a> Iterate<'a> {
    /// Leaves the result in `y`.
    pub fn run(&mut self, parallel: &dyn Parallel, layout: Layout, num_iters: usize) -> Result<()> {
        let products = Products { parallel, layout };
        layout.scaled(self.a, -0.5, 1.5, self.t);
        products.one(self.a, self.t, self.y)?;
        self.z.copy_from_slice(self.t);
        for update in 1..num_iters {
            products.correction(self.z, self.y, self.t)?;
            if update + 1 < num_iters {
                products.one(self.t, self.z, self.next)?;
                swap(&mut self.z, &mut self.next);
            }
            products.one(self.y, self.t, self.next)?;
            swap(&mut self.y, &mut self.next);
        }
        Ok(())
    }

    /// Leaves the derivative of the result in `tangent.y`; the result itself is not computed.
    pub fn run_with(
        &mut self,
        parallel: &dyn Parallel,
        tangent: &mut Tangent<'a>,
        layout: Layout,
        num_iters: usize,
    ) -> Result<()> {
        let products = Products { parallel, layout };
        layout.scaled(self.a, -0.5, 1.5, self.t);
        layout.scaled(tangent.a, -0.5, 0.0, tangent.t);
        products.derived([self.a, tangent.a], [self.t, tangent.t], 1.0, tangent.y)?;
        if num_iters == 1 {
            return Ok(());
        }
        products.one(self.a, self.t, self.y)?;
        self.z.copy_from_slice(self.t);
        tangent.z.copy_from_slice(tangent.t);
        for update in 1..num_iters {
            products.correction(self.z, self.y, self.t)?;
            products.derived([self.z, tangent.z], [self.y, tangent.y], -0.5, tangent.t)?;
            products.derived([self.y, tangent.y], [self.t, tangent.t], 1.0, self.next)?;
            swap(&mut tangent.y, &mut self.next);
            if update + 1 == num_iters {
                return Ok(());
            }
            products.one(self.y, self.t, self.next)?;
            swap(&mut self.y, &mut self.next);
            products.derived([self.t, tangent.t], [self.z, tangent.z], 1.0, self.next)?;
            swap(&mut tangent.z, &mut self.next);
            products.one(self.t, self.z, self.next)?;
            swap(&mut self.z, &mut self.next);
        }
        Ok(())
    }
}

/// Symmetric products of square matrices.
struct Products<'a> {
    parallel: &'a dyn Parallel,
    layout: Layout,
}

impl Products<'_> {
    fn one(&self, left: &[f32], right: &[f32], out: &mut [f32]) -> Result<()> {
        symmetric(self.parallel, self.layout, &[self.term(left, right)], 1.0, 0.0, out)
    }

    /// `T = (3 - Z Y) / 2`
    fn correction(&self, z: &[f32], y: &[f32], t: &mut [f32]) -> Result<()> {
        symmetric(self.parallel, self.layout, &[self.term(z, y)], -0.5, 1.5, t)
    }

    /// `scale` times the derivative of a product, from the factors and their derivatives. The sum
    /// of its two terms is symmetric, each term is not.
    fn derived(
        &self,
        left: [&[f32]; 2],
        right: [&[f32]; 2],
        scale: f32,
        out: &mut [f32],
    ) -> Result<()> {
        let terms = [self.term(left[1], right[0]), self.term(left[0], right[1])];
        symmetric(self.parallel, self.layout, &terms, scale, 0.0, out)
    }

    fn term<'t>(&self, left: &'t [f32], right: &'t [f32]) -> Term<'t> {
        Term { left, right, depth: self.layout.padded }
    }
}
