//! Depthwise convolution: each channel has a kernel of its own.
//!
//! Lanes are channels, sixteen to a [`windows::Windows`]. There is too little arithmetic for a
//! matrix product: what counts is that each vector that is loaded and converted feeds all the taps
//! it can while it is in a register, so the inner loops make a tile of neighboring outputs at once.
//! The gradient of the input is a convolution of `grad_y` again, one for each phase of the stride
//! (see [`axis::Axis`]), and shares the forward's loops.

mod axis;
mod check;
mod correlation;
mod deal;
mod forward;
mod grad_input;
mod grad_weight;
mod line;
mod moments;
mod products;
mod unroll;
mod weight_pass;
mod windows;

#[cfg(test)]
mod tests;

pub use forward::Forward;
pub use grad_input::GradInput;
pub use grad_weight::GradWeight;
