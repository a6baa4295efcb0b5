//! The ResNet of `proprelu.models`, with its weights.

use burn::module::{Module, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor, TensorData};

/// Parameters one after another, in the order of torch's `named_parameters`.
pub struct Weights<'a> {
    pub values: &'a [f32],
    pub device: &'a Device,
}

impl Weights<'_> {
    fn take<const D: usize>(&mut self, shape: [usize; D]) -> Tensor<D> {
        let (taken, rest) = self.values.split_at(shape.iter().product());
        self.values = rest;
        Tensor::from_data(TensorData::new(taken.to_vec(), shape), self.device)
    }

    fn conv(&mut self, [from, to]: [usize; 2], kernel: usize, stride: usize) -> Conv2d {
        let pad = kernel / 2;
        let mut conv = Conv2dConfig::new([from, to], [kernel, kernel])
            .with_stride([stride, stride])
            .with_padding(PaddingConfig2d::Explicit(pad, pad, pad, pad))
            .with_bias(false)
            .init(self.device);
        conv.weight = Param::from_tensor(self.take([to, from, kernel, kernel]));
        conv
    }

    fn norm(&mut self, channels: usize) -> BatchNorm {
        let mut norm = BatchNormConfig::new(channels).init(self.device);
        norm.gamma = Param::from_tensor(self.take([channels]));
        norm.beta = Param::from_tensor(self.take([channels]));
        norm
    }

    fn linear(&mut self, from: usize, to: usize) -> Linear {
        let mut linear = LinearConfig::new(from, to).init(self.device);
        linear.weight = Param::from_tensor(self.take([to, from]).transpose());
        linear.bias = Some(Param::from_tensor(self.take([to])));
        linear
    }
}

#[derive(Module, Debug)]
pub struct Shortcut {
    conv: Conv2d,
    norm: BatchNorm,
}

#[derive(Module, Debug)]
pub struct Block {
    conv1: Conv2d,
    norm1: BatchNorm,
    conv2: Conv2d,
    norm2: BatchNorm,
    shortcut: Option<Shortcut>,
}

impl Block {
    fn new(weights: &mut Weights, [from, to]: [usize; 2], stride: usize) -> Self {
        let (conv1, norm1) = (weights.conv([from, to], 3, stride), weights.norm(to));
        let (conv2, norm2) = (weights.conv([to, to], 3, 1), weights.norm(to));
        let shortcut = (stride != 1 || from != to).then(|| Shortcut {
            conv: weights.conv([from, to], 1, stride),
            norm: weights.norm(to),
        });
        Block { conv1, norm1, conv2, norm2, shortcut }
    }

    fn forward(&self, x: Tensor<4>, keep: &[bool]) -> Tensor<4> {
        let out = self.norm1.forward(self.conv1.forward(x.clone()));
        let out = self.norm2.forward(self.conv2.forward(activated(out, keep[0])));
        let shortcut = match &self.shortcut {
            Some(Shortcut { conv, norm }) => norm.forward(conv.forward(x)),
            None => x,
        };
        activated(out + shortcut, keep[1])
    }
}

#[derive(Module, Debug)]
pub struct ResNet {
    conv: Conv2d,
    norm: BatchNorm,
    blocks: Vec<Block>,
    linear: Linear,
}

impl ResNet {
    /// `sites`: how many ReLUs it has at a ratio of 1:1, which says the depth.
    pub fn new(weights: &mut Weights, sites: usize) -> Self {
        let (conv, norm) = (weights.conv([3, 16], 3, 1), weights.norm(16));
        let per_stage = (sites - 1) / 6;
        let mut blocks = Vec::new();
        let mut channels = 16;
        for index in 0..3 * per_stage {
            let first = index % per_stage == 0 && index > 0;
            let (to, stride) = if first { (2 * channels, 2) } else { (channels, 1) };
            blocks.push(Block::new(weights, [channels, to], stride));
            channels = to;
        }
        let linear = weights.linear(channels, 10);
        assert!(weights.values.is_empty(), "weights of another network");
        ResNet { conv, norm, blocks, linear }
    }

    /// (N, 3, H, W) to (N, 10); `keep` says which ReLUs are there.
    pub fn forward(&self, images: Tensor<4>, keep: &[bool]) -> Tensor<2> {
        let mut x = activated(self.norm.forward(self.conv.forward(images)), keep[0]);
        for (block, keep) in self.blocks.iter().zip(keep[1..].chunks(2)) {
            x = block.forward(x, keep);
        }
        let means: Tensor<2> = x.flatten::<3>(2, 3).mean_dim(2).flatten(1, 2);
        self.linear.forward(means)
    }
}

fn activated(x: Tensor<4>, keep: bool) -> Tensor<4> {
    if keep {
        relu(x)
    } else {
        x
    }
}
