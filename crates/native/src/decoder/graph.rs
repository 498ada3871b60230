//! A decoder as a graph: token ids in, the logits that follow each of them out, without a cache.

use seedhouse_core::runtime::TensorType;
use seedhouse_core::{Dimension, Error, Graph, Result};
use seedhouse_kernels::Nonlinearity;

use super::halves::halves_of;
use super::rotary::Rotary;
use super::weight_check::WeightCheck;
use super::{DecoderModel, FeedForward, NormKind, NormPlacement, Positions, Role, TensorSource};
use crate::export::builder::{GraphBuilder, Value};
use crate::quote::quote;

/// What hides a token: far below every product, and far from what f32 holds.
const HIDDEN: f32 = -1e30;

/// Makes a graph of a model.
///
/// # Errors
/// [`Error::Malformed`] for weights that are not finite, [`Error::TooLarge`] for more of them than a file holds, [`Error::Cancelled`].
pub(crate) fn of_model(model: &DecoderModel, graph: GraphBuilder<'_>) -> Result<Graph> {
    Drawing { model, graph, angles: None, hidden: String::new() }.draw()
}

struct Drawing<'m, 'p> {
    model: &'m DecoderModel,
    graph: GraphBuilder<'p>,
    /// Cosines and sines of every position of the sequence, where heads are rotated.
    angles: Option<[Value; 2]>,
    /// What is added to the products with tokens that are not seen.
    hidden: Value,
}

impl Drawing<'_, '_> {
    fn draw(mut self) -> Result<Graph> {
        let spec = &self.model.spec;
        let shape = [Dimension::Free("batch"), Dimension::Free("sequence")];
        let tokens = self.graph.input("input_ids", TensorType::I64, &shape);
        self.graph.note("context_length", spec.context_length.to_string());
        let length = self.length(&tokens);
        self.hidden = self.hidden(&length);
        let (embedding, mut rows) = self.embed(&tokens, &length)?;
        for layer in 0..spec.layers {
            rows = self.attention(layer, rows)?;
            rows = self.feed_forward(layer, rows)?;
        }
        if self.model.tensors.of_model(Role::FinalNorm).is_some() {
            rows = self.norm("final_norm", None, [Role::FinalNorm, Role::FinalNormBias], &rows)?;
        }
        let logits = self.output(&embedding, &rows)?;
        let [batch, sequence] = shape;
        self.graph.output("logits", &logits, &[batch, sequence, Dimension::Fixed(spec.vocab_size)]);
        Ok(self.graph.finish(&spec.architecture))
    }

    /// How many tokens there are.
    fn length(&mut self, tokens: &str) -> Value {
        let shape = self.graph.node("tokens/shape", "Shape", &[tokens]);
        let one = self.graph.integers(&[1]);
        self.graph.gather("tokens/count", &shape, &one, 0)
    }

    /// A token sees itself and what lies before it, as far as the window reaches.
    fn hidden(&mut self, length: &str) -> Value {
        let graph = &mut self.graph;
        let (zero, one, first) = (graph.integer(0), graph.integer(1), graph.integers(&[0]));
        let count = graph.node("mask/count", "Squeeze", &[length, &first]);
        let places = graph.node("mask/places", "Range", &[&zero, &count, &one]);
        let last = graph.integers(&[1]);
        let column = graph.node("mask/column", "Unsqueeze", &[&places, &last]);
        let is_later = graph.node("mask/is_later", "Greater", &[&places, &column]);
        let (low, nothing) = (graph.number(HIDDEN), graph.number(0.0));
        let later = graph.node("mask/later", "Where", &[&is_later, &low, &nothing]);
        let Some(window) = self.model.spec.sliding_window else { return later };
        let window = graph.integer(window as i64);
        let distance = graph.node("mask/distance", "Sub", &[&column, &places]);
        let is_far = graph.node("mask/is_far", "GreaterOrEqual", &[&distance, &window]);
        graph.node("mask/later_or_far", "Where", &[&is_far, &low, &later])
    }

