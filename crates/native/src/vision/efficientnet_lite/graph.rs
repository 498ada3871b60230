//! The network as a graph.

use seedhouse_core::Result;
use seedhouse_kernels::Nonlinearity;

use super::layout::{BlockLayout, Layout, STEM_KERNEL, STEM_STRIDE};
use super::{EPSILON, SMALLEST_SIDE, same};
use crate::export::builder::{GraphBuilder, Value};
use crate::layers::Weights;
use crate::vision::graph::{images, mean_of_pixels};
use crate::vision::network::{Drawn, Sides};

pub(super) fn draw(layout: &Layout, weights: &Weights<'_>, graph: &mut GraphBuilder<'_>) -> Result<Drawn> {
    let images = images(graph, layout.image_channels, Sides::AtLeast(SMALLEST_SIDE));
    let stem = (same(STEM_KERNEL, STEM_STRIDE), 1);
    let stem = graph.normalised_convolution(weights, ["_conv_stem", "_bn0"], EPSILON, &images, stem)?;
    let mut map = graph.nonlinearity("_conv_stem/relu6", Nonlinearity::Relu6, &stem);
    for block in &layout.blocks {
        map = draw_block(block, weights, graph, map)?;
    }
    let head = graph.normalised_convolution(weights, ["_conv_head", "_bn1"], EPSILON, &map, (same(1, 1), 1))?;
    let head = graph.nonlinearity("_conv_head/relu6", Nonlinearity::Relu6, &head);
    Ok(Drawn { features: mean_of_pixels(graph, &head), classifier: "_fc".to_owned() })
}

fn draw_block(block: &BlockLayout, weights: &Weights<'_>, graph: &mut GraphBuilder<'_>, input: Value) -> Result<Value> {
    let name = |part: &str| format!("{}{part}", block.prefix);
    let mut map = input.clone();
    if block.expands {
        let names = [name("_expand_conv"), name("_bn0")];
        map = graph.normalised_convolution(weights, [&names[0], &names[1]], EPSILON, &map, (same(1, 1), 1))?;
        map = graph.nonlinearity(&name("_expand_conv/relu6"), Nonlinearity::Relu6, &map);
    }
    let names = [name("_depthwise_conv"), name("_bn1")];
    let depthwise = (same(block.kernel, block.stride), block.expanded);
    map = graph.normalised_convolution(weights, [&names[0], &names[1]], EPSILON, &map, depthwise)?;
    map = graph.nonlinearity(&name("_depthwise_conv/relu6"), Nonlinearity::Relu6, &map);
    let names = [name("_project_conv"), name("_bn2")];
    map = graph.normalised_convolution(weights, [&names[0], &names[1]], EPSILON, &map, (same(1, 1), 1))?;
    match block.stride == 1 && block.inputs == block.outputs {
        true => Ok(graph.node(&name("sum"), "Add", &[&map, &input])),
        false => Ok(map),
    }
}
