//! Networks for tables as docs/tabular.md describes them.

use super::he;
use crate::numbers::Activation;
use crate::parameters::{ParameterId, Parameters, Start};
use crate::tape::{Classifier, Tape, Var};

/// A network: layers with an activation between them.
#[derive(Debug)]
pub(crate) struct TableNetwork {
    hidden: Vec<[ParameterId; 2]>,
    last: Classifier,
    activation: Activation,
}

impl TableNetwork {
    /// Adds the weights. `widths` are the inputs of the first layer, then the outputs of each.
    pub(crate) fn new(widths: &[usize], activation: Activation, parameters: &mut Parameters) -> TableNetwork {
        let mut layers: Vec<[ParameterId; 2]> = Vec::new();
        for (layer, pair) in widths.windows(2).enumerate() {
            let start = Start::Normal(he(pair[0].max(1)));
            let weight = parameters.matrix(&format!("layers.{layer}.weight"), pair[1], pair[0], start);
            layers.push([weight, parameters.row(&format!("layers.{layer}.bias"), pair[1], 0.0)]);
        }
        let [weight, bias] = layers.pop().expect("the caller gives at least two widths");
        TableNetwork { hidden: layers, last: Classifier { weight, bias: Some(bias) }, activation }
    }

    /// Returns what makes logits or targets of the last rows.
    pub(crate) fn last(&self) -> Classifier {
        self.last
    }

    /// Returns the last rows but one.
    pub(crate) fn run(&self, tape: &mut Tape<'_>, rows: Var, dropout: f32) -> Var {
        self.hidden.iter().fold(rows, |rows, [weight, bias]| {
            let numbers = tape.linear(rows, *weight, Some(*bias));
            let active = tape.activate(numbers, self.activation);
            tape.dropout(active, dropout);
            active
        })
    }
}
