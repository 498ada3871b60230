//! How much memory a file asks for beyond its own bytes, as far as that can be told without running it.
//!
//! A shape that a graph computes from its inputs is only known when it runs; what stands in the file as a constant is checked here.

use crate::proto::{AttributeValue, Node, TensorProto, ValueInfo, ValueKind};
use crate::wire::Broken;

/// The most values of one tensor that a file may ask for: 1 GiB of f32.
const MOST_VALUES: u64 = 1 << 28;

/// Checks the shape that an input or output is declared to have.
pub(crate) fn check_declared(value: &ValueInfo<'_>) -> Result<(), Broken> {
    let ValueKind::Tensor { shape: Some(shape), .. } = &value.kind else { return Ok(()) };
    let fixed: Vec<u64> = shape.iter().flatten().map(|size| *size as u64).collect();
    check_product(&fixed).map_err(|Broken(reason)| Broken(format!("`{}` is declared with {reason}", value.name)))
}

/// Checks what a node makes from constants.
pub(crate) fn check_made<'c>(node: &Node<'_>, constant: &dyn Fn(&str) -> Option<&'c [i64]>) -> Result<(), Broken> {
    let input = |index: usize| node.inputs.get(index).and_then(|name| constant(name));
    let asked: Option<Vec<i64>> = match node.operator {
        "ConstantOfShape" => input(0).map(<[i64]>::to_vec),
        "Expand" | "Tile" => input(1).map(<[i64]>::to_vec),
        "Resize" => input(3).map(<[i64]>::to_vec),
        "OneHot" => input(1).map(<[i64]>::to_vec),
        "Pad" => input(1).map(|pads| pads.iter().map(|pad| pad.saturating_add(1).max(1)).collect()),
        "Range" => match (input(0), input(1), input(2)) {
            (Some([start]), Some([end]), Some([step])) if *step != 0 => Some(vec![range_length(*start, *end, *step)]),
            _ => None,
        },
        "RandomNormal" | "RandomUniform" => integers(node, "shape").map(<[i64]>::to_vec),
        _ => None,
    };
    let Some(asked) = asked else { return Ok(()) };
    // Negative sizes are mistakes that the runtime names when it loads or runs the graph.
    let sizes: Vec<u64> = asked.iter().map(|size| u64::try_from(*size).unwrap_or_default()).collect();
    check_product(&sizes).map_err(|Broken(reason)| Broken(format!("makes a tensor of {reason}")))
}

/// Returns the tensor of a node that is nothing else.
pub(crate) fn constant_of<'n, 'a>(node: &'n Node<'a>) -> Option<&'n TensorProto<'a>> {
    if node.operator != "Constant" {
        return None;
    }
    node.attributes.iter().find_map(|attribute| match &attribute.value {
        AttributeValue::Tensor(tensor) if attribute.name == "value" => Some(&**tensor),
        _ => None,
    })
}

fn integers<'n>(node: &'n Node<'_>, name: &str) -> Option<&'n [i64]> {
    node.attributes.iter().find_map(|attribute| match &attribute.value {
        AttributeValue::Integers(values) if attribute.name == name => Some(values.as_slice()),
        _ => None,
    })
}

fn range_length(start: i64, end: i64, step: i64) -> i64 {
    let length = (i128::from(end) - i128::from(start)) / i128::from(step);
    i64::try_from(length.max(0)).unwrap_or(i64::MAX)
}

fn check_product(sizes: &[u64]) -> Result<(), Broken> {
    let product = sizes.iter().try_fold(1_u64, |product, size| product.checked_mul(*size));
    match product {
        Some(product) if product <= MOST_VALUES => Ok(()),
        // A size of 0 makes nothing, however large the others are.
        None if sizes.contains(&0) => Ok(()),
        _ => Err(Broken::new(format!("the shape {sizes:?}, but a tensor may have {MOST_VALUES} values"))),
    }
}
