//! A tensor model as a sentence encoder: `input_ids`, `attention_mask` and perhaps `token_type_ids` in, vectors of tokens or one
//! vector for the text out. The record declares what a graph does not say:
//!
//! ```text
//! pooling       cls, mean or max of the vectors of tokens; none where the graph gives one for the text
//! normalize     whether vectors are brought to the length 1
//! max_seq_len   the longest sequence in tokens; else what `tokenizer.json` cuts texts to
//! ```
//!
//! Texts are computed one by one: a graph of 8-bit integers chooses its scales by all that it is given, so a text would get
//! another vector in another batch.

use std::sync::Arc;

use seedhouse_core::runtime::{
    EmbedderInfo, LocalFiles, Pooling, Prompts, Tensor, TensorData, TensorModel, TensorSpec, TensorType,
    normalise_vector,
};
use seedhouse_core::{Error, Result};
use serde_json::{Map, Value};

use crate::batching::Answered;
use crate::tensors::served::ServedTensors;
use crate::{BatchStatistics, Patience};

const TOKENIZER: &str = "tokenizer.json";
/// Twice the longest that are known.
const MOST_TOKENIZER_BYTES: u64 = 64 << 20;

const TOKENS: &str = "input_ids";
/// Says which tokens count.
const MASK: &str = "attention_mask";
/// Says to which sentence a token belongs.
const TYPES: &str = "token_type_ids";

/// The way of pooling of a graph that gives one vector for a text.
const IN_THE_GRAPH: &str = "none";

/// The model behind its queue, and what its record declares.
pub(super) struct GraphEncoder {
    served: Arc<ServedTensors>,
    /// The place of the output that counts.
    output: usize,
    /// Nothing where the graph has done it.
    pooling: Option<Pooling>,
    is_normalised: bool,
    info: EmbedderInfo,
}

impl GraphEncoder {
    /// Returns the encoder that a record declares with `pooling` and `normalize`; nothing where it has neither.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a declaration that breaks a rule, [`Error::Unsupported`] when the model or its files do not fit it.
    pub(super) fn declared(
        served: Arc<ServedTensors>,
        metadata: &Map<String, Value>,
        files: &LocalFiles,
    ) -> Result<Option<GraphEncoder>> {
        if !is_declared(metadata) {
            return Ok(None);
        }
        let model = served.model();
        let declared = |name: &str| declared(metadata, name);
        let pooling = pooling(declared("pooling"))?;
        let is_normalised = match declared("normalize") {
            Some(Value::Bool(is_normalised)) => *is_normalised,
            other => {
                let found = other.map_or_else(|| "missing".to_owned(), Value::to_string);
                return Err(Error::invalid("metadata.normalize", found, "must be true or false beside `pooling`"));
            }
        };
        check_inputs(model)?;
        let (output, dimensions) = output(model, pooling)?;
        let tokenizer = tokenizer(files)?;
        let longest_sequence = longest_sequence(declared("max_seq_len"), &tokenizer)?;
        let prompts = Prompts::default();
        let info = EmbedderInfo { tokenizer, lower_case: false, longest_sequence, dimensions, prompts };
        Ok(Some(GraphEncoder { served, output, pooling, is_normalised, info }))
    }

    pub(super) fn info(&self) -> &EmbedderInfo {
        &self.info
    }

    /// Returns what the queue of the graph has done so far, for those who ask with texts and those who ask with tensors.
    pub(super) fn statistics(&self) -> BatchStatistics {
        self.served.statistics()
    }

    /// Returns the vector of a sequence, computed in its turn.
    pub(super) fn vector(&self, sequence: &[u32], patience: &Patience) -> Result<Answered<Vec<f32>>> {
        let count = sequence.len();
        let tensor = |spec: &TensorSpec| {
            let values: Vec<i64> = match spec.name.as_str() {
                TOKENS => sequence.iter().copied().map(i64::from).collect(),
                MASK => vec![1; count],
                _ => vec![0; count],
            };
            let data = match spec.tensor_type {
                TensorType::I32 => TensorData::I32(values.into_iter().map(|value| value as i32).collect()),
                _ => TensorData::I64(values),
            };
            Tensor::new(vec![1, count], data)
        };
        let inputs = self.served.model().inputs().iter().map(|spec| (spec.name.as_str(), tensor(spec)));
        let Answered { output: mut outputs, queued } = self.served.run(inputs.collect(), patience)?;
        let rows = if self.pooling.is_none() { 1 } else { count };
        let found = (self.output < outputs.len()).then(|| outputs.swap_remove(self.output));
        let numbers = match found {
            Some(Tensor { data: TensorData::F32(numbers), .. }) if numbers.len() == rows * self.info.dimensions => {
                numbers
            }
            other => {
                let shape = other.map(|tensor| tensor.shape);
                let dimensions = self.info.dimensions;
                return Err(Error::Internal(format!("a graph gave {shape:?} for {rows} rows of {dimensions} numbers")));
            }
        };
        let mut vector = numbers[..self.info.dimensions].to_vec();
        if let Some(pooling) = self.pooling {
            pooling.apply(&numbers, &mut vector);
        }
        if self.is_normalised {
            normalise_vector(&mut vector);
        }
        Ok(Answered { output: vector, queued })
    }
}

