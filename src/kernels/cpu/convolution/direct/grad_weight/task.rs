//! One task: some output channels of the gradient, summed over some strips.

use std::marker::PhantomData;

use super::bias::add_up;
use super::plan::Plan;
use super::rows::{buffer_len, Source, Spread};
use super::staging::{pack_x, pack_y, padded_len, Rows};
use super::strip::PackedStrip;
use crate::cpu::{Kernel, Number, Simd, LANES};

pub(super) struct Task<'a, T, M> {
    pub plan: &'a Plan,
    pub part: usize,
    pub chunk: usize,
    pub x: &'a [T],
    /// The load of each group; empty without a load.
    pub load: &'a [Spread],
    pub grad_y: &'a [T],
    /// At least the output channels of the chunk.
    pub grad_weight: &'a mut [f32],
    /// At least the output channels of the chunk, or empty if it is not wanted.
    pub grad_bias: &'a mut [f32],
    /// As many words as all of [`buffer_words`].
    pub buffer: &'a mut [u32],
    pub products: PhantomData<M>,
}

/// Words of the buffers of a task: packed `x` and `grad_y`, a row, a padded row, and for narrow `x`
/// the transposed gradient, `[tap][input channel][output channel]`.
pub(super) fn buffer_words<M: Number>(plan: &Plan) -> [usize; 5] {
    let Plan { layout, geometry, chunk, .. } = plan;
    let row = buffer_len(geometry).div_ceil(M::PER_WORD);
    let padded = padded_len::<M>(layout, geometry).div_ceil(M::PER_WORD);
    let transposed = geometry.taps() * geometry.in_channels * chunk;
    let [padded, transposed] = [padded, transposed].map(|len| if layout.narrow { len } else { 0 });
    let words = [layout.x_words(), chunk / LANES * layout.y_block, row, padded, transposed];
    words.map(|words| words.next_multiple_of(LANES))
}

impl<T: Number, M: Number> Kernel for Task<'_, T, M> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Plan { layout, geometry, groups, chunk, .. } = self.plan;
        let [x_words, y_words, row_words, padded_words, _] = buffer_words::<M>(self.plan);
        let (x, rest) = self.buffer.split_at_mut(x_words);
        let (grad_y, rest) = rest.split_at_mut(y_words);
        let (row, rest) = rest.split_at_mut(row_words);
        let (padded, transposed) = rest.split_at_mut(padded_words);
        padded.fill(0);
        // SAFETY: f32 and u32 have one size and alignment, and any bits are an f32.
        let transposed = unsafe {
            std::slice::from_raw_parts_mut(transposed.as_mut_ptr().cast::<f32>(), transposed.len())
        };
        let [x, grad_y, row, padded] = [x, grad_y, row, padded].map(<[u32]>::as_mut_ptr);
        let rows = Rows::<M> { row: row.cast(), padded: padded.cast() };
        let start = self.chunk * chunk;
        let channels = start..(start + chunk).min(geometry.out_channels);
        let row_len = geometry.taps() * geometry.in_channels;
        let mut first = true;
        let strips = self.plan.strips(self.part);
        for (index, group) in strips.flat_map(|strip| (0..*groups).map(move |g| (strip, g))) {
            let strip = layout.strip(geometry, index);
            let (x_from, load, joined) = (self.x, self.load.get(group), layout.narrow);
            let source = &Source { geometry, groups: *groups, group, x: x_from, load, joined };
            // SAFETY: the buffers have room for any strip, and `PackedStrip` describes what they
            // hold.
            unsafe {
                pack_x(simd, layout, source, &strip, &rows, x);
                pack_y::<S, T, M>(
                    simd,
                    self.plan,
                    group,
                    self.grad_y,
                    &strip,
                    channels.clone(),
                    grad_y,
                );
                if !self.grad_bias.is_empty() {
                    let sums = &mut self.grad_bias[..channels.len()];
                    if first {
                        sums.fill(0.0);
                    }
                    add_up::<S, M>(simd, layout, &strip, grad_y, sums);
                }
                let channels = channels.len();
                let packed = PackedStrip { layout, geometry, strip, x, grad_y, channels, first };
                match layout.narrow {
                    true => packed.narrow::<S, M>(simd, transposed, *chunk),
                    false => packed.wide::<S, M>(simd, self.grad_weight),
                }
            }
            first = false;
        }
        if layout.narrow {
            transpose(transposed, *chunk, &mut self.grad_weight[..channels.len() * row_len]);
        }
    }
}

/// Writes the rows of `transposed`, `chunk` elements long, to the columns of `to`.
#[inline(always)]
fn transpose(transposed: &[f32], chunk: usize, to: &mut [f32]) {
    let row = transposed.len() / chunk;
    for (channel, to) in to.chunks_mut(row).enumerate() {
        for (to, from) in to.iter_mut().zip(transposed.chunks(chunk)) {
            *to = from[channel];
        }
    }
}
