//! A model as a graph of operators with their weights: what one crate knows of a family, in words that another writes as a file.
//!
//! Operators, their attributes and the order of their inputs are those of the ONNX standard; which version of them is a field.

use std::collections::BTreeMap;

use crate::runtime::{Tensor, TensorType};

/// A model as operators.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Graph {
    /// The family, for whoever looks at the file.
    pub name: String,
    /// The version of ONNX's operators that the nodes mean.
    pub operator_set: u32,
    /// What it takes.
    pub inputs: Vec<GraphValue>,
    /// What it gives.
    pub outputs: Vec<GraphValue>,
    /// The operators, each after those that it needs.
    pub nodes: Vec<GraphNode>,
    /// Values that are known, by name.
    pub weights: Vec<(String, Tensor)>,
    /// What is worth knowing beside the arithmetic.
    pub notes: BTreeMap<String, String>,
}

/// What a graph takes or gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GraphValue {
    /// Its name.
    pub name: String,
    /// The type of its numbers.
    pub tensor_type: TensorType,
    /// Its dimensions, outermost first.
    pub shape: Vec<Dimension>,
}

/// A dimension of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dimension {
    /// Always as large.
    Fixed(usize),
    /// As large as the caller says; dimensions of one name are equally large.
    Free(&'static str),
}

/// An operator and the values that it connects.
#[derive(Debug, Clone, PartialEq)]
pub struct GraphNode {
    /// Its name, e.g. `layers.0/attention/query`.
    pub name: String,
    /// What it computes.
    pub operator: &'static str,
    /// The names of values and weights; an empty one stands for an input that is left out.
    pub inputs: Vec<String>,
    /// The names of what it makes.
    pub outputs: Vec<String>,
    /// Its settings.
    pub attributes: Vec<(&'static str, GraphAttribute)>,
}

/// A setting of an operator.
#[derive(Debug, Clone, PartialEq)]
pub enum GraphAttribute {
    /// A whole number.
    Integer(i64),
    /// Whole numbers.
    Integers(Vec<i64>),
    /// A number.
    Float(f32),
    /// A word.
    Text(&'static str),
}
