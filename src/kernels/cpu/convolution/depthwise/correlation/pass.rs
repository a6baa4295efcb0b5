//! Forward and input gradient as one: rows of outputs that are sums of weighted inputs.

use std::ops::Range;

use super::super::axis::{Axis, Met};
use super::super::channel_blocks::ChannelBlocks;
use super::super::columns::zeros;
use super::microkernel::Line;
use crate::activation::Activation;
use crate::cpu::{dispatch, Kernel, Number, Simd, LANES};
use crate::kernels::cpu::convolution::Geometry;

/// Outputs at `phase + j * phases` are made alike, the `j`-th of them as the axes say.
struct Phase {
    vertical: Axis,
    horizontal: Axis,
    /// `[windows][vertical taps][horizontal taps][LANES]`
    weight: Vec<f32>,
}

/// A convolution, ready to be computed row by row.
pub struct Correlation<'a, T> {
    windows: ChannelBlocks,
    phases: [usize; 2],
    /// `phases[0] * phases[1]` of them.
    all: Vec<Phase>,
    /// The vertical phase of each row of outputs, and what it meets.
    met: Vec<(usize, Met)>,
    x: &'a [T],
    in_size: [usize; 2],
    out_size: [usize; 2],
    /// `[windows][LANES]`
    bias: Option<Vec<f32>>,
    add: Option<&'a [T]>,
    activation: Activation,
}

impl<'a, T: Number> Correlation<'a, T> {
    /// `weight` is `[channels][kernel height][kernel width]`; `scale` multiplies it.
    pub fn forward(
        geometry: &Geometry,
        x: &'a [T],
        weight: &[f32],
        scale: Option<&[f32]>,
        bias: Option<&[f32]>,
        activation: Activation,
    ) -> Self {
        let windows = ChannelBlocks { channels: geometry.in_channels };
        let axes = [0, 1].map(|dim| Axis::forward(geometry, dim));
        Correlation {
            windows,
            phases: [1, 1],
            all: vec![Phase::new::<T>(windows, axes, geometry, weight, scale)],
            met: (0..axes[0].outputs).map(|row| (0, axes[0].met(row))).collect(),
            x,
            in_size: geometry.in_size,
            out_size: geometry.out_size(),
            bias: bias.map(|bias| windows.pack(1, |channel, _| bias[channel])),
            add: None,
            activation,
        }
    }

    /// The gradient of the input, with `add` added to it.
    pub fn gradient(
        geometry: &Geometry,
        grad_y: &'a [T],
        weight: &[f32],
        add: Option<&'a [T]>,
    ) -> Self {
        let windows = ChannelBlocks { channels: geometry.in_channels };
        let [height, width] = geometry.stride;
        let phase = |vertical, horizontal| {
            let axes =
                [Axis::gradient(geometry, 0, vertical), Axis::gradient(geometry, 1, horizontal)];
            Phase::new::<T>(windows, axes, geometry, weight, None)
        };
        let all: Vec<Phase> = (0..height * width).map(|i| phase(i / width, i % width)).collect();
        let met = |row: usize| {
            let phase = row % height;
            (phase, all[phase * width].vertical.met(row / height))
        };
        Correlation {
            windows,
            phases: geometry.stride,
            met: (0..geometry.in_size[0]).map(met).collect(),
            all,
            x: grad_y,
            in_size: geometry.out_size(),
            out_size: geometry.in_size,
            bias: None,
            add,
            activation: Activation::IDENTITY,
        }
    }

    /// Computes a band of rows into `y`, which starts with row `first`.
    pub fn rows(&self, band: Range<usize>, y: &mut [T], first: usize) {
        debug_assert!(y.len() >= (band.end - first) * self.row_len());
        for horizontal in 0..self.phases[1] {
            self.phase(&mut Pass { correlation: self, horizontal, band: band.clone(), y, first });
        }
    }

    /// Elements of a row of outputs.
    pub fn row_len(&self) -> usize {
        self.out_size[1] * self.windows.channels
    }

    /// Chooses the inner loops: all vertical phases of a horizontal one have the same.
    fn phase(&self, pass: &mut Pass<T>) {
        let axis = self.all[pass.horizontal].horizontal;
        match (axis.taps, axis.step) {
            _ if self.windows.lanes() < LANES || !axis.is_plain() => dispatch(Any(pass)),
            (1, 1) => dispatch(Fixed::<T, 1, 1>(pass)),
            (2, 1) => dispatch(Fixed::<T, 2, 1>(pass)),
            (3, 1) => dispatch(Fixed::<T, 3, 1>(pass)),
            (5, 1) => dispatch(Fixed::<T, 5, 1>(pass)),
            (7, 1) => dispatch(Fixed::<T, 7, 1>(pass)),
            (3, 2) => dispatch(Fixed::<T, 3, 2>(pass)),
            (5, 2) => dispatch(Fixed::<T, 5, 2>(pass)),
            _ => dispatch(Any(pass)),
        }
    }
}

