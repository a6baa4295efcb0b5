//! The operations that take a `Scalar`, which torch's C interface cannot pass, through tch.

use tch::{Device, Kind, Scalar, Tensor};

use super::values::{operand, Lookup};
use crate::error::Result;
use crate::program::{Arg, Call, Number};

/// The result, or `None` for an operation that is not handled here. New tensors are created on
/// `device`.
pub fn run(call: &Call, lookup: &Lookup<'_>, device: Device) -> Result<Option<Tensor>> {
    let args = Args { call, lookup };
    let name = call.name.strip_prefix("aten::").unwrap_or(&call.name);
    let output = match (name, call.overload.as_str()) {
        // torch takes a plain number where it expects the second tensor.
        ("add", "Tensor") if args.is_number(1) && args.is_one(2) => {
            args.tensor(0)?.f_add_scalar(args.scalar(1)?)?
        }
        ("sub", "Tensor") if args.is_number(1) && args.is_one(2) => {
            args.tensor(0)?.f_sub_scalar(args.scalar(1)?)?
        }
        ("add" | "sub", "Tensor") if args.is_number(1) => return Ok(None),
        ("mul", "Tensor") if args.is_number(1) => args.tensor(0)?.f_mul_scalar(args.scalar(1)?)?,
        ("div", "Tensor") if args.is_number(1) => args.tensor(0)?.f_div_scalar(args.scalar(1)?)?,
        ("add", "Tensor") => match args.is_one(2) {
            true => args.tensor(0)?.f_add(&args.tensor(1)?)?,
            false => args.tensor(0)?.f_add(&args.tensor(1)?.f_mul_scalar(args.scalar(2)?)?)?,
        },
        ("sub", "Tensor") => match args.is_one(2) {
            true => args.tensor(0)?.f_sub(&args.tensor(1)?)?,
            false => args.tensor(0)?.f_sub(&args.tensor(1)?.f_mul_scalar(args.scalar(2)?)?)?,
        },
        ("add", "Scalar") if args.is_one(2) => args.tensor(0)?.f_add_scalar(args.scalar(1)?)?,
        ("sub", "Scalar") if args.is_one(2) => args.tensor(0)?.f_sub_scalar(args.scalar(1)?)?,
        ("rsub", "Scalar") if args.is_one(2) => args.tensor(0)?.f_rsub_scalar(args.scalar(1)?)?,
        ("mul", "Scalar") => args.tensor(0)?.f_mul_scalar(args.scalar(1)?)?,
        ("div", "Scalar") => args.tensor(0)?.f_div_scalar(args.scalar(1)?)?,
        ("pow", "Tensor_Scalar") => args.tensor(0)?.f_pow_tensor_scalar(args.scalar(1)?)?,
        ("eq", "Scalar") => args.tensor(0)?.f_eq(args.scalar(1)?)?,
        ("ne", "Scalar") => args.tensor(0)?.f_ne(args.scalar(1)?)?,
        ("ge", "Scalar") => args.tensor(0)?.f_ge(args.scalar(1)?)?,
        ("gt", "Scalar") => args.tensor(0)?.f_gt(args.scalar(1)?)?,
        ("le", "Scalar") => args.tensor(0)?.f_le(args.scalar(1)?)?,
        ("lt", "Scalar") => args.tensor(0)?.f_lt(args.scalar(1)?)?,
        ("clamp" | "hardtanh", "") if args.present(1) && args.present(2) => {
            args.tensor(0)?.f_clamp(args.scalar(1)?, args.scalar(2)?)?
        }
        ("clamp", "") if args.present(1) => args.tensor(0)?.f_clamp_min(args.scalar(1)?)?,
        ("clamp", "") => args.tensor(0)?.f_clamp_max(args.scalar(2)?)?,
        ("clamp_min", "") => args.tensor(0)?.f_clamp_min(args.scalar(1)?)?,
        ("clamp_max", "") => args.tensor(0)?.f_clamp_max(args.scalar(1)?)?,
        ("hardtanh_backward", "") => {
            let (grad, x) = (args.tensor(0)?, args.tensor(1)?);
            x.f_hardtanh_backward(&grad, args.scalar(2)?, args.scalar(3)?)?
        }
        ("threshold_backward", "") => {
            args.tensor(1)?.f_threshold_backward(&args.tensor(0)?, args.scalar(2)?)?
        }
        ("leaky_relu", "") => {
            let x = args.tensor(0)?;
            let negative = x.f_clamp_max(0)?.f_mul_scalar(args.scalar(1)?)?;
            x.f_clamp_min(0)?.f_add(&negative)?
        }
        ("leaky_relu_backward", "") => {
            let (grad, x) = (args.tensor(0)?, args.tensor(1)?);
            x.f_leaky_relu_backward(&grad, args.scalar(2)?, args.flag(3))?
        }
        ("addmm", "") if args.is_one(3) && args.is_one(4) => {
            args.tensor(0)?.f_addmm(&args.tensor(1)?, &args.tensor(2)?)?
        }
        ("masked_fill", "Scalar") => {
            args.tensor(0)?.f_masked_fill(&args.tensor(1)?, args.scalar(2)?)?
        }
        ("full", "") => {
            let kind = args.kind(2).unwrap_or_else(|| args.default_kind(1));
            Tensor::f_full(args.ints(0).as_slice(), args.scalar(1)?, (kind, device))?
        }
        ("full_like", "") => {
            let full = args.tensor(0)?.f_full_like(args.scalar(1)?)?;
            args.kind(2).map_or(Ok(full.shallow_clone()), |kind| full.f_to_kind(kind))?
        }
        ("scalar_tensor", "") => {
            let kind = args.kind(1).unwrap_or(Kind::Float);
            Tensor::f_scalar_tensor(args.scalar(0)?, (kind, device))?
        }
        _ => return Ok(None),
    };
    Ok(Some(output))
}

