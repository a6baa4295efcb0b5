//! One task: some rows of tiles, some input channels and some output channels.

use std::marker::PhantomData;

use super::super::rows::SourceRows;
use super::super::{transform, POSITIONS};
use super::layout::Layout;
use super::microkernel::{outer_product, SUMS};
use super::plan::Plan;
use super::staging::Staging;
use crate::cpu::{Kernel, Number, SharedSlice, Simd, LANES};

/// Sums `(B^T d B) * (A dy A^T)` over tiles and writes `G^T sum G`.
pub(super) struct Task<'a, T, M> {
    pub plan: &'a Plan,
    pub layout: &'a Layout,
    pub x: SourceRows<'a, T>,
    pub grad_y: SourceRows<'a, T>,
    /// `[chunk][out_channels][3][3][in_channels]`
    pub grad_weight: SharedSlice<'a, f32>,
    /// `[chunk][out_channels]`
    pub grad_bias: Option<SharedSlice<'a, f32>>,
    pub index: usize,
    pub memory: &'a mut [u32],
    pub products: PhantomData<M>,
}

impl<T: Number, M: Number> Kernel for Task<'_, T, M> {
    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let Task { plan, layout, x, grad_y, index, .. } = self;
        let memory = std::mem::take(&mut self.memory);
        let (ring, memory) = memory.split_at_mut(layout.ring);
        let (v, memory) = memory.split_at_mut(2 * layout.v);
        let (z, memory) = memory.split_at_mut(2 * layout.z);
        let (sums, bias) = memory.split_at_mut(layout.sums);
        let v = [v.as_mut_ptr(), v[layout.v..].as_mut_ptr()];
        let z = [z.as_mut_ptr(), z[layout.z..].as_mut_ptr()];
        sums.fill(0);
        bias.fill(0);
        let (sums, bias) = (sums.as_mut_ptr().cast(), bias.as_mut_ptr().cast());
        let (chunk, rows) = plan.chunk(index);
        let mut staging = Staging {
            plan,
            layout,
            x,
            grad_y,
            ring: ring.as_mut_ptr().cast(),
            bias: self.grad_bias.filter(|_| x.first == 0).map(|_| bias),
            row: rows.start,
            column: 0,
            line: 0,
            empty: true,
            left: rows.len() * plan.row_words,
            words: 0,
            todo: 0,
            done: 0,
            word: 0,
            group: 0,
            v: v[0],
            z: z[0],
        };
        // SAFETY: the buffers have the sizes of the layout; of the two `v`, and of the two `z`, one
        // is read while the other is written.
        unsafe {
            staging.begin(simd, v[0], z[0]);
            staging.advance(simd, 1, 1);
            let mut block = 0;
            while staging.words > 0 {
                let count = staging.words;
                let next = (block + 1) % 2;
                staging.begin(simd, v[next], z[next]);
                self.add_block(simd, &mut staging, count, [v[block % 2], z[block % 2]], sums);
                block += 1;
            }
            self.write(simd, chunk, sums);
            if staging.bias.is_some() {
                self.write_bias(chunk, bias.add(grad_y.stride()));
            }
        }
    }
}

impl<T: Number, M: Number> Task<'_, T, M> {
    /// Adds the products of a block of `count` words to the sums, and stages the next block
    /// meanwhile.
    #[inline(always)]
    unsafe fn add_block<S: Simd>(
        &self,
        simd: S,
        staging: &mut Staging<'_, T, M>,
        count: usize,
        [v, z]: [*const u32; 2],
        sums: *mut f32,
    ) {
        // 16 accumulators at a time: 8 rows by two vectors, or 16 rows by a last vector. With few
        // registers all vectors are such last ones, and their rows are divided once more.
        let few = S::SUMS < SUMS;
        let (ins, outs) = (self.x.stride(), self.grad_y.stride());
        let pairs = if few { 0 } else { ins / (2 * LANES) };
        let last = ins / LANES - 2 * pairs;
        let steps = POSITIONS * (pairs * outs / 8 + last * outs / 16);
        let mut step = 0;
        for p in 0..POSITIONS {
            let mut c = 0;
            while c < ins {
                let wide = c < pairs * 2 * LANES;
                let rows = if wide { 8 } else { 16 };
                for r in (0..outs).step_by(rows) {
                    // SAFETY: the caller's; there is a row for each output channel and a vector for
                    // every 16 input channels.
                    unsafe {
                        let z = z.add(p * self.layout.z_position + r);
                        let v = (v.add(p * self.layout.v_position + c), ins);
                        let sums = sums.add(p * self.layout.sums_position + r * ins + c);
                        macro_rules! add {
                            ($first:literal: $rows:literal $vectors:literal) => {{
                                let (z, sums) =
                                    ((z.add($first), outs), (sums.add($first * ins), ins));
                                outer_product::<S, M, $rows, $vectors>(simd, count, z, v, sums);
                            }};
                        }
                        if few {
                            add!(0: 6 1);
                            add!(6: 5 1);
                            add!(11: 5 1);
                        } else if wide {
                            add!(0: 8 2);
                        } else {
                            add!(0: 16 1);
                        }
                    }
                    step += 1;
                    staging.advance(simd, step, steps);
                }
                c += if wide { 2 * LANES } else { LANES };
            }
        }
    }

    /// Transforms the sums to the gradient of the kernel and writes it.
    #[inline(always)]
    unsafe fn write<S: Simd>(&self, simd: S, chunk: usize, sums: *const f32) {
        let stride = self.x.stride();
        for r in 0..self.grad_y.count {
            let out = chunk * self.grad_y.channels + self.grad_y.first + r;
            for c in (0..self.x.count).step_by(LANES) {
                let count = LANES.min(self.x.count - c);
                let mut tile = [simd.zero(); POSITIONS];
                for p in 0..POSITIONS {
                    let at = p * self.layout.sums_position + r * stride + c;
                    // SAFETY: the sums have this row and vector.
                    tile[p] = unsafe { simd.load_f32(sums.add(at)) };
                }
                let taps = transform::weight_gradient(simd, tile);
                for tap in 0..9 {
                    let at = (out * 9 + tap) * self.x.channels + self.x.first + c;
                    let mut rest = [0.0; LANES];
                    // SAFETY: the place lies in this chunk's gradient, and no other task writes it.
                    unsafe {
                        let to = self.grad_weight.at(at, count);
                        if count == LANES {
                            simd.store_f32(to, taps[tap]);
                        } else {
                            simd.store_f32(rest.as_mut_ptr(), taps[tap]);
                            to.copy_from_nonoverlapping(rest.as_ptr(), count);
                        }
                    }
                }
            }
        }
    }

    /// Writes the sums of `grad_y`.
    #[inline(always)]
    unsafe fn write_bias(&self, chunk: usize, sums: *const f32) {
        let SourceRows { first, count, channels, .. } = self.grad_y;
        if let Some(grad_bias) = self.grad_bias {
            // SAFETY: no other task writes these channels of the chunk; there is a sum for each.
            unsafe {
                let to = grad_bias.at(chunk * channels + first, count);
                to.copy_from_nonoverlapping(sums, count);
            }
        }
    }
}
