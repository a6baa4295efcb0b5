//! Times the CPU kernels alone: `cargo bench --no-default-features [-- threads] [-- part of a line]`.
//!
//! The clock includes one call on warm buffers; of many calls the fastest and the median are
//! printed. Bandwidth counts every pass over an activation.

use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use half::bf16;
use proprelu::activation::Activation;
use proprelu::cpu::{Number, Parallel, Serial};
use proprelu::kernels::cpu::batch_norm::{Backward, Forward, Mask, Shape};

#[path = "kernels/depthwise.rs"]
mod depthwise;
#[path = "kernels/direct.rs"]
mod direct;
#[path = "kernels/winograd.rs"]
mod winograd;

/// How long each kernel is called, and how often at most.
const LONG: Duration = Duration::from_millis(150);
const CALLS: usize = 200;

/// Batch, height, width, channels.
const SHAPES: [[usize; 4]; 9] = [
    [128, 32, 32, 16],
    [128, 16, 16, 32],
    [128, 8, 8, 64],
    [32, 32, 32, 96],
    [32, 4, 4, 576],
    [32, 2, 2, 960],
    [32, 56, 56, 64],
    [32, 14, 14, 512],
    [32, 7, 7, 2048],
];

fn main() {
    // cargo passes `--bench`; anything that is a number is the number of threads.
    let threads = std::env::args().filter_map(|arg| arg.parse().ok()).next().unwrap_or(2);
    let mut words = std::env::args().skip(1).filter(|arg| !arg.starts_with('-'));
    let only = words.find(|arg| arg.parse::<usize>().is_err()).unwrap_or_default();
    println!("batch_norm, {threads} threads: fastest / median ms (GB/s of the fastest)");
    let pool = Pool::default();
    thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(|| pool.work());
        }
        pool.workers.store(threads - 1, Ordering::SeqCst);
        let parallel: &dyn Parallel = if threads > 1 { &pool } else { &Serial };
        for shape in SHAPES {
            time::<f32>("f32 ", shape, &only, parallel);
            time::<bf16>("bf16", shape, &only, parallel);
        }
        direct::time(&only, parallel);
        winograd::time(&only, parallel);
        depthwise::time(&only, parallel);
        pool.stop();
    });
}

fn time<T: Number>(
    kind: &str,
    [n, h, w, channels]: [usize; 4],
    only: &str,
    parallel: &dyn Parallel,
) {
    let name = format!("batch_norm {kind} {n:3}x{h}x{w}x{channels:<4}");
    if !name.contains(only) {
        return;
    }
    let shape = Shape { rows: n * h * w, channels };
    let len = shape.rows * channels;
    let wave = |scale: f32| (0..len).map(|i| T::from_f32((i as f32 * scale).sin())).collect();
    let (x, grad_y, residual): (Vec<T>, Vec<T>, Vec<T>) = (wave(0.7), wave(1.3), wave(2.1));
    let mut y = x.clone();
    let (mut grad_x, mut grad_residual) = (x.clone(), x.clone());
    let (weight, bias) = (vec![1.5; channels], vec![0.1; channels]);
    let (mut save_mean, mut save_invstd) = (vec![0.0; channels], vec![0.0; channels]);
    let (mut grad_weight, mut grad_bias) = (vec![0.0; channels], vec![0.0; channels]);

    print!("{name}");
    for with_residual in [false, true] {
        let label = if with_residual { " | + residual" } else { "" };
        let pass = len * size_of::<T>();
        report(&format!("{label} forward"), pass * (3 + with_residual as usize), || {
            let forward = Forward {
                shape,
                eps: 1e-5,
                activation: Activation::RELU,
                x: &x,
                moments: None,
                weight: Some(&weight),
                bias: Some(&bias),
                residual: with_residual.then_some(&residual[..]),
                y: &mut y,
                save_mean: &mut save_mean,
                save_invstd: &mut save_invstd,
            };
            forward.run(parallel).expect("forward");
        });
        report(" backward", pass * if with_residual { 7 } else { 5 }, || {
            let backward = Backward {
                shape,
                grad_y: &grad_y,
                activation: Activation::RELU,
                mask: match with_residual {
                    true => Mask::Output(&y),
                    false => Mask::Recomputed { bias: Some(&bias) },
                },
                sums: None,
                x: &x,
                weight: Some(&weight),
                save_mean: &save_mean,
                save_invstd: &save_invstd,
                grad_x: &mut grad_x,
                grad_residual: with_residual.then_some(&mut grad_residual[..]),
                grad_weight: &mut grad_weight,
                grad_bias: &mut grad_bias,
            };
            backward.run(parallel).expect("backward");
        });
    }
    println!();
}

/// Times a call; `amount` is what it works on: bytes, or operations.
fn report(label: &str, amount: usize, mut call: impl FnMut()) {
    let (begin, mut times) = (Instant::now(), Vec::new());
    while times.len() < 3 || (times.len() < CALLS && begin.elapsed() < LONG) {
        let start = Instant::now();
        call();
        times.push(start.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    let (best, median) = (times[0], times[times.len() / 2]);
    let rate = amount as f64 / best / 1e9;
    print!("{label} {:.3} / {:.3} ({rate:4.0})", best * 1e3, median * 1e3);
}

/// Threads that wait for work by spinning, as ATen's do shortly after a region.
#[derive(Default)]
struct Pool {
    workers: AtomicUsize,
    round: AtomicUsize,
    job: AtomicPtr<Job<'static>>,
    idle: AtomicUsize,
}

struct Job<'a> {
    next: AtomicUsize,
    tasks: usize,
    task: &'a (dyn Fn(usize) + Sync),
}

impl Job<'_> {
    fn help(&self) {
        loop {
            match self.next.fetch_add(1, Ordering::Relaxed) {
                index if index < self.tasks => (self.task)(index),
                _ => break,
            }
        }
    }
}

impl Pool {
    fn work(&self) {
        let mut seen = 0;
        loop {
            while self.round.load(Ordering::Acquire) == seen {
                thread::yield_now();
            }
            seen += 1;
            let job = self.job.load(Ordering::Acquire);
            if job.is_null() {
                return;
            }
            // SAFETY: `run` keeps the job alive until all workers are idle again.
            unsafe { &*job }.help();
            self.idle.fetch_add(1, Ordering::Release);
        }
    }

    fn start(&self, job: *mut Job<'static>) {
        self.idle.store(0, Ordering::Release);
        self.job.store(job, Ordering::Release);
        self.round.fetch_add(1, Ordering::Release);
    }

    fn stop(&self) {
        self.start(std::ptr::null_mut());
    }
}

impl Parallel for Pool {
    fn threads(&self) -> usize {
        self.workers.load(Ordering::Relaxed) + 1
    }

    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        let job = Job { next: AtomicUsize::new(0), tasks, task };
        self.start((&raw const job).cast_mut().cast());
        job.help();
        while self.idle.load(Ordering::Acquire) < self.workers.load(Ordering::Relaxed) {
            thread::yield_now();
        }
    }
}