struct Args<'a> {
    call: &'a Call,
    lookup: &'a Lookup<'a>,
}

impl Args<'_> {
    fn get(&self, index: usize) -> &Arg {
        match self.call.args.get(index) {
            Some(Arg::Some(inner)) => inner,
            Some(arg) => arg,
            None => &Arg::None,
        }
    }

    fn wrong(&self, index: usize, expected: &str) -> crate::error::Error {
        let name = &self.call.name;
        crate::error::Error::Capture(format!("argument {index} of {name} must be {expected}"))
    }

    fn tensor(&self, index: usize) -> Result<Tensor> {
        match self.get(index) {
            arg @ (Arg::Tensor(_) | Arg::Strided { .. }) => operand(arg, self.lookup),
            _ => Err(self.wrong(index, "a tensor")),
        }
    }

    fn scalar(&self, index: usize) -> Result<Scalar> {
        match self.get(index) {
            Arg::Scalar(number) => Ok((*number).into()),
            _ => Err(self.wrong(index, "a number")),
        }
    }

    fn is_number(&self, index: usize) -> bool {
        matches!(self.get(index), Arg::Scalar(_))
    }

    fn present(&self, index: usize) -> bool {
        *self.get(index) != Arg::None
    }

    fn is_one(&self, index: usize) -> bool {
        self.get(index).float() == Some(1.0)
    }

    fn flag(&self, index: usize) -> bool {
        self.get(index).bool().unwrap_or(false)
    }

    fn ints(&self, index: usize) -> Vec<i64> {
        match self.get(index) {
            Arg::List(items) => items
                .iter()
                .filter_map(|item| match item {
                    Arg::Int(number) => Some(*number),
                    _ => None,
                })
                .collect(),
            _ => Vec::new(),
        }
    }

    fn kind(&self, index: usize) -> Option<Kind> {
        match self.get(index) {
            Arg::Dtype(dtype) => Some((*dtype).into()),
            _ => None,
        }
    }

    /// The dtype that torch gives to a number without an explicit dtype.
    fn default_kind(&self, index: usize) -> Kind {
        match self.get(index) {
            Arg::Scalar(Number::Bool(_)) => Kind::Bool,
            Arg::Scalar(Number::Int(_)) => Kind::Int64,
            _ => Kind::Float,
        }
    }
}
