//! The order of a task's data in its scratch memory.

use super::super::rows::words;
use super::super::POSITIONS;
use super::plan::Plan;
use crate::cpu::{Line, Number, LANES};

/// Sizes and strides of a task's buffers, in words.
pub(super) struct Layout {
    /// From one group of channels to the next, at one position of transformed tiles.
    pub v_group: usize,
    /// From one position to the next. It is no multiple of a large power of two, so that positions
    /// do not compete for the same sets of the caches.
    pub v_position: usize,
    /// One buffer of transformed tiles.
    pub v: usize,
    /// From one position of products to the next.
    pub m_position: usize,
    /// One buffer of products.
    pub m: usize,
    /// The sums of the moments.
    pub statistics: usize,
}

impl Layout {
    pub(super) fn new<M: Number>(plan: &Plan) -> Layout {
        let line = Line::BYTES / size_of::<u32>();
        let v_group = plan.block * words::<M>();
        let v_position = plan.shape.in_groups() * v_group + line;
        let m_position = plan.block * plan.vectors.min(2) * LANES + line;
        Layout {
            v_group,
            v_position,
            v: POSITIONS * v_position,
            m_position,
            m: POSITIONS * m_position,
            statistics: plan.vectors * 3 * LANES,
        }
    }
}
