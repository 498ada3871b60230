//! The runtime port: what reads a format, and what a loaded model can do.
//!
//! A runtime turns files into one of a few small traits. The engine builds tokenizers, decoding loops, pre- and
//! post-processing on top of these and never sees a tensor library.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::{Digest, Framework, ManifestPath, ModelType, QuantizationType, Result};

mod denoiser;
mod embedder;
mod noise_schedule;
mod plans;
mod pooling;
mod problem;
mod tensor;
mod text_executor;

pub use denoiser::{Denoiser, DenoiserInfo, Prediction};
pub use embedder::{Embedder, EmbedderInfo, Prompts};
pub use noise_schedule::cosine_shares;
pub use plans::{PlanStatistics, StoredPlan};
pub use pooling::{Pooling, normalise_vector};
pub use problem::{
    Conflict, ConstraintInfo, ConstraintValue, DeclaredProblem, Direction, Outcome, ParameterInfo, ProblemInfo,
    Relation, Solution, SolveLimits, VariableInfo, VariableKind, VariableValue,
};
pub use tensor::{Tensor, TensorData, TensorSpec, TensorType, check_inputs};
pub use text_executor::{Logits, SequenceId, StepPart, TextExecutor, Wanted};

/// Loads the formats and families it knows.
pub trait Runtime: Send + Sync {
    /// Returns the name under which errors and logs mention this runtime.
    fn name(&self) -> &'static str;

    /// Returns the formats that this runtime recognises by their content.
    fn formats(&self) -> &[Framework];

    /// Describes files from their headers, or returns `None` when the format is not one of this runtime's.
    ///
    /// # Errors
    /// [`Error::Malformed`](crate::Error::Malformed) when the files are of a known format but broken or hostile,
    /// naming the file, what was found and what was expected.
    fn inspect(&self, files: &LocalFiles) -> Result<Option<Inspection>>;

    /// Makes files ready to compute with. The caller has verified their digests.
    ///
    /// # Errors
    /// [`Error::Malformed`](crate::Error::Malformed) as for `inspect`; [`Error::Unsupported`](crate::Error::Unsupported)
    /// naming the architecture, tensor type or attribute that is not implemented.
    fn load(&self, files: &LocalFiles, options: &LoadOptions) -> Result<LoadedModel>;

    /// Reads a problem that stands in no file, or returns `None` when this runtime solves none.
    ///
    /// # Errors
    /// [`Error::Malformed`](crate::Error::Malformed) saying what is wrong with the document.
    fn problem(&self, _document: &[u8]) -> Result<Option<Arc<dyn DeclaredProblem>>> {
        Ok(None)
    }

    /// Fetches what it keeps of earlier loads of these files, while the caller verifies them. It is there for [`load`](Runtime::load)
    /// until the returned value is dropped. The files themselves are not read: their digests may turn out to be wrong.
    fn fetch_plan(&self, _files: &LocalFiles) -> Box<dyn Send> {
        Box::new(())
    }

    /// Returns what came of its plans.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) when the place of the plans cannot be listed.
    fn plan_statistics(&self) -> Result<PlanStatistics> {
        Ok(PlanStatistics::default())
    }

    /// Returns the plans on the disk, those that will not be used among them.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) when the place of the plans cannot be listed.
    fn stored_plans(&self) -> Result<Vec<StoredPlan>> {
        Ok(Vec::new())
    }

    /// Removes a plan from the disk. One that is gone already is no error; loaded versions keep what they use.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) when the system refuses.
    fn remove_plan(&self, _name: &str) -> Result<()> {
        Ok(())
    }
    /// Gives memory that was freed back to the system, where an allocator would keep it for later. Called after a model is gone.
    fn return_freed_memory(&self) {}
}

/// The files of a version where a runtime can map them.
#[derive(Debug, Clone)]
pub struct LocalFiles(pub Vec<LocalFile>);

/// One of them.
#[derive(Debug, Clone)]
pub struct LocalFile {
    /// Where it stands within the version; errors name this, not the local path.
    pub path: ManifestPath,
    /// Where its bytes are.
    pub local: PathBuf,
    /// What its bytes hash to, as the manifest says.
    pub digest: Digest,
}

/// How to load.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// The hyper-parameters of the record.
    pub metadata: Map<String, Value>,
}

