//! The optimizer's tables in device memory: addresses of parameters, settings, learning rates.

use tch::{Kind, Tensor};

use super::tables::{device, Table};
use crate::engine::cuda::address;
use crate::engine::memory::same_layout;
use crate::engine::{Engine, Target};
use crate::error::{Error, Result};
use crate::kernels::cuda::optimizer::{self, AdamW, BufferPart, Chunk, Clip, Rule, Sgd};
use crate::kernels::cuda::Address;
use crate::optim::{Ema, Optimizer};
use crate::train::State;

/// The tables that the launches of an update read. The addresses of parameters and gradients are
/// written for each step that is launched, but only once for a graph.
pub struct Update {
    chunks: Table<Chunk>,
    buffers: Table<BufferPart>,
    settings: Settings,
    lrs: Table<f64>,
    factors: Table<f64>,
    /// The maximum norm, and work buffers for the sums of squares and the factor.
    clip: Option<(f64, Table<f64>, Table<f32>)>,
    ema: Ema,
    target: Target,
}

/// The settings of each group of parameters.
enum Settings {
    Sgd(Table<Sgd>),
    AdamW(Table<AdamW>),
}

/// The addresses of all parameters, gradients and buffers of a step.
pub struct Addresses {
    chunks: Vec<Chunk>,
    buffers: Vec<BufferPart>,
}

impl Update {
    pub fn new(
        state: &State,
        steps: usize,
        clip_grad_norm: Option<f64>,
        target: &Target,
    ) -> Result<Update> {
        let groups = groups(state);
        let lrs: Vec<f64> = groups.iter().map(|group| group.lr()).collect();
        let parameters: Vec<_> =
            state.parameters.iter().map(|p| Parameter(p.tensor.numel())).collect();
        let chunks = parameters.iter().map(Parameter::chunks).sum();
        let sizes =
            state.buffers.iter().map(|(_, buffer)| bytes(buffer)).collect::<Result<Vec<_>>>()?;
        let buffers = sizes
            .into_iter()
            .map(|bytes| optimizer::copies(Address::NONE, Address::NONE, bytes).count())
            .sum();
        let clip = clip_grad_norm
            .map(|norm| Ok::<_, Error>((norm, Table::new(chunks, target)?, Table::new(1, target)?)))
            .transpose()?;
        Ok(Update {
            chunks: Table::new(chunks, target)?,
            buffers: Table::new(buffers, target)?,
            settings: Settings::new(&groups, target)?,
            lrs: Table::of(&lrs, target)?,
            factors: Table::new(steps.max(1), target)?,
            clip,
            ema: state.ema.unwrap_or(Ema { decay: 1.0, warmup: false }),
            target: target.clone(),
        })
    }

    /// Sets the schedule's factors for the steps of an epoch.
    pub fn set_factors(&self, factors: &[f64]) -> Result<()> {
        self.factors.write(factors)
    }

    /// The addresses for one update. `engine` may hold bf16 copies of parameters. `gradients` has an
    /// entry for each parameter, in its layout; `buffers` holds pairs of new and old values.
    pub fn addresses(
        &self,
        state: &State,
        engine: Option<&Engine>,
        gradients: &[Option<Tensor>],
        buffers: &[(&Tensor, &Tensor)],
    ) -> Result<Addresses> {
        let groups = groups(state);
        let shadow = |name: &str| engine.and_then(|engine| engine.bf16_shadow(name));
        let parameters = state.parameters.iter().zip(gradients).map(|(parameter, grad)| {
            let mut slots = [Address::NONE; 2];
            for (slot, tensor) in slots.iter_mut().zip(&parameter.state) {
                *slot = address(tensor)?;
            }
            let optional = |tensor: Option<&Tensor>| tensor.map_or(Ok(Address::NONE), address);
            let is_bf16 = match grad {
                Some(grad) => grad.f_kind()? == Kind::BFloat16,
                None => false,
            };
            Ok(optimizer::Parameter {
                len: parameter.tensor.numel(),
                param: address(&parameter.tensor)?,
                grad: optional(grad.as_ref())?,
                grad_is_bf16: is_bf16,
                state: slots,
                average: optional(parameter.average.as_ref())?,
                shadow: optional(shadow(&parameter.name).as_ref())?,
                group: groups.iter().position(|g| **g == parameter.optimizer).unwrap_or(0),
            })
        });
        let chunks = optimizer::chunks(&parameters.collect::<Result<Vec<_>>>()?);
        let mut parts = Vec::new();
        for (new, old) in buffers {
            parts.extend(optimizer::copies(address(new)?, address(old)?, bytes(old)?));
        }
        Ok(Addresses { chunks, buffers: parts })
    }