    /// Returns the table of tokens, and the rows of those that were given.
    fn embed(&mut self, tokens: &str, length: &str) -> Result<(Value, Value)> {
        let (spec, tensors) = (&self.model.spec, &self.model.tensors);
        let table = self.table("token_embedding", tensors.model_tensor(Role::TokenEmbedding))?;
        let mut rows = self.graph.gather("tokens/embedded", &table, tokens, 0);
        if let Some(scale) = spec.embedding_scale {
            let scale = self.graph.number(scale);
            rows = self.graph.node("tokens/scaled", "Mul", &[&rows, &scale]);
        }
        match &spec.positions {
            Positions::Learned => {
                let positions = self.table("position_embedding", tensors.model_tensor(Role::PositionEmbedding))?;
                let zero = self.graph.integers(&[0]);
                let positions = self.graph.slice("positions/embedded", &positions, [&zero, length], 0);
                rows = self.graph.node("tokens/placed", "Add", &[&rows, &positions]);
            }
            Positions::Rotary(rotary) => self.angles = Some(self.angles(rotary, length)?),
        }
        Ok((table, rows))
    }

    /// A tensor as it stands, `[rows, width]`.
    fn table(&mut self, name: &str, source: &TensorSource) -> Result<Value> {
        self.graph.reserve(source.outputs() * source.inputs())?;
        let numbers = numbers(source)?;
        Ok(self.graph.reserved(&format!("{name}.weight"), &[source.outputs(), source.inputs()], numbers))
    }

    /// Angles are computed in f64 for every position of the context: those that f32 gives far from the beginning can be seen in logits.
    fn angles(&mut self, rotary: &Rotary, length: &str) -> Result<[Value; 2]> {
        let (context, pairs) = (self.model.spec.context_length, rotary.frequencies.len());
        self.graph.reserve(context.saturating_mul(2 * pairs))?;
        let table = |function: fn(f64) -> f64| -> Vec<f32> {
            let of_position = |position: usize| {
                let angles = rotary.frequencies.iter().map(move |speed| position as f64 * speed);
                angles.map(|angle| function(angle) as f32 * rotary.attention_factor)
            };
            (0..context).flat_map(of_position).collect()
        };
        let zero = self.graph.integers(&[0]);
        let mut turn = |name: &str, numbers: Vec<f32>| {
            let table = self.graph.reserved(&format!("rotary.{name}"), &[context, pairs], numbers);
            self.graph.slice(&format!("rotary/{name}"), &table, [&zero, length], 0)
        };
        Ok([turn("cosines", table(f64::cos)), turn("sines", table(f64::sin))])
    }

    /// A norm of rows, or of heads where `width` is theirs.
    fn norm(&mut self, name: &str, layer: Option<usize>, [weight, bias]: [Role; 2], rows: &str) -> Result<Value> {
        let weight = vector(self.required(layer, weight)?)?;
        let bias = self.source(layer, bias).map(vector).transpose()?;
        let norm = self.model.spec.norm;
        match norm.kind {
            NormKind::Rms => self.graph.rms_norm(name, rows, weight, norm.epsilon),
            NormKind::Layer => self.graph.layer_norm(name, rows, (weight, bias), norm.epsilon),
        }
    }

    fn source(&self, layer: Option<usize>, role: Role) -> Option<&TensorSource> {
        match layer {
            Some(layer) => self.model.tensors.of_layer(layer, role),
            None => self.model.tensors.of_model(role),
        }
    }

    fn required(&self, layer: Option<usize>, role: Role) -> Result<&TensorSource> {
        self.source(layer, role).ok_or_else(|| Error::Internal(format!("the reader left out {role:?}")))
    }

    /// Rows times the matrix of a role.
    fn linear(&mut self, name: &str, layer: usize, [weight, bias]: [Role; 2], rows: &str) -> Result<Value> {
        let source = self.required(Some(layer), weight)?;
        let sizes = [source.outputs(), source.inputs()];
        let (mut matrix, mut added) = (numbers(source)?, self.source(Some(layer), bias).map(vector).transpose()?);
        let spec = &self.model.spec;
        if let (Positions::Rotary(rotary), Role::Query | Role::Key) = (&spec.positions, weight) {
            matrix = halves_of(rotary, spec.head_width, matrix, sizes[1]);
            added = added.map(|bias| halves_of(rotary, spec.head_width, bias, 1));
        }
        self.graph.multiply(name, rows, (&matrix, sizes), added)
    }

