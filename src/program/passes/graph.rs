//! Where the values of a program are defined and used, and how its instructions are replaced.

use crate::program::{Arg, Call, Dtype, Instruction, Op, Program, ValueId, ValueInfo};

/// The definitions and uses of a program's values, as they were when the graph was built.
pub(super) struct Graph<'a> {
    pub(super) program: &'a Program,
    definitions: Vec<Option<usize>>,
    users: Vec<Vec<usize>>,
    outputs: Vec<usize>,
}

impl<'a> Graph<'a> {
    pub(super) fn new(program: &'a Program) -> Graph<'a> {
        let mut definitions = vec![None; program.values.len()];
        let mut users = vec![Vec::new(); program.values.len()];
        for (index, Instruction { op, outputs }) in program.instructions.iter().enumerate() {
            op.for_each_value(|value| users[value.0].push(index));
            outputs.iter().flatten().for_each(|value| definitions[value.0] = Some(index));
        }
        let mut outputs = vec![0; program.values.len()];
        program.outputs.values().for_each(|value| outputs[value.0] += 1);
        Graph { program, definitions, users, outputs }
    }

    pub(super) fn op(&self, index: usize) -> &'a Op {
        &self.program.instructions[index].op
    }

    /// The instruction as a call of torch's operation `name`, whatever its overload.
    pub(super) fn call(&self, index: usize, name: &str) -> Option<&'a Call> {
        match self.op(index) {
            Op::Call(call) if call.is(name) => Some(call),
            _ => None,
        }
    }

    /// The two summands of an instruction that is a plain addition of tensors.
    pub(super) fn addition(&self, index: usize) -> Option<(ValueId, ValueId)> {
        let call = self.call(index, "aten::add").filter(|call| call.overload == "Tensor")?;
        let is_unscaled = call.args.get(2).and_then(Arg::float) == Some(1.0);
        Some((call.tensor(0)?, call.tensor(1)?)).filter(|_| is_unscaled)
    }

    /// A result of an instruction; `None` where it is not used.
    pub(super) fn output(&self, index: usize, place: usize) -> Option<ValueId> {
        self.program.instructions[index].outputs.get(place).copied().flatten()
    }

    /// The instruction that defines the value; `None` for inputs of the program.
    pub(super) fn definition(&self, value: ValueId) -> Option<usize> {
        self.definitions[value.0]
    }

    /// The instructions that read the value in order, once for each read.
    pub(super) fn users(&self, value: ValueId) -> &[usize] {
        &self.users[value.0]
    }

    /// The instruction that reads the value, if there is exactly one read.
    pub(super) fn only_user(&self, value: ValueId) -> Option<usize> {
        match self.users(value) {
            [user] if !self.is_output(value) => Some(*user),
            _ => None,
        }
    }

    /// Whether the value is read exactly once, by an instruction or by the caller.
    pub(super) fn has_one_use(&self, value: ValueId) -> bool {
        self.users(value).len() + self.outputs[value.0] == 1
    }

    /// Whether the caller reads the value.
    pub(super) fn is_output(&self, value: ValueId) -> bool {
        self.outputs[value.0] > 0
    }

    pub(super) fn info(&self, value: ValueId) -> &'a ValueInfo {
        &self.program.values[value.0]
    }

    /// Whether two values have one shape, type and layout.
    pub(super) fn alike(&self, a: ValueId, b: ValueId) -> bool {
        self.info(a) == self.info(b)
    }

    pub(super) fn dtype(&self, value: ValueId) -> Dtype {
        self.info(value).dtype
    }
}

/// Values that are to be read in the place of others.
pub(super) struct Replacements(Vec<ValueId>);

impl Replacements {
    pub(super) fn new(program: &Program) -> Replacements {
        Replacements((0..program.values.len()).map(ValueId).collect())
    }

    /// Has `by` read in the place of `value`; if `by` was replaced itself, its replacement.
    pub(super) fn replace(&mut self, value: ValueId, by: ValueId) {
        self.0[value.0] = self.0[by.0];
    }

    /// What is read in the place of a value.
    pub(super) fn of(&self, value: ValueId) -> ValueId {
        self.0[value.0]
    }

    pub(super) fn apply_to_instructions(&self, program: &mut Program) {
        for instruction in &mut program.instructions {
            instruction.op.for_each_value_mut(|value| *value = self.of(*value));
        }
    }

    pub(super) fn apply_to_outputs(&self, program: &mut Program) {
        program.outputs.values_mut().for_each(|value| *value = self.of(*value));
    }
}

/// Removes the instructions that are marked.
pub(super) fn remove_marked(program: &mut Program, marked: &[bool]) {
    let mut marked = marked.iter();
    program.instructions.retain(|_| !marked.next().copied().unwrap_or(false));
}
