//! How many blocks of how many threads: arithmetic alone, so that it is tested without a GPU.

/// Threads of a block, as `common.cuh` has it.
pub const THREADS: u32 = 256;

/// Blocks of a kernel that go on for as long as there is work, for each multiprocessor: as many as
/// are there at a time.
const RESIDENT: usize = 8;

/// The most blocks in the second and third dimension.
const MOST_BLOCKS: usize = 65_535;

/// The columns that a block has side by side at most: a warp's, so that rows are read as a whole.
const COLUMNS: usize = 32;

/// Bytes that are moved as one.
const VECTOR: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Launch {
    pub grid: [u32; 3],
    pub block: [u32; 3],
}

/// A thread for each of `count` things; `None` if there are none or too many.
pub fn elements(count: usize) -> Option<Launch> {
    let blocks = u32::try_from(count.div_ceil(THREADS as usize)).ok()?;
    let fits = blocks > 0 && blocks <= i32::MAX as u32;
    fits.then_some(Launch { grid: [blocks, 1, 1], block: [THREADS, 1, 1] })
}

/// A block for each of `count` things.
pub fn blocks(count: usize) -> Option<Launch> {
    let blocks = u32::try_from(count).ok().filter(|blocks| *blocks <= i32::MAX as u32)?;
    (blocks > 0).then_some(Launch { grid: [blocks, 1, 1], block: [THREADS, 1, 1] })
}

/// Rows of channels, dealt to blocks of some columns by some rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rows {
    /// Channels that are moved as one: the last part of an entry's name.
    pub lanes: usize,
    /// Sums that are left to be added up: the second dimension of the grid.
    pub parts: usize,
    pub launch: Launch,
}

/// `None` if there is nothing to do or more than a grid holds. `element` is the size of a number in
/// bytes, `aligned` whether all matrices begin at multiples of sixteen bytes.
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
    /// Numbers of the buffer for the parts' sums: two for each channel.
    pub fn partial_len(&self, channels: usize) -> usize {
        self.parts * 2 * channels
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Of every architecture from sm_75 on, without asking for more.
    const SHARED: usize = 48 << 10;

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
            let shared_bytes = THREADS as usize * 2 * plan.lanes * size_of::<f32>();
            prop_assert!(shared_bytes <= SHARED);
            // Eight blocks a multiprocessor have their shared memory, from sm_80 on.
            prop_assert!(RESIDENT * shared_bytes <= 160 << 10);
            prop_assert_eq!(plan.partial_len(channels), parts * 2 * channels);
        }
    }
}
