//! One update of an optimizer.

/// The arguments of an update that are not settings of the optimizer.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// The number of the update of this parameter, from 1.
    pub number: u64,
    /// The learning rate, with the schedule applied.
    pub lr: f64,
    /// The factor of the gradient; 1 without clipping.
    pub coefficient: f32,
}
