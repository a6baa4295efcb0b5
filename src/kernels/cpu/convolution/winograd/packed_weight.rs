//! A transformed weight in the order in which the microkernel of the correlation reads it.

use std::cell::UnsafeCell;
use std::marker::PhantomData;

use super::check::check_geometry;
use super::pack::Pack;
use super::rows::words;
use super::POSITIONS;
use crate::cpu::{check_len, dispatch, Number, LANES};
use crate::error::{Error, Result};
use crate::kernels::cpu::convolution::{Geometry, Operand};

/// The weight of a convolution, transformed and packed for one [`Operand`]:
/// `[vector of output channels][position][word of input channels][16]`. Channels are filled up with
/// zeros to whole vectors. For [`Operand::GradInput`] input and output are swapped and the kernel
/// is rotated by 180 degrees.
pub struct PackedWeight<M> {
    geometry: Geometry,
    operand: Operand,
    words: Vec<Vector>,
    number: PhantomData<M>,
}

#[repr(C, align(64))]
struct Vector(UnsafeCell<[u32; LANES]>);

// SAFETY: through a shared reference only `pack_rows` writes; its callers promise that no other
// call writes the same rows and that none reads at the same time.
unsafe impl<M> Sync for PackedWeight<M> {}

impl<M: Number> PackedWeight<M> {
    /// A weight of zeros.
    ///
    /// # Errors
    /// The geometry is not supported.
    pub fn new(geometry: Geometry, operand: Operand) -> Result<Self> {
        check_geometry(&geometry)?;
        let (from, to) = match operand {
            Operand::Forward => (geometry.in_channels, geometry.out_channels),
            Operand::GradInput => (geometry.out_channels, geometry.in_channels),
        };
        let vectors = to.div_ceil(LANES) * POSITIONS * from.div_ceil(LANES) * words::<M>();
        let zero = || Vector(UnsafeCell::new([0; LANES]));
        let words = std::iter::repeat_with(zero).take(vectors).collect();
        Ok(PackedWeight { geometry, operand, words, number: PhantomData })
    }

    /// Packs the fp32 master weight, `[out_channels, 3, 3, in_channels]`, each output channel
    /// multiplied by its scale if there is one.
    ///
    /// # Errors
    /// A slice does not have its length.
    pub fn pack(&mut self, master: &[f32], scale: Option<&[f32]>) -> Result<()> {
        check_len("weight", self.geometry.weight_len(), master.len())?;
        let channels = self.geometry.out_channels;
        scale.map_or(Ok(()), |scale| check_len("scale", channels, scale.len()))?;
        // SAFETY: `&mut self` excludes all other readers and writers.
        unsafe { self.pack_scaled(0, master, scale) };
        Ok(())
    }

    /// Packs the rows of the master weight (output channels) from `first` on.
    ///
    /// # Safety
    /// `first` is a multiple of 16, and so is the number of rows unless they are the last. Calls
    /// may run at the same time if their rows differ, but the weight must not be read meanwhile.
    pub unsafe fn pack_rows(&self, first: usize, rows: &[f32]) {
        // SAFETY: the caller's.
        unsafe { self.pack_scaled(first, rows, None) };
    }

    /// # Safety
    /// As for `pack_rows`, and there is a scale for each row.
    unsafe fn pack_scaled(&self, first: usize, rows: &[f32], scale: Option<&[f32]>) {
        let block = LANES * 9 * self.geometry.in_channels;
        debug_assert!(first.is_multiple_of(LANES) && rows.len().is_multiple_of(block / LANES));
        debug_assert!(first + rows.len() / (block / LANES) <= self.geometry.out_channels);
        for (i, rows) in rows.chunks(block).enumerate() {
            dispatch(Pack::<M> {
                channels: [self.geometry.in_channels, self.geometry.out_channels],
                operand: self.operand,
                first: first + i * LANES,
                rows,
                scale: scale.map(|scale| &scale[i * LANES..]),
                to: self.words.as_ptr().cast_mut().cast(),
                number: PhantomData,
            });
        }
    }

    pub fn bytes(&self) -> usize {
        size_of_val(&self.words[..])
    }

    /// Whether the weight was packed for these channels and this pass.
    pub(super) fn is_for(&self, geometry: &Geometry, operand: Operand) -> bool {
        self.operand == operand
            && self.geometry.in_channels == geometry.in_channels
            && self.geometry.out_channels == geometry.out_channels
    }

    /// The packed words.
    pub(super) fn words(&self) -> *const u32 {
        self.words.as_ptr().cast()
    }
}

/// # Errors
/// The weight was packed for other channels or another pass.
pub(super) fn check_weight<M: Number>(
    weight: &PackedWeight<M>,
    geometry: &Geometry,
    operand: Operand,
) -> Result<()> {
    match weight.is_for(geometry, operand) {
        true => Ok(()),
        false => Err(Error::PackedWeight { expected: format!("{operand}, {geometry}") }),
    }
}
