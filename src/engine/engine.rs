//! Runs a program, instruction by instruction.

use std::time::{Duration, Instant};

use tch::{Device, Tensor};

use super::attention;
use super::batch_norm;
use super::call::{self, Fallback};
use super::convolution::Choice;
use super::cuda;
use super::executor::{master, Executor};
use super::fusions::{fuse_for, Memory};
use super::layer_norm;
use super::storage::Storage;
use super::target::Target;
use super::values::{Outputs, Places, Poll};
use crate::error::{Error, Result};
use crate::program::{passes, Dtype, Input, Instruction, Op, Program, Report, Row, ValueId};

/// A step of a large network takes seconds, which is too long a wait for Ctrl-C.
const POLL_EVERY: Duration = Duration::from_millis(100);

pub struct Engine {
    program: Program,
    /// One for each instruction.
    executors: Vec<Executor>,
    /// For each instruction the values that are not used after it.
    last_uses: Vec<Vec<ValueId>>,
    storage: Storage,
    /// The parameters have changed since the shadows were made.
    changed: bool,
    /// The time of each instruction in all runs together.
    seconds: Vec<f64>,
    runs: u64,
    fallback: Box<dyn Fallback>,
    target: Target,
}

/// The results of a run; gradients and buffers in the order of the program's outputs.
pub struct Results {
    pub loss: Option<Tensor>,
    pub predictions: Option<Tensor>,
    pub gradients: Vec<Tensor>,
    pub buffers: Vec<Tensor>,
    pub results: Vec<Tensor>,
}

impl Results {
    /// The predictions and after them the other results, on the CPU.
    pub fn on_host(self) -> Result<Vec<Tensor>> {
        let missing = || Error::Capture("the program has no predictions".into());
        let outputs = [self.predictions.ok_or_else(missing)?].into_iter().chain(self.results);
        outputs.map(|output| Ok(output.f_to_device(Device::Cpu)?)).collect()
    }
}

impl Engine {
    pub fn new(
        mut program: Program,
        fallback: Box<dyn Fallback>,
        choice: &Choice,
        memory: Memory,
        target: Target,
    ) -> Result<Engine> {
        fuse_for(&mut program, choice, memory)?;
        let executors = program
            .instructions
            .iter()
            .map(|instruction| Executor::new(&program, instruction))
            .collect::<Result<Vec<_>>>()?;
        let last_uses = passes::last_uses(&program);
        let planned =
            |index: usize| executors[index].writes_places(&program.instructions[index].op);
        let plan = passes::plan_memory(&program, &planned);
        let storage = Storage::new(&program, &plan, target.device)?;
        let seconds = vec![0.0; program.instructions.len()];
        let (changed, runs) = (true, 0);
        Ok(Engine {
            program,
            executors,
            last_uses,
            storage,
            changed,
            seconds,
            runs,
            fallback,
            target,
        })
    }

    pub fn program(&self) -> &Program {
        &self.program
    }

    /// The cost, the kernel and the mean time of each instruction in the runs so far.
    pub fn report(&self) -> Report {
        let rows = self.program.instructions.iter().enumerate().map(|(index, instruction)| {
            let cost = self.program.cost(instruction);
            let (op, shapes) = (instruction.op.name(), self.program.shapes(instruction));
            let kernel = self.executors[index].kernel(&instruction.op);
            let seconds = self.seconds[index] / self.runs.max(1) as f64;
            Row { op, kernel, shapes, flops: cost.flops, bytes: cost.bytes, seconds }
        });
        let (planned_bytes, peak_bytes) = (self.storage.bytes(), self.program.peak_bytes());
        Report { rows: rows.collect(), runs: self.runs, planned_bytes, peak_bytes }
    }

    /// Must be called when parameters, or the buffers of an inference, were changed after a run.
    pub fn parameters_changed(&mut self) {
        self.changed = true;
    }

    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Makes the shadows of all parameters anew, in the same memory.
    pub fn refresh_shadows(
        &mut self,
        bind: &dyn Fn(usize, &Input) -> Result<Tensor>,
    ) -> Result<()> {
        let values = self.bind(bind)?;
        let _no_grad = tch::no_grad_guard();
        self.changed = true;
        for index in 0..self.program.instructions.len() {
            let master = master(&self.program, &self.program.instructions[index]);
            if master.is_some_and(|master| self.program.is_parameter(master)) {
                self.refresh(index, &values)?;
            }
        }
        self.changed = false;
        Ok(())
    }

    /// The shadow of a parameter in bf16, if the program keeps one.
    pub fn bf16_shadow(&self, parameter: &str) -> Option<Tensor> {
        let instructions = self.instructions_with_shadow(parameter);
        instructions.iter().find_map(|index| self.executors[*index].bf16_shadow())
    }

    /// The instructions that keep a shadow of a parameter.
    pub fn instructions_with_shadow(&self, parameter: &str) -> Vec<usize> {
        let input = self.program.inputs.iter().find(|input| input.name == parameter);
        let Some(value) = input.map(|input| input.value) else { return Vec::new() };
        let instructions = self.program.instructions.iter().enumerate();
        let keeps = |instruction: &Instruction| master(&self.program, instruction) == Some(value);
        instructions.filter(|(_, instruction)| keeps(instruction)).map(|(index, _)| index).collect()
    }

    /// Whether an instruction's shadow of a parameter can be updated by rows.
    pub fn updates_by_rows(&self, index: usize, parameter: &Tensor) -> bool {
        self.executors[index].updates_by_rows(&self.program.instructions[index].op, parameter)
    }