/// What the headers of a version's files say. Every value was read or counted, none was claimed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Inspection {
    /// The format, by content.
    pub framework: Framework,
    /// What a model of this architecture is for.
    pub model_type: ModelType,
    /// The architecture, e.g. `llama`; `None` when the tensors are of no family this runtime knows.
    pub architecture: Option<String>,
    /// Hyper-parameters in the record's names.
    pub hyper_parameters: Map<String, Value>,
    /// How many tensors there are.
    pub tensor_count: u64,
    /// How many numbers they hold.
    pub parameter_count: u64,
    /// How many tensors there are of each type, e.g. `Q4_1: 210`.
    pub tensor_types: BTreeMap<String, u64>,
    /// How the weights of a file that this program quantised are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantization: Option<QuantizationType>,
    /// Why this runtime cannot load the model; `None` when it can.
    pub not_servable_because: Option<String>,
    /// Why it could not without a library that has to be installed; `None` when it can. The files alone decide, whether the library is
    /// there or not.
    pub needs_library_because: Option<String>,
}

impl Inspection {
    /// Returns the record's field `inspected`, with the reason why the version cannot be served, if there is one.
    ///
    /// What is served only with a library has its reason in any case: the record stays as true when the library comes or goes.
    pub fn to_field(&self, not_servable_because: Option<&str>) -> Value {
        let not_servable_because = not_servable_because.or(self.needs_library_because.as_deref());
        let mut field = json!({
            "architecture": self.architecture,
            "tensor_count": self.tensor_count,
            "parameter_count": self.parameter_count,
            "tensor_types": self.tensor_types,
            "not_servable_because": not_servable_because,
        });
        if let Some(quantization) = self.quantization {
            field["quantization"] = quantization.as_str().into();
        }
        field
    }
}

/// A loaded model.
#[derive(Clone)]
pub enum LoadedModel {
    /// Tokens in, logits out, with a cache.
    Text(Arc<dyn TextModel>),
    /// Named tensors in, named tensors out.
    Tensor(Arc<dyn TensorModel>),
    /// Parameters in, a solution out.
    Problem(Arc<dyn DeclaredProblem>),
    /// Noisy images in, what the noise is out.
    Diffusion(Arc<dyn Denoiser>),
    /// Tokens in, one vector for all of them out.
    Embedding(Arc<dyn Embedder>),
}

impl LoadedModel {
    /// Returns the bytes that the model holds now: weights, packed or mapped, and caches.
    pub fn memory_bytes(&self) -> u64 {
        match self {
            LoadedModel::Text(model) => model.memory_bytes(),
            LoadedModel::Tensor(model) => model.memory_bytes(),
            LoadedModel::Problem(problem) => problem.memory_bytes(),
            LoadedModel::Diffusion(model) => model.memory_bytes(),
            LoadedModel::Embedding(model) => model.memory_bytes(),
        }
    }

    /// Returns what computes it, where its runtime has several ways.
    pub fn computed_by(&self) -> Option<&str> {
        match self {
            LoadedModel::Text(_) | LoadedModel::Problem(_) | LoadedModel::Diffusion(_) | LoadedModel::Embedding(_) => {
                None
            }
            LoadedModel::Tensor(model) => model.computed_by(),
        }
    }
}

/// A decoder language model.
pub trait TextModel: Send + Sync {
    /// Returns what the engine must know to drive the model.
    fn info(&self) -> &TextModelInfo;

    /// Returns what runs sequences of the model, with a cache of its own. Nothing heavy may be copied for it: weights are shared.
    ///
    /// # Errors
    /// [`Error::Unavailable`](crate::Error::Unavailable) when there is no memory for it.
    fn executor(&self) -> Result<Box<dyn TextExecutor>>;

    /// Returns the bytes that the model holds now, its executors and their caches included. Cheap: it is asked often.
    fn memory_bytes(&self) -> u64;
}

/// What the engine must know about a language model.
#[derive(Debug, Clone)]
pub struct TextModelInfo {
    /// Number of token ids, and length of the logits.
    pub vocab_size: usize,
    /// The longest sequence, in tokens.
    pub context_length: usize,
    /// How text becomes token ids.
    pub tokenizer: TokenizerSpec,
    /// The Jinja template that turns messages into a prompt, if the model has one.
    pub chat_template: Option<String>,
}

/// A tokenizer as a model file describes it.
#[derive(Debug, Clone)]
pub struct TokenizerSpec {
    /// The algorithm with its tables.
    pub model: TokenizerModel,
    /// How text is cut before the algorithm runs, by llama.cpp's name (`tokenizer.ggml.pre`), e.g. `smollm`; empty where the
    /// model says so itself.
    pub pre_tokenizer: String,
    /// Token that starts a text.
    pub bos: Option<u32>,
    /// Token that ends a text; generation stops here.
    pub eos: Option<u32>,
    /// Further tokens at which generation stops (end of turn).
    pub stop: Vec<u32>,
    /// Whether a plain prompt is preceded by `bos`.
    pub add_bos: bool,
}

