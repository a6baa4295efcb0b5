//! The pass over all parameters against one parameter after the other.

use std::sync::Mutex;

use super::*;
use crate::cpu::testing::{each_level, forced, Scoped};
use crate::cpu::{Parallel, Serial};
use crate::error::Result;
use crate::optim::{AdamW, Sgd};

const DECAY: f64 = 0.9;

/// A pool that runs a function.
struct Pool<F>(F);

impl<F: Fn(usize, &(dyn Fn(usize) + Sync)) + Sync> Parallel for Pool<F> {
    fn threads(&self) -> usize {
        1
    }

    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        (self.0)(tasks, task);
    }
}

fn optimizers() -> Vec<Optimizer> {
    let sgd = Sgd { lr: 0.1, weight_decay: 5e-4, ..Sgd::default() };
    vec![
        Optimizer::Sgd(Sgd { momentum: 0.9, nesterov: true, ..sgd.clone() }),
        Optimizer::Sgd(Sgd { momentum: 0.9, dampening: 0.1, ..sgd.clone() }),
        Optimizer::Sgd(Sgd { maximize: true, ..sgd }),
        Optimizer::AdamW(AdamW::default()),
        Optimizer::AdamW(AdamW { beta1: 0.4, maximize: true, ..AdamW::default() }),
    ]
}

/// Many small parameters between large and odd ones.
fn extents() -> Vec<Extent> {
    let mut extents = vec![Extent::rows(64, 147)];
    extents.extend((0..40).map(|i| Extent::rows(1 + 3 * i, 1)));
    extents.extend([Extent::rows(47, 577), Extent::rows(0, 3), Extent::flat(40_001)]);
    extents.extend([Extent::rows(5, 4099), Extent::rows(1, 1), Extent::rows(130, 130)]);
    extents
}

/// What one parameter has.
#[derive(Clone, Debug, PartialEq)]
struct Owned {
    optimizer: Optimizer,
    param: Vec<f32>,
    grad: Option<Vec<f32>>,
    state: Vec<Vec<f32>>,
    average: Vec<f32>,
}

fn wave(len: usize, seed: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 7 + seed * 13) as f32 * 0.37).sin()).collect()
}

/// Each parameter with another optimizer; every seventh is not reached.
fn owned() -> Vec<Owned> {
    let optimizers = optimizers();
    let one = |(index, extent): (usize, Extent)| {
        let (len, optimizer) = (extent.len(), optimizers[index % optimizers.len()].clone());
        Owned {
            param: wave(len, index),
            grad: (index % 7 != 6).then(|| wave(len, index + 1)),
            state: optimizer.state_names().iter().map(|_| vec![0.0; len]).collect(),
            average: wave(len, index + 2),
            optimizer,
        }
    };
    extents().into_iter().enumerate().map(one).collect()
}

fn target(owned: &mut Owned, number: u64) -> Target<'_> {
    let Owned { optimizer, param, grad, state, average } = owned;
    let update = grad.as_ref().map(|grad| Update {
        optimizer,
        lr: optimizer.lr() / number as f64,
        number,
        grad,
        state: state.iter_mut().map(|state| &mut state[..]).collect(),
    });
    Target { param, update, average: Some(average) }
}

fn step_all(
    owned: &mut [Owned],
    number: u64,
    shadows: &dyn Shadows,
    parallel: &dyn Parallel,
) -> Result<()> {
    let pieces = Pieces::new(extents());
    let targets = owned.iter_mut().map(|owned| target(owned, number)).collect();
    let pass = Pass::new(&pieces, targets, DECAY)?;
    let coefficient = clip::coefficient(pass.norm(parallel)?, 1.0);
    pass.step(coefficient, shadows, parallel)
}

fn three_steps(parallel: &dyn Parallel) -> Vec<Owned> {
    let mut owned = owned();
    (1..=3).for_each(|number| step_all(&mut owned, number, &(), parallel).unwrap());
    owned
}

/// One after the other, whole.
fn expected() -> Vec<Owned> {
    let mut all = owned();
    for number in 1..=3 {
        let grads = all.iter().filter_map(|owned| owned.grad.as_ref());
        let total: f64 = grads.map(|grad| clip::squared_norm(grad)).sum();
        let coefficient = clip::coefficient(total.sqrt(), 1.0);
        for Owned { optimizer, param, grad, state, average } in &mut all {
            if let Some(grad) = grad {
                let clipped: Vec<f32> = grad.iter().map(|g| g * coefficient).collect();
                let mut state: Vec<&mut [f32]> = state.iter_mut().map(|s| &mut s[..]).collect();
                let lr = optimizer.lr() / number as f64;
                let step = Step { number, lr, coefficient: 1.0 };
                optimizer.step(step, param, &clipped, &mut state).unwrap();
            }
            ema::update(DECAY, average, param);
        }
    }
    all
}

