//! Grid and block sizes. This is plain arithmetic, so that it can be tested without a GPU.

/// The threads of a block, as in `common.cuh`.
pub const THREADS: u32 = 256;

/// The blocks for each multiprocessor of kernels that loop over their rows: as many as can be
/// resident at the same time.
const RESIDENT: usize = 8;

/// The maximum number of blocks in the second and third dimension.
const MOST_BLOCKS: usize = 65_535;

/// The maximum number of columns of a block: a warp, so that its accesses coalesce.
const COLUMNS: usize = 32;

/// The bytes of a vector load or store.
const VECTOR: usize = 16;

/// The sizes of a grid and its blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Launch {
    pub grid: [u32; 3],
    pub block: [u32; 3],
}

/// A thread for each of `count` elements; `None` if there are none or too many.
pub fn elements(count: usize) -> Option<Launch> {
    let blocks = u32::try_from(count.div_ceil(THREADS as usize)).ok()?;
    let fits = blocks > 0 && blocks <= i32::MAX as u32;
    fits.then_some(Launch { grid: [blocks, 1, 1], block: [THREADS, 1, 1] })
}

/// A block for each of `count` items; `None` if there are none or too many.
pub fn blocks(count: usize) -> Option<Launch> {
    let blocks = u32::try_from(count).ok().filter(|blocks| *blocks <= i32::MAX as u32)?;
    (blocks > 0).then_some(Launch { grid: [blocks, 1, 1], block: [THREADS, 1, 1] })
}

/// The launch of a kernel over a matrix of rows by channels, which blocks divide in both
/// dimensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rows {
    /// The channels of a vector load or store; the last part of an entry's name.
    pub lanes: usize,
    /// The number of partial sums for each channel; the second dimension of the grid.
    pub parts: usize,
    pub launch: Launch,
}

/// The launch over `rows` by `channels` numbers of `element` bytes; `None` if there are none or too
/// many for a grid. `aligned` tells whether all matrices start at multiples of 16 bytes.
pub fn rows(
    rows: usize,
    channels: usize,
    element: usize,
    aligned: bool,
    multiprocessors: usize,
) -> Option<Rows> {
    let vector = VECTOR / element;
    let lanes = if aligned && channels.is_multiple_of(vector) { vector } else { 1 };
    let columns = channels / lanes;
    if rows == 0 || columns == 0 {
        return None;
    }
    let width = columns.next_power_of_two().min(COLUMNS);
    let height = THREADS as usize / width;
    let across = columns.div_ceil(width);
    let wanted = (multiprocessors.max(1) * RESIDENT).div_ceil(across);
    let parts = wanted.min(rows.div_ceil(height)).clamp(1, MOST_BLOCKS);
    let across = u32::try_from(across).ok().filter(|across| *across <= i32::MAX as u32)?;
    let grid = [across, parts as u32, 1];
    let block = [width as u32, height as u32, 1];
    Some(Rows { lanes, parts, launch: Launch { grid, block } })
}

impl Rows {
    /// The length of the buffer for partial sums: two numbers for each part and channel.
    pub fn partial_len(&self, channels: usize) -> usize {
        self.parts * 2 * channels
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The static shared memory of a block on every architecture from sm_75 on.
    const SHARED: usize = 48 << 10;

    /// The shared memory of a block's sums, in bytes, as in `batch_norm.cu`.
    fn shared_bytes(rows: &Rows) -> usize {
        THREADS as usize * 2 * rows.lanes * size_of::<f32>()
    }

    #[test]
    fn tails_have_a_block() {
        assert_eq!(elements(0), None);
        assert_eq!(elements(1).unwrap().grid, [1, 1, 1]);
        assert_eq!(elements(256).unwrap().grid, [1, 1, 1]);
        assert_eq!(elements(257).unwrap().grid, [2, 1, 1]);
        assert_eq!(elements(usize::MAX), None);
        assert_eq!(blocks(0), None);
        assert_eq!(blocks(7).unwrap().grid, [7, 1, 1]);
        assert_eq!(blocks(1 << 31), None);
    }

    #[test]
    fn wide_vectors_where_they_fit() {
        let lanes =
            |channels, element, aligned| rows(100, channels, element, aligned, 132).unwrap().lanes;
        assert_eq!(lanes(64, 2, true), 8);
        assert_eq!(lanes(64, 4, true), 4);
        assert_eq!(lanes(64, 2, false), 1);
        assert_eq!(lanes(3, 2, true), 1);
        assert_eq!(lanes(12, 2, true), 1);
        assert_eq!(lanes(12, 4, true), 4);
    }

    #[test]
    fn the_machine_is_filled_and_not_more() {
        // ResNet-20's first stage at batch 512, on an H100.
        let large = rows(512 * 32 * 32, 16, 2, true, 132).unwrap();
        assert_eq!(large.launch.block, [2, 128, 1]);
        assert_eq!(large.launch.grid, [1, 132 * 8, 1]);
        let small = rows(5, 1, 4, true, 132).unwrap();
        assert_eq!((small.launch.grid, small.launch.block), ([1, 1, 1], [1, 256, 1]));
        assert_eq!(rows(0, 3, 4, true, 132), None);
        assert_eq!(rows(3, 0, 4, true, 132), None);
    }

    proptest! {
        #[test]
        fn every_row_and_column_has_a_thread(count in 1usize..2_000_000, channels in 1usize..5_000,
                                             wide: bool, aligned: bool, sms in 1usize..200) {
            let element = if wide { 4 } else { 2 };
            let plan = rows(count, channels, element, aligned, sms).unwrap();
            let [x, y, _] = plan.launch.block.map(|n| n as usize);
            let [across, parts, _] = plan.launch.grid.map(|n| n as usize);
            prop_assert_eq!(x * y, THREADS as usize);
            prop_assert!(y.is_power_of_two());
            prop_assert!(across * x * plan.lanes >= channels && channels % plan.lanes == 0);
            prop_assert!((across - 1) * x * plan.lanes < channels);
            prop_assert!(parts == plan.parts && parts <= MOST_BLOCKS);
            // No part is empty.
            prop_assert!((parts - 1) * y < count);
            prop_assert!(shared_bytes(&plan) <= SHARED);
            // From sm_80 on, a multiprocessor has enough shared memory for eight blocks.
            prop_assert!(RESIDENT * shared_bytes(&plan) <= 160 << 10);
            prop_assert_eq!(plan.partial_len(channels), parts * 2 * channels);
        }
    }
}
