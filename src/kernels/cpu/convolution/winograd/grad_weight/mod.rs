//! The gradients of the weight and the bias.
//!
//! At each position the transformed input and the transformed gradient of the output are multiplied
//! and summed over all tiles; one last transform gives the gradient of the 3x3 kernel:
//!
//! ```text
//! x ------staging----> v --+
//!   rows, B^T d B          |    microkernel                       G^T sums G
//!                          +--> sums += v z over the tiles -----> partial gradient --> grad_weight
//! grad_y -staging----> z --+    [position][output][input channel]                  reduce
//!   rows, A d A^T
//! ```
//!
//! A [`pass`] divides rows of tiles, input channels and output channels into tasks ([`plan`],
//! [`layout`]). Tasks of different rows add to partial gradients of their own, which are merged in
//! order. A [`task`] stages one block of tiles while it multiplies another.

mod layout;
mod microkernel;
mod pass;
mod plan;
mod staging;
mod task;

pub use pass::GradWeight;