impl Phase {
    fn new<T: Number>(
        windows: ChannelBlocks,
        [vertical, horizontal]: [Axis; 2],
        geometry: &Geometry,
        weight: &[f32],
        scale: Option<&[f32]>,
    ) -> Phase {
        let width = geometry.kernel_size[1];
        let places: Vec<usize> = (0..vertical.taps)
            .flat_map(|i| (0..horizontal.taps).map(move |j| (i, j)))
            .map(|(i, j)| vertical.place(i) * width + horizontal.place(j))
            .collect();
        let weight = windows.pack(places.len(), |channel, i| {
            // Rounded as activations are, and only then scaled.
            let value = T::from_f32(weight[channel * geometry.taps() + places[i]]).to_f32();
            scale.map_or(value, |scale| value * scale[channel])
        });
        Phase { vertical, horizontal, weight }
    }
}

/// One horizontal phase of a band of rows.
struct Pass<'a, 'b, T> {
    correlation: &'a Correlation<'b, T>,
    horizontal: usize,
    band: Range<usize>,
    y: &'a mut [T],
    /// The row that `y` starts with.
    first: usize,
}

impl<T: Number> Pass<'_, '_, T> {
    /// The image of the band's first row, and the row within it.
    #[inline(always)]
    fn place(&self) -> (usize, usize) {
        let height = self.correlation.out_size[0];
        (self.band.start / height, self.band.start % height)
    }

    /// What all rows of a window have in common; `aim` says the rest.
    #[inline(always)]
    fn line(&self, window: usize) -> Line<T> {
        let correlation = self.correlation;
        let channels = correlation.windows.channels;
        let Phase { vertical, horizontal, weight } = &correlation.all[self.horizontal];
        Line {
            x: correlation.x.as_ptr(),
            rows: 0,
            row_step: vertical.dilation * correlation.in_size[1] * channels,
            columns: horizontal.inputs,
            pixel: channels,
            origin: horizontal.origin,
            step: horizontal.step,
            taps: horizontal.taps,
            dilation: horizontal.dilation,
            weight: weight.as_ptr(),
            bias: correlation.bias.as_ref().map(|bias| bias[window * LANES..].as_ptr()),
            add: None,
            activation: correlation.activation,
            y: std::ptr::null_mut(),
            outputs: horizontal.outputs,
            y_step: correlation.phases[1] * channels,
            lanes: correlation.windows.lanes(),
        }
    }

    /// Points the line at `row`, which is row `i` of `image`.
    #[inline(always)]
    fn aim(&mut self, line: &mut Line<T>, window: usize, row: usize, image: usize, i: usize) {
        let correlation = self.correlation;
        let channels = correlation.windows.channels;
        let start = correlation.windows.start(window);
        let (phase, met) = correlation.met[i];
        let phase = &correlation.all[phase * correlation.phases[1] + self.horizontal];
        let out_start = self.horizontal * channels + start;
        let in_row = image * correlation.in_size[0] + met.input;

        let x = in_row * correlation.in_size[1] * channels + start;
        let weight = (window * phase.vertical.taps + met.tap) * line.taps * LANES;
        let y = (row - self.first) * correlation.row_len() + out_start;
        let add = row * correlation.row_len() + out_start;
        line.x = correlation.x.as_ptr().wrapping_add(x);
        line.rows = met.taps;
        line.weight = phase.weight.as_ptr().wrapping_add(weight);
        line.y = self.y.as_mut_ptr().wrapping_add(y);
        line.add = correlation.add.map(|all| all.as_ptr().wrapping_add(add));
    }

    /// The row after row `i` of `image`.
    #[inline(always)]
    fn next(&self, image: usize, i: usize) -> (usize, usize) {
        match i + 1 == self.correlation.out_size[0] {
            true => (image + 1, 0),
            false => (image, i + 1),
        }
    }
}

/// A pass of a kernel that is `KW` wide.
struct Fixed<'a, 'b, 'c, T, const KW: usize, const STEP: usize>(&'a mut Pass<'b, 'c, T>);

impl<T: Number, const KW: usize, const STEP: usize> Kernel for Fixed<'_, '_, '_, T, KW, STEP> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (pass, zeros) = (self.0, &zeros::<T>());
        for window in 0..pass.correlation.windows.count() {
            let (mut image, mut i) = pass.place();
            let mut line = pass.line(window);
            for row in pass.band.clone() {
                pass.aim(&mut line, window, row, image, i);
                // SAFETY: `line` describes rows of `x` that the axes have found inside, of slices
                // whose lengths were checked against the geometry; `y` has room for the band.
                unsafe { line.run::<S, KW, STEP>(simd, zeros) };
                (image, i) = pass.next(image, i);
            }
        }
    }
}

/// A pass of any other kernel.
struct Any<'a, 'b, 'c, T>(&'a mut Pass<'b, 'c, T>);

impl<T: Number> Kernel for Any<'_, '_, '_, T> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let pass = self.0;
        for window in 0..pass.correlation.windows.count() {
            let (mut image, mut i) = pass.place();
            let mut line = pass.line(window);
            for row in pass.band.clone() {
                pass.aim(&mut line, window, row, image, i);
                // SAFETY: as above.
                unsafe { line.run_any(simd) };
                (image, i) = pass.next(image, i);
            }
        }
    }
}