    /// Updates rows of an instruction's shadow; does nothing before the shadow is first made.
    ///
    /// # Safety
    /// The shadow can be updated by rows. `first` is a multiple of 16; concurrent calls have
    /// different rows, and the engine does not run meanwhile.
    pub unsafe fn update_rows(&self, index: usize, first: usize, rows: &[f32]) {
        // SAFETY: guaranteed by the caller.
        unsafe { self.executors[index].update_rows(first, rows) }
    }

    /// Runs the program; `bind` returns the tensor of an input.
    pub fn run(
        &mut self,
        bind: &dyn Fn(usize, &Input) -> Result<Tensor>,
        poll: &mut Poll<'_>,
    ) -> Result<Results> {
        let mut values = self.bind(bind)?;
        // The backward is part of the program, so autograd has nothing to record.
        let _no_grad = tch::no_grad_guard();
        let mut polled = Instant::now();
        let mut before = polled;
        for index in 0..self.program.instructions.len() {
            self.refresh(index, &values)?;
            let outputs = self.execute(index, &values);
            let name = || self.program.instructions[index].op.name();
            let outputs = outputs.map_err(|error| error.in_operation(name))?;
            let places = &self.program.instructions[index].outputs;
            for (place, tensor) in places.iter().zip(outputs) {
                if let Some(value) = place {
                    values.0[value.0] = tensor;
                }
            }
            self.last_uses[index].iter().for_each(|value| values.0[value.0] = None);
            let now = Instant::now();
            self.seconds[index] += (now - before).as_secs_f64();
            before = now;
            if now - polled >= POLL_EVERY {
                poll()?;
                (polled, before) = (Instant::now(), Instant::now());
            }
        }
        self.changed = false;
        self.runs += 1;
        self.collect(&values)
    }

    fn bind(&self, bind: &dyn Fn(usize, &Input) -> Result<Tensor>) -> Result<Values> {
        let mut values = Values(Vec::new());
        values.0.resize_with(self.program.values.len(), || None);
        for (index, input) in self.program.inputs.iter().enumerate() {
            let tensor = bind(index, input)?;
            let shape = &self.program.values[input.value.0].shape;
            if tensor.size() != *shape {
                return Err(Error::InputShape {
                    name: input.name.clone(),
                    expected: shape.clone(),
                    got: tensor.size(),
                });
            }
            values.0[input.value.0] = Some(tensor);
        }
        Ok(values)
    }

    /// Makes the shadow of an instruction anew if the master has changed. A master that is no
    /// parameter is computed by the program, and changes in each run.
    fn refresh(&mut self, index: usize, values: &Values) -> Result<()> {
        let instruction = &self.program.instructions[index];
        match master(&self.program, instruction) {
            Some(master) if self.changed || !self.program.is_parameter(master) => {
                let lookup = &|value: ValueId| values.get(value);
                self.executors[index].refresh(&instruction.op, master, lookup)
            }
            _ => Ok(()),
        }
    }

    fn execute(&self, index: usize, values: &Values) -> Result<Outputs> {
        let lookup = &|value: ValueId| values.get(value);
        let Instruction { op, outputs } = &self.program.instructions[index];
        let places = &Places { outputs, storage: &self.storage };
        if let Some(device) = &self.target.cuda {
            if let Some(outputs) = cuda::run(op, lookup, places, device.as_ref())? {
                return Ok(outputs);
            }
        }
        match (op, &self.executors[index]) {
            (_, Executor::Cast(Some(shadow))) => Ok(vec![Some(shadow.shallow_clone())]),
            (op, Executor::Convolution(kernel)) => kernel.run(op, lookup, places),
            (Op::Call(call), _) => {
                let (fallback, device) = (self.fallback.as_ref(), self.target.device);
                call::run(call, outputs.len(), lookup, fallback, device)
            }
            (Op::Attention(op), _) => attention::forward(op, lookup, places),
            (Op::AttentionBackward(op), _) => attention::backward(op, lookup, places),
            (Op::BatchNorm(op), _) => batch_norm::forward(op, lookup, places),
            (Op::BatchNormApply(op), _) => batch_norm::apply(op, lookup, places),
            (Op::BatchNormBackward(op), _) => batch_norm::backward(op, lookup, places),
            (Op::LayerNorm(op), _) => {
                let dtype = outputs[0].map_or(Dtype::Float32, |y| self.program.values[y.0].dtype);
                layer_norm::forward(op, dtype, lookup, places)
            }
            (Op::LayerNormBackward(op), _) => layer_norm::backward(op, lookup, places),
            _ => Err(Error::Capture(format!("{} has no executor", op.name()))),
        }
    }

    fn collect(&self, values: &Values) -> Result<Results> {
        let outputs = &self.program.outputs;
        let named = |list: &[(String, ValueId)]| {
            list.iter().map(|(_, value)| values.get(*value)).collect::<Result<Vec<_>>>()
        };
        Ok(Results {
            loss: outputs.loss.map(|value| values.get(value)).transpose()?,
            predictions: outputs.predictions.map(|value| values.get(value)).transpose()?,
            gradients: named(&outputs.gradients)?,
            buffers: named(&outputs.buffers)?,
            results: outputs
                .results
                .iter()
                .map(|value| values.get(*value))
                .collect::<Result<_>>()?,
        })
    }
}

struct Values(Vec<Option<Tensor>>);

impl Values {
    fn get(&self, value: ValueId) -> Result<Tensor> {
        match &self.0[value.0] {
            Some(tensor) => Ok(tensor.shallow_clone()),
            None => Err(Error::Capture(format!("value {} is read before it is computed", value.0))),
        }
    }
}
