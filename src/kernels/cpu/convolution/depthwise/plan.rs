//! How rows are divided into tasks, and the rows of a task into bands.

use std::ops::Range;

use crate::kernels::cpu::convolution::Geometry;

/// Tasks are large enough to be worth starting and few enough to be merged quickly.
const TASK_ELEMENTS: usize = 24 * 1024;
const TASKS: usize = 64;

/// What a band reads and writes stays in the cache, mostly in L1, while it is computed block by
/// block of channels.
const BAND_ELEMENTS: usize = 24 * 1024;

/// A band has no more values of a channel than an f32 sum is accurate for, unless one row has.
const BAND_VALUES: usize = 512;

/// Rows are counted through all images. The plan depends on the shape alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    rows: usize,
    part: usize,
    band: usize,
}

impl Plan {
    /// Divides the rows of the output.
    pub(super) fn outputs(geometry: &Geometry) -> Plan {
        let [height, width] = geometry.out_size();
        Plan::new(geometry, geometry.batch * height, width)
    }

    /// Divides the rows of the input.
    pub(super) fn inputs(geometry: &Geometry) -> Plan {
        let [height, width] = geometry.in_size;
        Plan::new(geometry, geometry.batch * height, width)
    }

    fn new(geometry: &Geometry, rows: usize, width: usize) -> Plan {
        let row = (geometry.in_len() + geometry.out_len()) / rows;
        let work = rows.div_ceil(TASKS).max(TASK_ELEMENTS.div_ceil(row)).min(rows);
        let part = rows.div_ceil(rows.div_ceil(work));
        let band = (BAND_ELEMENTS / row).min(BAND_VALUES / width).clamp(1, part);
        Plan { rows, part, band: part.div_ceil(part.div_ceil(band)) }
    }

    pub(super) fn tasks(&self) -> usize {
        self.rows.div_ceil(self.part)
    }

    /// Rows of a task; the last one may have fewer.
    pub(super) fn part(&self) -> usize {
        self.part
    }

    /// The rows of a task, in bands.
    #[inline(always)]
    pub(super) fn bands(&self, task: usize) -> impl Iterator<Item = Range<usize>> {
        let Plan { rows, part, band } = *self;
        let end = ((task + 1) * part).min(rows);
        (task * part..end).step_by(band).map(move |from| from..(from + band).min(end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_in_one_band() {
        for (batch, size, channels) in [(1, 1, 1), (32, 2, 960), (3, 37, 5), (32, 32, 96)] {
            let geometry = Geometry {
                batch,
                in_channels: channels,
                out_channels: channels,
                in_size: [size; 2],
                kernel_size: [1; 2],
                stride: [1; 2],
                padding: [0; 2],
                dilation: [1; 2],
                groups: channels,
                num_blocks: 1,
            };
            let plan = Plan::outputs(&geometry);
            let rows = (0..plan.tasks()).flat_map(|task| plan.bands(task)).flatten();
            assert!(rows.eq(0..batch * size), "{plan:?}");
            assert!(plan.tasks() <= TASKS);
        }
    }
}
