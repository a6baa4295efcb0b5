//! torch's types for the types of a program.

use tch::{Device, Kind, Scalar};

use crate::program::{Dtype, Number};

impl From<Dtype> for Kind {
    fn from(dtype: Dtype) -> Kind {
        match dtype {
            Dtype::Uint8 => Kind::Uint8,
            Dtype::Int8 => Kind::Int8,
            Dtype::Int16 => Kind::Int16,
            Dtype::Int32 => Kind::Int,
            Dtype::Int64 => Kind::Int64,
            Dtype::Float16 => Kind::Half,
            Dtype::Float32 => Kind::Float,
            Dtype::Float64 => Kind::Double,
            Dtype::Complex32 => Kind::ComplexHalf,
            Dtype::Complex64 => Kind::ComplexFloat,
            Dtype::Complex128 => Kind::ComplexDouble,
            Dtype::Bool => Kind::Bool,
            Dtype::Bfloat16 => Kind::BFloat16,
        }
    }
}

/// torch's name of a dtype.
pub fn dtype_name(kind: Kind) -> String {
    let known = Dtype::ALL.into_iter().find(|dtype| Kind::from(*dtype) == kind);
    known.map_or("another dtype".into(), |dtype| dtype.to_string())
}

/// torch's name of a device: `cpu`, `cuda:0`.
pub fn device_name(device: Device) -> String {
    match device {
        Device::Cuda(index) => format!("cuda:{index}"),
        other => format!("{other:?}").to_lowercase(),
    }
}

impl From<Number> for Scalar {
    fn from(number: Number) -> Scalar {
        match number {
            Number::Bool(flag) => i64::from(flag).into(),
            Number::Int(number) => number.into(),
            Number::Float(number) => number.into(),
        }
    }
}
