//! The architecture of a decoder as plain data. Readers fill it from the words of their format; [`DecoderSpec::check`] makes
//! sure that the numbers fit each other before anything is allocated or computed by them.

use seedhouse_core::{Error, Result};

use super::rotary::Rotary;

/// Positions up to here are exact in f32, in which other programs count them.
pub(super) const LONGEST_CONTEXT: usize = 1 << 24;
/// Every width, and every product of two of them, stays far below what a `usize` holds.
const LARGEST_NUMBER: usize = u32::MAX as usize;

/// The shape of a model and the kinds of its parts.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DecoderSpec {
    /// The family as the file names it, for messages and records.
    pub(crate) architecture: String,
    /// Length of the vector that goes from layer to layer.
    pub(crate) width: usize,
    /// Number of blocks.
    pub(crate) layers: usize,
    /// Number of heads that ask.
    pub(crate) query_heads: usize,
    /// Number of heads that answer; each serves as many query heads as the quotient says.
    pub(crate) key_value_heads: usize,
    /// Length of a head's query, key and value; not always the quotient of width and heads.
    pub(crate) head_width: usize,
    /// Length of the hidden vector of the feed-forward part.
    pub(crate) feed_forward_width: usize,
    /// Number of token ids, of rows of the embedding, and of logits.
    pub(crate) vocab_size: usize,
    /// Longest sequence in tokens.
    pub(crate) context_length: usize,
    /// How vectors are normalised, and where.
    pub(crate) norm: Norm,
    /// Whether the heads of queries and keys are normalised by root mean square, each alone, before they are rotated.
    pub(crate) head_norms: bool,
    /// How tokens learn where they stand.
    pub(crate) positions: Positions,
    /// What lies between attention and the next block.
    pub(crate) feed_forward: FeedForward,
    /// How many tokens a token sees, itself included; `None` when it sees all before it.
    pub(crate) sliding_window: Option<usize>,
    /// Factor of the products of queries and keys.
    pub(crate) attention_scale: f32,
    /// Factor of the embedded tokens.
    pub(crate) embedding_scale: Option<f32>,
    /// Whether logits are products with the token embedding.
    pub(crate) tied_output: bool,
}

/// Normalisation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Norm {
    /// What is normalised away.
    pub(crate) kind: NormKind,
    /// What keeps the divisor from zero.
    pub(crate) epsilon: f32,
    /// Where it stands.
    pub(crate) placement: NormPlacement,
}

/// What a norm takes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NormKind {
    /// The root mean square.
    Rms,
    /// The mean and the standard deviation.
    Layer,
}

/// Where norms stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NormPlacement {
    /// `x + part(norm(x))`, and a norm after the last block.
    Pre,
    /// `norm(x + part(x))`, as in the first transformers.
    Post,
}

/// Positions.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Positions {
    /// A vector per position is added to the embedded token.
    Learned,
    /// Queries and keys are rotated.
    Rotary(Rotary),
}

/// The feed-forward part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FeedForward {
    /// `down(silu(gate(x)) * up(x))`
    GatedSilu,
    /// `down(gelu(gate(x)) * up(x))`, with the error function.
    GatedGelu,
    /// The same with the approximation by a hyperbolic tangent.
    GatedGeluTanh,
    /// `down(gelu(up(x)))`, with the error function.
    Gelu,
    /// The same with the approximation by a hyperbolic tangent.
    GeluTanh,
}

impl FeedForward {
    /// Says whether there is a gate.
    pub(crate) fn is_gated(self) -> bool {
        match self {
            FeedForward::GatedSilu | FeedForward::GatedGelu | FeedForward::GatedGeluTanh => true,
            FeedForward::Gelu | FeedForward::GeluTanh => false,
        }
    }
}

impl DecoderSpec {
    /// Returns the length of a token's queries.
    pub(crate) fn query_width(&self) -> usize {
        self.query_heads * self.head_width
    }

    /// Returns the length of a token's keys, which is that of its values.
    pub(crate) fn key_value_width(&self) -> usize {
        self.key_value_heads * self.head_width
    }

    /// Checks what no tensor can prove wrong. A window that hides nothing is taken away.
    ///
    /// # Errors
    /// [`Error::Malformed`] naming `subject`, the number and what it must be.
    pub(super) fn check(mut self, subject: &str) -> Result<DecoderSpec> {
        let broken = |what: &str, value: String, rule: String| {
            Err(Error::malformed(subject, format!("{what} is {value}, but {rule}")))
        };
        for (what, number) in self.numbers() {
            if !(1..=LARGEST_NUMBER).contains(&number) {
                return broken(what, number.to_string(), "must be between 1 and 2^32 - 1".into());
            }
        }
        if self.context_length > LONGEST_CONTEXT {
            let rule = format!("must be at most {LONGEST_CONTEXT}");
            return broken("its context length", self.context_length.to_string(), rule);
        }
        if !self.query_heads.is_multiple_of(self.key_value_heads) {
            let rule = format!("must be a multiple of its {} key and value heads", self.key_value_heads);
            return broken("its number of heads", self.query_heads.to_string(), rule);
        }
        if !(self.norm.epsilon > 0.0 && self.norm.epsilon < 1.0) {
            return broken("its norm's epsilon", self.norm.epsilon.to_string(), "must be between 0 and 1".into());
        }
        for (what, factor) in [("attention", Some(self.attention_scale)), ("embedding", self.embedding_scale)] {
            if let Some(factor) = factor.filter(|factor| !(factor.is_finite() && *factor > 0.0)) {
                return broken(&format!("its {what} scale"), factor.to_string(), "must be finite and above 0".into());
            }
        }
        if self.sliding_window == Some(0) {
            return broken("its sliding window", "0".into(), "a token sees itself at least".into());
        }
        self.sliding_window = self.sliding_window.filter(|window| *window < self.context_length);
        Ok(self)
    }

    fn numbers(&self) -> [(&'static str, usize); 8] {
        [
            ("its width", self.width),
            ("its number of layers", self.layers),
            ("its number of heads", self.query_heads),
            ("its number of key and value heads", self.key_value_heads),
            ("the width of its heads", self.head_width),
            ("the width of its feed-forward part", self.feed_forward_width),
            ("the size of its vocabulary", self.vocab_size),
            ("its context length", self.context_length),
        ]
    }
}
