//! BERT (Devlin et al. 2018, <https://arxiv.org/abs/1810.04805>) with the names of transformers' `BertModel`.
//!
//! ```text
//! token + position + type -> norm -> layers
//! layer:  x = norm(x + attention(x));  x = norm(x + down(gelu(up(x))))
//! ```

use seedhouse_core::{Error, Result};
use seedhouse_kernels::{MutualAttention, Nonlinearity};
use serde_json::{Map, Value};

use super::forward::{Bert, Layer};
use super::token_table::TokenTable;
use crate::decoder::huggingface::fields::{Fields, broken};
use crate::layers::{Compile, Expected, LayerNorm, Linear, Part, Weights};
use crate::vision::{check_sizes, nonlinearity};

/// The class of the transformers library.
pub(super) const CLASS: &str = "BertModel";

/// A buffer of the code that old files hold as a tensor.
pub(super) const POSITION_IDS: &str = "embeddings.position_ids";

pub(super) const TOKENS: &str = "embeddings.word_embeddings.weight";
pub(super) const POSITIONS: &str = "embeddings.position_embeddings.weight";
pub(super) const TYPES: &str = "embeddings.token_type_embeddings.weight";
pub(super) const EMBEDDINGS_NORM: &str = "embeddings.LayerNorm";
/// Makes a vector for the class token that sentence encoders do not use.
const POOLER: &str = "pooler.dense";

pub(super) const INPUTS: [&str; 3] = ["attention.self.query", "attention.self.key", "attention.self.value"];
pub(super) const ATTENTION_OUTPUT: &str = "attention.output.dense";
pub(super) const ATTENTION_NORM: &str = "attention.output.LayerNorm";
pub(super) const UP: &str = "intermediate.dense";
pub(super) const DOWN: &str = "output.dense";
pub(super) const OUTPUT_NORM: &str = "output.LayerNorm";

/// What the library assumes where a configuration is silent.
const DEFAULT_HEADS: usize = 12;
const DEFAULT_EPSILON: f64 = 1e-12;

/// More layers than any network has.
const MOST_LAYERS: usize = 1000;

/// Fields that are for training, or for the part after the encoder that is not used.
const OF_NO_CONSEQUENCE: [&str; 9] = [
    "attention_probs_dropout_prob",
    "directionality",
    "hidden_dropout_prob",
    "pooler_fc_size",
    "pooler_num_attention_heads",
    "pooler_num_fc_layers",
    "pooler_size_per_head",
    "pooler_type",
    "tie_word_embeddings",
];

/// The sizes of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sizes {
    pub(super) vocab_size: usize,
    pub(super) positions: usize,
    pub(super) types: usize,
    pub(super) width: usize,
    pub(super) layers: usize,
    pub(super) feed_forward_width: usize,
}

/// A network by its tensors and its configuration.
pub(super) struct Layout {
    pub(super) sizes: Sizes,
    pub(super) heads: usize,
    pub(super) epsilon: f32,
    pub(super) nonlinearity: Nonlinearity,
    has_pooler: bool,
}

pub(super) fn of_layer(layer: usize, part: &str) -> String {
    format!("encoder.layer.{layer}.{part}")
}

impl Layout {
    /// Reads the sizes of the tensors and holds the configuration against them.
    ///
    /// # Errors
    /// [`Error::Malformed`] for tensors that are missing or contradict each other or the configuration, [`Error::Unsupported`]
    /// for a variant that is not computed here.
    pub(super) fn read(fields: &Fields<'_>, weights: &Weights<'_>) -> Result<Layout> {
        let weight = |name: &str| format!("{name}.weight");
        let [vocab_size, width] = weights.sizes(TOKENS)?;
        let [positions, _] = weights.sizes(POSITIONS)?;
        let [types, _] = weights.sizes(TYPES)?;
        let [feed_forward_width, _] = weights.sizes(&weight(&of_layer(0, UP)))?;
        let is_there = |layer: &usize| weights.tensors.has(&weight(&of_layer(*layer, UP)));
        let layers = (0..MOST_LAYERS).take_while(is_there).count();
        let sizes = Sizes { vocab_size, positions, types, width, layers, feed_forward_width };
        check_sizes(
            fields,
            &[
                ("vocab_size", vocab_size),
                ("max_position_embeddings", positions),
                ("type_vocab_size", types),
                ("hidden_size", width),
                ("num_hidden_layers", layers),
                ("intermediate_size", feed_forward_width),
            ],
        )?;
        let heads = fields.size("num_attention_heads")?.unwrap_or(DEFAULT_HEADS);
        if !width.is_multiple_of(heads) {
            let rule = format!("must divide the width, {width}");
            return Err(broken("num_attention_heads", &heads.into(), &rule));
        }
        match fields.text("position_embedding_type")? {
            None | Some("absolute") => {}
            Some(other) => {
                return Err(Error::unsupported(
                    format!("`position_embedding_type` {other:?} of `config.json`"),
                    "positions are a vector for each place (`absolute`)",
                ));
            }
        }
        if fields.boolean("is_decoder")? == Some(true) {
            return Err(Error::unsupported(
                "`is_decoder` true of `config.json`",
                "every token of a sentence encoder sees every other",
            ));
        }
        fields.allow(&OF_NO_CONSEQUENCE);
        Ok(Layout {
            sizes,
            heads,
            epsilon: fields.float("layer_norm_eps")?.unwrap_or(DEFAULT_EPSILON) as f32,
            nonlinearity: nonlinearity(fields, "gelu")?,
            has_pooler: weights.tensors.has(&weight(POOLER)),
        })
    }

