//! The network as a graph.

use seedhouse_core::Result;
use seedhouse_kernels::Nonlinearity;

use super::layout::{BlockLayout, Layer, Layout};
use super::{EPSILON, SMALLEST_SIDE};
use crate::export::builder::{GraphBuilder, Value, window};
use crate::layers::{Square, Weights};
use crate::vision::graph::{images, mean_of_pixels};
use crate::vision::network::{Drawn, Sides};

pub(super) fn draw(layout: &Layout, weights: &Weights<'_>, graph: &mut GraphBuilder<'_>) -> Result<Drawn> {
    let images = images(graph, layout.image_channels, Sides::AtLeast(SMALLEST_SIDE));
    let stem = layer(&layout.stem, weights, graph, &images)?;
    let stem = relu(&layout.stem, graph, &stem);
    let mut map = graph.node_with("stem/greatest", "MaxPool", &[&stem], window(Square::new(3, 2, 1)));
    for block in &layout.blocks {
        map = draw_block(block, weights, graph, &map)?;
    }
    Ok(Drawn { features: mean_of_pixels(graph, &map), classifier: layout.classifier.to_owned() })
}

fn draw_block(block: &BlockLayout, weights: &Weights<'_>, graph: &mut GraphBuilder<'_>, input: &str) -> Result<Value> {
    let mut map = input.to_owned();
    let mut last = input.to_owned();
    for (index, of_block) in block.layers.iter().enumerate() {
        map = layer(of_block, weights, graph, &map)?;
        last.clone_from(&of_block.convolution);
        if index + 1 < block.layers.len() {
            map = relu(of_block, graph, &map);
        }
    }
    let added = match &block.shortcut {
        Some(shortcut) => layer(shortcut, weights, graph, input)?,
        None => input.to_owned(),
    };
    let sum = graph.node(&format!("{last}/sum"), "Add", &[&map, &added]);
    Ok(graph.nonlinearity(&format!("{last}/relu"), Nonlinearity::Relu, &sum))
}

fn layer(layer: &Layer, weights: &Weights<'_>, graph: &mut GraphBuilder<'_>, input: &str) -> Result<Value> {
    let square = Square::new(layer.size(), layer.stride, layer.size() / 2);
    graph.normalised_convolution(weights, [&layer.convolution, &layer.norm], EPSILON, input, (square, 1))
}

fn relu(layer: &Layer, graph: &mut GraphBuilder<'_>, input: &str) -> Value {
    graph.nonlinearity(&format!("{}/relu", layer.convolution), Nonlinearity::Relu, input)
}
