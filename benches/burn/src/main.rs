//! Training steps of burn's CPU backend, on request: `burn-step FOLDER`.
//!
//! The folder holds the start that `benches/train_step.py` wrote: network, weights, a batch. The
//! first line out is JSON with the losses of the first steps; then for each line in, "WARM STEPS",
//! a line with the milliseconds of the steps after the warm ones.

mod resnet;

use std::io::{BufRead, Write};
use std::path::Path;
use std::time::Instant;

use burn::nn::loss::CrossEntropyLossConfig;
use burn::optim::decay::WeightDecayConfig;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{GradientsParams, ModuleOptimizer, SgdConfig};
use burn::tensor::{Device, Int, Tensor, TensorData};
use resnet::{ResNet, Weights};

struct Training {
    model: Option<ResNet>,
    optimizer: ModuleOptimizer,
    images: Tensor<4>,
    labels: Tensor<1, Int>,
    keep: Vec<bool>,
    lr: f64,
}

impl Training {
    fn step(&mut self) -> f32 {
        let model = self.model.take().expect("each step puts the model back");
        let predictions = model.forward(self.images.clone(), &self.keep);
        let criterion = CrossEntropyLossConfig::new().init(&predictions.device());
        let loss = criterion.forward(predictions, self.labels.clone());
        let gradients = GradientsParams::from_grads(loss.backward(), &model);
        self.model = Some(self.optimizer.step(self.lr, model, gradients));
        loss.into_scalar::<f32>()
    }
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn floats(path: &Path) -> Vec<f32> {
    let bytes = read(path);
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

fn load(folder: &Path) -> (Training, u64) {
    let settings: serde_json::Value =
        serde_json::from_slice(&read(&folder.join("start.json"))).expect("start.json is JSON");
    let number = |name: &str| settings[name].as_f64().expect("start.json has a number for it");
    let keep: Vec<bool> = serde_json::from_value(settings["keep"].clone()).expect("a list");
    let labels: Vec<i32> = serde_json::from_value(settings["labels"].clone()).expect("a list");
    let device = Device::flex().autodiff();
    let values = floats(&folder.join("weights.f32"));
    let mut weights = Weights { values: &values, device: &device };
    let model = ResNet::new(&mut weights, keep.len());
    let (batch, size) = (labels.len(), number("size") as usize);
    let images = TensorData::new(floats(&folder.join("images.f32")), [batch, 3, size, size]);
    let momentum = MomentumConfig::new().with_momentum(number("momentum")).with_dampening(0.0);
    let optimizer = SgdConfig::new()
        .with_momentum(Some(momentum))
        .with_weight_decay(Some(WeightDecayConfig::new(number("weight_decay") as f32)))
        .init();
    let training = Training {
        model: Some(model),
        optimizer,
        images: Tensor::from_data(images, &device),
        labels: Tensor::from_data(TensorData::new(labels, [batch]), &device),
        keep,
        lr: number("lr"),
    };
    (training, number("steps") as u64)
}

fn say(line: &str) {
    let mut out = std::io::stdout();
    writeln!(out, "{line}").and_then(|()| out.flush()).expect("the parent process reads");
}

fn main() {
    let folder = std::env::args().nth(1).expect("usage: burn-step FOLDER");
    let (mut training, steps) = load(Path::new(&folder));
    let losses: Vec<f32> = (0..steps).map(|_| training.step()).collect();
    say(&serde_json::json!({ "losses": losses, "version": "0.22.1 (flex)" }).to_string());
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("a line of text");
        let mut counts = line.split_whitespace().map(|word| word.parse::<u32>().expect("a count"));
        let (warm, steps) = (counts.next().unwrap_or(0), counts.next().unwrap_or(1));
        (0..warm).for_each(|_| {
            training.step();
        });
        let start = Instant::now();
        (0..steps).for_each(|_| {
            training.step();
        });
        let ms = 1e3 * start.elapsed().as_secs_f64() / f64::from(steps);
        say(&serde_json::json!({ "ms": ms }).to_string());
    }
}
