//! Operators that the runtime computes otherwise than the format says, expressed by others.

use crate::clean::Writer;
use crate::element_type::ElementType;
use crate::message::Message;
use crate::proto::{AttributeValue, Node};
use crate::wire::Broken;

/// Softmax and LogSoftmax are of all dimensions from `axis` on before this version, and of one from it on.
const SOFTMAX_OF_ONE_DIMENSION: i64 = 13;

impl Writer<'_> {
    /// Writes other nodes in the place of one, and returns whether it did.
    pub(super) fn rewritten(&mut self, message: &mut Message, node: &Node<'_>) -> Result<bool, Broken> {
        if !node.domain.is_empty() {
            return Ok(false);
        }
        if let ("Pad", &[input, pads, value, axes], &[output]) = (node.operator, &node.inputs[..], &node.outputs[..])
            && !axes.is_empty()
        {
            self.pad_of_axes(message, node, [input, pads, value, axes, output])?;
            return Ok(true);
        }
        let ([input], [output]) = (&node.inputs[..], &node.outputs[..]) else { return Ok(false) };
        match node.operator {
            "Cast" if integer(node, "to") == Some(ElementType::BOOL.0) => self.cast_to_bool(message, input, output)?,
            "Softmax" | "LogSoftmax" if self.opset < SOFTMAX_OF_ONE_DIMENSION => {
                let axis = integer(node, "axis").unwrap_or(1);
                if axis == -1 {
                    return Ok(false);
                }
                self.flat_softmax(message, node.operator, axis, [input, output])?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The runtime keeps booleans as whole numbers, and a cast of 0.5 would give 0: what is not 0 is true.
    fn cast_to_bool(&mut self, message: &mut Message, input: &str, output: &str) -> Result<(), Broken> {
        let [float, zero, is_zero] = [(); 3].map(|()| self.name());
        write(message, "Cast", &[input], &float, &[("to", Setting::Integer(ElementType::FLOAT.0))])?;
        write(message, "Constant", &[], &zero, &[("value_float", Setting::Float(0.0))])?;
        write(message, "Equal", &[&float, &zero], &is_zero, &[])?;
        write(message, "Not", &[&is_zero], output, &[])
    }

    /// The runtime pads all dimensions or none: those that are not named get 0.
    fn pad_of_axes(
        &mut self,
        message: &mut Message,
        node: &Node<'_>,
        [input, pads, value, axes, output]: [&str; 5],
    ) -> Result<(), Broken> {
        let [shape, rank, upwards, places, two, two_rows, row] = [(); 7].map(|()| self.name());
        write(message, "Shape", &[input], &shape, &[])?;
        write(message, "Shape", &[&shape], &rank, &[])?;
        // Axes that count from the end, from the beginning.
        write(message, "Add", &[axes, &rank], &upwards, &[])?;
        write(message, "Mod", &[&upwards, &rank], &places, &[])?;
        // What is put before and after each dimension, in two rows.
        write(message, "Constant", &[], &two, &[("value_ints", Setting::Integers(&[2]))])?;
        write(message, "Constant", &[], &two_rows, &[("value_ints", Setting::Integers(&[2, -1]))])?;
        write(message, "Constant", &[], &row, &[("value_ints", Setting::Integers(&[-1]))])?;
        let [rows, rows_shape, row_places, all_shape, zero, zeros, all, all_pads] = [(); 8].map(|()| self.name());
        write(message, "Reshape", &[pads, &two_rows], &rows, &[])?;
        write(message, "Shape", &[&rows], &rows_shape, &[])?;
        write(message, "Expand", &[&places, &rows_shape], &row_places, &[])?;
        write(message, "Concat", &[&two, &rank], &all_shape, &[("axis", Setting::Integer(0))])?;
        write(message, "Constant", &[], &zero, &[("value_int", Setting::Integer(0))])?;
        write(message, "Expand", &[&zero, &all_shape], &zeros, &[])?;
        write(message, "ScatterElements", &[&zeros, &row_places, &rows], &all, &[("axis", Setting::Integer(1))])?;
        write(message, "Reshape", &[&all, &row], &all_pads, &[])?;
        let mode = text(node, "mode").unwrap_or("constant");
        let inputs: &[&str] = if value.is_empty() { &[input, &all_pads] } else { &[input, &all_pads, value] };
        write(message, "Pad", inputs, output, &[("mode", Setting::Text(mode))])
    }

    fn flat_softmax(
        &mut self,
        message: &mut Message,
        operator: &str,
        axis: i64,
        [input, output]: [&str; 2],
    ) -> Result<(), Broken> {
        let [shape, flat, computed] = [(); 3].map(|()| self.name());
        write(message, "Shape", &[input], &shape, &[])?;
        write(message, "Flatten", &[input], &flat, &[("axis", Setting::Integer(axis))])?;
        write(message, operator, &[&flat], &computed, &[("axis", Setting::Integer(-1))])?;
        write(message, "Reshape", &[&computed, &shape], output, &[])
    }

    /// Returns a name that no file has: names with control characters are refused.
    fn name(&mut self) -> String {
        self.made += 1;
        format!("\u{1}{}", self.made)
    }
}

/// Returns the attributes of windows that a node leaves out: the library's own defaults are those of two dimensions.
pub(super) fn defaults(node: &Node<'_>) -> Vec<(&'static str, AttributeValue<'static>)> {
    if !matches!(node.operator, "AveragePool" | "MaxPool" | "Conv" | "ConvInteger" | "ConvTranspose") {
        return Vec::new();
    }
    let find = |name: &str| node.attributes.iter().find(|attribute| attribute.name == name);
    let Some(AttributeValue::Integers(kernel)) = find("kernel_shape").map(|attribute| &attribute.value) else {
        return Vec::new();
    };
    let mut made = Vec::new();
    if find("strides").is_none() {
        made.push(("strides", AttributeValue::Integers(vec![1; kernel.len()])));
    }
    if find("dilations").is_none() && node.operator.starts_with("Conv") {
        made.push(("dilations", AttributeValue::Integers(vec![1; kernel.len()])));
    }
    if find("pads").is_none() && find("auto_pad").is_none() {
        made.push(("pads", AttributeValue::Integers(vec![0; 2 * kernel.len()])));
    }
    made
}

enum Setting<'s> {
    Integer(i64),
    Integers(&'s [i64]),
    Float(f32),
    Text(&'s str),
}

fn write(
    message: &mut Message,
    operator: &str,
    inputs: &[&str],
    output: &str,
    settings: &[(&str, Setting<'_>)],
) -> Result<(), Broken> {
    message.message(1, |message| {
        inputs.iter().for_each(|name| message.text(1, name));
        message.text(2, output);
        message.text(4, operator);
        for (name, setting) in settings {
            message.message(5, |message| {
                message.text(1, name);
                match setting {
                    Setting::Integer(value) => {
                        message.integer(3, *value);
                        message.integer(20, 2);
                    }
                    Setting::Integers(values) => {
                        values.iter().for_each(|value| message.integer(8, *value));
                        message.integer(20, 7);
                    }
                    Setting::Float(value) => {
                        message.float(2, *value);
                        message.integer(20, 1);
                    }
                    Setting::Text(text) => {
                        message.text(4, text);
                        message.integer(20, 3);
                    }
                }
                Ok(())
            })?;
        }
        Ok(())
    })
}

fn integer(node: &Node<'_>, name: &str) -> Option<i64> {
    node.attributes.iter().find_map(|attribute| match attribute.value {
        AttributeValue::Integer(value) if attribute.name == name => Some(value),
        _ => None,
    })
}

fn text<'a>(node: &Node<'a>, name: &str) -> Option<&'a str> {
    node.attributes.iter().find_map(|attribute| match attribute.value {
        AttributeValue::Text(value) if attribute.name == name => Some(value),
        _ => None,
    })
}
