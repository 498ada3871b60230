//! An image classifier as a graph.

use seedhouse_core::runtime::TensorType;
use seedhouse_core::{Dimension, Error, Graph, Result};
use serde_json::{Map, Value as JsonValue};

use super::families::{family, no_family};
use super::network::{Description, Drawn, Sides};
use crate::export::builder::{GraphBuilder, Value};
use crate::layers::{Tensors, Weights};

const IMAGES: &str = "pixel_values";

/// Makes a graph of tensors.
///
/// # Errors
/// As loading them.
pub(crate) fn of_tensors(
    tensors: &Tensors<'_>,
    metadata: &Map<String, JsonValue>,
    graph: GraphBuilder<'_>,
) -> Result<Graph> {
    let unknown = || Error::unsupported(format!("the architecture of {}", tensors.subject()), no_family(tensors));
    let family = family(tensors).ok_or_else(unknown)?;
    let weights = Weights { tensors, family: family.title };
    let network = (family.describe)(&weights, metadata)?;
    of_network(&weights, network.as_ref(), family.architecture, graph)
}

/// Makes a graph of a network whose shapes were read.
pub(super) fn of_network(
    weights: &Weights<'_>,
    network: &dyn Description,
    name: &str,
    mut graph: GraphBuilder<'_>,
) -> Result<Graph> {
    weights.check(&network.expected())?;
    let Drawn { features, classifier } = network.draw(weights, &mut graph)?;
    let [classes, width] = weights.sizes::<2>(&format!("{classifier}.weight"))?;
    let logits = graph.linear(weights, &classifier, &features)?;
    let batch = Dimension::Free("batch");
    graph.output("logits", &logits, &[batch.clone(), Dimension::Fixed(classes)]);
    graph.output("features", &features, &[batch, Dimension::Fixed(width)]);
    Ok(graph.finish(name))
}

/// Adds the images that a network takes.
pub(super) fn images(graph: &mut GraphBuilder<'_>, channels: usize, sides: Sides) -> Value {
    let [height, width] = match sides {
        Sides::Fixed(sides) => sides.map(Dimension::Fixed),
        Sides::AtLeast(_) => [Dimension::Free("height"), Dimension::Free("width")],
    };
    graph.input(IMAGES, TensorType::F32, &[Dimension::Free("batch"), Dimension::Fixed(channels), height, width])
}

/// The mean of the pixels of each channel, as a row.
pub(super) fn mean_of_pixels(graph: &mut GraphBuilder<'_>, map: &str) -> Value {
    let mean = graph.node("pixels/mean", "GlobalAveragePool", &[map]);
    graph.reshape("pixels/row", &mean, &[0, -1])
}
