//! Sentence encoders: texts become tokens, tokens a vector for each text.
//!
//! ```text
//! text_cutting     the tokenizer of the model, and where a text ends that is too long
//! joining          texts of several callers as one batch
//! graph_encoder    a tensor model (an ONNX graph) as a sentence encoder, where the record declares one
//! ```

mod graph_encoder;
mod joining;
#[cfg(test)]
mod tests;
mod text_cutting;

use std::sync::Arc;
use std::time::{Duration, Instant};

use seedhouse_core::runtime::{Embedder, EmbedderInfo, LocalFiles};
use seedhouse_core::{Error, Result};
use serde_json::{Map, Value};

use self::graph_encoder::GraphEncoder;
use self::joining::{EncoderQueue, Sequences};
use self::text_cutting::TextCutting;
use crate::batching::Answered;
use crate::tensors::served::ServedTensors;
use crate::{BatchSettings, BatchStatistics, Patience};

/// The most texts of one request.
const MOST_TEXTS: usize = 2048;

/// The most tokens of all texts of a request, after long ones were cut.
const MOST_TOKENS: usize = 131_072;

/// The most bytes of a text. What lies beyond the longest sequence would be cut, but is made tokens of first.
const MOST_TEXT_BYTES: usize = 1 << 20;

/// Tokens after which a request looks whether it is still wanted.
const TOKENS_BETWEEN_LOOKS: usize = 4096;

/// Texts whose vectors are wanted.
#[derive(Debug, Clone, Default)]
pub struct EmbedRequest {
    /// The texts; an empty one is as good as any other.
    pub texts: Vec<String>,
    /// The name of what stands before each text, among those that the model knows; the model's own choice without it.
    pub prompt: Option<String>,
}

/// The vector of a text.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedding {
    /// Its numbers, all finite.
    pub vector: Vec<f32>,
    /// The tokens that it was computed from, special ones included.
    pub tokens: usize,
    /// Whether the text was longer than that.
    pub truncated: bool,
}

/// Vectors of texts.
#[derive(Debug, Clone, PartialEq)]
pub struct Embeddings {
    /// One for each text, in their order.
    pub embeddings: Vec<Embedding>,
    /// Numbers of a vector.
    pub dimensions: usize,
    /// The part of the time in the queue of the model.
    pub queue_seconds: f64,
    /// Time for tokens and vectors.
    pub seconds: f64,
}

/// A model with its tokenizer.
pub(crate) struct SentenceEncoder {
    model_id: String,
    computing: Computing,
    cutting: TextCutting,
}

/// What computes vectors, behind its one queue.
enum Computing {
    /// Texts of several callers together.
    Together { model: Arc<dyn Embedder>, queue: EncoderQueue },
    /// Texts one by one, in the queue of all who ask the graph.
    OneByOne(GraphEncoder),
}

/// What a tensor model can do with sentences.
pub(crate) enum SentenceTask {
    Ready(Box<SentenceEncoder>),
    /// The record declares nothing of the kind.
    Undeclared,
}

impl SentenceEncoder {
    /// Builds the tokenizer.
    ///
    /// # Errors
    /// [`Error::Malformed`] when the library does not take it, or it marks texts in a way that models here do not know.
    pub(crate) fn new(model_id: &str, model: Arc<dyn Embedder>, batching: BatchSettings) -> Result<SentenceEncoder> {
        let queue = EncoderQueue::new(model_id, batching);
        SentenceEncoder::computed(model_id, Computing::Together { model, queue })
    }

    fn computed(model_id: &str, computing: Computing) -> Result<SentenceEncoder> {
        let cutting = TextCutting::new(computing.info())?;
        Ok(SentenceEncoder { model_id: model_id.to_owned(), computing, cutting })
    }

    /// Returns what its queue has done so far.
    pub(crate) fn batch_statistics(&self) -> BatchStatistics {
        match &self.computing {
            Computing::Together { queue, .. } => queue.statistics(),
            Computing::OneByOne(graph) => graph.statistics(),
        }
    }

    /// Returns whether a record declares a tensor model as a sentence encoder, whose inputs are then computed one by one.
    pub(crate) fn is_declared(metadata: &Map<String, Value>) -> bool {
        graph_encoder::is_declared(metadata)
    }

    /// Reads what the record declares of a tensor model, and compares it with the model.
    ///
    /// # Errors
    /// [`Error::Invalid`] when a declaration breaks a rule, [`Error::Unsupported`] when the model or its files do not fit it.
    pub(crate) fn of_graph(
        model_id: &str,
        served: Arc<ServedTensors>,
        metadata: &Map<String, Value>,
        files: &LocalFiles,
    ) -> Result<SentenceTask> {
        match GraphEncoder::declared(served, metadata, files)? {
            None => Ok(SentenceTask::Undeclared),
            Some(graph) => {
                let encoder = SentenceEncoder::computed(model_id, Computing::OneByOne(graph))?;
                Ok(SentenceTask::Ready(Box::new(encoder)))
            }
        }
    }

