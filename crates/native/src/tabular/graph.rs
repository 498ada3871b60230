//! A network for tables as a graph: raw numbers in, probabilities or targets out. Scaling, categories and missing values are inside.

use seedhouse_core::runtime::TensorType;
use seedhouse_core::tabular::{Encoding, Feature, FeatureKind, Outcome, Standard};
use seedhouse_core::{Dimension, Graph, Result};
use seedhouse_kernels::Nonlinearity;

use super::FAMILY;
use super::declaration::{Activation, Declaration, embedding_name};
use crate::export::builder::{GraphBuilder, Value};
use crate::layers::{Tensors, Weights};

/// Makes a graph of a file.
///
/// # Errors
/// As loading it.
pub(crate) fn of_file(path: &str, text: &str, tensors: &Tensors<'_>, mut graph: GraphBuilder<'_>) -> Result<Graph> {
    let declaration = Declaration::read(path, text)?;
    let weights = Weights { tensors, family: FAMILY };
    let widths = declaration.layers(&weights)?;
    weights.check(&declaration.expected(&widths))?;
    graph.note(super::KEY, text);
    let features = &declaration.table.features;
    let (rows, count) = (Dimension::Free("rows"), Dimension::Fixed(features.len()));
    let raw = graph.input("features", TensorType::F32, &[rows.clone(), count]);
    let mut encoded = Vec::new();
    for (place, feature) in features.iter().enumerate() {
        encoded.extend(Encoder { graph: &mut graph, weights: &weights, feature, place }.encode(&raw)?);
    }
    let encoded: Vec<&str> = encoded.iter().map(String::as_str).collect();
    let mut numbers = graph.concat("encoded", &encoded, 1);
    for (layer, activation) in declaration.activations.iter().enumerate() {
        numbers = graph.linear(&weights, &format!("layers.{layer}"), &numbers)?;
        numbers = activate(&mut graph, &format!("layers.{layer}/activation"), *activation, numbers);
    }
    let shape = [rows, Dimension::Fixed(declaration.table.output_width())];
    match &declaration.table.outcome {
        Outcome::Classes(_) => {
            let probabilities = graph.softmax("classes/softmax", &numbers);
            graph.output("probabilities", &probabilities, &shape);
        }
        Outcome::Targets(targets) => {
            let of = |part: &dyn Fn(&Standard) -> f64| -> Vec<f32> {
                targets.iter().map(|target| part(&target.standard) as f32).collect()
            };
            let scales = graph.weight("targets/scale", &[targets.len()], of(&|standard| standard.scale))?;
            let means = graph.weight("targets/mean", &[targets.len()], of(&|standard| standard.mean))?;
            let scaled = graph.node("targets/scaled", "Mul", &[&numbers, &scales]);
            let undone = graph.node("targets/undone", "Add", &[&scaled, &means]);
            graph.output("targets", &undone, &shape);
        }
    }
    Ok(graph.finish("tabular"))
}

fn activate(graph: &mut GraphBuilder<'_>, name: &str, activation: Activation, input: Value) -> Value {
    match activation {
        Activation::None => input,
        Activation::Relu => graph.nonlinearity(name, Nonlinearity::Relu, &input),
        Activation::Relu6 => graph.nonlinearity(name, Nonlinearity::Relu6, &input),
        Activation::Silu => graph.nonlinearity(name, Nonlinearity::Silu, &input),
        Activation::Gelu => graph.nonlinearity(name, Nonlinearity::GeluErf, &input),
        Activation::GeluTanh => graph.nonlinearity(name, Nonlinearity::GeluTanh, &input),
        Activation::Tanh => graph.node(name, "Tanh", &[&input]),
        Activation::Sigmoid => graph.node(name, "Sigmoid", &[&input]),
    }
}

/// Adds what becomes of a feature.
struct Encoder<'e, 'p> {
    graph: &'e mut GraphBuilder<'p>,
    weights: &'e Weights<'e>,
    feature: &'e Feature,
    place: usize,
}

impl Encoder<'_, '_> {
    fn name(&self, part: &str) -> String {
        format!("features.{}/{part}", self.place)
    }

    /// Returns the columns of the feature: its own, and whether it is missing.
    fn encode(mut self, raw: &str) -> Result<Vec<Value>> {
        let column = self.graph.integers(&[self.place as i64]);
        let raw = self.graph.gather(&self.name("raw"), raw, &column, 1);
        let Some(missing) = self.feature.missing else { return Ok(vec![self.own(&raw)?]) };
        let is_missing = self.graph.node(&self.name("is_missing"), "IsNaN", &[&raw]);
        let fill = self.graph.number(missing.fill.unwrap_or(0.0));
        let filled = self.graph.node(&self.name("filled"), "Where", &[&is_missing, &fill, &raw]);
        let mut own = self.own(&filled)?;
        if missing.fill.is_none() {
            let zero = self.graph.number(0.0);
            own = self.graph.node(&self.name("value_or_zero"), "Where", &[&is_missing, &zero, &own]);
        }
        let mut columns = vec![own];
        if missing.indicator {
            columns.push(self.graph.cast(&self.name("indicator"), &is_missing, TensorType::F32));
        }
        Ok(columns)
    }

    fn own(&mut self, value: &str) -> Result<Value> {
        match &self.feature.kind {
            FeatureKind::Boolean => Ok(value.to_owned()),
            FeatureKind::Numeric { standard, .. } => Ok(self.standardise(value, *standard)),
            FeatureKind::Categorical { categories, encoding } => match encoding {
                Encoding::Index => Ok(value.to_owned()),
                Encoding::OneHot => self.one_hot(value, categories.len()),
                Encoding::Embedding(width) => self.embed(value, [categories.len(), *width]),
            },
        }
    }

    /// Subtracts the mean in two parts: a number that lies near it keeps its last digits.
    fn standardise(&mut self, value: &str, Standard { mean, scale }: Standard) -> Value {
        let coarse = mean as f32;
        let fine = (mean - f64::from(coarse)) as f32;
        let mut value = value.to_owned();
        for (part, number) in [("coarse", coarse), ("fine", fine)] {
            if number != 0.0 {
                let number = self.graph.number(number);
                value = self.graph.node(&self.name(&format!("less_{part}_mean")), "Sub", &[&value, &number]);
            }
        }
        let scale = self.graph.number(scale as f32);
        self.graph.node(&self.name("standardised"), "Div", &[&value, &scale])
    }

    fn one_hot(&mut self, value: &str, count: usize) -> Result<Value> {
        let places: Vec<f32> = (0..count).map(|place| place as f32).collect();
        let places = self.graph.weight(&self.name("categories"), &[1, count], places)?;
        let is_it = self.graph.node(&self.name("is_category"), "Equal", &[value, &places]);
        Ok(self.graph.cast(&self.name("one_hot"), &is_it, TensorType::F32))
    }

    fn embed(&mut self, value: &str, shape: [usize; 2]) -> Result<Value> {
        let name = embedding_name(self.place);
        let table = self.graph.weight(&name, &shape, self.weights.values(&name)?)?;
        let row = self.graph.reshape(&self.name("row"), value, &[-1]);
        let row = self.graph.cast(&self.name("category"), &row, TensorType::I64);
        Ok(self.graph.gather(&self.name("embedded"), &table, &row, 0))
    }
}