    fn attention(&mut self, layer: usize, rows: Value) -> Result<Value> {
        let spec = &self.model.spec;
        let name = |part: &str| format!("layers.{layer}.attention.{part}");
        let norm_name = format!("layers.{layer}.attention_norm");
        let norm_roles = [Role::AttentionNorm, Role::AttentionNormBias];
        let is_before = spec.norm.placement == NormPlacement::Pre;
        let input = if is_before { self.norm(&norm_name, Some(layer), norm_roles, &rows)? } else { rows.clone() };
        let query = self.linear(&name("query"), layer, [Role::Query, Role::QueryBias], &input)?;
        let key = self.linear(&name("key"), layer, [Role::Key, Role::KeyBias], &input)?;
        let value = self.linear(&name("value"), layer, [Role::Value, Role::ValueBias], &input)?;
        let query = self.heads(layer, &name("query"), &query, (spec.query_heads, Role::QueryNorm))?;
        let key = self.heads(layer, &name("key"), &key, (spec.key_value_heads, Role::KeyNorm))?;
        let attended = self.attend(&name("heads"), [&query, &key, &value]);
        let roles = [Role::AttentionOutput, Role::AttentionOutputBias];
        let output = self.linear(&name("output"), layer, roles, &attended)?;
        let sum = self.graph.node(&name("sum"), "Add", &[&rows, &output]);
        if is_before { Ok(sum) } else { self.norm(&norm_name, Some(layer), norm_roles, &sum) }
    }

    /// Cuts rows into heads, `[batch, sequence, heads, width]`, which are normalised and rotated.
    fn heads(&mut self, layer: usize, name: &str, rows: &str, (heads, norm): (usize, Role)) -> Result<Value> {
        let spec = &self.model.spec;
        let mut by_head =
            self.graph.reshape(&format!("{name}/heads"), rows, &[0, 0, heads as i64, spec.head_width as i64]);
        if spec.head_norms {
            let mut weight = vector(self.required(Some(layer), norm)?)?;
            if let Positions::Rotary(rotary) = &spec.positions {
                weight = halves_of(rotary, spec.head_width, weight, 1);
            }
            by_head = self.graph.rms_norm(&format!("{name}_norm"), &by_head, weight, spec.norm.epsilon)?;
        }
        match &spec.positions {
            Positions::Learned => Ok(by_head),
            Positions::Rotary(rotary) => Ok(self.rotated(name, &by_head, rotary.dimensions)),
        }
    }

    /// Turns the pairs of what is rotated: its two halves.
    fn rotated(&mut self, name: &str, heads: &str, dimensions: usize) -> Value {
        let Some([cosines, sines]) = self.angles.clone() else { return heads.to_owned() };
        let graph = &mut self.graph;
        let part = |part: &str| format!("{name}/rotary/{part}");
        let axis = graph.integers(&[1]);
        let cosines = graph.node(&part("cosines"), "Unsqueeze", &[&cosines, &axis]);
        let sines = graph.node(&part("sines"), "Unsqueeze", &[&sines, &axis]);
        let half = (dimensions / 2) as i64;
        let [from, middle, end] = [0, half, 2 * half].map(|place| graph.integers(&[place]));
        let first = graph.slice(&part("first"), heads, [&from, &middle], -1);
        let second = graph.slice(&part("second"), heads, [&middle, &end], -1);
        let kept = graph.node(&part("first_kept"), "Mul", &[&first, &cosines]);
        let moved = graph.node(&part("second_moved"), "Mul", &[&second, &sines]);
        let new_first = graph.node(&part("new_first"), "Sub", &[&kept, &moved]);
        let kept = graph.node(&part("second_kept"), "Mul", &[&second, &cosines]);
        let moved = graph.node(&part("first_moved"), "Mul", &[&first, &sines]);
        let new_second = graph.node(&part("new_second"), "Add", &[&kept, &moved]);
        if dimensions == self.model.spec.head_width {
            return graph.concat(&part("turned"), &[&new_first, &new_second], -1);
        }
        let width = graph.integers(&[self.model.spec.head_width as i64]);
        let rest = graph.slice(&part("rest"), heads, [&end, &width], -1);
        graph.concat(&part("turned"), &[&new_first, &new_second, &rest], -1)
    }