/// Returns whether a record declares a sentence encoder.
pub(super) fn is_declared(metadata: &Map<String, Value>) -> bool {
    ["pooling", "normalize"].iter().any(|name| declared(metadata, name).is_some())
}

fn declared<'m>(metadata: &'m Map<String, Value>, name: &str) -> Option<&'m Value> {
    metadata.get(name).filter(|value| !value.is_null())
}

fn pooling(declared: Option<&Value>) -> Result<Option<Pooling>> {
    let name = declared.and_then(Value::as_str).unwrap_or_default();
    match Pooling::of_name(name) {
        None if name != IN_THE_GRAPH => {
            let found = declared.map_or_else(|| "missing".to_owned(), Value::to_string);
            Err(Error::invalid("metadata.pooling", found, "must be `cls`, `mean`, `max` or `none` beside `normalize`"))
        }
        pooling => Ok(pooling),
    }
}

fn check_inputs(model: &dyn TensorModel) -> Result<()> {
    let fits = |spec: &TensorSpec| {
        [TOKENS, MASK, TYPES].contains(&spec.name.as_str())
            && matches!(spec.tensor_type, TensorType::I64 | TensorType::I32)
            && matches!(spec.shape[..], [None | Some(1), None])
    };
    let inputs = model.inputs();
    match inputs.iter().find(|spec| !fits(spec)) {
        None if inputs.iter().any(|spec| spec.name == TOKENS) => Ok(()),
        wrong => {
            let found = wrong.map_or_else(|| "nothing of that name".to_owned(), described);
            Err(Error::unsupported(
                format!("a sentence encoder that takes {found}"),
                format!("`{TOKENS}`, and `{MASK}` and `{TYPES}` if need be, of int64 [?, ?] are its inputs"),
            ))
        }
    }
}

/// Finds the output with the vectors, and returns the numbers of one.
fn output(model: &dyn TensorModel, pooling: Option<Pooling>) -> Result<(usize, usize)> {
    let dimensions = |spec: &TensorSpec| match (pooling, &spec.shape[..]) {
        _ if spec.tensor_type != TensorType::F32 => None,
        (None, [_, Some(dimensions)]) | (Some(_), [_, _, Some(dimensions)]) => Some(*dimensions),
        _ => None,
    };
    let fitting = model.outputs().iter().enumerate().filter_map(|(place, spec)| Some((place, dimensions(spec)?)));
    let fitting: Vec<(usize, usize)> = fitting.filter(|(_, dimensions)| *dimensions > 0).collect();
    match fitting[..] {
        [only] => Ok(only),
        _ => {
            let outputs: Vec<String> = model.outputs().iter().map(described).collect();
            let wanted = if pooling.is_none() { "[?, dimensions]" } else { "[?, ?, dimensions]" };
            Err(Error::unsupported(
                format!("a sentence encoder that gives {}", outputs.join(" and ")),
                format!("with this `metadata.pooling` one float32 {wanted} is its output"),
            ))
        }
    }
}

fn described(spec: &TensorSpec) -> String {
    format!("`{}` {} {}", spec.name, spec.tensor_type, spec.shape_text())
}

fn tokenizer(files: &LocalFiles) -> Result<String> {
    let Some(file) = files.0.iter().find(|file| file.path.as_str() == TOKENIZER) else {
        return Err(Error::unsupported(
            format!("a sentence encoder without `{TOKENIZER}`"),
            "text becomes tokens by that file, which is registered together with the graph",
        ));
    };
    let bytes = std::fs::metadata(&file.local).map_err(Error::io("read", &file.local))?.len();
    if bytes > MOST_TOKENIZER_BYTES {
        let reason = format!("it has {bytes} bytes, and {MOST_TOKENIZER_BYTES} is the limit");
        return Err(Error::malformed(format!("file `{TOKENIZER}`"), reason));
    }
    std::fs::read_to_string(&file.local).map_err(|error| match error.kind() {
        std::io::ErrorKind::InvalidData => Error::malformed(format!("file `{TOKENIZER}`"), "it is not UTF-8"),
        _ => Error::io("read", &file.local)(error),
    })
}

fn longest_sequence(declared: Option<&Value>, tokenizer: &str) -> Result<usize> {
    let whole = |value: &Value| value.as_u64().and_then(|number| usize::try_from(number).ok()).filter(|size| *size > 0);
    if let Some(declared) = declared {
        let rule = "must be a whole number from 1";
        return whole(declared).ok_or_else(|| Error::invalid("metadata.max_seq_len", declared, rule));
    }
    let read: Value = serde_json::from_str(tokenizer)
        .map_err(|error| Error::malformed(format!("file `{TOKENIZER}`"), error.to_string()))?;
    read.pointer("/truncation/max_length").and_then(whole).ok_or_else(|| {
        let rule = format!("must be declared: `{TOKENIZER}` cuts no text");
        Error::invalid("metadata.max_seq_len", "missing", rule)
    })
}
