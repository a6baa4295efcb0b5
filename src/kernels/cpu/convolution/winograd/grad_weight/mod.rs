//! The gradients of the weight and the bias.
//!
//! At each position the transformed input and the transformed gradient of the output are multiplied
//! and summed over all tiles; one last transform gives the gradient of the 3x3 kernel:
//!
//! ```text
//! x      --rows, B^T d B--> v --+
//!          staging              +--> microkernel: sums += v z over the tiles --G^T sums G--> grad_weight
//! grad_y --rows, A d A^T--> z --+    [position][out channel][in channel]
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
