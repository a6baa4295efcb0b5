//! The forward, with what follows it in the same pass.

use super::check::check_geometry;
use super::correlation::{add_moments, merged, Correlation};
use super::plan::Plan;

use crate::activation::Activation;
use crate::cpu::{check_len, run_all, Number, Parallel, Parts};
use crate::error::Result;
use crate::kernels::cpu::batch_norm::Moments;
use crate::kernels::cpu::convolution::Geometry;

/// Values of a channel that are worth merging into the moments of those before.
const MOMENT_VALUES: usize = 256;

/// `y = activation(convolution(x, weight * scale) + bias)`.
///
/// In bf16 the weight is rounded first; the arithmetic is f32.
pub struct Forward<'a, T> {
    pub geometry: Geometry,
    /// `[batch, height, width, channels]`
    pub x: &'a [T],
    /// `[channels, kernel height, kernel width]`
    pub weight: &'a [f32],
    /// `[channels]`: a batch norm that is folded in; one if absent.
    pub scale: Option<&'a [f32]>,
    /// `[channels]`; zero if absent.
    pub bias: Option<&'a [f32]>,
    pub activation: Activation,
    /// Whether to take the moments of `y`, as it is stored.
    pub statistics: bool,
    /// `[batch, height, width, channels]`
    pub y: &'a mut [T],
}

// The trait of lanes is ours alone; what implements it is f32 and bf16.
#[allow(private_bounds)]
impl<T: Number> Forward<'_, T> {
    /// # Errors
    /// The geometry is not depthwise or a slice does not have its length; nothing is written then.
    pub fn run(self, parallel: &dyn Parallel) -> Result<Option<Moments>> {
        self.check()?;
        let Forward { geometry, x, weight, scale, bias, activation, statistics, y } = self;
        let correlation = &Correlation::forward(&geometry, x, weight, scale, bias, activation);
        let plan = &Plan::outputs(&geometry);
        let channels = geometry.out_channels;
        let parts = Parts::new(y, plan.part() * correlation.row_len());
        let mut partial = vec![0.0; if statistics { plan.tasks() * 2 * channels } else { 0 }];
        let partials = Parts::new(&mut partial, 2 * channels);
        run_all(parallel, plan.tasks(), |task| {
            let (y, first) = (parts.take(task), task * plan.part());
            let mut moments = Moments::new(if statistics { channels } else { 0 });
            let mut waiting = 0;
            for band in plan.bands(task) {
                correlation.rows(band.clone(), y, first);
                let made = (band.end - first) * correlation.row_len();
                if statistics && (made - waiting >= MOMENT_VALUES * channels || made == y.len()) {
                    add_moments(&mut moments, channels, &y[waiting..made]);
                    waiting = made;
                }
            }
            if statistics {
                let (mean, squares) = partials.take(task).split_at_mut(channels);
                mean.copy_from_slice(&moments.mean);
                squares.copy_from_slice(&moments.squares);
            }
        })?;
        let rows = |task| plan.bands(task).map(|band| band.len()).sum::<usize>();
        let counts = (0..plan.tasks()).map(|task| (rows(task) * geometry.out_size()[1]) as f64);
        Ok(statistics.then(|| merged(channels, counts, &partial)))
    }

    fn check(&self) -> Result<()> {
        check_geometry(&self.geometry)?;
        check_len("x", self.geometry.in_len(), self.x.len())?;
        check_len("weight", self.geometry.weight_len(), self.weight.len())?;
        let channels = self.geometry.out_channels;
        self.scale.map_or(Ok(()), |scale| check_len("scale", channels, scale.len()))?;
        self.bias.map_or(Ok(()), |bias| check_len("bias", channels, bias.len()))?;
        check_len("y", self.geometry.out_len(), self.y.len())
    }
}
