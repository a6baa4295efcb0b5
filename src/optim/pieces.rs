//! The division of all parameters into pieces, and of the pieces into tasks for threads.
//!
//! It depends only on the shapes, so results do not depend on the threads, and it is made once.

use std::ops::Range;

use crate::cpu::LANES;

/// The number of rows of a piece is a multiple of this: packed copies of a weight hold whole
/// vectors of rows.
pub const ROWS: usize = LANES;

/// The approximate number of elements of a piece. The data of an update then stays in a core's own
/// cache, and there are enough tasks to balance the load.
const PIECE: usize = 1 << 14;

/// The memory of a parameter, as far as the division needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Slices of dimension 0.
    pub rows: usize,
    /// Elements of a row, adjacent in memory.
    pub row: usize,
    /// Whether these are rows of dimension 0, and not single elements of memory in another order.
    pub has_rows: bool,
}

impl Extent {
    /// Dense memory with dimension 0, of size `rows`, outermost.
    pub fn rows(rows: usize, row: usize) -> Extent {
        Extent { rows, row, has_rows: true }
    }

    /// Dense memory in any other order.
    pub fn flat(len: usize) -> Extent {
        Extent { rows: len, row: 1, has_rows: false }
    }

    pub fn len(&self) -> usize {
        self.rows * self.row
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Adjacent rows of one parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    pub parameter: usize,
    /// The index of the first row.
    pub first: usize,
    /// The elements, in the order of memory.
    pub range: Range<usize>,
}

/// All elements of all parameters. Each element is in one piece, and each piece in one task.
#[derive(Clone, Debug, Default)]
pub struct Pieces {
    extents: Vec<Extent>,
    pieces: Vec<Piece>,
    tasks: Vec<Range<usize>>,
}

impl Pieces {
    pub fn new(extents: Vec<Extent>) -> Pieces {
        let cut = extents.iter().enumerate().flat_map(|(index, extent)| cut(index, extent));
        let pieces: Vec<Piece> = cut.collect();
        Pieces { extents, tasks: group(&pieces), pieces }
    }

    /// One for each parameter.
    pub fn extents(&self) -> &[Extent] {
        &self.extents
    }

    pub fn tasks(&self) -> usize {
        self.tasks.len()
    }

    /// The pieces of a task.
    pub fn of(&self, task: usize) -> &[Piece] {
        self.tasks.get(task).map_or(&[], |range| &self.pieces[range.clone()])
    }
}

/// Pieces of about the same size, all but the last of a multiple of `ROWS` rows.
fn cut(parameter: usize, extent: &Extent) -> impl Iterator<Item = Piece> {
    let Extent { rows, row, .. } = *extent;
    let blocks = rows.div_ceil(ROWS);
    let count = extent.len().div_ceil(PIECE).clamp(1, blocks.max(1));
    let height = (blocks.div_ceil(count) * ROWS).max(1);
    let rows = if extent.is_empty() { 0 } else { rows };
    (0..rows).step_by(height).map(move |first| {
        let range = first * row..(first + height).min(rows) * row;
        Piece { parameter, first, range }
    })
}

/// Groups adjacent pieces until a task is worth its start: batch norms have many parameters of a
/// few elements.
fn group(pieces: &[Piece]) -> Vec<Range<usize>> {
    let mut tasks = Vec::new();
    let (mut start, mut elements) = (0, 0);
    for (index, piece) in pieces.iter().enumerate() {
        elements += piece.range.len();
        if elements >= PIECE || index + 1 == pieces.len() {
            tasks.push(start..index + 1);
            (start, elements) = (index + 1, 0);
        }
    }
    tasks
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shapes of real networks, and unusual ones.
    fn extents() -> Vec<Extent> {
        let rows = [(64, 147), (64, 1), (16, 144), (1000, 512), (512, 4608), (4096, 25088)];
        let odd = [(1, 1), (17, 1), (0, 5), (5, 0), (33, 4099), (1, 1 << 20), (10, 64)];
        let all = rows.into_iter().chain(odd).map(|(rows, row)| Extent::rows(rows, row));
        all.chain([Extent::flat(0), Extent::flat(1), Extent::flat(100_003)]).collect()
    }

    fn all_pieces(pieces: &Pieces) -> Vec<Piece> {
        (0..pieces.tasks()).flat_map(|task| pieces.of(task)).cloned().collect()
    }

    #[test]
    fn every_element_is_in_one_piece() {
        let pieces = Pieces::new(extents());
        let mut ends = vec![0; extents().len()];
        for piece in all_pieces(&pieces) {
            assert_eq!(piece.range.start, ends[piece.parameter]);
            assert!(!piece.range.is_empty());
            ends[piece.parameter] = piece.range.end;
        }
        let lengths: Vec<usize> = extents().iter().map(Extent::len).collect();
        assert_eq!(ends, lengths);
    }

    #[test]
    fn pieces_are_sixteens_of_rows() {
        for Piece { parameter, first, range } in all_pieces(&Pieces::new(extents())) {
            let extent = extents()[parameter];
            assert_eq!(range.start, first * extent.row);
            assert_eq!(first % ROWS, 0);
            let count = range.len() / extent.row;
            assert_eq!(count * extent.row, range.len());
            assert!(count.is_multiple_of(ROWS) || first + count == extent.rows);
        }
    }

    #[test]
    fn tasks_are_of_a_size() {
        let pieces = Pieces::new(extents());
        for task in 0..pieces.tasks() {
            let of = pieces.of(task);
            let elements: usize = of.iter().map(|piece| piece.range.len()).sum();
            assert!(elements >= PIECE || task + 1 == pieces.tasks());
            let largest = of.iter().map(|piece| extents()[piece.parameter].row).max().unwrap();
            assert!(elements < 3 * PIECE + 2 * ROWS * largest, "{elements}");
        }
        assert!(pieces.of(pieces.tasks()).is_empty());
    }

    #[test]
    fn small_parameters_share_a_task() {
        let pieces = Pieces::new(vec![Extent::rows(16, 1); 100]);
        assert_eq!(pieces.tasks(), 1);
        assert_eq!(pieces.of(0).len(), 100);
        assert_eq!(Pieces::new(vec![]).tasks(), 0);
    }
}
