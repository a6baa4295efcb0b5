//! A weight in the order in which the microkernel of the correlation reads it.

use std::cell::UnsafeCell;
use std::marker::PhantomData;

use super::check::check_geometry;
use super::pack::{Pack, Place, Rows};
use super::view::view;
use super::words::Words;
use crate::cpu::{check_len, dispatch, Line, Number, LANES};
use crate::error::{Error, Result};
use crate::kernels::cpu::convolution::axis::Axis;
use crate::kernels::cpu::convolution::{Geometry, Operand};

/// The weight of a convolution, packed for one [`Operand`]:
/// `[block of 16 output channels][phase][plane][tap][word][16]`, with zeros where there is no
/// channel.
///
/// Output channels are those of the correlation, which are the input channels of the convolution in
/// the gradient of the input.
pub struct PackedWeight<M> {
    /// Channels of the view of the convolution (see [`view`]).
    out_channels: usize,
    in_channels: usize,
    operand: Operand,
    /// The taps of all phases.
    order: Vec<Place>,
    taps: usize,
    words: Words,
    memory: Box<[UnsafeCell<Line>]>,
    element: PhantomData<M>,
}

// SAFETY: through a shared reference only `pack_rows` writes; its callers promise that no other
// call writes the same rows and that none reads at the same time.
unsafe impl<M: Sync> Sync for PackedWeight<M> {}

impl<M: Number> PackedWeight<M> {
    /// A weight of zeros.
    ///
    /// # Errors
    /// The geometry is impossible, or its groups have weights of their own.
    pub fn new(geometry: &Geometry, operand: Operand) -> Result<Self> {
        check_geometry(geometry)?;
        let (geometry, _) = view(geometry, operand, M::PER_WORD);
        let (source, channels) = match operand {
            Operand::Forward => (geometry.in_channels, geometry.out_channels),
            Operand::GradInput => (geometry.out_channels, geometry.in_channels),
        };
        let words = Words::new(source, M::PER_WORD);
        let order = order(&geometry, operand, words);
        let lines = channels.div_ceil(LANES) * order.len() * words.all();
        Ok(PackedWeight {
            out_channels: geometry.out_channels,
            in_channels: geometry.in_channels,
            operand,
            order,
            taps: geometry.taps(),
            words,
            memory: (0..lines).map(|_| UnsafeCell::new(Line::ZERO)).collect(),
            element: PhantomData,
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
        let mut scaled = Vec::new();
        for (i, rows) in master.chunks(LANES * row).enumerate() {
            let rows = match scale {
                None => rows,
                Some(scale) => {
                    let scales = &scale[i * LANES..];
                    let times = |(row, scale): (&[f32], &f32)| {
                        row.iter().map(|value| value * scale).collect::<Vec<_>>()
                    };
                    scaled.clear();
                    scaled.extend(rows.chunks_exact(row).zip(scales).flat_map(times));
                    &scaled
                }
            };
            // SAFETY: `&mut self` excludes all other readers and writers.
            unsafe { self.pack_rows(i * LANES, rows) };
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
        dispatch(Pack::<M> {
            rows: Rows { first, row, values: rows, channels: self.in_channels },
            operand: self.operand,
            order: &self.order,
            words: self.words,
            // Different rows are written to different words, or to different halves of a word.
            to: UnsafeCell::raw_get(self.memory.as_ptr()).cast(),
            element: PhantomData,
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
        let (viewed, _) = view(geometry, operand, M::PER_WORD);
        let fits = self.operand == operand
            && self.out_channels == viewed.out_channels
            && self.in_channels == viewed.in_channels
            && self.taps == viewed.taps()
            && self.order == order(&viewed, operand, self.words);
        match fits {
            true => Ok(()),
            false => Err(Error::PackedWeight { expected: format!("{operand}, {geometry}") }),
        }
    }
}

/// The taps of all phases and their places.
fn order(geometry: &Geometry, operand: Operand, words: Words) -> Vec<Place> {
    let [vertical, horizontal] = [0, 1].map(|dim| Axis::new(geometry, operand, dim));
    let mut order = Vec::new();
    for v in &vertical.phases {
        for h in &horizontal.phases {
            let start = order.len() * words.all();
            let plane = v.taps.len() * h.taps.len() * words.words;
            let rows = v.taps.iter().map(|tap| tap.index * geometry.kernel_size[1]);
            let places = rows.flat_map(|row| h.taps.iter().map(move |tap| row + tap.index));
            order.extend(places.enumerate().map(|(i, tap)| Place {
                tap,
                vector: start + i * words.words,
                plane,
            }));
        }
    }
    order
}
