//! A convolution from its input to its output: what the forward and grad_input are.

use super::super::packed_weight::PackedWeight;
use super::super::rows::{words, Lines, RING};
use super::super::POSITIONS;
use super::epilogue::{Drain, Products};
use super::microkernel::{product, TILES};
use super::moments::{merged, Statistics, Total};
use super::plan::{Layout, Plan, Shape};
use super::staging::Feed;
use crate::activation::Activation;
use crate::cpu::{
    dispatch, lend, run_all, Kernel, Number, Parallel, Parts, SharedSlice, Simd, LANES,
};
use crate::error::Result;
use crate::kernels::cpu::convolution::{Load, Moments};

/// Blocks of a run of the statistics: few enough for sums in f32. The first block is a run of its
/// own, so that the others can be shifted by a mean.
const RUN: usize = 8;

/// `y = activation(conv(load(x)) + bias + residual)`. All slices have been checked.
pub struct Convolve<'a, T> {
    pub shape: Shape,
    pub x: &'a [T],
    pub load: Option<Load<'a>>,
    pub weight: &'a PackedWeight<T>,
    pub bias: Option<&'a [f32]>,
    pub residual: Option<&'a [T]>,
    pub activation: Activation,
    pub statistics: bool,
    pub y: &'a mut [T],
}

impl<T: Number> Convolve<'_, T> {
    pub fn run(self, parallel: &dyn Parallel) -> Result<Option<Moments>> {
        let plan = Plan::new(self.shape);
        let layout = Layout::new::<T>(&plan);
        let mut totals = match self.statistics {
            true => vec![Total::NONE; plan.tasks() * plan.vectors],
            false => Vec::new(),
        };
        let parts = Parts::new(&mut totals, plan.vectors);
        let [_, columns] = self.shape.tiles();
        let lines = Lines {
            source: self.x,
            batch: self.shape.batch,
            size: self.shape.in_size,
            channels: self.shape.in_channels,
            first: 0,
            count: self.shape.in_channels,
            padding: self.shape.padding,
            width: 2 * columns + 2,
            load: self.load,
        };
        let ring = (RING * lines.len() * size_of::<T>()).div_ceil(size_of::<u32>());
        let ring = ring.next_multiple_of(LANES);
        let memory = ring + 2 * layout.v + 2 * layout.m + layout.statistics;
        let y = SharedSlice::new(self.y);
        run_all(parallel, plan.tasks(), |index| {
            lend(memory, |memory: &mut [u32]| {
                dispatch(Task {
                    plan: &plan,
                    layout: &layout,
                    lines,
                    weight: self.weight.words(),
                    bias: self.bias,
                    residual: self.residual,
                    activation: self.activation,
                    statistics: self.statistics.then(|| parts.take(index)),
                    y,
                    index,
                    ring,
                    memory,
                });
            });
        })?;
        Ok(self.statistics.then(|| merged(&plan, &totals)))
    }
}

/// Some rows of tiles and some vectors of output channels.
struct Task<'a, T> {
    plan: &'a Plan,
    layout: &'a Layout,
    lines: Lines<'a, T>,
    weight: *const u32,
    bias: Option<&'a [f32]>,
    residual: Option<&'a [T]>,
    activation: Activation,
    statistics: Option<&'a mut [Total]>,
    y: SharedSlice<'a, T>,
    index: usize,
    /// Words of the ring of lines, the first of the memory.
    ring: usize,
    memory: &'a mut [u32],
}

impl<T: Number> Kernel for Task<'_, T> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Task { plan, layout, index, .. } = self;
        let (rows, vectors) = (plan.row_range(index), plan.vector_range(index));
        let [tile_rows, columns] = plan.shape.tiles();
        let tiles = rows.len() * columns;
        let blocks = tiles.div_ceil(plan.block);

        let (ring, memory) = self.memory.split_at_mut(self.ring);
        let (v, memory) = memory.split_at_mut(2 * layout.v);
        let (m, run) = memory.split_at_mut(2 * layout.m);
        let v = [v.as_mut_ptr(), v[layout.v..].as_mut_ptr()];
        let m: [*mut f32; 2] = [m.as_mut_ptr().cast(), m[layout.m..].as_mut_ptr().cast()];
        debug_assert!(run.len() >= layout.statistics);
        // SAFETY: `run` has `Layout::statistics` words.
        let statistics = |totals| unsafe { Statistics::new(run.as_mut_ptr().cast(), totals) };
        // SAFETY: the ring has `RING` lines, and the rows are the images'.
        let mut feed = unsafe {
            let ring = ring.as_mut_ptr().cast();
            Feed::new(self.lines, ring, plan.shape.tiles(), layout, plan.block, rows.clone())
        };
        let mut drain = Drain {
            shape: plan.shape,
            bias: self.bias,
            residual: self.residual,
            activation: self.activation,
            y: self.y,
            statistics: self.statistics.map(statistics),
            first: vectors.start,
            m_position: layout.m_position,
            products: Products::NONE,
            done: 0,
            next: 0,
            count: 0,
        };
        let groups = plan.shape.in_groups();
        let u_position = groups * words::<T>() * LANES;
        let u_vector = POSITIONS * u_position;
        let steps = vectors.len().div_ceil(2) * POSITIONS;
        let mut unit = 0;
        // SAFETY: of the two `v` one is read while the other is written, and so with `m`; the
        // weight has `u_vector` words for each vector of output channels.
        unsafe {
            feed.begin(v[0]);
            feed.advance(simd, 1, 1);
            for block in 0..blocks {
                let from = v[block % 2].cast_const();
                feed.begin(v[(block + 1) % 2]);
                let first = block * plan.block;
                let count = plan.block.min(tiles - first);
                let mut step = 0;
                for vector in (0..vectors.len()).step_by(2) {
                    let wide = 2.min(vectors.len() - vector);
                    let to = m[unit % 2];
                    unit += 1;
                    for p in 0..POSITIONS {
                        let u = self.weight.add((vectors.start + vector) * u_vector);
                        let u = (u.add(p * u_position), u_vector);
                        let mut tile = 0;
                        while tile < count {
                            let v = from.add(p * layout.v_position + tile * words::<T>());
                            let v = (v, layout.v_group);
                            let m = to.add(p * layout.m_position + tile * wide * LANES);
                            match (wide, count - tile > TILES) {
                                (1, true) => {
                                    product::<S, T, { 2 * TILES }, 1>(simd, groups, v, u, m);
                                    tile += TILES;
                                }
                                (1, false) => product::<S, T, TILES, 1>(simd, groups, v, u, m),
                                _ => product::<S, T, TILES, 2>(simd, groups, v, u, m),
                            }
                            tile += TILES;
                        }
                        step += 1;
                        feed.advance(simd, step, steps);
                        drain.advance(simd, p + 1, POSITIONS);
                    }
                    drain.begin(Products {
                        image: (rows.start + first / columns) / tile_rows,
                        row: (rows.start + first / columns) % tile_rows,
                        column: first % columns,
                        tiles: count,
                        vector,
                        vectors: wide,
                        m: to,
                        starts: block == 0 || block % RUN == 1,
                        ends: block % RUN == 0 || block + 1 == blocks,
                    });
                }
            }
            drain.advance(simd, 1, 1);
        }
    }
}
