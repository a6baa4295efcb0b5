//! Times the CPU kernels alone: `cargo bench --no-default-features [-- threads]`.
//!
//! The clock includes one call on warm buffers; of many calls the fastest and the median are
//! printed. Bandwidth counts every pass over an activation.

use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use half::bf16;
use proprelu::kernels::cpu::batch_norm_relu::{Backward, Forward, Shape};
use proprelu::kernels::cpu::{Element, Parallel, Serial};

const CALLS: usize = 200;

/// Batch, height, width, channels.
const SHAPES: [[usize; 4]; 6] = [
    [128, 32, 32, 16],
    [128, 16, 16, 32],
    [128, 8, 8, 64],
    [32, 56, 56, 64],
    [32, 14, 14, 512],
    [32, 7, 7, 2048],
];

fn main() {
    // cargo passes `--bench`; anything that is a number is the number of threads.
    let threads = std::env::args().filter_map(|arg| arg.parse().ok()).next().unwrap_or(2);
    println!("batch_norm_relu, {threads} threads: fastest / median ms (GB/s of the fastest)");
    let pool = Pool::default();
    thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(|| pool.work());
        }
        pool.workers.store(threads - 1, Ordering::SeqCst);
        let parallel: &dyn Parallel = if threads > 1 { &pool } else { &Serial };
        for shape in SHAPES {
            time::<f32>("f32 ", shape, parallel);
            time::<bf16>("bf16", shape, parallel);
        }
        winograd::time(parallel);
        pool.stop();
    });
}

