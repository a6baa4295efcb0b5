use super::super::augment::Cursor;
use super::super::host::{address, address_mut, Host};
use super::*;

const LENS: [usize; 4] = [3, CHUNK, CHUNK + 1, 2 * CHUNK + 77];
const LR: f64 = 0.05;

/// One number with its two states, in f64.
type Exact = [f64; 3];

/// Runs three steps on the device and compares them with `step`, which updates one number from its
/// gradient and the number of the step.
fn compare<S: Copy>(
    rule: Rule,
    settings: S,
    max_norm: Option<f64>,
    step: impl Fn(&mut Exact, f64, i32),
) {
    let value = |i: usize, k: usize| ((i * 31 + k * 7) % 97) as f32 / 48.0 - 1.0;
    let numbers = |k: usize| LENS.map(|len| (0..len).map(|i| value(i, k)).collect::<Vec<f32>>());
    let mut params = numbers(1);
    let mut exact: Vec<Exact> =
        params.iter().flatten().map(|p| [f64::from(*p), 0.0, 0.0]).collect();
    let mut states = LENS.map(|len| [vec![0.0f32; len], vec![0.0f32; len]]);
    let mut averages = params.clone();
    let device = Host::new(1);
    for number in 1..=3 {
        let grads = numbers(1 + number as usize);
        let parameters: Vec<Parameter> = (0..LENS.len())
            .map(|k| Parameter {
                len: LENS[k],
                param: address_mut(&mut params[k]),
                grad: address(&grads[k]),
                state: states[k].each_mut().map(|state| address_mut(state)),
                average: address_mut(&mut averages[k]),
                ..Parameter::default()
            })
            .collect();
        let table = chunks(&parameters);
        assert_eq!(table.len(), 1 + 1 + 2 + 3);
        // The last factor applies to all batches beyond the end.
        let cursor = [Cursor { batch: number as u64, step: number as u64, ..Cursor::default() }];
        let (lrs, factors) = ([2.0 * LR], [f64::NAN, 0.5]);
        let (mut sums, mut coefficient) = (vec![0.0f64; table.len()], [f32::NAN]);
        let update = Update {
            rule,
            chunks: address(&table),
            count: table.len(),
            groups: address(&[settings]),
            lrs: address(&lrs),
            factors: address(&factors),
            steps: 2,
            cursor: address(&cursor),
            decay: 0.0,
            warmup: number % 2 == 0,
            clip: max_norm.map(|max_norm| Clip {
                max_norm,
                sums: address_mut(&mut sums),
                coefficient: address_mut(&mut coefficient),
            }),
        };
        // SAFETY: all slices have their lengths and outlive the launch.
        unsafe { update.launch(&device) }.unwrap();

        let grads: Vec<f64> = grads.iter().flatten().map(|grad| f64::from(*grad)).collect();
        let norm = grads.iter().map(|grad| grad * grad).sum::<f64>().sqrt();
        let scale = max_norm.map_or(1.0, |max_norm| (max_norm / norm).min(1.0));
        for (exact, grad) in exact.iter_mut().zip(&grads) {
            step(exact, grad * scale, number);
        }
    }
    for (ours, exact) in params.iter().flatten().zip(&exact) {
        let error = (f64::from(*ours) - exact[0]).abs();
        assert!(error <= 1e-5 * exact[0].abs().max(1.0), "{ours}, exactly {exact:?}");
    }
    // With a weight of 1 the averages equal the parameters.
    for (average, param) in averages.iter().flatten().zip(params.iter().flatten()) {
        assert!((average - param).abs() <= 1e-6 * param.abs().max(1.0), "{average} {param}");
    }
}

#[test]
fn sgd_by_hand() {
    let sgd = Sgd { momentum: 0.9, damp: 1.0, weight_decay: 0.01, nesterov: 1, maximize: 0 };
    let step = |[param, buffer, _]: &mut Exact, grad: f64, number: i32| {
        let grad = grad + 0.01 * *param;
        *buffer = if number == 1 { grad } else { 0.9 * *buffer + grad };
        *param -= LR * (grad + 0.9 * *buffer);
    };
    compare(Rule::Sgd, sgd, None, step);
    compare(Rule::Sgd, sgd, Some(1.5), step);
    compare(Rule::Sgd, sgd, Some(1e9), step);
}

#[test]
fn adamw_by_hand() {
    let adamw =
        AdamW { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.01, ..AdamW::default() };
    compare(Rule::AdamW, adamw, None, |[param, m, v], grad, number| {
        *m = 0.9 * *m + 0.1 * grad;
        *v = 0.999 * *v + 0.001 * grad * grad;
        let (mean, square) = (*m / (1.0 - 0.9f64.powi(number)), *v / (1.0 - 0.999f64.powi(number)));
        *param = *param * (1.0 - LR * 0.01) - LR * mean / (square.sqrt() + 1e-8);
    });
}

#[test]
fn chunks_cover_a_parameter() {
    let parameter = Parameter {
        len: 2 * CHUNK + 5,
        param: Address(1 << 20),
        shadow: Address(1 << 30),
        group: 3,
        ..Parameter::default()
    };
    let chunks = chunks(&[parameter, Parameter::default()]);
    assert_eq!(chunks.iter().map(|chunk| chunk.count as usize).sum::<usize>(), parameter.len);
    assert_eq!(chunks[2].param, Address((1 << 20) + 4 * 2 * CHUNK as u64));
    assert_eq!(chunks[2].shadow, Address((1 << 30) + 2 * 2 * CHUNK as u64));
    assert_eq!((chunks[1].grad, chunks[1].group), (Address::NONE, 3));
    // The size in `optimizer.cu`.
    assert_eq!(size_of::<Chunk>(), 64);
}

#[test]
fn buffers_take_over_until_a_step_fails() {
    let from: Vec<u8> = (0..4 * CHUNK + 7).map(|i| (i % 251) as u8).collect();
    let mut to = vec![255u8; from.len()];
    for (failed, expected) in [(1, vec![255; from.len()]), (0, from.clone())] {
        let table: Vec<BufferPart> =
            copies(address(&from), address_mut(&mut to), from.len()).collect();
        let cursor = [Cursor { failed, ..Cursor::default() }];
        // SAFETY: all slices have their lengths and outlive the launch.
        unsafe { take_over(&Host::new(1), address(&table), table.len(), address(&cursor)) }
            .unwrap();
        assert_eq!(to, expected);
    }
}
