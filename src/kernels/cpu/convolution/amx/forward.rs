//! The forward: checks its slices and runs the correlation.

use super::check::{halves, halves_mut};
use super::correlation::{Correlation, Plan};
use super::packed_weight::PackedWeight;
use crate::cpu::{check_len, Element, Parallel};
use crate::error::Result;
use crate::kernels::cpu::convolution::{products, Moments, Operand};

pub type Forward<'a, T> = products::Forward<'a, T, PackedWeight>;

impl<T: Element> Forward<'_, T> {
    /// # Errors
    /// The numbers are not bf16, the weight was packed for another product, or a slice does not
    /// have its length; nothing is written then.
    pub fn run(self, parallel: &dyn Parallel) -> Result<Option<Moments>> {
        let Forward { geometry, x, load, weight, bias, residual, activation, statistics, y } = self;
        let (x, y, residual) = (halves(x)?, halves_mut(y)?, residual.map(halves).transpose()?);
        weight.check(&geometry, Operand::Forward)?;
        check_len("x", geometry.in_len(), x.len())?;
        load.map_or(Ok(()), |load| load.check(geometry.in_channels))?;
        bias.map_or(Ok(()), |bias| check_len("bias", geometry.bias_len(), bias.len()))?;
        residual.map_or(Ok(()), |r| check_len("residual", geometry.out_len(), r.len()))?;
        check_len("y", geometry.out_len(), y.len())?;
        let correlation = Correlation {
            plan: Plan::new(&geometry, Operand::Forward),
            source: x,
            load,
            weight: weight.words(),
            bias,
            residual,
            activation,
            statistics,
        };
        correlation.run(parallel, y)
    }
}
