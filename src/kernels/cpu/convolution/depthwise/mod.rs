//! Depthwise convolution: each channel has a kernel of its own.
//!
//! Lanes are channels, in blocks of 16 (`channel_blocks`). There is too little arithmetic for a
//! matrix product and nothing to stage: the kernels read activations where they are. What counts is
//! that a vector, once loaded and converted, is used for all the taps it can be used for while it
//! is in a register, so the microkernels compute a tile of neighboring outputs at once.
//!
//! # Forward and gradient of the input
//!
//! Both are one computation, a `correlation`. The gradient of the input is a correlation of
//! `grad_y` for each *phase*, which is a remainder of the output position modulo the stride (see
//! `axis`).
//!
//! ```text
//!         microkernel                     epilogue
//! x ----------------------> accumulators -------------> y --> moments, while it is in the cache
//!         ^                 of up to 8    activation
//!         |                 neighboring
//!  packed weight, bias      outputs
//! ```
//!
//! # Gradient of the weight
//!
//! See `grad_weight`.

mod axis;
mod channel_blocks;
mod check;
mod columns;
mod correlation;
mod forward;
mod grad_input;
mod grad_weight;
mod plan;
mod unroll;

#[cfg(test)]
mod tests;

pub use forward::Forward;
pub use grad_input::GradInput;
pub use grad_weight::GradWeight;