    /// Returns what the shapes and the configuration say, in the record's names.
    pub(super) fn hyper_parameters(&self) -> Map<String, Value> {
        Map::from_iter([
            ("vocab_size".to_owned(), self.sizes.vocab_size.into()),
            ("d_model".to_owned(), self.sizes.width.into()),
            ("num_layers".to_owned(), self.sizes.layers.into()),
            ("num_heads".to_owned(), self.heads.into()),
            ("d_ff".to_owned(), self.sizes.feed_forward_width.into()),
        ])
    }

    /// Returns the tensors that the network has.
    pub(super) fn expected(&self) -> Expected {
        let Sizes { vocab_size, positions, types, width, layers, feed_forward_width } = self.sizes;
        let mut expected = Expected::default();
        expected.add(TOKENS, &[vocab_size, width], Part::Table);
        expected.tensor(POSITIONS, &[positions, width]);
        expected.tensor(TYPES, &[types, width]);
        expected.layer(EMBEDDINGS_NORM, &[width]);
        for layer in 0..layers {
            let mut add = |part, shape: &[usize]| expected.layer(&of_layer(layer, part), shape);
            INPUTS.into_iter().for_each(|part| add(part, &[width, width]));
            add(ATTENTION_OUTPUT, &[width, width]);
            add(ATTENTION_NORM, &[width]);
            add(UP, &[feed_forward_width, width]);
            add(DOWN, &[width, feed_forward_width]);
            add(OUTPUT_NORM, &[width]);
        }
        if self.has_pooler {
            expected.layer(POOLER, &[width, width]);
        }
        expected
    }

    /// Reads the weights, which were held against [`Layout::expected`].
    ///
    /// # Errors
    /// [`Error::Malformed`] for values that are not finite.
    pub(super) fn build(&self, weights: &Weights<'_>, compile: &Compile) -> Result<Bert> {
        let width = self.sizes.width;
        // Every token is one of the first sentence, so the vector of that type is a part of each position.
        let mut positions = weights.values(POSITIONS)?;
        let types = weights.values(TYPES)?;
        for position in positions.chunks_exact_mut(width) {
            position.iter_mut().zip(&types).for_each(|(position, number)| *position += number);
        }
        let head_width = width / self.heads;
        let scale = (1.0 / (head_width as f64).sqrt()) as f32;
        Ok(Bert {
            sizes: self.sizes,
            attention: MutualAttention { heads: self.heads, head_width, scale },
            nonlinearity: self.nonlinearity,
            tokens: TokenTable::read(weights, compile, TOKENS, width)?,
            positions,
            embeddings_norm: LayerNorm::read(weights, EMBEDDINGS_NORM, self.epsilon)?,
            layers: (0..self.sizes.layers).map(|layer| self.layer(weights, compile, layer)).collect::<Result<_>>()?,
        })
    }

    fn layer(&self, weights: &Weights<'_>, compile: &Compile, layer: usize) -> Result<Layer> {
        let linear = |parts: &[&str]| {
            let names: Vec<String> = parts.iter().map(|part| of_layer(layer, part)).collect();
            Linear::read(weights, compile, &names)
        };
        let norm = |part| LayerNorm::read(weights, &of_layer(layer, part), self.epsilon);
        Ok(Layer {
            inputs: linear(&INPUTS)?,
            attention_output: linear(&[ATTENTION_OUTPUT])?,
            attention_norm: norm(ATTENTION_NORM)?,
            up: linear(&[UP])?,
            down: linear(&[DOWN])?,
            output_norm: norm(OUTPUT_NORM)?,
        })
    }
}
