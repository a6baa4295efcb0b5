//! All that the choice of an algorithm depends on.

use serde::{Deserialize, Serialize};

use super::Product;
use crate::cpu::processor;
use crate::kernels::cpu::convolution::Geometry;
use crate::program::passes::Fusible;
use crate::program::{Algorithm, Dtype};

/// What computes: the processor, the threads, and the versions of the kernels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Machine {
    /// The model name.
    pub processor: String,
    /// The instructions that this processor has, among those that kernels use.
    pub features: Vec<String>,
    /// The instruction level that our kernels run on.
    pub level: String,
    pub threads: usize,
    /// A hash of the sources of our kernels and of the compiler and its options.
    pub kernels: String,
    /// The version of torch.
    pub torch: String,
}

impl Machine {
    /// This machine, with a number of threads and a version of torch.
    pub fn this(threads: usize, torch: &str) -> Machine {
        Machine {
            processor: processor::name(),
            features: processor::features().into_iter().map(str::to_owned).collect(),
            level: processor::level(),
            threads,
            kernels: env!("PROPRELU_KERNELS").to_owned(),
            torch: torch.to_owned(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Key {
    pub machine: Machine,
    pub product: Product,
    pub dtype: Dtype,
    pub geometry: Geometry,
    /// What the algorithm computes on the way, or passes of their own compute.
    pub fusible: Fusible,
    /// The algorithms that come into question, in order of promise.
    pub candidates: Vec<Algorithm>,
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A choice between the direct kernels and torch's, different for each number of channels.
    pub(crate) fn key(channels: usize) -> Key {
        let geometry = Geometry {
            batch: 1,
            in_channels: channels,
            out_channels: channels,
            in_size: [4, 4],
            kernel_size: [3, 3],
            stride: [2, 2],
            padding: [1, 1],
            dilation: [1, 1],
            groups: 1,
            num_blocks: 1,
        };
        let candidates = vec![Algorithm::Direct, Algorithm::Torch];
        let fusible = Fusible { moments: true, ..Fusible::default() };
        let (machine, product) = (Machine::this(2, "2.11.0"), Product::Forward);
        Key { machine, product, dtype: Dtype::Float32, geometry, fusible, candidates }
    }

    #[test]
    fn a_key_holds_the_machine_and_its_versions() {
        let this = Machine::this(2, "2.11.0");
        assert!(!this.processor.is_empty() && !this.level.is_empty());
        assert_eq!(this.kernels.len(), 16);
        assert_ne!(this, Machine::this(3, "2.11.0"));
        assert_ne!(this, Machine::this(2, "2.11.1"));
    }

    #[test]
    fn a_key_survives_json() {
        let text = serde_json::to_string(&key(3)).unwrap();
        assert!(text.contains(r#""product":"forward","dtype":"float32""#), "{text}");
        assert_eq!(serde_json::from_str::<Key>(&text).unwrap(), key(3));
    }
}
