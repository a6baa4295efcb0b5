//! Who can compute a convolution.

use super::{winograd, Geometry};

/// Who computes a product of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    Direct,
    Winograd,
    Depthwise,
    Torch,
}

impl Algorithm {
    const ALL: [Algorithm; 4] =
        [Algorithm::Direct, Algorithm::Winograd, Algorithm::Depthwise, Algorithm::Torch];

    pub fn named(name: &str) -> Option<Algorithm> {
        Algorithm::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Direct => "direct",
            Algorithm::Winograd => "winograd",
            Algorithm::Depthwise => "depthwise",
            Algorithm::Torch => "torch",
        }
    }
}

/// What the user asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Preference {
    /// The fastest of those that round as torch does.
    #[default]
    Auto,
    /// Our direct kernels wherever they can.
    Direct,
    /// As `Auto`, with Winograd's kernels in bf16 too: there they round twice.
    Winograd,
    /// torch's.
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

/// With fewer channels the transforms cost Winograd's kernels more than they save.
const WINOGRAD_CHANNELS: usize = 32;

/// Who can compute a product, the likeliest to be fast first.
pub fn candidates(preference: Preference, geometry: &Geometry, bf16: bool) -> Vec<Algorithm> {
    let ours = match geometry {
        _ if geometry.is_depthwise() => Some(Algorithm::Depthwise),
        Geometry { groups: 1, .. } => Some(Algorithm::Direct),
        _ => None,
    };
    let Some(ours) = ours.filter(|_| preference != Preference::Torch) else {
        return vec![Algorithm::Torch];
    };
    if preference == Preference::Direct {
        return vec![ours];
    }
    // In fp32 its error is no larger than a sum's; in bf16 the transformed numbers are rounded.
    let exact = !bf16 || preference == Preference::Winograd;
    let mut candidates = vec![ours, Algorithm::Torch];
    if exact && winograd::takes(geometry) {
        let few = geometry.in_channels.min(geometry.out_channels) < WINOGRAD_CHANNELS;
        candidates.insert(usize::from(few), Algorithm::Winograd);
    }
    candidates
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(preference: Preference, bf16: bool, channels: usize, groups: usize) -> Algorithm {
        let geometry = Geometry {
            batch: 2,
            in_channels: channels,
            out_channels: channels,
            in_size: [8, 8],
            kernel_size: [3, 3],
            stride: [1, 1],
            padding: [1, 1],
            dilation: [1, 1],
            groups,
        };
        candidates(preference, &geometry, bf16)[0]
    }

    #[test]
    fn bf16_goes_after_winograd_only_if_asked() {
        use Preference::{Auto, Direct, Torch, Winograd};
        let (f, b) = (false, true);
        assert_eq!(first(Auto, b, 64, 1), Algorithm::Direct);
        assert_eq!(first(Winograd, b, 64, 1), Algorithm::Winograd);
        assert_eq!(first(Auto, f, 64, 1), Algorithm::Winograd);
        assert_eq!(first(Auto, f, 16, 1), Algorithm::Direct);
        assert_eq!(first(Direct, f, 64, 1), Algorithm::Direct);
        assert_eq!(first(Torch, f, 64, 1), Algorithm::Torch);
        assert_eq!(first(Auto, b, 64, 64), Algorithm::Depthwise);
        assert_eq!(first(Auto, b, 64, 2), Algorithm::Torch);
    }
}
