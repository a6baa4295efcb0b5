//! Direct convolution: the forward and the gradient of the input, for every kernel size, stride,
//! padding and dilation, of groups that share one weight.
//!
//! Both are one product: each output is a sum over *taps* (places of the kernel) of words of a
//! source pixel times a packed weight. The source of a task is copied into a padded scratch, whose
//! order makes the pixels of a tile neighbors; a tile of sums then stays in registers over all taps
//! and channels. The gradient of a strided convolution falls apart into *phases*: the pixels of
//! one remainder modulo the stride see the same taps.

mod axis;
mod finish;
mod forward;
mod gather;
mod grad_input;
mod layout;
mod pack;
mod pixels;
mod plan;
mod product;
mod tile;
mod view;
mod weight;

#[cfg(test)]
mod tests;

pub use forward::Forward;
pub use grad_input::GradInput;
pub use weight::PackedWeight;

/// Channels of a vector, and of a block of the weight.
const LANES: usize = 16;

/// Words of a pixel that lie side by side in the scratch; more channels go to further planes. A
/// constant, so that the pixels of a tile are at constant distances.
const PIXEL: usize = 8;
