//! A weight in the order in which the microkernel of the correlation reads it.

use std::cell::UnsafeCell;

use super::check::check_geometry;
use super::fold::{Fold, Step};
use super::pack::{Pack, Rows};
use crate::cpu::{check_len, dispatch, Line, LANES, TILE_WORDS};
use crate::error::{Error, Result};
use crate::kernels::cpu::convolution::axis::Axis;
use crate::kernels::cpu::convolution::{Geometry, Operand};

/// The weight of a convolution, packed for one [`Operand`]: `[block of 16 output channels][phase]
/// [step][pair of contracted numbers][16][2]`, with zeros where there is no channel. Each step is a
/// tile.
///
/// Output channels are those of the correlation, which are the input channels of the convolution in
/// the gradient of the input.
pub struct PackedWeight {
    /// Channels of a group of the convolution.
    out_channels: usize,
    in_channels: usize,
    taps: usize,
    operand: Operand,
    fold: Fold,
    /// The steps of all phases.
    steps: Vec<Step>,
    memory: Box<[UnsafeCell<Line>]>,
}

// SAFETY: through a shared reference only `pack_rows` writes; its callers promise that no other
// call writes the same rows and that none reads at the same time.
unsafe impl Sync for PackedWeight {}

impl PackedWeight {
    /// A weight of zeros.
    ///
    /// # Errors
    /// The geometry is not supported, or the machine has no tiles.
    pub fn new(geometry: &Geometry, operand: Operand) -> Result<Self> {
        check_geometry(geometry)?;
        let geometry = geometry.of_group();
        let channels = match operand {
            Operand::Forward => geometry.out_channels,
            Operand::GradInput => geometry.in_channels,
        };
        let (fold, steps) = order(&geometry, operand);
        let lines = channels.div_ceil(LANES) * steps.len() * TILE_WORDS / LANES;
        Ok(PackedWeight {
            out_channels: geometry.out_channels,
            in_channels: geometry.in_channels,
            taps: geometry.taps(),
            operand,
            fold,
            steps,
            memory: (0..lines).map(|_| UnsafeCell::new(Line::ZERO)).collect(),
        })
    }

    /// Packs the fp32 master weight, `[out_channels, kernel height, kernel width, in_channels]`,
    /// each output channel multiplied by its scale if there is one.
    ///
    /// # Errors
    /// A slice does not have its length.
    pub fn pack(&mut self, master: &[f32], scale: Option<&[f32]>) -> Result<()> {
        let row = self.taps * self.in_channels;
        check_len("master", self.out_channels * row, master.len())?;
        scale.map_or(Ok(()), |scale| check_len("scale", self.out_channels, scale.len()))?;
        for (i, rows) in master.chunks(LANES * row).enumerate() {
            let scaled: Option<Vec<f32>> = scale.map(|scale| {
                let each = rows.chunks_exact(row).zip(&scale[i * LANES..]);
                each.flat_map(|(row, scale)| row.iter().map(move |value| value * scale)).collect()
            });
            // SAFETY: `&mut self` excludes all other readers and writers.
            unsafe { self.pack_rows(i * LANES, scaled.as_deref().unwrap_or(rows)) };
        }
        Ok(())
    }

    /// Packs the rows of the master weight (output channels of the convolution) from `first` on.
    ///
    /// # Safety
    /// `first` is a multiple of 16, and so is the number of rows unless they are the last. Calls
    /// may run at the same time if their rows differ, but the weight must not be read meanwhile.
    ///
    /// # Panics
    /// There are not that many rows.
    pub unsafe fn pack_rows(&self, first: usize, rows: &[f32]) {
        let row = self.taps * self.in_channels;
        debug_assert!(first.is_multiple_of(LANES) && rows.len().is_multiple_of(row));
        assert!(first + rows.len() / row <= self.out_channels, "rows beyond the weight");
        dispatch(Pack {
            rows: Rows { first, row, values: rows, channels: self.in_channels },
            operand: self.operand,
            fold: self.fold,
            steps: &self.steps,
            // Different rows are written to different words.
            to: UnsafeCell::raw_get(self.memory.as_ptr()).cast(),
        });
    }

    pub fn bytes(&self) -> usize {
        self.memory.len() * Line::BYTES
    }

    /// The packed words.
    pub(super) fn words(&self) -> *const u32 {
        UnsafeCell::raw_get(self.memory.as_ptr()).cast_const().cast()
    }

    /// # Errors
    /// The geometry is not supported, or the weight was packed for another product.
    pub(super) fn check(&self, geometry: &Geometry, operand: Operand) -> Result<()> {
        check_geometry(geometry)?;
        let group = geometry.of_group();
        let fits = self.operand == operand
            && self.out_channels == group.out_channels
            && self.in_channels == group.in_channels
            && self.taps == group.taps()
            && (self.fold, &self.steps) == {
                let (fold, steps) = &order(&group, operand);
                (*fold, &steps.clone())
            };
        match fits {
            true => Ok(()),
            false => Err(Error::PackedWeight { expected: format!("{operand}, {geometry}") }),
        }
    }
}

/// The steps of all phases of one group.
fn order(geometry: &Geometry, operand: Operand) -> (Fold, Vec<Step>) {
    let channels = match operand {
        Operand::Forward => geometry.in_channels,
        Operand::GradInput => geometry.out_channels,
    };
    let [vertical, horizontal] = [0, 1].map(|dim| Axis::new(geometry, operand, dim));
    let fold = Fold::new(channels, &vertical, &horizontal);
    let mut steps = Vec::new();
    for v in &vertical.phases {
        for h in &horizontal.phases {
            steps.extend(fold.steps(v, h, geometry.kernel_size[1]));
        }
    }
    (fold, steps)
}