    /// Heads of keys and values serve several heads of queries, which stand in a dimension of their own.
    fn attend(&mut self, name: &str, [query, key, value]: [&str; 3]) -> Value {
        let spec = &self.model.spec;
        let graph = &mut self.graph;
        let part = |part: &str| format!("{name}/{part}");
        let (heads, width) = (spec.key_value_heads as i64, spec.head_width as i64);
        let shared = (spec.query_heads / spec.key_value_heads) as i64;
        let query = graph.reshape(&part("query_groups"), query, &[0, 0, heads, shared, width]);
        let query = graph.transpose(&part("queries"), &query, &[0, 2, 3, 1, 4]);
        let key = graph.reshape(&part("key_groups"), key, &[0, 0, heads, 1, width]);
        let key = graph.transpose(&part("keys"), &key, &[0, 2, 3, 4, 1]);
        let value = graph.reshape(&part("value_groups"), value, &[0, 0, heads, 1, width]);
        let value = graph.transpose(&part("values"), &value, &[0, 2, 3, 1, 4]);
        let products = graph.node(&part("products"), "MatMul", &[&query, &key]);
        let scale = graph.number(spec.attention_scale);
        let scores = graph.node(&part("scores"), "Mul", &[&products, &scale]);
        let seen = graph.node(&part("seen"), "Add", &[&scores, &self.hidden]);
        let shares = graph.softmax(&part("shares"), &seen);
        let attended = graph.node(&part("attended"), "MatMul", &[&shares, &value]);
        let rows = graph.transpose(&part("rows"), &attended, &[0, 3, 1, 2, 4]);
        graph.reshape(&part("joined"), &rows, &[0, 0, spec.query_width() as i64])
    }

    fn feed_forward(&mut self, layer: usize, rows: Value) -> Result<Value> {
        let spec = &self.model.spec;
        let name = |part: &str| format!("layers.{layer}.feed_forward.{part}");
        let norm_name = format!("layers.{layer}.feed_forward_norm");
        let norm_roles = [Role::FeedForwardNorm, Role::FeedForwardNormBias];
        let is_before = spec.norm.placement == NormPlacement::Pre;
        let input = if is_before { self.norm(&norm_name, Some(layer), norm_roles, &rows)? } else { rows.clone() };
        let up = self.linear(&name("up"), layer, [Role::Up, Role::UpBias], &input)?;
        let function = nonlinearity(spec.feed_forward);
        let inner = match spec.feed_forward.is_gated() {
            true => {
                let gate = self.linear(&name("gate"), layer, [Role::Gate, Role::GateBias], &input)?;
                let gate = self.graph.nonlinearity(&name("gate/function"), function, &gate);
                self.graph.node(&name("gated"), "Mul", &[&gate, &up])
            }
            false => self.graph.nonlinearity(&name("function"), function, &up),
        };
        let down = self.linear(&name("down"), layer, [Role::Down, Role::DownBias], &inner)?;
        let sum = self.graph.node(&name("sum"), "Add", &[&rows, &down]);
        if is_before { Ok(sum) } else { self.norm(&norm_name, Some(layer), norm_roles, &sum) }
    }

    /// Logits: products with a matrix of their own, or with the embedding of the tokens.
    fn output(&mut self, embedding: &str, rows: &str) -> Result<Value> {
        let bias = self.source(None, Role::OutputBias).map(vector).transpose()?;
        if let Some(source) = self.model.tensors.of_model(Role::Output) {
            let matrix = numbers(source)?;
            return self.graph.multiply("output", rows, (&matrix, [source.outputs(), source.inputs()]), bias);
        }
        let columns = self.graph.transpose("output/columns", embedding, &[1, 0]);
        let product = self.graph.node("output/product", "MatMul", &[rows, &columns]);
        self.graph.biased("output", product, bias)
    }
}

fn nonlinearity(function: FeedForward) -> Nonlinearity {
    match function {
        FeedForward::GatedSilu => Nonlinearity::Silu,
        FeedForward::GatedGelu | FeedForward::Gelu => Nonlinearity::GeluErf,
        FeedForward::GatedGeluTanh | FeedForward::GeluTanh => Nonlinearity::GeluTanh,
    }
}

fn vector(source: &TensorSource) -> Result<Vec<f32>> {
    numbers(source)
}

/// Decodes a tensor, all of whose numbers must be finite.
fn numbers(source: &TensorSource) -> Result<Vec<f32>> {
    let values = source.to_vec();
    if WeightCheck::is_finite(&values) {
        return Ok(values);
    }
    let row = values.chunks(source.inputs()).position(|row| !WeightCheck::is_finite(row)).unwrap_or(0);
    let reason = format!("row {row} of tensor {} has a weight that is not finite", quote(source.name()));
    Err(Error::malformed(source.subject(), reason))
}
