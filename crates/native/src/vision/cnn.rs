//! The convolutional network of the system that Seedhouse took over. Its records name `model_type` (`cnn`), `image_size`,
//! `image_channels`, `num_classes` and `base_channels`.
//!
//! No file with its weights was kept, so the tensor names are ours, those that a torch module would have:
//!
//! ```text
//! conv1.weight                            [base_channels, image_channels, 3, 3]
//! conv2.weight, conv3.weight ...          each with the channels of the one before as inputs
//! bnN.weight, .bias, .running_mean, .running_var    one number for each output of convN
//! fc.weight, fc.bias                      [num_classes, outputs of the last convolution], [num_classes]
//! ```
//!
//! A layer is convolution, batch normalisation, ReLU and the greatest of 2 x 2; the mean of what is left goes to `fc`.

use seedhouse_core::Result;
use seedhouse_kernels::{Nonlinearity, Step, Window, global_average_pool, max_pool};
use serde_json::{Map, Value};

use super::families::Family;
use super::graph::{images, mean_of_pixels};
use super::network::{Buffers, Description, Drawn, Network, Sides};
use crate::export::builder::{GraphBuilder, window};
use crate::layers::{Compile, Convolution, Expected, Linear, Part, Square, Tensors, Weights};

/// The family.
pub(super) const FAMILY: Family = Family {
    architecture: "cnn",
    title: "the convolutional network",
    recognises,
    describe: |weights, _| Ok(Box::new(Layout::read(weights)?)),
};

/// torch's own.
const EPSILON: f32 = 1e-5;

/// Each layer halves the sides; images of 4096 pixels are halved twelve times at most.
const MOST_LAYERS: usize = 12;

fn recognises(tensors: &Tensors<'_>) -> bool {
    let signs = ["conv2.weight", "fc.weight"];
    tensors.has_normalised("conv1", "bn1")
        && signs.iter().all(|name| tensors.has(name))
        && !tensors.has("layer1.0.conv1.weight")
}

struct Layout {
    /// Inputs of the first convolution, then outputs of each.
    channels: Vec<usize>,
    num_classes: usize,
}

impl Layout {
    fn read(weights: &Weights<'_>) -> Result<Layout> {
        let [first, image_channels, ..] = weights.sizes::<4>("conv1.weight")?;
        let [num_classes, _] = weights.sizes("fc.weight")?;
        let mut channels = vec![image_channels, first];
        while channels.len() <= MOST_LAYERS && weights.tensors.has(&format!("conv{}.weight", channels.len())) {
            let [outputs, ..] = weights.sizes::<4>(&format!("conv{}.weight", channels.len()))?;
            channels.push(outputs);
        }
        Ok(Layout { channels, num_classes })
    }

    fn names(layer: usize) -> [String; 2] {
        [format!("conv{layer}"), format!("bn{layer}")]
    }
}

impl Layout {
    fn sides(&self) -> Sides {
        Sides::AtLeast(1 << (self.channels.len() - 1))
    }
}

impl Description for Layout {
    fn hyper_parameters(&self) -> Map<String, Value> {
        Map::from_iter([
            ("model_type".to_owned(), FAMILY.architecture.into()),
            ("image_channels".to_owned(), self.channels[0].into()),
            ("num_classes".to_owned(), self.num_classes.into()),
            ("base_channels".to_owned(), self.channels[1].into()),
        ])
    }

    fn expected(&self) -> Expected {
        let mut expected = Expected::default();
        for (layer, widths) in (1..).zip(self.channels.windows(2)) {
            let [convolution, norm] = Layout::names(layer);
            expected.normalised([&convolution, &norm], [widths[1], widths[0], 3, 3], EPSILON, Part::Filter);
        }
        expected.layer("fc", &[self.num_classes, self.channels[self.channels.len() - 1]]);
        expected
    }

    fn draw(&self, weights: &Weights<'_>, graph: &mut GraphBuilder<'_>) -> Result<Drawn> {
        let mut map = images(graph, self.channels[0], self.sides());
        for layer in 1..self.channels.len() {
            let names @ [convolution, _] = &Layout::names(layer);
            let square = (Square::new(3, 1, 1), 1);
            map = graph.normalised_convolution(weights, names.each_ref().map(String::as_str), EPSILON, &map, square)?;
            map = graph.nonlinearity(&format!("{convolution}/relu"), Nonlinearity::Relu, &map);
            map = graph.node_with(&format!("{convolution}/greatest"), "MaxPool", &[&map], window(Square::new(2, 2, 0)));
        }
        Ok(Drawn { features: mean_of_pixels(graph, &map), classifier: "fc".to_owned() })
    }

    fn build(&self, weights: &Weights<'_>, compile: &Compile) -> Result<Box<dyn Network>> {
        let square = Square::new(3, 1, 1);
        let read = |layer| {
            let [convolution, norm] = Layout::names(layer);
            let names = [convolution.as_str(), norm.as_str()];
            Convolution::normalised(weights, compile, names, EPSILON, square, Some(Nonlinearity::Relu))
        };
        Ok(Box::new(Cnn {
            image_channels: self.channels[0],
            base_channels: self.channels[1],
            layers: (1..self.channels.len()).map(read).collect::<Result<_>>()?,
            classifier: Linear::read(weights, compile, &["fc".to_owned()])?,
        }))
    }
}

/// The network, ready to compute with.
struct Cnn {
    image_channels: usize,
    base_channels: usize,
    layers: Vec<Convolution>,
    classifier: Linear,
}

impl Network for Cnn {
    fn input(&self) -> (usize, Sides) {
        (self.image_channels, Sides::AtLeast(1 << self.layers.len()))
    }

    fn classifier(&self) -> &Linear {
        &self.classifier
    }

    fn images_together(&self, [height, width]: [usize; 2]) -> usize {
        (16 << 20) / (height * width * self.base_channels * 4).max(1)
    }

    fn features(&self, step: &mut Step<'_>, buffers: &mut Buffers, features: &mut [f32]) {
        let Buffers { images, maps: [wide, pooled, ..], convolution, .. } = buffers;
        for (index, layer) in self.layers.iter().enumerate() {
            layer.apply(step, convolution, if index == 0 { &*images } else { &*pooled }, wide);
            let window = Window::square(2, 2, 0);
            pooled.reset(wide.count, window.output(wide.sides), wide.channels);
            max_pool(step, wide.images(), window, pooled.numbers_mut());
        }
        global_average_pool(step, pooled.images(), features);
    }

    fn bytes(&self) -> usize {
        self.layers.iter().map(Convolution::bytes).sum::<usize>() + self.classifier.bytes()
    }
}
