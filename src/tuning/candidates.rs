//! The algorithms that come into question for a convolution.

use crate::cpu::{self, processor, Bf16};
use crate::kernels::cpu::convolution::{amx, winograd, Geometry, Widened};
use crate::program::{Algorithm, Dtype};

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

/// How the numbers of a convolution can be multiplied on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Multipliers {
    /// The types in which vectors multiply, the one that is usually faster first.
    vectors: &'static [Factors],
    tiles: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Factors {
    /// The type of the activations.
    AsStored,
    F32,
}

impl Multipliers {
    const F32: Multipliers = Multipliers { vectors: &[Factors::AsStored], tiles: false };

    /// Those for activations of this type.
    pub fn of(dtype: Dtype) -> Multipliers {
        match dtype {
            Dtype::Bfloat16 => Multipliers::of_bf16(cpu::bf16(), processor::has_tiles()),
            _ => Multipliers::F32,
        }
    }

    fn of_bf16(bf16: Bf16, tiles: bool) -> Multipliers {
        let vectors: &[Factors] = match bf16 {
            Bf16::Never => &[Factors::F32],
            Bf16::Slowly => &[Factors::F32, Factors::AsStored],
            Bf16::Fast => &[Factors::AsStored, Factors::F32],
        };
        Multipliers { vectors, tiles }
    }

    fn direct(self) -> impl Iterator<Item = Algorithm> {
        self.vectors.iter().map(|factors| match factors {
            Factors::AsStored => Algorithm::Direct,
            Factors::F32 => Algorithm::DirectF32,
        })
    }

    fn winograd(self) -> impl Iterator<Item = Algorithm> {
        self.vectors.iter().map(|factors| match factors {
            Factors::AsStored => Algorithm::Winograd,
            Factors::F32 => Algorithm::WinogradF32,
        })
    }
}

/// The algorithms that support a geometry, those that are most likely to be fast first.
pub fn candidates(
    preference: Preference,
    geometry: &Geometry,
    multipliers: Multipliers,
) -> Vec<Algorithm> {
    let ours: Vec<Algorithm> = match geometry.is_depthwise() {
        true => vec![Algorithm::Depthwise],
        false if geometry.has_one_weight() => multipliers.direct().collect(),
        false => Vec::new(),
    };
    if preference == Preference::Torch || ours.is_empty() {
        return vec![Algorithm::Torch];
    }
    if preference == Preference::Direct {
        return ours;
    }
    let wide = Widened::new(*geometry).geometry;
    let amx = multipliers.tiles && !geometry.is_depthwise() && amx::takes(&wide);
    if preference == Preference::Amx && amx {
        return vec![Algorithm::Amx];
    }
    let winograd: Vec<Algorithm> = match winograd::takes(&wide) {
        true => multipliers.winograd().collect(),
        false => Vec::new(),
    };
    if preference == Preference::Winograd && !winograd.is_empty() {
        return winograd;
    }
    let few = geometry.in_channels.min(geometry.out_channels) < WINOGRAD_CHANNELS;
    let ranked = if few { [ours, winograd] } else { [winograd, ours] };
    let amx = amx.then_some(Algorithm::Amx);
    amx.into_iter().chain(ranked.into_iter().flatten()).chain([Algorithm::Torch]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(preference: Preference, channels: usize, groups: usize, stride: usize) -> Algorithm {
        all(preference, channels, groups, stride, Multipliers::F32)[0]
    }

    fn all(
        preference: Preference,
        channels: usize,
        groups: usize,
        stride: usize,
        multipliers: Multipliers,
    ) -> Vec<Algorithm> {
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
        candidates(preference, &geometry, multipliers)
    }

    #[test]
    fn the_most_promising_candidate_is_first() {
        use Preference::{Amx, Auto, Direct, Torch, Winograd};
        assert_eq!(first(Auto, 64, 1, 1), Algorithm::Winograd);
        assert_eq!(first(Auto, 16, 1, 1), Algorithm::Direct);
        assert_eq!(first(Winograd, 16, 1, 1), Algorithm::Winograd);
        assert_eq!(first(Winograd, 64, 1, 2), Algorithm::Direct);
        assert_eq!(first(Direct, 64, 1, 1), Algorithm::Direct);
        assert_eq!(first(Torch, 64, 1, 1), Algorithm::Torch);
        assert_eq!(first(Auto, 64, 64, 1), Algorithm::Depthwise);
        assert_eq!(first(Auto, 64, 2, 1), Algorithm::Torch);
        assert_eq!(first(Amx, 64, 1, 1), Algorithm::Winograd);
    }

    #[test]
    fn tiles_come_first_where_there_are_any() {
        use Preference::{Amx, Auto, Direct, Torch, Winograd};
        let first = |preference, channels, groups| {
            let tiles = Multipliers::of_bf16(Bf16::Slowly, true);
            all(preference, channels, groups, 1, tiles)[0]
        };
        for (preference, expected) in [
            (Auto, Algorithm::Amx),
            (Amx, Algorithm::Amx),
            (Direct, Algorithm::DirectF32),
            (Winograd, Algorithm::WinogradF32),
            (Torch, Algorithm::Torch),
        ] {
            assert_eq!(first(preference, 64, 1), expected);
        }
        assert_eq!(first(Auto, 64, 64), Algorithm::Depthwise);
        assert_eq!(first(Auto, 64, 2), Algorithm::Torch);
    }

    #[test]
    fn bf16_is_multiplied_as_the_machine_can() {
        use Algorithm::{Direct, DirectF32, Torch, Winograd, WinogradF32};
        let all = |preference, bf16| all(preference, 64, 1, 1, Multipliers::of_bf16(bf16, false));
        assert_eq!(all(Preference::Auto, Bf16::Never), [WinogradF32, DirectF32, Torch]);
        let both = [WinogradF32, Winograd, DirectF32, Direct, Torch];
        assert_eq!(all(Preference::Auto, Bf16::Slowly), both);
        let both = [Winograd, WinogradF32, Direct, DirectF32, Torch];
        assert_eq!(all(Preference::Auto, Bf16::Fast), both);
        assert_eq!(all(Preference::Direct, Bf16::Fast), [Direct, DirectF32]);
        assert_eq!(all(Preference::Winograd, Bf16::Never), [WinogradF32]);
        assert_eq!(Multipliers::of(Dtype::Float32), Multipliers::F32);
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
        assert_eq!(candidates(Preference::Auto, &tied, Multipliers::F32), both);
        let groups_inside = Geometry { groups: 8, ..tied };
        assert_eq!(
            candidates(Preference::Direct, &groups_inside, Multipliers::F32),
            [Algorithm::Torch]
        );
        let depthwise = Geometry { groups: 64, num_blocks: 64, ..tied };
        assert_eq!(candidates(Preference::Auto, &depthwise, Multipliers::F32), both);
        let few = Geometry { in_channels: 16, out_channels: 16, ..tied };
        assert_eq!(candidates(Preference::Winograd, &few, Multipliers::F32), [Algorithm::Winograd]);
    }
}
