//! Two convolutions of one image whose results are added, as one.

use ndarray::{s, Array4};

use super::convolution::Convolution;
use super::geometry::Geometry;
use crate::error::Result;

impl Convolution {
    /// The convolution that adds the results of this one and of `other`; exact within its frame.
    ///
    /// # Errors
    /// The results have different shapes for some images.
    pub fn beside(&self, other: &Convolution) -> Result<Convolution> {
        let geometry = self.geometry().beside(other.geometry())?;
        let [own, its] = [self, other].map(|each| {
            let groups = each.geometry().groups;
            placed(each.weight(), groups, each.geometry(), &geometry)
        });
        let ones = |each: &Convolution| {
            let alone = Geometry { groups: 1, in_channels: 1, ..geometry };
            each.border().map(|border| placed(border, 1, each.geometry(), &alone))
        };
        let border = match (ones(self), ones(other)) {
            (Some(own), Some(its)) => Some(own + its),
            (own, its) => own.or(its),
        };
        Convolution::new(geometry, own + its, self.bias() + other.bias(), border)
    }
}

/// A weight of `groups` groups as one of the geometry of the sum: zero where it has no tap.
fn placed(weight: &Array4<f64>, groups: usize, from: &Geometry, to: &Geometry) -> Array4<f64> {
    let (outputs, inputs, height, width) = weight.dim();
    let mut placed =
        Array4::zeros((outputs, to.in_channels / to.groups, to.kernel_size[0], to.kernel_size[1]));
    let at = |dim: usize, tap: usize| {
        (to.padding[dim] - from.padding[dim] + tap * from.dilation[dim]) / to.dilation[dim]
    };
    let (block, inner) = (outputs / groups, groups / to.groups);
    for group in 0..groups {
        let start = group % inner * inputs;
        for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
            let rows = group * block..(group + 1) * block;
            placed
                .slice_mut(s![rows.clone(), start..start + inputs, at(0, y), at(1, x)])
                .assign(&weight.slice(s![rows, .., y, x]));
        }
    }
    placed
}
