//! The network as a graph.

use seedhouse_core::Result;

use super::Layout;
use crate::export::builder::{GraphBuilder, Value};
use crate::layers::{Square, Weights};
use crate::vision::graph::images;
use crate::vision::network::{Drawn, Sides};

pub(super) fn draw(layout: &Layout, weights: &Weights<'_>, graph: &mut GraphBuilder<'_>) -> Result<Drawn> {
    let (sizes, names) = (layout.sizes, layout.names);
    let images = images(graph, sizes.image_channels, Sides::Fixed([sizes.image_size; 2]));
    let mut rows = embed(layout, weights, graph, &images)?;
    for layer in 0..sizes.layers {
        rows = draw_layer(layout, weights, graph, layer, rows)?;
    }
    let first = graph.integer(0);
    let token = graph.gather("class_token/row", &rows, &first, 1);
    let features = graph.layer_norm_of(weights, names.final_norm, &token, layout.settings.epsilon)?;
    Ok(Drawn { features, classifier: names.classifier.to_owned() })
}

/// Patches behind an empty row, and what is added to each: the first row is the class token.
fn embed(layout: &Layout, weights: &Weights<'_>, graph: &mut GraphBuilder<'_>, images: &str) -> Result<Value> {
    let (sizes, names) = (layout.sizes, layout.names);
    let square = Square::new(sizes.patch_size, sizes.patch_size, 0);
    let patches = graph.convolution(weights, names.patches, images, square)?;
    let patches = graph.reshape("patches/flat", &patches, &[0, sizes.width as i64, -1]);
    let patches = graph.transpose("patches/rows", &patches, &[0, 2, 1]);
    let before = graph.integers(&[0, 1, 0, 0, 0, 0]);
    let rows = graph.node("patches/behind_token", "Pad", &[&patches, &before]);
    let mut positions = weights.values(names.positions)?;
    let token = weights.values(names.class_token)?;
    positions.iter_mut().zip(&token).for_each(|(position, number)| *position += number);
    let positions = graph.weight("positions_and_token", &[1, sizes.rows(), sizes.width], positions)?;
    Ok(graph.node("embedded", "Add", &[&rows, &positions]))
}

fn draw_layer(
    layout: &Layout,
    weights: &Weights<'_>,
    graph: &mut GraphBuilder<'_>,
    layer: usize,
    rows: Value,
) -> Result<Value> {
    let (names, settings, width) = (layout.names, layout.settings, layout.sizes.width);
    let name = |part: &str| names.layer(layer, part);
    let normed = graph.layer_norm_of(weights, &name(names.attention_norm), &rows, settings.epsilon)?;
    let [query, key, value] = names.inputs.map(name);
    let query = graph.linear(weights, &query, &normed)?;
    let key = graph.linear(weights, &key, &normed)?;
    let value = graph.linear(weights, &value, &normed)?;
    let inputs = [query.as_str(), &key, &value];
    let attended = graph.mutual_attention(&name("attention"), inputs, settings.heads, width / settings.heads, None);
    let attended = graph.linear(weights, &name(names.attention_output), &attended)?;
    let rows = graph.node(&name("attention_sum"), "Add", &[&rows, &attended]);
    let normed = graph.layer_norm_of(weights, &name(names.feed_forward_norm), &rows, settings.epsilon)?;
    let up = graph.linear(weights, &name(names.up), &normed)?;
    let inner = graph.nonlinearity(&name("nonlinearity"), settings.nonlinearity, &up);
    let down = graph.linear(weights, &name(names.down), &inner)?;
    Ok(graph.node(&name("feed_forward_sum"), "Add", &[&rows, &down]))
}