    /// Copies the addresses to the device.
    pub fn write(&self, addresses: &Addresses) -> Result<()> {
        self.chunks.write(&addresses.chunks)?;
        self.buffers.write(&addresses.buffers)
    }

    /// Launches one update of all parameters and averages, then of the buffers. The addresses have
    /// to be written before it runs; here only their number is used.
    pub fn launch(&self, addresses: &Addresses, cursor: Address) -> Result<()> {
        let device = device(&self.target)?;
        let (rule, groups) = match &self.settings {
            Settings::Sgd(table) => (Rule::Sgd, table.address()),
            Settings::AdamW(table) => (Rule::AdamW, table.address()),
        };
        let update = optimizer::Update {
            rule,
            chunks: self.chunks.address(),
            count: addresses.chunks.len(),
            groups,
            lrs: self.lrs.address(),
            factors: self.factors.address(),
            steps: self.factors.len(),
            cursor,
            decay: self.ema.decay,
            warmup: self.ema.warmup,
            clip: self.clip.as_ref().map(|(max_norm, sums, coefficient)| Clip {
                max_norm: *max_norm,
                sums: sums.address(),
                coefficient: coefficient.address(),
            }),
        };
        let (parts, count) = (self.buffers.address(), addresses.buffers.len());
        // SAFETY: the tables hold addresses of the state's tensors and of the step's results. Torch
        // reuses the memory of these only for later work on the same stream.
        unsafe {
            update.launch(device.as_ref())?;
            optimizer::take_over(device.as_ref(), parts, count, cursor)
        }
    }
}

/// The gradient in the memory layout of its parameter; its type does not change.
pub fn in_layout_of(parameter: &Tensor, gradient: Tensor) -> Result<Tensor> {
    if same_layout(parameter, &gradient) {
        return Ok(gradient);
    }
    let mut copy = parameter.f_empty_like()?.f_to_kind(gradient.f_kind()?)?;
    copy.f_copy_(&gradient)?;
    Ok(copy)
}

/// The distinct settings of all parameters.
fn groups(state: &State) -> Vec<&Optimizer> {
    let mut groups: Vec<&Optimizer> = Vec::new();
    for parameter in &state.parameters {
        if !groups.contains(&&parameter.optimizer) {
            groups.push(&parameter.optimizer);
        }
    }
    groups
}

struct Parameter(usize);

impl Parameter {
    fn chunks(&self) -> usize {
        optimizer::chunks(&[optimizer::Parameter { len: self.0, ..Default::default() }]).len()
    }
}

/// The size of a buffer in bytes.
fn bytes(buffer: &Tensor) -> Result<usize> {
    Ok(buffer.numel() * buffer.f_kind()?.elt_size_in_bytes())
}

impl Settings {
    fn new(groups: &[&Optimizer], target: &Target) -> Result<Settings> {
        let sgd: Vec<Sgd> = groups.iter().filter_map(|group| sgd(group)).collect();
        let adamw: Vec<AdamW> = groups.iter().filter_map(|group| adamw(group)).collect();
        match (sgd.len(), adamw.len()) {
            (_, 0) => Ok(Settings::Sgd(Table::of(&sgd, target)?)),
            (0, _) => Ok(Settings::AdamW(Table::of(&adamw, target)?)),
            _ => Err(Error::Cuda("a training must use one optimizer, got SGD and AdamW".into())),
        }
    }
}

fn sgd(optimizer: &Optimizer) -> Option<Sgd> {
    let Optimizer::Sgd(sgd) = optimizer else { return None };
    Some(Sgd {
        momentum: sgd.momentum as f32,
        damp: (1.0 - sgd.dampening) as f32,
        weight_decay: sgd.weight_decay as f32,
        nesterov: sgd.nesterov.into(),
        maximize: sgd.maximize.into(),
    })
}

fn adamw(optimizer: &Optimizer) -> Option<AdamW> {
    let Optimizer::AdamW(adamw) = optimizer else { return None };
    Some(AdamW {
        beta1: adamw.beta1,
        beta2: adamw.beta2,
        eps: adamw.eps as f32,
        weight_decay: adamw.weight_decay as f32,
        maximize: adamw.maximize.into(),
        unused: 0,
    })
}