    /// Computes the vectors of texts.
    ///
    /// # Errors
    /// [`Error::Invalid`] for too many or too long texts, with both values, and for a prompt that the model does not know;
    /// [`Error::DeadlineExceeded`] and [`Error::Cancelled`] when the patience is over; [`Error::Internal`] when the model gives
    /// numbers that are not finite.
    pub(crate) fn embed(&self, request: &EmbedRequest, patience: &Patience) -> Result<Embeddings> {
        let started = Instant::now();
        let texts = &request.texts;
        if texts.is_empty() || texts.len() > MOST_TEXTS {
            return Err(Error::invalid("input", texts.len(), format!("must be 1 to {MOST_TEXTS} texts")));
        }
        let prompt = self.prompt(request.prompt.as_deref())?;
        let mut sequences = Vec::with_capacity(texts.len());
        let mut tokens = 0;
        for (index, text) in texts.iter().enumerate() {
            patience.check(&self.model_id)?;
            let length = prompt.len() + text.len();
            if length > MOST_TEXT_BYTES {
                let rule = format!("a text has at most {MOST_TEXT_BYTES} bytes");
                return Err(Error::invalid(format!("input[{index}]"), format!("{length} bytes"), rule));
            }
            let sequence = self.cutting.sequence(prompt, text)?;
            if sequence.tokens.is_empty() {
                let rule = "the model's tokenizer makes no token of it";
                return Err(Error::invalid(format!("input[{index}]"), text.escape_debug(), rule));
            }
            tokens += sequence.tokens.len();
            if tokens > MOST_TOKENS {
                // What comes after it would be made tokens of only to be refused.
                let rule = format!("the texts of a request have at most {MOST_TOKENS} tokens together");
                return Err(Error::invalid("input", format!("{tokens} tokens in {} texts", index + 1), rule));
            }
            sequences.push(sequence);
        }
        let tokens: Vec<&[u32]> = sequences.iter().map(|sequence| &sequence.tokens[..]).collect();
        let Answered { output: vectors, queued } = self.compute(&tokens, patience)?;
        let embedding = |(sequence, vector): (&text_cutting::Sequence, Vec<f32>)| Embedding {
            vector,
            tokens: sequence.tokens.len(),
            truncated: sequence.is_cut,
        };
        Ok(Embeddings {
            embeddings: sequences.iter().zip(vectors).map(embedding).collect(),
            dimensions: self.computing.info().dimensions,
            queue_seconds: queued.as_secs_f64(),
            seconds: started.elapsed().as_secs_f64(),
        })
    }

    /// Computes the vector of one short text.
    ///
    /// # Errors
    /// As [`embed`](SentenceEncoder::embed).
    pub(crate) fn warm_up(&self) -> Result<()> {
        let request = EmbedRequest { texts: vec!["a".into()], ..EmbedRequest::default() };
        self.embed(&request, &Patience::default()).map(drop)
    }

    /// Returns about how many bytes the tokenizer takes.
    pub(crate) fn table_bytes(&self) -> u64 {
        self.cutting.table_bytes()
    }

    /// Returns what stands before each text.
    fn prompt(&self, asked: Option<&str>) -> Result<&str> {
        let prompts = &self.computing.info().prompts;
        let Some(name) = asked.or(prompts.default.as_deref()) else { return Ok("") };
        prompts.texts.get(name).map(String::as_str).ok_or_else(|| {
            let names: Vec<String> = prompts.texts.keys().map(|name| format!("`{name}`")).collect();
            let known = if names.is_empty() { "no prompts".to_owned() } else { names.join(", ") };
            Error::invalid("prompt_name", name, format!("the model knows {known}"))
        })
    }

    /// Computes some sequences at a time, so that a request that nobody waits for does not go on, and others have their turn.
    fn compute(&self, sequences: &[&[u32]], patience: &Patience) -> Result<Answered<Vec<Vec<f32>>>> {
        let mut vectors = Vec::with_capacity(sequences.len());
        let (mut left, mut queued) = (sequences, Duration::ZERO);
        while !left.is_empty() {
            let (together, rest) = left.split_at(first_share(left));
            let of_share = self.computing.vectors(together, patience)?;
            queued += of_share.queued;
            vectors.extend(of_share.output);
            left = rest;
        }
        let (count, dimensions) = (vectors.len(), self.computing.info().dimensions);
        if count != sequences.len() || vectors.iter().any(|vector| vector.len() != dimensions) {
            let found = vectors.iter().map(Vec::len).max().unwrap_or_default();
            return Err(Error::Internal(format!(
                "`{}` gave {count} vectors of up to {found} numbers for {} texts and {dimensions} dimensions",
                self.model_id,
                sequences.len()
            )));
        }
        match vectors.iter().flatten().find(|number| !number.is_finite()) {
            None => Ok(Answered { output: vectors, queued }),
            Some(number) => Err(Error::Internal(format!("`{}` gave a vector with {number}", self.model_id))),
        }
    }
}

impl Computing {
    fn info(&self) -> &EmbedderInfo {
        match self {
            Computing::Together { model, .. } => model.info(),
            Computing::OneByOne(graph) => graph.info(),
        }
    }

    fn vectors(&self, sequences: &[&[u32]], patience: &Patience) -> Result<Answered<Vec<Vec<f32>>>> {
        match self {
            Computing::Together { model, queue } => {
                let share = Sequences(sequences.iter().map(|sequence| sequence.to_vec()).collect());
                queue.embed(model.as_ref(), share, patience)
            }
            Computing::OneByOne(graph) => {
                let (mut output, mut queued) = (Vec::with_capacity(sequences.len()), Duration::ZERO);
                for sequence in sequences {
                    let of_one = graph.vector(sequence, patience)?;
                    output.push(of_one.output);
                    queued += of_one.queued;
                }
                Ok(Answered { output, queued })
            }
        }
    }
}

/// Returns how many sequences are computed before the next look at the time; at least one.
fn first_share(sequences: &[&[u32]]) -> usize {
    let mut tokens = 0;
    let is_before_the_look = |sequence: &&&[u32]| {
        let before = tokens;
        tokens += sequence.len();
        before < TOKENS_BETWEEN_LOOKS
    };
    sequences.iter().take_while(is_before_the_look).count()
}
