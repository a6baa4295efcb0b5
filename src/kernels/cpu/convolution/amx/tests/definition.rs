//! The forward and the gradient of the input follow the definition; wrong arguments are errors.

use half::bf16;

use super::super::{Forward, GradInput, PackedWeight};
use crate::activation::Activation;
use crate::cpu::testing::{each_level, forced, Scoped};
use crate::cpu::{lend, Parallel, Serial};
use crate::kernels::cpu::convolution::testing::{
    any, usual, Case as AnyCase, Noise, Passes, SMALL,
};
use crate::kernels::cpu::convolution::{Geometry, Load, Moments, Operand};

type Case = AnyCase<bf16>;

struct Amx;

impl Passes<bf16> for Amx {
    type Weight = PackedWeight;

    fn packed(geometry: &Geometry, operand: Operand, master: &[f32]) -> PackedWeight {
        let mut weight = PackedWeight::new(geometry, operand).unwrap();
        weight.pack(master, None).unwrap();
        weight
    }

    fn forward(pass: Forward<bf16>, parallel: &dyn Parallel) -> Option<Moments> {
        pass.run(parallel).unwrap()
    }

    fn grad_input(pass: GradInput<bf16>, parallel: &dyn Parallel) {
        pass.run(parallel).unwrap();
    }
}

#[test]
fn any_geometry_follows_the_sums() {
    for seed in 0..60 {
        let case = Case::new(any(&mut Noise(seed)), seed);
        let outputs = case.run::<Amx>(&Serial);
        case.check::<bf16>(&outputs);
        assert_eq!(outputs, case.run::<Amx>(&Scoped(3)), "{:?}", case.geometry);
    }
}

#[test]
fn every_level_follows_the_sums() {
    for level in each_level() {
        for seed in 0..8 {
            let case = Case::new(any(&mut Noise(seed)), seed);
            case.check::<bf16>(&forced(level, || case.run::<Amx>(&Serial)));
        }
    }
}

#[test]
fn usual_shapes_follow_the_sums() {
    for (seed, geometry) in usual().into_iter().enumerate() {
        let case = Case::new(geometry, seed as u64);
        case.check::<bf16>(&case.run::<Amx>(&Scoped(2)));
    }
}

#[test]
fn a_nan_stays_in_reach_of_the_kernel() {
    for in_channels in [3, 8, 16, 40] {
        let mut case = Case::new(Geometry { in_channels, ..SMALL }, 5);
        (case.with, case.activation) = ([false, false, false, true], Activation::RELU);
        let [row, column] = [2, 3];
        case.x.get_mut()[(row * 7 + column) * in_channels] = bf16::NAN;
        let outputs = case.run::<Amx>(&Serial);
        for (i, y) in outputs.y.iter().enumerate() {
            let pixel = i / 16;
            let near = |at: usize, of: usize| at.abs_diff(of) <= 1;
            let reached = pixel < 42 && near(pixel / 7, row) && near(pixel % 7, column);
            assert_eq!(y.is_nan(), reached, "{in_channels} channels, pixel {pixel}");
        }
        assert!(outputs.moments.unwrap().1[0].is_nan());
    }
}

/// Tasks with several units copy the next one while they compute; with one image there is none.
#[test]
fn an_image_has_the_same_result_in_any_batch() {
    let wide = Geometry { in_channels: 32, in_size: [3, 16], batch: 110, ..SMALL };
    let strided = Geometry { in_channels: 64, in_size: [5, 33], stride: [2, 2], ..wide };
    let bands = Geometry { in_size: [40, 44], kernel_size: [3, 1], padding: [1, 0], ..wide };
    let small = Geometry { in_size: [3, 5], batch: 230, ..wide };
    for (geometry, load) in [
        (wide, false),
        (wide, true),
        (strided, true),
        (Geometry { batch: 30, ..bands }, true),
        (small, false),
    ] {
        let case = Case::new(geometry, 7);
        let weight = Amx::packed(&geometry, Operand::Forward, &case.master);
        let forward = |geometry: Geometry, x: &[bf16]| {
            let (scale, shift) = (&case.scale[..], &case.shift[..]);
            let activation = Activation::RELU;
            let mut y = vec![bf16::ZERO; geometry.out_len()];
            let forward = Forward {
                geometry,
                x,
                load: load.then_some(Load { scale, shift, activation }),
                weight: &weight,
                bias: Some(&case.bias),
                residual: None,
                activation,
                statistics: false,
                y: &mut y,
            };
            forward.run(&Serial).unwrap();
            y
        };
        let all = forward(geometry, case.x.get());
        let one = Geometry { batch: 1, ..geometry };
        for (x, y) in case.x.get().chunks(one.in_len()).zip(all.chunks(one.out_len())) {
            assert!(forward(one, x) == y, "{geometry:?}");
        }
    }
}

