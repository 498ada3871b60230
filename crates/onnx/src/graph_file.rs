//! A model that was described as operators, written as an ONNX file.
//!
//! Everything but the values of weights is small and put together in memory first, because a message begins with its length; the
//! values are then written where they belong, without a copy of all of them.

use std::io::Write;

use seedhouse_core::runtime::{Tensor, TensorData, TensorType};
use seedhouse_core::{Dimension, Error, Graph, GraphAttribute, GraphNode, GraphValue, Progress, Result};

use crate::element_type::ElementType;
use crate::message::Message;

/// The version of the format that is written; operator sets up to 18 are of it or of earlier ones.
pub const IR_VERSION: u32 = 8;

/// A message of protocol buffers has at most 2 GiB.
const MOST_BYTES: u64 = i32::MAX as u64;

/// How many numbers are turned into bytes at a time.
const NUMBERS_TOGETHER: usize = 1 << 14;

/// Writes a graph. `progress` counts the bytes of weights.
///
/// # Errors
/// [`Error::TooLarge`] for a model beyond what one file of the format holds, [`Error::Cancelled`], and whatever stops `into` from being
/// written.
pub fn write_graph(graph: &Graph, into: &mut dyn Write, progress: &dyn Progress) -> Result<()> {
    let head = head(graph);
    let mut body = Message::default();
    graph.nodes.iter().for_each(|node| body.bytes(1, &node_message(node).bytes));
    body.text(2, &graph.name);
    let mut tail = Message::default();
    graph.inputs.iter().for_each(|value| tail.bytes(11, &value_message(value).bytes));
    graph.outputs.iter().for_each(|value| tail.bytes(12, &value_message(value).bytes));
    let tensors: Vec<Message> = graph.weights.iter().map(|(name, tensor)| tensor_head(name, tensor)).collect();
    let weights = || tensors.iter().zip(&graph.weights).map(|(head, (_, tensor))| (head, tensor));
    let of_weights: u64 = weights().map(|(head, tensor)| (head.bytes.len() + bytes_of(tensor)) as u64).sum();
    let length = (body.bytes.len() + tail.bytes.len()) as u64 + of_weights;
    check_length(length + head.bytes.len() as u64)?;
    let mut write = |bytes: &[u8]| into.write_all(bytes).map_err(Error::io("write", "the graph"));
    write(&head.bytes)?;
    write(&length_of_field(7, length).bytes)?;
    write(&body.bytes)?;
    for (head, tensor) in weights() {
        progress.check()?;
        write(&head.bytes)?;
        write_values(&tensor.data, &mut write)?;
        progress.advance(bytes_of(tensor) as u64);
    }
    write(&tail.bytes)
}

fn check_length(length: u64) -> Result<()> {
    if length <= MOST_BYTES {
        return Ok(());
    }
    Err(Error::TooLarge {
        what: "the model as one ONNX file".into(),
        size: format!("{length} bytes"),
        limit: format!("{MOST_BYTES} bytes"),
    })
}

/// What stands before the graph.
fn head(graph: &Graph) -> Message {
    let mut head = Message::default();
    head.integer(1, IR_VERSION.into());
    head.text(2, "seedhouse");
    head.text(3, env!("CARGO_PKG_VERSION"));
    let mut operators = Message::default();
    operators.text(1, "");
    operators.integer(2, graph.operator_set.into());
    head.bytes(8, &operators.bytes);
    for (key, value) in &graph.notes {
        let mut note = Message::default();
        note.text(1, key);
        note.text(2, value);
        head.bytes(14, &note.bytes);
    }
    head
}

/// Returns the beginning of a field that is a message of so many bytes.
fn length_of_field(number: u64, length: u64) -> Message {
    let mut start = Message::default();
    start.start(number, length);
    start
}

fn node_message(node: &GraphNode) -> Message {
    let mut message = Message::default();
    node.inputs.iter().for_each(|name| message.text(1, name));
    node.outputs.iter().for_each(|name| message.text(2, name));
    message.text(3, &node.name);
    message.text(4, node.operator);
    for (name, value) in &node.attributes {
        message.bytes(5, &attribute_message(name, value).bytes);
    }
    message
}

