//! A convolution as numbers.

use ndarray::{Array1, Array4, ArrayView1, Axis};

use super::geometry::Geometry;
use crate::error::{Error, Result};

/// `y = weight * x + border * 1 + bias`, where the image and the image of ones are zero in the
/// padding.
#[derive(Clone, Debug, PartialEq)]
pub struct Convolution {
    geometry: Geometry,
    weight: Array4<f64>,
    bias: Array1<f64>,
    border: Option<Array4<f64>>,
}

impl Convolution {
    /// # Arguments
    /// `weight` is `[out_channels, in_channels / groups, height, width]`, `bias` one number for
    /// each output channel.
    ///
    /// # Errors
    /// An array has another shape, or the geometry is invalid.
    pub fn new(
        geometry: Geometry,
        weight: Array4<f64>,
        bias: Array1<f64>,
        border: Option<Array4<f64>>,
    ) -> Result<Convolution> {
        geometry.check()?;
        let [height, width] = geometry.kernel_size;
        let (outputs, inputs) = (geometry.out_channels, geometry.in_channels / geometry.groups);
        let fits = weight.dim() == (outputs, inputs, height, width)
            && bias.len() == outputs
            && border.as_ref().is_none_or(|b| b.dim() == (outputs, 1, height, width));
        if !fits {
            let expected = format!(
                "a weight ({outputs}, {inputs}, {height}, {width}) and a bias ({outputs},), got {:?} \
                 and {:?}",
                weight.dim(),
                bias.dim()
            );
            return Err(Error::Merge { expected });
        }
        let has_bias = geometry.bias || bias.iter().any(|value| *value != 0.0);
        let geometry = Geometry { bias: has_bias, border: border.is_some(), ..geometry };
        Ok(Convolution { geometry, weight, bias, border })
    }

    /// A batch norm in evaluation: each channel with a scale and a shift. Folding it is merging.
    pub fn norm(scale: ArrayView1<'_, f64>, shift: ArrayView1<'_, f64>) -> Result<Convolution> {
        let weight = scale.to_shape((scale.len(), 1, 1, 1)).expect("one number a channel");
        let geometry = Geometry::pointwise(scale.len(), true);
        Convolution::new(geometry, weight.into_owned(), shift.to_owned(), None)
    }

    /// The convolution that returns its input.
    pub fn identity(channels: usize) -> Result<Convolution> {
        let geometry = Geometry::pointwise(channels, false);
        let weight = Array4::ones((channels, 1, 1, 1));
        Convolution::new(geometry, weight, Array1::zeros(channels), None)
    }

    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    pub fn weight(&self) -> &Array4<f64> {
        &self.weight
    }

    pub fn bias(&self) -> &Array1<f64> {
        &self.bias
    }

    /// The weight of the image of ones, `[out_channels, 1, height, width]`.
    pub fn border(&self) -> Option<&Array4<f64>> {
        self.border.as_ref()
    }

    /// The sums of the weight over its taps, `[out_channels, in_channels / groups]`.
    pub fn sums(weight: &Array4<f64>) -> ndarray::Array2<f64> {
        weight.sum_axis(Axis(3)).sum_axis(Axis(2))
    }
}
