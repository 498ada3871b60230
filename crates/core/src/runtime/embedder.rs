//! Models that give one vector for a whole text.

use std::collections::BTreeMap;

use crate::Result;

/// A sentence encoder: tokens in, a vector out. How the vectors of tokens become one, and whether it has the length 1, is the
/// model's affair.
pub trait Embedder: Send + Sync {
    /// Returns what the engine must know to drive the model.
    fn info(&self) -> &EmbedderInfo;

    /// Returns a vector for each sequence of token ids. A vector is the same, bit for bit, whatever stands beside its sequence.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for a sequence that is empty or too long, or an id that the model does not have,
    /// with both values.
    fn embed(&self, sequences: &[&[u32]]) -> Result<Vec<Vec<f32>>>;

    /// Returns the bytes that the model holds now. Cheap: it is asked often.
    fn memory_bytes(&self) -> u64;
}

/// What the engine must know about a sentence encoder.
#[derive(Debug, Clone)]
pub struct EmbedderInfo {
    /// The text of `tokenizer.json`, which the `tokenizers` library reads.
    pub tokenizer: String,
    /// Whether texts are written in small letters before the tokenizer sees them, whatever it does itself.
    pub lower_case: bool,
    /// The longest sequence, in tokens, special ones included. A longer text is cut.
    pub longest_sequence: usize,
    /// Numbers of a vector.
    pub dimensions: usize,
    /// What stands before texts of one kind (queries, documents).
    pub prompts: Prompts,
}

/// Named beginnings of texts, as a model was trained with them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prompts {
    /// Beginnings by name.
    pub texts: BTreeMap<String, String>,
    /// The name of the one that is used unless another is asked for.
    pub default: Option<String>,
}
