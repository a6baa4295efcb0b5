//! The shape of an attention, and where its vectors are in memory.

use crate::cpu::check_len;
use crate::error::{Error, Result};

/// Queries, keys and values are of one shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub batch: usize,
    pub heads: usize,
    pub tokens: usize,
    /// The length of a vector.
    pub features: usize,
}

/// The distances in memory between the vectors of two images, heads and tokens. The features of a
/// vector are side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strides {
    pub image: usize,
    pub head: usize,
    pub token: usize,
}

/// Vectors in memory which may hold others between them.
#[derive(Clone, Copy)]
pub struct Operand<'a, T> {
    pub data: &'a [T],
    pub strides: Strides,
}

impl Shape {
    /// The number of vectors.
    pub fn vectors(&self) -> usize {
        // No slice is as long as a saturated product: an overflow is refused by a check.
        self.batch.saturating_mul(self.heads).saturating_mul(self.tokens)
    }

    /// The number of elements.
    pub fn elements(&self) -> usize {
        self.vectors().saturating_mul(self.features)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.elements() == 0
    }

    /// The strides of `[batch, tokens, parts, heads, features]` within one part.
    pub(super) fn interleaved(&self, parts: usize) -> Strides {
        let token = parts * self.heads * self.features;
        Strides { image: self.tokens * token, head: self.features, token }
    }

    pub(super) fn check_operand<T>(
        &self,
        name: &'static str,
        operand: Operand<'_, T>,
    ) -> Result<()> {
        let Strides { image, head, token } = operand.strides;
        let last = |count: usize, stride: usize| (count - 1).saturating_mul(stride);
        let needed = last(self.batch, image)
            .saturating_add(last(self.heads, head))
            .saturating_add(last(self.tokens, token))
            .saturating_add(self.features);
        match operand.data.len() >= needed {
            true => Ok(()),
            false => Err(Error::SliceLength { name, expected: needed, got: operand.data.len() }),
        }
    }

    pub(super) fn check_elements<T>(
        &self,
        name: &'static str,
        parts: usize,
        slice: &[T],
    ) -> Result<()> {
        check_len(name, self.elements().saturating_mul(parts), slice.len())
    }
}

impl Strides {
    /// The first element of a head of an image.
    pub(super) fn start(&self, image: usize, head: usize) -> usize {
        image * self.image + head * self.head
    }
}

impl<'a, T> Operand<'a, T> {
    /// The vectors of one head of one image.
    pub(super) fn head(&self, image: usize, head: usize) -> Rows<'a, T> {
        Rows { data: &self.data[self.strides.start(image, head)..], stride: self.strides.token }
    }
}

/// The vectors of one head: rows of a matrix.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a, T> {
    pub data: &'a [T],
    pub stride: usize,
}
