//! What surrounds a convolution and could be computed on the way, by an algorithm that supports it.

use serde::{Deserialize, Serialize};

use super::fuse_loads::could_load;
use super::graph::Graph;
use crate::activation::Activation;
use crate::program::{Op, Program};

/// What an algorithm computes beside the product. Where it cannot, there are passes over memory
/// for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Fusible {
    /// The normalization and activation before the convolution.
    pub load: bool,
    /// The moments of the result.
    pub moments: bool,
    /// The sum with another activation, or of the gradient with another gradient.
    pub add: bool,
    /// The activation after the convolution.
    pub activation: bool,
}

/// What is fusible into each instruction; nothing for those that are no convolutions.
pub fn fusible(program: &Program) -> Vec<Fusible> {
    let graph = Graph::new(program);
    (0..program.instructions.len()).map(|index| around(&graph, index)).collect()
}

fn around(graph: &Graph, index: usize) -> Fusible {
    let loads = |x| graph.definition(x).is_some_and(|before| could_load(graph, before));
    match graph.op(index) {
        Op::Convolution(op) => Fusible {
            load: op.load.is_some() || loads(op.x),
            moments: gives_moments(graph, index),
            add: op.residual.is_some(),
            activation: op.activation != Activation::IDENTITY,
        },
        Op::ConvolutionGradInput(op) => Fusible { add: op.add.is_some(), ..Fusible::default() },
        Op::ConvolutionGradWeight(op) => {
            Fusible { load: op.load.is_some() || loads(op.x), ..Fusible::default() }
        }
        _ => Fusible::default(),
    }
}

/// Whether a batch norm needs the moments of the result.
fn gives_moments(graph: &Graph, index: usize) -> bool {
    let Some(y) = graph.output(index, 0) else { return false };
    graph.users(y).iter().any(|user| matches!(graph.op(*user), Op::BatchNorm(op) if op.x == y))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::testing::{
        batch_norm, convolution, grad_input, grad_weight, program, set_algorithm,
    };
    use crate::program::{Algorithm, ValueId};

    const NOTHING: Fusible = Fusible { load: false, moments: false, add: false, activation: false };

    #[test]
    fn batch_norms_around_a_convolution_are_fusible_whatever_its_algorithm() {
        let mut list = vec![
            convolution(1, 2),
            batch_norm(2, None, 3),
            convolution(3, 6),
            batch_norm(6, Some(1), 7),
            grad_weight(10, 3, 11),
        ];
        let load = Fusible { load: true, ..NOTHING };
        let moments = Fusible { moments: true, ..NOTHING };
        let both = Fusible { load: true, ..moments };
        let expected = [moments, NOTHING, both, NOTHING, load];
        assert_eq!(fusible(&program(list.clone(), 11)), expected);
        set_algorithm(&mut list[2], Algorithm::Torch);
        assert_eq!(fusible(&program(list, 11)), expected);
    }

    #[test]
    fn a_result_with_other_users_is_stored_anyway() {
        let list = vec![batch_norm(2, None, 3), convolution(3, 6), batch_norm(7, Some(3), 10)];
        assert_eq!(fusible(&program(list, 6)), [NOTHING; 3]);
    }

    #[test]
    fn sums_and_activations_are_fusible() {
        let mut list = vec![convolution(1, 2), grad_input(3, 4)];
        if let Op::Convolution(op) = &mut list[0].op {
            (op.residual, op.activation) = (Some(ValueId(5)), Activation::RELU);
        }
        if let Op::ConvolutionGradInput(op) = &mut list[1].op {
            op.add = Some(ValueId(6));
        }
        let add = Fusible { add: true, ..NOTHING };
        assert_eq!(fusible(&program(list, 4)), [Fusible { activation: true, ..add }, add]);
    }
}
