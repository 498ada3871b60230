//! Vision transformers as `crates/native/src/vision/vit/original.rs` describes them.

use super::DEVIATION;
use crate::numbers::Activation;
use crate::parameters::{ParameterId, Parameters, Start};
use crate::tape::{Attention, Classifier, Tape, Var};

const EPSILON: f32 = 1e-6;

/// The sizes of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub(crate) image_size: usize,
    pub(crate) image_channels: usize,
    pub(crate) patch_size: usize,
    pub(crate) num_classes: usize,
    pub(crate) width: usize,
    pub(crate) heads: usize,
    pub(crate) layers: usize,
    pub(crate) inner: usize,
}

impl Sizes {
    fn patches(&self) -> usize {
        (self.image_size / self.patch_size).pow(2)
    }

    /// Returns the numbers of a patch.
    pub(crate) fn patch_length(&self) -> usize {
        self.image_channels * self.patch_size * self.patch_size
    }
}

/// A network.
#[derive(Debug)]
pub(crate) struct Vit {
    pub(crate) sizes: Sizes,
    patches: [ParameterId; 2],
    token: ParameterId,
    positions: ParameterId,
    layers: Vec<Layer>,
    final_norm: [ParameterId; 2],
    classifier: Classifier,
}

/// Weights and biases.
#[derive(Debug)]
struct Layer {
    attention_norm: [ParameterId; 2],
    inputs: [ParameterId; 2],
    attention_output: [ParameterId; 2],
    feed_forward_norm: [ParameterId; 2],
    up: [ParameterId; 2],
    down: [ParameterId; 2],
}

impl Vit {
    /// Adds the weights.
    pub(crate) fn new(sizes: Sizes, parameters: &mut Parameters) -> Vit {
        let Sizes { width, inner, .. } = sizes;
        let start = Start::Normal(DEVIATION);
        let names = |name: &str| ["weight", "bias"].map(|part| format!("{name}.{part}"));
        let norm = |name: &str, parameters: &mut Parameters| {
            let [gain, bias] = names(name);
            [parameters.row(&gain, width, 1.0), parameters.row(&bias, width, 0.0)]
        };
        let matrix = |name: &str, outputs, inputs, parameters: &mut Parameters| {
            let [weight, bias] = names(name);
            [parameters.matrix(&weight, outputs, inputs, start), parameters.row(&bias, outputs, 0.0)]
        };
        let patch = sizes.patch_length() as f32;
        let patches = [
            parameters.patches(
                "patch_embedding.weight",
                [width, sizes.image_channels, sizes.patch_size],
                Start::Normal(1.0 / patch.sqrt()),
            ),
            parameters.row("patch_embedding.bias", width, 0.0),
        ];
        let token = parameters.table("class_token", &[1, 1, width], start);
        let positions = parameters.table("position_embedding", &[1, sizes.patches() + 1, width], start);
        let layer = |layer: usize| {
            let name = |part: &str| format!("layers.{layer}.{part}");
            let parts =
                |end: &str| ["query", "key", "value"].map(|part| (name(&format!("attention.{part}.{end}")), width));
            // Xavier's deviation: these networks are small, and with that of language models they learn slowly at first.
            let joined = Start::Normal((1.0 / width as f32).sqrt());
            Layer {
                attention_norm: norm(&name("attention_norm"), parameters),
                inputs: [parameters.joined(&parts("weight"), width, joined), parameters.rows(&parts("bias"), 0.0)],
                attention_output: matrix(&name("attention.output"), width, width, parameters),
                feed_forward_norm: norm(&name("feed_forward_norm"), parameters),
                up: matrix(&name("feed_forward.up"), inner, width, parameters),
                down: matrix(&name("feed_forward.down"), width, inner, parameters),
            }
        };
        let layers = (0..sizes.layers).map(layer).collect();
        let final_norm = norm("final_norm", parameters);
        let [weight, bias] = matrix("classifier", sizes.num_classes, width, parameters);
        Vit {
            sizes,
            patches,
            token,
            positions,
            layers,
            final_norm,
            classifier: Classifier { weight, bias: Some(bias) },
        }
    }

    /// Returns what makes logits of features.
    pub(crate) fn classifier(&self) -> Classifier {
        self.classifier
    }

    /// Returns the features of images that are cut into patches, a patch a row.
    pub(crate) fn run(&self, tape: &mut Tape<'_>, patches: Var, images: usize, dropout: f32) -> Var {
        let Sizes { width, heads, .. } = self.sizes;
        let length = self.sizes.patches() + 1;
        let attention =
            Attention { length, heads, key_value_heads: heads, head_width: width / heads, is_causal: false };
        let embedded = tape.linear(patches, self.patches[0], Some(self.patches[1]));
        let mut hidden = tape.with_class_token(embedded, self.token, self.positions, images);
        tape.dropout(hidden, dropout);
        for layer in &self.layers {
            let normed = tape.layer_norm(hidden, layer.attention_norm[0], layer.attention_norm[1], EPSILON);
            let inputs = tape.linear(normed, layer.inputs[0], Some(layer.inputs[1]));
            let attended = tape.attend(inputs, attention);
            hidden = add_part(tape, hidden, attended, layer.attention_output, dropout);
            let normed = tape.layer_norm(hidden, layer.feed_forward_norm[0], layer.feed_forward_norm[1], EPSILON);
            let up = tape.linear(normed, layer.up[0], Some(layer.up[1]));
            let inner = tape.activate(up, Activation::Gelu);
            hidden = add_part(tape, hidden, inner, layer.down, dropout);
        }
        let first = tape.first_rows(hidden, images);
        tape.layer_norm(first, self.final_norm[0], self.final_norm[1], EPSILON)
    }

    /// Cuts an image with channels side by side into patches as rows: channel, row, column, as the weights of a convolution lie.
    pub(crate) fn cut(&self, image: &[f32], patches: &mut [f32]) {
        let Sizes { image_size, image_channels, patch_size, .. } = self.sizes;
        let grid = image_size / patch_size;
        for (place, patch) in patches.chunks_exact_mut(self.sizes.patch_length()).enumerate() {
            let (top, left) = (place / grid * patch_size, place % grid * patch_size);
            for (place, number) in patch.iter_mut().enumerate() {
                let (channel, pixel) = (place / (patch_size * patch_size), place % (patch_size * patch_size));
                let (row, column) = (top + pixel / patch_size, left + pixel % patch_size);
                *number = image[(row * image_size + column) * image_channels + channel];
            }
        }
    }
}

fn add_part(tape: &mut Tape<'_>, hidden: Var, input: Var, [weight, bias]: [ParameterId; 2], dropout: f32) -> Var {
    if dropout > 0.0 && tape.is_training() {
        let part = tape.linear(input, weight, Some(bias));
        tape.dropout(part, dropout);
        return tape.add(hidden, part);
    }
    tape.add_linear(hidden, input, weight, Some(bias))
}
