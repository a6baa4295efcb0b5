//! What a packed weight is multiplied with.

/// The pass that a weight is packed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operand {
    Forward,
    GradInput,
}