/// The algorithm of a tokenizer.
#[derive(Debug, Clone)]
pub enum TokenizerModel {
    /// Byte-level byte-pair encoding (Radford et al. 2019): bytes are written as printable characters.
    ByteLevelBpe {
        /// Token texts by id, in byte-level characters; control tokens as they are.
        tokens: Vec<String>,
        /// Merge rules `left right`, most important first.
        merges: Vec<String>,
        /// Ids of control tokens (`<|im_start|>` …): matched whole in templates, never printed.
        control: Vec<u32>,
        /// Ids of tokens that were added to the vocabulary: matched whole in every text, printed as they are.
        added: Vec<u32>,
    },
    /// Byte-pair encoding by the scores of tokens, as llama.cpp reads SentencePiece models: of all neighbours that make a token, those
    /// with the highest score become one.
    ScoredBpe {
        /// Token texts by id, with `▁` for a space; control tokens as they are.
        tokens: Vec<String>,
        /// A score for each token.
        scores: Vec<f32>,
        /// Ids of the tokens `<0x00>` to `<0xFF>`, as far as there are any, for what has no token.
        bytes: Vec<u32>,
        /// Whether a text begins with a space that is not written.
        add_space: bool,
        /// Ids of control tokens: matched whole in templates, never printed.
        control: Vec<u32>,
        /// Ids of tokens that were added to the vocabulary: matched whole in every text, printed as they are.
        added: Vec<u32>,
    },
    /// What the `tokenizers` library reads: it cuts and encodes text as the file says.
    HuggingFace {
        /// The text of `tokenizer.json`.
        json: String,
        /// Token texts by id, as the file writes them; empty where an id has none.
        tokens: Vec<String>,
        /// How the texts of tokens stand for bytes.
        token_text: TokenText,
        /// Ids of special tokens: matched whole in templates, never printed.
        control: Vec<u32>,
        /// Ids of added tokens that are not special: matched whole in every text, printed as they are.
        added: Vec<u32>,
    },
}

/// How the text of a token stands for bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenText {
    /// One printable character for each byte (Radford et al. 2019).
    ByteLevel,
    /// As it is, with `▁` for a space and `<0x0A>` for a byte (SentencePiece).
    SentencePiece,
}

impl TokenizerModel {
    /// Returns the token texts by id.
    pub fn tokens(&self) -> &[String] {
        match self {
            TokenizerModel::ByteLevelBpe { tokens, .. }
            | TokenizerModel::ScoredBpe { tokens, .. }
            | TokenizerModel::HuggingFace { tokens, .. } => tokens,
        }
    }

    /// Returns the ids of tokens that are matched whole in templates and never printed.
    pub fn control(&self) -> &[u32] {
        match self {
            TokenizerModel::ByteLevelBpe { control, .. }
            | TokenizerModel::ScoredBpe { control, .. }
            | TokenizerModel::HuggingFace { control, .. } => control,
        }
    }

    /// Returns the ids of tokens that are matched whole in every text and printed as they are.
    pub fn added(&self) -> &[u32] {
        match self {
            TokenizerModel::ByteLevelBpe { added, .. }
            | TokenizerModel::ScoredBpe { added, .. }
            | TokenizerModel::HuggingFace { added, .. } => added,
        }
    }

    /// Returns how the texts of tokens stand for bytes.
    pub fn token_text(&self) -> TokenText {
        match self {
            TokenizerModel::ByteLevelBpe { .. } => TokenText::ByteLevel,
            TokenizerModel::ScoredBpe { .. } => TokenText::SentencePiece,
            TokenizerModel::HuggingFace { token_text, .. } => *token_text,
        }
    }
}

/// A model that computes named tensors from named tensors.
pub trait TensorModel: Send + Sync {
    /// Returns the tensors it takes.
    fn inputs(&self) -> &[TensorSpec];

    /// Returns the tensors it gives.
    fn outputs(&self) -> &[TensorSpec];

    /// Returns what its files say about the model in the words of a record's `metadata`, as far as the engine acts on it:
    /// `preprocess` and `labels` of image classifiers.
    fn declared(&self) -> Map<String, Value> {
        Map::new()
    }

    /// Returns whether the first dimension of every input and output counts rows that have nothing to do with each other: each
    /// has the same numbers, bit for bit, whatever stands beside it. Inputs of several callers are computed together only then.
    fn rows_are_independent(&self) -> bool {
        false
    }

    /// Computes the outputs, in the order of [`outputs`](TensorModel::outputs).
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) when a tensor is missing, superfluous or of the wrong type or shape, with both values.
    fn run(&self, inputs: &[(&str, &Tensor)]) -> Result<Vec<Tensor>>;

    /// Returns the bytes that the model holds between calls. Cheap: it is asked often.
    fn memory_bytes(&self) -> u64;

    /// Returns what computes it, with its version, where a runtime has several ways.
    fn computed_by(&self) -> Option<&str> {
        None
    }
}
