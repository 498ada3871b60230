//! What the built-in runtime does not compute.

use std::collections::HashSet;

use crate::clean::own_opset;
use crate::element_type::ElementType;
use crate::operators::{FIRST_OPSET, LAST_OPSET, of_domain};
use crate::proto::{AttributeValue, Graph, Model, Node, Payload, TensorProto, ValueKind};
use crate::structure::Facts;

/// Returns the first thing that it does not compute, by name.
pub(super) fn why_not(model: &Model<'_>, facts: &Facts) -> Option<String> {
    opset(model).or_else(|| operator(facts)).or_else(|| in_graph(&model.graph)).or_else(|| of_8_bits(&model.graph))
}

/// The library computes these with numbers of 32 bits alone.
const OF_32_BITS: [&str; 15] = [
    "Add",
    "Clip",
    "Div",
    "Equal",
    "Greater",
    "GreaterOrEqual",
    "Less",
    "LessOrEqual",
    "Max",
    "MaxPool",
    "Min",
    "Mod",
    "Mul",
    "Pow",
    "Sub",
];

/// Finds an operator that takes an 8-bit input or constant which it is not computed with; those made on the way are named when it runs.
fn of_8_bits(graph: &Graph<'_>) -> Option<String> {
    let is_small = |element: ElementType| element.size_bytes() == Some(1) && element != ElementType::BOOL;
    let inputs = graph.inputs.iter().filter(|input| match input.kind {
        ValueKind::Tensor { element, .. } => is_small(element),
        ValueKind::Unsaid | ValueKind::Other(_) => false,
    });
    let constants = graph.initializers.iter().filter(|tensor| is_small(tensor.element)).map(|tensor| tensor.name);
    let small: HashSet<&str> = inputs.map(|input| input.name).chain(constants).collect();
    let takes_one =
        |node: &&Node<'_>| OF_32_BITS.contains(&node.operator) && node.inputs.iter().any(|name| small.contains(name));
    let node = graph.nodes.iter().find(takes_one)?;
    Some(format!("node `{}` ({}) takes values of 8 bits", node.name, node.operator))
}

/// What an operator is not computed with, beside its types.
fn setting(node: &Node<'_>) -> Option<&'static str> {
    let is = |name: &str, wanted: &str| {
        let named = node.attributes.iter().find(|attribute| attribute.name == name);
        named.is_some_and(|attribute| matches!(attribute.value, AttributeValue::Text(text) if text == wanted))
    };
    let has = |name: &str| node.attributes.iter().any(|attribute| attribute.name == name);
    let has_window = has("kernel_shape") || ["strides", "dilations", "pads"].iter().all(|name| has(name));
    let dimensions = node.attributes.iter().find_map(|attribute| match &attribute.value {
        AttributeValue::Integers(kernel) if attribute.name == "kernel_shape" => Some(kernel.len()),
        _ => None,
    });
    match node.operator {
        "Conv" | "ConvInteger" | "ConvTranspose" if !has_window => Some("has no `kernel_shape`"),
        "AveragePool" | "MaxPool" if is("auto_pad", "SAME_LOWER") => Some("is padded as `SAME_LOWER`"),
        "AveragePool" | "MaxPool" if dimensions > Some(2) => Some("is of more than two dimensions"),
        "LayerNormalization" | "MaxPool" if node.outputs.len() > 1 => Some("gives more than its first output"),
        "Resize" | "Upsample" if is("mode", "cubic") => Some("is cubic"),
        "Dropout" if node.inputs.len() > 2 => Some("may be told to train"),
        _ => None,
    }
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
    if let Some(reason) = setting(node) {
        return Some(about(reason.to_owned()));
    }
    node.attributes.iter().find_map(|attribute| match &attribute.value {
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
