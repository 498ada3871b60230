//! Why a graph that hangs together is not served: by no runtime, or only by ONNX Runtime.
//!
//! Both answers come from the file alone, so that a record stays true when the library comes or goes. Whether ONNX Runtime really computes
//! a graph shows when it loads it.

mod built_in;

use crate::operators::is_known_domain;
use crate::proto::{AttributeValue, Graph, Model, Node, Payload, TensorProto};
use crate::structure::{Facts, unsuitable_value};

/// Why the built-in runtime does not compute a graph.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// No runtime does.
    Always(String),
    /// ONNX Runtime may.
    WithoutLibrary(String),
}

impl Obstacle {
    /// Finds the first obstacle, one of every runtime before others.
    pub(crate) fn of(model: &Model<'_>, facts: &Facts) -> Option<Obstacle> {
        always(model, facts)
            .map(Obstacle::Always)
            .or_else(|| built_in::why_not(model, facts).map(Obstacle::WithoutLibrary))
    }

    /// Returns the reason as a record has it.
    pub(crate) fn reason(&self) -> String {
        match self {
            Obstacle::Always(reason) => reason.clone(),
            Obstacle::WithoutLibrary(reason) => {
                format!("without ONNX Runtime, which `seedhouse runtime install onnxruntime` installs: {reason}")
            }
        }
    }
}

fn always(model: &Model<'_>, facts: &Facts) -> Option<String> {
    unknown_domain(facts)
        .or_else(|| unsuitable_value(&model.graph))
        .or_else(|| model.has_functions.then(|| "it defines operators of its own as functions".to_owned()))
        .or_else(|| unreadable(&model.graph))
}

fn unknown_domain(facts: &Facts) -> Option<String> {
    let (domain, operator) = facts.operators.keys().find(|(domain, operator)| !is_known_domain(domain, operator))?;
    Some(format!("it uses the operator `{operator}` of the domain `{domain}`, which is not computed"))
}

/// Finds what was not read, so that it cannot be written for a runtime either.
fn unreadable(graph: &Graph<'_>) -> Option<String> {
    if graph.has_sparse_initializers {
        return Some("it has sparse tensors".to_owned());
    }
    graph.initializers.iter().find_map(unread).or_else(|| graph.nodes.iter().find_map(unreadable_node))
}

fn unreadable_node(node: &Node<'_>) -> Option<String> {
    let about = |reason: String| format!("node `{}` ({}) {reason}", node.name, node.operator);
    node.attributes.iter().find_map(|attribute| match &attribute.value {
        AttributeValue::Other(other) => {
            Some(about(format!("has the attribute `{}`, which is {other}", attribute.name)))
        }
        AttributeValue::Tensor(constant) => unread(constant).map(about),
        AttributeValue::Graph(body) => unreadable(body),
        _ => None,
    })
}

fn unread(tensor: &TensorProto<'_>) -> Option<String> {
    let is_unread = matches!(tensor.payload, Payload::Unread);
    is_unread.then(|| format!("tensor `{}` has {} values", tensor.name, tensor.element.name()))
}
