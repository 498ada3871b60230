//! The layers of a network by name, and the widths that its tensors say.

use seedhouse_core::Result;
use serde_json::{Map, Value};

use super::{EPSILON, FAMILY, ResNet, graph};
use crate::export::builder::GraphBuilder;
use crate::layers::{Compile, Expected, Part, Weights};
use crate::vision::network::{Description, Drawn, Network};

/// Stages of every network; each but the first halves the sides.
const STAGES: usize = 4;

/// More blocks than any network has in a stage (ResNet-152 has 36).
const MOST_BLOCKS: usize = 1000;

/// How somebody calls the layers.
pub(in crate::vision) struct Names {
    stem: [&'static str; 2],
    classifier: &'static str,
    /// Returns the name of a block, by stage and number, with the dot.
    block: fn(usize, usize) -> String,
    /// Convolution and norm of a layer of a block.
    layers: [[&'static str; 2]; 3],
    shortcut: [&'static str; 2],
}

/// Those of torchvision.
pub(in crate::vision) const TORCHVISION: Names = Names {
    stem: ["conv1", "bn1"],
    classifier: "fc",
    block: |stage, block| format!("layer{}.{block}.", stage + 1),
    layers: [["conv1", "bn1"], ["conv2", "bn2"], ["conv3", "bn3"]],
    shortcut: ["downsample.0", "downsample.1"],
};

/// Those of the transformers library.
pub(in crate::vision) const HUGGING_FACE: Names = Names {
    stem: ["resnet.embedder.embedder.convolution", "resnet.embedder.embedder.normalization"],
    classifier: "classifier.1",
    block: |stage, block| format!("resnet.encoder.stages.{stage}.layers.{block}."),
    layers: [
        ["layer.0.convolution", "layer.0.normalization"],
        ["layer.1.convolution", "layer.1.normalization"],
        ["layer.2.convolution", "layer.2.normalization"],
    ],
    shortcut: ["shortcut.convolution", "shortcut.normalization"],
};

/// A convolution with the batch normalisation after it.
pub(super) struct Layer {
    pub(super) convolution: String,
    pub(super) norm: String,
    pub(super) stride: usize,
    shape: [usize; 4],
}

impl Layer {
    /// Reads a layer with a window of this size.
    fn read(weights: &Weights<'_>, [convolution, norm]: [String; 2], size: usize, stride: usize) -> Result<Layer> {
        let name = format!("{convolution}.weight");
        let shape = weights.sizes::<4>(&name)?;
        if shape[2..] != [size; 2] {
            return Err(weights.wrong_shape(&name, &shape, &format!("a window of {size} x {size}")));
        }
        Ok(Layer { convolution, norm, stride, shape })
    }

    /// Returns the side of the window.
    pub(super) fn size(&self) -> usize {
        self.shape[2]
    }

    fn outputs(&self) -> usize {
        self.shape[0]
    }

    /// Returns the shape that goes with so many inputs.
    fn expected(&self, inputs: usize) -> [usize; 4] {
        let [outputs, _, height, width] = self.shape;
        [outputs, inputs, height, width]
    }
}

/// The layers of a block.
pub(super) struct BlockLayout {
    pub(super) layers: Vec<Layer>,
    pub(super) shortcut: Option<Layer>,
}

impl BlockLayout {
    fn outputs(&self) -> Option<usize> {
        self.layers.last().map(Layer::outputs)
    }
}

/// The layers of a network.
pub(in crate::vision) struct Layout {
    pub(super) image_channels: usize,
    pub(super) stem: Layer,
    pub(super) blocks: Vec<BlockLayout>,
    pub(super) classifier: &'static str,
    num_classes: usize,
    /// Blocks of each stage.
    depths: [usize; STAGES],
}

impl Layout {
    /// Reads the layers.
    ///
    /// # Errors
    /// [`seedhouse_core::Error::Malformed`] for tensors that are missing or no such layers.
    pub(in crate::vision) fn read(weights: &Weights<'_>, names: &Names) -> Result<Layout> {
        let stem = Layer::read(weights, names.stem.map(str::to_owned), 7, 2)?;
        let [num_classes, _] = weights.sizes(&format!("{}.weight", names.classifier))?;
        let (mut blocks, mut depths, mut width): (Vec<BlockLayout>, _, _) = (Vec::new(), [0; STAGES], stem.outputs());
        for (stage, depth) in depths.iter_mut().enumerate() {
            let is_there = |block: usize| {
                weights.tensors.has(&format!("{}{}.weight", (names.block)(stage, block), names.layers[0][0]))
            };
            *depth = (0..MOST_BLOCKS).take_while(|block| is_there(*block)).count();
            // The first block must be there; its error names what is missing.
            for block in 0..(*depth).max(1) {
                let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                blocks.push(read_block(weights, names, &(names.block)(stage, block), (width, stride))?);
                width = blocks.last().and_then(BlockLayout::outputs).unwrap_or(width);
            }
        }
        Ok(Layout { image_channels: stem.shape[1], stem, blocks, classifier: names.classifier, num_classes, depths })
    }

    /// Returns the blocks of each stage.
    pub(in crate::vision) fn depths(&self) -> &[usize] {
        &self.depths
    }

    fn features(&self) -> usize {
        self.blocks.last().and_then(BlockLayout::outputs).unwrap_or(self.stem.outputs())
    }
}

/// Reads a block that gets so many channels and takes such a step.
fn read_block(
    weights: &Weights<'_>,
    names: &Names,
    prefix: &str,
    (inputs, stride): (usize, usize),
) -> Result<BlockLayout> {
    let of = |names: [&str; 2]| names.map(|name| format!("{prefix}{name}"));
    let has = |names: [&str; 2]| weights.tensors.has(&format!("{prefix}{}.weight", names[0]));
    let is_bottleneck = has(names.layers[2]);
    // Window and step of each layer.
    let kinds: &[(usize, usize)] = if is_bottleneck { &[(1, 1), (3, stride), (1, 1)] } else { &[(3, stride), (3, 1)] };
    let layers = names.layers.iter().zip(kinds);
    let layers = layers.map(|(names, (size, stride))| Layer::read(weights, of(*names), *size, *stride));
    let layers = layers.collect::<Result<Vec<Layer>>>()?;
    // Where the shape stays, the input itself is added.
    let keeps_shape = stride == 1 && layers.last().is_some_and(|last| last.outputs() == inputs);
    let has_shortcut = has(names.shortcut) || !keeps_shape;
    let shortcut = has_shortcut.then(|| Layer::read(weights, of(names.shortcut), 1, stride)).transpose()?;
    Ok(BlockLayout { layers, shortcut })
}

impl Description for Layout {
    fn hyper_parameters(&self) -> Map<String, Value> {
        Map::from_iter([
            ("model_type".to_owned(), FAMILY.architecture.into()),
            ("image_channels".to_owned(), self.image_channels.into()),
            ("num_classes".to_owned(), self.num_classes.into()),
            ("base_channels".to_owned(), self.stem.outputs().into()),
        ])
    }

    fn expected(&self) -> Expected {
        let mut expected = Expected::default();
        let mut add = |layer: &Layer, shape| {
            expected.normalised([&layer.convolution, &layer.norm], shape, EPSILON, Part::Filter);
        };
        add(&self.stem, self.stem.expected(self.image_channels));
        let mut width = self.stem.outputs();
        for block in &self.blocks {
            let input = width;
            for layer in &block.layers {
                add(layer, layer.expected(width));
                width = layer.outputs();
            }
            if let Some(shortcut) = &block.shortcut {
                add(shortcut, [width, input, 1, 1]);
            }
        }
        expected.layer(self.classifier, &[self.num_classes, self.features()]);
        expected
    }

    fn draw(&self, weights: &Weights<'_>, graph: &mut GraphBuilder<'_>) -> Result<Drawn> {
        graph::draw(self, weights, graph)
    }

    fn build(&self, weights: &Weights<'_>, compile: &Compile) -> Result<Box<dyn Network>> {
        Ok(Box::new(ResNet::new(self, weights, compile)?))
    }
}
