//! Times the candidates for a product, once for each shape, and remembers the fastest on disk.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};
use std::time::Instant;

use tch::{Device, Kind, Tensor};

use super::{Kernel, Product};
use crate::cpu::Parallel;
use crate::engine::memory::{as_channels_last, in_memory};
use crate::engine::storage::Storage;
use crate::engine::values::Places;
use crate::engine::AtenPool;
use crate::error::{Error, Result};
use crate::kernels::cpu::convolution::Geometry;
use crate::program::{
    Algorithm, Convolution, ConvolutionGradInput, ConvolutionGradWeight, Dtype, Op, ValueId, Window,
};

/// Timed runs of a candidate, after one that is not: the fastest counts. A choice is kept for
/// good, so short ones run more often: they are what a hiccup of the machine hides best.
const RUNS: RangeInclusive<usize> = 5..=25;

/// Seconds after which a race ends, once each candidate has run as often as it must.
const ENOUGH: f64 = 0.1;

/// Batch norms around torch's convolutions take passes of their own, which the race does not see.
const HANDICAP: f64 = 1.1;

/// Winners by key, the same for all tuners of the process: a choice does not change while it runs.
static WINNERS: OnceLock<Mutex<BTreeMap<String, Algorithm>>> = OnceLock::new();

#[derive(Clone, Debug)]
pub struct Tuner {
    /// Where winners are kept; a file that cannot be read or written is done without.
    file: Option<PathBuf>,
}

impl Tuner {
    pub fn new(file: Option<PathBuf>) -> Tuner {
        Tuner { file }
    }

    /// # Errors
    /// A candidate failed.
    pub fn fastest(
        &self,
        product: Product,
        geometry: &Geometry,
        dtype: Dtype,
        candidates: &[Algorithm],
    ) -> Result<Algorithm> {
        let key = key(product, geometry, dtype, candidates);
        let lost = |_| Error::Torch("the tuner's memory is gone".into());
        let mut winners = WINNERS.get_or_init(Mutex::default).lock().map_err(lost)?;
        if let Some(path) = self.file.as_deref().filter(|_| !winners.contains_key(&key)) {
            for (key, winner) in read(path) {
                winners.entry(key).or_insert(winner);
            }
        }
        if let Some(winner) = winners.get(&key) {
            return Ok(*winner);
        }
        let winner = race(product, geometry, dtype, candidates)?;
        winners.insert(key, winner);
        if let Some(path) = &self.file {
            // The file is a convenience: the next process times again where it cannot be written.
            let _ = write(path, &winners);
        }
        Ok(winner)
    }
}

/// All that a winner depends on.
fn key(product: Product, geometry: &Geometry, dtype: Dtype, candidates: &[Algorithm]) -> String {
    let Geometry { batch, in_channels, out_channels, in_size, kernel_size, .. } = geometry;
    let Geometry { stride, padding, dilation, groups, num_blocks, .. } = geometry;
    let names: Vec<&str> = candidates.iter().map(|candidate| candidate.name()).collect();
    format!(
        "{version} {product:?} {dtype:?} {batch}x{in_channels}->{out_channels} {in_size:?} \
         kernel {kernel_size:?} stride {stride:?} padding {padding:?} dilation {dilation:?} \
         groups {groups} blocks {num_blocks} threads {threads} of {names}",
        version = env!("CARGO_PKG_VERSION"),
        threads = AtenPool.threads(),
        names = names.join("/"),
    )
}

fn read(path: &Path) -> BTreeMap<String, Algorithm> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let names: BTreeMap<String, serde_json::Value> =
        serde_json::from_str(&text).unwrap_or_default();
    let known =
        names.into_iter().filter_map(|(key, name)| Some((key, serde_json::from_value(name).ok()?)));
    known.collect()
}

/// Whole or not at all: two processes may write at once.
fn write(path: &Path, winners: &BTreeMap<String, Algorithm>) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut all = read(path);
    all.extend(winners.iter().map(|(key, winner)| (key.clone(), *winner)));
    let names: BTreeMap<&String, &str> = all.iter().map(|(key, a)| (key, a.name())).collect();
    let file = tempfile::NamedTempFile::new_in(folder)?;
    serde_json::to_writer_pretty(&file, &names)?;
    file.persist(path)?;
    Ok(())
}

