//! Direct convolution: the forward and the gradient of the input, for every kernel size, stride,
//! padding and dilation, of groups that share one weight.
//!
//! Both are one product: each output is a sum over *taps* (places of the kernel) of words of a
//! source pixel times a packed weight. The source of a task is copied into a padded scratch, whose
//! order makes the pixels of a tile neighbors; a tile of sums then stays in registers over all taps
//! and channels. The gradient of a strided convolution falls apart into *phases*: the pixels of
//! one remainder modulo the stride see the same taps.

mod axis;
mod correlation;
mod forward;
mod grad_input;
mod grad_weight;
mod pack;
mod packed_weight;
mod view;
mod words;

#[cfg(test)]
mod tests;

pub use forward::Forward;
pub use grad_input::GradInput;
pub use grad_weight::GradWeight;
pub use packed_weight::PackedWeight;

/// Words of a pixel that lie side by side in the scratch; more channels go to further planes. A
/// constant, so that the pixels of a tile are at constant distances.
const PIXEL: usize = 8;