fn attribute_message(name: &str, value: &GraphAttribute) -> Message {
    let mut message = Message::default();
    message.text(1, name);
    let kind = match value {
        GraphAttribute::Float(value) => {
            message.float(2, *value);
            1
        }
        GraphAttribute::Integer(value) => {
            message.integer(3, *value);
            2
        }
        GraphAttribute::Text(text) => {
            message.text(4, text);
            3
        }
        GraphAttribute::Integers(values) => {
            values.iter().for_each(|value| message.integer(8, *value));
            7
        }
    };
    message.integer(20, kind);
    message
}

fn value_message(value: &GraphValue) -> Message {
    let mut shape = Message::default();
    for dimension in &value.shape {
        let mut size = Message::default();
        match dimension {
            Dimension::Fixed(fixed) => size.integer(1, as_integer(*fixed)),
            Dimension::Free(name) => size.text(2, name),
        }
        shape.bytes(1, &size.bytes);
    }
    let mut tensor = Message::default();
    tensor.integer(1, element(value.tensor_type).0);
    tensor.bytes(2, &shape.bytes);
    let mut kind = Message::default();
    kind.bytes(1, &tensor.bytes);
    let mut message = Message::default();
    message.text(1, &value.name);
    message.bytes(2, &kind.bytes);
    message
}

/// Returns a weight as a field of the graph, up to its values.
fn tensor_head(name: &str, tensor: &Tensor) -> Message {
    let mut inner = Message::default();
    tensor.shape.iter().for_each(|size| inner.integer(1, as_integer(*size)));
    inner.integer(2, element(tensor.data.tensor_type()).0);
    inner.text(8, name);
    let values = bytes_of(tensor) as u64;
    inner.start(9, values);
    let mut field = length_of_field(5, inner.bytes.len() as u64 + values);
    field.bytes.extend(inner.bytes);
    field
}

/// No tensor in memory has a dimension beyond what is written.
fn as_integer(size: usize) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

fn element(tensor_type: TensorType) -> ElementType {
    ElementType(match tensor_type {
        TensorType::F32 => 1,
        TensorType::U8 => 2,
        TensorType::I8 => 3,
        TensorType::I32 => 6,
        TensorType::I64 => 7,
        TensorType::Bool => 9,
        TensorType::F16 => 10,
    })
}

fn bytes_of(tensor: &Tensor) -> usize {
    let size = match tensor.data.tensor_type() {
        TensorType::I64 => 8,
        TensorType::F32 | TensorType::I32 => 4,
        TensorType::F16 => 2,
        TensorType::I8 | TensorType::U8 | TensorType::Bool => 1,
    };
    tensor.data.len() * size
}

fn write_values(data: &TensorData, write: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
    match data {
        TensorData::F32(values) => in_pieces(values, |value| value.to_le_bytes(), write),
        TensorData::F16(values) => in_pieces(values, |value| value.to_le_bytes(), write),
        TensorData::I64(values) => in_pieces(values, |value| value.to_le_bytes(), write),
        TensorData::I32(values) => in_pieces(values, |value| value.to_le_bytes(), write),
        TensorData::I8(values) => in_pieces(values, |value| value.to_le_bytes(), write),
        TensorData::U8(values) => write(values),
        TensorData::Bool(values) => in_pieces(values, |value| [u8::from(value)], write),
    }
}

fn in_pieces<T: Copy, const BYTES: usize>(
    values: &[T],
    bytes_of: impl Fn(T) -> [u8; BYTES],
    write: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let mut bytes = Vec::with_capacity(values.len().min(NUMBERS_TOGETHER) * BYTES);
    for piece in values.chunks(NUMBERS_TOGETHER) {
        bytes.clear();
        bytes.extend(piece.iter().flat_map(|value| bytes_of(*value)));
        write(&bytes)?;
    }
    Ok(())
}
