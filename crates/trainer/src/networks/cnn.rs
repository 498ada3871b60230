//! The convolutional network that `crates/native/src/vision/cnn.rs` describes.

use super::he;
use crate::parameters::{ParameterId, Parameters, Start};
use crate::tape::{BatchNorm, Classifier, Convolution, Geometry, Tape, Var};

const EPSILON: f32 = 1e-5;
const WINDOW: Convolution = Convolution { side: 3, stride: 1, padding: 1 };

/// The sizes of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub(crate) image_size: usize,
    /// Inputs of the first convolution, then outputs of each.
    pub(crate) channels: Vec<usize>,
    pub(crate) num_classes: usize,
}

/// A network.
#[derive(Debug)]
pub(crate) struct Cnn {
    pub(crate) sizes: Sizes,
    layers: Vec<(ParameterId, BatchNorm)>,
    classifier: Classifier,
}

impl Cnn {
    /// Adds the weights.
    pub(crate) fn new(sizes: Sizes, parameters: &mut Parameters) -> Cnn {
        let mut layers = Vec::new();
        for (layer, widths) in (1..).zip(sizes.channels.windows(2)) {
            let start = Start::Normal(he(9 * widths[0]));
            let weight = parameters.convolution(&format!("conv{layer}.weight"), [widths[1], widths[0], 3], start);
            let name = |part: &str| format!("bn{layer}.{part}");
            let norm = BatchNorm {
                gain: parameters.row(&name("weight"), widths[1], 1.0),
                bias: parameters.row(&name("bias"), widths[1], 0.0),
                running_mean: parameters.statistic(&name("running_mean"), widths[1], 0.0),
                running_variance: parameters.statistic(&name("running_var"), widths[1], 1.0),
                epsilon: EPSILON,
            };
            layers.push((weight, norm));
        }
        let width = sizes.channels.last().copied().unwrap_or(1);
        let start = Start::Normal((1.0 / width as f32).sqrt());
        let weight = parameters.matrix("fc.weight", sizes.num_classes, width, start);
        let classifier = Classifier { weight, bias: Some(parameters.row("fc.bias", sizes.num_classes, 0.0)) };
        Cnn { sizes, layers, classifier }
    }

    /// Returns what makes logits of features.
    pub(crate) fn classifier(&self) -> Classifier {
        self.classifier
    }

    /// Returns the features of images, a pixel a row.
    pub(crate) fn run(&self, tape: &mut Tape<'_>, pixels: Var, images: usize, dropout: f32) -> Var {
        let side = self.sizes.image_size;
        let (mut hidden, mut geometry) = (pixels, Geometry { images, height: side, width: side });
        for (weight, norm) in &self.layers {
            let (convolved, of_output) = tape.convolve(hidden, geometry, WINDOW, *weight, None);
            let normed = tape.batch_norm_relu(convolved, *norm);
            (hidden, geometry) = tape.max_pool(normed, of_output);
        }
        let features = tape.average_pool(hidden, geometry);
        tape.dropout(features, dropout);
        features
    }
}
