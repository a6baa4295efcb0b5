//! The first half of the work: from the input to the transformed tiles of a block.

use super::super::rows::{words, Lines, RING};
use super::super::{transform, POSITIONS};
use super::plan::Layout;
use crate::cpu::{Number, Simd, LANES};

/// Transforms rows of tiles, one block after the other, bit by bit.
pub(super) struct Feed<'a, T> {
    lines: Lines<'a, T>,
    /// `RING` lines, each at its row's number modulo `RING`.
    ring: *mut T,
    tiles: [usize; 2],
    layout: &'a Layout,
    block: usize,
    /// The next tile and group of channels.
    row: usize,
    column: usize,
    group: usize,
    /// Where the lines of this row of tiles are.
    rows: [*const T; RING],
    /// The number of the next tile in this block.
    tile: usize,
    /// The ring holds nothing of the images yet.
    empty: bool,
    /// Tiles of the blocks to come.
    left: usize,
    /// Tiles times groups of this block.
    todo: usize,
    done: usize,
    v: *mut u32,
}

impl<'a, T: Number> Feed<'a, T> {
    /// # Safety
    /// `ring` has `RING` lines. `row` and the tiles from there on are tiles of the images.
    pub(super) unsafe fn new(
        lines: Lines<'a, T>,
        ring: *mut T,
        tiles: [usize; 2],
        layout: &'a Layout,
        block: usize,
        rows: std::ops::Range<usize>,
    ) -> Self {
        let left = rows.len() * tiles[1];
        Feed {
            lines,
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

    /// Goes to the next block, which may be empty.
    ///
    /// # Safety
    /// `v` has `Layout::v` words, which nobody reads until the block is done.
    #[inline(always)]
    pub(super) unsafe fn begin(&mut self, v: *mut u32) {
        let tiles = self.block.min(self.left);
        self.left -= tiles;
        self.todo = tiles * (self.lines.stride() / LANES);
        (self.done, self.tile) = (0, 0);
        self.v = v;
    }

    /// Goes on until `share / whole` of the block is done.
    #[inline(always)]
    pub(super) fn advance<S: Simd>(&mut self, simd: S, share: usize, whole: usize) {
        while self.done * whole < self.todo * share {
            // SAFETY: `begin` and `new` were given the memory, and there is a tile left.
            unsafe { self.step(simd) };
        }
    }

    #[inline(always)]
    unsafe fn step<S: Simd>(&mut self, simd: S) {
        let groups = self.lines.stride() / LANES;
        // SAFETY: a line has two pixels for each tile and two more.
        unsafe {
            if self.column == 0 && self.group == 0 {
                self.load_lines(simd);
            }
            let at = 2 * self.column * self.lines.stride() + self.group * LANES;
            let [a, b, c, d] = self.rows;
            let rows = [a.add(at), b.add(at), c.add(at), d.add(at)];
            let values = transform::input(simd, rows, self.lines.stride());
            let v = self.v.add(self.group * self.layout.v_group + self.tile * words::<T>());
            let position = self.layout.v_position;
            for p in 0..POSITIONS {
                T::store(simd, v.add(p * position).cast(), values[p]);
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

    /// Brings the lines of this row of tiles into the ring, those that are not there yet.
    #[inline(always)]
    unsafe fn load_lines<S: Simd>(&mut self, simd: S) {
        let (image, first) = (self.row / self.tiles[0], self.row % self.tiles[0] * 2);
        let known = if first == 0 || self.empty { 0 } else { 2 };
        self.empty = false;
        for i in 0..RING {
            // SAFETY: the ring has `RING` lines.
            unsafe {
                let to = self.ring.add((first + i) % RING * self.lines.len());
                self.rows[i] = to;
                if i >= known {
                    self.lines.fill(simd, to, image, first + i);
                }
            }
        }
        self.lines.prefetch(image, first + RING, 2);
    }
}
