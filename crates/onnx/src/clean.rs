//! What the runtime is given: the graph written anew from what was read and checked.
//!
//! The runtime has a reader of its own, and two readers of one format differ somewhere. What is written here has one meaning only: no field
//! twice, tensors always as little-endian bytes in the file, no shapes claimed for values in the middle (the optimiser would believe
//! them), free dimensions without names, since exporters give one name (`?`) to dimensions that differ.
//!
//! For the built-in runtime, what it computes otherwise than the format says is expressed by other operators on the way ([`rewrite`]).
//! ONNX Runtime is given the operators as they are.

mod rewrite;

use seedhouse_core::{ManifestPath, Result};

use crate::external::Contents;
use crate::message::Message;
use crate::proto::{AttributeValue, Graph, Model, Node, TensorProto, ValueInfo, ValueKind};
use crate::structure::free_inputs;
use crate::wire::Broken;

/// Who reads what is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Audience {
    /// The runtime that is compiled in.
    BuiltIn,
    /// ONNX Runtime.
    Library,
}

/// Before this version of the format an initializer had to be an input as well; here it is none.
const CONSTANT_INITIALIZERS: i64 = 4;

/// Writes a model.
pub(crate) fn write(
    model: &Model<'_>,
    contents: &Contents,
    path: &ManifestPath,
    audience: Audience,
) -> Result<Vec<u8>> {
    let mut message = Message::default();
    let mut writer = Writer { contents, audience, opset: own_opset(model), made: 0 };
    writer.model(&mut message, model).map_err(|broken| broken.in_file(path))?;
    Ok(message.bytes)
}

/// Returns the version of ONNX's own operators.
pub(crate) fn own_opset(model: &Model<'_>) -> i64 {
    model.opset_imports.iter().filter(|(domain, _)| domain.is_empty()).map(|(_, version)| *version).max().unwrap_or(1)
}

struct Writer<'c> {
    contents: &'c Contents,
    audience: Audience,
    opset: i64,
    /// How many names were made up.
    made: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Place {
    Outermost,
    Body,
}

#[derive(Clone, Copy)]
enum Shapes {
    Told,
    Untold,
}

impl Writer<'_> {
    fn model(&mut self, message: &mut Message, model: &Model<'_>) -> Result<(), Broken> {
        message.integer(1, model.ir_version.max(CONSTANT_INITIALIZERS));
        for (domain, version) in &model.opset_imports {
            message.message(8, |import| {
                import.text(1, domain);
                import.integer(2, *version);
                Ok(())
            })?;
        }
        message.message(7, |message| self.graph(message, &model.graph, Place::Outermost))
    }

    fn graph(&mut self, message: &mut Message, graph: &Graph<'_>, place: Place) -> Result<(), Broken> {
        for node in &graph.nodes {
            self.node(message, node)?;
        }
        message.text(2, "graph");
        for tensor in &graph.initializers {
            message.message(5, |message| self.tensor(message, tensor))?;
        }
        // ONNX Runtime does not begin a loop without the shapes of what goes into its body.
        let is_told = place == Place::Outermost || self.audience == Audience::Library;
        let shapes = if is_told { Shapes::Told } else { Shapes::Untold };
        for input in free_inputs(graph) {
            message.message(11, |message| value_info(message, input, shapes))?;
        }
        for output in &graph.outputs {
            message.message(12, |message| value_info(message, output, Shapes::Untold))?;
        }
        Ok(())
    }

    fn node(&mut self, message: &mut Message, node: &Node<'_>) -> Result<(), Broken> {
        let is_for_us = self.audience == Audience::BuiltIn;
        if is_for_us && self.rewritten(message, node)? {
            return Ok(());
        }
        let defaults = if is_for_us { rewrite::defaults(node) } else { Vec::new() };
        message.message(1, |message| {
            node.inputs.iter().for_each(|name| message.text(1, name));
            node.outputs.iter().for_each(|name| message.text(2, name));
            message.name(3, node.name);
            message.text(4, node.operator);
            for (name, value) in &defaults {
                message.message(5, |message| self.attribute(message, name, value))?;
            }
            for attribute in &node.attributes {
                message.message(5, |message| self.attribute(message, attribute.name, &attribute.value))?;
            }
            message.name(7, node.domain);
            Ok(())
        })
    }

    fn attribute(&mut self, message: &mut Message, name: &str, value: &AttributeValue<'_>) -> Result<(), Broken> {
        message.text(1, name);
        let kind = match value {
            AttributeValue::Float(value) => {
                message.float(2, *value);
                1
            }
            AttributeValue::Integer(value) => {
                message.integer(3, *value);
                2
            }
            AttributeValue::Text(text) => {
                message.bytes(4, text.as_bytes());
                3
            }
            AttributeValue::Tensor(tensor) => {
                message.message(5, |message| self.tensor(message, tensor))?;
                4
            }
            AttributeValue::Graph(body) => {
                message.message(6, |message| self.graph(message, body, Place::Body))?;
                5
            }
            AttributeValue::Floats(values) => {
                values.iter().for_each(|value| message.float(7, *value));
                6
            }
            AttributeValue::Integers(values) => {
                values.iter().for_each(|value| message.integer(8, *value));
                7
            }
            AttributeValue::Texts(texts) => {
                texts.iter().for_each(|text| message.bytes(9, text.as_bytes()));
                8
            }
            AttributeValue::Other(other) => {
                return Err(Broken::new(format!("attribute `{name}` is {other}")));
            }
        };
        message.integer(20, kind);
        Ok(())
    }

    fn tensor(&self, message: &mut Message, tensor: &TensorProto<'_>) -> Result<(), Broken> {
        for size in &tensor.shape {
            // A shape was read from signed numbers.
            message.integer(1, i64::try_from(*size).unwrap_or(i64::MAX));
        }
        message.integer(2, tensor.element.0);
        message.name(8, tensor.name);
        message.bytes(9, &self.contents.bytes_of(tensor)?);
        Ok(())
    }
}

/// The types of inputs of the whole graph are passed on; those in the middle are found by the runtime itself.
fn value_info(message: &mut Message, value: &ValueInfo<'_>, shapes: Shapes) -> Result<(), Broken> {
    message.text(1, value.name);
    let ValueKind::Tensor { element, shape } = &value.kind else { return Ok(()) };
    message.message(2, |message| {
        message.message(1, |message| {
            message.integer(1, element.0);
            let (Shapes::Told, Some(shape)) = (shapes, shape) else { return Ok(()) };
            message.message(2, |message| {
                for size in shape {
                    message.message(1, |message| {
                        if let Some(size) = size {
                            message.integer(1, i64::try_from(*size).unwrap_or(i64::MAX));
                        }
                        Ok(())
                    })?;
                }
                Ok(())
            })
        })
    })
}
