//! How the channels of a pixel are cut into words.

use super::PIXEL;

/// How the channels of a source pixel are cut into words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Words {
    pub planes: usize,
    /// Of each plane, `PIXEL` at most; the last may hold zeros.
    pub words: usize,
}

impl Words {
    pub(super) fn new(channels: usize, per_word: usize) -> Words {
        let words = channels.div_ceil(per_word);
        let planes = words.div_ceil(PIXEL);
        Words { planes, words: words.div_ceil(planes) }
    }
}
