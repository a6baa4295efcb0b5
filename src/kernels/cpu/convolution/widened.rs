//! Joins narrow blocks that share a weight into wide blocks.
//!
//! A vector has 16 lanes, some of which would be idle with blocks of fewer channels. So as many
//! blocks as fit are joined into one, which has a block-diagonal weight: copies of the shared
//! weight along the diagonal, and zeros elsewhere. That takes more multiplications, but less time.

use std::borrow::Cow;

use super::Geometry;
use crate::cpu::LANES;
use crate::error::Result;

#[derive(Clone, Copy, Debug)]
pub struct Widened {
    /// The geometry that the kernels compute.
    pub geometry: Geometry,
    /// Number of blocks that are joined into one.
    times: usize,
    /// Output channels, taps and input channels of the shared weight.
    shared: [usize; 3],
}

impl Widened {
    /// Joins blocks, unless there is one group, groups are wide, or they have weights of their own.
    pub fn new(geometry: Geometry) -> Widened {
        let Geometry { in_channels, out_channels, groups, num_blocks, .. } = geometry;
        let fit = LANES * groups / in_channels.max(out_channels);
        let fit = if geometry.has_one_weight() { fit } else { 1 };
        let times = (1..=fit).rev().find(|&times| groups.is_multiple_of(times)).unwrap_or(1);
        let wide = Geometry { groups: groups / times, num_blocks: num_blocks / times, ..geometry };
        let shared = [geometry.bias_len(), geometry.taps(), in_channels / groups];
        Widened { geometry: wide, times, shared }
    }

    /// The weight of a wide block, made from the shared weight.
    pub fn weight<'a>(&self, shared: &'a [f32]) -> Cow<'a, [f32]> {
        if self.times == 1 {
            return Cow::Borrowed(shared);
        }
        let mut wide = vec![0.0; self.times * self.times * shared.len()];
        for (to, from) in self.places() {
            wide[to..to + self.shared[2]].copy_from_slice(&shared[from..from + self.shared[2]]);
        }
        Cow::Owned(wide)
    }

    /// A vector with an element for each output channel of a wide block, made from the shared
    /// vector.
    pub fn vector<'a>(&self, shared: &'a [f32]) -> Cow<'a, [f32]> {
        match self.times {
            1 => Cow::Borrowed(shared),
            times => Cow::Owned(shared.repeat(times)),
        }
    }

    /// Calls `run` for the gradients of a wide block and adds them up to those of the shared weight
    /// and bias.
    ///
    /// # Errors
    /// Those of `run`.
    pub fn gradients(
        &self,
        grad_weight: &mut [f32],
        grad_bias: Option<&mut [f32]>,
        run: impl FnOnce(&mut [f32], Option<&mut [f32]>) -> Result<()>,
    ) -> Result<()> {
        if self.times == 1 {
            return run(grad_weight, grad_bias);
        }
        let mut wide = vec![0.0; self.times * self.times * grad_weight.len()];
        let mut wide_bias = grad_bias.as_ref().map(|bias| vec![0.0; self.times * bias.len()]);
        run(&mut wide, wide_bias.as_deref_mut())?;
        grad_weight.fill(0.0);
        for (from, to) in self.places() {
            let (from, to) = (&wide[from..], &mut grad_weight[to..to + self.shared[2]]);
            to.iter_mut().zip(from).for_each(|(sum, value)| *sum += value);
        }
        if let (Some(sums), Some(wide)) = (grad_bias, wide_bias) {
            sums.fill(0.0);
            for block in wide.chunks_exact(sums.len()) {
                sums.iter_mut().zip(block).for_each(|(sum, value)| *sum += value);
            }
        }
        Ok(())
    }

    /// For each block, output channel and tap, the element at which its input channels start in the
    /// wide weight and in the shared weight.
    fn places(&self) -> impl Iterator<Item = (usize, usize)> {
        let Widened { times, shared: [out_channels, taps, in_channels], .. } = *self;
        let rows = move |block: usize| (0..out_channels * taps).map(move |row| (block, row));
        (0..times).flat_map(rows).map(move |(block, row)| {
            let wide = (block * out_channels * taps + row) * times + block;
            (wide * in_channels, row * in_channels)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tied(in_channels: usize, out_channels: usize, num_blocks: usize) -> Widened {
        Widened::new(Geometry {
            batch: 1,
            in_channels,
            out_channels,
            in_size: [4, 4],
            kernel_size: [1, 2],
            stride: [1, 1],
            padding: [0, 0],
            dilation: [1, 1],
            groups: num_blocks,
            num_blocks,
        })
    }

    #[test]
    fn lanes_are_filled() {
        let groups = |in_channels, out_channels, num_blocks| {
            let wide = tied(in_channels, out_channels, num_blocks).geometry;
            assert!(wide.check().is_ok() && wide.has_one_weight());
            wide.groups
        };
        assert_eq!(groups(16, 16, 1), 1);
        assert_eq!(groups(16, 16, 2), 1);
        assert_eq!(groups(32, 32, 2), 2);
        assert_eq!(groups(64, 64, 8), 4);
        assert_eq!(groups(32, 64, 8), 4);
        assert_eq!(groups(12, 6, 6), 1);
        assert_eq!(groups(300, 300, 3), 3);
        assert_eq!(groups(64, 64, 64), 4);
    }

    #[test]
    fn groups_with_weights_of_their_own_stay() {
        let grouped = Geometry { num_blocks: 2, ..tied(16, 16, 4).geometry };
        let grouped = Geometry { groups: 4, ..grouped };
        assert_eq!(Widened::new(grouped).geometry, grouped);
    }

    #[test]
    fn the_weight_is_on_the_diagonal() {
        // Two blocks with one output channel, two taps and two input channels each.
        let wide = tied(4, 2, 2);
        let weight = wide.weight(&[1.0, 2.0, 3.0, 4.0]);
        assert_eq!(weight[..8], [1.0, 2.0, 0.0, 0.0, 3.0, 4.0, 0.0, 0.0]);
        assert_eq!(weight[8..], [0.0, 0.0, 1.0, 2.0, 0.0, 0.0, 3.0, 4.0]);
        assert_eq!(weight.len(), wide.geometry.weight_len());
        assert_eq!(*wide.vector(&[5.0]), [5.0, 5.0]);
    }

    #[test]
    fn gradients_are_sums_over_the_diagonal() {
        let (mut weight, mut bias) = ([0.5; 4], [0.5; 1]);
        tied(4, 2, 2)
            .gradients(&mut weight, Some(&mut bias), |weight, bias| {
                (0..16).for_each(|i| weight[i] = i as f32);
                bias.unwrap().copy_from_slice(&[20.0, 3.0]);
                Ok(())
            })
            .unwrap();
        assert_eq!(weight, [0.0 + 10.0, 1.0 + 11.0, 4.0 + 14.0, 5.0 + 15.0]);
        assert_eq!(bias, [23.0]);
    }
}
