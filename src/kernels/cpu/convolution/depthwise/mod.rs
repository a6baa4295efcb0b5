//! Depthwise convolution: each channel has a kernel of its own.
//!
//! Lanes are channels, sixteen to a [`channel_blocks::ChannelBlocks`]. There is too little arithmetic for a
//! matrix product: what counts is that each vector that is loaded and converted feeds all the taps
//! it can while it is in a register, so the inner loops make a tile of neighboring outputs at once.
//! The gradient of the input is a convolution of `grad_y` again, one for each phase of the stride
//! (see [`axis::Axis`]), and shares the forward's loops.

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
