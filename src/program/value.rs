//! Values of a program: numbers, and a description of the tensor that each of them stands for.

use std::fmt;

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ValueId(pub usize);

/// torch's dtypes, by torch's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    Uint8,
    Int8,
    Int16,
    Int32,
    Int64,
    Float16,
    Float32,
    Float64,
    Complex32,
    Complex64,
    Complex128,
    Bool,
    Bfloat16,
}

impl fmt::Display for Dtype {
    /// torch's name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format!("{self:?}").to_lowercase())
    }
}

impl Dtype {
    pub const ALL: [Dtype; 13] = [
        Dtype::Uint8,
        Dtype::Int8,
        Dtype::Int16,
        Dtype::Int32,
        Dtype::Int64,
        Dtype::Float16,
        Dtype::Float32,
        Dtype::Float64,
        Dtype::Complex32,
        Dtype::Complex64,
        Dtype::Complex128,
        Dtype::Bool,
        Dtype::Bfloat16,
    ];

    /// The number that torch gives the dtype (`c10::ScalarType`).
    pub fn code(self) -> i32 {
        match self {
            Dtype::Uint8 => 0,
            Dtype::Int8 => 1,
            Dtype::Int16 => 2,
            Dtype::Int32 => 3,
            Dtype::Int64 => 4,
            Dtype::Float16 => 5,
            Dtype::Float32 => 6,
            Dtype::Float64 => 7,
            Dtype::Complex32 => 8,
            Dtype::Complex64 => 9,
            Dtype::Complex128 => 10,
            Dtype::Bool => 11,
            Dtype::Bfloat16 => 15,
        }
    }
}

impl Dtype {
    /// The size of an element in bytes.
    pub fn size(self) -> usize {
        match self {
            Dtype::Uint8 | Dtype::Int8 | Dtype::Bool => 1,
            Dtype::Int16 | Dtype::Float16 | Dtype::Bfloat16 => 2,
            Dtype::Int32 | Dtype::Float32 | Dtype::Complex32 => 4,
            Dtype::Int64 | Dtype::Float64 | Dtype::Complex64 => 8,
            Dtype::Complex128 => 16,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValueInfo {
    pub shape: Vec<i64>,
    pub dtype: Dtype,
    /// The channel (dimension 1) is innermost in memory and the tensor is dense: a row-major matrix
    /// of rows (all other dimensions) by channels.
    pub channels_last: bool,
}

impl ValueInfo {
    pub fn numel(&self) -> usize {
        self.shape.iter().map(|size| *size as usize).product()
    }

    pub fn bytes(&self) -> usize {
        self.numel() * self.dtype.size()
    }
}
