//! Why a graph that hangs together is not served.

use crate::clean::own_opset;
use crate::element_type::ElementType;
use crate::operators::{FIRST_OPSET, LAST_OPSET, of_domain};
use crate::proto::{AttributeValue, Graph, Model, Node, Payload, TensorProto};
use crate::structure::{Facts, unsuitable_value};

/// Returns the first thing that the runtime does not compute, by name.
pub(crate) fn why_not(model: &Model<'_>, facts: &Facts) -> Option<String> {
    opset(model)
        .or_else(|| operator(facts))
        .or_else(|| unsuitable_value(&model.graph))
        .or_else(|| model.has_functions.then(|| "it defines operators of its own as functions".to_owned()))
        .or_else(|| in_graph(&model.graph))
}

fn opset(model: &Model<'_>) -> Option<String> {
    let version = own_opset(model);
    let is_known = (FIRST_OPSET..=LAST_OPSET).contains(&version);
    (!is_known)
        .then(|| format!("it uses version {version} of ONNX's operators; {FIRST_OPSET} to {LAST_OPSET} are computed"))
}

fn operator(facts: &Facts) -> Option<String> {
    facts.operators.keys().find_map(|(domain, operator)| match of_domain(domain) {
        None => Some(format!("it uses the operator `{operator}` of the domain `{domain}`, of which none is computed")),
        Some(known) if known.contains(&operator.as_str()) => None,
        Some(_) if domain.is_empty() => Some(format!("it uses the operator `{operator}`, which is not computed")),
        Some(_) => Some(format!("it uses the operator `{operator}` of `{domain}`, which is not computed")),
    })
}

fn in_graph(graph: &Graph<'_>) -> Option<String> {
    if graph.has_sparse_initializers {
        return Some("it has sparse tensors".to_owned());
    }
    graph.initializers.iter().find_map(tensor).or_else(|| graph.nodes.iter().find_map(node))
}

fn tensor(tensor: &TensorProto<'_>) -> Option<String> {
    if tensor.element.tensor_type().is_none() {
        return Some(format!("tensor `{}` has {} values", tensor.name, tensor.element.name()));
    }
    let Payload::Bytes(bytes) = &tensor.payload else { return None };
    let is_wide = |value: &i64| i32::try_from(*value).is_err() && !stands_for_the_end(*value);
    let wide = match tensor.element.size_bytes() {
        Some(8) => bytes.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).find(is_wide),
        _ => None,
    };
    wide.map(|value| {
        format!("tensor `{}` has the value {value}, and whole numbers are computed with 32 bits", tensor.name)
    })
}

/// Exporters write the largest numbers where a slice goes to the end; cut to 32 bits they still do.
fn stands_for_the_end(value: i64) -> bool {
    value.unsigned_abs() >= 1 << 62
}

fn node(node: &Node<'_>) -> Option<String> {
    let about = |reason: String| format!("node `{}` ({}) {reason}", node.name, node.operator);
    node.attributes.iter().find_map(|attribute| match &attribute.value {
        AttributeValue::Other(other) => {
            Some(about(format!("has the attribute `{}`, which is {other}", attribute.name)))
        }
        AttributeValue::Tensor(constant) => tensor(constant).map(about),
        AttributeValue::Graph(body) => in_graph(body),
        AttributeValue::Integer(element) if is_type(node, attribute.name) => {
            let element = ElementType(*element);
            let unknown = element.tensor_type().is_none() && element.0 != 0;
            unknown.then(|| about(format!("makes {} values", element.name())))
        }
        _ => None,
    })
}

/// The attributes whose number is an element type.
fn is_type(node: &Node<'_>, attribute: &str) -> bool {
    match node.operator {
        "Cast" | "BitCast" => attribute == "to",
        "EyeLike" | "RandomNormal" | "RandomNormalLike" | "RandomUniform" | "RandomUniformLike" | "Multinomial" => {
            attribute == "dtype"
        }
        "QuantizeLinear" | "DequantizeLinear" => attribute == "output_dtype",
        _ => false,
    }
}