fn time<T: Element>(name: &str, [n, h, w, channels]: [usize; 4], parallel: &dyn Parallel) {
    let shape = Shape { rows: n * h * w, channels };
    let len = shape.rows * channels;
    let wave = |scale: f32| (0..len).map(|i| T::from_f32((i as f32 * scale).sin())).collect();
    let (x, grad_y, residual): (Vec<T>, Vec<T>, Vec<T>) = (wave(0.7), wave(1.3), wave(2.1));
    let mut y = x.clone();
    let (mut grad_x, mut grad_residual) = (x.clone(), x.clone());
    let (weight, bias) = (vec![1.5; channels], vec![0.1; channels]);
    let (mut save_mean, mut save_invstd) = (vec![0.0; channels], vec![0.0; channels]);
    let (mut grad_weight, mut grad_bias) = (vec![0.0; channels], vec![0.0; channels]);

    print!("{name} {n:3}x{h}x{w}x{channels:<4}");
    for with_residual in [false, true] {
        let label = if with_residual { " | + residual" } else { "" };
        let pass = len * size_of::<T>();
        report(&format!("{label} forward"), pass * (3 + with_residual as usize), || {
            let forward = Forward {
                shape,
                eps: 1e-5,
                relu: true,
                x: &x,
                weight: Some(&weight),
                bias: Some(&bias),
                residual: with_residual.then_some(&residual[..]),
                y: &mut y,
                save_mean: &mut save_mean,
                save_invstd: &mut save_invstd,
            };
            forward.run(parallel).expect("forward");
        });
        report(" backward", pass * 7, || {
            let backward = Backward {
                shape,
                grad_y: &grad_y,
                y: Some(&y),
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

fn report(label: &str, bytes: usize, mut call: impl FnMut()) {
    let mut times: Vec<f64> = (0..CALLS)
        .map(|_| {
            let start = Instant::now();
            call();
            start.elapsed().as_secs_f64()
        })
        .collect();
    times.sort_by(f64::total_cmp);
    let (best, median) = (times[0], times[CALLS / 2]);
    let rate = bytes as f64 / best / 1e9;
    print!("{label} {:.3} / {:.3} ({rate:3.0})", best * 1e3, median * 1e3);
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

/// Convolutions after Winograd. Rates count the multiplications of a direct convolution.
mod winograd {
    use super::{bf16, Instant, Parallel, CALLS};
    use proprelu::kernels::cpu::convolution::winograd::{
        Forward, GradInput, GradWeight, PackedWeight,
    };
    use proprelu::kernels::cpu::convolution::{Geometry, Load, Operand};
    use proprelu::kernels::cpu::{Activation, Number};

    /// Batch, size, channels in and out.
    const SHAPES: [[usize; 4]; 11] = [
        [128, 32, 16, 16],
        [128, 16, 32, 32],
        [128, 8, 64, 64],
        [128, 32, 64, 64],
        [128, 16, 128, 128],
        [128, 8, 256, 256],
        [128, 4, 512, 512],
        [32, 16, 64, 64],
        [32, 8, 128, 128],
        [32, 4, 256, 256],
        [32, 2, 512, 512],
    ];

    pub fn time(parallel: &dyn Parallel) {
        println!("winograd: fastest / median ms (GFLOP/s of the fastest, as of a direct kernel)");
        for shape in SHAPES {
            time_shape::<bf16>("bf16", shape, parallel);
        }
        for shape in &SHAPES[..3] {
            time_shape::<f32>("f32 ", *shape, parallel);
        }
    }

    fn time_shape<T: Number>(name: &str, shape: [usize; 4], parallel: &dyn Parallel) {
        let [batch, size, in_channels, out_channels] = shape;
        let geometry = Geometry {
            batch,
            in_channels,
            out_channels,
            in_size: [size; 2],
            kernel_size: [3; 2],
            stride: [1; 2],
            padding: [1; 2],
            dilation: [1; 2],
            groups: 1,
        };
        let wave = |len: usize, scale: f32| -> Vec<T> {
            (0..len).map(|i| T::from_f32((i as f32 * scale).sin())).collect()
        };
        let (x, grad_y) = (wave(geometry.in_len(), 0.7), wave(geometry.out_len(), 1.3));
        let (mut y, mut grad_x) = (grad_y.clone(), x.clone());
        let mut master = vec![0.1; geometry.weight_len()];
        let pack = |operand| PackedWeight::<T>::new(geometry, operand).expect("geometry");
        let (mut weight, mut turned) = (pack(Operand::Forward), pack(Operand::GradInput));
        let (scale, shift) = (vec![1.1; in_channels], vec![0.1; in_channels]);
        let load = Load { scale: &scale, shift: &shift, activation: Activation::RELU };

        print!("{name} {batch:3}x{size}x{size}x{in_channels:<3}");
        report(" pack", 0, || weight.pack(&master, None).expect("pack"));
        report(" turned", 0, || turned.pack(&master, None).expect("pack"));
        let flops = 2 * geometry.macs();
        for (label, fused) in [(" | forward", false), (" + batch norm", true)] {
            report(label, flops, || {
                let forward = Forward {
                    geometry,
                    x: &x,
                    load: fused.then_some(load),
                    weight: &weight,
                    bias: None,
                    residual: None,
                    activation: Activation::IDENTITY,
                    statistics: fused,
                    y: &mut y,
                };
                forward.run(parallel).expect("forward");
            });
        }
        report(" | grad_input", flops, || {
            let (weight, grad_y, grad_x) = (&turned, &grad_y, &mut grad_x);
            let pass = GradInput { geometry, grad_y, weight, add: None, grad_x };
            pass.run(parallel).expect("grad_input");
        });
        for (label, load) in [(" | grad_weight", None), (" + batch norm", Some(load))] {
            report(label, flops, || {
                let (x, grad_y, grad_weight, grad_bias) = (&x, &grad_y, &mut master, None);
                let pass = GradWeight { geometry, x, load, grad_y, grad_weight, grad_bias };
                pass.run(parallel).expect("grad_weight");
            });
        }
        println!();
    }

    fn report(label: &str, flops: usize, mut call: impl FnMut()) {
        let calls = if flops > 2_000_000_000 { CALLS / 10 } else { CALLS };
        let mut times: Vec<f64> = (0..calls)
            .map(|_| {
                let start = Instant::now();
                call();
                start.elapsed().as_secs_f64()
            })
            .collect();
        times.sort_by(f64::total_cmp);
        let (best, median) = (times[0], times[calls / 2]);
        print!("{label} {:.3} / {:.3}", best * 1e3, median * 1e3);
        if flops > 0 {
            print!(" ({:4.0})", flops as f64 / best / 1e9);
        }
    }
}
