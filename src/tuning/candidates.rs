//! The algorithms that come into question for a convolution.

use crate::kernels::cpu::convolution::{winograd, Geometry, Widened};
use crate::program::Algorithm;

/// Which algorithms the user wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Preference {
    /// The fastest one for each product.
    #[default]
    Auto,
    /// Our direct kernels wherever they support the geometry.
    Direct,
    /// Winograd's kernels wherever they support the geometry; elsewhere the fastest.
    Winograd,
    /// torch's kernels everywhere.
    Torch,
}

impl Preference {
    pub const NAMES: [(&'static str, Preference); 4] = [
        ("auto", Preference::Auto),
        ("direct", Preference::Direct),
        ("winograd", Preference::Winograd),
        ("torch", Preference::Torch),
    ];
}

/// With fewer channels Winograd's transforms usually cost more than the cheaper product saves.
const WINOGRAD_CHANNELS: usize = 32;

/// The algorithms that support a geometry, those that are most likely to be fast first.
pub fn candidates(preference: Preference, geometry: &Geometry) -> Vec<Algorithm> {
    let ours = if geometry.is_depthwise() {
        Some(Algorithm::Depthwise)
    } else {
        geometry.has_one_weight().then_some(Algorithm::Direct)
    };
    let Some(ours) = ours.filter(|_| preference != Preference::Torch) else {
        return vec![Algorithm::Torch];
    };
    if preference == Preference::Direct {
        return vec![ours];
    }
    let few = geometry.in_channels.min(geometry.out_channels) < WINOGRAD_CHANNELS;
    match (winograd::takes(&Widened::new(*geometry).geometry), preference) {
        (false, _) => vec![ours, Algorithm::Torch],
        (true, Preference::Winograd) => vec![Algorithm::Winograd],
        (true, _) if few => vec![ours, Algorithm::Winograd, Algorithm::Torch],
        (true, _) => vec![Algorithm::Winograd, ours, Algorithm::Torch],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(preference: Preference, channels: usize, groups: usize, stride: usize) -> Algorithm {
        let geometry = Geometry {
            batch: 2,
            in_channels: channels,
            out_channels: channels,
            in_size: [8, 8],
            kernel_size: [3, 3],
            stride: [stride; 2],
            padding: [1, 1],
            dilation: [1, 1],
            groups,
            num_blocks: 1,
        };
        candidates(preference, &geometry)[0]
    }

    #[test]
    fn the_most_promising_candidate_is_first() {
        use Preference::{Auto, Direct, Torch, Winograd};
        assert_eq!(first(Auto, 64, 1, 1), Algorithm::Winograd);
        assert_eq!(first(Auto, 16, 1, 1), Algorithm::Direct);
        assert_eq!(first(Winograd, 16, 1, 1), Algorithm::Winograd);
        assert_eq!(first(Winograd, 64, 1, 2), Algorithm::Direct);
        assert_eq!(first(Direct, 64, 1, 1), Algorithm::Direct);
        assert_eq!(first(Torch, 64, 1, 1), Algorithm::Torch);
        assert_eq!(first(Auto, 64, 64, 1), Algorithm::Depthwise);
        assert_eq!(first(Auto, 64, 2, 1), Algorithm::Torch);
    }

    #[test]
    fn blocks_that_share_a_weight_have_direct_kernels() {
        let tied = Geometry {
            batch: 2,
            in_channels: 64,
            out_channels: 64,
            in_size: [8, 8],
            kernel_size: [3, 3],
            stride: [1, 1],
            padding: [1, 1],
            dilation: [1, 1],
            groups: 4,
            num_blocks: 4,
        };
        let both = vec![Algorithm::Direct, Algorithm::Torch];
        assert_eq!(candidates(Preference::Auto, &tied), both);
        let groups_inside = Geometry { groups: 8, ..tied };
        assert_eq!(candidates(Preference::Direct, &groups_inside), [Algorithm::Torch]);
        let depthwise = Geometry { groups: 64, num_blocks: 64, ..tied };
        assert_eq!(candidates(Preference::Auto, &depthwise), both);
        let few = Geometry { in_channels: 16, out_channels: 16, ..tied };
        assert_eq!(candidates(Preference::Winograd, &few), [Algorithm::Winograd]);
    }
}
