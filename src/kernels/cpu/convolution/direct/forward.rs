//! The forward: checks its slices and runs the correlation.

use super::correlation::{Correlation, Plan};
use super::packed_weight::PackedWeight;
use super::view::view;
use crate::cpu::{check_len, Number, Parallel};
use crate::error::Result;
use crate::kernels::cpu::convolution::{products, Load, Moments, Operand};

/// Activations are `T`; they are multiplied as `M`.
pub type Forward<'a, T, M> = products::Forward<'a, T, PackedWeight<M>>;

impl<T: Number, M: Number> Forward<'_, T, M> {
    /// # Errors
    /// The weight was packed for another product, or a slice does not have its length; nothing is
    /// written then.
    pub fn run(self, parallel: &dyn Parallel) -> Result<Option<Moments>> {
        let Forward { geometry, x, load, weight, bias, residual, activation, statistics, y } = self;
        weight.check(&geometry, Operand::Forward)?;
        check_len("x", geometry.in_len(), x.len())?;
        load.map_or(Ok(()), |load| load.check(geometry.in_channels))?;
        bias.map_or(Ok(()), |bias| check_len("bias", geometry.bias_len(), bias.len()))?;
        residual.map_or(Ok(()), |r| check_len("residual", geometry.out_len(), r.len()))?;
        check_len("y", geometry.out_len(), y.len())?;
        let (viewed, view) = view(&geometry, Operand::Forward, M::PER_WORD);
        let times = view.channels * geometry.groups / geometry.in_channels;
        let repeated = load.map(|load| (load.scale.repeat(times), load.shift.repeat(times)));
        let load =
            load.zip(repeated.as_ref()).map(|(load, (scale, shift))| Load { scale, shift, ..load });
        let correlation = Correlation {
            plan: Plan::new(&viewed, geometry.groups, Operand::Forward, M::PER_WORD),
            view,
            source: x,
            load,
            weight,
            bias,
            residual,
            activation,
            statistics,
        };
        correlation.run(parallel, y)
    }
}
