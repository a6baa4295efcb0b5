//! The algorithms that come into question for a convolution.

use crate::kernels::cpu::convolution::{amx, winograd, Geometry, Widened};
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
    /// Kernels with the tiles of AMX wherever they support the geometry, in bf16; elsewhere the
    /// fastest.
    Amx,
    /// torch's kernels everywhere.
    Torch,
}

impl Preference {
    pub const NAMES: [(&'static str, Preference); 5] = [
        ("auto", Preference::Auto),
        ("direct", Preference::Direct),
        ("winograd", Preference::Winograd),
        ("amx", Preference::Amx),
        ("torch", Preference::Torch),
    ];
}

/// With fewer channels Winograd's transforms usually cost more than the cheaper product saves.
const WINOGRAD_CHANNELS: usize = 32;

/// The algorithms that support a geometry, those that are most likely to be fast first. `tiles`:
/// the numbers are bf16, and the machine has tiles for them.
pub fn candidates(preference: Preference, geometry: &Geometry, tiles: bool) -> Vec<Algorithm> {
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
    let wide = Widened::new(*geometry).geometry;
    let amx = tiles && !geometry.is_depthwise() && amx::takes(&wide);
    if preference == Preference::Amx && amx {
        return vec![Algorithm::Amx];
    }
    let few = geometry.in_channels.min(geometry.out_channels) < WINOGRAD_CHANNELS;
    let others = match (winograd::takes(&wide), preference) {
        (false, _) => vec![ours, Algorithm::Torch],
        (true, Preference::Winograd) => return vec![Algorithm::Winograd],
        (true, _) if few => vec![ours, Algorithm::Winograd, Algorithm::Torch],
        (true, _) => vec![Algorithm::Winograd, ours, Algorithm::Torch],
    };
    amx.then_some(Algorithm::Amx).into_iter().chain(others).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(preference: Preference, channels: usize, groups: usize, stride: usize) -> Algorithm {
        with(preference, channels, groups, stride, false)
    }

    fn with(
        preference: Preference,
        channels: usize,
        groups: usize,
        stride: usize,
        tiles: bool,
    ) -> Algorithm {
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
        candidates(preference, &geometry, tiles)[0]
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
    fn tiles_come_first_where_there_are_any() {
        use Preference::{Amx, Auto, Direct, Torch, Winograd};
        for (preference, expected) in [
            (Auto, Algorithm::Amx),
            (Amx, Algorithm::Amx),
            (Direct, Algorithm::Direct),
            (Winograd, Algorithm::Winograd),
            (Torch, Algorithm::Torch),
        ] {
            assert_eq!(with(preference, 64, 1, 1, true), expected);
        }
        assert_eq!(with(Auto, 64, 64, 1, true), Algorithm::Depthwise);
        assert_eq!(with(Auto, 64, 2, 1, true), Algorithm::Torch);
        assert_eq!(first(Amx, 64, 1, 1), first(Auto, 64, 1, 1));
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
        assert_eq!(candidates(Preference::Auto, &tied, false), both);
        let groups_inside = Geometry { groups: 8, ..tied };
        assert_eq!(candidates(Preference::Direct, &groups_inside, false), [Algorithm::Torch]);
        let depthwise = Geometry { groups: 64, num_blocks: 64, ..tied };
        assert_eq!(candidates(Preference::Auto, &depthwise, false), both);
        let few = Geometry { in_channels: 16, out_channels: 16, ..tied };
        assert_eq!(candidates(Preference::Winograd, &few, false), [Algorithm::Winograd]);
    }
}