#[test]
fn aligned_pixels_are_read_where_they_are() {
    let blocks = Geometry { in_channels: 128, groups: 2, num_blocks: 2, ..SMALL };
    for (geometry, seed) in [(Geometry { in_channels: 64, ..SMALL }, 1), (blocks, 2)] {
        let (kernel_size, padding) = ([1, 1], [0, 0]);
        let geometry = Geometry { kernel_size, padding, in_size: [8, 28], ..geometry };
        let weight =
            Amx::packed(&geometry, Operand::Forward, &Noise(seed).values(geometry.weight_len()));
        let values: Vec<bf16> =
            Noise(seed).values(geometry.in_len()).into_iter().map(bf16::from_f32).collect();
        // One of the places in a line is aligned.
        let outputs = |place: usize| {
            lend(values.len() + 32, |memory: &mut [bf16]| {
                let x = &mut memory[place..place + values.len()];
                x.copy_from_slice(&values);
                let mut y = vec![bf16::ZERO; geometry.out_len()];
                let forward = Forward {
                    geometry,
                    x,
                    load: None,
                    weight: &weight,
                    bias: None,
                    residual: None,
                    activation: Activation::IDENTITY,
                    statistics: false,
                    y: &mut y,
                };
                forward.run(&Serial).unwrap();
                y
            })
        };
        assert_eq!(outputs(0), outputs(1));
    }
}

#[test]
fn a_scale_is_folded_into_the_weight() {
    let geometry = Geometry { out_channels: 21, ..SMALL };
    let mut case = Case::new(geometry, 4);
    case.with = [false; 4];
    let scale = Noise(9).values(21);
    let mut weight = PackedWeight::new(&geometry, Operand::Forward).unwrap();
    weight.pack(&case.master, Some(&scale)).unwrap();
    assert_eq!(weight.bytes(), 2 * 6 * 1024);
    let mut y = vec![bf16::ZERO; geometry.out_len()];
    let forward = Forward {
        geometry,
        x: case.x.get(),
        load: None,
        weight: &weight,
        bias: None,
        residual: None,
        activation: case.activation,
        statistics: false,
        y: &mut y,
    };
    forward.run(&Serial).unwrap();
    let row = geometry.weight_len() / 21;
    case.master.iter_mut().enumerate().for_each(|(i, value)| *value *= scale[i / row]);
    let expected: Vec<bf16> = case.run::<Amx>(&Serial).y.into_iter().map(bf16::from_f32).collect();
    assert_eq!(y, expected);
}

#[test]
fn rows_are_packed_as_the_whole_is() {
    for (channels, operand) in
        [(40, Operand::Forward), (40, Operand::GradInput), (5, Operand::GradInput)]
    {
        let geometry = Geometry { in_channels: 24, out_channels: channels, ..SMALL };
        let master = Noise(3).values(geometry.weight_len());
        let whole = Amx::packed(&geometry, operand, &master);
        let by_rows = PackedWeight::new(&geometry, operand).unwrap();
        let row = geometry.weight_len() / channels;
        for first in (0..channels).step_by(16).rev() {
            let end = channels.min(first + 16);
            // SAFETY: nothing else uses the weight.
            unsafe { by_rows.pack_rows(first, &master[first * row..end * row]) };
        }
        // SAFETY: both have as many words.
        let words = |weight: &PackedWeight| unsafe {
            std::slice::from_raw_parts(weight.words(), weight.bytes() / 4).to_vec()
        };
        assert_eq!(words(&whole), words(&by_rows));
    }
}

#[test]
fn wrong_calls_are_errors() {
    let message = |result: crate::error::Result<_>| result.err().unwrap().to_string();
    let weight = PackedWeight::new(&SMALL, Operand::Forward).unwrap();
    let x = vec![bf16::ZERO; SMALL.in_len()];
    let run = |geometry: Geometry, x: &[bf16]| {
        let mut y = vec![bf16::ZERO; geometry.out_len()];
        let forward = Forward {
            geometry,
            x,
            load: None,
            weight: &weight,
            bias: None,
            residual: None,
            activation: Activation::IDENTITY,
            statistics: false,
            y: &mut y,
        };
        forward.run(&Serial).map(|_| ())
    };
    run(SMALL, &x).unwrap();
    assert!(message(run(SMALL, &x[1..])).starts_with("x must have"));
    assert!(message(run(Geometry { dilation: [1, 2], padding: [1, 2], ..SMALL }, &x))
        .contains("another product"));
    let grouped = PackedWeight::new(&Geometry { groups: 2, ..SMALL }, Operand::Forward);
    assert!(message(grouped.map(|_| ())).contains("groups"));
    let singles = vec![0.0f32; SMALL.in_len()];
    let mut y = vec![0.0f32; SMALL.out_len()];
    let forward = Forward {
        geometry: SMALL,
        x: &singles,
        load: None,
        weight: &weight,
        bias: None,
        residual: None,
        activation: Activation::IDENTITY,
        statistics: false,
        y: &mut y,
    };
    assert!(message(forward.run(&Serial).map(|_| ())).contains("bf16"));
}
