//! A sentence encoder as a graph: token ids and which of them count in, one vector for a text out.

use seedhouse_core::runtime::{Pooling, TensorType};
use seedhouse_core::{Dimension, Graph, GraphAttribute, Result};

use super::bert::{
    ATTENTION_NORM, ATTENTION_OUTPUT, CLASS, DOWN, EMBEDDINGS_NORM, INPUTS, Layout, OUTPUT_NORM, POSITIONS, TOKENS,
    TYPES, UP, of_layer,
};
use super::settings::Settings;
use crate::export::builder::{GraphBuilder, Value};
use crate::layers::Weights;

/// What hides a token: far below every product.
const HIDDEN: f32 = -1e30;

/// What a length is at least when a vector is divided by it.
const LEAST_LENGTH: f32 = 1e-12;

pub(super) fn draw(
    weights: &Weights<'_>,
    layout: &Layout,
    settings: &Settings,
    mut graph: GraphBuilder<'_>,
) -> Result<Graph> {
    let shape = [Dimension::Free("batch"), Dimension::Free("sequence")];
    let tokens = graph.input("input_ids", TensorType::I64, &shape);
    let mask = graph.input("attention_mask", TensorType::I64, &shape);
    let types = graph.input("token_type_ids", TensorType::I64, &shape);
    graph.note("pooling", settings.pooling.name());
    graph.note("normalize", settings.is_normalised.to_string());
    graph.note("max_seq_len", settings.longest_sequence.to_string());
    let counts = graph.cast("mask/numbers", &mask, TensorType::F32);
    let hidden = hidden(&mut graph, &counts);
    let mut rows = embed(weights, layout, &mut graph, [&tokens, &types])?;
    for layer in 0..layout.sizes.layers {
        rows = draw_layer(weights, layout, &mut graph, layer, &rows, &hidden)?;
    }
    let mut vector = pool(&mut graph, settings.pooling, &rows, &counts);
    if settings.is_normalised {
        vector = normalise(&mut graph, &vector);
    }
    graph.output("sentence_embedding", &vector, &[Dimension::Free("batch"), Dimension::Fixed(layout.sizes.width)]);
    Ok(graph.finish(CLASS))
}

/// What is added to the products with tokens that do not count, `[batch, 1, 1, sequence]`.
fn hidden(graph: &mut GraphBuilder<'_>, counts: &str) -> Value {
    let (one, low) = (graph.number(1.0), graph.number(HIDDEN));
    let is_none = graph.node("mask/not", "Sub", &[&one, counts]);
    let hidden = graph.node("mask/low", "Mul", &[&is_none, &low]);
    let axes = graph.integers(&[1, 2]);
    graph.node("mask/hidden", "Unsqueeze", &[&hidden, &axes])
}

fn embed(
    weights: &Weights<'_>,
    layout: &Layout,
    graph: &mut GraphBuilder<'_>,
    [tokens, types]: [&str; 2],
) -> Result<Value> {
    let sizes = layout.sizes;
    let mut table = |name: &str, rows: usize| graph.weight(name, &[rows, sizes.width], weights.values(name)?);
    let of_tokens = table(TOKENS, sizes.vocab_size)?;
    let of_positions = table(POSITIONS, sizes.positions)?;
    let of_types = table(TYPES, sizes.types)?;
    let of_tokens = graph.gather("embeddings/tokens", &of_tokens, tokens, 0);
    let of_types = graph.gather("embeddings/types", &of_types, types, 0);
    let length = graph.node("embeddings/shape", "Shape", &[tokens]);
    let (one, zero) = (graph.integers(&[1]), graph.integers(&[0]));
    let length = graph.gather("embeddings/length", &length, &one, 0);
    let of_positions = graph.slice("embeddings/positions", &of_positions, [&zero, &length], 0);
    let sum = graph.node("embeddings/sum", "Add", &[&of_tokens, &of_types]);
    let sum = graph.node("embeddings/placed", "Add", &[&sum, &of_positions]);
    graph.layer_norm_of(weights, EMBEDDINGS_NORM, &sum, layout.epsilon)
}

fn draw_layer(
    weights: &Weights<'_>,
    layout: &Layout,
    graph: &mut GraphBuilder<'_>,
    layer: usize,
    rows: &str,
    hidden: &str,
) -> Result<Value> {
    let name = |part: &str| of_layer(layer, part);
    let [query, key, value] = INPUTS.map(name);
    let query = graph.linear(weights, &query, rows)?;
    let key = graph.linear(weights, &key, rows)?;
    let value = graph.linear(weights, &value, rows)?;
    let head_width = layout.sizes.width / layout.heads;
    let inputs = [query.as_str(), &key, &value];
    let attended = graph.mutual_attention(&name("attention.self"), inputs, layout.heads, head_width, Some(hidden));
    let attended = graph.linear(weights, &name(ATTENTION_OUTPUT), &attended)?;
    let sum = graph.node(&name("attention/sum"), "Add", &[rows, &attended]);
    let rows = graph.layer_norm_of(weights, &name(ATTENTION_NORM), &sum, layout.epsilon)?;
    let up = graph.linear(weights, &name(UP), &rows)?;
    let inner = graph.nonlinearity(&name("intermediate/nonlinearity"), layout.nonlinearity, &up);
    let down = graph.linear(weights, &name(DOWN), &inner)?;
    let sum = graph.node(&name("output/sum"), "Add", &[&rows, &down]);
    graph.layer_norm_of(weights, &name(OUTPUT_NORM), &sum, layout.epsilon)
}

/// One vector of those of the tokens that count.
fn pool(graph: &mut GraphBuilder<'_>, pooling: Pooling, rows: &str, counts: &str) -> Value {
    match pooling {
        Pooling::Cls => {
            let first = graph.integer(0);
            graph.gather("pooling/first", rows, &first, 1)
        }
        Pooling::Mean => {
            let (axis, last) = (graph.integers(&[1]), graph.integers(&[-1]));
            let column = graph.node("pooling/counts", "Unsqueeze", &[counts, &last]);
            let counted = graph.node("pooling/counted", "Mul", &[rows, &column]);
            let keep = || vec![("keepdims", GraphAttribute::Integer(0))];
            let sum = graph.node_with("pooling/sum", "ReduceSum", &[&counted, &axis], keep());
            let count = graph.node_with("pooling/count", "ReduceSum", &[&column, &axis], keep());
            graph.node("pooling/mean", "Div", &[&sum, &count])
        }
        Pooling::Max => {
            let last = graph.integers(&[-1]);
            let column = graph.node("pooling/counts", "Unsqueeze", &[counts, &last]);
            let counts = graph.cast("pooling/counts/truth", &column, TensorType::Bool);
            let low = graph.number(HIDDEN);
            let counted = graph.node("pooling/counted", "Where", &[&counts, rows, &low]);
            let settings = vec![("axes", GraphAttribute::Integers(vec![1])), ("keepdims", GraphAttribute::Integer(0))];
            graph.node_with("pooling/greatest", "ReduceMax", &[&counted], settings)
        }
    }
}

fn normalise(graph: &mut GraphBuilder<'_>, vector: &str) -> Value {
    let last = vec![("axes", GraphAttribute::Integers(vec![-1]))];
    let length = graph.node_with("normalised/length", "ReduceL2", &[vector], last);
    let least = graph.number(LEAST_LENGTH);
    let length = graph.node("normalised/at_least", "Max", &[&length, &least]);
    graph.node("normalised", "Div", &[vector, &length])
}
