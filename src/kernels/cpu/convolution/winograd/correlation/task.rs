//! One task: its blocks of tiles, from the source to the output.

use super::super::packed_weight::PackedWeight;
use super::super::rows::{words, SourceRows};
use super::super::POSITIONS;
use super::epilogue::{Epilogue, Products};
use super::layout::Layout;
use super::microkernel::{product, SUMS, TILES};
use super::moments::{Statistics, Total};
use super::plan::Plan;
use super::staging::Staging;
use crate::activation::Activation;
use crate::cpu::{Kernel, Number, SharedSlice, Simd, LANES};

/// Blocks of a run of the moments, which is short enough for sums in f32. The first block is a run
/// of its own, so that later runs can be shifted by its mean.
const RUN: usize = 8;

/// Some rows of tiles and some vectors of output channels.
pub(super) struct Task<'a, T, M> {
    pub plan: &'a Plan,
    pub layout: &'a Layout,
    pub source: SourceRows<'a, T>,
    pub weight: &'a PackedWeight<M>,
    pub bias: Option<&'a [f32]>,
    pub residual: Option<&'a [T]>,
    pub activation: Activation,
    pub statistics: Option<&'a mut [Total]>,
    pub y: SharedSlice<'a, T>,
    pub index: usize,
    /// Words of the ring of rows, which is the first buffer of the memory.
    pub ring: usize,
    pub memory: &'a mut [u32],
}

impl<T: Number, M: Number> Kernel for Task<'_, T, M> {
    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let Task { plan, layout, index, .. } = self;
        let (rows, vectors) = (plan.row_range(index), plan.vector_range(index));
        let (ring, memory) = std::mem::take(&mut self.memory).split_at_mut(self.ring);
        let (v, memory) = memory.split_at_mut(2 * layout.v);
        let (m, run) = memory.split_at_mut(2 * layout.m);
        let v = [v.as_mut_ptr(), v[layout.v..].as_mut_ptr()];
        let m: [*mut f32; 2] = [m.as_mut_ptr().cast(), m[layout.m..].as_mut_ptr().cast()];
        debug_assert!(run.len() >= layout.statistics);
        // SAFETY: `run` has `Layout::statistics` words.
        let statistics = |totals| unsafe { Statistics::new(run.as_mut_ptr().cast(), totals) };
        // SAFETY: the ring has `RING` rows, and `rows` are rows of tiles of the images.
        let mut staging = unsafe {
            let ring = ring.as_mut_ptr().cast();
            Staging::new(self.source, ring, plan.shape.tiles(), layout, plan.block, rows)
        };
        let mut epilogue = Epilogue {
            shape: plan.shape,
            bias: self.bias,
            residual: self.residual,
            activation: self.activation.simd(),
            y: self.y,
            statistics: self.statistics.take().map(statistics),
            first: vectors.start,
            m_position: layout.m_position,
            products: Products::NONE,
            done: 0,
            next: 0,
            count: 0,
        };
        // SAFETY: of the two `v` one is read while the other is written, and of the two `m` as
        // well.
        unsafe { self.blocks(simd, &mut staging, &mut epilogue, v, m) }
    }
}

impl<T: Number, M: Number> Task<'_, T, M> {
    /// Computes all blocks of tiles: multiplies one while the next is staged and the one before is
    /// stored.
    ///
    /// # Safety
    /// Each `v` and `m` is a buffer of the layout, which only the staging and the epilogue use.
    #[inline(always)]
    unsafe fn blocks<S: Simd>(
        &self,
        simd: S,
        staging: &mut Staging<'_, T, M>,
        epilogue: &mut Epilogue<'_, T>,
        v: [*mut u32; 2],
        m: [*mut f32; 2],
    ) {
        let Task { plan, layout, index, .. } = *self;
        let (rows, vectors) = (plan.row_range(index), plan.vector_range(index));
        let [tile_rows, columns] = plan.shape.tiles();
        let tiles = rows.len() * columns;
        let blocks = tiles.div_ceil(plan.block);
        let groups = plan.shape.in_groups();
        let u_position = groups * words::<M>() * LANES;
        let u_vector = POSITIONS * u_position;
        let steps = vectors.len().div_ceil(2) * POSITIONS;
        let mut unit = 0;
        // SAFETY: of the two `v` one is read while the other is written, and of the two `m` as
        // well; the weight has `u_vector` words for each vector of output channels.
        unsafe {
            staging.begin(v[0]);
            staging.advance(simd, 1, 1);
            for block in 0..blocks {
                let from = v[block % 2].cast_const();
                staging.begin(v[(block + 1) % 2]);
                let first = block * plan.block;
                let count = plan.block.min(tiles - first);
                let mut step = 0;
                for vector in (0..vectors.len()).step_by(2) {
                    let wide = 2.min(vectors.len() - vector);
                    let to = m[unit % 2];
                    unit += 1;
                    for p in 0..POSITIONS {
                        let u = self.weight.words().add((vectors.start + vector) * u_vector);
                        let u = (u.add(p * u_position), u_vector);
                        let v = (from.add(p * layout.v_position), layout.v_group);
                        let m = to.add(p * layout.m_position);
                        multiply::<S, M>(simd, groups, v, u, m, [count, wide]);
                        step += 1;
                        staging.advance(simd, step, steps);
                        epilogue.advance(simd, p + 1, POSITIONS);
                    }
                    epilogue.begin(Products {
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
            epilogue.advance(simd, 1, 1);
        }
    }
}

/// The products of `tiles` tiles and `wide` vectors of output channels, at one position.
///
/// # Safety
/// As for [`product`], for all of the tiles.
#[inline(always)]
unsafe fn multiply<S: Simd, M: Number>(
    simd: S,
    groups: usize,
    (v, v_group): (*const u32, usize),
    u: (*const u32, usize),
    m: *mut f32,
    [tiles, wide]: [usize; 2],
) {
    // SAFETY of all blocks: the caller's. Tiles past the last one lie within the block.
    if S::SUMS < SUMS {
        for vector in 0..wide {
            let (u, m) = unsafe { ((u.0.add(vector * u.1), u.1), m.add(vector * LANES)) };
            let mut tile = 0;
            while tile < tiles {
                unsafe {
                    let (v, m) =
                        ((v.add(tile * words::<M>()), v_group), m.add(tile * wide * LANES));
                    // Blocks are multiples of 16 tiles, which are six, five and five.
                    tile += match (tiles - tile).is_multiple_of(16) {
                        true => product::<S, M, 6, 1>(simd, groups, v, u, (m, wide)),
                        false => product::<S, M, 5, 1>(simd, groups, v, u, (m, wide)),
                    };
                }
            }
        }
        return;
    }
    let mut tile = 0;
    while tile < tiles {
        unsafe {
            let (v, m) = ((v.add(tile * words::<M>()), v_group), m.add(tile * wide * LANES));
            tile += match (wide, tiles - tile > TILES) {
                (1, true) => product::<S, M, { 2 * TILES }, 1>(simd, groups, v, u, (m, wide)),
                (1, false) => product::<S, M, TILES, 1>(simd, groups, v, u, (m, wide)),
                _ => product::<S, M, TILES, 2>(simd, groups, v, u, (m, wide)),
            };
        }
    }
}