/// The candidate with the fastest run. They take turns, so that a hiccup of the machine hits all.
fn race(
    product: Product,
    geometry: &Geometry,
    dtype: Dtype,
    candidates: &[Algorithm],
) -> Result<Algorithm> {
    let _no_grad = tch::no_grad_guard();
    let tensors = Tensors::new(geometry, dtype)?;
    let mut entries = Vec::new();
    for &algorithm in candidates {
        let mut ready = Kernel::new(product, *geometry, dtype, algorithm)?;
        ready.pack(&tensors.op(product), &tensors.lookup())?;
        tensors.run(&ready)?;
        entries.push((f64::INFINITY, algorithm, ready));
    }
    let race = Instant::now();
    for run in 1..=*RUNS.end() {
        for (best, _, ready) in &mut entries {
            let start = Instant::now();
            tensors.run(ready)?;
            *best = best.min(start.elapsed().as_secs_f64());
        }
        if run >= *RUNS.start() && race.elapsed().as_secs_f64() > ENOUGH {
            break;
        }
    }
    let cost = |(seconds, algorithm, _): &(f64, Algorithm, Kernel)| match algorithm {
        Algorithm::Torch => seconds * HANDICAP,
        _ => *seconds,
    };
    let fastest = entries.iter().min_by(|a, b| cost(a).total_cmp(&cost(b)));
    Ok(fastest.map_or(Algorithm::Torch, |(_, algorithm, _)| *algorithm))
}

/// Numbers to convolve.
struct Tensors {
    x: Tensor,
    y: Tensor,
    weight: Tensor,
    window: Window,
    storage: Storage,
}

impl Tensors {
    fn new(geometry: &Geometry, dtype: Dtype) -> Result<Tensors> {
        let Geometry { batch, in_channels, out_channels, groups, num_blocks, .. } = *geometry;
        let Geometry { in_size, kernel_size, stride, padding, dilation, .. } = *geometry;
        let kind = match dtype {
            Dtype::Bfloat16 => Kind::BFloat16,
            _ => Kind::Float,
        };
        let numbers = |[a, b]: [usize; 2], [c, d]: [usize; 2], kind| -> Result<Tensor> {
            let size = in_memory(&[a, b, c, d].map(|n| n as i64));
            let count: i64 = size.iter().product();
            // A wave, not random: torch's generator is the user's.
            let wave = Tensor::f_arange(count, (Kind::Float, Device::Cpu))?.f_sin()?;
            as_channels_last(&wave.f_view(size.as_slice())?.f_to_kind(kind)?, 4)
        };
        Ok(Tensors {
            x: numbers([batch, in_channels], in_size, kind)?,
            y: numbers([batch, out_channels], geometry.out_size(), kind)?,
            weight: numbers([geometry.bias_len(), in_channels / groups], kernel_size, Kind::Float)?,
            window: Window { stride, padding, dilation, groups, num_blocks },
            storage: Storage::none(),
        })
    }

    fn op(&self, product: Product) -> Op {
        let (x, grad_y, weight) = (ValueId(0), ValueId(1), ValueId(2));
        let window = self.window;
        match product {
            Product::Forward => Op::Convolution(Convolution::plain(x, weight, None, window)),
            Product::GradInput => Op::ConvolutionGradInput(ConvolutionGradInput {
                grad_y,
                weight,
                window,
                add: None,
                algorithm: None,
            }),
            Product::GradWeight => {
                let (load, algorithm) = (None, None);
                Op::ConvolutionGradWeight(ConvolutionGradWeight {
                    grad_y,
                    x,
                    load,
                    weight,
                    window,
                    algorithm,
                })
            }
        }
    }

    fn lookup(&self) -> impl Fn(ValueId) -> Result<Tensor> + '_ {
        let tensors = [&self.x, &self.y, &self.weight];
        move |value| Ok(tensors[value.0].shallow_clone())
    }

    fn run(&self, ready: &Kernel) -> Result<()> {
        let places = Places { outputs: &[], storage: &self.storage };
        ready.run(&self.op(ready.product), &self.lookup(), &places).map(|_| ())
    }
}
