//! Arguments of a call, each with its type in the operation's schema.

use serde::Deserialize;

use super::{Dtype, ValueId};

/// A Python number of a type that the schema leaves open (`Scalar`).
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum Number {
    Bool(bool),
    Int(i64),
    Float(f64),
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arg {
    /// An optional argument that is absent.
    None,
    /// An optional argument that is present.
    Some(Box<Arg>),
    Tensor(ValueId),
    /// A tensor that the operation must find in these strides, because it reads the order of memory.
    Strided {
        value: ValueId,
        stride: Vec<i64>,
    },
    Int(i64),
    Float(f64),
    Bool(bool),
    Scalar(Number),
    Str(String),
    Dtype(Dtype),
    /// torch's name: `strided`.
    Layout(String),
    /// torch's string: `cpu`, `cuda:0`.
    Device(String),
    /// torch's name: `contiguous_format`, `channels_last`, `preserve_format`.
    MemoryFormat(String),
    List(Vec<Arg>),
}

impl Arg {
    pub fn for_each_value(&self, visit: &mut impl FnMut(ValueId)) {
        match self {
            Arg::Tensor(value) | Arg::Strided { value, .. } => visit(*value),
            Arg::Some(inner) => inner.for_each_value(visit),
            Arg::List(items) => items.iter().for_each(|item| item.for_each_value(visit)),
            _ => {}
        }
    }

    pub fn for_each_value_mut(&mut self, visit: &mut impl FnMut(&mut ValueId)) {
        match self {
            Arg::Tensor(value) | Arg::Strided { value, .. } => visit(value),
            Arg::Some(inner) => inner.for_each_value_mut(visit),
            Arg::List(items) => items.iter_mut().for_each(|item| item.for_each_value_mut(visit)),
            _ => {}
        }
    }

    /// The tensor in a `Tensor` or present `Tensor?` argument.
    pub fn tensor(&self) -> Option<ValueId> {
        match self {
            Arg::Tensor(value) | Arg::Strided { value, .. } => Some(*value),
            Arg::Some(inner) => inner.tensor(),
            _ => None,
        }
    }

    pub fn float(&self) -> Option<f64> {
        match self {
            Arg::Float(x) | Arg::Scalar(Number::Float(x)) => Some(*x),
            Arg::Int(x) | Arg::Scalar(Number::Int(x)) => Some(*x as f64),
            _ => None,
        }
    }

    pub fn bool(&self) -> Option<bool> {
        match self {
            Arg::Bool(x) => Some(*x),
            _ => None,
        }
    }

    /// Whether the argument contains a `Scalar`, which torch's C interface cannot pass.
    pub fn has_scalar(&self) -> bool {
        match self {
            Arg::Scalar(_) => true,
            Arg::Some(inner) => inner.has_scalar(),
            Arg::List(items) => items.iter().any(Arg::has_scalar),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_kind_of_argument() {
        let text = r#"[{"tensor": 3}, {"some": {"int": 1}}, "none", {"float": 2}, {"bool": true},
            {"scalar": 2}, {"scalar": 2.5}, {"scalar": true}, {"str": "mean"},
            {"dtype": "bfloat16"}, {"device": "cpu"}, {"list": [{"tensor": 1}, {"some": {"tensor": 2}}]},
            {"strided": {"value": 4, "stride": [6, 1]}}]"#;
        let args: Vec<Arg> = serde_json::from_str(text).unwrap();
        assert_eq!(args[0].tensor(), Some(ValueId(3)));
        assert_eq!(args[2], Arg::None);
        assert_eq!(args[3], Arg::Float(2.0));
        assert_eq!(args[5], Arg::Scalar(Number::Int(2)));
        assert_eq!(args[6], Arg::Scalar(Number::Float(2.5)));
        assert_eq!(args[7], Arg::Scalar(Number::Bool(true)));
        assert_eq!(args[9], Arg::Dtype(Dtype::Bfloat16));
        assert_eq!(args[12], Arg::Strided { value: ValueId(4), stride: vec![6, 1] });
        let mut seen = Vec::new();
        args.iter().for_each(|arg| arg.for_each_value(&mut |value| seen.push(value.0)));
        assert_eq!(seen, [3, 1, 2, 4]);
    }
}
