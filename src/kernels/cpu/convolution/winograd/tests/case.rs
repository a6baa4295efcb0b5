//! A convolution with everything that its passes take, and the sums of its definition in f64.

use super::super::{Forward, GradInput, GradWeight, PackedWeight};
use crate::activation::Activation;
use crate::cpu::testing::{exact, noise, Guarded};
use crate::cpu::{Number, Parallel};
use crate::kernels::cpu::convolution::{Geometry, Load, Moments, Operand};

#[derive(Clone, Copy, Debug)]
pub(super) struct Flags {
    pub(super) load: bool,
    pub(super) bias: bool,
    pub(super) residual: bool,
    pub(super) activation: Activation,
}

pub(super) const PLAIN: Flags =
    Flags { load: false, bias: false, residual: false, activation: Activation::IDENTITY };

/// Inputs of all three passes.
pub(super) struct Case<T> {
    pub(super) geometry: Geometry,
    pub(super) flags: Flags,
    pub(super) x: Guarded<T>,
    pub(super) grad_y: Guarded<T>,
    pub(super) residual: Guarded<T>,
    pub(super) add: Guarded<T>,
    pub(super) weight: Vec<f32>,
    pub(super) scale: Vec<f32>,
    pub(super) shift: Vec<f32>,
    pub(super) bias: Vec<f32>,
}

pub(super) struct Outputs<T> {
    pub(super) y: Guarded<T>,
    pub(super) moments: Moments,
    pub(super) grad_x: Guarded<T>,
    pub(super) grad_weight: Guarded<f32>,
    pub(super) grad_bias: Guarded<f32>,
}

pub(super) fn geometry(
    batch: usize,
    channels: [usize; 2],
    in_size: [usize; 2],
    padding: [usize; 2],
) -> Geometry {
    Geometry {
        batch,
        in_channels: channels[0],
        out_channels: channels[1],
        in_size,
        kernel_size: [3, 3],
        stride: [1, 1],
        padding,
        dilation: [1, 1],
        groups: 1,
        num_blocks: 1,
    }
}

pub(super) fn act(activation: Activation, v: f64) -> f64 {
    if v > 0.0 {
        v.min(activation.max as f64)
    } else {
        activation.slope as f64 * v
    }
}

impl<T: Number> Case<T> {
    pub(super) fn new(seed: u64, geometry: Geometry, flags: Flags) -> Self {
        let noise = |k: u64, len: usize| noise(seed * 16 + k, len);
        let (ins, outs) = (geometry.in_channels, geometry.out_channels);
        Case {
            geometry,
            flags,
            x: Guarded::input(noise(0, geometry.in_len())),
            grad_y: Guarded::input(noise(1, geometry.out_len())),
            residual: Guarded::input(noise(2, geometry.out_len())),
            add: Guarded::input(noise(3, geometry.in_len())),
            weight: noise(4, geometry.weight_len()).collect(),
            scale: noise(5, ins).map(|v| 1.0 + v / 2.0).collect(),
            shift: noise(6, ins).collect(),
            bias: noise(7, outs).collect(),
        }
    }

