//! The cross-entropy of a batch and its gradient.

use super::device::{Address, Arguments, Device, Number};
use super::launch::{self, Launch, THREADS};
use super::Source;
use crate::error::{Error, Result};

/// The mean softmax cross-entropy of a batch, and its gradient.
#[derive(Clone, Copy, Debug)]
pub struct CrossEntropy {
    pub batch: usize,
    pub classes: usize,
    pub label_smoothing: f32,
    pub number: Number,
    /// `[batch, classes]`
    pub logits: Address,
    /// int64, `[batch]`; -100 is ignored.
    pub labels: Address,
    /// fp32, `[batch]`, a work buffer for the loss of each image.
    pub losses: Address,
    /// fp32: the mean loss.
    pub loss: Address,
    /// The gradient of the mean loss, in the shape and type of `logits`.
    pub grad: Address,
}

impl CrossEntropy {
    /// # Safety
    /// As for [`Device::launch`].
    pub unsafe fn launch(&self, device: &dyn Device) -> Result<()> {
        let nothing = Error::EmptyLaunch { what: "a batch on the device" };
        let launch = launch::blocks(self.batch).filter(|_| self.classes > 0).ok_or(nothing)?;
        let arguments = Arguments::new()
            .with(self.logits)
            .with(self.labels)
            .with(self.batch as i32)
            .with(self.classes as i32)
            .with(self.label_smoothing)
            .with(self.losses)
            .with(self.grad);
        let entry = format!("cross_entropy_{}", self.number.name());
        // SAFETY: the arguments match the source; the caller guarantees the rest.
        unsafe { arguments.launch(device, Source::CrossEntropy, &entry, &launch) }?;
        let mean = Arguments::new()
            .with(self.losses)
            .with(self.labels)
            .with(self.batch as i32)
            .with(self.loss);
        let launch = Launch { grid: [1; 3], block: [THREADS, 1, 1] };
        // SAFETY: as above.
        unsafe { mean.launch(device, Source::CrossEntropy, "mean_loss", &launch) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::host::{address, address_mut, Host};
    use super::*;

    #[test]
    fn a_batch_by_hand() {
        let logits = [0.0f32, 0.0, 1.0f32.exp().ln(), 3.0, 2.0, 1.0];
        let labels = [1i64, 0];
        let (mut losses, mut loss, mut grad) = ([0.0f32; 2], [0.0f32], [0.0f32; 6]);
        let entropy = CrossEntropy {
            batch: 2,
            classes: 3,
            label_smoothing: 0.0,
            number: Number::F32,
            logits: address(&logits),
            labels: address(&labels),
            losses: address_mut(&mut losses),
            loss: address_mut(&mut loss),
            grad: address_mut(&mut grad),
        };
        // SAFETY: all slices have their lengths and outlive the launch.
        unsafe { entropy.launch(&Host::new(1)) }.unwrap();
        let e = 1.0f64.exp();
        let first = (2.0 + e).ln();
        let second = (1.0 + 1.0 / e + 1.0 / (e * e)).ln();
        assert!((f64::from(losses[0]) - first).abs() < 1e-6, "{losses:?}");
        assert!((f64::from(losses[1]) - second).abs() < 1e-6, "{losses:?}");
        assert!((grad[0] - (0.5 / (2.0 + e)) as f32).abs() < 1e-6);
        assert!((f64::from(loss[0]) - (first + second) / 2.0).abs() < 1e-6);
    }
}
