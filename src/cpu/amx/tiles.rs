//! The operations on tiles which a kernel is written with.

use crate::cpu::memory::Line;

/// Rows of a tile, at most.
pub(crate) const ROWS: usize = 16;

/// Words of a row of a tile, at most.
pub(crate) const ROW_WORDS: usize = 16;

/// Words of a whole tile.
pub(crate) const TILE_WORDS: usize = ROWS * ROW_WORDS;

/// Number of tiles.
pub(crate) const TILES: usize = 8;

/// Bytes from row to row of a tile whose rows lie side by side.
pub(crate) const ROW_BYTES: usize = 64;

static ZEROS: [Line; ROWS] = [Line::ZERO; ROWS];

/// The size of a tile: rows, and words of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub rows: usize,
    pub words: usize,
}

impl Shape {
    pub(crate) const WHOLE: Shape = Shape { rows: ROWS, words: ROW_WORDS };
}

/// The sizes of all tiles of a kernel.
pub(crate) type Shapes = [Shape; TILES];

/// Eight tiles, numbers 0 to 7, each a matrix of up to 16 rows of 16 words.
///
/// A row that crosses a cache line makes a load several times slower, so rows are aligned to 64
/// bytes. Any other distance between rows is harmless.
pub(crate) trait Tiles {
    /// Loads tile `T`, whose rows are `stride` bytes apart.
    ///
    /// # Safety
    /// The rows of the tile's shape can be read there.
    unsafe fn load<const T: usize>(&mut self, from: *const u32, stride: usize);

    /// Stores tile `T`, with rows `stride` bytes apart.
    ///
    /// # Safety
    /// The rows of the tile's shape can be written there.
    unsafe fn store<const T: usize>(&mut self, to: *mut f32, stride: usize);

    /// `C += A * B`. Words of `A` and `B` are pairs of bf16, those of `C` are f32: element `[m][n]`
    /// of `C` grows by the products of the pairs `[m][k]` of `A` and `[k][n]` of `B`.
    fn multiply<const C: usize, const A: usize, const B: usize>(&mut self);

    /// Fills tile `T` with zeros. The instruction for it holds up the products that follow, a load
    /// does not.
    #[inline(always)]
    fn zero<const T: usize>(&mut self) {
        // SAFETY: there are the zeros of a whole tile.
        unsafe { self.load::<T>(ZEROS.as_ptr().cast(), ROW_BYTES) }
    }
}