#[test]
fn a_pass_is_one_parameter_after_the_other() {
    assert!(three_steps(&Serial) == expected());
}

#[test]
fn threads_and_instructions_change_no_bit() {
    let expected = three_steps(&Serial);
    assert!(three_steps(&Scoped(3)) == expected);
    for level in each_level() {
        assert!(forced(level, || three_steps(&Serial)) == expected, "{level:?}");
    }
}

#[test]
fn the_norm_is_that_of_all_gradients() {
    let (pieces, mut owned) = (Pieces::new(extents()), owned());
    let grads = owned.iter().filter_map(|owned| owned.grad.as_ref()).flatten();
    let exact = grads.map(|&g| (g as f64).powi(2)).sum::<f64>().sqrt();
    let targets = owned.iter_mut().map(|owned| target(owned, 1)).collect();
    let pass = Pass::new(&pieces, targets, DECAY).unwrap();
    let norm = pass.norm(&Serial).unwrap();
    assert!((norm - exact).abs() < 1e-12 * exact, "{norm} {exact}");
    assert_eq!(pass.norm(&Scoped(3)).unwrap().to_bits(), norm.to_bits());
}

/// Records the rows that it receives, and NaN elsewhere.
struct Copies(Vec<Mutex<Vec<f32>>>);

impl Copies {
    fn new() -> Copies {
        Copies(extents().iter().map(|extent| Mutex::new(vec![f32::NAN; extent.len()])).collect())
    }
}

impl Shadows for Copies {
    fn update_rows(&self, parameter: usize, first: usize, rows: &[f32]) {
        let Extent { row, rows: all, has_rows } = extents()[parameter];
        let count = rows.len() / row;
        assert!(has_rows && first.is_multiple_of(16) && count * row == rows.len());
        assert!(count.is_multiple_of(16) || first + count == all);
        let mut copy = self.0[parameter].lock().unwrap();
        let copy = &mut copy[first * row..][..rows.len()];
        assert!(copy.iter().all(|value| value.is_nan()), "told twice");
        copy.copy_from_slice(rows);
    }
}

#[test]
fn shadows_hear_of_every_row_that_is_updated() {
    let (mut owned, copies) = (owned(), Copies::new());
    step_all(&mut owned, 1, &copies, &Scoped(3)).unwrap();
    for ((owned, extent), copy) in owned.iter().zip(extents()).zip(copies.0) {
        let copy = copy.into_inner().unwrap();
        match owned.grad.is_some() && extent.has_rows {
            true => assert!(copy == owned.param),
            false => assert!(copy.iter().all(|value| value.is_nan())),
        }
    }
}

#[test]
fn a_pool_that_repeats_a_task_does_no_harm() {
    let twice = Pool(|tasks: usize, task: &(dyn Fn(usize) + Sync)| {
        (0..2 * tasks).for_each(|index| task(index / 2));
    });
    let (mut once, mut repeated) = (owned(), owned());
    step_all(&mut once, 1, &(), &Serial).unwrap();
    // The step still fails, because the number of finished tasks is wrong.
    let pieces = Pieces::new(extents());
    let targets = repeated.iter_mut().map(|owned| target(owned, 1)).collect();
    let pass = Pass::new(&pieces, targets, DECAY).unwrap();
    let coefficient = clip::coefficient(pass.norm(&Serial).unwrap(), 1.0);
    assert!(pass.step(coefficient, &(), &twice).is_err());
    assert!(once == repeated);
}

#[test]
fn refuses_what_does_not_fit() {
    let refused = |change: &dyn Fn(&mut Vec<Owned>), word: &str| {
        let mut owned = owned();
        change(&mut owned);
        let message = step_all(&mut owned, 1, &(), &Serial).unwrap_err().to_string();
        assert!(message.contains(word), "{message}");
    };
    refused(&|owned| owned.truncate(3), "targets must have 47 elements");
    refused(&|owned| owned[0].param.truncate(3), "param must have 9408");
    refused(&|owned| owned[0].average.truncate(3), "average must have 9408");
    refused(&|owned| owned[0].grad.as_mut().unwrap().truncate(3), "grad must have 9408");
    refused(&|owned| owned[0].state[0].truncate(3), "momentum_buffer must have 9408");
    refused(&|owned| owned[0].state.clear(), "keeps 1 state buffers");
    let lazy = Pool(|tasks: usize, task: &(dyn Fn(usize) + Sync)| (1..tasks).for_each(task));
    let message = step_all(&mut owned(), 1, &(), &lazy).unwrap_err().to_string();
    assert!(message.contains("thread pool ran"), "{message}");
}
