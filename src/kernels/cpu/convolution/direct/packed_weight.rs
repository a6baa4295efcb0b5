//! A weight in the order in which a tile reads it.

use std::cell::UnsafeCell;
use std::marker::PhantomData;

use super::axis::Axis;
use super::pack::{Pack, Place, Rows};
use super::view::view;
use super::words::Words;
use crate::cpu::{check_len, dispatch, Line, Number, LANES};
use crate::error::{Error, Result};
use crate::kernels::cpu::convolution::{Geometry, Operand};

/// A convolution's weight for one product:
/// `[block of 16 output channels][phase][plane][tap][word][16]`, zeros where there is no channel.
///
/// The output channels are those of the product: the input channels for the gradient of the input.
pub struct PackedWeight<T> {
    // As the product's view has them.
    out_channels: usize,
    in_channels: usize,
    operand: Operand,
    /// Each tap of the kernel that is there.
    order: Vec<Place>,
    taps: usize,
    words: Words,
    memory: Box<[UnsafeCell<Line>]>,
    element: PhantomData<T>,
}

// SAFETY: shared access writes in `pack_rows` alone, whose callers keep apart from each other and
// from readers.
unsafe impl<T: Sync> Sync for PackedWeight<T> {}

impl<T: Number> PackedWeight<T> {
    /// Zeros.
    ///
    /// # Errors
    /// The geometry is none, or its groups have weights of their own.
    pub fn new(geometry: &Geometry, operand: Operand) -> Result<Self> {
        check(geometry)?;
        let (geometry, _) = view(geometry, operand, T::PER_WORD);
        let (source, channels) = match operand {
            Operand::Forward => (geometry.in_channels, geometry.out_channels),
            Operand::GradInput => (geometry.out_channels, geometry.in_channels),
        };
        let words = Words::new(source, T::PER_WORD);
        let order = order(&geometry, operand, words);
        let lines = channels.div_ceil(LANES) * order.len() * words.planes * words.words;
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

    /// Packs the fp32 master, `[out_channels, kernel height, kernel width, in_channels]`, each
    /// output channel times its scale if there is one.
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
            // SAFETY: `&mut self`: nobody else reads or writes.
            unsafe { self.pack_rows(i * LANES, rows) };
        }
        Ok(())
    }

    /// Packs the rows of the master (output channels of the convolution) from `first` on.
    ///
    /// # Safety
    /// `first` is a multiple of 16, and so is the number of rows unless they are the last. Calls may run at once if their rows differ, but nobody reads
    /// meanwhile.
    ///
    /// # Panics
    /// There are not that many rows.
    pub unsafe fn pack_rows(&self, first: usize, rows: &[f32]) {
        let row = self.taps * self.in_channels;
        debug_assert!(first.is_multiple_of(LANES) && rows.len().is_multiple_of(row));
        assert!(first + rows.len() / row <= self.out_channels, "rows beyond the weight");
        dispatch(Pack::<T> {
            rows: Rows { first, row, values: rows, channels: self.in_channels },
            operand: self.operand,
            order: &self.order,
            words: self.words,
            // Rows of output channels that differ lie in words, or halves of words, that differ.
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
    /// The weight was packed for another product.
    pub(super) fn check(&self, geometry: &Geometry, operand: Operand) -> Result<()> {
        check(geometry)?;
        let (seen, _) = view(geometry, operand, T::PER_WORD);
        let fits = self.operand == operand
            && self.out_channels == seen.out_channels
            && self.in_channels == seen.in_channels
            && self.taps == seen.taps()
            && self.order == order(&seen, operand, self.words);
        match fits {
            true => Ok(()),
            false => Err(Error::PackedWeight { expected: format!("{operand:?} of {geometry:?}") }),
        }
    }
}

fn check(geometry: &Geometry) -> Result<()> {
    geometry.check()?;
    match geometry.has_one_weight() {
        true => Ok(()),
        false => Err(Error::Groups { groups: geometry.groups }),
    }
}

/// The taps of all phases and where they go.
fn order(geometry: &Geometry, operand: Operand, words: Words) -> Vec<Place> {
    let [vertical, horizontal] = [0, 1].map(|dim| Axis::new(geometry, operand, dim));
    let mut order = Vec::new();
    for v in &vertical.phases {
        for h in &horizontal.phases {
            let start = order.len() * words.planes * words.words;
            let plane = v.taps.len() * h.taps.len() * words.words;
            let rows = v.taps.iter().map(|tap| tap.place * geometry.kernel_size[1]);
            let places = rows.flat_map(|row| h.taps.iter().map(move |tap| row + tap.place));
            order.extend(places.enumerate().map(|(i, tap)| Place {
                tap,
                line: start + i * words.words,
                plane,
            }));
        }
    }
    order
}
