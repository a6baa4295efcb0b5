//! Transforms the tiles of the source, block by block.

use super::super::rows::{words, SourceRows, RING};
use super::super::{transform, POSITIONS};
use super::layout::Layout;
use crate::cpu::{Number, Simd, LANES};

/// Transforms rows of tiles, one block after the other, in small steps that are interleaved with
/// products.
pub(super) struct Staging<'a, T, M> {
    source: SourceRows<'a, T>,
    /// `RING` rows, each at its index modulo `RING`.
    ring: *mut M,
    tiles: [usize; 2],
    layout: &'a Layout,
    block: usize,
    /// The row and column of the next tile, and the next group of its channels.
    row: usize,
    column: usize,
    group: usize,
    /// The rows of pixels of this row of tiles, in the ring.
    rows: [*const M; RING],
    /// Index of the next tile in this block.
    tile: usize,
    /// The ring does not hold rows of the images yet.
    empty: bool,
    /// Tiles of later blocks.
    left: usize,
    /// Steps of this block, which are a tile and a group of its channels each.
    todo: usize,
    done: usize,
    /// The transformed tiles of this block.
    v: *mut u32,
}

impl<'a, T: Number, M: Number> Staging<'a, T, M> {
    /// # Safety
    /// `ring` has `RING` rows, and `rows` are rows of tiles of the images.
    pub(super) unsafe fn new(
        source: SourceRows<'a, T>,
        ring: *mut M,
        tiles: [usize; 2],
        layout: &'a Layout,
        block: usize,
        rows: std::ops::Range<usize>,
    ) -> Self {
        let left = rows.len() * tiles[1];
        Staging {
            source,
            ring,
            tiles,
            layout,
            block,
            row: rows.start,
            column: 0,
            group: 0,
            rows: [std::ptr::null(); RING],
            tile: 0,
            empty: true,
            left,
            todo: 0,
            done: 0,
            v: std::ptr::null_mut(),
        }
    }

    /// Starts the next block, which may be empty.
    ///
    /// # Safety
    /// `v` has `Layout::v` words, which are not read before the block is done.
    #[inline(always)]
    pub(super) unsafe fn begin(&mut self, v: *mut u32) {
        let tiles = self.block.min(self.left);
        self.left -= tiles;
        self.todo = tiles * (self.source.stride() / LANES);
        (self.done, self.tile) = (0, 0);
        self.v = v;
    }

    /// Continues until `share / whole` of the block is done.
    #[inline(always)]
    pub(super) fn advance<S: Simd>(&mut self, simd: S, share: usize, whole: usize) {
        while self.done * whole < self.todo * share {
            // SAFETY: the caller of `new` and `begin` has promised the memory, and there is a tile
            // left.
            unsafe { self.step(simd) };
        }
    }

    /// Transforms 16 channels of one tile.
    #[inline(always)]
    unsafe fn step<S: Simd>(&mut self, simd: S) {
        let groups = self.source.stride() / LANES;
        // SAFETY: a row has two pixels for each tile, and two more.
        unsafe {
            if self.column == 0 && self.group == 0 {
                self.load_rows(simd);
            }
            let at = 2 * self.column * self.source.stride() + self.group * LANES;
            let [a, b, c, d] = self.rows;
            let rows = [a.add(at), b.add(at), c.add(at), d.add(at)];
            let values = transform::input(simd, rows, self.source.stride());
            let v = self.v.add(self.group * self.layout.v_group + self.tile * words::<M>());
            let position = self.layout.v_position;
            for p in 0..POSITIONS {
                M::store(simd, v.add(p * position).cast(), values[p]);
            }
        }
        self.done += 1;
        self.group += 1;
        if self.group == groups {
            (self.group, self.column, self.tile) = (0, self.column + 1, self.tile + 1);
            if self.column == self.tiles[1] {
                (self.column, self.row) = (0, self.row + 1);
            }
        }
    }

    /// Reads the rows of pixels of this row of tiles that are not in the ring yet.
    #[inline(always)]
    unsafe fn load_rows<S: Simd>(&mut self, simd: S) {
        let (image, first) = (self.row / self.tiles[0], self.row % self.tiles[0] * 2);
        let known = if first == 0 || self.empty { 0 } else { 2 };
        self.empty = false;
        for i in 0..RING {
            // SAFETY: the ring has `RING` rows.
            unsafe {
                let to = self.ring.add((first + i) % RING * self.source.len());
                self.rows[i] = to;
                if i >= known {
                    self.source.read(simd, to, image, first + i);
                }
            }
        }
        self.source.prefetch(image, first + RING, 2);
    }
}
