//! Vision transformers (Dosovitskiy et al. 2020, <https://arxiv.org/abs/2010.11929>).
//!
//! ```text
//! patches -> linear, + class token, + positions -> layers -> norm of the class token -> linear
//! layer:  x = x + attention(norm(x));  x = x + down(gelu(up(norm(x))))
//! ```
//!
//! Two ways of writing one are read: [`original`], and folders of the transformers library. They differ in the names of tensors.
//! What follows the last attention is computed for the class tokens alone.

mod forward;
mod graph;
mod names;
pub(super) mod original;

use seedhouse_core::{Error, Result};
use seedhouse_kernels::{MutualAttention, Nonlinearity};
use serde_json::{Map, Value};

use self::forward::{Layer, Vit};
pub(super) use self::names::{HUGGING_FACE, Names};
use super::network::{Description, Drawn, Network};
use crate::export::builder::GraphBuilder;
use crate::layers::{Compile, Convolution, Expected, LayerNorm, Linear, Square, Weights};

/// The name of the architecture.
pub(super) const ARCHITECTURE: &str = "vit";

/// What tensors do not say.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    pub(super) heads: usize,
    /// What layer norms add to the variance.
    pub(super) epsilon: f32,
    pub(super) nonlinearity: Nonlinearity,
}

/// The sizes of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sizes {
    pub(super) image_size: usize,
    pub(super) patch_size: usize,
    pub(super) image_channels: usize,
    pub(super) width: usize,
    pub(super) layers: usize,
    pub(super) feed_forward_width: usize,
    pub(super) num_classes: usize,
}

impl Sizes {
    /// Returns the patches of a side.
    fn grid(&self) -> usize {
        self.image_size / self.patch_size
    }

    /// Returns the rows of an image: its patches and the class token.
    fn rows(&self) -> usize {
        self.grid() * self.grid() + 1
    }
}

/// More layers than any network has.
const MOST_LAYERS: usize = 1000;

/// A network by its tensors.
pub(super) struct Layout {
    pub(super) sizes: Sizes,
    settings: Settings,
    names: &'static Names,
}

impl Layout {
    /// Reads the sizes.
    ///
    /// # Errors
    /// [`Error::Malformed`] for tensors that are missing or contradict each other.
    pub(super) fn read(
        weights: &Weights<'_>,
        names: &'static Names,
        settings: impl FnOnce(usize) -> Result<Settings>,
    ) -> Result<Layout> {
        let patches = format!("{}.weight", names.patches);
        let shape @ [width, image_channels, patch_size, across] = weights.sizes::<4>(&patches)?;
        if patch_size != across {
            return Err(weights.wrong_shape(&patches, &shape, "square patches"));
        }
        let positions = weights.sizes::<3>(names.positions)?;
        let grid = (positions[1] - 1).isqrt();
        let image_size = grid.checked_mul(patch_size).filter(|_| grid > 0 && grid * grid + 1 == positions[1]);
        let Some(image_size) = image_size else {
            let expected = "one position for the class token and one for each patch of a square";
            return Err(weights.wrong_shape(names.positions, &positions, expected));
        };
        let is_there = |layer: &usize| weights.tensors.has(&format!("{}.weight", names.layer(*layer, names.up)));
        let [feed_forward_width, _] = weights.sizes(&format!("{}.weight", names.layer(0, names.up)))?;
        let [num_classes, _] = weights.sizes(&format!("{}.weight", names.classifier))?;
        let layers = (0..MOST_LAYERS).take_while(is_there).count();
        let sizes = Sizes { image_size, patch_size, image_channels, width, layers, feed_forward_width, num_classes };
        let settings = settings(width)?;
        if !width.is_multiple_of(settings.heads) {
            let reason = format!("{} heads cannot share the width {width} of tensor `{patches}`", settings.heads);
            return Err(Error::malformed(weights.tensors.subject(), reason));
        }
        Ok(Layout { sizes, settings, names })
    }

    fn layer(&self, weights: &Weights<'_>, compile: &Compile, layer: usize) -> Result<Layer> {
        let name = |part: &str| self.names.layer(layer, part);
        let [query, key, value] = self.names.inputs.map(name);
        let norm = |part| LayerNorm::read(weights, &name(part), self.settings.epsilon);
        Ok(Layer {
            attention_norm: norm(self.names.attention_norm)?,
            inputs: Linear::read(weights, compile, &[query, key, value])?,
            attention_output: Linear::read(weights, compile, &[name(self.names.attention_output)])?,
            feed_forward_norm: norm(self.names.feed_forward_norm)?,
            up: Linear::read(weights, compile, &[name(self.names.up)])?,
            down: Linear::read(weights, compile, &[name(self.names.down)])?,
        })
    }
}

impl Description for Layout {
    fn hyper_parameters(&self) -> Map<String, Value> {
        Map::from_iter([
            ("model_type".to_owned(), ARCHITECTURE.into()),
            ("image_size".to_owned(), self.sizes.image_size.into()),
            ("image_channels".to_owned(), self.sizes.image_channels.into()),
            ("num_classes".to_owned(), self.sizes.num_classes.into()),
            ("base_channels".to_owned(), self.sizes.width.into()),
            ("num_layers".to_owned(), self.sizes.layers.into()),
        ])
    }

    fn expected(&self) -> Expected {
        let (sizes, names, width) = (&self.sizes, self.names, self.sizes.width);
        let mut expected = Expected::default();
        expected.layer(names.patches, &[width, sizes.image_channels, sizes.patch_size, sizes.patch_size]);
        expected.tensor(names.class_token, &[1, 1, width]);
        expected.tensor(names.positions, &[1, sizes.rows(), width]);
        for layer in 0..sizes.layers {
            let mut add = |part, shape: &[usize]| expected.layer(&names.layer(layer, part), shape);
            add(names.attention_norm, &[width]);
            names.inputs.into_iter().for_each(|part| add(part, &[width, width]));
            add(names.attention_output, &[width, width]);
            add(names.feed_forward_norm, &[width]);
            add(names.up, &[sizes.feed_forward_width, width]);
            add(names.down, &[width, sizes.feed_forward_width]);
        }
        expected.layer(names.final_norm, &[width]);
        expected.layer(names.classifier, &[sizes.num_classes, width]);
        expected
    }

    fn draw(&self, weights: &Weights<'_>, graph: &mut GraphBuilder<'_>) -> Result<Drawn> {
        graph::draw(self, weights, graph)
    }

    fn build(&self, weights: &Weights<'_>, compile: &Compile) -> Result<Box<dyn Network>> {
        let (sizes, names) = (self.sizes, self.names);
        let square = Square::new(sizes.patch_size, sizes.patch_size, 0);
        let patches = Convolution::of_patches(weights, compile, names.patches, square, None)?;
        // The class token is a row like any other, so its position is added here.
        let mut positions = weights.values(names.positions)?;
        let token = weights.values(names.class_token)?;
        positions.iter_mut().zip(&token).for_each(|(position, number)| *position += number);
        let head_width = sizes.width / self.settings.heads;
        let scale = (1.0 / (head_width as f64).sqrt()) as f32;
        Ok(Box::new(Vit {
            sizes,
            attention: MutualAttention { heads: self.settings.heads, head_width, scale },
            nonlinearity: self.settings.nonlinearity,
            patches,
            positions,
            layers: (0..sizes.layers).map(|layer| self.layer(weights, compile, layer)).collect::<Result<_>>()?,
            final_norm: LayerNorm::read(weights, names.final_norm, self.settings.epsilon)?,
            classifier: Linear::read(weights, compile, &[names.classifier.to_owned()])?,
        }))
    }
}
