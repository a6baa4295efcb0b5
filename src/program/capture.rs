//! A traced graph as Python passes it, which is checked as it is read.

use serde::{Deserialize, Deserializer};

use super::{Arg, Input, Outputs, ValueId, ValueInfo};
use crate::error::{Error, Result};

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CapturedCall {
    pub name: String,
    pub overload: String,
    pub args: Vec<Arg>,
    #[serde(default)]
    pub returns_list: bool,
    #[serde(default)]
    pub draws: bool,
    pub outputs: Vec<Option<ValueId>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capture {
    pub values: Vec<ValueInfo>,
    pub inputs: Vec<Input>,
    pub calls: Vec<CapturedCall>,
    pub outputs: Outputs,
}

impl Capture {
    /// Reads a capture and checks that every value is known and defined before it is used.
    pub fn read<'de>(from: impl Deserializer<'de>) -> Result<Capture> {
        let capture =
            Capture::deserialize(from).map_err(|error| Error::Capture(error.to_string()))?;
        capture.check()?;
        Ok(capture)
    }

    fn check(&self) -> Result<()> {
        let mut defined = vec![false; self.values.len()];
        let mut define = |value: ValueId| match defined.get_mut(value.0) {
            Some(slot) if !*slot => {
                *slot = true;
                Ok(())
            }
            Some(_) => Err(Error::Capture(format!("value {} is defined twice", value.0))),
            None => Err(Error::Capture(format!("value {} has no description", value.0))),
        };
        for input in &self.inputs {
            define(input.value)?;
        }
        for call in &self.calls {
            call.outputs.iter().flatten().try_for_each(|value| define(*value))?;
        }
        self.check_uses()
    }

    fn check_uses(&self) -> Result<()> {
        let mut known = vec![false; self.values.len()];
        let unknown = |value: ValueId, reader: &str| {
            Error::Capture(format!("{reader} reads value {} before it is defined", value.0))
        };
        for input in &self.inputs {
            known[input.value.0] = true;
        }
        for call in &self.calls {
            let mut missing = None;
            for arg in &call.args {
                arg.for_each_value(&mut |value| {
                    if !known.get(value.0).copied().unwrap_or(false) {
                        missing = Some(value);
                    }
                });
            }
            if let Some(value) = missing {
                return Err(unknown(value, &call.name));
            }
            call.outputs.iter().flatten().for_each(|value| known[value.0] = true);
        }
        match self.outputs.values().find(|value| !known.get(value.0).copied().unwrap_or(false)) {
            Some(value) => Err(unknown(value, "the output list")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{json, Value};

    use super::*;

    fn graph(input: usize, read: usize, output: usize) -> Value {
        let value = json!({"shape": [2], "dtype": "float32", "channels_last": false});
        json!({
            "values": [value, value],
            "inputs": [{"name": "x", "role": "batch", "value": input}],
            "calls": [{"name": "aten::relu", "overload": "", "args": [{"tensor": read}],
                "outputs": [output]}],
            "outputs": {"loss": null, "predictions": output, "gradients": [], "buffers": []},
        })
    }

    #[test]
    fn reads_a_graph() {
        let capture = Capture::read(graph(0, 0, 1)).unwrap();
        assert_eq!(capture.calls[0].name, "aten::relu");
    }

    #[test]
    fn refuses_values_that_are_not_there() {
        for (input, read, output) in [(0, 1, 1), (0, 0, 0), (0, 0, 2), (0, 7, 1), (5, 0, 1)] {
            let error = Capture::read(graph(input, read, output)).unwrap_err().to_string();
            assert!(error.contains("value"), "{error}");
        }
        assert!(Capture::read(json!({})).is_err());
    }
}
