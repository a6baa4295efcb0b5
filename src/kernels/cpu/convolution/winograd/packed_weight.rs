//! Weights at the sixteen positions, in the order in which the products read them.

use std::cell::UnsafeCell;
use std::marker::PhantomData;

use super::check::check_geometry;
use super::pack::Pack;
use super::rows::words;
use super::POSITIONS;
use crate::cpu::{check_len, dispatch, Number, LANES};
use crate::error::Result;
use crate::kernels::cpu::convolution::{Geometry, Operand};

/// `[vector of out_channels][position][word of in_channels][16]`; channels are filled up with zeros
/// to whole vectors. For `Operand::GradInput` in and out are swapped and the kernel is turned round.
pub struct PackedWeight<T> {
    geometry: Geometry,
    operand: Operand,
    words: Vec<Vector>,
    number: PhantomData<T>,
}

#[repr(C, align(64))]
struct Vector(UnsafeCell<[u32; LANES]>);

// SAFETY: shared references write only in `pack_rows`, whose callers keep apart.
unsafe impl<T> Sync for PackedWeight<T> {}

impl<T: Number> PackedWeight<T> {
    /// # Errors
    /// Winograd does not take the geometry.
    pub fn new(geometry: Geometry, operand: Operand) -> Result<Self> {
        check_geometry(&geometry)?;
        let (from, to) = match operand {
            Operand::Forward => (geometry.in_channels, geometry.out_channels),
            Operand::GradInput => (geometry.out_channels, geometry.in_channels),
        };
        let vectors = to.div_ceil(LANES) * POSITIONS * from.div_ceil(LANES) * words::<T>();
        let zero = || Vector(UnsafeCell::new([0; LANES]));
        let words = std::iter::repeat_with(zero).take(vectors).collect();
        Ok(PackedWeight { geometry, operand, words, number: PhantomData })
    }

    /// Takes the whole master, `[out_channels, 3, 3, in_channels]`, each output channel times its
    /// scale.
    ///
    /// # Errors
    /// A slice does not have its length.
    pub fn pack(&mut self, master: &[f32], scale: Option<&[f32]>) -> Result<()> {
        check_len("weight", self.geometry.weight_len(), master.len())?;
        let channels = self.geometry.out_channels;
        scale.map_or(Ok(()), |scale| check_len("scale", channels, scale.len()))?;
        // SAFETY: `&mut self`: nobody else is here.
        unsafe { self.pack_scaled(0, master, scale) };
        Ok(())
    }

    /// Takes the master's output channels from `first` on.
    ///
    /// # Safety
    /// `first` is a multiple of 16, `rows` are whole output channels, as many as there are or a
    /// multiple of 16. Several threads may pack at a time, but not the same rows, and none reads.
    pub unsafe fn pack_rows(&self, first: usize, rows: &[f32]) {
        // SAFETY: the caller's.
        unsafe { self.pack_scaled(first, rows, None) };
    }

    /// # Safety
    /// As `pack_rows`; there is a scale for each row.
    unsafe fn pack_scaled(&self, first: usize, rows: &[f32], scale: Option<&[f32]>) {
        let block = LANES * 9 * self.geometry.in_channels;
        debug_assert!(first.is_multiple_of(LANES) && rows.len().is_multiple_of(block / LANES));
        debug_assert!(first + rows.len() / (block / LANES) <= self.geometry.out_channels);
        for (i, rows) in rows.chunks(block).enumerate() {
            dispatch(Pack::<T> {
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

    /// Memory that the weights take.
    pub fn bytes(&self) -> usize {
        size_of_val(&self.words[..])
    }

    pub(super) fn is_for(&self, geometry: &Geometry, operand: Operand) -> bool {
        self.operand == operand
            && self.geometry.in_channels == geometry.in_channels
            && self.geometry.out_channels == geometry.out_channels
    }

    /// All words, in the order of the type's description.
    pub(super) fn words(&self) -> *const u32 {
        self.words.as_ptr().cast()
    }
}