    pub(super) fn load(&self) -> Option<Load<'_>> {
        let activation = self.flags.activation;
        self.flags.load.then_some(Load { scale: &self.scale, shift: &self.shift, activation })
    }

    /// All passes, by kernels that multiply as `M`.
    pub(super) fn run<M: Number>(&self, parallel: &dyn Parallel) -> Outputs<T> {
        let geometry = self.geometry;
        let pack = |operand| {
            let mut weight = PackedWeight::<M>::new(geometry, operand).unwrap();
            weight.pack(&self.weight, None).unwrap();
            weight
        };
        let mut y = Guarded::output(geometry.out_len());
        let moments = Forward {
            geometry,
            x: self.x.get(),
            load: self.load(),
            weight: &pack(Operand::Forward),
            bias: self.flags.bias.then_some(&self.bias[..]),
            residual: self.flags.residual.then_some(self.residual.get()),
            activation: self.flags.activation,
            statistics: true,
            y: y.get_mut(),
        };
        let moments = moments.run(parallel).unwrap().unwrap();
        let mut grad_x = Guarded::output(geometry.in_len());
        let pass = GradInput {
            geometry,
            grad_y: self.grad_y.get(),
            weight: &pack(Operand::GradInput),
            add: self.flags.residual.then_some(self.add.get()),
            grad_x: grad_x.get_mut(),
        };
        pass.run(parallel).unwrap();
        let mut grad_weight = Guarded::output(geometry.weight_len());
        let mut grad_bias = Guarded::output(geometry.out_channels);
        let pass = GradWeight {
            geometry,
            x: self.x.get(),
            load: self.load(),
            grad_y: self.grad_y.get(),
            grad_weight: grad_weight.get_mut(),
            grad_bias: self.flags.bias.then_some(grad_bias.get_mut()),
        };
        pass.run::<M>(parallel).unwrap();
        Outputs { y, moments, grad_x, grad_weight, grad_bias }
    }

    /// `x` after its load, as `M`.
    fn loaded<M: Number>(&self) -> Vec<f64> {
        let channels = self.geometry.in_channels;
        let values = self.x.get().iter().map(|x| x.to_f32()).enumerate();
        let load = |(i, x): (usize, f32)| match self.load() {
            Some(load) => {
                let v = x.mul_add(load.scale[i % channels], load.shift[i % channels]);
                M::from_f32(act(load.activation, v as f64) as f32).to_f32() as f64
            }
            None => x as f64,
        };
        values.map(load).collect()
    }

    /// Calls `call` with the indices of each multiplication: of `y`, of `x` and of the weight.
    pub(super) fn products(&self, mut call: impl FnMut(usize, usize, usize)) {
        let g = self.geometry;
        let ([height, width], [out_height, out_width]) = (g.in_size, g.out_size());
        let (ins, outs) = (g.in_channels, g.out_channels);
        for at in 0..g.batch * out_height * out_width {
            let (n, oy, ox) =
                (at / (out_height * out_width), at / out_width % out_height, at % out_width);
            for tap in 0..9 {
                let y = (oy + tap / 3).wrapping_sub(g.padding[0]);
                let x = (ox + tap % 3).wrapping_sub(g.padding[1]);
                if y >= height || x >= width {
                    continue;
                }
                let from = ((n * height + y) * width + x) * ins;
                for o in 0..outs {
                    for i in 0..ins {
                        call(at * outs + o, from + i, (o * 9 + tap) * ins + i);
                    }
                }
            }
        }
    }

    /// Compares the passes that multiply as `M` with the definition.
    pub(super) fn check<M: Number>(&self, parallel: &dyn Parallel) {
        let outputs = &self.run::<M>(parallel);
        // The error of a product, and the relative one of a stored number.
        let unit = if M::PER_WORD == 2 { 0.035 } else { 4e-6 };
        let rounding = if T::PER_WORD == 2 { 0.004 } else { 1e-7 };
        let g = self.geometry;
        let x = self.loaded::<M>();
        let weight: Vec<f64> = exact(&self.weight);
        let grad_y = exact(self.grad_y.get());
        let mut y = vec![0.0; g.out_len()];
        let mut grad_x = vec![0.0; g.in_len()];
        let mut grad_weight = vec![0.0; g.weight_len()];
        self.products(|out, at, tap| {
            y[out] += x[at] * weight[tap];
            grad_x[at] += grad_y[out] * weight[tap];
            grad_weight[tap] += x[at] * grad_y[out];
        });
        for (i, y) in y.iter_mut().enumerate() {
            *y += if self.flags.bias { self.bias[i % g.out_channels] as f64 } else { 0.0 };
            *y += if self.flags.residual { self.residual.get()[i].to_f32() as f64 } else { 0.0 };
            *y = act(self.flags.activation, *y);
        }
        if self.flags.residual {
            grad_x.iter_mut().zip(exact(self.add.get())).for_each(|(x, add)| *x += add);
        }
        let size = |terms: usize| unit * (terms as f64).sqrt();
        let pixels = g.batch * g.out_size()[0] * g.out_size()[1];
        close("y", &exact(outputs.y.checked()), &y, size(9 * g.in_channels), rounding);
        close(
            "grad_x",
            &exact(outputs.grad_x.checked()),
            &grad_x,
            size(9 * g.out_channels),
            rounding,
        );
        close(
            "grad_weight",
            &exact(outputs.grad_weight.checked()),
            &grad_weight,
            size(pixels),
            0.0,
        );
        if self.flags.bias {
            let mut grad_bias = vec![0.0; g.out_channels];
            grad_y.iter().enumerate().for_each(|(i, v)| grad_bias[i % g.out_channels] += v);
            let small = 1e-6 * pixels as f64;
            close("grad_bias", &exact(outputs.grad_bias.checked()), &grad_bias, small, 0.0);
        }
        self.check_moments(&exact(outputs.y.checked()), &outputs.moments, 1e-4);
    }

    pub(super) fn check_moments(&self, y: &[f64], moments: &Moments, rounding: f64) {
        let channels = self.geometry.out_channels;
        let count = (y.len() / channels) as f64;
        assert_eq!(moments.count, count);
        assert_eq!((moments.mean.len(), moments.squares.len()), (channels, channels));
        for c in 0..channels {
            let column = || y.iter().skip(c).step_by(channels);
            let mean = column().sum::<f64>() / count;
            let squares: f64 = column().map(|y| (y - mean) * (y - mean)).sum();
            let spread = (squares / count).sqrt();
            let (got, squared) = (moments.mean[c], moments.squares[c]);
            assert!((got - mean).abs() <= rounding * spread, "{got} {mean} of {c}");
            assert!((squared - squares).abs() <= rounding * squares + 1e-9, "{squared} {squares}");
        }
    }

    pub(super) fn passes<M: Number>(&self, parallel: &dyn Parallel) -> [Vec<f64>; 6] {
        let outputs = self.run::<M>(parallel);
        let bias = if self.flags.bias { exact(outputs.grad_bias.checked()) } else { Vec::new() };
        let Moments { mean, squares, .. } = outputs.moments;
        let (y, grad_x) = (exact(outputs.y.checked()), exact(outputs.grad_x.checked()));
        [y, grad_x, exact(outputs.grad_weight.checked()), bias, mean, squares]
    }
}

#[track_caller]
pub(super) fn close(name: &str, got: &[f64], expected: &[f64], size: f64, rounding: f64) {
    assert_eq!(got.len(), expected.len());
    for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
        let tolerance = size + rounding * expected.abs();
        assert!((got - expected).abs() <= tolerance, "{name}[{i}]: {got}, not {expected}");
    }
}
