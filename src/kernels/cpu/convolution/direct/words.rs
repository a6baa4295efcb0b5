//! Words of a pixel's channels.

/// Words of a pixel that lie side by side in the scratch; more channels go to further planes. A
/// constant, so that the pixels of a tile are at constant distances.
pub(super) const PIXEL: usize = 8;

/// How the channels of a source pixel are divided into words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Words {
    pub planes: usize,
    /// Words of each plane, at most [`PIXEL`]; the last ones may hold zeros.
    pub words: usize,
}

impl Words {
    pub(super) fn new(channels: usize, per_word: usize) -> Words {
        let words = channels.div_ceil(per_word);
        let planes = words.div_ceil(PIXEL);
        Words { planes, words: words.div_ceil(planes) }
    }

    /// Words of all planes.
    pub(super) fn all(&self) -> usize {
        self.planes * self.words
    }
}
